-- store::sim_usage: records of a SIM of its tenant, newest first, those after a place in that order
-- By the primary key alone; the bound on period_start leaves out partitions.
SELECT r.id, r.record_id, r.period_start, r.period_end, r.data_upload_bytes, r.data_download_bytes, r.total_bytes, r.sms_count,
       r.voice_seconds, r.source, r.mccmnc, r.corrects, r.batch_id, r.cycle_id, r.status, r.processed_at
FROM usage_records r
WHERE r.iccid = /* iccid */ $2 AND r.tenant_id = /* tenant */ $1
  AND r.period_start <= /* period_start */ $3 AND (r.period_start, r.id) < ($3, /* id */ $4)
ORDER BY r.period_start DESC, r.id DESC LIMIT /* at most */ $5
