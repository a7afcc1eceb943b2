-- Readers that see every tenant, also those that come later: dashboards of whoever runs simbridge (ADR 0028).

CREATE TABLE all_tenant_readers (
    role_name name CONSTRAINT all_tenant_readers_pk PRIMARY KEY
);
COMMENT ON TABLE all_tenant_readers IS 'Logins with the role read that see the rows of all tenants; what reader_tenants says of them does not matter';

CREATE OR REPLACE FUNCTION visible_tenants() RETURNS integer[] LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER AS $$
    -- current_user is the owner here. SET ROLE lets one login read as several.
    WITH reader AS (
        SELECT CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role')::name END AS role_name
    )
    SELECT coalesce(array_agg(t.id), '{}') FROM tenants t, reader
    WHERE EXISTS (SELECT FROM all_tenant_readers a WHERE a.role_name = reader.role_name)
       OR EXISTS (SELECT FROM reader_tenants r WHERE r.role_name = reader.role_name AND r.tenant_id = t.id)
$$;

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
    DELETE FROM all_tenant_readers WHERE role_name = login;
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

CREATE FUNCTION create_reader_of_all(login name, verifier text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    made text := create_login(login, verifier, 'read', '{}');
BEGIN
    IF made = 'CREATED' THEN
        INSERT INTO all_tenant_readers (role_name) VALUES (login);
    END IF;
    RETURN made;
END $$;
COMMENT ON FUNCTION create_reader_of_all IS 'As create_login, of a reader that sees every tenant, also those that come later';

CREATE OR REPLACE FUNCTION drop_login(login name) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM pg_auth_members m JOIN pg_roles granted ON granted.oid = m.roleid JOIN pg_roles held ON held.oid = m.member
    WHERE held.rolname = login AND held.rolcanlogin AND NOT held.rolsuper
      AND granted.rolname IN (SELECT role_name FROM database_roles);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM reader_tenants WHERE role_name = login;
    DELETE FROM all_tenant_readers WHERE role_name = login;
    EXECUTE format('DROP ROLE %I', login);
    RETURN true;
END $$;

-- Replacing it took its search path away.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION visible_tenants() SET search_path = %I, pg_temp', current_schema());
    REVOKE ALL ON FUNCTION visible_tenants() FROM PUBLIC;
END $$;
