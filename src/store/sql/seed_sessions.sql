-- store::sessions: gives sessions a reading from which the next one counts, where they have none or an older one
INSERT INTO usage_sessions AS held (tenant_id, iccid, session_id, upload_counter, download_counter, last_sample_at)
SELECT /* tenant */ $1, s.iccid, s.session_id, s.upload, s.download, s.taken_at
FROM unnest(/* iccids */ $2::text[], /* sessions */ $3::text[], /* uploads */ $4::bigint[], /* downloads */ $5::bigint[],
            /* taken at */ $6::timestamptz[]) AS s (iccid, session_id, upload, download, taken_at)
ORDER BY s.iccid, s.session_id
ON CONFLICT ON CONSTRAINT usage_sessions_pk DO UPDATE
SET upload_counter = excluded.upload_counter, download_counter = excluded.download_counter,
    last_sample_at = excluded.last_sample_at
-- A first reading that another instance stored meanwhile stands; what another SIM was read at goes on here.
WHERE /* moved */ $7 AND excluded.last_sample_at > held.last_sample_at
