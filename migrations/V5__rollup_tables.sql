-- Rollups, finer than what the fixed tables show: by SIM and day, by hour and by serving network; and who was active when.
-- All are filled by the functions of the next migration, from usage_records and the markers that batches leave (ADR 0007).

-- Records that were attached or moved change rollups in the transaction that moves them, so markers name writes alone.
DELETE FROM rollup_markers WHERE write_id IS NULL;
ALTER TABLE rollup_markers DROP CONSTRAINT rollup_markers_subject, DROP COLUMN iccid, ALTER COLUMN write_id SET NOT NULL;
COMMENT ON COLUMN rollup_markers.write_id IS 'All records of this write; while the marker stands, no rollup holds any of them';

CREATE TABLE sim_numbers (
    tenant_id integer NOT NULL,
    iccid     text COLLATE "C" NOT NULL,
    number    integer NOT NULL,
    CONSTRAINT sim_numbers_pk PRIMARY KEY (tenant_id, iccid),
    CONSTRAINT sim_numbers_unique UNIQUE (tenant_id, number)
);
COMMENT ON TABLE sim_numbers IS 'Small numbers for the SIMs of a tenant that ever had usage: their places in the sets of active SIMs';

CREATE TABLE sim_daily_usage (
    tenant_id           integer NOT NULL,
    usage_date          date NOT NULL,
    carrier_id          integer NOT NULL,
    rate_plan_id        integer NOT NULL,
    record_count        bigint NOT NULL,
    correction_count    bigint NOT NULL,
    latest_event_at     timestamptz,
    iccid               text COLLATE "C" NOT NULL,
    mccmnc              text COLLATE "C" NOT NULL,
    cycle_id            text COLLATE "C" NOT NULL,
    data_upload_bytes   numeric(30, 0) NOT NULL,
    data_download_bytes numeric(30, 0) NOT NULL,
    total_bytes         numeric(30, 0) NOT NULL,
    sms_count           numeric(30, 0) NOT NULL,
    voice_seconds       numeric(30, 0) NOT NULL,
    cost                numeric(60, 30) NOT NULL DEFAULT 0,
    CONSTRAINT sim_daily_usage_pk PRIMARY KEY (tenant_id, iccid, usage_date, carrier_id, rate_plan_id, mccmnc, cycle_id)
) PARTITION BY RANGE (usage_date);
COMMENT ON TABLE sim_daily_usage IS 'Usage of a SIM on a day in its tenant''s time zone, by what it is billed by; monthly partitions';
COMMENT ON COLUMN sim_daily_usage.carrier_id IS '0 without a carrier';
COMMENT ON COLUMN sim_daily_usage.rate_plan_id IS '0 without a plan';
COMMENT ON COLUMN sim_daily_usage.mccmnc IS 'Serving network; empty where unknown';
COMMENT ON COLUMN sim_daily_usage.cycle_id IS 'Billing cycle; empty while the SIM is unknown';
COMMENT ON COLUMN sim_daily_usage.cost IS 'Exact: a price of 10 decimals times bytes over 2^20 has 30 decimals at most';

CREATE TABLE sim_allowances (
    tenant_id        integer NOT NULL,
    rate_plan_id     integer NOT NULL,
    correction_count bigint NOT NULL,
    iccid            text COLLATE "C" NOT NULL,
    cycle_id         text COLLATE "C" NOT NULL,
    total_bytes      numeric(30, 0) NOT NULL,
    CONSTRAINT sim_allowances_pk PRIMARY KEY (tenant_id, iccid, rate_plan_id, cycle_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE sim_allowances IS
    'Usage of a SIM in a cycle under a plan that includes a volume: while it stays below, no day of it has to be priced';
COMMENT ON COLUMN sim_allowances.correction_count IS 'With corrections a day may go beyond the volume although the sum does not';

CREATE TABLE hourly_usage (
    tenant_id           integer NOT NULL,
    carrier_id          integer NOT NULL,
    hour                timestamptz NOT NULL,
    mccmnc              text COLLATE "C" NOT NULL,
    data_upload_bytes   numeric(30, 0) NOT NULL,
    data_download_bytes numeric(30, 0) NOT NULL,
    total_bytes         numeric(30, 0) NOT NULL,
    sms_count           numeric(30, 0) NOT NULL,
    voice_seconds       numeric(30, 0) NOT NULL,
    record_count        bigint NOT NULL,
    active_sim_count    integer NOT NULL DEFAULT 0,
    CONSTRAINT hourly_usage_pk PRIMARY KEY (tenant_id, hour, carrier_id, mccmnc)
) WITH (fillfactor = 70);
COMMENT ON TABLE hourly_usage IS 'Usage of a UTC hour, by carrier and serving network';
COMMENT ON COLUMN hourly_usage.active_sim_count IS 'SIMs of this row; for several rows see hourly_active_sims, because a SIM may use more than one network';

CREATE TABLE daily_network_usage (
    tenant_id           integer NOT NULL,
    usage_date          date NOT NULL,
    carrier_id          integer NOT NULL,
    mccmnc              text COLLATE "C" NOT NULL,
    data_upload_bytes   numeric(30, 0) NOT NULL,
    data_download_bytes numeric(30, 0) NOT NULL,
    total_bytes         numeric(30, 0) NOT NULL,
    sms_count           numeric(30, 0) NOT NULL,
    voice_seconds       numeric(30, 0) NOT NULL,
    record_count        bigint NOT NULL,
    cost                numeric(60, 30) NOT NULL DEFAULT 0,
    active_sim_count    integer NOT NULL DEFAULT 0,
    CONSTRAINT daily_network_usage_pk PRIMARY KEY (tenant_id, usage_date, carrier_id, mccmnc)
) WITH (fillfactor = 70);
COMMENT ON TABLE daily_network_usage IS 'Usage of a day in the tenant''s time zone, by carrier and serving network; daily_usage is its sum';

ALTER TABLE daily_usage
    ADD COLUMN data_upload_bytes   numeric(30, 0) NOT NULL DEFAULT 0,
    ADD COLUMN data_download_bytes numeric(30, 0) NOT NULL DEFAULT 0,
    ADD COLUMN sms_count           numeric(30, 0) NOT NULL DEFAULT 0,
    ADD COLUMN voice_seconds       numeric(30, 0) NOT NULL DEFAULT 0,
    ADD COLUMN record_count        bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN daily_usage.cost IS 'In the currency of the tenant, by the rate plans in force at each record''s period_start';
COMMENT ON COLUMN daily_usage.active_sim_count IS 'Distinct SIMs with usage: bytes, messages or voice that corrections did not take back';

ALTER TABLE usage_aggregations
    ADD COLUMN total_upload_bytes   numeric(30, 0) NOT NULL DEFAULT 0,
    ADD COLUMN total_download_bytes numeric(30, 0) NOT NULL DEFAULT 0,
    ADD COLUMN sms_count            numeric(30, 0) NOT NULL DEFAULT 0,
    ADD COLUMN voice_seconds        numeric(30, 0) NOT NULL DEFAULT 0,
    ADD COLUMN record_count         bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN usage_aggregations.active_sim_count IS 'Distinct SIMs of the month, not a sum over its days';

-- Distinct SIMs cannot be added up over hours, days, carriers or networks; sets of them can be united. A row holds 2,048 SIMs.
CREATE TABLE hourly_active_sims (
    tenant_id  integer NOT NULL,
    carrier_id integer NOT NULL,
    hour       timestamptz NOT NULL,
    chunk      integer NOT NULL,
    mccmnc     text COLLATE "C" NOT NULL,
    sims       bit(2048) NOT NULL,
    CONSTRAINT hourly_active_sims_pk PRIMARY KEY (tenant_id, hour, carrier_id, mccmnc, chunk)
) WITH (fillfactor = 70);
CREATE TABLE daily_active_sims (
    tenant_id  integer NOT NULL,
    carrier_id integer NOT NULL,
    usage_date date NOT NULL,
    chunk      integer NOT NULL,
    mccmnc     text COLLATE "C" NOT NULL,
    sims       bit(2048) NOT NULL,
    CONSTRAINT daily_active_sims_pk PRIMARY KEY (tenant_id, usage_date, carrier_id, mccmnc, chunk)
) WITH (fillfactor = 70);
CREATE TABLE monthly_active_sims (
    tenant_id  integer NOT NULL,
    carrier_id integer NOT NULL,
    month      date NOT NULL,
    chunk      integer NOT NULL,
    mccmnc     text COLLATE "C" NOT NULL,
    sims       bit(2048) NOT NULL,
    CONSTRAINT monthly_active_sims_pk PRIMARY KEY (tenant_id, month, carrier_id, mccmnc, chunk)
) WITH (fillfactor = 70);
COMMENT ON TABLE hourly_active_sims IS 'SIMs with usage in a UTC hour: bit n of chunk c is SIM number 2048 c + n';
COMMENT ON TABLE daily_active_sims IS 'SIMs with usage on a day in the tenant''s time zone';
COMMENT ON TABLE monthly_active_sims IS 'SIMs with usage in a calendar month in the tenant''s time zone';

CREATE TABLE zone_changes (
    tenant_id   integer CONSTRAINT zone_changes_pk PRIMARY KEY,
    former_zone text NOT NULL,
    done_iccid  text COLLATE "C" NOT NULL DEFAULT '',
    started_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE zone_changes IS
    'Tenants whose days move to another time zone, SIM after SIM: up to done_iccid they count in tenants.time_zone, after it in former_zone';

CREATE FUNCTION begin_zone_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO zone_changes (tenant_id, former_zone) VALUES (OLD.id, OLD.time_zone);
    RETURN NULL;
EXCEPTION WHEN unique_violation THEN
    RAISE EXCEPTION 'the time zone of tenant % is being changed already; wait until its days have moved', OLD.name
        USING ERRCODE = 'object_in_use';
END $$;
CREATE TRIGGER tenants_zone_changed AFTER UPDATE OF time_zone ON tenants
    FOR EACH ROW WHEN (OLD.time_zone IS DISTINCT FROM NEW.time_zone) EXECUTE FUNCTION begin_zone_change();

CREATE FUNCTION keep_rate_plan_terms() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the terms of rate plan % are fixed, because what was billed by them stands; make another plan and move SIMs to it', OLD.name
        USING ERRCODE = 'object_not_in_prerequisite_state';
END $$;
CREATE TRIGGER rate_plans_terms_fixed BEFORE UPDATE OF price_per_mb, included_bytes, currency ON rate_plans
    FOR EACH ROW WHEN ((OLD.price_per_mb, OLD.included_bytes, OLD.currency)
                       IS DISTINCT FROM (NEW.price_per_mb, NEW.included_bytes, NEW.currency))
    EXECUTE FUNCTION keep_rate_plan_terms();

-- Raw records below the floor are gone; what would fall there is parked. Writers read it with the version, under one lock.
ALTER TABLE inventory_version ADD COLUMN raw_floor timestamptz NOT NULL DEFAULT '-infinity';
COMMENT ON COLUMN inventory_version.raw_floor IS
    'First moment of which raw records are kept; a bound of a UTC month. Rollups and cycles below it stay as they are';

-- Retention looks for old keys; they are stored roughly in the order of their periods, so block ranges are enough.
CREATE INDEX record_keys_period ON record_keys USING brin (period_start) WITH (pages_per_range = 32);

-- Amounts of a tenant are added up, so its plans are all in its currency.
CREATE FUNCTION check_rate_plan_currency() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.currency <> (SELECT t.currency FROM tenants t WHERE t.id = NEW.tenant_id) THEN
        RAISE EXCEPTION 'rate plan % is in %, but its tenant bills in %', NEW.name, NEW.currency,
            (SELECT t.currency FROM tenants t WHERE t.id = NEW.tenant_id) USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER rate_plans_currency AFTER INSERT ON rate_plans
    FOR EACH ROW EXECUTE FUNCTION check_rate_plan_currency();
