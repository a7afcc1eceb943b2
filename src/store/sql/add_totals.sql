-- store::writes: adds a batch to its cycles, one row a cycle
-- Input comes sorted by SIM and cycle: two batches lock the cycles that they share in the same order.
UPDATE usage_cycles c SET
    total_upload_bytes = c.total_upload_bytes + batch.upload,
    total_download_bytes = c.total_download_bytes + batch.download,
    total_bytes = c.total_bytes + batch.total,
    sms_count = c.sms_count + batch.sms_count,
    voice_seconds = c.voice_seconds + batch.voice_seconds,
    record_count = c.record_count + batch.record_count,
    last_updated = now()
FROM unnest(/* sim_id */ $1::text[], /* iccid */ $2::text[], /* cycle_id */ $3::text[],
            /* upload */ $4::bigint[], /* download */ $5::bigint[], /* total */ $6::bigint[],
            /* sms_count */ $7::bigint[], /* voice_seconds */ $8::bigint[], /* record_count */ $9::bigint[])
     AS batch (sim_id, iccid, cycle_id, upload, download, total, sms_count, voice_seconds, record_count)
WHERE c.sim_id = batch.sim_id AND c.iccid = batch.iccid AND c.cycle_id = batch.cycle_id
