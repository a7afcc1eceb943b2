-- Bounds of cycles and partitions are made here and nowhere else: one time zone database decides them all.

CREATE FUNCTION cycle_boundary(month date, zone text, day integer) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (month + (least(day, extract(day FROM month + interval '1 month' - interval '1 day')::integer) - 1))::timestamp
       AT TIME ZONE zone;
COMMENT ON FUNCTION cycle_boundary IS
    'First moment of the cycle that begins in a month: midnight of the cycle day, or of the last day of a shorter month';

CREATE FUNCTION cycle_month(moment timestamptz, zone text, day integer) RETURNS date
LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- Candidates are compared as moments, not as local dates: a midnight that happens twice, or not at all, stays in one cycle.
RETURN (
    SELECT max(candidate)
    FROM (SELECT (date_trunc('month', moment AT TIME ZONE zone) + make_interval(months => step))::date AS candidate
          FROM generate_series(-1, 1) AS step) AS candidates
    WHERE cycle_boundary(candidate, zone, day) <= moment
);
COMMENT ON FUNCTION cycle_month IS 'First day of the month in which the cycle that holds a moment begins';

CREATE FUNCTION ensure_cycles(iccids text[], moments timestamptz[], at timestamptz) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    sim     record;
    chain   record;
    created integer := 0;
    month   date;
    bound   timestamptz;
BEGIN
    FOR sim IN
        SELECT p.sim_id, p.iccid, p.cycle_day, t.time_zone, wanted.earliest, wanted.latest
        FROM (SELECT w.iccid, min(w.moment) AS earliest, max(w.moment) AS latest
              FROM unnest(iccids, moments) AS w (iccid, moment) GROUP BY w.iccid) AS wanted
        JOIN provisioned_sims p ON p.iccid = wanted.iccid
        JOIN tenants t ON t.id = p.tenant_id
        ORDER BY p.iccid
        FOR NO KEY UPDATE OF p -- one at a time extends the chain of a SIM
    LOOP
        SELECT min(cycle_start) AS starts, min(cycle_id) AS first_id, max(cycle_end) AS ends, max(cycle_id) AS last_id
        INTO chain FROM usage_cycles c WHERE c.sim_id = sim.sim_id AND c.iccid = sim.iccid;

        IF chain.starts IS NULL THEN
            -- The chain begins with the cycle that is current now and grows to both sides from there.
            month := cycle_month(at, sim.time_zone, sim.cycle_day);
            chain.starts := cycle_boundary(month, sim.time_zone, sim.cycle_day);
            chain.ends := cycle_boundary((month + interval '1 month')::date, sim.time_zone, sim.cycle_day);
            chain.first_id := to_char(month, 'YYYY-MM');
            chain.last_id := chain.first_id;
            INSERT INTO usage_cycles (sim_id, iccid, cycle_id, cycle_start, cycle_end, is_current)
            VALUES (sim.sim_id, sim.iccid, chain.first_id, chain.starts, chain.ends, true);
            created := created + 1;
        END IF;

        -- Each month begins exactly one cycle and each cycle begins where the one before ends, so a chain has neither gap
        -- nor overlap even when the cycle day or the time zone was changed in between.
        WHILE sim.latest >= chain.ends LOOP
            month := (to_date(chain.last_id, 'YYYY-MM') + interval '1 month')::date;
            bound := cycle_boundary((month + interval '1 month')::date, sim.time_zone, sim.cycle_day);
            chain.last_id := to_char(month, 'YYYY-MM');
            INSERT INTO usage_cycles (sim_id, iccid, cycle_id, cycle_start, cycle_end)
            VALUES (sim.sim_id, sim.iccid, chain.last_id, chain.ends, bound);
            chain.ends := bound;
            created := created + 1;
        END LOOP;
        WHILE sim.earliest < chain.starts LOOP
            month := (to_date(chain.first_id, 'YYYY-MM') - interval '1 month')::date;
            bound := cycle_boundary(month, sim.time_zone, sim.cycle_day);
            chain.first_id := to_char(month, 'YYYY-MM');
            INSERT INTO usage_cycles (sim_id, iccid, cycle_id, cycle_start, cycle_end, archived_at)
            VALUES (sim.sim_id, sim.iccid, chain.first_id, bound, chain.starts, at);
            chain.starts := bound;
            created := created + 1;
        END LOOP;
    END LOOP;
    RETURN created;
END $$;
COMMENT ON FUNCTION ensure_cycles IS 'Makes the cycles that hold the given moments, for SIMs that are provisioned; returns how many it made';

CREATE FUNCTION roll_cycles(at timestamptz, at_most integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    due    record;
    rolled integer := 0;
BEGIN
    FOR due IN
        SELECT c.sim_id, c.iccid FROM usage_cycles c
        WHERE c.is_current AND c.cycle_end <= at
        ORDER BY c.sim_id LIMIT at_most FOR UPDATE SKIP LOCKED
    LOOP
        PERFORM ensure_cycles(ARRAY[due.iccid], ARRAY[at], at);
        -- More than one when the program stood still for longer than a cycle.
        UPDATE usage_cycles c SET
            is_current = false,
            archived_at = at,
            final_usage = jsonb_build_object(
                'dataUploadBytes', total_upload_bytes, 'dataDownloadBytes', total_download_bytes,
                'totalBytes', total_bytes, 'smsCount', sms_count, 'voiceSeconds', voice_seconds)
        WHERE c.sim_id = due.sim_id AND c.iccid = due.iccid AND c.cycle_end <= at AND c.archived_at IS NULL;
        UPDATE usage_cycles c SET is_current = true
        WHERE c.sim_id = due.sim_id AND c.iccid = due.iccid AND c.cycle_start <= at AND at < c.cycle_end;
        rolled := rolled + 1;
    END LOOP;
    RETURN rolled;
END $$;
COMMENT ON FUNCTION roll_cycles IS 'Archives current cycles that have ended and makes their successors current; returns how many SIMs it rolled';

CREATE FUNCTION attach_records(iccids text[], at timestamptz) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    attached bigint;
BEGIN
    PERFORM ensure_cycles(array_agg(r.iccid), array_agg(r.period_start), at)
    FROM usage_records r WHERE r.iccid = ANY (iccids) AND r.sim_id IS NULL;

    WITH owned AS (
        -- The owner at period_start, for records sent by a tenant that owns or owned the SIM.
        SELECT r.iccid, r.period_start, r.id, o.tenant_id, o.sim_id, o.carrier_id, o.rate_plan_id, c.cycle_id
        FROM usage_records r
        CROSS JOIN LATERAL (
            SELECT s.* FROM sim_ownership s WHERE s.iccid = r.iccid AND s.valid_from <= r.period_start
            ORDER BY s.valid_from DESC LIMIT 1) o
        JOIN usage_cycles c ON c.sim_id = o.sim_id AND c.iccid = r.iccid
                           AND c.cycle_start <= r.period_start AND r.period_start < c.cycle_end
        WHERE r.iccid = ANY (iccids) AND r.sim_id IS NULL
          AND EXISTS (SELECT FROM sim_ownership m WHERE m.iccid = r.iccid AND m.tenant_id = r.key_tenant_id)
    ), moved AS (
        UPDATE usage_records r
        SET tenant_id = owned.tenant_id, sim_id = owned.sim_id, carrier_id = owned.carrier_id,
            rate_plan_id = owned.rate_plan_id, cycle_id = owned.cycle_id
        FROM owned WHERE r.iccid = owned.iccid AND r.period_start = owned.period_start AND r.id = owned.id
        RETURNING r.*
    ), sums AS (
        SELECT m.sim_id, m.iccid, m.cycle_id, sum(m.data_upload_bytes) AS up, sum(m.data_download_bytes) AS down,
               sum(m.total_bytes) AS total, sum(m.sms_count) AS sms, sum(m.voice_seconds) AS voice, count(*) AS records
        FROM moved m GROUP BY m.sim_id, m.iccid, m.cycle_id
    ), totals AS (
        UPDATE usage_cycles c
        SET total_upload_bytes = c.total_upload_bytes + sums.up, total_download_bytes = c.total_download_bytes + sums.down,
            total_bytes = c.total_bytes + sums.total, sms_count = c.sms_count + sums.sms,
            voice_seconds = c.voice_seconds + sums.voice, record_count = c.record_count + sums.records, last_updated = now()
        FROM sums WHERE c.sim_id = sums.sim_id AND c.iccid = sums.iccid AND c.cycle_id = sums.cycle_id
    ), marked AS (
        INSERT INTO rollup_markers (iccid, period_from, period_to, record_count)
        SELECT m.iccid, min(m.period_start), max(m.period_start), count(*) FROM moved m GROUP BY m.iccid
    )
    SELECT count(*) INTO attached FROM moved;
    RETURN attached;
END $$;
COMMENT ON FUNCTION attach_records IS
    'Gives records that came before their SIM was provisioned their owner and cycle; needs the inventory lock; returns how many';

CREATE FUNCTION ensure_partitions(earliest timestamptz, latest timestamptz) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    month   timestamp := date_trunc('month', earliest AT TIME ZONE 'UTC');
    name    text;
    created integer := 0;
BEGIN
    WHILE month <= latest AT TIME ZONE 'UTC' LOOP
        name := to_char(month, '"usage_records_y"YYYY"m"MM');
        IF to_regclass(name) IS NULL THEN
            -- Two instances at once would both find it missing.
            PERFORM pg_advisory_xact_lock(hashtext('simbridge.partitions'));
            IF to_regclass(name) IS NULL THEN
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
COMMENT ON FUNCTION ensure_partitions IS 'Makes the monthly partitions of usage_records for a range of period_start; returns how many it made';
