-- store::sessions: ends sessions, unless they were read after that
WITH ended AS (
    -- In the order in which writers lock them.
    SELECT s.tenant_id, s.iccid, s.session_id, e.at
    FROM usage_sessions s
    JOIN unnest(/* sessions */ $2::text[], /* ended at */ $3::timestamptz[]) AS e (session_id, at) USING (session_id)
    WHERE s.tenant_id = /* tenant */ $1 AND s.last_sample_at <= e.at AND s.ended_at IS NULL
    ORDER BY s.tenant_id, s.iccid, s.session_id
    FOR UPDATE OF s
)
UPDATE usage_sessions s SET ended_at = e.at, updated_at = now()
FROM ended e
WHERE s.tenant_id = e.tenant_id AND s.iccid = e.iccid AND s.session_id = e.session_id
