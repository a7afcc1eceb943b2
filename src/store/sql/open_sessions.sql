-- store::counters: makes the rows of sessions that report for the first time
INSERT INTO usage_sessions (tenant_id, iccid, session_id)
SELECT tenant_id, iccid, session_id
FROM unnest(/* tenant_id */ $1::integer[], /* iccid */ $2::text[], /* session_id */ $3::text[])
     AS input (tenant_id, iccid, session_id)
ON CONFLICT ON CONSTRAINT usage_sessions_pk DO NOTHING
