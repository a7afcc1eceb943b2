-- Keys, records, totals, sessions, markers and the quarantine: all that one batch's transaction touches.
-- No foreign keys, and iccid in every unique key of what a record writes, so that these tables can be distributed by iccid.

CREATE TABLE record_keys (
    tenant_id    integer NOT NULL,
    iccid        text COLLATE "C" NOT NULL,
    record_id    text COLLATE "C" NOT NULL,
    fingerprint  bytea NOT NULL,
    period_start timestamptz NOT NULL,
    processed_at timestamptz NOT NULL DEFAULT now(),
    write_id     bigint NOT NULL,
    CONSTRAINT record_keys_pk PRIMARY KEY (tenant_id, iccid, record_id)
);
COMMENT ON TABLE record_keys IS
    'One row for each record ever stored: what makes a repetition recognisable whatever period it claims to be of';
COMMENT ON COLUMN record_keys.tenant_id IS 'Tenant in whose name the record was sent, so that no tenant can claim the ids of another';
COMMENT ON COLUMN record_keys.fingerprint IS 'First 128 bits of a SHA-256 of the content; same key with another fingerprint is a conflict';
COMMENT ON COLUMN record_keys.period_start IS 'Leads to the partition of the record';
COMMENT ON COLUMN record_keys.write_id IS 'Write that stored the record; tells a repeated attempt of one write from a repetition by the sender';

CREATE SEQUENCE write_ids INCREMENT BY 256;
COMMENT ON SEQUENCE write_ids IS 'Each value begins a block of 256 write ids, so that an instance asks once for many batches';

CREATE SEQUENCE usage_records_id_seq CACHE 256;
CREATE TABLE usage_records (
    id                  bigint NOT NULL DEFAULT nextval('usage_records_id_seq'),
    write_id            bigint NOT NULL,
    period_start        timestamptz NOT NULL,
    period_end          timestamptz NOT NULL,
    processed_at        timestamptz NOT NULL DEFAULT now(),
    data_upload_bytes   bigint NOT NULL DEFAULT 0,
    data_download_bytes bigint NOT NULL DEFAULT 0,
    total_bytes         bigint NOT NULL DEFAULT 0,
    sms_count           bigint NOT NULL DEFAULT 0,
    voice_seconds       bigint NOT NULL DEFAULT 0,
    key_tenant_id       integer NOT NULL,
    tenant_id           integer NOT NULL,
    carrier_id          integer,
    rate_plan_id        integer,
    iccid               text COLLATE "C" NOT NULL,
    record_id           text COLLATE "C" NOT NULL,
    sim_id              text COLLATE "C",
    cycle_id            text COLLATE "C",
    status              text NOT NULL DEFAULT 'PROCESSED',
    mccmnc              text,
    source              text,
    batch_id            text,
    corrects            text COLLATE "C",
    CONSTRAINT usage_records_pk PRIMARY KEY (iccid, period_start, id),
    CONSTRAINT usage_records_period CHECK (period_end >= period_start),
    -- 2^45: a sum of any number of records fits numeric(30,0), and one amount fits a JSON number.
    CONSTRAINT usage_records_amounts CHECK (
        abs(data_upload_bytes) <= 35184372088832 AND abs(data_download_bytes) <= 35184372088832
        AND abs(total_bytes) <= 35184372088832 AND abs(sms_count) <= 35184372088832
        AND abs(voice_seconds) <= 35184372088832),
    CONSTRAINT usage_records_sign CHECK (
        corrects IS NOT NULL OR (data_upload_bytes >= 0 AND data_download_bytes >= 0 AND total_bytes >= 0
                                 AND sms_count >= 0 AND voice_seconds >= 0))
) PARTITION BY RANGE (period_start);
ALTER SEQUENCE usage_records_id_seq OWNED BY usage_records.id;
CREATE INDEX usage_records_write ON usage_records (write_id);
CREATE INDEX usage_records_corrects ON usage_records (iccid, corrects) WHERE corrects IS NOT NULL;
COMMENT ON TABLE usage_records IS 'Every record, once, in monthly partitions (UTC months of period_start)';
COMMENT ON COLUMN usage_records.write_id IS 'Write that stored it; rollup markers name it';
COMMENT ON COLUMN usage_records.key_tenant_id IS 'Tenant in whose name it was sent: with iccid and record_id its key in record_keys';
COMMENT ON COLUMN usage_records.tenant_id IS 'Tenant that owned the SIM at period_start: who pays';
COMMENT ON COLUMN usage_records.carrier_id IS 'Carrier of the SIM at period_start';
COMMENT ON COLUMN usage_records.rate_plan_id IS 'Rate plan of the SIM at period_start';
COMMENT ON COLUMN usage_records.sim_id IS 'NULL until the SIM is provisioned';
COMMENT ON COLUMN usage_records.cycle_id IS 'Billing cycle that holds period_start; NULL while the SIM is unknown';
COMMENT ON COLUMN usage_records.total_bytes IS 'As sent; may differ from upload plus download';
COMMENT ON COLUMN usage_records.mccmnc IS 'Serving network of the period, where known';
COMMENT ON COLUMN usage_records.batch_id IS 'The sender''s name for the batch that carried it';
COMMENT ON COLUMN usage_records.corrects IS 'record_id of the record that this one corrects by its signed amounts';

CREATE TABLE usage_cycles (
    sim_id               text COLLATE "C" NOT NULL,
    iccid                text COLLATE "C" NOT NULL,
    cycle_id             text COLLATE "C" NOT NULL CONSTRAINT usage_cycles_id_form CHECK (cycle_id ~ '^[0-9]{4}-[0-9]{2}$'),
    cycle_start          timestamptz NOT NULL,
    cycle_end            timestamptz NOT NULL,
    total_upload_bytes   numeric(30, 0) NOT NULL DEFAULT 0,
    total_download_bytes numeric(30, 0) NOT NULL DEFAULT 0,
    total_bytes          numeric(30, 0) NOT NULL DEFAULT 0,
    sms_count            numeric(30, 0) NOT NULL DEFAULT 0,
    voice_seconds        numeric(30, 0) NOT NULL DEFAULT 0,
    record_count         bigint NOT NULL DEFAULT 0,
    is_current           boolean NOT NULL DEFAULT false,
    archived_at          timestamptz,
    final_usage          jsonb,
    created_at           timestamptz NOT NULL DEFAULT now(),
    last_updated         timestamptz NOT NULL DEFAULT now(),
    -- sim_id decides iccid, so (sim_id, cycle_id) is unique; iccid stands in the key to let the table be distributed by it.
    CONSTRAINT usage_cycles_pk PRIMARY KEY (sim_id, cycle_id, iccid),
    CONSTRAINT usage_cycles_bounds CHECK (cycle_start < cycle_end)
) WITH (fillfactor = 70); -- room for heap-only updates: no index covers a total
CREATE UNIQUE INDEX usage_cycles_one_current ON usage_cycles (sim_id, iccid) WHERE is_current;
CREATE INDEX usage_cycles_due ON usage_cycles (cycle_end) WHERE is_current;
COMMENT ON TABLE usage_cycles IS 'Totals of each SIM and billing cycle: exactly the sum of its records';
COMMENT ON COLUMN usage_cycles.cycle_id IS 'Year and month in which the cycle begins in the tenant''s time zone';
COMMENT ON COLUMN usage_cycles.cycle_end IS 'First moment that belongs to the next cycle';
COMMENT ON COLUMN usage_cycles.record_count IS 'Records in the totals';
COMMENT ON COLUMN usage_cycles.archived_at IS 'When the cycle stopped being the current one';
COMMENT ON COLUMN usage_cycles.final_usage IS 'Totals at that moment; late records still change the columns';

CREATE TABLE usage_sessions (
    tenant_id           integer NOT NULL,
    iccid               text COLLATE "C" NOT NULL,
    session_id          text COLLATE "C" NOT NULL,
    upload_counter      bigint,
    download_counter    bigint,
    last_sample_at      timestamptz,
    data_upload_bytes   numeric(30, 0) NOT NULL DEFAULT 0,
    data_download_bytes numeric(30, 0) NOT NULL DEFAULT 0,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT usage_sessions_pk PRIMARY KEY (tenant_id, iccid, session_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE usage_sessions IS 'Sessions that report cumulative counters: the newest reading and the sum of its deltas';
COMMENT ON COLUMN usage_sessions.upload_counter IS 'Newest reading; NULL before the first';
COMMENT ON COLUMN usage_sessions.last_sample_at IS 'period_end of the newest reading; older samples add nothing';

CREATE TABLE rollup_markers (
    id           bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT rollup_markers_pk PRIMARY KEY,
    write_id     bigint,
    iccid        text COLLATE "C",
    period_from  timestamptz NOT NULL,
    period_to    timestamptz NOT NULL,
    record_count bigint NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT rollup_markers_subject CHECK (num_nonnulls(write_id, iccid) = 1)
);
COMMENT ON TABLE rollup_markers IS 'What rollups have not seen yet; appended by the transaction that made it dirty';
COMMENT ON COLUMN rollup_markers.write_id IS 'All records of this write';
COMMENT ON COLUMN rollup_markers.iccid IS 'All records of this SIM between the bounds, after they were attached to it or moved';
COMMENT ON COLUMN rollup_markers.period_from IS 'Earliest period_start concerned';
COMMENT ON COLUMN rollup_markers.period_to IS 'Latest period_start concerned, inclusive';

CREATE TABLE quarantine (
    id            bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT quarantine_pk PRIMARY KEY,
    tenant_id     integer NOT NULL,
    iccid         text,
    record_id     text,
    reason        text NOT NULL,
    detail        text NOT NULL,
    via           text NOT NULL,
    sender        text NOT NULL,
    topic         text NOT NULL,
    payload       bytea NOT NULL,
    digest        bytea NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at  timestamptz NOT NULL DEFAULT now(),
    seen_count    bigint NOT NULL DEFAULT 1,
    state         text NOT NULL DEFAULT 'parked' CONSTRAINT quarantine_state CHECK (state IN ('parked', 'replayed', 'discarded')),
    resolved_at   timestamptz,
    CONSTRAINT quarantine_resolved CHECK ((state = 'parked') = (resolved_at IS NULL))
);
CREATE UNIQUE INDEX quarantine_open ON quarantine (tenant_id, digest) WHERE state = 'parked';
COMMENT ON TABLE quarantine IS 'Records that were refused, with the reason, to be mended and replayed or discarded';
COMMENT ON COLUMN quarantine.reason IS 'Stable code, also a metric label';
COMMENT ON COLUMN quarantine.detail IS 'Every fault in words';
COMMENT ON COLUMN quarantine.sender IS 'MQTT client id or API key name';
COMMENT ON COLUMN quarantine.payload IS 'The record as it was sent';
COMMENT ON COLUMN quarantine.digest IS 'Of reason, topic and payload: the same fault sent again only counts up';

CREATE TABLE inventory_version (
    only_row boolean CONSTRAINT inventory_version_pk PRIMARY KEY DEFAULT true CONSTRAINT inventory_version_one CHECK (only_row),
    version  bigint NOT NULL
);
INSERT INTO inventory_version (version) VALUES (1);
COMMENT ON TABLE inventory_version IS
    'Counts changes of owners and of cycle bounds: while it stands still, what an instance remembers of SIMs is true';

CREATE FUNCTION bump_inventory_version() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE inventory_version SET version = version + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER sim_ownership_changed AFTER INSERT OR UPDATE OR DELETE ON sim_ownership
    FOR EACH STATEMENT EXECUTE FUNCTION bump_inventory_version();
-- New cycles need no notice: whoever misses one asks again. Totals are not listed, so a batch does not fire it.
CREATE TRIGGER usage_cycles_moved AFTER UPDATE OF cycle_start, cycle_end, cycle_id OR DELETE ON usage_cycles
    FOR EACH STATEMENT EXECUTE FUNCTION bump_inventory_version();
