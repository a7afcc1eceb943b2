-- store::sessions: begins sessions at zero, also those whose id another one had that was read before
INSERT INTO usage_sessions AS held (tenant_id, iccid, session_id, upload_counter, download_counter, last_sample_at, began_at)
SELECT /* tenant */ $1, s.iccid, s.session_id, 0, 0, s.began_at, s.began_at
FROM unnest(/* iccids */ $2::text[], /* sessions */ $3::text[], /* began at */ $4::timestamptz[]) AS s (iccid, session_id, began_at)
ORDER BY s.iccid, s.session_id
ON CONFLICT ON CONSTRAINT usage_sessions_pk DO UPDATE
SET upload_counter = 0, download_counter = 0, last_sample_at = excluded.last_sample_at, began_at = excluded.began_at,
    ended_at = NULL, updated_at = now()
WHERE held.last_sample_at IS NULL OR excluded.last_sample_at > held.last_sample_at
