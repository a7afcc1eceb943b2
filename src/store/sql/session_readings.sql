-- store::sessions: the newest readings of sessions by their ids; one that moved between SIMs has one for each
SELECT s.iccid, s.session_id, s.upload_counter, s.download_counter, s.last_sample_at, s.began_at, s.ended_at
FROM usage_sessions s
WHERE s.tenant_id = /* tenant */ $1 AND s.session_id = ANY (/* sessions */ $2::text[]) AND s.last_sample_at IS NOT NULL
