//! What readers see: the rows of their tenants, whatever they ask and whichever role they take.

use simbridge::domain::Iccid;
use simbridge::ingest::queue::Sender;
use simbridge::store::roles::{LoginCreated, RoleKind};
use simbridge::store::sim_moves::SimMove;
use simbridge::store::sims::SimRow;
use tokio_postgres::Client;

use crate::database_roles::{NOW, OWNERS_WORK, PASSWORD, count, login, refused};
use crate::harness::database::{TENANT, TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, record_at, sender, time, word};
use crate::harness::server::connect;

const ICCID: &str = "8941000000000000001";
const BEGIN: &str = "2026-03-01T00:00:00Z";

/// Three tenants with one SIM each, whose records have the same ids, and one SIM that went from the first to the second in
/// the middle of a cycle.
pub(crate) async fn three_tenants() -> TestDatabase {
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
    // A pool of each tenant, with its SIMs.
    database
        .run(
            "INSERT INTO usage_pools (tenant_id, name, limit_bytes, created_at, updated_at)
             SELECT id, 'all', 1000, now(), now() FROM tenants;
             INSERT INTO usage_pool_members (pool_id, tenant_id, iccid, joined_on)
             SELECT p.id, s.tenant_id, s.iccid, '2026-03-01' FROM provisioned_sims s JOIN usage_pools p USING (tenant_id);
             SELECT sum_pool_days(id, '2026-01-01', '2026-12-31') FROM tenants",
        )
        .await;
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
    assert_eq!(tables.len(), 13, "{tables:?}");
    for (tenants, ids) in
        [(vec!["default"], "1"), (vec!["third"], "3"), (vec!["second", "third"], "2, 3"), (vec![], "0")]
    {
        let config = login(&database, RoleKind::Read, &tenants).await;
        let reader = connect(&config).await;
        for table in &tables {
            let all = format!("SELECT count(*) FROM {table} WHERE tenant_id IN ({ids})");
            let expected = database.number(&all).await;
            assert!(expected > 0 || tenants.is_empty(), "{table} shows nothing");
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

/// What a reader sees, as text.
async fn text(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.expect("it may").get(0)
}

/// Catches a reader that goes on to see its own rows under another role, one that takes a role it was not given, and a
/// parallel worker that does not know of the role.
#[tokio::test]
async fn a_reader_that_sets_another_role_sees_what_that_role_sees() {
    let database = three_tenants().await;
    let [second, third] = [
        login(&database, RoleKind::Read, &["second"]).await,
        login(&database, RoleKind::Read, &["third"]).await,
    ];
    let name = |config: &tokio_postgres::Config| config.get_user().expect("a user").to_owned();
    let both = format!("{}_both", database.name);
    let make =
        format!("CREATE ROLE {both} LOGIN PASSWORD '{PASSWORD}' IN ROLE {}, {}", name(&second), name(&third));
    database.run(&make).await;
    let mut config = third.clone();
    config.user(&both);
    let at_once = "SELECT set_config(name, CASE vartype WHEN 'bool' THEN 'on' WHEN 'enum' THEN 'on' ELSE '0' END, false) FROM pg_settings
        WHERE name IN ('force_parallel_mode', 'debug_parallel_query', 'parallel_setup_cost', 'parallel_tuple_cost',
                       'min_parallel_table_scan_size')";
    let tenants = "SELECT coalesce(string_agg(DISTINCT tenant_id::text, ' '), '') FROM usage_records";
    let cycles = "SELECT coalesce(string_agg(DISTINCT right(iccid, 1), ' '), '') FROM usage_cycles WHERE record_count > 0";
    let [second_role, third_role] = [name(&second), name(&third)];
    let group = "simbridge_read".to_owned();
    for (config, shown) in [
        (
            second.clone(),
            vec![(None, "2", "1"), (Some(&second_role), "2", "1"), (Some(&group), "", ""), (None, "2", "1")],
        ),
        (
            config,
            vec![
                (None, "", ""),
                (Some(&second_role), "2", "1"),
                (Some(&third_role), "3", "2"),
                (Some(&both), "", ""),
                (Some(&group), "", ""),
                (None, "", ""),
            ],
        ),
    ] {
        let reader = connect(&config).await;
        for parallel in [false, true] {
            if parallel {
                reader.batch_execute(at_once).await.expect("settings of its own");
            }
            for (role, seen, seen_cycles) in &shown {
                let set = role.map_or("RESET ROLE".into(), |role| format!("SET ROLE {role}"));
                reader.batch_execute(&set).await.expect("it may");
                assert_eq!(text(&reader, tenants).await, *seen, "{set}, parallel: {parallel}");
                assert_eq!(text(&reader, cycles).await, *seen_cycles, "{set}, parallel: {parallel}");
            }
        }
    }
    let reader = connect(&second).await;
    for role in [&third_role, &both, &"bridge".to_owned(), &"simbridge_ingest".to_owned()] {
        refused(&reader, &format!("SET ROLE {role}")).await;
    }
    // Workers are still used: the leader asks for the tenants once.
    let cheap = at_once.replace("'force_parallel_mode', 'debug_parallel_query', ", "");
    reader.batch_execute(&cheap).await.expect("settings of its own");
    let plan = reader.query("EXPLAIN SELECT sum(total_bytes) FROM usage_records", &[]).await.expect("it may");
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(plan.iter().any(|line| line.contains("Workers Planned")), "{plan:#?}");
    let in_workers = "SELECT proname FROM pg_proc WHERE proname IN ('visible_tenants', 'cycle_is_visible')
        AND proparallel <> 'r'";
    assert_eq!(database.rows(in_workers).await, Vec::<String>::new(), "older servers forget the role there");
}

/// Catches a login that is made anew and sees what the one before it saw.
#[tokio::test]
async fn a_login_of_a_name_that_was_used_before_sees_only_what_it_was_given() {
    let database = three_tenants().await;
    let name = format!("{}_again", database.name);
    let make = async |kind, tenants: &[String]| {
        let made = database.owner().create_login(&name, PASSWORD, kind, tenants).await;
        assert_eq!(made.expect("a login"), LoginCreated::Created);
    };
    make(RoleKind::Read, &["default".into(), "second".into()]).await;
    database.run(&format!("DROP ROLE {name}")).await;
    make(RoleKind::Read, &["third".into()]).await;
    let mut config = database.another_config();
    config.user(&name).password(PASSWORD);
    let reader = connect(&config).await;
    assert_eq!(text(&reader, "SELECT string_agg(name, ' ') FROM tenants").await, "third");
}
