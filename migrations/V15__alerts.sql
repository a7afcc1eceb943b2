-- Alerts: what SIMs may use before somebody is told, what was told, and where it is sent.

CREATE SEQUENCE alert_rule_versions;
CREATE TABLE alert_rules (
    tenant_id    integer NOT NULL CONSTRAINT alert_rules_tenant_fk REFERENCES tenants (id),
    rate_plan_id integer NOT NULL DEFAULT 0,
    iccid        text COLLATE "C" NOT NULL DEFAULT '',
    version      bigint NOT NULL DEFAULT nextval('alert_rule_versions'),
    percents     integer[] NOT NULL,
    bytes        bigint[] NOT NULL,
    updated_at   timestamptz NOT NULL,
    CONSTRAINT alert_rules_pk PRIMARY KEY (tenant_id, rate_plan_id, iccid),
    CONSTRAINT alert_rules_scope CHECK (rate_plan_id = 0 OR iccid = ''),
    CONSTRAINT alert_rules_size CHECK (cardinality(percents) + cardinality(bytes) <= 20)
);
ALTER SEQUENCE alert_rule_versions OWNED BY alert_rules.version;
COMMENT ON TABLE alert_rules IS
    'Thresholds of a SIM, of a rate plan or of a tenant; the most specific one counts, and without any 80, 90 and 100 percent';
COMMENT ON COLUMN alert_rules.rate_plan_id IS '0 unless these are the thresholds of a plan';
COMMENT ON COLUMN alert_rules.iccid IS 'Empty unless these are the thresholds of a SIM';
COMMENT ON COLUMN alert_rules.version IS 'Another one after each change: what was told under other thresholds does not count any more';
COMMENT ON COLUMN alert_rules.percents IS 'Of data_limit_bytes; nothing to a SIM without a limit';
COMMENT ON COLUMN alert_rules.bytes IS 'Of a billing cycle, with a limit and without';

CREATE TABLE alert_states (
    sim_id           text COLLATE "C" CONSTRAINT alert_states_pk PRIMARY KEY,
    cycle_id         text COLLATE "C" NOT NULL,
    tenant_id        integer NOT NULL,
    data_limit_bytes bigint,
    rule_version     bigint NOT NULL,
    level_bytes      numeric(30, 0) NOT NULL
) WITH (fillfactor = 70);
COMMENT ON TABLE alert_states IS
    'The highest threshold of each SIM that was told, and under which terms: in another cycle or under other terms it is told again';
COMMENT ON COLUMN alert_states.rule_version IS '0 for the thresholds that hold without a rule';

CREATE TABLE usage_alerts (
    id                bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT usage_alerts_pk PRIMARY KEY,
    tenant_id         integer NOT NULL CONSTRAINT usage_alerts_tenant_fk REFERENCES tenants (id),
    threshold_percent integer,
    sim_id            text COLLATE "C" NOT NULL,
    iccid             text COLLATE "C" NOT NULL,
    cycle_id          text COLLATE "C" NOT NULL,
    cycle_start       timestamptz NOT NULL,
    cycle_end         timestamptz NOT NULL,
    threshold_bytes   numeric(30, 0) NOT NULL,
    limit_bytes       bigint,
    used_bytes        numeric(30, 0) NOT NULL,
    raised_at         timestamptz NOT NULL,
    exhausted_on      date
);
CREATE INDEX usage_alerts_newest ON usage_alerts (tenant_id, id);
CREATE INDEX usage_alerts_of_sim ON usage_alerts (tenant_id, iccid, id);
COMMENT ON TABLE usage_alerts IS 'Every threshold that a SIM crossed: the highest newly crossed one, once in a cycle and again only under other terms';
COMMENT ON COLUMN usage_alerts.threshold_percent IS 'NULL when the threshold is one in bytes';
COMMENT ON COLUMN usage_alerts.threshold_bytes IS 'The threshold in bytes, whichever way it was stated';
COMMENT ON COLUMN usage_alerts.used_bytes IS 'Total of the cycle at that moment';
COMMENT ON COLUMN usage_alerts.exhausted_on IS
    'Day in the tenant''s time zone on which the limit is reached if usage goes on as in the cycle so far; NULL if not in this cycle';

CREATE TABLE alert_webhooks (
    id         integer GENERATED ALWAYS AS IDENTITY CONSTRAINT alert_webhooks_pk PRIMARY KEY,
    tenant_id  integer NOT NULL CONSTRAINT alert_webhooks_tenant_fk REFERENCES tenants (id),
    url        text NOT NULL CONSTRAINT alert_webhooks_url_length CHECK (length(url) BETWEEN 1 AND 2000),
    secret     text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT alert_webhooks_url_unique UNIQUE (tenant_id, url)
);
COMMENT ON TABLE alert_webhooks IS 'Where alerts of a tenant are sent';
COMMENT ON COLUMN alert_webhooks.secret IS 'Key of the signatures; kept as it is, because a hash cannot sign';

CREATE TABLE alert_deliveries (
    id              bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT alert_deliveries_pk PRIMARY KEY,
    alert_id        bigint NOT NULL CONSTRAINT alert_deliveries_alert_fk REFERENCES usage_alerts (id) ON DELETE CASCADE,
    tenant_id       integer NOT NULL,
    webhook_id      integer NOT NULL CONSTRAINT alert_deliveries_webhook_fk REFERENCES alert_webhooks (id) ON DELETE CASCADE,
    attempts        integer NOT NULL DEFAULT 0,
    tries_left      integer NOT NULL,
    state           text NOT NULL DEFAULT 'waiting'
                    CONSTRAINT alert_deliveries_state CHECK (state IN ('waiting', 'delivered', 'failed')),
    next_attempt_at timestamptz NOT NULL,
    last_status     integer,
    last_error      text,
    finished_at     timestamptz,
    CONSTRAINT alert_deliveries_once UNIQUE (webhook_id, alert_id),
    CONSTRAINT alert_deliveries_finished CHECK ((state = 'waiting') = (finished_at IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX alert_deliveries_due ON alert_deliveries (next_attempt_at) WHERE state = 'waiting';
CREATE INDEX alert_deliveries_of_alert ON alert_deliveries (alert_id);
COMMENT ON TABLE alert_deliveries IS 'What has to be sent to webhooks, and what became of it';
COMMENT ON COLUMN alert_deliveries.attempts IS 'Ever begun, replays included; also tells an attempt that took too long from the one after it';
COMMENT ON COLUMN alert_deliveries.next_attempt_at IS 'While an attempt is under way: when it is taken for lost and made again';

-- Another limit counts from now on: what was told under the former one does not, also when it comes back.
CREATE FUNCTION rearm_alerts() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM alert_states a WHERE a.sim_id = NEW.sim_id;
    RETURN NULL;
END $$;
CREATE TRIGGER provisioned_sims_limit_changed AFTER UPDATE OF data_limit_bytes ON provisioned_sims
    FOR EACH ROW WHEN (OLD.data_limit_bytes IS DISTINCT FROM NEW.data_limit_bytes) EXECUTE FUNCTION rearm_alerts();

CREATE FUNCTION forecast_exhaustion(
    used numeric, limit_bytes bigint, starts timestamptz, ends timestamptz, at timestamptz, zone text) RETURNS date
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE
    WHEN limit_bytes IS NULL OR used <= 0 THEN NULL
    WHEN used >= limit_bytes THEN (at AT TIME ZONE zone)::date
    -- Compared before it becomes a time, which could lie beyond what a timestamp holds.
    WHEN at <= starts OR extract(epoch FROM at - starts) * limit_bytes >= extract(epoch FROM ends - starts) * used THEN NULL
    ELSE ((starts + make_interval(secs => (extract(epoch FROM at - starts) * limit_bytes / used)::double precision))
          AT TIME ZONE zone)::date
END;
COMMENT ON FUNCTION forecast_exhaustion IS
    'Day on which a limit is reached when usage goes on as it did in the cycle so far; NULL if that is not before its end';

CREATE FUNCTION raise_alerts(
    after_iccid text, at_most integer, at timestamptz, tries integer, OUT sims integer, OUT last_iccid text, OUT raised integer)
-- A slice is small beside its tables: index by index is right at any size, and five times as fast as reading all cycles for each.
LANGUAGE plpgsql SET jit = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off SET enable_material = off
AS $$
BEGIN
    -- One instance at a time, so that nothing is told twice and alerts become visible in the order of their ids.
    IF NOT pg_try_advisory_xact_lock(hashtext('simbridge.alerts')) THEN
        RETURN;
    END IF;
    -- A statement of its own, to see what the one before left.
    WITH slice AS MATERIALIZED (
        SELECT s.sim_id, s.iccid, s.tenant_id, s.rate_plan_id, s.data_limit_bytes
        FROM provisioned_sims s WHERE s.iccid > after_iccid COLLATE "C" ORDER BY s.iccid LIMIT at_most
    ), ruled AS (
        -- The most specific thresholds of each SIM.
        SELECT s.*, coalesce(own.version, plan.version, general.version, 0) AS version,
               coalesce(own.percents, plan.percents, general.percents, '{80,90,100}') AS percents,
               coalesce(own.bytes, plan.bytes, general.bytes, '{}') AS bytes
        FROM slice s
        LEFT JOIN alert_rules own ON own.tenant_id = s.tenant_id AND own.rate_plan_id = 0 AND own.iccid = s.iccid
        LEFT JOIN alert_rules plan ON plan.tenant_id = s.tenant_id AND plan.rate_plan_id = s.rate_plan_id AND plan.iccid = ''
                                  AND plan.rate_plan_id <> 0
        LEFT JOIN alert_rules general ON general.tenant_id = s.tenant_id AND general.rate_plan_id = 0 AND general.iccid = ''
    ), crossed AS (
        -- The highest threshold that each has reached in its current cycle.
        SELECT DISTINCT ON (r.iccid) r.*, c.cycle_id, c.cycle_start, c.cycle_end, c.total_bytes, l.percent, l.level
        FROM ruled r
        JOIN usage_cycles c ON c.sim_id = r.sim_id AND c.iccid = r.iccid AND c.is_current AND c.total_bytes > 0
                           -- A cycle that has ended is current until somebody ends it.
                           AND c.cycle_start <= at AND at < c.cycle_end
        CROSS JOIN LATERAL (
            SELECT p AS percent, ceil(r.data_limit_bytes::numeric * p / 100) AS level
            FROM unnest(r.percents) AS p WHERE r.data_limit_bytes IS NOT NULL
            UNION ALL
            SELECT NULL, b::numeric FROM unnest(r.bytes) AS b) AS l
        WHERE c.total_bytes >= l.level
        ORDER BY r.iccid, l.level DESC, l.percent NULLS LAST
    ), fresh AS (
        SELECT c.* FROM crossed c
        WHERE NOT EXISTS (
            SELECT FROM alert_states a
            WHERE a.sim_id = c.sim_id AND a.level_bytes >= c.level
              AND (a.cycle_id, a.tenant_id, a.rule_version) = (c.cycle_id, c.tenant_id, c.version)
              AND a.data_limit_bytes IS NOT DISTINCT FROM c.data_limit_bytes)
    ), noted AS (
        INSERT INTO alert_states (sim_id, cycle_id, tenant_id, data_limit_bytes, rule_version, level_bytes)
        SELECT f.sim_id, f.cycle_id, f.tenant_id, f.data_limit_bytes, f.version, f.level FROM fresh f ORDER BY f.iccid
        ON CONFLICT ON CONSTRAINT alert_states_pk DO UPDATE SET
            cycle_id = excluded.cycle_id, tenant_id = excluded.tenant_id, data_limit_bytes = excluded.data_limit_bytes,
            rule_version = excluded.rule_version, level_bytes = excluded.level_bytes
    ), told AS (
        INSERT INTO usage_alerts (tenant_id, sim_id, iccid, cycle_id, cycle_start, cycle_end, threshold_percent, threshold_bytes,
                                  limit_bytes, used_bytes, raised_at, exhausted_on)
        SELECT f.tenant_id, f.sim_id, f.iccid, f.cycle_id, f.cycle_start, f.cycle_end, f.percent, f.level, f.data_limit_bytes,
               f.total_bytes, at,
               forecast_exhaustion(f.total_bytes, f.data_limit_bytes, f.cycle_start, f.cycle_end, at, t.time_zone)
        FROM fresh f JOIN tenants t ON t.id = f.tenant_id
        ORDER BY f.iccid
        RETURNING id, tenant_id
    ), queued AS (
        INSERT INTO alert_deliveries (alert_id, tenant_id, webhook_id, tries_left, next_attempt_at)
        SELECT told.id, told.tenant_id, w.id, tries, at FROM told JOIN alert_webhooks w ON w.tenant_id = told.tenant_id
    )
    SELECT (SELECT count(*) FROM slice), (SELECT max(s.iccid) FROM slice s), (SELECT count(*) FROM told)
    INTO sims, last_iccid, raised;
END $$;
COMMENT ON FUNCTION raise_alerts IS
    'Raises what is due for some SIMs after an ICCID and queues it for webhooks; sims is NULL while another instance is at it, and '
    'less than asked for after the last SIM';
