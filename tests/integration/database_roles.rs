//! What the database's own roles may do. All other tests run as a login with the role `serve`.

use simbridge::domain::Iccid;
use simbridge::ingest::queue::Sender;
use simbridge::store::MigrationError;
use simbridge::store::roles::{LoginCreated, RoleKind};
use simbridge::store::sim_moves::SimMove;
use simbridge::store::sims::SimRow;
use tokio_postgres::Client;

use crate::harness::bridge::command_as;
use crate::harness::database::{TENANT, TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, correction_at, record_at, sender, time, word};
use crate::harness::server::{TestServer, connect, store};

const ICCID: &str = "8941000000000000001";
const BEGIN: &str = "2026-03-01T00:00:00Z";
const NOW: &str = "2026-03-10T12:00:00Z";

/// A login of its own: roles belong to all databases of the server.
async fn login(database: &TestDatabase, kind: RoleKind, tenants: &[&str]) -> tokio_postgres::Config {
    let name = format!("{}_{}_{}", database.name, kind.as_str(), tenants.join("_"));
    let password = "correct horse battery staple";
    let tenants: Vec<String> = tenants.iter().map(|&t| t.to_owned()).collect();
    let made = database.owner().create_login(&name, password, kind, &tenants).await;
    assert_eq!(made.expect("a login"), LoginCreated::Created);
    let mut config = database.another_config();
    config.user(&name).password(password);
    config
}

async fn refused(client: &Client, sql: &str) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let code = error.code().map(|code| code.code().to_owned());
    assert_eq!(code.as_deref(), Some("42501"), "{sql}: {error}");
}

/// What only an owner does.
const OWNERS_WORK: [&str; 9] = [
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
        ["database_grants", "database_roles", "reader_policies", "reader_tenants"]
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

/// Three tenants with one SIM each, whose records have the same ids, and one SIM that went from the first to the second in
/// the middle of a cycle.
async fn three_tenants() -> TestDatabase {
    let database = TestDatabase::new().await;
    let tenants = [TENANT, database.tenant("second", "UTC").await, database.tenant("third", "UTC").await];
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (n, tenant) in tenants.into_iter().enumerate() {
        let iccid = format!("894100000000000001{n}");
        let row = SimRow {
            rate_plan: Some("flat".into()),
            price_per_mb: Some("0.01".into()),
            data_limit_bytes: Some(10),
            ..sim(&iccid)
        };
        database.store.import_sims(tenant, &[row], time(BEGIN)).await.expect("an import");
        let by = Sender { tenant, ..sender(false) };
        for at in [NOW, "2026-02-10T12:00:00Z"] {
            let id = format!("same-{at}");
            assert_eq!(
                word(&pipeline.one_as(by.clone(), &iccid, record_at(&id, at, 100 + n as i64)).await),
                "stored"
            );
        }
    }
    database.import_at(BEGIN, &[sim(ICCID)]).await;
    pipeline.one(ICCID, record_at("before", "2026-03-02T12:00:00Z", 1_000)).await;
    let to = SimMove {
        iccid: Iccid::parse(ICCID).expect("an ICCID"),
        tenant: Some(tenants[1]),
        carrier: None,
        rate_plan: None,
        from: time("2026-03-05T00:00:00Z"),
    };
    database.store.move_sim(&to, time(NOW)).await.expect("a move");
    let by = Sender { tenant: tenants[1], ..sender(false) };
    pipeline.one_as(by, ICCID, record_at("after", NOW, 2_000)).await;
    database.roll_up().await;
    database.run("SELECT make_invoices('2026-03-10T12:00:00Z', 3, 14)").await;
    crate::alerts::raise(&database.store, NOW).await;
    database
}

/// Catches a table that readers see without its tenant, and a reader that makes itself another one.
#[tokio::test]
async fn a_reader_sees_the_rows_of_its_tenants_whatever_it_asks() {
    let database = three_tenants().await;
    let tables = "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
         WHERE c.relnamespace = current_schema()::regnamespace AND NOT c.relispartition
           AND has_table_privilege('simbridge_read', c.oid, 'SELECT') ORDER BY 1";
    let tables = database.rows(tables).await;
    assert_eq!(tables.len(), 10, "{tables:?}");
    for (tenants, ids) in
        [(vec!["default"], "1"), (vec!["third"], "3"), (vec!["second", "third"], "2, 3"), (vec![], "0")]
    {
        let config = login(&database, RoleKind::Read, &tenants).await;
        let reader = connect(&config).await;
        for table in &tables {
            let all = format!("SELECT count(*) FROM {table} WHERE tenant_id IN ({ids})");
            let expected = database.number(&all).await;
            assert!(expected > 0 || tenants.is_empty() || table == "rate_plans", "{table} shows nothing");
            let seen: i64 = count(&reader, &format!("SELECT count(*) FROM {table}")).await;
            assert_eq!(seen, expected, "{table} for {tenants:?}");
        }
        assert_eq!(count(&reader, "SELECT count(*) FROM tenants").await, tenants.len() as i64);
        for sql in [
            "SELECT * FROM usage_records_y2026m03",
            "SELECT * FROM api_keys",
            "SELECT * FROM quarantine",
            "SELECT * FROM sim_ownership",
            "SELECT * FROM reader_tenants",
            "SET ROLE simbridge_serve",
            "SET SESSION AUTHORIZATION bridge",
            "SELECT ensure_partitions(now(), now())",
            "SELECT drop_usage_partition('usage_records_y2026m03')",
        ] {
            refused(&reader, sql).await;
        }
        for sql in OWNERS_WORK {
            reader.batch_execute("SET default_transaction_read_only = off").await.expect("a default");
            refused(&reader, sql).await;
        }
        // A table in the way of the one that says who sees what.
        reader
            .batch_execute("CREATE TEMPORARY TABLE reader_tenants AS SELECT session_user AS role_name, generate_series(1, 9) AS tenant_id")
            .await
            .expect("temporary tables are allowed");
        let seen = count(&reader, "SELECT count(DISTINCT tenant_id) FROM provisioned_sims").await;
        assert_eq!(seen, tenants.len() as i64);
    }
}

/// Catches a cycle that is shown with what a SIM used for another tenant.
#[tokio::test]
async fn a_reader_sees_a_cycle_when_all_its_owners_are_its_own() {
    let database = three_tenants().await;
    let cycles =
        "SELECT string_agg(iccid || ' ' || cycle_id, ', ' ORDER BY iccid, cycle_id) FROM usage_cycles
                  WHERE record_count > 0";
    let moved = format!("{ICCID} 2026-03");
    for (tenants, expected) in [
        (vec!["default"], "8941000000000000010 2026-02, 8941000000000000010 2026-03".to_owned()),
        (vec!["third"], "8941000000000000012 2026-02, 8941000000000000012 2026-03".to_owned()),
        (
            vec!["default", "second"],
            format!(
                "{moved}, 8941000000000000010 2026-02, 8941000000000000010 2026-03, \
                 8941000000000000011 2026-02, 8941000000000000011 2026-03"
            ),
        ),
    ] {
        let reader = connect(&login(&database, RoleKind::Read, &tenants).await).await;
        let seen: String = reader.query_one(cycles, &[]).await.expect("it may").get(0);
        assert_eq!(seen, expected, "{tenants:?}");
    }
}

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.expect("it may").get(0)
}

/// Catches grants that only grow: what an earlier version wanted stays.
#[tokio::test]
async fn making_roles_again_restores_exactly_what_they_may() {
    let database = TestDatabase::new().await;
    let grants = "SELECT grantee, table_name, string_agg(privilege_type, ' ' ORDER BY privilege_type)
         FROM information_schema.table_privileges WHERE grantee LIKE 'simbridge\\_%' GROUP BY 1, 2 ORDER BY 1, 2";
    let policies = "SELECT tablename, policyname, roles, qual FROM pg_policies ORDER BY 1, 2";
    let before = (database.rows(grants).await, database.rows(policies).await);
    assert!(before.0.len() > 60 && before.1.len() == 24, "{before:#?}");
    database
        .run(
            "GRANT ALL ON api_keys TO simbridge_read; REVOKE ALL ON usage_records FROM simbridge_ingest;
             DROP POLICY rows_of_readers ON daily_usage; ALTER TABLE daily_usage DISABLE ROW LEVEL SECURITY",
        )
        .await;
    assert_ne!((database.rows(grants).await, database.rows(policies).await), before);
    database.owner().create_roles("simbridge").await.expect("again");
    assert_eq!((database.rows(grants).await, database.rows(policies).await), before);
    let wrong = database.owner().create_roles("Drop table").await.expect_err("no prefix");
    assert_eq!(wrong.code(), Some("22023"));
    let reader = connect(&login(&database, RoleKind::Read, &["default"]).await).await;
    assert_eq!(count(&reader, "SELECT count(*) FROM daily_usage").await, 0);
}

/// Catches a program that fails with PostgreSQL's words, or makes do with an older schema.
#[tokio::test]
async fn who_may_not_change_the_schema_is_told_who_must() {
    let database = TestDatabase::new().await;
    database.store.migrate().await.expect("nothing to do needs no right");
    let known = database.number("SELECT max(version) FROM schema_history").await;
    database
        .run("DELETE FROM schema_history WHERE version = (SELECT max(version) FROM schema_history)")
        .await;
    let refused = database.store.migrate().await.expect_err("is refused");
    let expected = i32::try_from(known).expect("a small number");
    assert!(
        matches!(refused, MigrationError::NotOwner { found, known } if found == expected - 1 && known == expected),
        "{refused}"
    );
    let (code, _, said) = command_as(&database.url(), &["migrate"]).await;
    assert_eq!(code, Some(78));
    assert_eq!(
        said,
        format!(
            "simbridge: the database has schema version {} and needs {known}, and this login may not change it: \
             run `simbridge migrate` as the owner of its tables",
            known - 1
        )
    );
}

#[tokio::test]
async fn roles_and_logins_are_made_listed_and_removed_from_the_command_line() {
    let database = TestDatabase::new().await;
    let owner = TestServer::shared().owner_url_for(&database.name);
    let run = async |arguments: &[&str]| command_as(&owner, arguments).await;
    database.run("DELETE FROM database_roles").await;
    let (_, said, _) = run(&["roles", "list"]).await;
    assert!(said.starts_with("no roles: "), "{said}");
    let (code, _, said) = run(&["roles", "login", "nobody", "--as", "serve"]).await;
    assert_eq!((code, &*said), (Some(1), "simbridge: there are no roles yet: run `simbridge roles create`"));
    let (code, said, _) = run(&["roles", "create", "--prefix", "fleet"]).await;
    assert_eq!(
        (code, &*said),
        (
            Some(0),
            "the roles fleet_ingest, fleet_rollup, fleet_read, fleet_serve may do what they need in this database, \
             and nothing else"
        )
    );
    let (code, _, said) = run(&["roles", "login", "grafana", "--as", "read"]).await;
    assert!(code == Some(2) && said.contains("--tenant"), "{said}");
    let (code, _, said) = run(&["roles", "login", "grafana", "--as", "read", "--tenant", "nobody"]).await;
    assert_eq!((code, &*said), (Some(1), "simbridge: there is no tenant `nobody`"));
    let (code, password, _) =
        run(&["roles", "login", "grafana", "--as", "read", "--tenant", "default"]).await;
    assert_eq!((code, password.len()), (Some(0), 24));
    let stored = "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'grafana'";
    assert_eq!(database.text(stored, &[]).await, "true");
    let (code, _, said) = run(&["roles", "login", "grafana", "--as", "serve"]).await;
    assert_eq!((code, &*said), (Some(1), "simbridge: there is a role `grafana` already"));
    let (_, listed, _) = run(&["roles", "list"]).await;
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines,
        [
            vec!["ROLE", "LOGIN", "TENANTS"],
            vec!["fleet_ingest"],
            vec!["fleet_read", "grafana", "default"],
            vec!["fleet_rollup"],
            vec!["fleet_serve"],
        ]
    );
    let mut config = database.another_config();
    config.user("grafana").password(&password);
    let reader = connect(&config).await;
    assert_eq!(count(&reader, "SELECT count(*) FROM tenants").await, 1);
    let url = TestServer::shared().url_as("grafana", &password, &database.name);
    let (code, _, said) = command_as(&url, &["roles", "create"]).await;
    assert!(
        code == Some(78) && said.contains("this login may not") || said.contains("permission denied"),
        "{said}"
    );
    assert_eq!(run(&["roles", "revoke", "grafana"]).await.0, Some(0));
    let (code, _, said) = run(&["roles", "revoke", "grafana"]).await;
    assert_eq!((code, &*said), (Some(1), "simbridge: no login `grafana` has one of the roles"));
    let (code, _, _) = run(&["roles", "revoke", "simbridge"]).await;
    assert_eq!(code, Some(1), "the superuser is none of its logins");
    assert!(reader.batch_execute("SELECT * FROM tenants").await.is_err(), "what it has open can do nothing");
    assert!(config.connect(tokio_postgres::NoTls).await.is_err());
}
