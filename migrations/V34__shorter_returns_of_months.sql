-- A month that comes back keeps writers waiting for moments, however many records it has (ADR 0026); passwords of logins.

CREATE FUNCTION sims_in_force(starts timestamptz, ends timestamptz) RETURNS TABLE (iccid text, in_force text)
LANGUAGE plpgsql SET work_mem = '64MB' SET jit = off AS $$
BEGIN
    RETURN QUERY
        WITH owners AS (
            -- All of them: whether a sender's tenant ever owned a SIM decides too.
            SELECT o.iccid, string_agg(ROW(o.valid_from, o.tenant_id, o.sim_id, o.carrier_id, o.rate_plan_id)::text, ','
                                       ORDER BY o.valid_from) AS said
            FROM sim_ownership o JOIN pg_temp.returning_sims s ON s.iccid = o.iccid
            GROUP BY o.iccid
        ), cycles AS (
            -- Those of any owner in which records of the month can lie.
            SELECT c.iccid, string_agg(ROW(c.sim_id, c.cycle_id, c.cycle_start, c.cycle_end)::text, ','
                                       ORDER BY c.sim_id, c.cycle_id) AS said
            FROM usage_cycles c JOIN pg_temp.returning_sims s ON s.iccid = c.iccid
            WHERE c.cycle_start < ends AND c.cycle_end > starts
            GROUP BY c.iccid
        )
        SELECT s.iccid, md5(concat(owners.said, ';', cycles.said))
        FROM pg_temp.returning_sims s
        LEFT JOIN owners ON owners.iccid = s.iccid
        LEFT JOIN cycles ON cycles.iccid = s.iccid;
END $$;
COMMENT ON FUNCTION sims_in_force IS
    'Digest of the owners and cycles by which records of a range of period_start are stamped, for each SIM of the temporary table returning_sims';

CREATE OR REPLACE FUNCTION prepare_usage_month(archive uuid, OUT remembered bigint, OUT seen_version bigint, OUT moved text[])
LANGUAGE plpgsql AS $$
DECLARE
    a      usage_archives;
    clash  record;
    starts timestamptz;
    ends   timestamptz;
BEGIN
    SELECT * INTO STRICT a FROM usage_archives u WHERE u.id = archive;
    starts := a.month::timestamp AT TIME ZONE 'UTC';
    ends := (a.month + interval '1 month') AT TIME ZONE 'UTC';
    IF a.state = 'pending' THEN
        PERFORM view_usage_month('usage_archiving');
    END IF;
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
    -- ATTACH PARTITION believes this and reads no record.
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT usage_returning_month CHECK (period_start >= %L AND period_start < %L)',
                   CASE a.state WHEN 'pending' THEN 'usage_archiving' ELSE 'usage_restoring' END, starts, ends);
    SELECT v.version INTO seen_version FROM inventory_version v;
    CREATE TEMPORARY TABLE returning_sims (iccid text COLLATE "C" PRIMARY KEY, in_force text) ON COMMIT DROP;
    INSERT INTO pg_temp.returning_sims (iccid) SELECT DISTINCT r.iccid FROM pg_temp.usage_exporting r;
    ANALYZE pg_temp.returning_sims;
    -- Before records are looked at: what changes in between shows in both, or here.
    UPDATE pg_temp.returning_sims s SET in_force = f.in_force FROM sims_in_force(starts, ends) AS f WHERE f.iccid = s.iccid;
    moved := sims_moved_since();
END $$;

CREATE OR REPLACE FUNCTION return_usage_month(archive uuid, at timestamptz, seen_version bigint, moved text[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    a       usage_archives;
    starts  timestamptz;
    ends    timestamptz;
    source  text;
    part    text;
    clash   record;
    renamed record;
    stamped bigint := 0;
BEGIN
    SELECT * INTO STRICT a FROM usage_archives u WHERE u.id = archive AND u.state <> 'restored' FOR UPDATE;
    starts := a.month::timestamp AT TIME ZONE 'UTC';
    ends := (a.month + interval '1 month') AT TIME ZONE 'UTC';
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
        moved := moved || (SELECT array_agg(s.iccid) FROM pg_temp.returning_sims s JOIN sims_in_force(starts, ends) AS f ON f.iccid = s.iccid
                           WHERE f.in_force <> s.in_force);
    END IF;
    DROP VIEW pg_temp.usage_exporting;
    EXECUTE format('ALTER TABLE %I RENAME TO %I', source, part);
    FOR renamed IN
        SELECT c.relname AS former, replace(c.relname, source, part) AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = to_regclass(quote_ident(part)) AND c.relname LIKE source || '%'
    LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', renamed.former, renamed.name);
    END LOOP;
    EXECUTE format('ALTER TABLE usage_records ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, starts, ends);
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT usage_returning_month', part);
    UPDATE inventory_version v SET raw_floor = a.floor_before, version = v.version + 1;
    IF moved IS NOT NULL THEN
        stamped := stamp_records(moved, starts, at);
    END IF;
    DELETE FROM usage_archives u WHERE u.id = archive AND a.state = 'pending';
    UPDATE usage_archives u SET state = 'restored', restored_at = at WHERE u.id = archive;
    RETURN stamped;
END $$;

CREATE FUNCTION set_login_password(login name, verifier text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM pg_auth_members m JOIN pg_roles granted ON granted.oid = m.roleid JOIN pg_roles held ON held.oid = m.member
    WHERE held.rolname = login AND held.rolcanlogin AND NOT held.rolsuper
      AND granted.rolname IN (SELECT role_name FROM database_roles);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    EXECUTE format('ALTER ROLE %I PASSWORD %L', login, verifier);
    RETURN true;
END $$;
COMMENT ON FUNCTION set_login_password IS
    'Gives a login that has one of the roles another password, as a SCRAM verifier; what it has open stays; false when there is none';
