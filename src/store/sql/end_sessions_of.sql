-- store::sessions: ends all sessions whose ids begin alike, unless they were read after that
WITH ended AS (
    -- In the order in which writers lock them. A semicolon follows the colon, and the index goes by bytes.
    SELECT s.tenant_id, s.iccid, s.session_id
    FROM usage_sessions s
    WHERE s.tenant_id = /* tenant */ $1 AND s.session_id >= /* origin */ $2 || ':' AND s.session_id < $2 || ';'
      AND s.last_sample_at <= /* ended at */ $3 AND s.ended_at IS NULL
    ORDER BY s.tenant_id, s.iccid, s.session_id
    FOR UPDATE
)
UPDATE usage_sessions s SET ended_at = $3, updated_at = now()
FROM ended e
WHERE s.tenant_id = e.tenant_id AND s.iccid = e.iccid AND s.session_id = e.session_id
