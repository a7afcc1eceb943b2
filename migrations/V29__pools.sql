-- Pools: SIMs that share a limit (ADR 0021). What a pool used is kept by day, so that reading it costs the same however many
-- members it has; and who was a member on which days is kept too, so that every day of every pool can be proven.
-- As in V6, the functions name temporary tables, which exist when they run and not now.
SET LOCAL check_function_bodies = off;

CREATE TABLE usage_pools (
    id                 integer GENERATED ALWAYS AS IDENTITY CONSTRAINT usage_pools_pk PRIMARY KEY,
    tenant_id          integer NOT NULL CONSTRAINT usage_pools_tenant_fk REFERENCES tenants (id) ON DELETE CASCADE,
    name               text NOT NULL CONSTRAINT usage_pools_name_length CHECK (length(name) BETWEEN 1 AND 100),
    limit_bytes        bigint NOT NULL CONSTRAINT usage_pools_limit_positive CHECK (limit_bytes > 0),
    cycle_day          smallint NOT NULL DEFAULT 1 CONSTRAINT usage_pools_cycle_day_range CHECK (cycle_day BETWEEN 1 AND 31),
    threshold_percents integer[],
    threshold_bytes    bigint[],
    threshold_version  bigint,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    CONSTRAINT usage_pools_name_unique UNIQUE (tenant_id, name),
    CONSTRAINT usage_pools_thresholds CHECK (
        num_nulls(threshold_percents, threshold_bytes, threshold_version) IN (0, 3)
        AND coalesce(cardinality(threshold_percents) + cardinality(threshold_bytes), 0) <= 20)
);
COMMENT ON TABLE usage_pools IS 'SIMs that share a limit';
COMMENT ON COLUMN usage_pools.limit_bytes IS 'Of all members together, in one period';
COMMENT ON COLUMN usage_pools.cycle_day IS 'Day of the month on which a period begins; the last day in shorter months, as for SIMs';
COMMENT ON COLUMN usage_pools.threshold_percents IS 'NULL where the tenant''s percents hold; of limit_bytes, or of a member''s own limit';
COMMENT ON COLUMN usage_pools.threshold_bytes IS 'Of the pool as a whole';
COMMENT ON COLUMN usage_pools.threshold_version IS 'From alert_rule_versions, another one after each change';

CREATE TABLE usage_pool_members (
    pool_id     integer NOT NULL CONSTRAINT usage_pool_members_pool_fk REFERENCES usage_pools (id) ON DELETE CASCADE,
    tenant_id   integer NOT NULL,
    joined_on   date NOT NULL,
    left_on     date,
    iccid       text COLLATE "C" NOT NULL CONSTRAINT usage_pool_members_iccid_form CHECK (iccid ~ '^[0-9]{10,20}$'),
    limit_bytes bigint CONSTRAINT usage_pool_members_limit_positive CHECK (limit_bytes > 0),
    CONSTRAINT usage_pool_members_pk PRIMARY KEY (pool_id, iccid, joined_on),
    CONSTRAINT usage_pool_members_days CHECK (joined_on < left_on),
    -- A day of a SIM counts in one pool. The number stands for tenant and ICCID (the 1 keeps leading zeros), because ranges
    -- can be compared by this index without btree_gist, an extension that not every server has.
    CONSTRAINT usage_pool_members_one_pool EXCLUDE USING gist (
        numrange(tenant_id * 1e21 + ('1' || iccid)::numeric, tenant_id * 1e21 + ('1' || iccid)::numeric, '[]') WITH &&,
        daterange(joined_on, left_on) WITH &&)
);
CREATE INDEX usage_pool_members_of_sim ON usage_pool_members (tenant_id, iccid);
CREATE UNIQUE INDEX usage_pool_members_now ON usage_pool_members (pool_id, iccid) WHERE left_on IS NULL;
CREATE INDEX usage_pool_members_limited ON usage_pool_members (pool_id, iccid) WHERE left_on IS NULL AND limit_bytes IS NOT NULL;
COMMENT ON TABLE usage_pool_members IS
    'Which days of which SIM count in which pool. A SIM that left and came back has several rows';
COMMENT ON COLUMN usage_pool_members.joined_on IS 'The first day that counts, whole, in the tenant''s time zone';
COMMENT ON COLUMN usage_pool_members.left_on IS 'The first day that does not count any more; NULL while it is a member';
COMMENT ON COLUMN usage_pool_members.limit_bytes IS 'What this member alone may use of the pool in a period; NULL without such a limit';

CREATE TABLE usage_pool_days (
    pool_id     integer NOT NULL CONSTRAINT usage_pool_days_pool_fk REFERENCES usage_pools (id) ON DELETE CASCADE,
    usage_date  date NOT NULL,
    tenant_id   integer NOT NULL,
    total_bytes numeric(30, 0) NOT NULL,
    CONSTRAINT usage_pool_days_pk PRIMARY KEY (pool_id, usage_date)
) WITH (fillfactor = 70);
COMMENT ON TABLE usage_pool_days IS
    'What the members of a pool used on a day: always the sum of their rows of sim_daily_usage, changed in the same transactions';

CREATE TABLE pool_alert_states (
    pool_id      integer NOT NULL CONSTRAINT pool_alert_states_pool_fk REFERENCES usage_pools (id) ON DELETE CASCADE,
    rule_version bigint NOT NULL,
    first_day    date NOT NULL,
    iccid        text COLLATE "C" NOT NULL,
    limit_bytes  bigint NOT NULL,
    level_bytes  numeric(30, 0) NOT NULL,
    CONSTRAINT pool_alert_states_pk PRIMARY KEY (pool_id, iccid)
) WITH (fillfactor = 70);
COMMENT ON TABLE pool_alert_states IS
    'The highest threshold that was told of each pool and of each member with a limit of its own, and under which terms';
COMMENT ON COLUMN pool_alert_states.iccid IS 'Empty for the pool as a whole';
COMMENT ON COLUMN pool_alert_states.rule_version IS '0 for the thresholds that hold without a rule';
COMMENT ON COLUMN pool_alert_states.first_day IS 'Of the period of which it was told';

-- An alert of a pool as a whole has an empty sim_id and iccid, which instances of the version before can read.
ALTER TABLE usage_alerts ADD COLUMN pool_id integer, ADD COLUMN pool_name text;
COMMENT ON COLUMN usage_alerts.pool_id IS 'Of a pool, or of a member that has a limit of its own there; NULL for a limit of a SIM';
COMMENT ON COLUMN usage_alerts.pool_name IS 'As it was called then';
COMMENT ON COLUMN usage_alerts.sim_id IS 'Empty for a pool as a whole';
COMMENT ON COLUMN usage_alerts.iccid IS 'Empty for a pool as a whole';
COMMENT ON COLUMN usage_alerts.cycle_id IS 'Billing cycle of the SIM, or month in which the period of the pool begins';
CREATE INDEX usage_alerts_of_pool ON usage_alerts (tenant_id, pool_id, id) WHERE pool_id IS NOT NULL;

INSERT INTO database_grants (kind, privileges, names) VALUES
    ('read', 'SELECT', ARRAY['usage_pools', 'usage_pool_members', 'usage_pool_days']),
    ('rollup', 'SELECT', ARRAY['usage_pools', 'usage_pool_members']),
    ('rollup', 'SELECT, INSERT, UPDATE, DELETE', ARRAY['usage_pool_days']),
    ('serve', 'SELECT, INSERT, UPDATE, DELETE', ARRAY['usage_pools', 'usage_pool_members', 'pool_alert_states']);
INSERT INTO reader_policies (table_name, condition)
SELECT t, 'tenant_id = ANY ((SELECT visible_tenants())::integer[])'
FROM unnest(ARRAY['usage_pools', 'usage_pool_members', 'usage_pool_days']) AS t;

CREATE FUNCTION pool_period_day(month date, cycle_day integer) RETURNS date LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN month + (least(cycle_day, extract(day FROM month + interval '1 month' - interval '1 day')::integer) - 1);
COMMENT ON FUNCTION pool_period_day IS
    'First day of the period that begins in a month: the cycle day, or the last day of a shorter month, as cycle_boundary has it';

CREATE FUNCTION pool_month(today date, cycle_day integer) RETURNS date LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN today >= pool_period_day(date_trunc('month', today::timestamp)::date, cycle_day)
            THEN date_trunc('month', today::timestamp)::date
            ELSE (date_trunc('month', today::timestamp) - interval '1 month')::date END;
COMMENT ON FUNCTION pool_month IS 'First day of the month in which the period begins that holds a day';

CREATE FUNCTION first_moment(day date, zone text) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- A midnight that happens twice is read as the second one, and the day begins with the first.
RETURN CASE WHEN (day::timestamp AT TIME ZONE zone - interval '1 hour') AT TIME ZONE zone >= day
            THEN day::timestamp AT TIME ZONE zone - interval '1 hour' ELSE day::timestamp AT TIME ZONE zone END;
COMMENT ON FUNCTION first_moment IS 'When a day begins in a time zone';

CREATE FUNCTION pools_in_period(tenant integer, month date, at timestamptz)
RETURNS TABLE (id integer, name text, limit_bytes bigint, cycle_day smallint, created_at timestamptz, updated_at timestamptz,
               period_month date, first_day date, next_day date, used numeric)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT p.id, p.name, p.limit_bytes, p.cycle_day, p.created_at, p.updated_at, chosen.month, bounds.first_day, bounds.next_day,
           (SELECT coalesce(sum(d.total_bytes), 0) FROM usage_pool_days d
            WHERE d.pool_id = p.id AND d.usage_date >= bounds.first_day AND d.usage_date < bounds.next_day)
    FROM usage_pools p
    JOIN tenants t ON t.id = p.tenant_id
    CROSS JOIN LATERAL (SELECT coalesce(pools_in_period.month, pool_month((at AT TIME ZONE t.time_zone)::date, p.cycle_day)) AS month)
        AS chosen
    CROSS JOIN LATERAL (SELECT pool_period_day(chosen.month, p.cycle_day) AS first_day,
                               pool_period_day((chosen.month + interval '1 month')::date, p.cycle_day) AS next_day) AS bounds
    WHERE p.tenant_id = tenant
$$;
COMMENT ON FUNCTION pools_in_period IS
    'Pools of a tenant with what they used in the period that begins in a month, or without one in that which holds a moment';

CREATE FUNCTION add_to_pools() RETURNS void
-- Both tables are of any size and the one was empty a moment ago: hashing is right for all of them.
LANGUAGE sql SET enable_nestloop = off AS $$
    INSERT INTO usage_pool_days AS held (pool_id, usage_date, tenant_id, total_bytes)
    SELECT m.pool_id, d.usage_date, m.tenant_id, sum(d.total)
    FROM rollup_days d
    JOIN usage_pool_members m ON m.tenant_id = d.tenant_id AND m.iccid = d.iccid AND d.usage_date >= m.joined_on
                             AND d.usage_date < coalesce(m.left_on, 'infinity')
    GROUP BY m.pool_id, d.usage_date, m.tenant_id
    ON CONFLICT ON CONSTRAINT usage_pool_days_pk DO UPDATE SET total_bytes = held.total_bytes + excluded.total_bytes
$$;
COMMENT ON FUNCTION add_to_pools IS 'Adds rollup_days to the days of the pools in which they count';

CREATE FUNCTION sum_pool_days(tenant integer, first date, last date) RETURNS void
LANGUAGE sql AS $$
    DELETE FROM usage_pool_days d WHERE d.tenant_id = tenant AND d.usage_date BETWEEN first AND last;
    INSERT INTO usage_pool_days (pool_id, usage_date, tenant_id, total_bytes)
    SELECT m.pool_id, d.usage_date, m.tenant_id, sum(d.total_bytes)
    FROM usage_pool_members m
    JOIN sim_daily_usage d ON d.tenant_id = m.tenant_id AND d.iccid = m.iccid AND d.usage_date >= m.joined_on
                          AND d.usage_date < coalesce(m.left_on, 'infinity')
    WHERE m.tenant_id = tenant AND d.tenant_id = tenant AND d.usage_date BETWEEN first AND last
    GROUP BY m.pool_id, d.usage_date, m.tenant_id;
$$;
COMMENT ON FUNCTION sum_pool_days IS 'Makes the days of a tenant''s pools anew from those of their members; needs the rollup lock';

CREATE OR REPLACE FUNCTION apply_rollup_changes() RETURNS integer
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
    PERFORM fold_rollup_days();
    -- Hours at the edges reach into the days before and after.
    DELETE FROM rollup_days WHERE usage_date NOT BETWEEN first AND last;
    PERFORM add_to_sim_days();
    PERFORM sum_pool_days(tenant, first, last);
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

CREATE FUNCTION join_pool(
    tenant integer, pool integer, sims text[], days date[], limits bigint[], stated boolean[], at timestamptz)
RETURNS TABLE (place integer, outcome text, other_pool text, other_until date)
-- Few SIMs beside the tables: index by index is right at any size.
LANGUAGE plpgsql SET jit = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    today date;
BEGIN
    -- What rollups do to days of SIMs, they do to days of pools: neither may change in between.
    PERFORM pg_advisory_xact_lock(hashtext('simbridge.rollup'));
    SELECT (at AT TIME ZONE t.time_zone)::date INTO today
    FROM usage_pools p JOIN tenants t ON t.id = p.tenant_id
    WHERE p.id = pool AND p.tenant_id = tenant FOR KEY SHARE OF p;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT w.place::integer,
           CASE WHEN s.iccid IS NULL THEN 'unknown' WHEN w.day > today THEN 'future' ELSE 'taken' END, held.name, held.left_on
    FROM unnest(sims, days) WITH ORDINALITY AS w (iccid, day, place)
    LEFT JOIN provisioned_sims s ON s.iccid = w.iccid AND s.tenant_id = tenant
    LEFT JOIN LATERAL (
        -- A day counts in one pool, and in this one it is a member already.
        SELECT p.name, m.left_on FROM usage_pool_members m JOIN usage_pools p ON p.id = m.pool_id
        WHERE m.tenant_id = tenant AND m.iccid = w.iccid AND coalesce(m.left_on, 'infinity') > coalesce(w.day, today)
          AND NOT EXISTS (SELECT FROM usage_pool_members o WHERE o.pool_id = pool AND o.iccid = w.iccid AND o.left_on IS NULL)
        ORDER BY m.joined_on DESC LIMIT 1) AS held ON true
    WHERE s.iccid IS NULL OR w.day > today OR held.name IS NOT NULL
    ORDER BY w.place;
    IF FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH wanted AS MATERIALIZED (
        SELECT w.*, m.iccid IS NOT NULL AS member, m.limit_bytes AS held_limit
        FROM unnest(sims, days, limits, stated) WITH ORDINALITY AS w (iccid, day, limit_bytes, stated, place)
        LEFT JOIN usage_pool_members m ON m.pool_id = pool AND m.iccid = w.iccid AND m.left_on IS NULL
    ), changed AS (
        UPDATE usage_pool_members m SET limit_bytes = w.limit_bytes
        FROM wanted w
        WHERE w.member AND w.stated AND w.limit_bytes IS DISTINCT FROM w.held_limit
          AND m.pool_id = pool AND m.iccid = w.iccid AND m.left_on IS NULL
    ), added AS (
        INSERT INTO usage_pool_members (pool_id, tenant_id, iccid, joined_on, limit_bytes)
        SELECT pool, tenant, w.iccid, coalesce(w.day, today), w.limit_bytes FROM wanted w WHERE NOT w.member
        RETURNING usage_pool_members.iccid, usage_pool_members.joined_on
    ), counted AS (
        INSERT INTO usage_pool_days AS held (pool_id, usage_date, tenant_id, total_bytes)
        SELECT pool, d.usage_date, tenant, sum(d.total_bytes)
        FROM added a
        JOIN sim_daily_usage d ON d.tenant_id = tenant AND d.iccid = a.iccid AND d.usage_date >= a.joined_on
        GROUP BY d.usage_date
        ON CONFLICT ON CONSTRAINT usage_pool_days_pk DO UPDATE SET total_bytes = held.total_bytes + excluded.total_bytes
    )
    SELECT w.place::integer,
           CASE WHEN NOT w.member THEN 'added'
                WHEN w.stated AND w.limit_bytes IS DISTINCT FROM w.held_limit THEN 'changed' ELSE 'kept' END, NULL, NULL::date
    FROM wanted w ORDER BY w.place;
END $$;
COMMENT ON FUNCTION join_pool IS
    'Makes SIMs members of a pool from a day on, NULL for today, or changes the limits of those that are; all or none: unknown, '
    'future and taken are faults. Nothing without such a pool';

CREATE FUNCTION leave_pool(tenant integer, pool integer, sims text[], at timestamptz) RETURNS integer
LANGUAGE plpgsql SET jit = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    today date;
    gone  integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('simbridge.rollup'));
    SELECT (at AT TIME ZONE t.time_zone)::date INTO today
    FROM usage_pools p JOIN tenants t ON t.id = p.tenant_id
    WHERE p.id = pool AND p.tenant_id = tenant FOR KEY SHARE OF p;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    WITH members AS MATERIALIZED (
        SELECT m.iccid, m.joined_on FROM usage_pool_members m
        WHERE m.pool_id = pool AND m.iccid = ANY (sims) AND m.left_on IS NULL
    ), ended AS (
        UPDATE usage_pool_members m SET left_on = today
        FROM members g WHERE m.pool_id = pool AND m.iccid = g.iccid AND m.left_on IS NULL AND m.joined_on < today
    ), undone AS (
        -- No day of it counted: a day belongs to the pool in which the SIM is at its end.
        DELETE FROM usage_pool_members m
        USING members g WHERE m.pool_id = pool AND m.iccid = g.iccid AND m.left_on IS NULL AND m.joined_on >= today
    ), taken AS (
        SELECT d.usage_date, sum(d.total_bytes) AS total
        FROM members g
        JOIN sim_daily_usage d ON d.tenant_id = tenant AND d.iccid = g.iccid AND d.usage_date >= greatest(g.joined_on, today)
        GROUP BY d.usage_date
    ), counted AS (
        UPDATE usage_pool_days held SET total_bytes = held.total_bytes - t.total
        FROM taken t WHERE held.pool_id = pool AND held.usage_date = t.usage_date
    )
    SELECT count(*) INTO gone FROM members;
    RETURN gone;
END $$;
COMMENT ON FUNCTION leave_pool IS
    'Ends the membership of SIMs: today and what follows do not count any more; returns how many were members, NULL without such a pool';

-- Another limit counts from now on: what was told under the former one does not, also when it comes back.
CREATE FUNCTION rearm_pool_alerts() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM pool_alert_states a
    WHERE a.pool_id = NEW.id
      AND (a.iccid = '' OR (OLD.cycle_day, OLD.threshold_version) IS DISTINCT FROM (NEW.cycle_day, NEW.threshold_version));
    RETURN NULL;
END $$;
CREATE TRIGGER usage_pools_terms_changed AFTER UPDATE ON usage_pools
    FOR EACH ROW WHEN ((OLD.limit_bytes, OLD.cycle_day, OLD.threshold_version)
                       IS DISTINCT FROM (NEW.limit_bytes, NEW.cycle_day, NEW.threshold_version))
    EXECUTE FUNCTION rearm_pool_alerts();

CREATE FUNCTION rearm_member_alerts() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM pool_alert_states a WHERE a.pool_id = NEW.pool_id AND a.iccid = NEW.iccid;
    RETURN NULL;
END $$;
CREATE TRIGGER usage_pool_members_limit_changed AFTER UPDATE OF limit_bytes ON usage_pool_members
    FOR EACH ROW WHEN (OLD.limit_bytes IS DISTINCT FROM NEW.limit_bytes) EXECUTE FUNCTION rearm_member_alerts();

CREATE FUNCTION rearm_pools_of_tenant() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    rule alert_rules := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    IF rule.rate_plan_id = 0 AND rule.iccid = '' THEN
        DELETE FROM pool_alert_states a USING usage_pools p
        WHERE p.id = a.pool_id AND p.tenant_id = rule.tenant_id AND p.threshold_version IS NULL;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER alert_rules_rearm_pools AFTER INSERT OR UPDATE OR DELETE ON alert_rules
    FOR EACH ROW EXECUTE FUNCTION rearm_pools_of_tenant();

CREATE FUNCTION raise_pool_alerts(
    after_pool integer, after_iccid text, at_most integer, at timestamptz, tries integer,
    OUT subjects integer, OUT last_pool integer, OUT last_iccid text, OUT raised integer)
LANGUAGE plpgsql SET jit = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off
AS $$
BEGIN
    -- The lock of raise_alerts: alerts become visible in the order of their ids.
    IF NOT pg_try_advisory_xact_lock(hashtext('simbridge.alerts')) THEN
        RETURN;
    END IF;
    WITH slice AS MATERIALIZED (
        -- A pool as a whole comes before its members that have a limit of their own.
        SELECT * FROM (
            (SELECT p.id AS pool_id, '' COLLATE "C" AS iccid, p.limit_bytes FROM usage_pools p
             WHERE p.id > after_pool ORDER BY p.id LIMIT at_most)
            UNION ALL
            (SELECT m.pool_id, m.iccid, m.limit_bytes FROM usage_pool_members m
             WHERE m.left_on IS NULL AND m.limit_bytes IS NOT NULL AND (m.pool_id, m.iccid) > (after_pool, after_iccid)
             ORDER BY m.pool_id, m.iccid LIMIT at_most)) AS both_kinds
        ORDER BY pool_id, iccid LIMIT at_most
    ), ruled AS (
        SELECT s.pool_id, s.iccid, s.limit_bytes, p.tenant_id, p.name, t.time_zone,
               coalesce(p.threshold_version, general.version, 0) AS version,
               coalesce(p.threshold_percents, general.percents, '{80,90,100}') AS percents,
               -- Bytes that a tenant states are of a SIM, those of a pool are of the whole.
               CASE WHEN s.iccid = '' THEN coalesce(p.threshold_bytes, '{}') ELSE '{}' END AS bytes,
               b.month, b.first_day, b.next_day
        FROM slice s
        JOIN usage_pools p ON p.id = s.pool_id
        JOIN tenants t ON t.id = p.tenant_id
        LEFT JOIN alert_rules general ON general.tenant_id = p.tenant_id AND general.rate_plan_id = 0 AND general.iccid = ''
        CROSS JOIN LATERAL (SELECT pool_month((at AT TIME ZONE t.time_zone)::date, p.cycle_day) AS month) AS c
        CROSS JOIN LATERAL (SELECT c.month, pool_period_day(c.month, p.cycle_day) AS first_day,
                                   pool_period_day((c.month + interval '1 month')::date, p.cycle_day) AS next_day) AS b
    ), used AS (
        SELECT r.*, u.used FROM ruled r
        CROSS JOIN LATERAL (
            SELECT sum(d.total_bytes) AS used FROM usage_pool_days d
            WHERE r.iccid = '' AND d.pool_id = r.pool_id AND d.usage_date >= r.first_day AND d.usage_date < r.next_day
            UNION ALL
            SELECT sum(d.total_bytes) FROM usage_pool_members m
            JOIN sim_daily_usage d ON d.tenant_id = m.tenant_id AND d.iccid = m.iccid AND d.usage_date >= m.joined_on
                                  AND d.usage_date < coalesce(m.left_on, 'infinity')
            WHERE r.iccid <> '' AND m.pool_id = r.pool_id AND m.iccid = r.iccid
              AND d.usage_date >= r.first_day AND d.usage_date < r.next_day) AS u
        WHERE u.used > 0
    ), crossed AS (
        -- The highest threshold that each has reached in its current period.
        SELECT DISTINCT ON (u.pool_id, u.iccid) u.*, l.percent, l.level
        FROM used u
        CROSS JOIN LATERAL (
            SELECT p AS percent, ceil(u.limit_bytes::numeric * p / 100) AS level FROM unnest(u.percents) AS p
            UNION ALL
            SELECT NULL, b::numeric FROM unnest(u.bytes) AS b) AS l
        WHERE u.used >= l.level
        ORDER BY u.pool_id, u.iccid, l.level DESC, l.percent NULLS LAST
    ), fresh AS (
        SELECT c.* FROM crossed c
        WHERE NOT EXISTS (
            SELECT FROM pool_alert_states a
            WHERE a.pool_id = c.pool_id AND a.iccid = c.iccid AND a.level_bytes >= c.level
              AND (a.first_day, a.rule_version, a.limit_bytes) = (c.first_day, c.version, c.limit_bytes))
    ), noted AS (
        INSERT INTO pool_alert_states (pool_id, iccid, first_day, limit_bytes, rule_version, level_bytes)
        SELECT f.pool_id, f.iccid, f.first_day, f.limit_bytes, f.version, f.level FROM fresh f ORDER BY f.pool_id, f.iccid
        ON CONFLICT ON CONSTRAINT pool_alert_states_pk DO UPDATE SET
            first_day = excluded.first_day, limit_bytes = excluded.limit_bytes, rule_version = excluded.rule_version,
            level_bytes = excluded.level_bytes
    ), told AS (
        INSERT INTO usage_alerts (tenant_id, sim_id, iccid, pool_id, pool_name, cycle_id, cycle_start, cycle_end, threshold_percent,
                                  threshold_bytes, limit_bytes, used_bytes, raised_at, exhausted_on)
        SELECT f.tenant_id, coalesce(s.sim_id, ''), f.iccid, f.pool_id, f.name, to_char(f.month, 'YYYY-MM'), m.starts, m.ends,
               f.percent, f.level, f.limit_bytes, f.used, at,
               forecast_exhaustion(f.used, f.limit_bytes, m.starts, m.ends, at, f.time_zone)
        FROM fresh f
        CROSS JOIN LATERAL (SELECT first_moment(f.first_day, f.time_zone) AS starts, first_moment(f.next_day, f.time_zone) AS ends) AS m
        LEFT JOIN provisioned_sims s ON s.iccid = f.iccid AND s.tenant_id = f.tenant_id
        ORDER BY f.pool_id, f.iccid
        RETURNING id, tenant_id
    ), queued AS (
        INSERT INTO alert_deliveries (alert_id, tenant_id, webhook_id, tries_left, next_attempt_at)
        SELECT told.id, told.tenant_id, w.id, tries, at FROM told JOIN alert_webhooks w ON w.tenant_id = told.tenant_id
    )
    SELECT (SELECT count(*) FROM slice), n.pool_id, n.iccid, (SELECT count(*) FROM told)
    INTO subjects, last_pool, last_iccid, raised
    FROM (VALUES (1)) AS one (row)
    LEFT JOIN (SELECT s.pool_id, s.iccid FROM slice s ORDER BY s.pool_id DESC, s.iccid DESC LIMIT 1) AS n ON true;
END $$;
COMMENT ON FUNCTION raise_pool_alerts IS
    'Raises what is due for some pools and members with limits after a place in their order, and queues it for webhooks; subjects is '
    'NULL while another instance is at it, and less than asked for after the last one';
