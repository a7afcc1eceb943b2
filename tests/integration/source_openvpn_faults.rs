//! The program is killed or stopped, the database away, several programs at work, while an OpenVPN server's status is read.

use nix::sys::signal::Signal;

use crate::harness::bridge::BridgeProcess;
use crate::harness::database::{TestDatabase, now, sim};
use crate::harness::eventually;
use crate::harness::openvpn::StatusFile;
use crate::harness::proxy::Proxy;
use crate::readings::account;

const ICCID: &str = "8941000000000000001";

/// Seconds count from 250 seconds ago: within what a status may be old, and never in the future.
async fn with_sim() -> (TestDatabase, StatusFile) {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    account(&database, "alice", "", ICCID).await;
    let began = chrono::DateTime::from_timestamp(now().timestamp() - 250, 0).expect("a time");
    (database, StatusFile::new(began))
}

/// Bytes in the SIM's cycles; everything is in order.
async fn total(database: &TestDatabase) -> i64 {
    database.assert_reconciled().await;
    database.number("SELECT coalesce(sum(total_bytes), 0)::bigint FROM usage_cycles").await
}

async fn counted(database: &TestDatabase, bytes: i64) {
    let sum = "SELECT coalesce(sum(total_bytes), 0)::bigint FROM usage_records";
    eventually("it is stored", async || (database.number(sum).await >= bytes).then_some(())).await;
    assert_eq!(total(database).await, bytes);
}

async fn received(bridge: &BridgeProcess, readings: f64) {
    eventually("it is read", async || {
        (bridge.metric("simbridge_source_messages_received_total").await >= readings).then_some(())
    })
    .await;
}

/// Waits until the program waits for the lock that the test holds, with a statement like this.
async fn waits_for(database: &TestDatabase, statement: &str) {
    let watch = crate::harness::server::connect(&database.another_config()).await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                   AND wait_event_type = 'Lock' AND query LIKE $1";
    eventually("it waits for the lock", async || {
        let row = watch.query_one(waiting, &[&statement]).await.expect("the query is valid");
        (row.get::<_, i64>(0) > 0).then_some(())
    })
    .await;
}

async fn is_writing(database: &TestDatabase) {
    waits_for(database, "%INTO usage_records%").await;
}

/// Catches a place in the status that is kept apart from what is committed: bytes lost or counted twice after a kill -9.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_reading_and_commit_costs_nothing() {
    let (database, file) = with_sim().await;
    let options = file.read_by(&database.url(), "");
    file.write(10, &[("alice", 0, 0, 100, 10)]);
    let mut bridge = BridgeProcess::start(&options).await;
    counted(&database, 110).await;
    for turn in 1..=4 {
        let bytes = 100 + turn * 1_000;
        database.run("BEGIN; LOCK TABLE usage_records IN EXCLUSIVE MODE").await;
        file.write(10 + turn * 10, &[("alice", 0, 0, bytes, 10), ("alice", turn, 7, 1, 1)]);
        is_writing(&database).await;
        bridge.kill().await;
        database.run("ROLLBACK").await;
        if turn % 2 == 0 {
            // The next status instead of the same one again.
            file.write(15 + turn * 10, &[("alice", 0, 0, bytes + 1, 10), ("alice", turn, 7, 1, 1)]);
        }
        bridge = BridgeProcess::start(&options).await;
        // The killed program's transaction may be committed by the server after all; its session tells.
        let even = i64::from(turn % 2 == 0);
        counted(&database, bytes + even + 10 + 2 * turn).await;
    }
    assert_eq!(database.number("SELECT count(*) FROM quarantine").await, 0);
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a stop that drops what was read and is not on its way to the database yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_stores_what_was_read() {
    let (database, file) = with_sim().await;
    file.write(10, &[("alice", 0, 0, 100, 10)]);
    let bridge = BridgeProcess::start(&file.read_by(&database.url(), "")).await;
    counted(&database, 110).await;
    database.run("BEGIN; LOCK TABLE usage_accounts IN ACCESS EXCLUSIVE MODE").await;
    waits_for(&database, "%store::accounts%").await;
    // It is read while the look before waits for its SIMs.
    let read = bridge.metric("simbridge_source_messages_received_total").await;
    file.write(20, &[("alice", 0, 0, 200, 10)]);
    received(&bridge, read + 3.0).await;
    bridge.signal(Signal::SIGTERM);
    eventually("it stops", async || (bridge.get("/readyz").await.0 == 503).then_some(())).await;
    database.run("ROLLBACK").await;
    assert_eq!(bridge.ended().await, Some(0));
    assert_eq!(total(&database).await, 210);
}

/// Catches a stop that waits for a database that does not come back, and a hard stop that stores half.
#[tokio::test(flavor = "multi_thread")]
async fn a_hard_stop_ends_although_nothing_can_be_stored() {
    let (database, file) = with_sim().await;
    file.write(10, &[("alice", 0, 0, 100, 10)]);
    let mut options = file.read_by(&database.url(), "");
    options.set("shutdown.grace_ms", "200");
    let bridge = BridgeProcess::start(&options).await;
    counted(&database, 110).await;
    database.run("BEGIN; LOCK TABLE usage_records IN EXCLUSIVE MODE").await;
    file.write(20, &[("alice", 0, 0, 200, 10)]);
    is_writing(&database).await;
    bridge.signal(Signal::SIGTERM);
    bridge.ended().await;
    database.run("ROLLBACK").await;
    let bridge = BridgeProcess::start(&options).await;
    counted(&database, 210).await;
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a source that does not look while nothing can be stored: a session that ends meanwhile would be lost.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_come_and_go_while_the_database_is_away_are_counted() {
    let (database, file) = with_sim().await;
    let proxy = Proxy::to(&database.name).await;
    file.write(10, &[("alice", 0, 0, 100, 0)]);
    let bridge = BridgeProcess::start(&file.read_by(&proxy.url(), "")).await;
    counted(&database, 100).await;
    proxy.refuse();
    for (n, second) in (1..=3_u32).zip([20, 30, 40]) {
        let read = bridge.metric("simbridge_source_messages_received_total").await;
        file.write(second, &[("alice", 0, 0, 100 + i64::from(n), 0), ("alice", second, n, 1_000, 0)]);
        // Looks that began before may still bring the status before; each brings two.
        received(&bridge, read + 6.0).await;
    }
    let waiting = bridge.metric("simbridge_source_unacknowledged_messages").await;
    assert!(waiting > 0.0, "what waits is told");
    file.write(50, &[]);
    proxy.open();
    counted(&database, 100 + 3 + 3_000).await;
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches instances that count the same status each for itself.
#[tokio::test(flavor = "multi_thread")]
async fn several_instances_read_one_status_and_count_it_once() {
    let (database, file) = with_sim().await;
    let options = file.read_by(&database.url(), "");
    file.write(1, &[("alice", 0, 0, 10, 1)]);
    let bridges = [BridgeProcess::start(&options).await, BridgeProcess::start(&options).await];
    for n in 1..=5 {
        let clients: Vec<_> =
            (0..20).map(|client| ("alice", 0, client, n * 100 + i64::from(client), n)).collect();
        file.write(1 + n * 10, &clients);
        let sum: i64 = clients.iter().map(|client| client.3 + client.4).sum();
        counted(&database, sum).await;
    }
    for bridge in bridges {
        eventually("both read", async || {
            (bridge.metric("simbridge_source_messages_acknowledged_total").await > 20.0).then_some(())
        })
        .await;
        assert_eq!(bridge.terminate().await, Some(0));
    }
    assert_eq!(database.number("SELECT count(*) FROM quarantine").await, 0);
}
