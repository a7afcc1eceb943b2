-- store::records: stores the claimed records of a large batch; columns as in insert_records.sql
COPY usage_records (
    key_tenant_id, iccid, record_id, period_start, period_end, data_upload_bytes, data_download_bytes, total_bytes,
    sms_count, voice_seconds, mccmnc, source, batch_id, corrects, tenant_id, sim_id, carrier_id, rate_plan_id, cycle_id,
    write_id)
FROM STDIN (FORMAT binary)
