-- Database roles for everybody but the owner of the schema (ADR 0013), and row-level security for those who read.

CREATE TABLE database_roles (
    kind      text CONSTRAINT database_roles_pk PRIMARY KEY
              CONSTRAINT database_roles_kind_known CHECK (kind IN ('ingest', 'rollup', 'read', 'serve')),
    role_name name NOT NULL CONSTRAINT database_roles_name_unique UNIQUE
);
COMMENT ON TABLE database_roles IS 'What the roles of this database are called; empty until create_roles';
COMMENT ON COLUMN database_roles.kind IS
    'ingest: stores records; rollup: makes rollups; read: sees the rows of its tenants; serve: all that the program does';

CREATE TABLE reader_tenants (
    role_name name NOT NULL,
    tenant_id integer NOT NULL CONSTRAINT reader_tenants_tenant_fk REFERENCES tenants (id) ON DELETE CASCADE,
    CONSTRAINT reader_tenants_pk PRIMARY KEY (role_name, tenant_id)
);
COMMENT ON TABLE reader_tenants IS 'Tenants whose rows a login with the role read sees';

CREATE FUNCTION visible_tenants() RETURNS integer[] LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER AS $$
    -- current_user is the owner here. SET ROLE lets one login read as several.
    SELECT coalesce(array_agg(r.tenant_id), '{}') FROM reader_tenants r
    WHERE r.role_name = CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role')::name END
$$;
COMMENT ON FUNCTION visible_tenants IS 'Tenants whose rows whoever asks may read';

CREATE FUNCTION cycle_is_visible(sim text, starts timestamptz, ends timestamptz) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER AS $$
    WITH owners AS (
        -- Each owner with the moment at which the next one follows.
        SELECT o.tenant_id, o.valid_from, lead(o.valid_from, 1, 'infinity') OVER (ORDER BY o.valid_from) AS valid_until
        FROM sim_ownership o WHERE o.iccid = sim
    )
    SELECT coalesce(bool_and(w.tenant_id = ANY (visible_tenants())), false) FROM owners w
    WHERE w.valid_from < ends AND w.valid_until > starts
$$;
COMMENT ON FUNCTION cycle_is_visible IS
    'Whether all owners of a SIM during a cycle are tenants that whoever asks may read: a cycle has one total for all of them';

CREATE FUNCTION drop_usage_partition(name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM FROM inventory_version v, usage_partitions_below(v.raw_floor) AS p WHERE p = name;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is no partition below the floor of raw records', name USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE format('DROP TABLE %I', name);
END $$;
COMMENT ON FUNCTION drop_usage_partition IS 'Drops a partition of usage_records that lies below the floor, and nothing else';

CREATE OR REPLACE FUNCTION advance_raw_floor(at timestamptz, raw_days integer, OUT kept_from timestamptz, OUT dropped integer, OUT waiting boolean)
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
        PERFORM drop_usage_partition(name);
        dropped := dropped + 1;
    END LOOP;
END $$;

-- Who may do what with which tables. A migration that makes a table adds its lines here.
CREATE TABLE database_grants (
    kind       text NOT NULL,
    privileges text NOT NULL,
    names      text[] NOT NULL,
    sequences  boolean NOT NULL DEFAULT false,
    CONSTRAINT database_grants_pk PRIMARY KEY (kind, privileges, names)
);
COMMENT ON TABLE database_grants IS 'What grant_roles gives to each role';
COMMENT ON COLUMN database_grants.names IS 'Tables, or sequences';
INSERT INTO database_grants (kind, privileges, names) VALUES
    -- What a batch reads, and what it leaves: records change no more, totals of cycles do.
    ('ingest', 'SELECT', ARRAY['tenants', 'carriers', 'rate_plans', 'provisioned_sims', 'sim_ownership', 'mqtt_credentials',
        'settings', 'inventory_version', 'schema_history', 'record_keys', 'usage_records', 'usage_cycles', 'usage_sessions',
        'quarantine', 'rollup_markers', 'file_imports']),
    ('ingest', 'INSERT', ARRAY['record_keys', 'usage_records', 'usage_sessions', 'quarantine', 'rollup_markers', 'file_imports']),
    ('ingest', 'UPDATE (is_current, archived_at, final_usage, total_upload_bytes, total_download_bytes, total_bytes, sms_count, '
        'voice_seconds, record_count, last_updated)', ARRAY['usage_cycles']),
    ('ingest', 'UPDATE', ARRAY['usage_sessions', 'quarantine', 'file_imports']),
    -- Keys are locked, and given back when their records are refused; what they say is never changed.
    ('ingest', 'DELETE, UPDATE (write_id)', ARRAY['record_keys']),
    ('rollup', 'SELECT', ARRAY['tenants', 'carriers', 'rate_plans', 'provisioned_sims', 'sim_ownership', 'settings',
        'inventory_version', 'schema_history', 'usage_records', 'usage_cycles']),
    ('rollup', 'SELECT, UPDATE, DELETE', ARRAY['rollup_markers', 'zone_changes']),
    ('rollup', 'SELECT, INSERT, UPDATE, DELETE', ARRAY['sim_numbers', 'sim_daily_usage', 'sim_allowances', 'hourly_usage',
        'daily_network_usage', 'daily_usage', 'usage_aggregations', 'hourly_active_sims', 'daily_active_sims',
        'monthly_active_sims', 'consumption_versions', 'invoices']),
    -- The tables of other readers, and what charts are made of. No credentials, no payloads, nothing of other senders.
    ('read', 'SELECT', ARRAY['carriers', 'tenants', 'rate_plans', 'provisioned_sims', 'usage_records', 'usage_cycles',
        'sim_daily_usage', 'hourly_usage', 'daily_network_usage', 'daily_usage', 'usage_aggregations', 'invoices',
        'usage_alerts']),
    -- What the program does beyond that: inventory, keys, settings, alerts, retention.
    ('serve', 'SELECT, INSERT, UPDATE, DELETE', ARRAY['tenants', 'carriers', 'rate_plans', 'provisioned_sims', 'sim_ownership',
        'mqtt_credentials', 'settings', 'inventory_version', 'usage_records', 'usage_cycles', 'record_keys', 'quarantine',
        'zone_changes', 'api_keys', 'api_key_uses', 'idempotency_keys', 'alert_rules', 'alert_states', 'usage_alerts',
        'alert_webhooks', 'alert_deliveries']);
INSERT INTO database_grants (kind, privileges, names, sequences) VALUES
    ('ingest', 'USAGE', ARRAY['write_ids', 'usage_records_id_seq'], true),
    ('serve', 'USAGE', ARRAY['alert_rule_versions'], true);

CREATE TABLE reader_policies (
    table_name text CONSTRAINT reader_policies_pk PRIMARY KEY,
    condition  text NOT NULL
);
COMMENT ON TABLE reader_policies IS 'Which rows of a table the role read sees';
INSERT INTO reader_policies (table_name, condition)
-- The subquery makes PostgreSQL ask once for each query, not for each row.
SELECT t, 'tenant_id = ANY ((SELECT visible_tenants())::integer[])'
FROM unnest(ARRAY['rate_plans', 'provisioned_sims', 'usage_records', 'sim_daily_usage', 'hourly_usage', 'daily_network_usage',
                  'daily_usage', 'usage_aggregations', 'invoices', 'usage_alerts']) AS t
UNION ALL VALUES
    ('tenants', 'id = ANY ((SELECT visible_tenants())::integer[])'),
    ('usage_cycles', 'cycle_is_visible(iccid, cycle_start, cycle_end)');

CREATE FUNCTION grant_roles() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    here   text := current_schema();
    wanted record;
    policy record;
    member record;
BEGIN
    -- Instances of one version may come here at once.
    PERFORM pg_advisory_xact_lock(hashtext('simbridge.roles'));
    IF NOT EXISTS (SELECT FROM database_roles) THEN
        RETURN;
    END IF;
    -- Exactly what is wanted, also where an earlier version wanted more.
    FOR member IN SELECT * FROM database_roles LOOP
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', here, member.role_name);
        EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM %I', here, member.role_name);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', here, member.role_name);
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), member.role_name);
    END LOOP;
    FOR wanted IN
        SELECT d.role_name, g.privileges, g.sequences, listed.names
        FROM database_grants g JOIN database_roles d ON d.kind = g.kind
        CROSS JOIN LATERAL (SELECT string_agg(format('%I.%I', here, n), ', ') AS names FROM unnest(g.names) AS n) AS listed
    LOOP
        EXECUTE format('GRANT %s ON %s %s TO %I', wanted.privileges, CASE WHEN wanted.sequences THEN 'SEQUENCE' ELSE 'TABLE' END,
                       wanted.names, wanted.role_name);
    END LOOP;
    FOR wanted IN
        SELECT d.role_name, w.functions FROM (VALUES
            ('ingest', 'ensure_cycles(text[], timestamptz[], timestamptz), ensure_partitions(timestamptz, timestamptz)'),
            ('rollup', 'ensure_rollup_partitions(date, date), ensure_partitions(timestamptz, timestamptz)'),
            ('serve', 'drop_usage_partition(text)'),
            ('read', 'visible_tenants(), cycle_is_visible(text, timestamptz, timestamptz)')) AS w (kind, functions)
        JOIN database_roles d ON d.kind = w.kind
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', wanted.functions, wanted.role_name);
    END LOOP;
    -- A rollup gathers what it changes in temporary tables.
    EXECUTE (SELECT format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), role_name)
             FROM database_roles WHERE kind = 'rollup');
    FOR policy IN SELECT * FROM reader_policies LOOP
        EXECUTE format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY', here, policy.table_name);
        EXECUTE format('DROP POLICY IF EXISTS rows_of_readers ON %I.%I', here, policy.table_name);
        EXECUTE format('DROP POLICY IF EXISTS all_rows ON %I.%I', here, policy.table_name);
        EXECUTE format('CREATE POLICY rows_of_readers ON %I.%I FOR SELECT TO %I USING (%s)', here, policy.table_name,
                       (SELECT role_name FROM database_roles WHERE kind = 'read'), policy.condition);
        EXECUTE format('CREATE POLICY all_rows ON %I.%I TO %s USING (true)', here, policy.table_name,
                       (SELECT string_agg(format('%I', role_name), ', ') FROM database_roles WHERE kind <> 'read'));
    END LOOP;
END $$;
COMMENT ON FUNCTION grant_roles IS
    'Gives the roles of this database what they need, and takes everything else from them; does nothing without roles';

CREATE FUNCTION create_roles(prefix text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    wanted record;
BEGIN
    IF prefix !~ '^[a-z][a-z0-9_]{0,40}$' THEN
        RAISE EXCEPTION 'a prefix has 1 to 41 of a-z, 0-9 and _, and begins with a letter' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('simbridge.roles'));
    FOR wanted IN SELECT k, (prefix || '_' || k)::name AS role_name FROM unnest(ARRAY['ingest', 'rollup', 'read', 'serve']) AS k LOOP
        -- Roles belong to all databases of a server: another one may have made them, also at this moment.
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted.role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            PERFORM FROM pg_roles r WHERE r.rolname = wanted.role_name AND (r.rolsuper OR r.rolcanlogin OR r.rolbypassrls);
            IF FOUND THEN
                RAISE EXCEPTION '% is a login, or may do everything: choose another prefix', wanted.role_name
                    USING ERRCODE = 'invalid_parameter_value';
            END IF;
        END;
        INSERT INTO database_roles AS held (kind, role_name) VALUES (wanted.k, wanted.role_name)
        ON CONFLICT ON CONSTRAINT database_roles_pk DO UPDATE SET role_name = excluded.role_name;
    END LOOP;
    EXECUTE (SELECT format('GRANT %I, %I TO %I',
                           max(role_name) FILTER (WHERE kind = 'ingest'), max(role_name) FILTER (WHERE kind = 'rollup'),
                           max(role_name) FILTER (WHERE kind = 'serve')) FROM database_roles);
    PERFORM grant_roles();
END $$;
COMMENT ON FUNCTION create_roles IS 'Makes the roles PREFIX_ingest, _rollup, _read and _serve where they are missing, and grants';

CREATE FUNCTION create_login(login name, verifier text, as_kind text, tenant_names text[]) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    granted name;
    unknown text;
BEGIN
    SELECT role_name INTO granted FROM database_roles WHERE kind = as_kind;
    IF granted IS NULL THEN
        RETURN 'NO_ROLES';
    END IF;
    SELECT n INTO unknown FROM unnest(tenant_names) AS n WHERE NOT EXISTS (SELECT FROM tenants t WHERE t.name = n) LIMIT 1;
    IF FOUND THEN
        RETURN 'NO_TENANT ' || unknown;
    END IF;
    EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L IN ROLE %I', login, verifier, granted);
    IF as_kind = 'read' THEN
        INSERT INTO reader_tenants (role_name, tenant_id)
        SELECT login, t.id FROM tenants t WHERE t.name = ANY (tenant_names) ON CONFLICT DO NOTHING;
        -- A forgotten query of a reader would keep old versions of every row alive.
        EXECUTE format('ALTER ROLE %I SET default_transaction_read_only = on', login);
        EXECUTE format('ALTER ROLE %I SET statement_timeout = ''60s''', login);
        EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = ''60s''', login);
    END IF;
    RETURN 'CREATED';
END $$;
COMMENT ON FUNCTION create_login IS 'Makes a login with one of the roles; verifier is the password as SCRAM-SHA-256 verifier';

CREATE FUNCTION drop_login(login name) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM pg_auth_members m JOIN pg_roles granted ON granted.oid = m.roleid JOIN pg_roles held ON held.oid = m.member
    WHERE held.rolname = login AND held.rolcanlogin AND NOT held.rolsuper
      AND granted.rolname IN (SELECT role_name FROM database_roles);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM reader_tenants WHERE role_name = login;
    EXECUTE format('DROP ROLE %I', login);
    RETURN true;
END $$;
COMMENT ON FUNCTION drop_login IS 'Removes a login that has one of the roles; false when there is none of that name';

-- Functions that do what only the owner may: whoever is allowed to call them gets just that. Their search path is fixed, with
-- temporary tables last, so that nobody puts a table or function of their own in the way.
DO $$
DECLARE
    definer text;
BEGIN
    FOREACH definer IN ARRAY ARRAY['ensure_cycles(text[], timestamptz[], timestamptz)',
        'ensure_partitions(timestamptz, timestamptz)', 'ensure_rollup_partitions(date, date)', 'drop_usage_partition(text)',
        'visible_tenants()', 'cycle_is_visible(text, timestamptz, timestamptz)']
    LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = %I, pg_temp', definer, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', definer);
    END LOOP;
END $$;
