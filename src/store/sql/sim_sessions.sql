-- store::sessions: sessions of a SIM of its tenant, the one that was read last first, those after a place in that order
SELECT s.session_id, s.data_upload_bytes::text AS upload, s.data_download_bytes::text AS download,
       (s.data_upload_bytes + s.data_download_bytes)::text AS total, s.created_at, read.at AS last_reading_at,
       least(s.ended_at, read.at + make_interval(secs => /* idle seconds */ $3)) AS expires_at
FROM usage_sessions s
CROSS JOIN LATERAL (SELECT coalesce(s.last_sample_at, s.created_at) AS at) AS read
WHERE s.tenant_id = /* tenant */ $1 AND s.iccid = /* iccid */ $2
  AND (read.at, s.session_id) < (/* read at */ $4::timestamptz, /* session */ $5::text COLLATE "C")
ORDER BY read.at DESC, s.session_id DESC LIMIT /* at most */ $6
