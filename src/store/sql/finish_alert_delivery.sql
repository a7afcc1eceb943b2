-- store::alert_webhooks: notes how an attempt ended, unless a later one was begun; without a next attempt it is the last
UPDATE alert_deliveries d
SET state = CASE WHEN /* delivered */ $3 THEN 'delivered' WHEN /* next attempt */ $4::timestamptz IS NULL THEN 'failed' ELSE 'waiting' END,
    next_attempt_at = coalesce($4, d.next_attempt_at), last_status = /* status */ $5, last_error = /* error */ $6,
    finished_at = CASE WHEN $3 OR $4 IS NULL THEN /* at */ $7::timestamptz END
WHERE d.id = $1 AND d.attempts = $2 AND d.state = 'waiting'
