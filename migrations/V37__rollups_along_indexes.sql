-- Rollups cost less once more (ADR 0033): where a chunk touches a good part of a day's SIMs, its rows and the index are read side
-- by side; what is small is added up once and read from there; and nothing is looked for again that is known to have been found.
-- As in V6, the functions name temporary tables, which exist when they run and not now.
SET LOCAL check_function_bodies = off;

-- Whoever looks knows all four columns. In this order the SIMs of one cycle lie side by side.
ALTER TABLE sim_allowances
    DROP CONSTRAINT sim_allowances_pk,
    ADD CONSTRAINT sim_allowances_pk PRIMARY KEY (tenant_id, cycle_id, iccid, rate_plan_id);

CREATE OR REPLACE FUNCTION rollup_begin() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    -- What follows the lock must see what was committed before it was granted.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'rollups need the isolation level READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('simbridge.rollup'));
    -- They stay with the connection; made once, they cost the catalogue nothing more. A connection that is older than
    -- this schema has some of the former shape.
    IF to_regclass('pg_temp.rollup_hours') IS NULL THEN
        IF to_regclass('pg_temp.rollup_changes') IS NOT NULL THEN
            DROP TABLE pg_temp.rollup_changes, pg_temp.rollup_days, pg_temp.rollup_updated, pg_temp.rollup_transitions,
                pg_temp.rollup_costs, pg_temp.rollup_allowances, pg_temp.rollup_volumes, pg_temp.rollup_volumes_updated;
        END IF;
        PERFORM create_rollup_changes();
    END IF;
    DELETE FROM rollup_changes;
    DELETE FROM rollup_allowances;
END $$;

CREATE OR REPLACE FUNCTION create_rollup_changes() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    -- Signed amounts of SIMs in hours, a SIM and an hour in any number of rows; removed tells rows that take something away
    -- from rows that add. The number of the SIM may be missing until number_sims.
    CREATE TEMPORARY TABLE rollup_changes (
        tenant_id integer, iccid text COLLATE "C", hour timestamptz, usage_date date, carrier_id integer,
        rate_plan_id integer, mccmnc text COLLATE "C", cycle_id text COLLATE "C", upload numeric, download numeric,
        total numeric, sms numeric, voice numeric, records bigint, corrections bigint, latest_event_at timestamptz,
        removed boolean, sim_number integer) ON COMMIT DELETE ROWS;
    -- The same without the SIMs: few rows.
    CREATE TEMPORARY TABLE rollup_hours (
        tenant_id integer, hour timestamptz, usage_date date, carrier_id integer, mccmnc text COLLATE "C", upload numeric,
        download numeric, total numeric, sms numeric, voice numeric, records bigint, removed boolean, unnumbered boolean)
        ON COMMIT DELETE ROWS;
    -- The same by SIM and day, in the order of the SIMs' numbers.
    CREATE TEMPORARY TABLE rollup_days (
        used boolean, tenant_id integer, iccid text COLLATE "C", usage_date date, carrier_id integer,
        rate_plan_id integer, mccmnc text COLLATE "C", cycle_id text COLLATE "C", upload numeric, download numeric,
        total numeric, sms numeric, voice numeric, records bigint, corrections bigint, latest_event_at timestamptz,
        removed boolean, sim_number integer, cost numeric) ON COMMIT DELETE ROWS;
    -- Days of networks of which rollup_days holds a good part.
    CREATE TEMPORARY TABLE rollup_dense_days (
        tenant_id integer, mccmnc text COLLATE "C", usage_date date, sims bigint) ON COMMIT DELETE ROWS;
    -- Rows of rollup_days that were there already; noted are those that became active or inactive or have to be looked at.
    CREATE TEMPORARY TABLE rollup_updated (
        day_row tid, active boolean, was_active boolean, corrected boolean, noted boolean) ON COMMIT DELETE ROWS;
    -- Days of SIMs that became active or inactive, or whose hours have to be looked at.
    CREATE TEMPORARY TABLE rollup_transitions (
        tenant_id integer, iccid text COLLATE "C", usage_date date, carrier_id integer, rate_plan_id integer,
        mccmnc text COLLATE "C", cycle_id text COLLATE "C", number integer, active boolean, was_active boolean,
        recheck boolean) ON COMMIT DELETE ROWS;
    CREATE TEMPORARY TABLE rollup_costs (
        tenant_id integer, usage_date date, carrier_id integer, mccmnc text COLLATE "C", cost numeric)
        ON COMMIT DELETE ROWS;
    -- Cycles in which an included volume is used up otherwise than before, with a day of each. Each once, when it is applied.
    CREATE TEMPORARY TABLE rollup_allowances (
        tenant_id integer, iccid text COLLATE "C", cycle_id text COLLATE "C", rate_plan_id integer, usage_date date,
        total numeric, corrections bigint, forced boolean, included_bytes bigint) ON COMMIT DELETE ROWS;
    -- Cycles of tenants of which rollup_allowances holds a good part.
    CREATE TEMPORARY TABLE rollup_dense_cycles (
        tenant_id integer, cycle_id text COLLATE "C", sims bigint) ON COMMIT DELETE ROWS;
    -- Rows of rollup_allowances that were there already; priced are those whose days may cost something else now.
    CREATE TEMPORARY TABLE rollup_allowances_updated (allowance_row tid, priced boolean) ON COMMIT DELETE ROWS;
    -- Those whose days have to be priced, each once.
    CREATE TEMPORARY TABLE rollup_volumes (
        tenant_id integer, iccid text COLLATE "C", rate_plan_id integer, cycle_id text COLLATE "C", usage_date date,
        included_bytes bigint, price_per_mb numeric) ON COMMIT DELETE ROWS;
END $$;

CREATE FUNCTION add_marked_records(markers bigint[]) RETURNS void
LANGUAGE sql AS $$
    WITH taken AS (
        DELETE FROM rollup_markers WHERE id = ANY (markers) RETURNING write_id, period_from, period_to
    ), zones AS MATERIALIZED (
        SELECT t.id, t.time_zone, z.former_zone, z.done_iccid
        FROM tenants t LEFT JOIN zone_changes z ON z.tenant_id = t.id
    )
    INSERT INTO rollup_changes
    SELECT c.*, false, n.number
    FROM (
        SELECT r.tenant_id, r.iccid, date_bin('1 hour', r.period_start, '1970-01-01Z'),
               (r.period_start AT TIME ZONE CASE WHEN r.iccid > z.done_iccid THEN z.former_zone ELSE z.time_zone END)::date,
               coalesce(r.carrier_id, 0), coalesce(r.rate_plan_id, 0), coalesce(r.mccmnc, ''), coalesce(r.cycle_id, ''),
               r.data_upload_bytes, r.data_download_bytes, r.total_bytes, r.sms_count, r.voice_seconds, 1,
               CASE WHEN r.corrects IS NULL THEN 0 ELSE 1 END, r.period_end
        FROM taken
        -- Marker by marker, because the records of one lie together: a table of some million records would be read from end to
        -- end for each chunk. OFFSET keeps the planner from joining in another order.
        CROSS JOIN LATERAL (
            SELECT u.* FROM usage_records u
            WHERE u.write_id = taken.write_id AND u.period_start BETWEEN taken.period_from AND taken.period_to
            OFFSET 0) AS r
        JOIN zones z ON z.id = r.tenant_id
        OFFSET 0) AS c
    LEFT JOIN sim_numbers n ON n.tenant_id = c.tenant_id AND n.iccid = c.iccid;
$$;
COMMENT ON FUNCTION add_marked_records IS 'Takes markers and puts their records into rollup_changes';

CREATE FUNCTION add_marked_records_of_most_sims(markers bigint[]) RETURNS void
-- Reading the numbers of all SIMs costs less than looking up every other one.
LANGUAGE sql SET enable_nestloop = off AS $$
    SELECT add_marked_records(markers);
$$;
COMMENT ON FUNCTION add_marked_records_of_most_sims IS 'add_marked_records for more than a quarter of the SIMs that ever had usage';

CREATE FUNCTION fold_rollup_hours() RETURNS void
LANGUAGE sql AS $$
    DELETE FROM rollup_hours;
    INSERT INTO rollup_hours
    SELECT tenant_id, hour, usage_date, carrier_id, mccmnc, sum(upload), sum(download), sum(total), sum(sms), sum(voice),
           sum(records), bool_or(removed), bool_or(sim_number IS NULL)
    FROM rollup_changes GROUP BY tenant_id, hour, usage_date, carrier_id, mccmnc;
$$;
COMMENT ON FUNCTION fold_rollup_hours IS 'Adds rollup_changes up by hour, day, carrier and network';

CREATE OR REPLACE FUNCTION fold_rollup_days() RETURNS void
-- Sorted by a number first, because that tells nearly all rows apart: records come in any order, and comparing one text after
-- another took longer than everything else of a chunk.
LANGUAGE sql SET enable_hashagg = off AS $$
    DELETE FROM rollup_days;
    INSERT INTO rollup_days
    SELECT (c.upload, c.download, c.total, c.sms, c.voice) <> (0, 0, 0, 0, 0), c.*,
           CASE WHEN p.included_bytes = 0 THEN c.total * price_per_byte(p.price_per_mb) ELSE 0 END
    FROM (SELECT tenant_id, iccid, usage_date, carrier_id, rate_plan_id, mccmnc, cycle_id, sum(upload) AS upload,
                 sum(download) AS download, sum(total) AS total, sum(sms) AS sms, sum(voice) AS voice, sum(records),
                 sum(corrections), max(latest_event_at), bool_or(removed), sim_number
          FROM rollup_changes
          GROUP BY sim_number, usage_date, tenant_id, iccid, carrier_id, rate_plan_id, mccmnc, cycle_id) AS c
    LEFT JOIN rate_plans p ON p.id = c.rate_plan_id;
    INSERT INTO rollup_allowances
    SELECT d.tenant_id, d.iccid, d.cycle_id, d.rate_plan_id, min(d.usage_date), sum(d.total), sum(d.corrections), false,
           p.included_bytes
    FROM rollup_days d JOIN rate_plans p ON p.id = d.rate_plan_id AND p.included_bytes > 0
    GROUP BY d.sim_number, d.tenant_id, d.iccid, d.cycle_id, d.rate_plan_id, p.included_bytes;
$$;

CREATE FUNCTION find_dense_days() RETURNS void
LANGUAGE sql AS $$
    -- Reading a row of the index in passing costs a fifth of looking one up. Active SIMs are nearly all that a day has. As
    -- rollup_days is read once for each of them, a day must hold a good part of it, too: there are sixteen at most.
    DELETE FROM rollup_dense_days;
    INSERT INTO rollup_dense_days
    SELECT d.tenant_id, d.mccmnc, d.usage_date, d.sims
    FROM (SELECT tenant_id, mccmnc, usage_date, count(*) AS sims, sum(count(*)) OVER () AS all_sims
          FROM rollup_days GROUP BY tenant_id, mccmnc, usage_date) AS d
    WHERE d.sims >= 1000 AND d.sims * 16 >= d.all_sims
      AND d.sims * 4 >= (SELECT coalesce(sum(u.active_sim_count), 0) FROM daily_network_usage u
                         WHERE u.tenant_id = d.tenant_id AND u.usage_date = d.usage_date AND u.mccmnc = d.mccmnc);
$$;
COMMENT ON FUNCTION find_dense_days IS 'Notes the days of networks of which rollup_days holds a good part';

CREATE FUNCTION update_dense_day(tenant integer, network text, day date) RETURNS void
-- Both sides in the order of sim_daily_usage_by_network, read once each.
LANGUAGE sql SET enable_mergejoin = on SET enable_nestloop = off SET enable_hashjoin = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
    WITH updated AS (
        UPDATE sim_daily_usage s SET
            data_upload_bytes = s.data_upload_bytes + d.upload,
            data_download_bytes = s.data_download_bytes + d.download,
            total_bytes = s.total_bytes + d.total,
            sms_count = s.sms_count + d.sms,
            voice_seconds = s.voice_seconds + d.voice,
            record_count = s.record_count + d.records,
            correction_count = s.correction_count + d.corrections,
            latest_event_at = greatest(s.latest_event_at, d.latest_event_at),
            cost = s.cost + d.cost
        FROM rollup_days d
        WHERE s.tenant_id = tenant AND s.mccmnc = network AND s.usage_date = day
          AND d.tenant_id = tenant AND d.mccmnc = network AND d.usage_date = day AND s.iccid = d.iccid
          AND s.carrier_id = d.carrier_id AND s.rate_plan_id = d.rate_plan_id AND s.cycle_id = d.cycle_id
        RETURNING d.ctid AS day_row, d.removed OR d.corrections <> 0 AS looked_at,
            (s.data_upload_bytes, s.data_download_bytes, s.total_bytes, s.sms_count, s.voice_seconds)
                <> (0, 0, 0, 0, 0) AS active,
            -- What the row held before is what it holds now less what was added.
            (s.data_upload_bytes - d.upload, s.data_download_bytes - d.download, s.total_bytes - d.total,
             s.sms_count - d.sms, s.voice_seconds - d.voice) <> (0, 0, 0, 0, 0) AS was_active,
            s.correction_count > 0 AS corrected
    )
    INSERT INTO rollup_updated
    SELECT day_row, active, was_active, corrected, looked_at OR corrected OR active <> was_active FROM updated;
$$;
COMMENT ON FUNCTION update_dense_day IS 'Adds rollup_days of a network and day to the rows that are there, beside all rows of that day';

CREATE OR REPLACE FUNCTION update_sim_days() RETURNS void
-- Changes rows as update_dense_day does. Written twice, because one statement is planned in one way for all of its rows.
LANGUAGE sql SET enable_nestloop = on SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off AS $$
    WITH updated AS (
        UPDATE sim_daily_usage s SET
            data_upload_bytes = s.data_upload_bytes + d.upload,
            data_download_bytes = s.data_download_bytes + d.download,
            total_bytes = s.total_bytes + d.total,
            sms_count = s.sms_count + d.sms,
            voice_seconds = s.voice_seconds + d.voice,
            record_count = s.record_count + d.records,
            correction_count = s.correction_count + d.corrections,
            latest_event_at = greatest(s.latest_event_at, d.latest_event_at),
            cost = s.cost + d.cost
        -- rollup_days was filled in the order of the SIMs' numbers, so neighbours as a rule share pages of the index.
        FROM rollup_days d
        WHERE s.tenant_id = d.tenant_id AND s.iccid = d.iccid AND s.usage_date = d.usage_date
          AND s.carrier_id = d.carrier_id AND s.rate_plan_id = d.rate_plan_id AND s.mccmnc = d.mccmnc
          AND s.cycle_id = d.cycle_id
          AND (d.tenant_id, d.mccmnc, d.usage_date) NOT IN (SELECT e.tenant_id, e.mccmnc, e.usage_date FROM rollup_dense_days e)
        RETURNING d.ctid AS day_row, d.removed OR d.corrections <> 0 AS looked_at,
            (s.data_upload_bytes, s.data_download_bytes, s.total_bytes, s.sms_count, s.voice_seconds)
                <> (0, 0, 0, 0, 0) AS active,
            (s.data_upload_bytes - d.upload, s.data_download_bytes - d.download, s.total_bytes - d.total,
             s.sms_count - d.sms, s.voice_seconds - d.voice) <> (0, 0, 0, 0, 0) AS was_active,
            s.correction_count > 0 AS corrected
    )
    INSERT INTO rollup_updated
    SELECT day_row, active, was_active, corrected, looked_at OR corrected OR active <> was_active FROM updated;
$$;
COMMENT ON FUNCTION update_sim_days IS 'Adds rollup_days to the rows that are there, each looked up, but for dense days';

CREATE FUNCTION note_updated_days() RETURNS void
-- Few, as a rule none: each fetched from its place.
LANGUAGE sql SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    INSERT INTO rollup_transitions
    SELECT d.tenant_id, d.iccid, d.usage_date, d.carrier_id, d.rate_plan_id, d.mccmnc, d.cycle_id, d.sim_number,
           u.active, u.was_active, d.removed OR d.corrections <> 0 OR u.corrected
    FROM rollup_updated u JOIN rollup_days d ON d.ctid = u.day_row
    WHERE u.noted;
$$;
COMMENT ON FUNCTION note_updated_days IS 'Notes which SIMs became active or inactive by update_sim_days and update_dense_day';

CREATE FUNCTION insert_sim_days() RETURNS void
-- The planner takes a table that was empty a moment ago for small; rows by their places are matched by hashing at any size.
LANGUAGE sql SET enable_nestloop = off AS $$
    WITH fresh AS MATERIALIZED (
        SELECT d.* FROM rollup_days d WHERE NOT EXISTS (SELECT FROM rollup_updated u WHERE u.day_row = d.ctid)
    ), added AS (
        INSERT INTO sim_daily_usage (
            tenant_id, iccid, usage_date, carrier_id, rate_plan_id, mccmnc, cycle_id, data_upload_bytes, data_download_bytes,
            total_bytes, sms_count, voice_seconds, record_count, correction_count, latest_event_at, cost)
        SELECT d.tenant_id, d.iccid, d.usage_date, d.carrier_id, d.rate_plan_id, d.mccmnc, d.cycle_id, d.upload, d.download,
               d.total, d.sms, d.voice, d.records, d.corrections, d.latest_event_at, d.cost
        FROM fresh d
        ORDER BY d.iccid, d.usage_date
    )
    INSERT INTO rollup_transitions
    SELECT d.tenant_id, d.iccid, d.usage_date, d.carrier_id, d.rate_plan_id, d.mccmnc, d.cycle_id, d.sim_number,
           d.used, false, d.removed OR d.corrections <> 0
    FROM fresh d
    WHERE d.used OR d.removed OR d.corrections <> 0;
$$;
COMMENT ON FUNCTION insert_sim_days IS 'Adds the rows of rollup_days that are new, and notes which SIMs became active by that';

CREATE OR REPLACE FUNCTION add_to_sim_days() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    dense record;
    days  bigint := (SELECT count(*) FROM rollup_days);
BEGIN
    DELETE FROM rollup_updated;
    DELETE FROM rollup_transitions;
    PERFORM find_dense_days();
    -- Nobody else adds rows while we hold the lock, so UPDATE and then INSERT of the rest does what ON CONFLICT does, and does
    -- not lock each row before it changes it.
    FOR dense IN SELECT * FROM rollup_dense_days LOOP
        PERFORM update_dense_day(dense.tenant_id, dense.mccmnc, dense.usage_date);
    END LOOP;
    IF (SELECT coalesce(sum(sims), 0) FROM rollup_dense_days) < days THEN
        PERFORM update_sim_days();
    END IF;
    PERFORM note_updated_days();
    IF (SELECT count(*) FROM rollup_updated) < days THEN
        PERFORM insert_sim_days();
    END IF;
END $$;

CREATE FUNCTION find_dense_cycles() RETURNS void
LANGUAGE sql AS $$
    -- As find_dense_days. A tenant has at most as many SIMs as numbers.
    DELETE FROM rollup_dense_cycles;
    INSERT INTO rollup_dense_cycles
    SELECT a.tenant_id, a.cycle_id, a.sims
    FROM (SELECT tenant_id, cycle_id, count(*) AS sims, sum(count(*)) OVER () AS all_sims
          FROM rollup_allowances GROUP BY tenant_id, cycle_id) AS a
    WHERE a.sims >= 1000 AND a.sims * 16 >= a.all_sims
      AND a.sims * 4 >= (SELECT max(n.number) + 1 FROM sim_numbers n WHERE n.tenant_id = a.tenant_id);
$$;
COMMENT ON FUNCTION find_dense_cycles IS 'Notes the cycles of tenants of which rollup_allowances holds a good part';

CREATE FUNCTION update_dense_cycle(tenant integer, cycle text) RETURNS void
LANGUAGE sql SET enable_mergejoin = on SET enable_nestloop = off SET enable_hashjoin = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
    WITH updated AS (
        UPDATE sim_allowances s
        SET total_bytes = s.total_bytes + a.total, correction_count = s.correction_count + a.corrections
        FROM rollup_allowances a
        WHERE s.tenant_id = tenant AND s.cycle_id = cycle AND a.tenant_id = tenant AND a.cycle_id = cycle
          AND s.rate_plan_id = a.rate_plan_id AND s.iccid = a.iccid
        -- Below the volume now and before, without anything taken back: every day costs nothing and did so.
        RETURNING a.ctid AS allowance_row,
            greatest(s.total_bytes, s.total_bytes - a.total) > a.included_bytes OR s.correction_count <> 0
                OR a.corrections <> 0 OR a.forced AS priced
    )
    INSERT INTO rollup_allowances_updated SELECT allowance_row, priced FROM updated;
$$;
COMMENT ON FUNCTION update_dense_cycle IS 'Adds rollup_allowances of a cycle to the rows that are there, beside all rows of that cycle';

CREATE OR REPLACE FUNCTION update_allowances() RETURNS void
LANGUAGE sql SET enable_nestloop = on SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off AS $$
    WITH updated AS (
        UPDATE sim_allowances s
        SET total_bytes = s.total_bytes + a.total, correction_count = s.correction_count + a.corrections
        FROM rollup_allowances a
        WHERE s.tenant_id = a.tenant_id AND s.iccid = a.iccid AND s.rate_plan_id = a.rate_plan_id AND s.cycle_id = a.cycle_id
          AND (a.tenant_id, a.cycle_id) NOT IN (SELECT e.tenant_id, e.cycle_id FROM rollup_dense_cycles e)
        RETURNING a.ctid AS allowance_row,
            greatest(s.total_bytes, s.total_bytes - a.total) > a.included_bytes OR s.correction_count <> 0
                OR a.corrections <> 0 OR a.forced AS priced
    )
    INSERT INTO rollup_allowances_updated SELECT allowance_row, priced FROM updated;
$$;
COMMENT ON FUNCTION update_allowances IS 'Adds rollup_allowances to the rows that are there, each looked up, but for dense cycles';

CREATE FUNCTION note_priced_allowances() RETURNS void
LANGUAGE sql SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    INSERT INTO rollup_volumes
    SELECT a.tenant_id, a.iccid, a.rate_plan_id, a.cycle_id, a.usage_date, p.included_bytes, p.price_per_mb
    FROM rollup_allowances_updated u
    JOIN rollup_allowances a ON a.ctid = u.allowance_row
    JOIN rate_plans p ON p.id = a.rate_plan_id
    WHERE u.priced;
$$;
COMMENT ON FUNCTION note_priced_allowances IS 'Notes the cycles that were there already and whose days may cost something else now';

CREATE FUNCTION insert_allowances() RETURNS void
LANGUAGE sql SET enable_nestloop = off AS $$
    WITH fresh AS MATERIALIZED (
        SELECT a.* FROM rollup_allowances a
        WHERE NOT EXISTS (SELECT FROM rollup_allowances_updated u WHERE u.allowance_row = a.ctid)
    ), added AS (
        INSERT INTO sim_allowances (tenant_id, iccid, rate_plan_id, cycle_id, total_bytes, correction_count)
        SELECT tenant_id, iccid, rate_plan_id, cycle_id, total, corrections FROM fresh
        ORDER BY iccid
    )
    INSERT INTO rollup_volumes
    SELECT f.tenant_id, f.iccid, f.rate_plan_id, f.cycle_id, f.usage_date, p.included_bytes, p.price_per_mb
    FROM fresh f JOIN rate_plans p ON p.id = f.rate_plan_id
    WHERE f.total > p.included_bytes OR f.corrections <> 0 OR f.forced;
$$;
COMMENT ON FUNCTION insert_allowances IS 'Adds the cycles of rollup_allowances that are new, and notes those whose days have to be priced';

CREATE OR REPLACE FUNCTION add_to_allowances() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    dense  record;
    cycles bigint := (SELECT count(*) FROM rollup_allowances);
BEGIN
    DELETE FROM rollup_allowances_updated;
    DELETE FROM rollup_volumes;
    IF cycles = 0 THEN
        RETURN;
    END IF;
    PERFORM find_dense_cycles();
    FOR dense IN SELECT * FROM rollup_dense_cycles LOOP
        PERFORM update_dense_cycle(dense.tenant_id, dense.cycle_id);
    END LOOP;
    IF (SELECT coalesce(sum(sims), 0) FROM rollup_dense_cycles) < cycles THEN
        PERFORM update_allowances();
    END IF;
    PERFORM note_priced_allowances();
    IF (SELECT count(*) FROM rollup_allowances_updated) < cycles THEN
        PERFORM insert_allowances();
    END IF;
END $$;

CREATE FUNCTION force_allowances() RETURNS void
LANGUAGE sql AS $$
    WITH noted AS (
        DELETE FROM rollup_allowances RETURNING *
    )
    INSERT INTO rollup_allowances
    SELECT tenant_id, iccid, cycle_id, rate_plan_id, min(usage_date), 0, 0, true
    FROM noted GROUP BY tenant_id, iccid, cycle_id, rate_plan_id;
$$;
COMMENT ON FUNCTION force_allowances IS 'Has every cycle in rollup_allowances priced, whatever was noted of it, and adds nothing to it';

CREATE OR REPLACE FUNCTION add_to_hours() RETURNS void
LANGUAGE sql AS $$
    INSERT INTO hourly_usage AS held (
        tenant_id, hour, carrier_id, mccmnc, data_upload_bytes, data_download_bytes, total_bytes, sms_count, voice_seconds,
        record_count)
    SELECT tenant_id, hour, carrier_id, mccmnc, sum(upload), sum(download), sum(total), sum(sms), sum(voice), sum(records)
    FROM rollup_hours GROUP BY tenant_id, hour, carrier_id, mccmnc
    ON CONFLICT (tenant_id, hour, carrier_id, mccmnc) DO UPDATE SET
        data_upload_bytes = held.data_upload_bytes + excluded.data_upload_bytes,
        data_download_bytes = held.data_download_bytes + excluded.data_download_bytes,
        total_bytes = held.total_bytes + excluded.total_bytes,
        sms_count = held.sms_count + excluded.sms_count,
        voice_seconds = held.voice_seconds + excluded.voice_seconds,
        record_count = held.record_count + excluded.record_count;
$$;

CREATE OR REPLACE FUNCTION add_to_networks() RETURNS void
LANGUAGE sql AS $$
    INSERT INTO daily_network_usage AS held (
        tenant_id, usage_date, carrier_id, mccmnc, data_upload_bytes, data_download_bytes, total_bytes, sms_count,
        voice_seconds, record_count, cost)
    SELECT tenant_id, usage_date, carrier_id, mccmnc, coalesce(d.upload, 0), coalesce(d.download, 0), coalesce(d.total, 0),
           coalesce(d.sms, 0), coalesce(d.voice, 0), coalesce(d.records, 0), coalesce(c.cost, 0)
    FROM (SELECT tenant_id, usage_date, carrier_id, mccmnc, sum(upload) AS upload, sum(download) AS download,
                 sum(total) AS total, sum(sms) AS sms, sum(voice) AS voice, sum(records) AS records
          FROM rollup_hours GROUP BY tenant_id, usage_date, carrier_id, mccmnc) AS d
    -- Days that only became dearer or cheaper by what happened before them.
    FULL JOIN (SELECT tenant_id, usage_date, carrier_id, mccmnc, sum(cost) AS cost
               FROM rollup_costs GROUP BY tenant_id, usage_date, carrier_id, mccmnc) AS c
        USING (tenant_id, usage_date, carrier_id, mccmnc)
    ON CONFLICT (tenant_id, usage_date, carrier_id, mccmnc) DO UPDATE SET
        data_upload_bytes = held.data_upload_bytes + excluded.data_upload_bytes,
        data_download_bytes = held.data_download_bytes + excluded.data_download_bytes,
        total_bytes = held.total_bytes + excluded.total_bytes,
        sms_count = held.sms_count + excluded.sms_count,
        voice_seconds = held.voice_seconds + excluded.voice_seconds,
        record_count = held.record_count + excluded.record_count,
        cost = held.cost + excluded.cost;
$$;

CREATE OR REPLACE FUNCTION activate_hours() RETURNS void
-- Some groups for each hour and 2,048 SIMs: few beside the rows, so they are hashed.
LANGUAGE sql SET enable_sort = off AS $$
    -- Where nothing was ever taken away, an amount that is added is usage. Elsewhere only the records tell: recheck_hours, which
    -- comes after this, takes away again what they do not bear out.
    INSERT INTO hourly_active_sims AS held (tenant_id, hour, carrier_id, mccmnc, chunk, sims)
    SELECT c.tenant_id, c.hour, c.carrier_id, c.mccmnc, c.sim_number / 2048,
           bit_or(set_bit(no_sims(), c.sim_number % 2048, 1))
    FROM rollup_changes c
    WHERE (c.upload, c.download, c.total, c.sms, c.voice) <> (0, 0, 0, 0, 0)
    GROUP BY c.hour, c.tenant_id, c.carrier_id, c.mccmnc, c.sim_number / 2048
    ON CONFLICT (tenant_id, hour, carrier_id, mccmnc, chunk) DO UPDATE SET sims = held.sims | excluded.sims
    WHERE held.sims | excluded.sims <> held.sims;
$$;

CREATE FUNCTION count_active_hours() RETURNS void
LANGUAGE sql AS $$
    UPDATE hourly_usage u SET active_sim_count = coalesce((
        SELECT sum(bit_count(a.sims)) FROM hourly_active_sims a
        WHERE a.tenant_id = u.tenant_id AND a.hour = u.hour AND a.carrier_id = u.carrier_id AND a.mccmnc = u.mccmnc), 0)
    FROM (SELECT DISTINCT tenant_id, hour, carrier_id, mccmnc FROM rollup_hours) AS c
    WHERE u.tenant_id = c.tenant_id AND u.hour = c.hour AND u.carrier_id = c.carrier_id AND u.mccmnc = c.mccmnc;
$$;
COMMENT ON FUNCTION count_active_hours IS 'Counts the SIMs that are active in the hours of rollup_hours';

CREATE OR REPLACE FUNCTION count_active_sims() RETURNS void
LANGUAGE sql AS $$
    UPDATE daily_network_usage u SET active_sim_count = coalesce((
        SELECT sum(bit_count(a.sims)) FROM daily_active_sims a
        WHERE a.tenant_id = u.tenant_id AND a.usage_date = u.usage_date AND a.carrier_id = u.carrier_id
          AND a.mccmnc = u.mccmnc), 0)
    FROM (SELECT DISTINCT tenant_id, usage_date, carrier_id, mccmnc FROM rollup_transitions) AS t
    WHERE u.tenant_id = t.tenant_id AND u.usage_date = t.usage_date AND u.carrier_id = t.carrier_id AND u.mccmnc = t.mccmnc;
$$;
COMMENT ON FUNCTION count_active_sims IS 'Counts the SIMs that are active on the days of rollup_transitions';

CREATE OR REPLACE FUNCTION sum_touched() RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    days   record;
    months record;
    stored integer;
BEGIN
    SELECT array_agg(t.tenant_id) AS tenants, array_agg(t.usage_date) AS dates, array_agg(t.carrier_id) AS carriers INTO days
    FROM (SELECT tenant_id, usage_date, carrier_id FROM rollup_hours
          UNION SELECT tenant_id, usage_date, carrier_id FROM rollup_costs) AS t;
    SELECT array_agg(t.tenant_id) AS tenants, array_agg(t.month) AS dates, array_agg(t.carrier_id) AS carriers INTO months
    FROM (SELECT DISTINCT d.tenant_id, date_trunc('month', d.usage_date)::date AS month, d.carrier_id
          FROM unnest(days.tenants, days.dates, days.carriers) AS d (tenant_id, usage_date, carrier_id)) AS t;
    stored := sum_days(days.tenants, days.dates, days.carriers);
    PERFORM sum_months(months.tenants, months.dates, months.carriers);
    RETURN stored;
END $$;
COMMENT ON FUNCTION sum_touched IS 'Makes daily_usage and usage_aggregations again where rollup_hours or rollup_costs touch them';

CREATE OR REPLACE FUNCTION apply_rollup_changes() RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    touched record;
BEGIN
    PERFORM fold_rollup_hours();
    SELECT min(usage_date) AS earliest, max(usage_date) AS latest, bool_or(removed) AS removed,
           bool_or(unnumbered) AS unnumbered INTO touched
    FROM rollup_hours;
    IF touched.earliest IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM ensure_rollup_partitions(touched.earliest, touched.latest);
    IF touched.unnumbered THEN
        PERFORM number_sims();
    END IF;
    PERFORM fold_rollup_days();
    PERFORM add_to_sim_days();
    -- Without pools it costs nothing.
    IF EXISTS (SELECT FROM usage_pool_members) THEN
        PERFORM add_to_pools();
    END IF;
    PERFORM price_allowances();
    PERFORM add_to_hours();
    PERFORM add_to_networks();
    PERFORM activate_days();
    PERFORM deactivate_days();
    PERFORM activate_hours();
    PERFORM recheck_hours();
    IF touched.removed THEN
        PERFORM recheck_latest_events();
        PERFORM remove_empty_rollups();
    END IF;
    PERFORM count_active_hours();
    PERFORM count_active_sims();
    RETURN sum_touched();
END $$;

CREATE OR REPLACE FUNCTION rebuild_days(tenant integer, first date, last date) RETURNS bigint
LANGUAGE plpgsql SET work_mem = '64MB' SET jit = off AS $$
DECLARE
    bounds  record;
    records bigint;
BEGIN
    PERFORM rollup_begin();
    SELECT * INTO bounds FROM rebuild_bounds(tenant, first, last);
    -- A day that in some zone of the world begins below the floor may hold what was counted before the tenant changed zones.
    IF least(bounds.lower, first::timestamp AT TIME ZONE 'UTC' - interval '14 hours')
       < (SELECT v.raw_floor FROM inventory_version v) THEN
        RAISE EXCEPTION 'the raw records of % are gone; rollups of before % stay as they are', first,
            (SELECT v.raw_floor FROM inventory_version v) USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    PERFORM clear_days(tenant, first, last, bounds.lower, bounds.upper);
    records := count_raw_records(tenant, bounds.lower, bounds.upper);
    PERFORM ensure_rollup_partitions(first, last);
    PERFORM number_sims();
    PERFORM fold_rollup_hours();
    PERFORM fold_rollup_days();
    -- Hours at the edges reach into the days before and after.
    DELETE FROM rollup_days WHERE usage_date NOT BETWEEN first AND last;
    PERFORM add_to_sim_days();
    PERFORM sum_pool_days(tenant, first, last);
    -- All records of each hour are at hand: what they add up to tells who is active.
    UPDATE rollup_transitions SET recheck = false WHERE recheck;
    PERFORM force_allowances();
    PERFORM price_allowances();
    PERFORM remake_allowances();
    PERFORM add_to_hours();
    PERFORM activate_hours();
    PERFORM count_active_hours();
    DELETE FROM rollup_hours WHERE usage_date NOT BETWEEN first AND last;
    PERFORM add_to_networks();
    PERFORM activate_days();
    PERFORM count_active_sims();
    PERFORM sum_touched();
    PERFORM remake_months(tenant, first, last);
    RETURN records;
END $$;

CREATE OR REPLACE FUNCTION roll_up_chunk(at_most_records bigint, OUT markers integer, OUT records bigint, OUT days integer)
-- What a chunk sorts and groups fits into memory.
LANGUAGE plpgsql SET work_mem = '64MB' SET jit = off AS $$
DECLARE
    ids     bigint[];
    waiting bigint;
BEGIN
    PERFORM rollup_begin();
    -- The oldest ones, as many as fit, and one in any case.
    SELECT array_agg(due.id), sum(due.record_count) INTO ids, waiting
    FROM (SELECT m.id, m.record_count, sum(m.record_count) OVER (ORDER BY m.id) - m.record_count AS before
          FROM (SELECT id, record_count FROM rollup_markers ORDER BY id LIMIT 5000) AS m) AS due
    WHERE due.before < at_most_records;
    markers := coalesce(cardinality(ids), 0);
    records := 0;
    days := 0;
    IF markers > 0 THEN
        IF waiting * 4 > (SELECT sum((SELECT max(n.number) + 1 FROM sim_numbers n WHERE n.tenant_id = t.id)) FROM tenants t) THEN
            PERFORM add_marked_records_of_most_sims(ids);
        ELSE
            PERFORM add_marked_records(ids);
        END IF;
        days := apply_rollup_changes();
        records := (SELECT coalesce(sum(h.records), 0) FROM rollup_hours h);
    END IF;
END $$;

DROP FUNCTION take_marked_records;
