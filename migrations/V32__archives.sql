-- Months of usage_records that were written to files and dropped (ADR 0026). All of it needs the owner's rights.

CREATE TABLE usage_archives (
    id           uuid CONSTRAINT usage_archives_pk PRIMARY KEY DEFAULT gen_random_uuid(),
    month        date NOT NULL CONSTRAINT usage_archives_whole_month CHECK (extract(day FROM month) = 1),
    state        text NOT NULL DEFAULT 'pending'
                 CONSTRAINT usage_archives_state CHECK (state IN ('pending', 'archived', 'restored')),
    floor_before timestamptz NOT NULL,
    floor_after  timestamptz NOT NULL,
    time_zones   jsonb NOT NULL,
    taken_out_at timestamptz NOT NULL DEFAULT now(),
    archived_at  timestamptz,
    restored_at  timestamptz,
    file         text,
    file_bytes   bigint,
    file_sha256  text,
    manifest     jsonb,
    CONSTRAINT usage_archives_file CHECK (
        state = 'pending' OR num_nulls(archived_at, file, file_bytes, file_sha256, manifest) = 0),
    CONSTRAINT usage_archives_restored CHECK ((state = 'restored') = (restored_at IS NOT NULL))
);
CREATE UNIQUE INDEX usage_archives_month ON usage_archives (month) WHERE state <> 'restored';
CREATE UNIQUE INDEX usage_archives_one_pending ON usage_archives (state) WHERE state = 'pending';
COMMENT ON TABLE usage_archives IS 'Months of usage_records that were archived, each with its file and what is in it';
COMMENT ON COLUMN usage_archives.state IS
    'pending: out of usage_records, its records are in the table usage_archiving; archived: they are in the file alone; '
    'restored: they are back in usage_records, and the file is a copy of what they were';
COMMENT ON COLUMN usage_archives.floor_before IS 'inventory_version.raw_floor until the month was taken out, and again once it is back';
COMMENT ON COLUMN usage_archives.floor_after IS 'First moment after the month: the floor while it is the newest one that is out';
COMMENT ON COLUMN usage_archives.time_zones IS 'Zones in which the days of its records were counted, by tenant id';
COMMENT ON COLUMN usage_archives.file IS 'Where it was written, as an absolute path of the machine that wrote it';
COMMENT ON COLUMN usage_archives.file_sha256 IS 'Of the whole file, in hexadecimal digits';
COMMENT ON COLUMN usage_archives.manifest IS 'What the file says of itself: columns, counts, sums by day, digest of the rows';

INSERT INTO database_grants (kind, privileges, names) VALUES ('serve', 'SELECT', ARRAY['usage_archives']);

CREATE FUNCTION archive_comes_first() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM settings s WHERE s.key = 'retention.archive_first' AND btrim(s.value) NOT IN ('', '0'))
$$;
COMMENT ON FUNCTION archive_comes_first IS 'Whether retention leaves it to archives to drop records';

CREATE OR REPLACE FUNCTION drop_usage_partition(name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    holds boolean := false;
BEGIN
    PERFORM FROM inventory_version v, usage_partitions_below(v.raw_floor) AS p WHERE p = name;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is no partition below the floor of raw records', name USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Here as well as in who calls it: whoever does not know the setting must not drop what it protects.
    IF archive_comes_first() THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO holds;
        IF holds THEN
            RAISE EXCEPTION '% is not archived', name USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
    END IF;
    EXECUTE format('DROP TABLE %I', name);
END $$;
COMMENT ON FUNCTION drop_usage_partition IS
    'Drops a partition of usage_records that lies below the floor, and nothing else; none with records while archives come first';

-- What a month of usage_records is read by, whatever its table is called. It ends with the transaction.
CREATE FUNCTION view_usage_month(name text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TEMPORARY VIEW usage_exporting AS SELECT * FROM %I', name);
END $$;
COMMENT ON FUNCTION view_usage_month IS 'Makes the temporary view usage_exporting of a table of records';

CREATE FUNCTION usage_partition_name(month date) RETURNS text LANGUAGE sql IMMUTABLE
RETURN to_char(month, '"usage_records_y"YYYY"m"MM');
COMMENT ON FUNCTION usage_partition_name IS 'What the partition of usage_records for a month is called';

CREATE FUNCTION take_out_usage_month(at timestamptz, bound timestamptz, OUT taken date, OUT waiting boolean)
LANGUAGE plpgsql AS $$
DECLARE
    name   text;
    zone   text;
    former timestamptz;
    ends   timestamptz;
    holds  boolean;
BEGIN
    waiting := false;
    -- As in advance_raw_floor: what is open in some tenant's time zone can always be made anew.
    SELECT z.zone INTO zone
    FROM (SELECT t.time_zone FROM tenants t UNION SELECT c.former_zone FROM zone_changes c) AS z (zone)
    WHERE bound > date_trunc('month', at, z.zone) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the month before % cannot be archived yet: it is open in %', (bound AT TIME ZONE 'UTC')::date, zone
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM FROM zone_changes;
    IF FOUND THEN
        RAISE EXCEPTION 'the days of a tenant are being moved to its new time zone' USING ERRCODE = 'object_in_use';
    END IF;
    PERFORM rollup_begin();
    PERFORM pg_advisory_xact_lock(hashtext('simbridge.partitions'));
    PERFORM set_config('lock_timeout', '900ms', true);
    SELECT v.raw_floor INTO former FROM inventory_version v;
    FOR name IN SELECT p FROM usage_partitions_below(bound) AS p LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO holds;
        IF NOT holds THEN
            EXECUTE format('DROP TABLE %I', name);
            CONTINUE;
        END IF;
        taken := to_date(right(name, 7), 'YYYY"m"MM');
        ends := (taken + interval '1 month') AT TIME ZONE 'UTC';
        waiting := EXISTS (SELECT FROM rollup_markers m WHERE m.period_from < ends);
        IF waiting THEN
            RETURN;
        END IF;
        EXECUTE format('ALTER TABLE usage_records DETACH PARTITION %I', name);
        EXECUTE format('ALTER TABLE %I RENAME TO usage_archiving', name);
        UPDATE inventory_version v SET raw_floor = greatest(v.raw_floor, ends), version = v.version + 1;
        INSERT INTO usage_archives (month, floor_before, floor_after, time_zones)
        SELECT taken, former, v.raw_floor, (SELECT jsonb_object_agg(t.id, t.time_zone) FROM tenants t)
        FROM inventory_version v;
        RETURN;
    END LOOP;
END $$;
COMMENT ON FUNCTION take_out_usage_month IS
    'Takes the oldest month with records that lies wholly below a moment out of usage_records, as the table usage_archiving, and '
    'raises the floor above it, unless records of it are not rolled up yet; needs the exclusive inventory lock';

CREATE FUNCTION drop_archived_month() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DROP VIEW pg_temp.usage_exporting;
    DROP TABLE usage_archiving;
END $$;
COMMENT ON FUNCTION drop_archived_month IS 'Drops the table usage_archiving, whose records are in a file by then';

-- The same bytes as UsageRecord::fingerprint, for amounts. Of a record that came as readings of counters only the amounts are kept: its
-- key gets another fingerprint than it had, so that a repetition is parked as a conflict and adds nothing either.
CREATE FUNCTION content_fingerprint(period_start timestamptz, period_end timestamptz, upload bigint, download bigint, total bigint,
                                    sms bigint, voice bigint, mccmnc text, corrects text) RETURNS bytea LANGUAGE sql STABLE
RETURN substring(sha256(
    int8send((extract(epoch FROM period_start) * 1000000)::bigint) || int8send((extract(epoch FROM period_end) * 1000000)::bigint)
    || '\x00'::bytea || int8send(upload) || int8send(download) || int8send(total) || int8send(sms) || int8send(voice)
    || coalesce(int4send(octet_length(mccmnc)) || convert_to(mccmnc, 'UTF8'), '\xffffffff')
    || coalesce(int4send(octet_length(corrects)) || convert_to(corrects, 'UTF8'), '\xffffffff')) FROM 1 FOR 16);
COMMENT ON FUNCTION content_fingerprint IS 'Fingerprint of a record that was sent as amounts';

CREATE FUNCTION make_restoring_table() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    CREATE TABLE usage_restoring (LIKE usage_records INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES);
    PERFORM view_usage_month('usage_restoring');
END $$;
COMMENT ON FUNCTION make_restoring_table IS 'Makes the empty table usage_restoring, into which an archive is read';

CREATE FUNCTION sims_moved_since() RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN (
        SELECT array_agg(DISTINCT r.iccid)
        FROM pg_temp.usage_exporting r
        LEFT JOIN LATERAL (
            SELECT s.tenant_id, s.sim_id, s.carrier_id, s.rate_plan_id FROM sim_ownership s
            WHERE s.iccid = r.iccid AND s.valid_from <= r.period_start
            ORDER BY s.valid_from DESC LIMIT 1
        ) AS o ON EXISTS (SELECT FROM sim_ownership m WHERE m.iccid = r.iccid AND m.tenant_id = r.key_tenant_id)
        LEFT JOIN usage_cycles c ON c.sim_id = o.sim_id AND c.iccid = r.iccid
                                AND c.cycle_start <= r.period_start AND r.period_start < c.cycle_end
        WHERE (r.tenant_id, r.sim_id, r.carrier_id, r.rate_plan_id, r.cycle_id)
              IS DISTINCT FROM (coalesce(o.tenant_id, r.key_tenant_id), o.sim_id, o.carrier_id, o.rate_plan_id, c.cycle_id));
END $$;
COMMENT ON FUNCTION sims_moved_since IS
    'SIMs of which usage_exporting shows records that do not have the owner, carrier, plan and cycle in force at their period_start';

-- What takes long, while writers go on.
CREATE FUNCTION prepare_usage_month(archive uuid, OUT remembered bigint, OUT seen_version bigint, OUT moved text[])
LANGUAGE plpgsql AS $$
DECLARE
    clash record;
BEGIN
    PERFORM view_usage_month('usage_archiving') FROM usage_archives u WHERE u.id = archive AND u.state = 'pending';
    -- None is forgotten until the month is back.
    PERFORM pg_advisory_xact_lock(hashtext('simbridge.retention'));
    INSERT INTO record_keys (tenant_id, iccid, record_id, fingerprint, period_start, processed_at, write_id)
    SELECT r.key_tenant_id, r.iccid, r.record_id,
           content_fingerprint(r.period_start, r.period_end, r.data_upload_bytes, r.data_download_bytes, r.total_bytes,
                               r.sms_count, r.voice_seconds, r.mccmnc, r.corrects),
           r.period_start, r.processed_at, r.write_id
    FROM pg_temp.usage_exporting r
    WHERE NOT EXISTS (SELECT FROM record_keys k
                      WHERE k.tenant_id = r.key_tenant_id AND k.iccid = r.iccid AND k.record_id = r.record_id)
    -- In the order in which batches claim them; one that was claimed meanwhile shows below.
    ORDER BY r.key_tenant_id, r.iccid, r.record_id
    ON CONFLICT ON CONSTRAINT record_keys_pk DO NOTHING;
    GET DIAGNOSTICS remembered = ROW_COUNT;
    SELECT r.iccid, r.record_id INTO clash
    FROM pg_temp.usage_exporting r
    JOIN record_keys k ON k.tenant_id = r.key_tenant_id AND k.iccid = r.iccid AND k.record_id = r.record_id
    WHERE (k.period_start, k.write_id) <> (r.period_start, r.write_id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'record % of SIM % was stored anew after its key had been forgotten: it would count twice',
            clash.record_id, clash.iccid USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT v.version INTO seen_version FROM inventory_version v;
    moved := sims_moved_since();
END $$;
COMMENT ON FUNCTION prepare_usage_month IS
    'Sees to it that each record of usage_restoring, or of usage_archiving, has its key, and finds SIMs that were changed meanwhile; '
    'returns how many keys were made anew';

CREATE FUNCTION return_usage_month(archive uuid, at timestamptz, seen_version bigint, moved text[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    a       usage_archives;
    source  text;
    part    text;
    clash   record;
    renamed record;
    stamped bigint := 0;
BEGIN
    SELECT * INTO STRICT a FROM usage_archives u WHERE u.id = archive AND u.state <> 'restored' FOR UPDATE;
    source := CASE a.state WHEN 'pending' THEN 'usage_archiving' ELSE 'usage_restoring' END;
    part := usage_partition_name(a.month);
    PERFORM FROM inventory_version v WHERE v.raw_floor = a.floor_after;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'records since % are kept, and % ended at %: what lies between has to be restored first, and is archived or gone',
            (SELECT v.raw_floor FROM inventory_version v), to_char(a.month, 'YYYY-MM'), a.floor_after
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    -- Rollups of the month stand as they were counted: in the zones of then.
    SELECT t.name, z.value #>> '{}' AS former, t.time_zone INTO clash
    FROM jsonb_each(a.time_zones) AS z JOIN tenants t ON t.id = z.key::integer
    WHERE t.time_zone <> z.value #>> '{}'
       OR EXISTS (SELECT FROM zone_changes c WHERE c.tenant_id = t.id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the time zone of tenant % was % and is %: days of then cannot be compared with these records',
            clash.name, clash.former, clash.time_zone USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    PERFORM rollup_begin();
    PERFORM pg_advisory_xact_lock(hashtext('simbridge.partitions'));
    -- While the version stands still no SIM was provisioned, moved or reset.
    IF seen_version IS DISTINCT FROM (SELECT v.version FROM inventory_version v) THEN
        moved := sims_moved_since();
    END IF;
    DROP VIEW pg_temp.usage_exporting;
    EXECUTE format('ALTER TABLE %I RENAME TO %I', source, part);
    FOR renamed IN
        SELECT c.relname AS former, replace(c.relname, source, part) AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = to_regclass(quote_ident(part)) AND c.relname LIKE source || '%'
    LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', renamed.former, renamed.name);
    END LOOP;
    EXECUTE format('ALTER TABLE usage_records ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part,
                   a.month::timestamp AT TIME ZONE 'UTC', (a.month + interval '1 month') AT TIME ZONE 'UTC');
    UPDATE inventory_version v SET raw_floor = a.floor_before, version = v.version + 1;
    IF moved IS NOT NULL THEN
        stamped := stamp_records(moved, a.month::timestamp AT TIME ZONE 'UTC', at);
    END IF;
    DELETE FROM usage_archives u WHERE u.id = archive AND a.state = 'pending';
    UPDATE usage_archives u SET state = 'restored', restored_at = at WHERE u.id = archive;
    RETURN stamped;
END $$;
COMMENT ON FUNCTION return_usage_month IS
    'Makes usage_restoring, or usage_archiving, a partition of usage_records again and lowers the floor below it; records of SIMs that '
    'were moved meanwhile follow them; needs the exclusive inventory lock, and what prepare_usage_month returned. Returns how many records followed';

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION drop_usage_partition(text) SET search_path = %I, pg_temp', current_schema());
END $$;
