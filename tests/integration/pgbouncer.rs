//! PgBouncer in transaction mode between the program and PostgreSQL.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::api::TestApi;
use crate::harness::bridge::{BridgeOptions, BridgeProcess, command_as, simbridge};
use crate::harness::database::TestDatabase;
use crate::harness::eventually;
use crate::harness::fleet::{FleetOptions, TestFleet, assert_nothing_lost_or_invented};
use crate::harness::pgbouncer::{PgBouncer, installed};
use crate::harness::server::{TestServer, connect};
use simulator::ledger::LedgerSummary;
use tokio_postgres::Client;

/// Fewer than the programs hold connections to PgBouncer, so that each transaction has another one.
const SERVER_CONNECTIONS: u32 = 6;

/// A database with a pooler before it and the address there; `None` without PgBouncer.
async fn pooled() -> Option<(TestDatabase, PgBouncer, String)> {
    pooled_by(SERVER_CONNECTIONS).await
}

async fn pooled_by(server_connections: u32) -> Option<(TestDatabase, PgBouncer, String)> {
    if !installed() {
        return None;
    }
    let database = TestDatabase::new().await;
    let login = TestServer::shared().serve_config_for(&database.name);
    let bouncer = PgBouncer::before(&login, server_connections).await;
    let url = bouncer.url(&login);
    Some((database, bouncer, url))
}

async fn through(url: &str) -> Client {
    connect(&url.parse().expect("a connection string")).await
}

fn behind(url: &str) -> BridgeOptions {
    let mut options = BridgeOptions::new(url);
    options.set("database.prepared_statements", "false").set("rollup.flush_after_ms", "100");
    options
}

/// The figures of the dashboard, through the pooler.
async fn figures(database: &TestDatabase, url: &str) -> (Value, Value) {
    let api = TestApi::start_with(database, simbridge::domain::Clock::System, false, |config| {
        config.database.url = url.into();
        config.database.prepared_statements = false;
    })
    .await;
    let key = api.key(&["consumption:read", "sims:read"]).await;
    let usage = api.get_as(&key, "/api/consumption/kpis?start_date=2024-01-01&end_date=2028-12-31").await;
    let stats = api.get_as(&key, "/api/dashboard/stats").await;
    assert_eq!((usage.status, stats.status), (200, 200), "{} {}", usage.text, stats.text);
    let answers = (usage.json(), stats.json());
    api.close().await;
    answers
}

/// Catches named statements, session locks and settings that live in a session: with so few server connections each statement meets
/// another session than the one before.
#[tokio::test(flavor = "multi_thread")]
async fn behind_pgbouncer_two_instances_store_roll_up_answer_and_hand_over() {
    let Some((database, _bouncer, url)) = pooled().await else { return };
    let load = FleetOptions { sims: 100, rate: Some(600.0), ..FleetOptions::default() };
    let sims = TestFleet::provision(&database.store, &load).await;
    let first = BridgeProcess::start(&behind(&url)).await;
    let second = BridgeProcess::start(&behind(&url)).await;
    let other =
        FleetOptions { seed: 8, ..FleetOptions { sims: 100, rate: Some(600.0), ..FleetOptions::default() } };
    let fleets =
        [TestFleet::start(first.mqtt, sims.clone(), &load), TestFleet::start(second.mqtt, sims, &other)];
    for fleet in &fleets {
        fleet.more_acked(1_000).await;
    }
    eventually("rollups run", async || {
        (database.number("SELECT count(*) FROM hourly_usage").await > 0).then_some(())
    })
    .await;
    let mut ledger = LedgerSummary::default();
    for fleet in fleets {
        let (_, told) = fleet.finish().await;
        ledger.sent.extend(told.sent);
        ledger.acked.extend(told.acked);
        ledger.total_bytes.extend(told.total_bytes);
    }
    // Whoever is left rolls up what is left.
    first.signal(Signal::SIGKILL);
    eventually("everything is rolled up", async || {
        (database.number("SELECT count(*) FROM rollup_markers").await == 0).then_some(())
    })
    .await;
    assert_nothing_lost_or_invented(&ledger, &database.client).await;
    database.assert_reconciled().await;
    let (usage, stats) = figures(&database, &url).await;
    let bytes = database.number("SELECT sum(total_bytes)::bigint FROM usage_records").await;
    assert_eq!(usage["data"]["dataUsage"]["value"], bytes, "{usage}");
    assert!(stats.is_object());
    assert_eq!(second.terminate().await, Some(0));
}

/// Catches a program that uses named statements behind PgBouncer: two instances give the same names to different statements.
#[tokio::test(flavor = "multi_thread")]
async fn named_statements_behind_pgbouncer_are_refused_at_the_start() {
    let Some((database, _bouncer, url)) = pooled().await else { return };
    let (code, _, said) = command_as(&url, &["tenants", "list"]).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("database.prepared_statements = false"), "{said}");
    let mut command = simbridge();
    command.args(["tenants", "list"]).env("DATABASE_URL", &url);
    command.env("SIMBRIDGE__DATABASE__PREPARED_STATEMENTS", "false");
    assert!(command.output().await.expect("it starts").status.success());
    let (code, _, said) = command_as(&database.url(), &["tenants", "list"]).await;
    assert_eq!(code, Some(0), "PostgreSQL itself is not taken for a pooler: {said}");
}

/// Catches a statement that is taken for its own because another instance, which starts just now, has one of that name with the same
/// text on the other connection.
#[tokio::test(flavor = "multi_thread")]
async fn statements_of_another_instance_are_not_taken_for_its_own() {
    let Some((_database, _bouncer, url)) = pooled_by(2).await else { return };
    let (first, second) = (through(&url).await, through(&url).await);
    first.batch_execute("BEGIN").await.expect("a connection");
    second.batch_execute("BEGIN").await.expect("another one");
    for n in 0..10 {
        second.batch_execute(&format!("PREPARE s{n} AS SELECT 1")).await.expect("it is new");
    }
    // The one that is used last is handed out next: the program names its statement there, and runs it on the other one.
    second.batch_execute("COMMIT").await.expect("it goes back");
    first.batch_execute("COMMIT").await.expect("it goes back");
    let (code, _, said) = command_as(&url, &["tenants", "list"]).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("database.prepared_statements = false"), "{said}");
}
