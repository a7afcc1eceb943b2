-- What ingestion over HTTP needs: cycles that a client ends, sessions by their id, keys of requests that are sent again.
SET LOCAL check_function_bodies = off;

CREATE INDEX usage_sessions_by_id ON usage_sessions (tenant_id, session_id);

CREATE TABLE idempotency_keys (
    tenant_id integer NOT NULL,
    sender    text COLLATE "C" NOT NULL,
    key       text COLLATE "C" NOT NULL,
    request   bytea NOT NULL,
    first_at  timestamptz NOT NULL,
    CONSTRAINT idempotency_keys_pk PRIMARY KEY (tenant_id, sender, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (first_at);
COMMENT ON TABLE idempotency_keys IS
    'Idempotency-Key headers of the last hours. No answer is kept: every request that takes the header is idempotent by itself, so '
    'the header only tells a repetition from another request under the same key';
COMMENT ON COLUMN idempotency_keys.sender IS 'Name of the API key, so that senders need not agree on their keys';
COMMENT ON COLUMN idempotency_keys.request IS 'SHA-256 of the path and the body';

ALTER TABLE usage_cycles ADD COLUMN reset_end timestamptz, ADD COLUMN follows text COLLATE "C";
COMMENT ON COLUMN usage_cycles.reset_end IS 'Where the reset that made this cycle the current one ended it; NULL without a reset';
COMMENT ON COLUMN usage_cycles.follows IS 'The cycle that this reset archived';

CREATE FUNCTION cycle_usage(c usage_cycles) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE
RETURN jsonb_build_object('dataUploadBytes', c.total_upload_bytes, 'dataDownloadBytes', c.total_download_bytes,
                          'totalBytes', c.total_bytes, 'smsCount', c.sms_count, 'voiceSeconds', c.voice_seconds);
COMMENT ON FUNCTION cycle_usage IS 'Totals of a cycle in the form of final_usage';

CREATE FUNCTION reset_faults(sim text, named usage_cycles, starts timestamptz, ends timestamptz, at timestamptz) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    month  date := to_date(named.cycle_id, 'YYYY-MM');
    before usage_cycles;
    after  usage_cycles;
    owned  record;
    lower  timestamptz;
    upper  timestamptz;
    faults jsonb := '[]';
BEGIN
    -- A cycle that ends before the next one could begin would leave that one too long for a month to come.
    IF ends < named.cycle_end - interval '1 day' THEN
        PERFORM ensure_cycles(ARRAY[sim], ARRAY[named.cycle_end], at);
    END IF;
    SELECT p.cycle_day, t.time_zone INTO owned FROM provisioned_sims p JOIN tenants t ON t.id = p.tenant_id WHERE p.iccid = sim;
    SELECT c.* INTO before FROM usage_cycles c
    WHERE c.sim_id = named.sim_id AND c.iccid = sim AND c.cycle_end = named.cycle_start;
    SELECT c.* INTO after FROM usage_cycles c
    WHERE c.sim_id = named.sim_id AND c.iccid = sim AND c.cycle_start = named.cycle_end;
    -- At the ends of the chain there has to be room for the cycle that is made there when it is needed.
    lower := coalesce(before.cycle_start, cycle_boundary((month - interval '1 month')::date, owned.time_zone, 31));
    upper := coalesce(after.cycle_end, cycle_boundary((month + interval '2 months')::date, owned.time_zone, 1));

    -- Prices look for the other days of a cycle within 70 days (price_days).
    IF starts <= lower OR (starts <> named.cycle_start AND starts - lower > interval '62 days') THEN
        faults := faults || jsonb_build_object('field', 'cycleStart', 'message', format(
            'must lie after %s, where the cycle before begins, and at most 62 days after it', timestamp_text(lower)));
    END IF;
    IF ends >= upper OR (ends <> named.cycle_end AND upper - ends > interval '62 days') THEN
        faults := faults || jsonb_build_object('field', 'cycleEnd', 'message', format(
            'must lie before %s, where the cycle after ends, and at most 62 days before it', timestamp_text(upper)));
    END IF;
    IF least(CASE WHEN starts <> named.cycle_start THEN least(starts, named.cycle_start) END,
             CASE WHEN ends <> named.cycle_end THEN least(ends, named.cycle_end) END)
       < (SELECT v.raw_floor FROM inventory_version v) THEN
        faults := faults || jsonb_build_object('field', 'cycleStart', 'message',
            'would move records of a time of which none are kept');
    END IF;
    RETURN nullif(faults, '[]');
END $$;
COMMENT ON FUNCTION reset_faults IS 'Why a cycle cannot be given these bounds without breaking the chain; NULL when it can';

CREATE FUNCTION timestamp_text(moment timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
RETURN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');

CREATE FUNCTION bound_cycle(sim text, named usage_cycles, starts timestamptz, ends timestamptz, at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF (starts, ends) = (named.cycle_start, named.cycle_end) THEN
        RETURN;
    END IF;
    -- Its neighbours give or take: the chain stays without gap or overlap.
    UPDATE usage_cycles c SET
        cycle_start = CASE WHEN c.cycle_id = named.cycle_id THEN starts
                           WHEN c.cycle_start = named.cycle_end THEN ends ELSE c.cycle_start END,
        cycle_end = CASE WHEN c.cycle_id = named.cycle_id THEN ends
                         WHEN c.cycle_end = named.cycle_start THEN starts ELSE c.cycle_end END
    WHERE c.sim_id = named.sim_id AND c.iccid = sim
      AND (c.cycle_id = named.cycle_id OR c.cycle_end = named.cycle_start OR c.cycle_start = named.cycle_end);
    -- What lies between the old bounds and the new ones counts in its new cycle, here and in the rollups.
    PERFORM stamp_records(ARRAY[sim], least(CASE WHEN starts <> named.cycle_start THEN least(starts, named.cycle_start) END,
                                            CASE WHEN ends <> named.cycle_end THEN least(ends, named.cycle_end) END), at);
END $$;
COMMENT ON FUNCTION bound_cycle IS 'Gives a cycle other bounds and moves the records that lie in another cycle by that';

CREATE FUNCTION make_current(sim text, named usage_cycles, starts timestamptz, ends timestamptz, stated jsonb, at timestamptz)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    former text := named.follows;
BEGIN
    IF former IS NULL THEN
        -- The current one, or if that is this one or a later one, the one before.
        SELECT c.cycle_id INTO former FROM usage_cycles c
        WHERE c.sim_id = named.sim_id AND c.iccid = sim AND c.cycle_id < named.cycle_id
        ORDER BY c.is_current DESC, c.cycle_id DESC LIMIT 1;
    END IF;
    UPDATE usage_cycles c SET is_current = false
    WHERE c.sim_id = named.sim_id AND c.iccid = sim AND c.is_current AND c.cycle_id <> named.cycle_id;
    UPDATE usage_cycles c SET archived_at = at, final_usage = cycle_usage(c)
    WHERE c.sim_id = named.sim_id AND c.iccid = sim AND c.cycle_id < named.cycle_id AND c.archived_at IS NULL;
    UPDATE usage_cycles c SET final_usage = cycle_usage(c) || coalesce(stated, '{}')
    WHERE c.sim_id = named.sim_id AND c.iccid = sim AND c.cycle_id = former;
    -- Later ones are still to come: roll_cycles makes them current in their turn.
    UPDATE usage_cycles c SET archived_at = NULL, final_usage = NULL, reset_end = NULL, follows = NULL
    WHERE c.sim_id = named.sim_id AND c.iccid = sim AND c.cycle_id > named.cycle_id
      AND num_nonnulls(c.archived_at, c.final_usage, c.reset_end, c.follows) > 0;
    UPDATE usage_cycles c
    SET is_current = true, archived_at = NULL, final_usage = NULL, reset_end = ends, follows = former
    WHERE c.sim_id = named.sim_id AND c.iccid = sim AND c.cycle_id = named.cycle_id;
    RETURN former;
END $$;
COMMENT ON FUNCTION make_current IS
    'Makes a cycle the current one and archives those before it; stated amounts go before those of the records in final_usage of '
    'the cycle that it follows, whose id is returned';

CREATE FUNCTION reset_cycle(tenant integer, sim text, id text, starts timestamptz, ends timestamptz, stated jsonb, at timestamptz,
                            OUT known boolean, OUT faults jsonb, OUT former text)
LANGUAGE plpgsql AS $$
DECLARE
    owned record;
    named usage_cycles;
    chain record;
BEGIN
    SELECT p.sim_id INTO owned FROM provisioned_sims p WHERE p.iccid = sim AND p.tenant_id = tenant;
    known := FOUND;
    IF NOT known THEN
        RETURN;
    END IF;
    PERFORM ensure_cycles(ARRAY[sim], ARRAY[at], at);
    SELECT c.* INTO named FROM usage_cycles c WHERE c.sim_id = owned.sim_id AND c.iccid = sim AND c.cycle_id = id;
    IF (named.cycle_start, named.reset_end) = (starts, ends) THEN
        -- A repetition, even one that comes when the cycle is over.
        former := named.follows;
        RETURN;
    END IF;
    IF ends <= at THEN
        faults := jsonb_build_array(jsonb_build_object('field', 'cycleEnd', 'message',
            'lies in the past: a cycle that is over cannot become the current one'));
        RETURN;
    END IF;
    -- The caller sees to it that the id is of the month in which the cycle starts, so this ends soon.
    LOOP
        SELECT min(c.cycle_id) AS first_id, max(c.cycle_id) AS last_id, min(c.cycle_start) AS starts, max(c.cycle_end) AS ends
        INTO chain FROM usage_cycles c WHERE c.sim_id = owned.sim_id AND c.iccid = sim;
        EXIT WHEN id BETWEEN chain.first_id AND chain.last_id;
        PERFORM ensure_cycles(ARRAY[sim], ARRAY[CASE WHEN id > chain.last_id THEN chain.ends
                                                     ELSE chain.starts - interval '1 microsecond' END], at);
    END LOOP;
    SELECT c.* INTO named FROM usage_cycles c WHERE c.sim_id = owned.sim_id AND c.iccid = sim AND c.cycle_id = id;
    faults := reset_faults(sim, named, starts, ends, at);
    IF faults IS NULL THEN
        PERFORM bound_cycle(sim, named, starts, ends, at);
        former := make_current(sim, named, starts, ends, stated, at);
    END IF;
END $$;
COMMENT ON FUNCTION reset_cycle IS
    'Ends the current cycle of a SIM of a tenant and makes the named one current, with these bounds; needs the exclusive inventory '
    'lock, and a rollback when there are faults. Called again with the same bounds it changes nothing. known is false for a SIM '
    'that the tenant does not have; former is the archived cycle';
