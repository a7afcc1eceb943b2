//! What the database's own roles may do. All other tests run as a login with the role `serve`.

use simbridge::store::roles::{LoginCreated, RoleKind};
use tokio_postgres::Client;

use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, correction_at, record_at, sender, time, word};
use crate::harness::server::{TestServer, connect, store};

const ICCID: &str = "8941000000000000001";
const BEGIN: &str = "2026-03-01T00:00:00Z";
pub(crate) const NOW: &str = "2026-03-10T12:00:00Z";

pub(crate) const PASSWORD: &str = "correct-horse-battery-staple";

/// A login of its own: roles belong to all databases of the server.
pub(crate) async fn login(
    database: &TestDatabase,
    kind: RoleKind,
    tenants: &[&str],
) -> tokio_postgres::Config {
    let name = format!("{}_{}_{}", database.name, kind.as_str(), tenants.join("_"));
    let tenants: Vec<String> = tenants.iter().map(|&t| t.to_owned()).collect();
    let made = database.owner().create_login(&name, PASSWORD, kind, &tenants).await;
    assert_eq!(made.expect("a login"), LoginCreated::Created);
    let mut config = database.another_config();
    config.user(&name).password(PASSWORD);
    config
}

pub(crate) async fn refused(client: &Client, sql: &str) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let code = error.code().map(|code| code.code().to_owned());
    assert_eq!(code.as_deref(), Some("42501"), "{sql}: {error}");
}

pub(crate) async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.expect("it may").get(0)
}

/// What only an owner does.
pub(crate) const OWNERS_WORK: [&str; 9] = [
    "DROP TABLE usage_records_y2026m03",
    "ALTER TABLE usage_records ADD COLUMN x integer",
    "TRUNCATE usage_cycles",
    "CREATE TABLE x (y integer)",
    "CREATE ROLE somebody",
    "INSERT INTO schema_history (version, name, checksum) VALUES (999, 'x', 'x')",
    "INSERT INTO reader_tenants (role_name, tenant_id) VALUES ('x', 1)",
    "SELECT create_roles('mine')",
    "SELECT * FROM pg_authid",
];

/// Catches a harness that makes all other tests run with more than they should.
#[tokio::test]
async fn the_program_is_neither_superuser_nor_owner() {
    let database = TestDatabase::new().await;
    let client = connect(&TestServer::shared().serve_config_for(&database.name)).await;
    for sql in OWNERS_WORK {
        refused(&client, sql).await;
    }
    // The floor is raised by the program; below it partitions may go, and no others.
    let error = client.batch_execute("SELECT drop_usage_partition('usage_records_y2026m03')").await;
    assert_eq!(error.expect_err("above the floor").code().map(|code| code.code()), Some("22023"));
}

/// Catches a table that nobody thought of: the role `serve` has no grant on it, or readers see it without a policy.
#[tokio::test]
async fn every_table_was_decided_about() {
    let database = TestDatabase::new().await;
    let undecided = "SELECT c.relname FROM pg_class c
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
           AND NOT has_table_privilege('simbridge_serve', c.oid, 'SELECT') ORDER BY 1";
    assert_eq!(
        database.rows(undecided).await,
        ["all_tenant_readers", "database_grants", "database_roles", "reader_policies", "reader_tenants"]
    );
    let open = "SELECT c.relname FROM pg_class c
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
           AND has_any_column_privilege('simbridge_read', c.oid, 'SELECT') AND NOT c.relrowsecurity";
    assert_eq!(database.rows(open).await, ["carriers"], "shared by all tenants");
    let writable = "SELECT c.relname FROM pg_class c
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'S')
           AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege('simbridge_read', c.oid, 'USAGE')
                    ELSE has_any_column_privilege('simbridge_read', c.oid, 'INSERT, UPDATE')
                         OR has_table_privilege('simbridge_read', c.oid, 'DELETE, TRUNCATE, TRIGGER') END";
    assert_eq!(database.rows(writable).await, Vec::<String>::new());
    // Functions with the owner's rights: whoever has no role calls none, and no path leads to somebody else's tables.
    let functions = "SELECT p.proname FROM pg_proc p
         WHERE p.pronamespace = current_schema()::regnamespace AND p.prosecdef
           AND (has_function_privilege('public', p.oid, 'EXECUTE')
                OR NOT coalesce('search_path=public, pg_temp' = ANY (p.proconfig), false))";
    assert_eq!(database.rows(functions).await, Vec::<String>::new());
}

/// Catches a grant that the write path lacks: the record would wait for ever.
#[tokio::test]
async fn a_login_that_ingests_stores_whatever_comes_and_does_nothing_else() {
    let database = TestDatabase::new().await;
    database.import_at(BEGIN, &[sim(ICCID)]).await;
    let config = login(&database, RoleKind::Ingest, &[]).await;
    let pipeline = TestPipeline::start_at(&store(config.clone()), NOW);
    assert_eq!(word(&pipeline.one(ICCID, record_at("a", NOW, 100)).await), "stored");
    assert_eq!(word(&pipeline.one(ICCID, record_at("a", NOW, 100)).await), "duplicate");
    assert_eq!(word(&pipeline.one(ICCID, record_at("old", "2025-11-10T12:00:00Z", 7)).await), "stored");
    let corrected = pipeline.one_as(sender(true), ICCID, correction_at("b", "a", NOW, -40)).await;
    assert_eq!(word(&corrected), "stored");
    let too_much = pipeline.one_as(sender(true), ICCID, correction_at("c", "a", NOW, -100)).await;
    assert_eq!(word(&too_much), "bad_correction");
    for (id, minute, counter) in [("s1", 10, 1_000), ("s2", 11, 1_500)] {
        let reading = crate::counters::reading(id, minute, counter, 0);
        assert_eq!(word(&pipeline.one(ICCID, reading).await), "stored");
    }
    assert_eq!(word(&pipeline.one("8941000000000000099", record_at("u", NOW, 1)).await), "stored");
    let total = "SELECT sum(total_bytes) FROM usage_cycles";
    assert_eq!(database.number(total).await, 100 - 40 + 7 + 1_500);
    database.roll_up().await;
    database.assert_reconciled().await;
    let client = connect(&config).await;
    for sql in OWNERS_WORK {
        refused(&client, sql).await;
    }
    for sql in [
        "DELETE FROM usage_records",
        "UPDATE usage_records SET total_bytes = 0",
        "UPDATE usage_cycles SET cycle_end = cycle_end",
        "DELETE FROM usage_cycles",
        "UPDATE record_keys SET record_id = 'x'",
        "INSERT INTO daily_usage (tenant_id, usage_date) VALUES (1, '2026-03-01')",
        "UPDATE provisioned_sims SET tenant_id = 1",
        "SELECT * FROM api_keys",
        "SELECT * FROM alert_webhooks",
        "SELECT drop_usage_partition('usage_records_y2026m03')",
    ] {
        refused(&client, sql).await;
    }
}

/// Catches a grant that rollups lack, and one that lets them change what they are made of.
#[tokio::test]
async fn a_login_that_rolls_up_makes_what_the_records_say_and_does_nothing_else() {
    let database = TestDatabase::new().await;
    database.import_at(BEGIN, &[sim(ICCID)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (id, at) in [("a", NOW), ("b", "2026-03-01T00:30:00Z"), ("c", "2026-02-10T00:30:00Z")] {
        pipeline.one(ICCID, record_at(id, at, 100)).await;
    }
    let config = login(&database, RoleKind::Rollup, &[]).await;
    let client = connect(&config).await;
    let row = client.query_one("SELECT aggregate_usage_to_daily()", &[]).await.expect("it may");
    assert_eq!(row.get::<_, i32>(0), 3);
    database.assert_reconciled().await;
    let (from, to) = (time(BEGIN).date_naive(), time(NOW).date_naive());
    let rebuilt = client.query_one("SELECT rebuild_days(1, $1, $2)", &[&from, &to]).await.expect("it may");
    assert_eq!(rebuilt.get::<_, i64>(0), 2);
    client.batch_execute("SELECT make_invoices('2026-03-10T12:00:00Z', 3, 14)").await.expect("it may");
    database.assert_reconciled().await;
    for sql in OWNERS_WORK {
        refused(&client, sql).await;
    }
    for sql in [
        "UPDATE usage_records SET total_bytes = 0",
        "INSERT INTO rollup_markers (write_id, period_from, period_to, record_count) VALUES (1, now(), now(), 1)",
        "UPDATE usage_cycles SET total_bytes = 0",
        "SELECT * FROM record_keys",
        "SELECT * FROM api_keys",
        "UPDATE inventory_version SET raw_floor = now()",
    ] {
        refused(&client, sql).await;
    }
}

/// Who may do what with which table, column, sequence, function, schema and database, one line each. Owners are left out.
const PRIVILEGES: &str = "
    WITH acls AS (
        SELECT c.relkind::text || ' ' || c.relname AS what, coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", c.relowner)) AS acl,
               c.relowner AS owner
        FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
        UNION ALL
        SELECT 'column ' || c.relname || '.' || a.attname, a.attacl, c.relowner
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = current_schema()::regnamespace AND a.attacl IS NOT NULL
        UNION ALL
        SELECT 'function ' || p.oid::regprocedure::text, coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner
        FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace
        UNION ALL
        SELECT 'schema', n.nspacl, n.nspowner FROM pg_namespace n WHERE n.nspname = current_schema()
        UNION ALL
        SELECT 'database', coalesce(d.datacl, acldefault('d', d.datdba)), d.datdba FROM pg_database d WHERE d.datname = current_database()
    )
    SELECT a.what, CASE e.grantee WHEN 0 THEN 'everybody' ELSE e.grantee::regrole::text END, e.privilege_type, e.is_grantable
    FROM acls a CROSS JOIN LATERAL aclexplode(a.acl) AS e WHERE e.grantee <> a.owner ORDER BY 1, 2, 3";

const POLICIES: &str = "
    SELECT 'policy', tablename, policyname, permissive, roles, cmd, qual, with_check FROM pg_policies
    UNION ALL
    SELECT 'rows', relname, relrowsecurity::text, relforcerowsecurity::text, NULL, NULL, NULL, NULL
    FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') ORDER BY 1, 2, 3";

/// Everything that roles may do in a database, and which rows they see.
pub(crate) async fn rights(database: &TestDatabase) -> Vec<String> {
    [database.rows(PRIVILEGES).await, database.rows(POLICIES).await].concat()
}

pub(crate) const NOTHING: [&str; 0] = [];

/// What one of two lists has and the other lacks.
pub(crate) fn differing(one: &[String], other: &[String]) -> Vec<String> {
    let lacking =
        |held: &[String], in_: &[String]| held.iter().filter(|l| !in_.contains(l)).cloned().collect();
    let sides: [Vec<String>; 2] = [lacking(one, other), lacking(other, one)];
    sides.concat()
}

/// Catches grants that only grow: what an earlier version wanted stays, on tables, functions, the schema or the database.
#[tokio::test]
async fn making_roles_again_restores_exactly_what_they_may() {
    let database = TestDatabase::new().await;
    // What is granted on the database itself is not copied from the template.
    database.owner().create_roles("simbridge").await.expect("roles");
    let before = rights(&database).await;
    let of = |start: &str| before.iter().filter(|line| line.starts_with(start)).count();
    assert!(of("r ") > 60 && of("column ") > 10 && of("policy|") == 30, "{before:#?}");
    for change in [
        "GRANT ALL ON api_keys TO simbridge_read",
        "GRANT SELECT (key_hash) ON api_keys TO simbridge_read",
        "REVOKE ALL ON usage_records FROM simbridge_ingest",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO simbridge_rollup",
        "GRANT EXECUTE ON FUNCTION drop_usage_partition(text) TO simbridge_read",
        "GRANT EXECUTE ON FUNCTION drop_usage_partition(text) TO PUBLIC",
        "GRANT CREATE ON SCHEMA public TO simbridge_read",
        "GRANT CREATE ON DATABASE {} TO simbridge_read",
        "DROP POLICY rows_of_readers ON daily_usage",
        "ALTER TABLE daily_usage DISABLE ROW LEVEL SECURITY",
    ] {
        database.run(&change.replace("{}", &database.name)).await;
        assert_ne!(differing(&rights(&database).await, &before), NOTHING, "{change}");
        database.owner().create_roles("simbridge").await.expect("again");
        assert_eq!(differing(&rights(&database).await, &before), NOTHING, "{change}");
    }
    // Under another prefix they are others, and those before may do nothing: without a policy they would see no row.
    let others = format!("{}_others", database.name);
    let program = connect(&TestServer::shared().serve_config_for(&database.name)).await;
    database.owner().create_roles(&others).await.expect("roles");
    let renamed: Vec<_> =
        before.iter().map(|line| line.replace("simbridge_", &format!("{others}_"))).collect();
    assert_eq!(differing(&rights(&database).await, &renamed), NOTHING);
    refused(&program, "SELECT * FROM api_keys").await;
    refused(&program, "SELECT * FROM usage_cycles").await;
    database.owner().create_roles("simbridge").await.expect("the first ones again");
    assert_eq!(differing(&rights(&database).await, &before), NOTHING);
    let wrong = database.owner().create_roles("Drop table").await.expect_err("no prefix");
    assert_eq!(wrong.code(), Some("22023"));
    let reader = connect(&login(&database, RoleKind::Read, &["default"]).await).await;
    assert_eq!(count(&reader, "SELECT count(*) FROM daily_usage").await, 0);
}
