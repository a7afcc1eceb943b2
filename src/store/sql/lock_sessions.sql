-- store::counters: newest readings of sessions, locked in the order of their key until the deltas are committed
SELECT s.tenant_id, s.iccid, s.session_id, s.upload_counter, s.download_counter, s.last_sample_at
FROM usage_sessions s
WHERE (s.tenant_id, s.iccid, s.session_id) IN (
    SELECT * FROM unnest(/* tenant_id */ $1::integer[], /* iccid */ $2::text[], /* session_id */ $3::text[]))
ORDER BY s.tenant_id, s.iccid, s.session_id
FOR UPDATE
