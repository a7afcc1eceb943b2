-- store::sim_diagnosis: the cycles of a SIM as they stand and as their records add up, oldest first
WITH summed AS (
    SELECT sim_id, cycle_id, sum(data_upload_bytes) AS upload, sum(data_download_bytes) AS download,
           sum(total_bytes) AS total, sum(sms_count) AS sms, sum(voice_seconds) AS voice, count(*) AS records
    FROM usage_records WHERE iccid = /* iccid */ $1 AND sim_id IS NOT NULL
    GROUP BY sim_id, cycle_id
), held AS (
    SELECT * FROM usage_cycles WHERE iccid = $1
)
SELECT coalesce(cycle_id, 'none') AS cycle_id, h.cycle_start, h.cycle_end, coalesce(h.is_current, false) AS is_current,
       h.cycle_start IS NULL OR h.cycle_start >= v.raw_floor AS kept,
       coalesce(h.total_upload_bytes, 0)::text AS held_upload, coalesce(h.total_download_bytes, 0)::text AS held_download,
       coalesce(h.total_bytes, 0)::text AS held_total, coalesce(h.sms_count, 0)::text AS held_sms,
       coalesce(h.voice_seconds, 0)::text AS held_voice, coalesce(h.record_count, 0)::text AS held_records,
       coalesce(s.upload, 0)::text AS raw_upload, coalesce(s.download, 0)::text AS raw_download,
       coalesce(s.total, 0)::text AS raw_total, coalesce(s.sms, 0)::text AS raw_sms, coalesce(s.voice, 0)::text AS raw_voice,
       coalesce(s.records, 0)::text AS raw_records
FROM summed s FULL JOIN held h USING (sim_id, cycle_id)
CROSS JOIN inventory_version v
ORDER BY 1, sim_id
