-- store::writes: stores claimed records, adds them to their cycles and leaves the rollup marker
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(
        /* key_tenant_id */ $1::integer[], /* iccid */ $2::text[], /* record_id */ $3::text[],
        /* period_start */ $4::timestamptz[], /* period_end */ $5::timestamptz[],
        /* upload */ $6::bigint[], /* download */ $7::bigint[], /* total */ $8::bigint[],
        /* sms_count */ $9::bigint[], /* voice_seconds */ $10::bigint[],
        /* mccmnc */ $11::text[], /* source */ $12::text[], /* batch_id */ $13::text[], /* corrects */ $14::text[])
        AS record (key_tenant_id, iccid, record_id, period_start, period_end, upload, download, total, sms_count,
                   voice_seconds, mccmnc, source, batch_id, corrects)
),
-- Owner, carrier, plan and cycle in force at period_start. A SIM that the sending tenant never owned stays unknown to it.
placed AS MATERIALIZED (
    SELECT input.*, coalesce(owner.tenant_id, input.key_tenant_id) AS tenant_id, owner.sim_id, owner.carrier_id,
           owner.rate_plan_id, cycle.cycle_id, cycle.cycle_start, cycle.cycle_end
    FROM input
    LEFT JOIN LATERAL (
        SELECT o.tenant_id, o.sim_id, o.carrier_id, o.rate_plan_id FROM sim_ownership o
        WHERE o.iccid = input.iccid AND o.valid_from <= input.period_start
        ORDER BY o.valid_from DESC LIMIT 1
    ) AS owner ON owner.tenant_id = input.key_tenant_id
               OR EXISTS (SELECT FROM sim_ownership mine
                          WHERE mine.iccid = input.iccid AND mine.tenant_id = input.key_tenant_id)
    LEFT JOIN LATERAL (
        SELECT c.cycle_id, c.cycle_start, c.cycle_end FROM usage_cycles c
        WHERE c.sim_id = owner.sim_id AND c.iccid = input.iccid
          AND c.cycle_start <= input.period_start AND input.period_start < c.cycle_end
    ) AS cycle ON true
),
stored AS (
    INSERT INTO usage_records (
        write_id, key_tenant_id, tenant_id, iccid, record_id, sim_id, carrier_id, rate_plan_id, cycle_id,
        period_start, period_end, data_upload_bytes, data_download_bytes, total_bytes, sms_count, voice_seconds,
        mccmnc, source, batch_id, corrects)
    SELECT $15, key_tenant_id, tenant_id, iccid, record_id, sim_id, carrier_id, rate_plan_id, cycle_id,
           period_start, period_end, upload, download, total, sms_count, voice_seconds,
           mccmnc, source, batch_id, corrects
    FROM placed
),
-- Folded to one row a cycle and sorted, so that two batches lock the cycles they share in the same order.
totals AS (
    INSERT INTO usage_cycles AS held (
        sim_id, iccid, cycle_id, cycle_start, cycle_end, total_upload_bytes, total_download_bytes, total_bytes,
        sms_count, voice_seconds, record_count)
    SELECT sim_id, iccid, cycle_id, cycle_start, cycle_end, sum(upload), sum(download), sum(total),
           sum(sms_count), sum(voice_seconds), count(*)
    FROM placed WHERE cycle_id IS NOT NULL
    GROUP BY sim_id, iccid, cycle_id, cycle_start, cycle_end
    ORDER BY sim_id, cycle_id
    ON CONFLICT ON CONSTRAINT usage_cycles_pk DO UPDATE SET
        total_upload_bytes = held.total_upload_bytes + excluded.total_upload_bytes,
        total_download_bytes = held.total_download_bytes + excluded.total_download_bytes,
        total_bytes = held.total_bytes + excluded.total_bytes,
        sms_count = held.sms_count + excluded.sms_count,
        voice_seconds = held.voice_seconds + excluded.voice_seconds,
        record_count = held.record_count + excluded.record_count,
        last_updated = now()
),
marker AS (
    INSERT INTO rollup_markers (write_id, period_from, period_to, record_count)
    SELECT $15, min(period_start), max(period_start), count(*) FROM placed
)
SELECT now() AS processed_at,
       -- Of these the cycle is still to be made: the caller rolls back, makes it and writes again.
       count(*) FILTER (WHERE sim_id IS NOT NULL AND cycle_id IS NULL) AS without_cycle
FROM placed
