-- How rollups follow the records (ADR 0007). Each change of records becomes rows of signed amounts, which are added; nothing
-- is recomputed from its other records, so a late record costs what a fresh one costs.
-- All of it runs under one lock, so that a row is added to by one transaction at a time and a marker is taken once.
-- The statements stand in functions of LANGUAGE sql, which are planned at each call: a plan made for a batch of one record and
-- kept would be ruinous for one of fifty thousand. They name temporary tables, which exist when they run and not now.
SET LOCAL check_function_bodies = off;

CREATE FUNCTION no_sims() RETURNS bit(2048) LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 0::bit(2048);
COMMENT ON FUNCTION no_sims IS 'The empty set of SIMs';

CREATE FUNCTION price_per_byte(price_per_mb numeric) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- 2^-20 in full: a product of decimals is exact, a quotient is rounded.
RETURN price_per_mb * 0.00000095367431640625;

CREATE FUNCTION rollup_zone(tenant integer, sim text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN (SELECT CASE WHEN sim COLLATE "C" > z.done_iccid THEN z.former_zone ELSE t.time_zone END
        FROM tenants t LEFT JOIN zone_changes z ON z.tenant_id = t.id WHERE t.id = tenant);
COMMENT ON FUNCTION rollup_zone IS 'Time zone in which the days of a SIM are counted at present';

CREATE FUNCTION rollup_begin() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    -- What follows the lock must see what was committed before it was granted.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'rollups need the isolation level READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('simbridge.rollup'));
    -- They stay with the connection; made once, they cost the catalogue nothing more.
    IF to_regclass('pg_temp.rollup_changes') IS NULL THEN
        -- Signed amounts by SIM and hour; removed tells rows that take something away from rows that add.
        CREATE TEMPORARY TABLE rollup_changes (
            tenant_id integer, iccid text COLLATE "C", hour timestamptz, usage_date date, carrier_id integer,
            rate_plan_id integer, mccmnc text COLLATE "C", cycle_id text COLLATE "C", upload numeric, download numeric,
            total numeric, sms numeric, voice numeric, records bigint, corrections bigint, latest_event_at timestamptz,
            removed boolean) ON COMMIT DELETE ROWS;
        -- The same by day.
        CREATE TEMPORARY TABLE rollup_days (
            row_number bigint, used boolean, tenant_id integer, iccid text COLLATE "C", usage_date date, carrier_id integer, rate_plan_id integer,
            mccmnc text COLLATE "C", cycle_id text COLLATE "C", upload numeric, download numeric, total numeric, sms numeric,
            voice numeric, records bigint, corrections bigint, latest_event_at timestamptz, removed boolean, cost numeric)
            ON COMMIT DELETE ROWS;
        -- Those of them whose row was there already.
        CREATE TEMPORARY TABLE rollup_updated (
            row_number bigint, active boolean, was_active boolean, corrected boolean) ON COMMIT DELETE ROWS;
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
    END IF;
    DELETE FROM rollup_changes;
    DELETE FROM rollup_allowances;
END $$;
COMMENT ON FUNCTION rollup_begin IS 'Takes the rollup lock until the end of the transaction and makes an empty rollup_changes';

CREATE FUNCTION ensure_rollup_partitions(earliest date, latest date) RETURNS integer
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
            IF to_regclass(name) IS NULL THEN
                EXECUTE format('CREATE TABLE %I (LIKE sim_daily_usage INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES) '
                               'WITH (fillfactor = 80)', name);
                EXECUTE format('ALTER TABLE sim_daily_usage ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                               name, month, (month + interval '1 month')::date);
                created := created + 1;
            END IF;
        END IF;
        month := (month + interval '1 month')::date;
    END LOOP;
    RETURN created;
END $$;
COMMENT ON FUNCTION ensure_rollup_partitions IS 'Makes the monthly partitions of sim_daily_usage for a range of days; returns how many it made';

CREATE FUNCTION number_sims() RETURNS void
LANGUAGE sql AS $$
    WITH fresh AS (
        SELECT DISTINCT c.tenant_id, c.iccid FROM rollup_changes c
        WHERE NOT EXISTS (SELECT FROM sim_numbers n WHERE n.tenant_id = c.tenant_id AND n.iccid = c.iccid)
    ), used AS MATERIALIZED (
        -- Once for each tenant: asked again for each row, the index would be read through all that was just inserted.
        SELECT t.tenant_id, coalesce((SELECT max(n.number) + 1 FROM sim_numbers n WHERE n.tenant_id = t.tenant_id), 0) AS next
        FROM (SELECT DISTINCT tenant_id FROM fresh) AS t
    )
    INSERT INTO sim_numbers (tenant_id, iccid, number)
    SELECT tenant_id, iccid, used.next + row_number() OVER (PARTITION BY tenant_id ORDER BY iccid) - 1
    FROM fresh JOIN used USING (tenant_id)
$$;
COMMENT ON FUNCTION number_sims IS 'Gives the SIMs in rollup_changes a number if they have none';

CREATE FUNCTION fold_rollup_days() RETURNS void
LANGUAGE sql AS $$
    DELETE FROM rollup_days;
    INSERT INTO rollup_days
    SELECT row_number() OVER (), (c.upload, c.download, c.total, c.sms, c.voice) <> (0, 0, 0, 0, 0), c.*, CASE WHEN p.included_bytes = 0 THEN c.total * price_per_byte(p.price_per_mb) ELSE 0 END
    FROM (SELECT tenant_id, iccid, usage_date, carrier_id, rate_plan_id, mccmnc, cycle_id, sum(upload) AS upload,
                 sum(download) AS download, sum(total) AS total, sum(sms) AS sms, sum(voice) AS voice, sum(records), sum(corrections), max(latest_event_at),
                 bool_or(removed)
          FROM rollup_changes
          GROUP BY tenant_id, iccid, usage_date, carrier_id, rate_plan_id, mccmnc, cycle_id) AS c
    LEFT JOIN rate_plans p ON p.id = c.rate_plan_id;
    INSERT INTO rollup_allowances
    SELECT d.tenant_id, d.iccid, d.cycle_id, d.rate_plan_id, min(d.usage_date), sum(d.total), sum(d.corrections), false
    FROM rollup_days d JOIN rate_plans p ON p.id = d.rate_plan_id AND p.included_bytes > 0
    GROUP BY d.tenant_id, d.iccid, d.cycle_id, d.rate_plan_id;
$$;
COMMENT ON FUNCTION fold_rollup_days IS 'Adds rollup_changes up by day, with the cost where it follows from the volume alone';

-- The planner takes a join by seven columns for one row, and would rather read a whole month than ask its index often. Where the
-- index is right at any size, nothing else is left to it.
CREATE FUNCTION update_sim_days() RETURNS void
LANGUAGE sql SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off AS $$
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
        -- In the order of the index, so that neighbours share its pages.
        FROM (SELECT * FROM rollup_days ORDER BY tenant_id, usage_date, iccid) AS d
        WHERE s.tenant_id = d.tenant_id AND s.iccid = d.iccid AND s.usage_date = d.usage_date
          AND s.carrier_id = d.carrier_id AND s.rate_plan_id = d.rate_plan_id AND s.mccmnc = d.mccmnc
          AND s.cycle_id = d.cycle_id
        RETURNING d.row_number,
            (s.data_upload_bytes, s.data_download_bytes, s.total_bytes, s.sms_count, s.voice_seconds)
                <> (0, 0, 0, 0, 0) AS active,
            -- What the row held before is what it holds now less what was added.
            (s.data_upload_bytes - d.upload, s.data_download_bytes - d.download, s.total_bytes - d.total,
             s.sms_count - d.sms, s.voice_seconds - d.voice) <> (0, 0, 0, 0, 0) AS was_active,
            s.correction_count > 0 AS corrected
    )
    INSERT INTO rollup_updated SELECT * FROM updated;
$$;

CREATE FUNCTION add_to_sim_days() RETURNS void
LANGUAGE sql AS $$
    -- Nobody else adds rows while we hold the lock, so UPDATE and then INSERT of the rest does what ON CONFLICT does, and does
    -- not lock each row before it changes it.
    SELECT update_sim_days();
    INSERT INTO sim_daily_usage (
        tenant_id, iccid, usage_date, carrier_id, rate_plan_id, mccmnc, cycle_id, data_upload_bytes, data_download_bytes,
        total_bytes, sms_count, voice_seconds, record_count, correction_count, latest_event_at, cost)
    SELECT d.tenant_id, d.iccid, d.usage_date, d.carrier_id, d.rate_plan_id, d.mccmnc, d.cycle_id, d.upload, d.download,
           d.total, d.sms, d.voice, d.records, d.corrections, d.latest_event_at, d.cost
    FROM rollup_days d
    WHERE NOT EXISTS (SELECT FROM rollup_updated u WHERE u.row_number = d.row_number)
    ORDER BY d.tenant_id, d.iccid, d.usage_date;

    DELETE FROM rollup_transitions;
    INSERT INTO rollup_transitions
    SELECT d.tenant_id, d.iccid, d.usage_date, d.carrier_id, d.rate_plan_id, d.mccmnc, d.cycle_id, n.number,
           coalesce(u.active, d.used), coalesce(u.was_active, false),
           d.removed OR d.corrections <> 0 OR coalesce(u.corrected, false)
    FROM rollup_days d
    LEFT JOIN rollup_updated u ON u.row_number = d.row_number
    JOIN sim_numbers n ON n.tenant_id = d.tenant_id AND n.iccid = d.iccid
    WHERE coalesce(u.active, d.used) <> coalesce(u.was_active, false)
       OR d.removed OR d.corrections <> 0 OR coalesce(u.corrected, false);
$$;
COMMENT ON FUNCTION add_to_sim_days IS 'Adds rollup_days to sim_daily_usage and notes which SIMs became active or inactive by that';

CREATE FUNCTION update_allowances() RETURNS void
LANGUAGE sql SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off AS $$
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

CREATE FUNCTION add_to_allowances() RETURNS void
LANGUAGE sql AS $$
    DELETE FROM rollup_volumes;
    INSERT INTO rollup_volumes
    SELECT row_number() OVER (), a.*, p.included_bytes, p.price_per_mb
    FROM (SELECT tenant_id, iccid, rate_plan_id, cycle_id, sum(total) AS total, sum(corrections) AS corrections,
                 min(usage_date) AS usage_date, bool_or(forced) AS forced
          FROM rollup_allowances GROUP BY tenant_id, iccid, rate_plan_id, cycle_id) AS a
    JOIN rate_plans p ON p.id = a.rate_plan_id
    ORDER BY a.tenant_id, a.iccid;
    SELECT update_allowances();
    INSERT INTO sim_allowances (tenant_id, iccid, rate_plan_id, cycle_id, total_bytes, correction_count)
    SELECT a.tenant_id, a.iccid, a.rate_plan_id, a.cycle_id, a.total, a.corrections
    FROM rollup_volumes a
    WHERE NOT EXISTS (SELECT FROM rollup_volumes_updated u WHERE u.row_number = a.row_number)
    ORDER BY a.tenant_id, a.iccid;
    -- Below the volume now and before, without anything taken back: every day costs nothing and did so.
    DELETE FROM rollup_volumes a
    USING (SELECT v.row_number, coalesce(u.total_bytes, v.total) AS total_bytes, coalesce(u.correction_count, 0) AS corrections
           FROM rollup_volumes v LEFT JOIN rollup_volumes_updated u USING (row_number)) AS held
    WHERE held.row_number = a.row_number AND greatest(held.total_bytes, held.total_bytes - a.total) <= a.included_bytes
      AND held.corrections = 0 AND a.corrections = 0 AND NOT a.forced;
$$;
COMMENT ON FUNCTION add_to_allowances IS
    'Adds rollup_allowances to sim_allowances and leaves in rollup_volumes the cycles whose days have to be priced';

CREATE FUNCTION price_days() RETURNS void
LANGUAGE sql SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off AS $$
    -- The included volume of a plan is used up in the order of the days, so a change may shift the price of every later day of
    -- its cycle. A cycle is two months long at most (the one in which the cycle day was changed): 70 days reach across it.
    WITH priced AS (
        SELECT s.*, v.included_bytes, v.price_per_mb,
               sum(s.total_bytes) OVER (PARTITION BY s.tenant_id, s.iccid, s.cycle_id, s.rate_plan_id
                                        ORDER BY s.usage_date, s.carrier_id, s.mccmnc) AS bytes_after
        FROM rollup_volumes v
        CROSS JOIN LATERAL (
            SELECT l.* FROM sim_daily_usage l
            WHERE l.tenant_id = v.tenant_id AND l.iccid = v.iccid AND l.cycle_id = v.cycle_id
              AND l.rate_plan_id = v.rate_plan_id AND l.usage_date BETWEEN v.usage_date - 70 AND v.usage_date + 70) AS s
    ), costs AS (
        SELECT p.*, (greatest(p.bytes_after - p.included_bytes, 0)
                     - greatest(p.bytes_after - p.total_bytes - p.included_bytes, 0)) * price_per_byte(p.price_per_mb) AS due
        FROM priced p
    ), repriced AS (
        UPDATE sim_daily_usage s SET cost = c.due
        FROM costs c
        WHERE c.due <> c.cost AND s.tenant_id = c.tenant_id AND s.iccid = c.iccid AND s.usage_date = c.usage_date
          AND s.carrier_id = c.carrier_id AND s.rate_plan_id = c.rate_plan_id AND s.mccmnc = c.mccmnc
          AND s.cycle_id = c.cycle_id
        RETURNING s.tenant_id, s.usage_date, s.carrier_id, s.mccmnc, c.due - c.cost AS added
    )
    INSERT INTO rollup_costs
    SELECT tenant_id, usage_date, carrier_id, mccmnc, sum(added) FROM repriced
    GROUP BY tenant_id, usage_date, carrier_id, mccmnc;
$$;

CREATE FUNCTION price_allowances() RETURNS void
LANGUAGE sql AS $$
    DELETE FROM rollup_costs;
    INSERT INTO rollup_costs
    SELECT tenant_id, usage_date, carrier_id, mccmnc, sum(cost) FROM rollup_days WHERE cost <> 0
    GROUP BY tenant_id, usage_date, carrier_id, mccmnc;
    SELECT add_to_allowances();
    SELECT price_days();
$$;
COMMENT ON FUNCTION price_allowances IS
    'Notes what rollup_days cost, and prices the days of the cycles in rollup_allowances, whose plans include a volume';

CREATE FUNCTION add_to_hours() RETURNS void
LANGUAGE sql AS $$
    INSERT INTO hourly_usage AS held (
        tenant_id, hour, carrier_id, mccmnc, data_upload_bytes, data_download_bytes, total_bytes, sms_count, voice_seconds,
        record_count)
    SELECT tenant_id, hour, carrier_id, mccmnc, sum(upload), sum(download), sum(total), sum(sms), sum(voice), sum(records)
    FROM rollup_changes GROUP BY tenant_id, hour, carrier_id, mccmnc
    ON CONFLICT (tenant_id, hour, carrier_id, mccmnc) DO UPDATE SET
        data_upload_bytes = held.data_upload_bytes + excluded.data_upload_bytes,
        data_download_bytes = held.data_download_bytes + excluded.data_download_bytes,
        total_bytes = held.total_bytes + excluded.total_bytes,
        sms_count = held.sms_count + excluded.sms_count,
        voice_seconds = held.voice_seconds + excluded.voice_seconds,
        record_count = held.record_count + excluded.record_count;
$$;

CREATE FUNCTION add_to_networks() RETURNS void
LANGUAGE sql AS $$
    INSERT INTO daily_network_usage AS held (
        tenant_id, usage_date, carrier_id, mccmnc, data_upload_bytes, data_download_bytes, total_bytes, sms_count,
        voice_seconds, record_count, cost)
    SELECT tenant_id, usage_date, carrier_id, mccmnc, coalesce(d.upload, 0), coalesce(d.download, 0), coalesce(d.total, 0),
           coalesce(d.sms, 0), coalesce(d.voice, 0), coalesce(d.records, 0), coalesce(c.cost, 0)
    FROM (SELECT tenant_id, usage_date, carrier_id, mccmnc, sum(upload) AS upload, sum(download) AS download,
                 sum(total) AS total, sum(sms) AS sms, sum(voice) AS voice, sum(records) AS records
          FROM rollup_days GROUP BY tenant_id, usage_date, carrier_id, mccmnc) AS d
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

-- A SIM is active in an hour, on a day or in a month when one of the rows that it is billed by there (its day in the tenant's
-- zone, carrier, plan, network, cycle) has an amount other than 0.
CREATE FUNCTION activate_days() RETURNS void
LANGUAGE sql AS $$
    INSERT INTO daily_active_sims AS held (tenant_id, usage_date, carrier_id, mccmnc, chunk, sims)
    SELECT tenant_id, usage_date, carrier_id, mccmnc, number / 2048, bit_or(set_bit(no_sims(), number % 2048, 1))
    FROM rollup_transitions WHERE active AND NOT was_active
    GROUP BY tenant_id, usage_date, carrier_id, mccmnc, number / 2048
    ON CONFLICT (tenant_id, usage_date, carrier_id, mccmnc, chunk) DO UPDATE SET sims = held.sims | excluded.sims;

    INSERT INTO monthly_active_sims AS held (tenant_id, month, carrier_id, mccmnc, chunk, sims)
    SELECT tenant_id, date_trunc('month', usage_date)::date AS month, carrier_id, mccmnc, number / 2048,
           bit_or(set_bit(no_sims(), number % 2048, 1))
    FROM rollup_transitions WHERE active AND NOT was_active
    GROUP BY tenant_id, date_trunc('month', usage_date)::date, carrier_id, mccmnc, number / 2048
    ON CONFLICT (tenant_id, month, carrier_id, mccmnc, chunk) DO UPDATE SET sims = held.sims | excluded.sims
    WHERE held.sims | excluded.sims <> held.sims;
$$;

CREATE FUNCTION deactivate_days() RETURNS void
LANGUAGE sql AS $$
    -- A SIM stays in the set of a day or month while another of its rows is active there.
    WITH gone AS (
        SELECT DISTINCT t.tenant_id, t.iccid, t.usage_date, t.carrier_id, t.mccmnc, t.number
        FROM rollup_transitions t
        WHERE t.was_active AND NOT t.active
          AND NOT EXISTS (
              SELECT FROM sim_daily_usage s
              WHERE s.tenant_id = t.tenant_id AND s.iccid = t.iccid AND s.usage_date = t.usage_date
                AND s.carrier_id = t.carrier_id AND s.mccmnc = t.mccmnc
                AND (s.data_upload_bytes, s.data_download_bytes, s.total_bytes, s.sms_count, s.voice_seconds)
                    <> (0, 0, 0, 0, 0))
    ), cleared AS (
        SELECT tenant_id, usage_date, carrier_id, mccmnc, number / 2048 AS chunk,
               bit_or(set_bit(no_sims(), number % 2048, 1)) AS sims
        FROM gone GROUP BY tenant_id, usage_date, carrier_id, mccmnc, number / 2048
    )
    UPDATE daily_active_sims held SET sims = held.sims & ~cleared.sims
    FROM cleared WHERE held.tenant_id = cleared.tenant_id AND held.usage_date = cleared.usage_date
                   AND held.carrier_id = cleared.carrier_id AND held.mccmnc = cleared.mccmnc AND held.chunk = cleared.chunk;

    WITH gone AS (
        SELECT DISTINCT t.tenant_id, t.iccid, date_trunc('month', t.usage_date)::date AS month, t.carrier_id, t.mccmnc,
               t.number
        FROM rollup_transitions t
        WHERE t.was_active AND NOT t.active
          AND NOT EXISTS (
              SELECT FROM sim_daily_usage s
              WHERE s.tenant_id = t.tenant_id AND s.iccid = t.iccid AND s.carrier_id = t.carrier_id AND s.mccmnc = t.mccmnc
                AND s.usage_date >= date_trunc('month', t.usage_date)::date
                AND s.usage_date < (date_trunc('month', t.usage_date) + interval '1 month')::date
                AND (s.data_upload_bytes, s.data_download_bytes, s.total_bytes, s.sms_count, s.voice_seconds)
                    <> (0, 0, 0, 0, 0))
    ), cleared AS (
        SELECT tenant_id, month, carrier_id, mccmnc, number / 2048 AS chunk,
               bit_or(set_bit(no_sims(), number % 2048, 1)) AS sims
        FROM gone GROUP BY tenant_id, month, carrier_id, mccmnc, number / 2048
    )
    UPDATE monthly_active_sims held SET sims = held.sims & ~cleared.sims
    FROM cleared WHERE held.tenant_id = cleared.tenant_id AND held.month = cleared.month
                   AND held.carrier_id = cleared.carrier_id AND held.mccmnc = cleared.mccmnc AND held.chunk = cleared.chunk;
$$;

CREATE FUNCTION activate_hours() RETURNS void
LANGUAGE sql AS $$
    -- Where nothing was ever taken away, an amount that is added is usage; elsewhere only the records tell (recheck_hours).
    INSERT INTO hourly_active_sims AS held (tenant_id, hour, carrier_id, mccmnc, chunk, sims)
    SELECT c.tenant_id, c.hour, c.carrier_id, c.mccmnc, n.number / 2048, bit_or(set_bit(no_sims(), n.number % 2048, 1))
    FROM rollup_changes c
    JOIN sim_numbers n ON n.tenant_id = c.tenant_id AND n.iccid = c.iccid
    LEFT JOIN rollup_transitions t
        ON t.recheck AND t.tenant_id = c.tenant_id AND t.iccid = c.iccid AND t.usage_date = c.usage_date
       AND t.carrier_id = c.carrier_id AND t.rate_plan_id = c.rate_plan_id AND t.mccmnc = c.mccmnc AND t.cycle_id = c.cycle_id
    WHERE t.tenant_id IS NULL AND (c.upload, c.download, c.total, c.sms, c.voice) <> (0, 0, 0, 0, 0)
    GROUP BY c.tenant_id, c.hour, c.carrier_id, c.mccmnc, n.number / 2048
    ON CONFLICT (tenant_id, hour, carrier_id, mccmnc, chunk) DO UPDATE SET sims = held.sims | excluded.sims
    WHERE held.sims | excluded.sims <> held.sims;
$$;

CREATE FUNCTION recheck_hours() RETURNS void
LANGUAGE sql AS $$
    WITH asked AS (
        SELECT DISTINCT c.tenant_id, c.iccid, c.hour, c.carrier_id, c.mccmnc, t.number
        FROM rollup_transitions t
        JOIN rollup_changes c USING (tenant_id, iccid, usage_date, carrier_id, rate_plan_id, mccmnc, cycle_id)
        WHERE t.recheck
    ), answered AS (
        SELECT a.*, EXISTS (
            SELECT FROM usage_records r
            WHERE r.iccid = a.iccid AND r.period_start >= a.hour AND r.period_start < a.hour + interval '1 hour'
              AND r.tenant_id = a.tenant_id AND coalesce(r.carrier_id, 0) = a.carrier_id AND coalesce(r.mccmnc, '') = a.mccmnc
              AND NOT EXISTS (SELECT FROM rollup_markers m WHERE m.write_id = r.write_id)
            GROUP BY (r.period_start AT TIME ZONE rollup_zone(a.tenant_id, a.iccid))::date, r.rate_plan_id, r.cycle_id
            HAVING (sum(r.data_upload_bytes), sum(r.data_download_bytes), sum(r.total_bytes), sum(r.sms_count),
                    sum(r.voice_seconds)) <> (0, 0, 0, 0, 0)) AS active
        FROM asked a
    ), sets AS (
        SELECT tenant_id, hour, carrier_id, mccmnc, number / 2048 AS chunk,
               coalesce(bit_or(set_bit(no_sims(), number % 2048, 1)) FILTER (WHERE active), no_sims()) AS present,
               coalesce(bit_or(set_bit(no_sims(), number % 2048, 1)) FILTER (WHERE NOT active), no_sims()) AS absent
        FROM answered GROUP BY tenant_id, hour, carrier_id, mccmnc, number / 2048
    )
    INSERT INTO hourly_active_sims AS held (tenant_id, hour, carrier_id, mccmnc, chunk, sims)
    SELECT tenant_id, hour, carrier_id, mccmnc, chunk, present FROM sets
    ON CONFLICT (tenant_id, hour, carrier_id, mccmnc, chunk) DO UPDATE SET
        sims = (held.sims | excluded.sims) & ~(
            SELECT s.absent FROM sets s
            WHERE (s.tenant_id, s.hour, s.carrier_id, s.mccmnc, s.chunk)
                  = (excluded.tenant_id, excluded.hour, excluded.carrier_id, excluded.mccmnc, excluded.chunk));
$$;
COMMENT ON FUNCTION recheck_hours IS 'Decides from the records whether a SIM is active in an hour, where something was taken away';

CREATE FUNCTION recheck_latest_events() RETURNS void
LANGUAGE sql AS $$
    UPDATE sim_daily_usage s SET latest_event_at = (
        SELECT max(r.period_end) FROM usage_records r
        WHERE r.iccid = s.iccid AND r.tenant_id = s.tenant_id
          -- A day in any zone lies within these bounds.
          AND r.period_start >= s.usage_date::timestamp AT TIME ZONE 'UTC' - interval '1 day'
          AND r.period_start < s.usage_date::timestamp AT TIME ZONE 'UTC' + interval '2 days'
          AND (r.period_start AT TIME ZONE rollup_zone(s.tenant_id, s.iccid))::date = s.usage_date
          AND coalesce(r.carrier_id, 0) = s.carrier_id AND coalesce(r.rate_plan_id, 0) = s.rate_plan_id
          AND coalesce(r.mccmnc, '') = s.mccmnc AND coalesce(r.cycle_id, '') = s.cycle_id
          AND NOT EXISTS (SELECT FROM rollup_markers m WHERE m.write_id = r.write_id))
    FROM rollup_days d
    WHERE d.removed AND s.tenant_id = d.tenant_id AND s.iccid = d.iccid AND s.usage_date = d.usage_date
      AND s.carrier_id = d.carrier_id AND s.rate_plan_id = d.rate_plan_id AND s.mccmnc = d.mccmnc
      AND s.cycle_id = d.cycle_id AND s.record_count > 0;
$$;

CREATE FUNCTION remove_empty_rollups() RETURNS void
LANGUAGE sql AS $$
    -- Only what took something away can leave an empty row behind.
    DELETE FROM sim_daily_usage s USING rollup_days d
    WHERE d.removed AND s.tenant_id = d.tenant_id AND s.iccid = d.iccid AND s.usage_date = d.usage_date
      AND s.carrier_id = d.carrier_id AND s.rate_plan_id = d.rate_plan_id AND s.mccmnc = d.mccmnc
      AND s.cycle_id = d.cycle_id AND s.record_count = 0;
    DELETE FROM sim_allowances s USING rollup_days d
    WHERE d.removed AND s.tenant_id = d.tenant_id AND s.iccid = d.iccid AND s.rate_plan_id = d.rate_plan_id
      AND s.cycle_id = d.cycle_id AND s.total_bytes = 0
      AND NOT EXISTS (SELECT FROM sim_daily_usage l
                      WHERE l.tenant_id = s.tenant_id AND l.iccid = s.iccid AND l.rate_plan_id = s.rate_plan_id
                        AND l.cycle_id = s.cycle_id AND l.usage_date BETWEEN d.usage_date - 70 AND d.usage_date + 70);
    DELETE FROM daily_network_usage s USING (SELECT DISTINCT tenant_id, usage_date FROM rollup_days WHERE removed) d
    WHERE s.tenant_id = d.tenant_id AND s.usage_date = d.usage_date AND s.record_count = 0;
    DELETE FROM hourly_usage s USING (SELECT DISTINCT tenant_id, hour FROM rollup_changes WHERE removed) c
    WHERE s.tenant_id = c.tenant_id AND s.hour = c.hour AND s.record_count = 0;
    DELETE FROM hourly_active_sims s USING (SELECT DISTINCT tenant_id, hour FROM rollup_changes WHERE removed) c
    WHERE s.tenant_id = c.tenant_id AND s.hour = c.hour AND s.sims = no_sims();
    DELETE FROM daily_active_sims s USING (SELECT DISTINCT tenant_id, usage_date FROM rollup_days WHERE removed) d
    WHERE s.tenant_id = d.tenant_id AND s.usage_date = d.usage_date AND s.sims = no_sims();
    DELETE FROM monthly_active_sims s
    USING (SELECT DISTINCT tenant_id, date_trunc('month', usage_date)::date AS month FROM rollup_days WHERE removed) d
    WHERE s.tenant_id = d.tenant_id AND s.month = d.month AND s.sims = no_sims();
$$;

CREATE FUNCTION count_active_sims() RETURNS void
LANGUAGE sql AS $$
    UPDATE hourly_usage u SET active_sim_count = coalesce((
        SELECT sum(bit_count(a.sims)) FROM hourly_active_sims a
        WHERE a.tenant_id = u.tenant_id AND a.hour = u.hour AND a.carrier_id = u.carrier_id AND a.mccmnc = u.mccmnc), 0)
    FROM (SELECT DISTINCT tenant_id, hour, carrier_id, mccmnc FROM rollup_changes) AS c
    WHERE u.tenant_id = c.tenant_id AND u.hour = c.hour AND u.carrier_id = c.carrier_id AND u.mccmnc = c.mccmnc;

    UPDATE daily_network_usage u SET active_sim_count = coalesce((
        SELECT sum(bit_count(a.sims)) FROM daily_active_sims a
        WHERE a.tenant_id = u.tenant_id AND a.usage_date = u.usage_date AND a.carrier_id = u.carrier_id
          AND a.mccmnc = u.mccmnc), 0)
    FROM (SELECT DISTINCT tenant_id, usage_date, carrier_id, mccmnc FROM rollup_transitions) AS t
    WHERE u.tenant_id = t.tenant_id AND u.usage_date = t.usage_date AND u.carrier_id = t.carrier_id AND u.mccmnc = t.mccmnc;
$$;

CREATE FUNCTION sum_days(tenants integer[], days date[], carriers integer[]) RETURNS integer
LANGUAGE sql AS $$
    -- Small tables: sums over networks and over the days of a month are simply made again.
    DELETE FROM daily_usage u USING unnest(tenants, days, carriers) AS d (tenant_id, usage_date, carrier_id)
    WHERE u.tenant_id = d.tenant_id AND u.usage_date = d.usage_date AND u.carrier_id = d.carrier_id
      AND NOT EXISTS (SELECT FROM daily_network_usage n
                      WHERE n.tenant_id = u.tenant_id AND n.usage_date = u.usage_date AND n.carrier_id = u.carrier_id);
    WITH stored AS (
        INSERT INTO daily_usage AS held (
            tenant_id, usage_date, carrier_id, data_bytes, cost, active_sim_count, data_upload_bytes, data_download_bytes,
            sms_count, voice_seconds, record_count)
        SELECT n.tenant_id, n.usage_date, n.carrier_id, sum(n.total_bytes), sum(n.cost), coalesce((
                   SELECT sum(bit_count(united.sims)) FROM (
                       SELECT bit_or(a.sims) AS sims FROM daily_active_sims a
                       WHERE a.tenant_id = n.tenant_id AND a.usage_date = n.usage_date AND a.carrier_id = n.carrier_id
                       GROUP BY a.chunk) AS united), 0),
               sum(n.data_upload_bytes), sum(n.data_download_bytes), sum(n.sms_count), sum(n.voice_seconds),
               sum(n.record_count)
        FROM unnest(tenants, days, carriers) AS d (tenant_id, usage_date, carrier_id)
        JOIN daily_network_usage n USING (tenant_id, usage_date, carrier_id)
        GROUP BY n.tenant_id, n.usage_date, n.carrier_id
        ON CONFLICT (tenant_id, usage_date, carrier_id) DO UPDATE SET
            data_bytes = excluded.data_bytes, cost = excluded.cost, active_sim_count = excluded.active_sim_count,
            data_upload_bytes = excluded.data_upload_bytes, data_download_bytes = excluded.data_download_bytes,
            sms_count = excluded.sms_count, voice_seconds = excluded.voice_seconds, record_count = excluded.record_count,
            updated_at = now()
        RETURNING 1
    )
    SELECT count(*)::integer FROM stored;
$$;
COMMENT ON FUNCTION sum_days IS 'Makes rows of daily_usage, each named once, from daily_network_usage; returns how many it stored';

CREATE FUNCTION sum_months(tenants integer[], months date[], carriers integer[]) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM usage_aggregations u USING unnest(tenants, months, carriers) AS m (tenant_id, month, carrier_id)
    WHERE u.tenant_id = m.tenant_id AND u.period_start = m.month AND u.carrier_id = m.carrier_id
      AND NOT EXISTS (SELECT FROM daily_usage d
                      WHERE d.tenant_id = u.tenant_id AND d.carrier_id = u.carrier_id AND d.usage_date >= m.month
                        AND d.usage_date < (m.month + interval '1 month')::date);
    INSERT INTO usage_aggregations AS held (
        tenant_id, period_start, period_end, carrier_id, total_data_bytes, total_cost, active_sim_count, total_upload_bytes,
        total_download_bytes, sms_count, voice_seconds, record_count)
    SELECT m.tenant_id, m.month, (m.month + interval '1 month' - interval '1 day')::date, m.carrier_id, sum(d.data_bytes),
           sum(d.cost), coalesce((
               SELECT sum(bit_count(united.sims)) FROM (
                   SELECT bit_or(a.sims) AS sims FROM monthly_active_sims a
                   WHERE a.tenant_id = m.tenant_id AND a.month = m.month AND a.carrier_id = m.carrier_id
                   GROUP BY a.chunk) AS united), 0),
           sum(d.data_upload_bytes), sum(d.data_download_bytes), sum(d.sms_count), sum(d.voice_seconds), sum(d.record_count)
    FROM unnest(tenants, months, carriers) AS m (tenant_id, month, carrier_id)
    JOIN daily_usage d ON d.tenant_id = m.tenant_id AND d.carrier_id = m.carrier_id AND d.usage_date >= m.month
                      AND d.usage_date < (m.month + interval '1 month')::date
    GROUP BY m.tenant_id, m.month, m.carrier_id
    ON CONFLICT (tenant_id, period_start, carrier_id) DO UPDATE SET
        total_data_bytes = excluded.total_data_bytes, total_cost = excluded.total_cost,
        active_sim_count = excluded.active_sim_count, total_upload_bytes = excluded.total_upload_bytes,
        total_download_bytes = excluded.total_download_bytes, sms_count = excluded.sms_count,
        voice_seconds = excluded.voice_seconds, record_count = excluded.record_count, updated_at = now();
$$;
COMMENT ON FUNCTION sum_months IS 'Makes rows of usage_aggregations, each named once, from daily_usage and the sets of active SIMs';

CREATE FUNCTION sum_touched() RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    days   record;
    months record;
    stored integer;
BEGIN
    SELECT array_agg(t.tenant_id) AS tenants, array_agg(t.usage_date) AS dates, array_agg(t.carrier_id) AS carriers INTO days
    FROM (SELECT tenant_id, usage_date, carrier_id FROM rollup_days
          UNION SELECT tenant_id, usage_date, carrier_id FROM rollup_costs) AS t;
    SELECT array_agg(t.tenant_id) AS tenants, array_agg(t.month) AS dates, array_agg(t.carrier_id) AS carriers INTO months
    FROM (SELECT DISTINCT d.tenant_id, date_trunc('month', d.usage_date)::date AS month, d.carrier_id
          FROM unnest(days.tenants, days.dates, days.carriers) AS d (tenant_id, usage_date, carrier_id)) AS t;
    stored := sum_days(days.tenants, days.dates, days.carriers);
    PERFORM sum_months(months.tenants, months.dates, months.carriers);
    RETURN stored;
END $$;
COMMENT ON FUNCTION sum_touched IS 'Makes daily_usage and usage_aggregations again where rollup_days or rollup_costs touch them';

CREATE FUNCTION apply_rollup_changes() RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    touched record;
BEGIN
    SELECT min(usage_date) AS earliest, max(usage_date) AS latest, bool_or(removed) AS removed INTO touched
    FROM rollup_changes;
    IF touched.earliest IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM ensure_rollup_partitions(touched.earliest, touched.latest);
    PERFORM number_sims();
    PERFORM fold_rollup_days();
    PERFORM add_to_sim_days();
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
    PERFORM count_active_sims();
    RETURN sum_touched();
END $$;
COMMENT ON FUNCTION apply_rollup_changes IS
    'Adds what stands in rollup_changes to every rollup, after rollup_begin; returns how many rows of daily_usage it stored';

CREATE FUNCTION take_marked_records(markers bigint[]) RETURNS bigint
LANGUAGE sql AS $$
    WITH taken AS (
        DELETE FROM rollup_markers WHERE id = ANY (markers) RETURNING write_id, period_from, period_to
    ), folded AS (
        INSERT INTO rollup_changes
        SELECT r.tenant_id, r.iccid, date_trunc('hour', r.period_start, 'UTC'),
               (r.period_start AT TIME ZONE CASE WHEN r.iccid > z.done_iccid THEN z.former_zone ELSE t.time_zone END)::date,
               coalesce(r.carrier_id, 0), coalesce(r.rate_plan_id, 0), coalesce(r.mccmnc, ''), coalesce(r.cycle_id, ''),
               sum(r.data_upload_bytes), sum(r.data_download_bytes), sum(r.total_bytes), sum(r.sms_count),
               sum(r.voice_seconds), count(*), count(r.corrects), max(r.period_end), false
        FROM taken
        JOIN usage_records r ON r.write_id = taken.write_id
                            AND r.period_start BETWEEN taken.period_from AND taken.period_to
        JOIN tenants t ON t.id = r.tenant_id
        LEFT JOIN zone_changes z ON z.tenant_id = r.tenant_id
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
        RETURNING records
    )
    SELECT coalesce(sum(records), 0)::bigint FROM folded;
$$;
COMMENT ON FUNCTION take_marked_records IS 'Takes markers and puts what their records amount to into rollup_changes; returns the number of records';

CREATE FUNCTION roll_up_chunk(at_most_records bigint, OUT markers integer, OUT records bigint, OUT days integer)
-- What a chunk sorts and groups fits into memory.
LANGUAGE plpgsql SET work_mem = '64MB' SET jit = off AS $$
DECLARE
    ids bigint[];
BEGIN
    PERFORM rollup_begin();
    -- The oldest ones, as many as fit, and one in any case.
    SELECT array_agg(due.id) INTO ids
    FROM (SELECT m.id, sum(m.record_count) OVER (ORDER BY m.id) - m.record_count AS before
          FROM (SELECT id, record_count FROM rollup_markers ORDER BY id LIMIT 5000) AS m) AS due
    WHERE due.before < at_most_records;
    markers := coalesce(cardinality(ids), 0);
    records := 0;
    days := 0;
    IF markers > 0 THEN
        records := take_marked_records(ids);
        days := apply_rollup_changes();
    END IF;
END $$;
COMMENT ON FUNCTION roll_up_chunk IS
    'Adds the records of the oldest markers to every rollup; returns markers and records taken and rows of daily_usage stored';

CREATE FUNCTION aggregate_usage_to_daily() RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    chunk record;
    days  integer := 0;
BEGIN
    LOOP
        SELECT * INTO chunk FROM roll_up_chunk(50000);
        EXIT WHEN chunk.markers = 0;
        days := days + chunk.days;
    END LOOP;
    RETURN days;
END $$;
COMMENT ON FUNCTION aggregate_usage_to_daily IS
    'Refreshes what is due and returns how many rows of daily_usage changed; simbridge does it by itself, other readers may';
