-- Grants that are the same after pg_restore --no-privileges, and readers that see the same in a parallel query.

-- Until PostgreSQL 15.9, 16.5 and 17.1 a parallel worker does not know of SET ROLE (CVE-2024-10978): it would show the rows
-- of the login in place of those of the role. The leader asks for the tenants all the same.
ALTER FUNCTION visible_tenants() PARALLEL RESTRICTED;
ALTER FUNCTION cycle_is_visible(text, timestamptz, timestamptz) PARALLEL RESTRICTED;

CREATE OR REPLACE FUNCTION grant_roles() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    here   text := current_schema();
    wanted record;
    policy record;
    member record;
    ours   record;
BEGIN
    -- Instances of one version may come here at once.
    PERFORM pg_advisory_xact_lock(hashtext('simbridge.roles'));
    IF NOT EXISTS (SELECT FROM database_roles) THEN
        RETURN;
    END IF;
    SELECT string_agg(c.oid::regclass::text, ', ') FILTER (WHERE c.relkind <> 'S') AS tables,
           string_agg(c.oid::regclass::text, ', ') FILTER (WHERE c.relkind = 'S') AS sequences,
           (SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p
            WHERE p.pronamespace = quote_ident(here)::regnamespace AND pg_has_role(p.proowner, 'USAGE')) AS routines
    INTO ours
    FROM pg_class c
    WHERE c.relnamespace = quote_ident(here)::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND pg_has_role(c.relowner, 'USAGE');
    -- Exactly what is wanted, also where an earlier version wanted more.
    FOR member IN SELECT * FROM database_roles LOOP
        -- Not what others have in this schema, such as an extension: REVOKE of what one may not grant is an error.
        EXECUTE format('REVOKE ALL ON TABLE %s FROM %I', ours.tables, member.role_name);
        EXECUTE format('REVOKE ALL ON SEQUENCE %s FROM %I', ours.sequences, member.role_name);
        EXECUTE format('REVOKE ALL ON ROUTINE %s FROM %I', ours.routines, member.role_name);
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', here, member.role_name);
        EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), member.role_name);
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
