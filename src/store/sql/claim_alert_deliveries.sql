-- store::alert_webhooks: takes some deliveries that are due; they are due again when nothing was heard of them until a moment
WITH first_ones AS (
    -- A few of each webhook, so that one that does not answer does not take every place.
    SELECT r.id FROM (
        SELECT d.id, row_number() OVER (PARTITION BY d.webhook_id ORDER BY d.next_attempt_at, d.id) AS place
        FROM alert_deliveries d
        WHERE d.state = 'waiting' AND d.next_attempt_at <= /* at */ $1 AND d.webhook_id <> ALL (/* busy */ $4::integer[])) AS r
    WHERE r.place <= 2
), due AS (
    -- Asked again behind the lock: another instance may have taken it in between.
    SELECT d.id FROM alert_deliveries d JOIN first_ones f ON f.id = d.id
    WHERE d.state = 'waiting' AND d.next_attempt_at <= $1
    ORDER BY d.next_attempt_at, d.id LIMIT /* at most */ $2 FOR UPDATE OF d SKIP LOCKED
), claimed AS (
    UPDATE alert_deliveries d
    SET attempts = d.attempts + 1, tries_left = d.tries_left - 1, next_attempt_at = /* lost at */ $3
    FROM due WHERE d.id = due.id
    RETURNING d.*
)
SELECT a.id, a.tenant_id, a.sim_id, a.iccid, a.cycle_id, a.cycle_start, a.cycle_end, a.threshold_percent,
       -- A JSON number holds 2^53 exactly.
       least(a.threshold_bytes, 9007199254740991)::bigint AS threshold_bytes, a.limit_bytes,
       least(a.used_bytes, 9007199254740991)::bigint AS used_bytes,
       CASE WHEN a.used_bytes > 9007199254740991 THEN a.used_bytes::text END AS used_bytes_exact,
       CASE WHEN a.limit_bytes > 0 THEN round(a.used_bytes * 100 / a.limit_bytes, 2)::double precision END AS percent,
       a.raised_at, a.exhausted_on, a.pool_id, a.pool_name, d.id AS delivery_id, d.attempts, d.tries_left, d.webhook_id, w.url, w.secret
FROM claimed d
JOIN alert_webhooks w ON w.id = d.webhook_id
JOIN usage_alerts a ON a.id = d.alert_id
