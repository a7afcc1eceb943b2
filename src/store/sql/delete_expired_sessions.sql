-- store::retention: deletes some sessions of the dashboard that expired before a moment
WITH gone AS (
    DELETE FROM dashboard_sessions s WHERE s.token_hash = ANY (ARRAY(
        SELECT o.token_hash FROM dashboard_sessions o WHERE o.expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED))
    RETURNING 1
)
SELECT count(*)::integer AS deleted FROM gone
