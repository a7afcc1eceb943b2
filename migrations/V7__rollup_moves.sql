-- Records that change hands: owners and plans that are set for the past, time zones that change, and rollups made anew.
SET LOCAL check_function_bodies = off;

CREATE FUNCTION records_in_force(iccids text[], since timestamptz)
RETURNS TABLE (iccid text, period_start timestamptz, id bigint, tenant_id integer, sim_id text, carrier_id integer,
               rate_plan_id integer, cycle_id text)
LANGUAGE sql STABLE AS $$
    -- What a record should be stamped with: the owner at period_start if its sender's tenant owns or owned the SIM, else
    -- its sender's tenant and nothing more (as src/store/directory.rs places it).
    SELECT r.iccid, r.period_start, r.id, coalesce(o.tenant_id, r.key_tenant_id), o.sim_id, o.carrier_id, o.rate_plan_id,
           c.cycle_id
    FROM usage_records r
    LEFT JOIN LATERAL (
        SELECT s.tenant_id, s.sim_id, s.carrier_id, s.rate_plan_id FROM sim_ownership s
        WHERE s.iccid = r.iccid AND s.valid_from <= r.period_start
        ORDER BY s.valid_from DESC LIMIT 1
    ) AS o ON EXISTS (SELECT FROM sim_ownership m WHERE m.iccid = r.iccid AND m.tenant_id = r.key_tenant_id)
    LEFT JOIN usage_cycles c ON c.sim_id = o.sim_id AND c.iccid = r.iccid
                            AND c.cycle_start <= r.period_start AND r.period_start < c.cycle_end
    WHERE r.iccid = ANY (iccids) AND (r.period_start >= since OR r.sim_id IS NULL)
      AND (r.tenant_id, r.sim_id, r.carrier_id, r.rate_plan_id, r.cycle_id)
          IS DISTINCT FROM (coalesce(o.tenant_id, r.key_tenant_id), o.sim_id, o.carrier_id, o.rate_plan_id, c.cycle_id)
$$;
COMMENT ON FUNCTION records_in_force IS 'Records of SIMs whose stamps differ from what is in force at their period_start, with what is in force';

CREATE FUNCTION move_records(iccids text[], since timestamptz) RETURNS bigint
LANGUAGE sql AS $$
    WITH due AS MATERIALIZED (
        SELECT * FROM records_in_force(iccids, since)
    ), moved AS (
        UPDATE usage_records r
        SET tenant_id = due.tenant_id, sim_id = due.sim_id, carrier_id = due.carrier_id, rate_plan_id = due.rate_plan_id,
            cycle_id = due.cycle_id
        FROM due WHERE r.iccid = due.iccid AND r.period_start = due.period_start AND r.id = due.id
        RETURNING r.*
    ), sides AS (
        -- Each record twice: taken from where it stood, given to where it stands now. A join with the table sees it as it
        -- was, because both read one snapshot.
        SELECT r.*, -1 AS sign FROM due JOIN usage_records r USING (iccid, period_start, id)
        UNION ALL
        SELECT m.*, 1 FROM moved m
    ), sums AS (
        SELECT sim_id, iccid, cycle_id, sum(sign * data_upload_bytes) AS up, sum(sign * data_download_bytes) AS down,
               sum(sign * total_bytes) AS total, sum(sign * sms_count) AS sms, sum(sign * voice_seconds) AS voice,
               sum(sign) AS records
        FROM sides WHERE cycle_id IS NOT NULL GROUP BY sim_id, iccid, cycle_id
    ), totals AS (
        UPDATE usage_cycles c
        SET total_upload_bytes = c.total_upload_bytes + sums.up, total_download_bytes = c.total_download_bytes + sums.down,
            total_bytes = c.total_bytes + sums.total, sms_count = c.sms_count + sums.sms,
            voice_seconds = c.voice_seconds + sums.voice, record_count = c.record_count + sums.records, last_updated = now()
        FROM sums WHERE c.sim_id = sums.sim_id AND c.iccid = sums.iccid AND c.cycle_id = sums.cycle_id
          AND (sums.records, sums.up, sums.down, sums.total, sums.sms, sums.voice) <> (0, 0, 0, 0, 0, 0)
    ), changed AS (
        -- What no rollup holds yet is counted as it stands now when its marker is taken.
        INSERT INTO rollup_changes
        SELECT s.tenant_id, s.iccid, date_trunc('hour', s.period_start, 'UTC'),
               (s.period_start AT TIME ZONE rollup_zone(s.tenant_id, s.iccid))::date, coalesce(s.carrier_id, 0),
               coalesce(s.rate_plan_id, 0), coalesce(s.mccmnc, ''), coalesce(s.cycle_id, ''),
               sum(s.sign * s.data_upload_bytes), sum(s.sign * s.data_download_bytes), sum(s.sign * s.total_bytes),
               sum(s.sign * s.sms_count), sum(s.sign * s.voice_seconds), sum(s.sign),
               coalesce(sum(s.sign) FILTER (WHERE s.corrects IS NOT NULL), 0), max(s.period_end) FILTER (WHERE s.sign > 0), s.sign < 0
        FROM sides s
        WHERE NOT EXISTS (SELECT FROM rollup_markers m WHERE m.write_id = s.write_id)
        GROUP BY s.tenant_id, s.iccid, 3, 4, 5, 6, 7, 8, s.sign
    )
    SELECT count(*) FROM moved
$$;

CREATE FUNCTION stamp_records(iccids text[], since timestamptz, at timestamptz) RETURNS bigint
LANGUAGE plpgsql SET work_mem = '64MB' SET jit = off AS $$
DECLARE
    stamped bigint;
BEGIN
    -- Most changes of the inventory concern no stored record: then the rollups are not waited for.
    IF NOT EXISTS (SELECT FROM records_in_force(iccids, since)) THEN
        RETURN 0;
    END IF;
    PERFORM rollup_begin();
    PERFORM ensure_cycles(array_agg(f.iccid), array_agg(f.period_start), at)
    FROM records_in_force(iccids, since) f WHERE f.sim_id IS NOT NULL AND f.cycle_id IS NULL;
    stamped := move_records(iccids, since);
    PERFORM apply_rollup_changes();
    RETURN stamped;
END $$;
COMMENT ON FUNCTION stamp_records IS
    'Gives records of SIMs, those since a moment and those that never had an owner, the owner, carrier, plan and cycle in force '
    'and moves their amounts in cycles and rollups; needs the exclusive inventory lock; returns how many';

DROP FUNCTION attach_records;

CREATE FUNCTION move_zone_chunk(at_most_sims integer, OUT tenant integer, OUT sims integer, OUT finished boolean)
LANGUAGE plpgsql SET work_mem = '64MB' SET jit = off AS $$
DECLARE
    change zone_changes;
    chosen text[];
BEGIN
    PERFORM rollup_begin();
    SELECT * INTO change FROM zone_changes ORDER BY started_at, tenant_id LIMIT 1 FOR UPDATE;
    sims := 0;
    finished := true;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    tenant := change.tenant_id;
    SELECT array_agg(n.iccid ORDER BY n.iccid) INTO chosen
    FROM (SELECT s.iccid FROM sim_numbers s WHERE s.tenant_id = change.tenant_id AND s.iccid > change.done_iccid
          ORDER BY s.iccid LIMIT at_most_sims) AS n;
    IF chosen IS NULL THEN
        DELETE FROM zone_changes WHERE tenant_id = change.tenant_id;
        RETURN;
    END IF;
    sims := cardinality(chosen);
    finished := false;
    PERFORM move_days(change.tenant_id, chosen, change.former_zone);
    UPDATE zone_changes SET done_iccid = chosen[sims] WHERE tenant_id = change.tenant_id;
    PERFORM apply_rollup_changes();
END $$;
COMMENT ON FUNCTION move_zone_chunk IS
    'Moves the days of some SIMs of a tenant whose time zone changed; tenant is NULL when there is none. Days of which the raw '
    'records are gone stay where they are';

CREATE FUNCTION move_days(tenant integer, iccids text[], former_zone text) RETURNS void
LANGUAGE sql AS $$
    WITH counted AS (
        SELECT r.*, (r.period_start AT TIME ZONE former_zone)::date AS old_date,
               (r.period_start AT TIME ZONE t.time_zone)::date AS new_date
        FROM usage_records r JOIN tenants t ON t.id = r.tenant_id
        WHERE r.iccid = ANY (iccids) AND r.tenant_id = tenant
          AND NOT EXISTS (SELECT FROM rollup_markers m WHERE m.write_id = r.write_id)
    ), sides AS (
        SELECT c.*, c.old_date AS usage_date, -1 AS sign FROM counted c WHERE c.old_date <> c.new_date
        UNION ALL
        SELECT c.*, c.new_date, 1 FROM counted c WHERE c.old_date <> c.new_date
    )
    INSERT INTO rollup_changes
    SELECT s.tenant_id, s.iccid, date_trunc('hour', s.period_start, 'UTC'), s.usage_date, coalesce(s.carrier_id, 0),
           coalesce(s.rate_plan_id, 0), coalesce(s.mccmnc, ''), coalesce(s.cycle_id, ''), sum(s.sign * s.data_upload_bytes),
           sum(s.sign * s.data_download_bytes), sum(s.sign * s.total_bytes), sum(s.sign * s.sms_count),
           sum(s.sign * s.voice_seconds), sum(s.sign), coalesce(sum(s.sign) FILTER (WHERE s.corrects IS NOT NULL), 0),
           max(s.period_end) FILTER (WHERE s.sign > 0), s.sign < 0
    FROM sides s
    GROUP BY s.tenant_id, s.iccid, 3, s.usage_date, 5, 6, 7, 8, s.sign
$$;

CREATE FUNCTION rebuild_bounds(tenant integer, first date, last date, OUT lower timestamptz, OUT upper timestamptz)
LANGUAGE sql STABLE AS $$
    -- Whole UTC hours that hold the days in every zone in which they are counted at present. A midnight that happens twice
    -- is read as the second one, and the day begins with the first.
    SELECT date_trunc('hour', min(CASE WHEN (midnight - interval '1 hour') AT TIME ZONE zone >= first
                                       THEN midnight - interval '1 hour' ELSE midnight END), 'UTC'),
           date_trunc('hour', max((last + 1)::timestamp AT TIME ZONE zone) + interval '59 minutes 59.999999 seconds', 'UTC')
    FROM (SELECT t.time_zone FROM tenants t WHERE t.id = tenant
          UNION ALL SELECT z.former_zone FROM zone_changes z WHERE z.tenant_id = tenant) AS zones (zone)
    CROSS JOIN LATERAL (SELECT first::timestamp AT TIME ZONE zone) AS begun (midnight)
$$;

CREATE FUNCTION count_raw_records(tenant integer, lower timestamptz, upper timestamptz) RETURNS bigint
LANGUAGE sql AS $$
    WITH folded AS (
        INSERT INTO rollup_changes
        SELECT r.tenant_id, r.iccid, date_trunc('hour', r.period_start, 'UTC'),
               (r.period_start AT TIME ZONE CASE WHEN r.iccid > z.done_iccid THEN z.former_zone ELSE t.time_zone END)::date,
               coalesce(r.carrier_id, 0), coalesce(r.rate_plan_id, 0), coalesce(r.mccmnc, ''), coalesce(r.cycle_id, ''),
               sum(r.data_upload_bytes), sum(r.data_download_bytes), sum(r.total_bytes), sum(r.sms_count),
               sum(r.voice_seconds), count(*), count(r.corrects), max(r.period_end), false
        FROM usage_records r
        JOIN tenants t ON t.id = r.tenant_id
        LEFT JOIN zone_changes z ON z.tenant_id = r.tenant_id
        WHERE r.tenant_id = tenant AND r.period_start >= lower AND r.period_start < upper
          AND NOT EXISTS (SELECT FROM rollup_markers m WHERE m.write_id = r.write_id)
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
        RETURNING records
    )
    SELECT coalesce(sum(records), 0)::bigint FROM folded
$$;
COMMENT ON FUNCTION count_raw_records IS 'Puts what the records of a tenant amount to into rollup_changes, but for those with a marker';

CREATE FUNCTION clear_days(tenant integer, first date, last date, lower timestamptz, upper timestamptz) RETURNS void
LANGUAGE sql AS $$
    -- Days that vanish leave the other days of their cycle to be priced again.
    WITH cleared AS (
        DELETE FROM sim_daily_usage WHERE tenant_id = tenant AND usage_date BETWEEN first AND last RETURNING *
    )
    INSERT INTO rollup_allowances
    SELECT c.tenant_id, c.iccid, c.cycle_id, c.rate_plan_id, min(c.usage_date), 0, 0, true
    FROM cleared c JOIN rate_plans p ON p.id = c.rate_plan_id AND p.included_bytes > 0
    GROUP BY c.tenant_id, c.iccid, c.cycle_id, c.rate_plan_id;
    DELETE FROM daily_network_usage WHERE tenant_id = tenant AND usage_date BETWEEN first AND last;
    DELETE FROM daily_active_sims WHERE tenant_id = tenant AND usage_date BETWEEN first AND last;
    DELETE FROM daily_usage WHERE tenant_id = tenant AND usage_date BETWEEN first AND last;
    DELETE FROM hourly_usage WHERE tenant_id = tenant AND hour >= lower AND hour < upper;
    DELETE FROM hourly_active_sims WHERE tenant_id = tenant AND hour >= lower AND hour < upper;
$$;

CREATE FUNCTION remake_allowances() RETURNS void
LANGUAGE sql AS $$
    DELETE FROM sim_allowances s USING rollup_allowances a
    WHERE s.tenant_id = a.tenant_id AND s.iccid = a.iccid AND s.rate_plan_id = a.rate_plan_id AND s.cycle_id = a.cycle_id;
    INSERT INTO sim_allowances (tenant_id, iccid, rate_plan_id, cycle_id, total_bytes, correction_count)
    SELECT s.tenant_id, s.iccid, s.rate_plan_id, s.cycle_id, sum(s.total_bytes), sum(s.correction_count)
    FROM (SELECT tenant_id, iccid, rate_plan_id, cycle_id, min(usage_date) AS usage_date
          FROM rollup_allowances GROUP BY tenant_id, iccid, rate_plan_id, cycle_id) AS a
    CROSS JOIN LATERAL (
        SELECT l.* FROM sim_daily_usage l
        WHERE l.tenant_id = a.tenant_id AND l.iccid = a.iccid AND l.cycle_id = a.cycle_id
          AND l.rate_plan_id = a.rate_plan_id AND l.usage_date BETWEEN a.usage_date - 70 AND a.usage_date + 70) AS s
    GROUP BY s.tenant_id, s.iccid, s.rate_plan_id, s.cycle_id;
$$;

CREATE FUNCTION remake_months(tenant integer, first date, last date) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM monthly_active_sims
    WHERE tenant_id = tenant AND month BETWEEN date_trunc('month', first)::date AND last;
    INSERT INTO monthly_active_sims (tenant_id, month, carrier_id, mccmnc, chunk, sims)
    SELECT a.tenant_id, date_trunc('month', a.usage_date)::date, a.carrier_id, a.mccmnc, a.chunk, bit_or(a.sims)
    FROM daily_active_sims a
    WHERE a.tenant_id = tenant AND a.usage_date >= date_trunc('month', first)::date
      AND a.usage_date < (date_trunc('month', last) + interval '1 month')::date
    GROUP BY 1, 2, 3, 4, 5;
    DELETE FROM usage_aggregations
    WHERE tenant_id = tenant AND period_start BETWEEN date_trunc('month', first)::date AND last;
    SELECT sum_months(array_agg(m.tenant_id), array_agg(m.month), array_agg(m.carrier_id))
    FROM (SELECT DISTINCT d.tenant_id, date_trunc('month', d.usage_date)::date AS month, d.carrier_id FROM daily_usage d
          WHERE d.tenant_id = tenant AND d.usage_date >= date_trunc('month', first)::date
            AND d.usage_date < (date_trunc('month', last) + interval '1 month')::date) AS m;
$$;

CREATE FUNCTION rebuild_days(tenant integer, first date, last date) RETURNS bigint
LANGUAGE plpgsql SET work_mem = '64MB' SET jit = off AS $$
DECLARE
    bounds  record;
    records bigint;
BEGIN
    PERFORM rollup_begin();
    SELECT * INTO bounds FROM rebuild_bounds(tenant, first, last);
    IF bounds.lower < (SELECT v.raw_floor FROM inventory_version v) THEN
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
COMMENT ON FUNCTION rebuild_days IS
    'Makes every rollup of some days of a tenant anew from the records, while batches go on; returns how many records it read';
