-- One SIM compared with its records, and put right (simbridge sim sync).

CREATE FUNCTION sim_days_compared(sim text)
RETURNS TABLE (tenant_id integer, usage_date date, kept boolean, differs boolean, held_upload numeric, held_download numeric,
               held_total numeric, held_sms numeric, held_voice numeric, held_records bigint, raw_upload numeric,
               raw_download numeric, raw_total numeric, raw_sms numeric, raw_voice numeric, raw_records bigint)
LANGUAGE sql STABLE AS $$
    WITH counted AS (
        -- As rollups count records (count_raw_records).
        SELECT r.tenant_id, r.iccid, (r.period_start AT TIME ZONE rollup_zone(r.tenant_id, r.iccid))::date AS usage_date,
               coalesce(r.carrier_id, 0) AS carrier_id, coalesce(r.rate_plan_id, 0) AS rate_plan_id,
               coalesce(r.mccmnc, '') AS mccmnc, coalesce(r.cycle_id, '') AS cycle_id, sum(r.data_upload_bytes) AS upload,
               sum(r.data_download_bytes) AS download, sum(r.total_bytes) AS total, sum(r.sms_count) AS sms,
               sum(r.voice_seconds) AS voice, count(*) AS records, count(r.corrects) AS corrections, max(r.period_end) AS latest
        FROM usage_records r
        WHERE r.iccid = sim AND NOT EXISTS (SELECT FROM rollup_markers m WHERE m.write_id = r.write_id)
        GROUP BY 1, 2, 3, 4, 5, 6, 7
    ), held AS (
        -- By tenant, because that is how the index begins.
        SELECT s.* FROM tenants t JOIN sim_daily_usage s ON s.tenant_id = t.id AND s.iccid = sim
    ), compared AS (
        SELECT tenant_id, usage_date, carrier_id, rate_plan_id, mccmnc, cycle_id, h.data_upload_bytes, h.data_download_bytes,
               h.total_bytes, h.sms_count, h.voice_seconds, h.record_count, h.cost, h.correction_count, c.upload,
               c.download, c.total, c.sms, c.voice, c.records, c.corrections,
               usage_date > (v.raw_floor AT TIME ZONE 'UTC')::date AS kept,
               (h.data_upload_bytes, h.data_download_bytes, h.total_bytes, h.sms_count, h.voice_seconds, h.record_count,
                h.correction_count, h.latest_event_at)
               IS DISTINCT FROM (c.upload, c.download, c.total, c.sms, c.voice, c.records, c.corrections, c.latest) AS differs
        FROM counted c
        FULL JOIN held h USING (tenant_id, iccid, usage_date, carrier_id, rate_plan_id, mccmnc, cycle_id)
        CROSS JOIN inventory_version v
    ), expected AS (
        SELECT c.*, p.included_bytes, p.price_per_mb, CASE WHEN c.kept THEN coalesce(c.total, 0) ELSE c.total_bytes END AS bytes,
               CASE WHEN c.kept THEN coalesce(c.corrections, 0) ELSE c.correction_count END AS corrected
        FROM compared c LEFT JOIN rate_plans p ON p.id = c.rate_plan_id
    ), priced AS (
        -- What of an included volume was used up: by the records, so that one wrong day leaves the days after it alone.
        SELECT e.*, sum(e.bytes) OVER in_order AS bytes_after, sum(e.bytes) OVER cycle AS cycle_bytes,
               sum(e.corrected) OVER cycle AS cycle_corrections,
               row_number() OVER (PARTITION BY e.tenant_id, e.cycle_id, e.rate_plan_id
                                  ORDER BY e.usage_date DESC, e.carrier_id, e.mccmnc) AS from_newest
        FROM expected e
        WINDOW cycle AS (PARTITION BY e.tenant_id, e.cycle_id, e.rate_plan_id),
               in_order AS (PARTITION BY e.tenant_id, e.cycle_id, e.rate_plan_id
                            ORDER BY e.usage_date, e.carrier_id, e.mccmnc)
    )
    SELECT tenant_id, usage_date, kept,
           differs
           OR cost IS DISTINCT FROM (
               CASE WHEN included_bytes > 0
                    THEN greatest(bytes_after - included_bytes, 0) - greatest(bytes_after - bytes - included_bytes, 0)
                    ELSE bytes END * coalesce(price_per_byte(price_per_mb), 0))
           -- A cycle whose sum is wrong shows at its newest day.
           OR (included_bytes > 0 AND from_newest = 1
               AND NOT EXISTS (SELECT FROM sim_allowances a
                               WHERE a.tenant_id = priced.tenant_id AND a.iccid = sim AND a.cycle_id = priced.cycle_id
                                 AND a.rate_plan_id = priced.rate_plan_id AND a.total_bytes = cycle_bytes
                                 AND a.correction_count = cycle_corrections)),
           coalesce(data_upload_bytes, 0), coalesce(data_download_bytes, 0), coalesce(total_bytes, 0), coalesce(sms_count, 0),
           coalesce(voice_seconds, 0), coalesce(record_count, 0), coalesce(upload, 0), coalesce(download, 0),
           coalesce(total, 0), coalesce(sms, 0), coalesce(voice, 0), coalesce(records, 0)
    FROM priced
$$;
COMMENT ON FUNCTION sim_days_compared IS
    'Each row of a SIM''s days as sim_daily_usage holds it and as the records that rollups have taken say; kept where all raw '
    'records of the day are kept';

CREATE FUNCTION sum_cycles(sim text) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    changed integer;
BEGIN
    WITH summed AS (
        SELECT c.sim_id, c.iccid, c.cycle_id, coalesce(sum(r.data_upload_bytes), 0) AS up,
               coalesce(sum(r.data_download_bytes), 0) AS down, coalesce(sum(r.total_bytes), 0) AS total,
               coalesce(sum(r.sms_count), 0) AS sms, coalesce(sum(r.voice_seconds), 0) AS voice, count(r.id) AS records
        FROM usage_cycles c
        LEFT JOIN usage_records r ON r.iccid = c.iccid AND r.sim_id = c.sim_id AND r.cycle_id = c.cycle_id
        -- Only cycles of which every record is kept.
        WHERE c.iccid = sim AND c.cycle_start >= (SELECT v.raw_floor FROM inventory_version v)
        GROUP BY c.sim_id, c.iccid, c.cycle_id
    )
    UPDATE usage_cycles c
    SET total_upload_bytes = s.up, total_download_bytes = s.down, total_bytes = s.total, sms_count = s.sms,
        voice_seconds = s.voice, record_count = s.records, last_updated = now()
    FROM summed s
    WHERE c.sim_id = s.sim_id AND c.iccid = s.iccid AND c.cycle_id = s.cycle_id
      AND (c.total_upload_bytes, c.total_download_bytes, c.total_bytes, c.sms_count, c.voice_seconds, c.record_count)
          <> (s.up, s.down, s.total, s.sms, s.voice, s.records);
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END $$;
COMMENT ON FUNCTION sum_cycles IS 'Sets the totals of a SIM''s cycles to the sums of their records; returns how many were others';

CREATE FUNCTION repair_sim(sim text, at timestamptz, OUT stamped bigint, OUT cycles integer, OUT days integer)
LANGUAGE plpgsql AS $$
DECLARE
    run record;
BEGIN
    -- In the order in which everybody takes them: no batch and no roll-up comes in between.
    PERFORM pg_advisory_xact_lock(hashtext('simbridge.inventory'));
    PERFORM rollup_begin();
    PERFORM ensure_cycles(ARRAY[sim], ARRAY[at], at);
    stamped := stamp_records(ARRAY[sim], '-infinity', at);
    cycles := sum_cycles(sim);
    days := 0;
    -- Which of the sums above a day is wrong cannot be told from the day of one SIM, so they are all made anew.
    FOR run IN
        SELECT d.tenant_id, min(d.usage_date) AS first, max(d.usage_date) AS last
        FROM (SELECT c.tenant_id, c.usage_date,
                     c.usage_date - (row_number() OVER (PARTITION BY c.tenant_id ORDER BY c.usage_date))::integer AS island
              FROM (SELECT DISTINCT tenant_id, usage_date FROM sim_days_compared(sim) WHERE differs AND kept) AS c
              -- A rebuild needs the whole hours at the edges.
              WHERE (SELECT b.lower FROM rebuild_bounds(c.tenant_id, c.usage_date, c.usage_date) b)
                    >= (SELECT v.raw_floor FROM inventory_version v)) AS d
        GROUP BY d.tenant_id, d.island ORDER BY 1, 2
    LOOP
        PERFORM rebuild_days(run.tenant_id, run.first, run.last);
        days := days + (run.last - run.first + 1);
    END LOOP;
END $$;
COMMENT ON FUNCTION repair_sim IS
    'Makes everything that is held of a SIM what its records say: stamps, totals of cycles, days with all sums above them; '
    'returns how many records were stamped, cycles set and days made anew';
