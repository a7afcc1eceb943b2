-- store::reconcile I8: a record plus its corrections is never below zero
WITH corrected AS (
    SELECT key_tenant_id, iccid, corrects, sum(data_upload_bytes) AS upload, sum(data_download_bytes) AS download,
           sum(total_bytes) AS total, sum(sms_count) AS sms, sum(voice_seconds) AS voice
    FROM usage_records
    WHERE corrects IS NOT NULL AND iccid > /* after ICCID */ $1 AND iccid <= /* up to ICCID */ $2
    GROUP BY key_tenant_id, iccid, corrects
)
SELECT format('SIM %s record %s: %s bytes, corrected by %s', c.iccid, c.corrects, r.total_bytes, c.total) AS violation
FROM corrected c
LEFT JOIN record_keys k ON k.tenant_id = c.key_tenant_id AND k.iccid = c.iccid AND k.record_id = c.corrects
LEFT JOIN usage_records r ON r.iccid = k.iccid AND r.period_start = k.period_start AND r.record_id = k.record_id
                         AND r.key_tenant_id = k.tenant_id
CROSS JOIN inventory_version v
-- The corrected record, and later its key, may be gone already while its correction is kept.
WHERE (r.id IS NULL AND coalesce(k.period_start, '-infinity') >= v.raw_floor)
   OR least(r.data_upload_bytes + c.upload, r.data_download_bytes + c.download, r.total_bytes + c.total,
            r.sms_count + c.sms, r.voice_seconds + c.voice) < 0
LIMIT 1000
