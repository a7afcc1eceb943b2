-- store::sessions: a session of a tenant by its id, and whether it is still being read
-- Two SIMs may have used one id: the one that was read last counts.
SELECT s.iccid, s.data_upload_bytes::text AS upload, s.data_download_bytes::text AS download,
       (s.data_upload_bytes + s.data_download_bytes)::text AS total, s.created_at,
       -- Its end may have been told; least() passes over what is not.
       least(s.ended_at, coalesce(s.last_sample_at, s.created_at) + make_interval(secs => /* idle seconds */ $3)) AS expires_at
FROM usage_sessions s
WHERE s.tenant_id = /* tenant */ $1 AND s.session_id = /* session */ $2
ORDER BY s.last_sample_at DESC NULLS LAST, s.iccid
LIMIT 1
