-- store::reconcile I1: cycles = sum and count of their records
WITH summed AS (
    SELECT sim_id, iccid, cycle_id, sum(data_upload_bytes) AS upload, sum(data_download_bytes) AS download,
           sum(total_bytes) AS total, sum(sms_count) AS sms, sum(voice_seconds) AS voice, count(*) AS records
    FROM usage_records
    WHERE sim_id IS NOT NULL AND iccid > /* after ICCID */ $1 AND iccid <= /* up to ICCID */ $2
    GROUP BY sim_id, iccid, cycle_id
), held AS (
    SELECT * FROM usage_cycles WHERE iccid > $1 AND iccid <= $2
)
SELECT format('SIM %s cycle %s: stored total %s bytes in %s records, records add up to %s bytes in %s records',
              iccid, cycle_id, c.total_bytes, c.record_count, s.total, s.records) AS violation
FROM summed s FULL JOIN held c USING (sim_id, iccid, cycle_id)
WHERE (coalesce(s.upload, 0), coalesce(s.download, 0), coalesce(s.total, 0), coalesce(s.sms, 0), coalesce(s.voice, 0),
       coalesce(s.records, 0))
      IS DISTINCT FROM (c.total_upload_bytes, c.total_download_bytes, c.total_bytes, c.sms_count, c.voice_seconds,
                        c.record_count)
  -- Only cycles of which every record is kept.
  AND (c.cycle_start IS NULL OR c.cycle_start >= (SELECT raw_floor FROM inventory_version))
LIMIT 1000
