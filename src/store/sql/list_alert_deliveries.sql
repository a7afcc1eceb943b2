-- store::alert_webhooks: a page of what was or will be sent to a webhook, newest first; an empty state matches all
SELECT d.id, d.alert_id, d.state, d.attempts, CASE WHEN d.state = 'waiting' THEN d.next_attempt_at END AS next_attempt_at,
       d.last_status, d.last_error, d.finished_at
FROM alert_deliveries d
WHERE d.tenant_id = $1 AND d.webhook_id = $2 AND ($3 = '' OR d.state = $3) AND d.id < /* before */ $4
ORDER BY d.id DESC LIMIT $5
