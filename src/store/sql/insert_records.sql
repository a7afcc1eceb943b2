-- store::records: stores claimed records; owner, carrier, plan and cycle are those in force at period_start
INSERT INTO usage_records (
    key_tenant_id, iccid, record_id, period_start, period_end, data_upload_bytes, data_download_bytes, total_bytes,
    sms_count, voice_seconds, mccmnc, source, batch_id, corrects, tenant_id, sim_id, carrier_id, rate_plan_id, cycle_id,
    write_id)
SELECT record.*, $20
FROM unnest(
    /* key_tenant_id */ $1::integer[], /* iccid */ $2::text[], /* record_id */ $3::text[],
    /* period_start */ $4::timestamptz[], /* period_end */ $5::timestamptz[],
    /* upload */ $6::bigint[], /* download */ $7::bigint[], /* total */ $8::bigint[],
    /* sms_count */ $9::bigint[], /* voice_seconds */ $10::bigint[],
    /* mccmnc */ $11::text[], /* source */ $12::text[], /* batch_id */ $13::text[], /* corrects */ $14::text[],
    /* tenant_id */ $15::integer[], /* sim_id */ $16::text[], /* carrier_id */ $17::integer[],
    /* rate_plan_id */ $18::integer[], /* cycle_id */ $19::text[]) AS record
