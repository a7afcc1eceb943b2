-- What is kept and for how long, and the invoices that are made of closed months.
SET LOCAL check_function_bodies = off;

CREATE FUNCTION raw_floor_due(at timestamptz, raw_days integer) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
-- Days of 24 hours, whatever the session's time zone thinks of them.
RETURN date_trunc('month', at - make_interval(hours => raw_days * 24), 'UTC');
COMMENT ON FUNCTION raw_floor_due IS 'First moment of the latest UTC month that begins at least so many days before a moment';

CREATE FUNCTION usage_partitions_below(bound timestamptz) RETURNS SETOF text
LANGUAGE sql STABLE AS $$
    SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'usage_records'::regclass AND c.relname ~ '^usage_records_y[0-9]{4}m[0-9]{2}$'
      AND to_date(right(c.relname, 7), 'YYYY"m"MM') + interval '1 month' <= bound AT TIME ZONE 'UTC'
    ORDER BY c.relname
$$;
COMMENT ON FUNCTION usage_partitions_below IS 'Partitions of usage_records that lie wholly below a moment, oldest first';

CREATE FUNCTION advance_raw_floor(at timestamptz, raw_days integer, OUT kept_from timestamptz, OUT dropped integer, OUT waiting boolean)
LANGUAGE plpgsql AS $$
DECLARE
    name text;
    zone text;
BEGIN
    kept_from := raw_floor_due(at, raw_days);
    dropped := 0;
    -- What is open in some tenant's time zone can always be made anew, also while its zone is being changed.
    SELECT z.zone INTO zone
    FROM (SELECT t.time_zone FROM tenants t UNION SELECT c.former_zone FROM zone_changes c) AS z (zone)
    WHERE kept_from > date_trunc('month', at, z.zone) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'raw records of % days are too few: the month that is open in % needs all of its own', raw_days, zone
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM rollup_begin();
    SELECT greatest(v.raw_floor, kept_from) INTO kept_from FROM inventory_version v;
    -- A marker leads to records that no rollup holds yet. None can appear below the floor while writers wait.
    waiting := EXISTS (SELECT FROM rollup_markers m WHERE m.period_from < kept_from);
    IF waiting THEN
        RETURN;
    END IF;
    UPDATE inventory_version v SET raw_floor = kept_from, version = v.version + 1 WHERE v.raw_floor < kept_from;
    -- Nobody makes partitions now. A reader is waited for less long than PostgreSQL takes to see a deadlock (one second):
    -- it is never the reader that is ended.
    PERFORM pg_advisory_xact_lock(hashtext('simbridge.partitions'));
    PERFORM set_config('lock_timeout', '900ms', true);
    FOR name IN SELECT p FROM usage_partitions_below(kept_from) AS p LOOP
        EXECUTE format('DROP TABLE %I', name);
        dropped := dropped + 1;
    END LOOP;
END $$;
COMMENT ON FUNCTION advance_raw_floor IS
    'Raises inventory_version.raw_floor as far as raw_days allow and drops the partitions of usage_records below it, unless a '
    'marker waits there; needs the exclusive inventory lock. Rollups, cycles and keys stay as they are';

CREATE OR REPLACE FUNCTION ensure_partitions(earliest timestamptz, latest timestamptz) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    month   timestamp;
    name    text;
    created integer := 0;
BEGIN
    -- Below the floor nothing is stored any more.
    SELECT date_trunc('month', greatest(earliest, v.raw_floor) AT TIME ZONE 'UTC') INTO month FROM inventory_version v;
    WHILE month <= latest AT TIME ZONE 'UTC' LOOP
        name := to_char(month, '"usage_records_y"YYYY"m"MM');
        IF to_regclass(name) IS NULL THEN
            -- Two instances at once would both find it missing; and the floor may have moved while we waited.
            PERFORM pg_advisory_xact_lock(hashtext('simbridge.partitions'));
            IF to_regclass(name) IS NULL AND month >= (SELECT v.raw_floor AT TIME ZONE 'UTC' FROM inventory_version v) THEN
                -- ATTACH locks the parent against other DDL only; CREATE … PARTITION OF would lock out writers.
                EXECUTE format('CREATE TABLE %I (LIKE usage_records INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)', name);
                EXECUTE format('ALTER TABLE usage_records ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                               name, month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC');
                created := created + 1;
            END IF;
        END IF;
        month := month + interval '1 month';
    END LOOP;
    RETURN created;
END $$;
COMMENT ON FUNCTION ensure_partitions IS
    'Makes the monthly partitions of usage_records for a range of period_start, none below the floor; returns how many it made';

-- A key is needed for as long as its record is kept: none goes above the floor. The index by blocks is right at any size.
CREATE FUNCTION delete_old_keys(before timestamptz, at_most integer) RETURNS integer
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    deleted integer;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('simbridge.retention')) THEN
        RETURN NULL;
    END IF;
    DELETE FROM record_keys k WHERE k.ctid = ANY (ARRAY(
        SELECT o.ctid FROM record_keys o
        WHERE o.period_start < (SELECT least(before, v.raw_floor) FROM inventory_version v)
        LIMIT at_most FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END $$;
COMMENT ON FUNCTION delete_old_keys IS
    'Forgets some keys of records of before a moment whose raw records are gone; returns how many, NULL while another instance is at it';

CREATE FUNCTION delete_old_quarantine(before timestamptz, at_most integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    deleted integer;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('simbridge.retention')) THEN
        RETURN NULL;
    END IF;
    DELETE FROM quarantine q WHERE q.id = ANY (ARRAY(
        SELECT o.id FROM quarantine o
        WHERE CASE WHEN o.state = 'parked' THEN o.last_seen_at ELSE o.resolved_at END < before
        LIMIT at_most FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END $$;
COMMENT ON FUNCTION delete_old_quarantine IS
    'Deletes some entries that were resolved, or if they are parked last seen, before a moment; returns how many, NULL while '
    'another instance is at it';

CREATE OR REPLACE FUNCTION recheck_latest_events() RETURNS void
LANGUAGE sql AS $$
    -- Of a day that begins below the floor no record may be left, although it counts some.
    UPDATE sim_daily_usage s SET latest_event_at = coalesce((
        SELECT max(r.period_end) FROM usage_records r
        WHERE r.iccid = s.iccid AND r.tenant_id = s.tenant_id
          -- A day in any zone lies within these bounds.
          AND r.period_start >= s.usage_date::timestamp AT TIME ZONE 'UTC' - interval '1 day'
          AND r.period_start < s.usage_date::timestamp AT TIME ZONE 'UTC' + interval '2 days'
          AND (r.period_start AT TIME ZONE rollup_zone(s.tenant_id, s.iccid))::date = s.usage_date
          AND coalesce(r.carrier_id, 0) = s.carrier_id AND coalesce(r.rate_plan_id, 0) = s.rate_plan_id
          AND coalesce(r.mccmnc, '') = s.mccmnc AND coalesce(r.cycle_id, '') = s.cycle_id
          AND NOT EXISTS (SELECT FROM rollup_markers m WHERE m.write_id = r.write_id)), s.latest_event_at)
    FROM rollup_days d
    WHERE d.removed AND s.tenant_id = d.tenant_id AND s.iccid = d.iccid AND s.usage_date = d.usage_date
      AND s.carrier_id = d.carrier_id AND s.rate_plan_id = d.rate_plan_id AND s.mccmnc = d.mccmnc
      AND s.cycle_id = d.cycle_id AND s.record_count > 0;
$$;

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
    PERFORM fold_rollup_days();
    -- Hours at the edges reach into the days before and after.
    DELETE FROM rollup_days WHERE usage_date NOT BETWEEN first AND last;
    PERFORM add_to_sim_days();
    -- All records of each hour are at hand: what they add up to tells who is active.
    UPDATE rollup_transitions SET recheck = false WHERE recheck;
    -- Every cycle that is touched is priced and added up anew, whatever was noted of it.
    UPDATE rollup_allowances SET total = 0, corrections = 0, forced = true;
    PERFORM price_allowances();
    PERFORM remake_allowances();
    PERFORM add_to_hours();
    PERFORM add_to_networks();
    PERFORM activate_days();
    PERFORM activate_hours();
    PERFORM count_active_sims();
    PERFORM sum_touched();
    PERFORM remake_months(tenant, first, last);
    RETURN records;
END $$;

COMMENT ON TABLE invoices IS
    'One invoice for each carrier and closed month, made from usage_aggregations by make_invoices. While it is pending it follows '
    'its month, also to 0.00; paid, overdue or disputed it never changes';
COMMENT ON COLUMN invoices.invoice_number IS 'INV-<tenant id>-<YYYYMM>-<carrier id>';
COMMENT ON COLUMN invoices.carrier_id IS '0 for usage of SIMs that have a plan and no carrier; made only if that cost something';
COMMENT ON COLUMN invoices.total_amount IS 'Cost of the month, rounded to cents, in the currency of the tenant';
COMMENT ON COLUMN invoices.due_date IS 'The tenant''s local date of issue and invoice.due_days; pending after it means overdue';

CREATE FUNCTION make_invoices(at timestamptz, after_days integer, due_days integer) RETURNS integer
LANGUAGE plpgsql SET jit = off AS $$
DECLARE
    changed integer;
    late    integer;
BEGIN
    -- One at a time; what follows sees what the one before left.
    PERFORM pg_advisory_xact_lock(hashtext('simbridge.invoices'));
    WITH months AS MATERIALIZED (
        -- Invoices that are missing or not what their month says. One statement: months and markers are of one moment.
        SELECT tenant_id, period_start, carrier_id, i.id, t.time_zone, t.currency, (at AT TIME ZONE t.time_zone)::date AS today,
               coalesce(round(u.total_cost, 2), 0) AS amount
        FROM usage_aggregations u
        FULL JOIN invoices i USING (tenant_id, period_start, carrier_id)
        JOIN tenants t ON t.id = tenant_id
        WHERE NOT EXISTS (SELECT FROM zone_changes z WHERE z.tenant_id = t.id)
          AND CASE WHEN i.id IS NULL
                   -- A month ends with the tenant's midnight; its invoice is made so many local days later.
                   THEN (at AT TIME ZONE t.time_zone)::date >= (period_start + interval '1 month')::date + after_days
                        AND (carrier_id <> 0 OR u.total_cost <> 0)
                   ELSE i.status = 'pending'
                        AND (i.total_amount, i.currency) <> (coalesce(round(u.total_cost, 2), 0), t.currency) END
    ), settled AS (
        -- Those of which no batch waits to be rolled up. A midnight that happens twice is read as the second one.
        SELECT m.* FROM months m
        WHERE NOT EXISTS (
            SELECT FROM rollup_markers k
            WHERE k.period_to >= m.period_start::timestamp AT TIME ZONE m.time_zone - interval '1 hour'
              AND k.period_from < (m.period_start + interval '1 month')::timestamp AT TIME ZONE m.time_zone)
    ), made AS (
        INSERT INTO invoices (tenant_id, invoice_number, carrier_id, period_start, period_end, total_amount, currency, due_date,
                              created_at)
        SELECT tenant_id, format('INV-%s-%s-%s', tenant_id, to_char(period_start, 'YYYYMM'), carrier_id), carrier_id, period_start,
               (period_start + interval '1 month' - interval '1 day')::date, amount, currency, today + due_days, at
        FROM settled WHERE id IS NULL
        ORDER BY tenant_id, period_start, carrier_id
        RETURNING 1
    ), followed AS (
        UPDATE invoices i SET total_amount = s.amount, currency = s.currency
        FROM settled s WHERE i.id = s.id AND i.status = 'pending' -- it may have been paid meanwhile
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM made) + (SELECT count(*) FROM followed) INTO changed;
    UPDATE invoices i SET status = 'overdue'
    FROM tenants t
    WHERE t.id = i.tenant_id AND i.status = 'pending' AND i.due_date < (at AT TIME ZONE t.time_zone)::date;
    GET DIAGNOSTICS late = ROW_COUNT;
    RETURN changed + late;
END $$;
COMMENT ON FUNCTION make_invoices IS
    'Makes the invoices of months that ended at least after_days ago in their tenant''s time zone, lets pending ones follow '
    'months that changed since, and marks those past their due date as overdue; months with records that are not rolled up yet '
    'and tenants whose zone is being changed wait. Called again it changes nothing; returns how many invoices it made or changed';
