-- Grants that are the same after pg_restore --no-privileges, and readers that see the same in a parallel query.

-- Until PostgreSQL 15.9, 16.5 and 17.1 a parallel worker does not know of SET ROLE (CVE-2024-10978): it would show the rows
-- of the login in place of those of the role. The leader asks for the tenants all the same.
ALTER FUNCTION visible_tenants() PARALLEL RESTRICTED;
ALTER FUNCTION cycle_is_visible(text, timestamptz, timestamptz) PARALLEL RESTRICTED;

CREATE FUNCTION take_back(from_role name) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    here text := current_schema();
    ours record;
BEGIN
    -- Not what others have in this schema, such as an extension: REVOKE of what one may not grant is an error.
    SELECT string_agg(c.oid::regclass::text, ', ') FILTER (WHERE c.relkind <> 'S') AS tables,
           string_agg(c.oid::regclass::text, ', ') FILTER (WHERE c.relkind = 'S') AS sequences,
           (SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p
            WHERE p.pronamespace = quote_ident(here)::regnamespace AND pg_has_role(p.proowner, 'USAGE')) AS routines
    INTO ours
    FROM pg_class c
    WHERE c.relnamespace = quote_ident(here)::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND pg_has_role(c.relowner, 'USAGE');
    EXECUTE format('REVOKE ALL ON TABLE %s FROM %I', ours.tables, from_role);
    EXECUTE format('REVOKE ALL ON SEQUENCE %s FROM %I', ours.sequences, from_role);
    EXECUTE format('REVOKE ALL ON ROUTINE %s FROM %I', ours.routines, from_role);
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', here, from_role);
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), from_role);
END $$;
COMMENT ON FUNCTION take_back IS 'Takes from a role whatever it may do in this database';

CREATE OR REPLACE FUNCTION grant_roles() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    here   text := current_schema();
    wanted record;
    policy record;
    member record;
BEGIN
    -- Instances of one version may come here at once.
    PERFORM pg_advisory_xact_lock(hashtext('simbridge.roles'));
    -- A dump that was restored on another server names roles which that one does not have: they are still to be made there.
    IF NOT EXISTS (SELECT FROM database_roles d JOIN pg_roles r ON r.rolname = d.role_name) THEN
        RETURN;
    END IF;
    -- Exactly what is wanted, also where an earlier version wanted more.
    FOR member IN SELECT * FROM database_roles LOOP
        PERFORM take_back(member.role_name);
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
        -- pg_restore --no-privileges leaves every function to everybody.
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', wanted.functions);
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

CREATE OR REPLACE FUNCTION create_roles(prefix text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    wanted record;
    former name;
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
        -- Under another prefix they were others: those would go on without a row that they see.
        SELECT r.rolname INTO former FROM database_roles d JOIN pg_roles r ON r.rolname = d.role_name
        WHERE d.kind = wanted.k AND d.role_name <> wanted.role_name;
        IF FOUND THEN
            PERFORM take_back(former);
        END IF;
        INSERT INTO database_roles AS held (kind, role_name) VALUES (wanted.k, wanted.role_name)
        ON CONFLICT ON CONSTRAINT database_roles_pk DO UPDATE SET role_name = excluded.role_name;
    END LOOP;
    EXECUTE (SELECT format('GRANT %I, %I TO %I',
                           max(role_name) FILTER (WHERE kind = 'ingest'), max(role_name) FILTER (WHERE kind = 'rollup'),
                           max(role_name) FILTER (WHERE kind = 'serve')) FROM database_roles);
    PERFORM grant_roles();
END $$;

CREATE OR REPLACE FUNCTION create_login(login name, verifier text, as_kind text, tenant_names text[]) RETURNS text
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
    -- Of a login of that name that was dropped with SQL, or that the server had from which a dump was restored.
    DELETE FROM reader_tenants WHERE role_name = login;
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
