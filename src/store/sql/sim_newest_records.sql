-- store::sim_diagnosis: the newest records of an ICCID, by their periods
SELECT r.id, r.record_id, r.period_start, r.period_end, r.processed_at, r.total_bytes, r.sms_count, r.voice_seconds, r.cycle_id,
       r.mccmnc, r.corrects, EXISTS (SELECT FROM rollup_markers m WHERE m.write_id = r.write_id) AS pending
FROM usage_records r
WHERE r.iccid = /* iccid */ $1
ORDER BY r.period_start DESC, r.id DESC LIMIT /* at most */ $2
