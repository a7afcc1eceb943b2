-- Rollups cost less again (ADR 0007): days of SIMs leave room for their updates, and rows of a chunk are told by where they lie
-- and not by a number that has to be counted.
-- As in V6, the functions name temporary tables, which exist when they run and not now.
SET LOCAL check_function_bodies = off;

-- A day's row changes with each chunk that holds a record of it. With a fifth of a page free, two in five of these updates went
-- to another page and into both indexes, and the table became twice as large as its rows anyway.
DO $$
DECLARE
    partition regclass;
BEGIN
    FOR partition IN SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = 'sim_daily_usage'::regclass LOOP
        EXECUTE format('ALTER TABLE %s SET (fillfactor = 50)', partition);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION ensure_rollup_partitions(earliest date, latest date) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    month   date := date_trunc('month', earliest)::date;
    name    text;
    created integer := 0;
BEGIN
    WHILE month <= latest LOOP
        name := to_char(month, '"sim_daily_usage_y"YYYY"m"MM');
        IF to_regclass(name) IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtext('simbridge.partitions'));
            -- Asked of the catalogue itself: a session remembers that there was no such table, and no advisory lock makes it
            -- look again.
            PERFORM FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'sim_daily_usage'::regclass AND c.relname = name;
            IF NOT FOUND THEN
                EXECUTE format('CREATE TABLE %I (LIKE sim_daily_usage INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES) '
                               'WITH (fillfactor = 50)', name);
                EXECUTE format('ALTER TABLE sim_daily_usage ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                               name, month, (month + interval '1 month')::date);
                created := created + 1;
            END IF;
        END IF;
        month := (month + interval '1 month')::date;
    END LOOP;
    RETURN created;
END $$;

-- Replaced functions forget whose rights they run with (V18): whoever rolls up need not own tables.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION ensure_rollup_partitions(date, date) SECURITY DEFINER SET search_path = %I, pg_temp',
                   current_schema());
END $$;

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
    IF NOT EXISTS (SELECT FROM pg_attribute a
                   WHERE a.attrelid = to_regclass('pg_temp.rollup_updated') AND a.attname = 'day_row') THEN
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
    -- Signed amounts by SIM and hour; removed tells rows that take something away from rows that add. The number of the SIM
    -- may be missing until number_sims.
    CREATE TEMPORARY TABLE rollup_changes (
        tenant_id integer, iccid text COLLATE "C", hour timestamptz, usage_date date, carrier_id integer,
        rate_plan_id integer, mccmnc text COLLATE "C", cycle_id text COLLATE "C", upload numeric, download numeric,
        total numeric, sms numeric, voice numeric, records bigint, corrections bigint, latest_event_at timestamptz,
        removed boolean, sim_number integer) ON COMMIT DELETE ROWS;
    -- The same by day.
    CREATE TEMPORARY TABLE rollup_days (
        used boolean, tenant_id integer, iccid text COLLATE "C", usage_date date, carrier_id integer,
        rate_plan_id integer, mccmnc text COLLATE "C", cycle_id text COLLATE "C", upload numeric, download numeric,
        total numeric, sms numeric, voice numeric, records bigint, corrections bigint, latest_event_at timestamptz,
        removed boolean, sim_number integer, cost numeric) ON COMMIT DELETE ROWS;
    -- Those of them whose row was there already.
    CREATE TEMPORARY TABLE rollup_updated (
        day_row tid, active boolean, was_active boolean, corrected boolean) ON COMMIT DELETE ROWS;
    -- Days of SIMs that became active or inactive, or whose hours have to be looked at.
    CREATE TEMPORARY TABLE rollup_transitions (
        tenant_id integer, iccid text COLLATE "C", usage_date date, carrier_id integer, rate_plan_id integer,
        mccmnc text COLLATE "C", cycle_id text COLLATE "C", number integer, active boolean, was_active boolean,
        recheck boolean) ON COMMIT DELETE ROWS;
    CREATE TEMPORARY TABLE rollup_costs (
        tenant_id integer, usage_date date, carrier_id integer, mccmnc text COLLATE "C", cost numeric)
        ON COMMIT DELETE ROWS;
    -- Cycles in which an included volume is used up otherwise than before; a day of each.
    CREATE TEMPORARY TABLE rollup_allowances (
        tenant_id integer, iccid text COLLATE "C", cycle_id text COLLATE "C", rate_plan_id integer, usage_date date,
        total numeric, corrections bigint, forced boolean) ON COMMIT DELETE ROWS;
    -- The same, each cycle once; and those of them whose row was there already.
    CREATE TEMPORARY TABLE rollup_volumes (
        row_number bigint, tenant_id integer, iccid text COLLATE "C", rate_plan_id integer, cycle_id text COLLATE "C",
        total numeric, corrections bigint, usage_date date, forced boolean, included_bytes bigint, price_per_mb numeric)
        ON COMMIT DELETE ROWS;
    CREATE TEMPORARY TABLE rollup_volumes_updated (
        row_number bigint, total_bytes numeric, correction_count bigint) ON COMMIT DELETE ROWS;
END $$;

CREATE OR REPLACE FUNCTION take_marked_records(markers bigint[]) RETURNS bigint
LANGUAGE sql SET enable_hashagg = off AS $$
    WITH taken AS (
        DELETE FROM rollup_markers WHERE id = ANY (markers) RETURNING write_id, period_from, period_to
    ), zones AS MATERIALIZED (
        SELECT t.id, t.time_zone, z.former_zone, z.done_iccid
        FROM tenants t LEFT JOIN zone_changes z ON z.tenant_id = t.id
    ), sums AS (
        SELECT r.tenant_id, r.iccid, date_bin('1 hour', r.period_start, '1970-01-01Z') AS hour,
               (r.period_start AT TIME ZONE CASE WHEN r.iccid > z.done_iccid THEN z.former_zone ELSE z.time_zone END)::date
                   AS usage_date,
               coalesce(r.carrier_id, 0) AS carrier_id, coalesce(r.rate_plan_id, 0) AS rate_plan_id,
               coalesce(r.mccmnc, '') AS mccmnc, coalesce(r.cycle_id, '') AS cycle_id,
               sum(r.data_upload_bytes) AS upload, sum(r.data_download_bytes) AS download, sum(r.total_bytes) AS total,
               sum(r.sms_count) AS sms, sum(r.voice_seconds) AS voice, count(*) AS records, count(r.corrects) AS corrections,
               max(r.period_end) AS latest_event_at
        FROM taken
        JOIN usage_records r ON r.write_id = taken.write_id
                            AND r.period_start BETWEEN taken.period_from AND taken.period_to
        JOIN zones z ON z.id = r.tenant_id
        GROUP BY 2, 3, 1, 4, 5, 6, 7, 8
    )
    INSERT INTO rollup_changes
    SELECT s.*, false, n.number
    FROM sums s LEFT JOIN sim_numbers n ON n.tenant_id = s.tenant_id AND n.iccid = s.iccid;
    SELECT coalesce(sum(records), 0)::bigint FROM rollup_changes;
$$;

CREATE OR REPLACE FUNCTION fold_rollup_days() RETURNS void
LANGUAGE sql SET enable_hashagg = off AS $$
    DELETE FROM rollup_days;
    INSERT INTO rollup_days
    SELECT (c.upload, c.download, c.total, c.sms, c.voice) <> (0, 0, 0, 0, 0), c.*,
           CASE WHEN p.included_bytes = 0 THEN c.total * price_per_byte(p.price_per_mb) ELSE 0 END
    FROM (SELECT tenant_id, iccid, usage_date, carrier_id, rate_plan_id, mccmnc, cycle_id, sum(upload) AS upload,
                 sum(download) AS download, sum(total) AS total, sum(sms) AS sms, sum(voice) AS voice, sum(records),
                 sum(corrections), max(latest_event_at), bool_or(removed), sim_number
          FROM rollup_changes
          GROUP BY iccid, usage_date, tenant_id, carrier_id, rate_plan_id, mccmnc, cycle_id, sim_number) AS c
    LEFT JOIN rate_plans p ON p.id = c.rate_plan_id;
    INSERT INTO rollup_allowances
    SELECT d.tenant_id, d.iccid, d.cycle_id, d.rate_plan_id, min(d.usage_date), sum(d.total), sum(d.corrections), false
    FROM rollup_days d JOIN rate_plans p ON p.id = d.rate_plan_id AND p.included_bytes > 0
    GROUP BY d.iccid, d.tenant_id, d.cycle_id, d.rate_plan_id;
$$;

CREATE OR REPLACE FUNCTION add_to_sim_days() RETURNS void
-- The planner takes a table that was empty a moment ago for small; rows by their places are matched by hashing at any size.
LANGUAGE sql SET enable_nestloop = off AS $$
    -- Nobody else adds rows while we hold the lock, so UPDATE and then INSERT of the rest does what ON CONFLICT does, and does
    -- not lock each row before it changes it.
    SELECT update_sim_days();
    INSERT INTO sim_daily_usage (
        tenant_id, iccid, usage_date, carrier_id, rate_plan_id, mccmnc, cycle_id, data_upload_bytes, data_download_bytes,
        total_bytes, sms_count, voice_seconds, record_count, correction_count, latest_event_at, cost)
    SELECT d.tenant_id, d.iccid, d.usage_date, d.carrier_id, d.rate_plan_id, d.mccmnc, d.cycle_id, d.upload, d.download,
           d.total, d.sms, d.voice, d.records, d.corrections, d.latest_event_at, d.cost
    FROM rollup_days d
    WHERE NOT EXISTS (SELECT FROM rollup_updated u WHERE u.day_row = d.ctid)
    ORDER BY d.iccid, d.usage_date;

    DELETE FROM rollup_transitions;
    INSERT INTO rollup_transitions
    SELECT d.tenant_id, d.iccid, d.usage_date, d.carrier_id, d.rate_plan_id, d.mccmnc, d.cycle_id, d.sim_number,
           coalesce(u.active, d.used), coalesce(u.was_active, false),
           d.removed OR d.corrections <> 0 OR coalesce(u.corrected, false)
    FROM rollup_days d
    LEFT JOIN rollup_updated u ON u.day_row = d.ctid
    WHERE coalesce(u.active, d.used) <> coalesce(u.was_active, false)
       OR d.removed OR d.corrections <> 0 OR coalesce(u.corrected, false);
$$;

CREATE OR REPLACE FUNCTION update_sim_days() RETURNS void
LANGUAGE sql SET enable_nestloop = on SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off AS $$
    DELETE FROM rollup_updated;
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
        -- rollup_days was filled in the order of SIMs and days, so neighbours share pages of the index.
        FROM rollup_days d
        WHERE s.tenant_id = d.tenant_id AND s.iccid = d.iccid AND s.usage_date = d.usage_date
          AND s.carrier_id = d.carrier_id AND s.rate_plan_id = d.rate_plan_id AND s.mccmnc = d.mccmnc
          AND s.cycle_id = d.cycle_id
        RETURNING d.ctid,
            (s.data_upload_bytes, s.data_download_bytes, s.total_bytes, s.sms_count, s.voice_seconds)
                <> (0, 0, 0, 0, 0) AS active,
            -- What the row held before is what it holds now less what was added.
            (s.data_upload_bytes - d.upload, s.data_download_bytes - d.download, s.total_bytes - d.total,
             s.sms_count - d.sms, s.voice_seconds - d.voice) <> (0, 0, 0, 0, 0) AS was_active,
            s.correction_count > 0 AS corrected
    )
    INSERT INTO rollup_updated SELECT * FROM updated;
$$;

CREATE OR REPLACE FUNCTION update_allowances() RETURNS void
LANGUAGE sql SET enable_nestloop = on SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off AS $$
    DELETE FROM rollup_volumes_updated;
    WITH updated AS (
        UPDATE sim_allowances s
        SET total_bytes = s.total_bytes + a.total, correction_count = s.correction_count + a.corrections
        FROM rollup_volumes a
        WHERE s.tenant_id = a.tenant_id AND s.iccid = a.iccid AND s.rate_plan_id = a.rate_plan_id AND s.cycle_id = a.cycle_id
        RETURNING a.row_number, s.total_bytes, s.correction_count
    )
    INSERT INTO rollup_volumes_updated SELECT * FROM updated;
$$;

CREATE OR REPLACE FUNCTION add_to_allowances() RETURNS void
LANGUAGE sql SET enable_hashagg = off SET enable_nestloop = off AS $$
    DELETE FROM rollup_volumes;
    INSERT INTO rollup_volumes
    SELECT row_number() OVER (), a.*, p.included_bytes, p.price_per_mb
    FROM (SELECT tenant_id, iccid, rate_plan_id, cycle_id, sum(total) AS total, sum(corrections) AS corrections,
                 min(usage_date) AS usage_date, bool_or(forced) AS forced
          FROM rollup_allowances GROUP BY iccid, tenant_id, cycle_id, rate_plan_id) AS a
    JOIN rate_plans p ON p.id = a.rate_plan_id;
    SELECT update_allowances();
    INSERT INTO sim_allowances (tenant_id, iccid, rate_plan_id, cycle_id, total_bytes, correction_count)
    SELECT a.tenant_id, a.iccid, a.rate_plan_id, a.cycle_id, a.total, a.corrections
    FROM rollup_volumes a
    WHERE NOT EXISTS (SELECT FROM rollup_volumes_updated u WHERE u.row_number = a.row_number)
    ORDER BY a.iccid;
    -- Below the volume now and before, without anything taken back: every day costs nothing and did so.
    DELETE FROM rollup_volumes a
    USING rollup_volumes_updated u
    WHERE u.row_number = a.row_number AND greatest(u.total_bytes, u.total_bytes - a.total) <= a.included_bytes
      AND u.correction_count = 0 AND a.corrections = 0 AND NOT a.forced;
    DELETE FROM rollup_volumes a
    WHERE a.total <= a.included_bytes AND a.corrections = 0 AND NOT a.forced
      AND NOT EXISTS (SELECT FROM rollup_volumes_updated u WHERE u.row_number = a.row_number);
$$;

CREATE OR REPLACE FUNCTION activate_hours() RETURNS void
-- Some groups for each hour and 2,048 SIMs: few beside the rows, so they are hashed.
LANGUAGE sql SET enable_sort = off AS $$
    -- Where nothing was ever taken away, an amount that is added is usage; elsewhere only the records tell (recheck_hours).
    INSERT INTO hourly_active_sims AS held (tenant_id, hour, carrier_id, mccmnc, chunk, sims)
    SELECT c.tenant_id, c.hour, c.carrier_id, c.mccmnc, c.sim_number / 2048,
           bit_or(set_bit(no_sims(), c.sim_number % 2048, 1))
    FROM rollup_changes c
    LEFT JOIN rollup_transitions t
        ON t.recheck AND t.tenant_id = c.tenant_id AND t.iccid = c.iccid AND t.usage_date = c.usage_date
       AND t.carrier_id = c.carrier_id AND t.rate_plan_id = c.rate_plan_id AND t.mccmnc = c.mccmnc AND t.cycle_id = c.cycle_id
    WHERE t.tenant_id IS NULL AND (c.upload, c.download, c.total, c.sms, c.voice) <> (0, 0, 0, 0, 0)
    GROUP BY c.hour, c.tenant_id, c.carrier_id, c.mccmnc, c.sim_number / 2048
    ON CONFLICT (tenant_id, hour, carrier_id, mccmnc, chunk) DO UPDATE SET sims = held.sims | excluded.sims
    WHERE held.sims | excluded.sims <> held.sims;
$$;
