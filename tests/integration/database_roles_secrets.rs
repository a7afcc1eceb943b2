//! What lets somebody in, and what leads out of the database, is for none of the roles that do not need it.

use simbridge::store::roles::RoleKind;

use crate::database_roles::{login, refused};
use crate::harness::database::TestDatabase;
use crate::harness::server::connect;

/// Columns with what lets somebody in, found by their names, and whether a role may read them.
const SECRETS: &str = "
    SELECT c.relname || '.' || a.attname, has_column_privilege('simbridge_' || r.kind, c.oid, a.attnum, 'SELECT') AS may
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    CROSS JOIN (VALUES ('ROLE')) AS r (kind)
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
      AND a.attname ~ '(^|_)(password|secret|token|key_hash)(_hash)?$' AND a.atttypid IN ('text'::regtype, 'bytea'::regtype)
    ORDER BY 1";

/// What leads out of the tables that a role was given.
const WAYS_OUT: [&str; 15] = [
    "COPY carriers TO PROGRAM 'true'",
    "COPY carriers TO '/tmp/carriers'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT * FROM pg_shadow",
    "SELECT * FROM pg_hba_file_rules",
    "ALTER SYSTEM SET log_statement = 'all'",
    "ALTER ROLE current_user SUPERUSER",
    "ALTER ROLE current_user BYPASSRLS",
    "SET session_replication_role = replica",
    "SET log_statement = 'none'",
    "CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA mine",
    "ALTER TABLE api_keys DISABLE TRIGGER USER",
];

/// Catches a grant on a whole table that holds a hash beside what a role needs, and a new table of secrets that readers see.
#[tokio::test]
async fn only_the_role_serve_reads_what_lets_somebody_in() {
    let database = TestDatabase::new().await;
    let of = async |kind: RoleKind| database.rows(&SECRETS.replace("ROLE", kind.as_str())).await;
    for secret in [
        "alert_webhooks.secret",
        "api_keys.key_hash",
        "dashboard_sessions.token_hash",
        "mqtt_credentials.password_hash",
    ] {
        let (readable, hidden) = (format!("{secret}|t"), format!("{secret}|f"));
        assert!(of(RoleKind::Serve).await.contains(&readable), "{secret} is found, and needed");
        for kind in [RoleKind::Ingest, RoleKind::Rollup, RoleKind::Read] {
            assert!(of(kind).await.contains(&hidden), "{secret} for {kind:?}");
        }
    }
    for kind in [RoleKind::Ingest, RoleKind::Rollup, RoleKind::Read] {
        let readable: Vec<String> =
            of(kind).await.into_iter().filter(|column| column.ends_with("|t")).collect();
        assert_eq!(readable, Vec::<String>::new(), "{kind:?}");
    }
    let reader = connect(&login(&database, RoleKind::Read, &["default"]).await).await;
    for table in ["api_keys", "mqtt_credentials", "alert_webhooks", "dashboard_sessions", "mqtt_sessions"] {
        refused(&reader, &format!("SELECT * FROM {table}")).await;
    }
}

/// Catches a role with an attribute or a membership that it does not need: files, programs and settings of the server, other roles.
#[tokio::test]
async fn no_role_leads_out_of_its_tables() {
    let database = TestDatabase::new().await;
    for kind in RoleKind::ALL {
        let tenants: &[&str] = if kind == RoleKind::Read { &["default"] } else { &[] };
        let client = connect(&login(&database, kind, tenants).await).await;
        for sql in WAYS_OUT {
            let error = client.batch_execute(sql).await.expect_err(sql);
            let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
            // Transactions of readers are read-only, which is found first.
            let known = code == "42501" || kind == RoleKind::Read && code == "25006";
            assert!(known, "{kind:?} {sql}: {error}");
        }
    }
    let attributes = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'simbridge\\_%'
        AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls OR rolcanlogin)";
    assert_eq!(database.rows(attributes).await, Vec::<String>::new());
    let memberships = "SELECT m.roleid::regrole || ' in ' || m.member::regrole FROM pg_auth_members m
        WHERE m.member::regrole::text LIKE 'simbridge\\_%' AND m.roleid::regrole::text NOT LIKE 'simbridge\\_%'";
    assert_eq!(database.rows(memberships).await, Vec::<String>::new());
}
