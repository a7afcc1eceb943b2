-- store::alert_webhooks: sends again what was given up, or one alert whatever became of it; NULL without such a webhook
WITH webhook AS (
    SELECT w.id FROM alert_webhooks w WHERE w.tenant_id = $1 AND w.id = $2
), again AS (
    UPDATE alert_deliveries d
    SET state = 'waiting', tries_left = /* tries */ $4, next_attempt_at = /* at */ $5, finished_at = NULL
    FROM webhook WHERE d.webhook_id = webhook.id AND d.tenant_id = $1
      AND CASE WHEN /* alert */ $3::bigint IS NULL THEN d.state = 'failed' ELSE d.alert_id = $3 AND d.state <> 'waiting' END
    RETURNING d.id
)
SELECT (SELECT count(*) FROM again) AS replayed FROM webhook
