-- What the consumption pages read: one range of days, one hour or one SIM at a time, never a sum over all records.
SET LOCAL check_function_bodies = off;

-- Rows by SIM and day are read by network and day; their primary key leads to the days of one SIM.
CREATE INDEX sim_daily_usage_by_network ON sim_daily_usage (tenant_id, mccmnc, usage_date, iccid);
CREATE INDEX provisioned_sims_located ON provisioned_sims (tenant_id, iccid)
    WHERE latitude IS NOT NULL AND longitude IS NOT NULL;
CREATE INDEX invoices_by_month ON invoices (tenant_id, period_start DESC, carrier_id);

-- Answers are kept while these stand still. Two rows a tenant, each behind a lock of its own (of the inventory, of the rollups),
-- so that whoever holds one of the locks never waits for a row of the other.
CREATE TABLE consumption_versions (
    tenant_id integer NOT NULL,
    subject   text NOT NULL CONSTRAINT consumption_versions_subject CHECK (subject IN ('rollups', 'inventory')),
    version   bigint NOT NULL,
    CONSTRAINT consumption_versions_pk PRIMARY KEY (tenant_id, subject)
) WITH (fillfactor = 50);
COMMENT ON TABLE consumption_versions IS
    'Counts changes of what the consumption pages show of a tenant: an answer made at these versions is true while they stand still';

CREATE FUNCTION count_consumption_changes() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO consumption_versions AS held (tenant_id, subject, version)
    SELECT DISTINCT c.tenant_id, TG_ARGV[0], 1 FROM changed c ORDER BY 1
    ON CONFLICT (tenant_id, subject) DO UPDATE SET version = held.version + 1;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION count_consumption_changes IS 'Trigger: counts up the versions of the tenants whose rows changed';

-- Every change of a rollup goes through this table too, in the same transaction.
CREATE TRIGGER daily_network_usage_added AFTER INSERT ON daily_network_usage REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_consumption_changes('rollups');
CREATE TRIGGER daily_network_usage_changed AFTER UPDATE ON daily_network_usage REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_consumption_changes('rollups');
CREATE TRIGGER daily_network_usage_removed AFTER DELETE ON daily_network_usage REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_consumption_changes('rollups');
CREATE TRIGGER provisioned_sims_added AFTER INSERT ON provisioned_sims REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_consumption_changes('inventory');
CREATE TRIGGER provisioned_sims_changed AFTER UPDATE ON provisioned_sims REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_consumption_changes('inventory');
-- A SIM that moves leaves a tenant too.
CREATE TRIGGER provisioned_sims_left AFTER UPDATE ON provisioned_sims REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_consumption_changes('inventory');
CREATE TRIGGER provisioned_sims_removed AFTER DELETE ON provisioned_sims REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_consumption_changes('inventory');

CREATE FUNCTION count_carrier_changes() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    -- Carriers are shared by all tenants.
    INSERT INTO consumption_versions AS held (tenant_id, subject, version)
    SELECT t.id, 'inventory', 1 FROM tenants t ORDER BY t.id
    ON CONFLICT (tenant_id, subject) DO UPDATE SET version = held.version + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER carriers_changed AFTER UPDATE ON carriers
    FOR EACH ROW WHEN ((OLD.name, OLD.mccmnc) IS DISTINCT FROM (NEW.name, NEW.mccmnc)) EXECUTE FUNCTION count_carrier_changes();

CREATE FUNCTION day_begins(day date, zone text) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
-- A midnight that happens twice is read as the second one, and the day begins with the first.
RETURN CASE WHEN (day::timestamp AT TIME ZONE zone - interval '1 hour') AT TIME ZONE zone >= day
            THEN day::timestamp AT TIME ZONE zone - interval '1 hour' ELSE day::timestamp AT TIME ZONE zone END;
COMMENT ON FUNCTION day_begins IS 'First moment of a day in a time zone';

CREATE FUNCTION active_sims(tenant integer, first date, last date, networks text[])
RETURNS TABLE (carrier_id integer, chunk integer, sims bit(2048))
LANGUAGE sql STABLE ROWS 100 AS $$
    WITH months AS (
        SELECT m::date AS month, greatest(m::date, first) AS from_day, (m + interval '1 month')::date AS next,
               least((m + interval '1 month')::date - 1, last) AS to_day
        FROM generate_series(date_trunc('month', first::timestamp), last::timestamp, interval '1 month') AS m
    ), parts AS MATERIALIZED (
        -- The set of a month does for it where the month has no usage outside the range.
        SELECT m.*, NOT EXISTS (SELECT FROM daily_network_usage u WHERE u.tenant_id = tenant
                                  AND u.usage_date >= m.month AND u.usage_date < m.from_day)
                AND NOT EXISTS (SELECT FROM daily_network_usage u WHERE u.tenant_id = tenant
                                  AND u.usage_date > m.to_day AND u.usage_date < m.next) AS whole
        FROM months m
    ), sets AS (
        SELECT a.carrier_id, a.chunk, a.sims FROM parts p
        CROSS JOIN LATERAL (SELECT * FROM monthly_active_sims x WHERE p.whole AND x.tenant_id = tenant AND x.month = p.month
                              AND (networks IS NULL OR x.mccmnc = ANY (networks)) OFFSET 0) AS a
        UNION ALL
        SELECT a.carrier_id, a.chunk, a.sims FROM parts p
        CROSS JOIN LATERAL (SELECT * FROM daily_active_sims x WHERE NOT p.whole AND x.tenant_id = tenant
                              AND x.usage_date >= p.from_day AND x.usage_date <= p.to_day
                              AND (networks IS NULL OR x.mccmnc = ANY (networks)) OFFSET 0) AS a
    )
    SELECT s.carrier_id, s.chunk, bit_or(s.sims) FROM sets s GROUP BY s.carrier_id, s.chunk
$$;
COMMENT ON FUNCTION active_sims IS 'SIMs with usage from day to day, by carrier, as sets; networks NULL for all';

CREATE FUNCTION usage_of_days(tenant integer, first date, last date, iccids text[], networks text[])
RETURNS TABLE (total_bytes numeric, cost numeric, sims bigint)
-- Without ROWS a join of three of them is taken for a thousand million rows, and compiled for longer than it runs.
LANGUAGE plpgsql STABLE ROWS 1 SET jit = off AS $$
BEGIN
    IF iccids IS NULL THEN
        RETURN QUERY
        SELECT coalesce(sum(u.total_bytes), 0), coalesce(sum(u.cost), 0),
               (SELECT coalesce(sum(bit_count(b.sims)), 0)::bigint
                FROM (SELECT bit_or(a.sims) AS sims FROM active_sims(tenant, first, last, networks) a GROUP BY a.chunk) AS b)
        FROM daily_network_usage u
        WHERE u.tenant_id = tenant AND u.usage_date >= first AND u.usage_date <= last
          AND (networks IS NULL OR u.mccmnc = ANY (networks));
    ELSE
        RETURN QUERY
        SELECT coalesce(sum(u.total_bytes), 0), coalesce(sum(u.cost), 0),
               count(DISTINCT u.iccid) FILTER (
                   WHERE (u.data_upload_bytes, u.data_download_bytes, u.total_bytes, u.sms_count, u.voice_seconds)
                         <> (0, 0, 0, 0, 0))
        FROM sim_daily_usage u
        WHERE u.tenant_id = tenant AND u.iccid = ANY (iccids) AND u.usage_date >= first AND u.usage_date <= last
          AND (networks IS NULL OR u.mccmnc = ANY (networks));
    END IF;
END $$;
COMMENT ON FUNCTION usage_of_days IS
    'Bytes, cost and distinct SIMs from day to day; iccids and networks NULL for all. One row';

CREATE FUNCTION usage_of_carriers(tenant integer, first date, last date, iccids text[], networks text[])
RETURNS TABLE (carrier_id integer, total_bytes numeric, cost numeric, sims bigint)
LANGUAGE plpgsql STABLE ROWS 10 SET jit = off AS $$
BEGIN
    IF iccids IS NULL THEN
        RETURN QUERY
        SELECT u.carrier_id, u.total_bytes, u.cost, coalesce(a.sims, 0)
        FROM (SELECT n.carrier_id, sum(n.total_bytes) AS total_bytes, sum(n.cost) AS cost FROM daily_network_usage n
              WHERE n.tenant_id = tenant AND n.usage_date >= first AND n.usage_date <= last
                AND (networks IS NULL OR n.mccmnc = ANY (networks))
              GROUP BY n.carrier_id) AS u
        LEFT JOIN (SELECT s.carrier_id, sum(bit_count(s.sims))::bigint AS sims
                   FROM active_sims(tenant, first, last, networks) s GROUP BY s.carrier_id) AS a USING (carrier_id);
    ELSE
        RETURN QUERY
        SELECT u.carrier_id, sum(u.total_bytes), sum(u.cost),
               count(DISTINCT u.iccid) FILTER (
                   WHERE (u.data_upload_bytes, u.data_download_bytes, u.total_bytes, u.sms_count, u.voice_seconds)
                         <> (0, 0, 0, 0, 0))
        FROM sim_daily_usage u
        WHERE u.tenant_id = tenant AND u.iccid = ANY (iccids) AND u.usage_date >= first AND u.usage_date <= last
          AND (networks IS NULL OR u.mccmnc = ANY (networks))
        GROUP BY u.carrier_id;
    END IF;
END $$;
COMMENT ON FUNCTION usage_of_carriers IS 'The same by carrier, 0 without one';

-- Rows of a network that are many more than are asked for: read in the order of the ICCIDs, it ends after those. The planner
-- would read, group and sort all of them.
CREATE FUNCTION first_details_of_day(tenant integer, day date, network text, after_iccid text, at_most bigint)
RETURNS TABLE (sim text, total_bytes numeric, latest_event_at timestamptz)
LANGUAGE sql STABLE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_hashagg = off AS $$
    SELECT u.iccid, sum(u.total_bytes), max(u.latest_event_at) FROM sim_daily_usage u
    WHERE u.tenant_id = tenant AND u.mccmnc = network AND u.usage_date = day AND u.iccid > after_iccid
    GROUP BY u.iccid ORDER BY u.iccid LIMIT at_most
$$;

CREATE FUNCTION first_details_of_days(tenant integer, first date, last date, network text, after_iccid text, at_most bigint)
RETURNS TABLE (sim text, total_bytes numeric, latest_event_at timestamptz)
LANGUAGE sql STABLE SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_hashagg = off AS $$
    SELECT u.iccid, sum(u.total_bytes), max(u.latest_event_at) FROM sim_daily_usage u
    WHERE u.tenant_id = tenant AND u.mccmnc = network AND u.usage_date >= first AND u.usage_date <= last AND u.iccid > after_iccid
    GROUP BY u.iccid ORDER BY u.iccid LIMIT at_most
$$;

CREATE FUNCTION usage_details(tenant integer, firsts date[], lasts date[], iccids text[], networks text[],
                              after_network text, after_iccid text, at_most bigint)
RETURNS TABLE (period integer, network text, sim text, total_bytes numeric, latest_event_at timestamptz)
LANGUAGE plpgsql STABLE ROWS 10000 SET jit = off AS $$
DECLARE
    found     record;
    begins    text;
    left_over bigint := at_most;
    returned  bigint;
BEGIN
    -- Period after period and network after network, so that it ends as soon as it has enough rows.
    FOR n IN 1 .. cardinality(firsts) LOOP
        FOR found IN
            SELECT u.mccmnc, sum(u.active_sim_count) AS rows FROM daily_network_usage u
            WHERE u.tenant_id = tenant AND u.usage_date >= firsts[n] AND u.usage_date <= lasts[n]
              AND (networks IS NULL OR u.mccmnc = ANY (networks))
              AND (n > 1 OR u.mccmnc >= after_network COLLATE "C")
            GROUP BY u.mccmnc ORDER BY u.mccmnc
        LOOP
            EXIT WHEN left_over <= 0;
            begins := CASE WHEN n = 1 AND found.mccmnc = after_network COLLATE "C" THEN after_iccid ELSE '' END;
            IF iccids IS NULL AND found.rows > 2 * left_over AND firsts[n] = lasts[n] THEN
                RETURN QUERY SELECT n, found.mccmnc, d.*
                FROM first_details_of_day(tenant, firsts[n], found.mccmnc, begins, left_over) AS d;
            ELSIF iccids IS NULL AND found.rows > 2 * left_over THEN
                RETURN QUERY SELECT n, found.mccmnc, d.*
                FROM first_details_of_days(tenant, firsts[n], lasts[n], found.mccmnc, begins, left_over) AS d;
            ELSIF iccids IS NULL THEN
                RETURN QUERY
                SELECT n, found.mccmnc, u.iccid, sum(u.total_bytes), max(u.latest_event_at) FROM sim_daily_usage u
                WHERE u.tenant_id = tenant AND u.mccmnc = found.mccmnc AND u.usage_date >= firsts[n]
                  AND u.usage_date <= lasts[n] AND u.iccid > begins
                GROUP BY u.iccid ORDER BY u.iccid LIMIT left_over;
            ELSE
                RETURN QUERY
                SELECT n, found.mccmnc, u.iccid, sum(u.total_bytes), max(u.latest_event_at) FROM sim_daily_usage u
                WHERE u.tenant_id = tenant AND u.mccmnc = found.mccmnc AND u.usage_date >= firsts[n]
                  AND u.usage_date <= lasts[n] AND u.iccid = ANY (iccids) AND u.iccid > begins
                GROUP BY u.iccid ORDER BY u.iccid LIMIT left_over;
            END IF;
            GET DIAGNOSTICS returned = ROW_COUNT;
            left_over := left_over - returned;
        END LOOP;
        EXIT WHEN left_over <= 0;
    END LOOP;
END $$;
COMMENT ON FUNCTION usage_details IS
    'Rows by period (its place in firsts and lasts), network and SIM, in this order, at most so many; in the first period those '
    'after a network and SIM only';

-- In functions, because a statement alone cannot say that it is not to be compiled, which would take ten times as long.
CREATE FUNCTION active_sim_places(tenant integer, first date, last date, iccids text[], networks text[], at_most bigint)
RETURNS TABLE (sim_id text, iccid text, name text, latitude double precision, longitude double precision, status text, carrier text)
LANGUAGE sql STABLE ROWS 10000 SET jit = off AS $$
    WITH sets AS MATERIALIZED (
        SELECT * FROM active_sims(tenant, first, last, networks)
    )
    SELECT p.sim_id, p.iccid, coalesce(p.device_name, p.iccid), p.latitude, p.longitude, p.status, used.carrier
    FROM provisioned_sims p
    JOIN sim_numbers n ON n.tenant_id = p.tenant_id AND n.iccid = p.iccid
    CROSS JOIN LATERAL (
        -- The carrier that it has now, if it used it in the range.
        SELECT coalesce(c.name, 'Unknown') AS carrier
        FROM sets s LEFT JOIN carriers c ON c.id = s.carrier_id
        WHERE s.chunk = n.number / 2048 AND get_bit(s.sims, n.number % 2048) = 1
        ORDER BY s.carrier_id <> coalesce(p.carrier_id, 0), s.carrier_id LIMIT 1) AS used
    WHERE p.tenant_id = tenant AND p.latitude IS NOT NULL AND p.longitude IS NOT NULL
      AND (iccids IS NULL OR p.iccid = ANY (iccids))
    ORDER BY p.iccid LIMIT at_most
$$;
COMMENT ON FUNCTION active_sim_places IS
    'SIMs with a place and usage from day to day, by ICCID, each under one of the carriers that it used';

CREATE FUNCTION usage_of_places(tenant integer, first date, last date, iccids text[], networks text[], at_most bigint)
RETURNS TABLE (place text, latitude double precision, longitude double precision, total_bytes numeric, sims bigint)
-- What it groups by SIM fits into memory.
LANGUAGE sql STABLE ROWS 1000 SET jit = off SET work_mem = '32MB' AS $$
    WITH used AS (
        SELECT u.iccid, sum(u.total_bytes) AS total_bytes
        FROM sim_daily_usage u
        WHERE u.tenant_id = tenant AND u.usage_date >= first AND u.usage_date <= last
          AND (iccids IS NULL OR u.iccid = ANY (iccids)) AND (networks IS NULL OR u.mccmnc = ANY (networks))
        GROUP BY u.iccid
    )
    SELECT coalesce(nullif(p.location_name, ''), format('%s, %s', round(p.latitude::numeric, 2), round(p.longitude::numeric, 2))),
           round(avg(p.latitude)::numeric, 6)::float8, round(avg(p.longitude)::numeric, 6)::float8, sum(u.total_bytes), count(*)
    FROM used u JOIN provisioned_sims p ON p.iccid = u.iccid
    WHERE p.tenant_id = tenant AND p.latitude IS NOT NULL AND p.longitude IS NOT NULL
    GROUP BY 1 ORDER BY 4 DESC, 1 LIMIT at_most
$$;
COMMENT ON FUNCTION usage_of_places IS
    'Bytes and SIMs from day to day by place, the largest first; SIMs that name none are placed by their coordinates';
