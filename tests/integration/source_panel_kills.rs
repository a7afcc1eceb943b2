//! Instances that read a panel are killed, paused and follow each other; what was used counts once.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::database::{TENANT, TestDatabase, now, sim};
use crate::harness::durable::DurableServer;
use crate::harness::eventually;
use crate::harness::panel::{PanelServer, Reply, due, last_error, read_again, read_once, stored};
use crate::harness::server::connect;

const ICCID: &str = "8941000000000000001";

fn instance(database: &TestDatabase, panel: &PanelServer) -> BridgeOptions {
    instance_on(database.url(), panel)
}

fn instance_on(database_url: String, panel: &PanelServer) -> BridgeOptions {
    let mut options = BridgeOptions::new(database_url);
    let block = format!(
        "[{{name = \"isp\", url = \"{}\", accounts = [\"{ICCID}\"], total = [\"/total\"], stale_minutes = 0}}]",
        panel.url("/users/{account}")
    );
    options.env.push(("SIMBRIDGE__SOURCE__PANEL".into(), block));
    options
}

/// A panel that was read at 1000, which is the base, and the instance that did.
async fn base() -> (TestDatabase, PanelServer, BridgeProcess) {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    let panel = PanelServer::saying(json!({"total": 1_000})).await;
    let bridge = BridgeProcess::start(&instance(&database, &panel)).await;
    read_once(&database).await;
    (database, panel, bridge)
}

async fn asked(panel: &PanelServer, times: usize) {
    eventually("the panel is asked", async || (panel.asked().len() >= times).then_some(())).await;
}

/// Catches a value that is noted as counted before its record is committed, and one that counts again after a kill.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_answer_and_commit_neither_loses_nor_repeats() {
    let (database, panel, bridge) = base().await;
    let watch = connect(&database.another_config()).await;
    // With the answer on its way.
    panel.hold(true);
    panel.say(json!({"total": 1_100}));
    due(&watch).await;
    asked(&panel, 2).await;
    bridge.kill().await;
    panel.hold(false);
    let bridge = BridgeProcess::start(&instance(&database, &panel)).await;
    read_once(&database).await;
    assert_eq!(stored(&database).await, [format!("{ICCID}|100")]);
    // With the transaction under way.
    database.run("BEGIN; LOCK TABLE usage_records IN EXCLUSIVE MODE").await;
    panel.say(json!({"total": 1_250}));
    due(&watch).await;
    let writing = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
                   AND wait_event_type = 'Lock' AND query LIKE '%INTO usage_records%'";
    eventually("it is being written", async || watch.query_opt(writing, &[]).await.expect("valid").map(drop))
        .await;
    bridge.kill().await;
    database.run("ROLLBACK").await;
    panel.say(json!({"total": 1_260}));
    let bridge = BridgeProcess::start(&instance(&database, &panel)).await;
    read_once(&database).await;
    assert_eq!(stored(&database).await, [format!("{ICCID}|260")]);
    // After a reset was seen once: what is remembered of it is gone with the process.
    panel.say(json!({"total": 30}));
    read_again(&database).await;
    bridge.kill().await;
    due(&database.client).await;
    let bridge = BridgeProcess::start(&instance(&database, &panel)).await;
    read_once(&database).await;
    assert_eq!(stored(&database).await, [format!("{ICCID}|260")], "the first read of this process");
    read_again(&database).await;
    assert_eq!(stored(&database).await, [format!("{ICCID}|290")]);
    database.assert_reconciled().await;
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches two instances that read at once (a lease that is not looked at, or not kept), and none that does after a kill.
#[tokio::test(flavor = "multi_thread")]
async fn one_instance_reads_and_another_one_takes_over() {
    let (database, panel, first) = base().await;
    panel.hold(true);
    panel.say(json!({"total": 1_100}));
    due(&database.client).await;
    asked(&panel, 2).await;
    let second = BridgeProcess::start(&instance(&database, &panel)).await;
    let expiry = "SELECT extract(epoch FROM expires_at)::bigint FROM source_leases";
    let began = database.number(expiry).await;
    // Longer than the lease would last if it were not kept.
    let kept = async || (database.number(expiry).await > began + 9).then_some(());
    eventually("the lease is kept", kept).await;
    assert_eq!(panel.asked().len(), 2, "the other one waits");
    first.kill().await;
    asked(&panel, 3).await;
    panel.hold(false);
    read_once(&database).await;
    assert_eq!(stored(&database).await, [format!("{ICCID}|100")]);
    let first = BridgeProcess::start(&instance(&database, &panel)).await;
    for total in [1_200, 1_210, 1_220] {
        panel.say(json!({"total": total}));
        read_again(&database).await;
        assert_eq!(stored(&database).await, [format!("{ICCID}|{}", total - 1_000)]);
    }
    // What one of them finds, the status of both tells.
    panel.reply(Reply::Answer(403, vec![], String::new()));
    read_again(&database).await;
    assert_eq!(last_error(&database).await, "answered 403 Forbidden");
    for bridge in [&first, &second] {
        let told = async || bridge.get("/statusz").await.1.contains("answered 403 Forbidden").then_some(());
        eventually("both tell", told).await;
    }
    database.assert_reconciled().await;
    assert_eq!((first.terminate().await, second.terminate().await), (Some(0), Some(0)));
}

/// Catches an instance that wakes up with an old answer and takes the newer value for one that went back.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_slept_brings_nothing_old() {
    let (database, panel, first) = base().await;
    panel.hold(true);
    panel.say(json!({"total": 1_100}));
    due(&database.client).await;
    asked(&panel, 2).await;
    first.signal(Signal::SIGSTOP);
    panel.say(json!({"total": 1_500}));
    let second = BridgeProcess::start(&instance(&database, &panel)).await;
    asked(&panel, 3).await;
    panel.hold(false);
    read_once(&database).await;
    first.signal(Signal::SIGCONT);
    // Its lease is lost, or its answer was looked at before it knew.
    let received = "simbridge_source_messages_received_total";
    let awake = async || {
        let lost = first.log().iter().any(|line| line.contains("another instance took over"));
        (lost || first.metric(received).await == 2.0).then_some(())
    };
    eventually("it is awake", awake).await;
    panel.say(json!({"total": 1_501}));
    read_again(&database).await;
    assert_eq!(stored(&database).await, [format!("{ICCID}|501")]);
    database.assert_reconciled().await;
    assert_eq!((first.terminate().await, second.terminate().await), (Some(0), Some(0)));
}

/// Catches an answer that is given up for good, or stored twice, because the database was away when it came.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_database_costs_no_usage() {
    let mut server = DurableServer::start().await;
    server.store().import_sims(TENANT, &[sim(ICCID)], now()).await.expect("the import succeeds");
    let panel = PanelServer::saying(json!({"total": 1_000})).await;
    let bridge = BridgeProcess::start(&instance_on(server.url(), &panel)).await;
    let client = server.client().await;
    let finished = "SELECT 1 FROM source_leases WHERE finished_slot IS NOT NULL";
    let read = async || client.query_opt(finished, &[]).await.expect("valid").map(drop);
    eventually("the panel is read", read).await;
    panel.hold(true);
    panel.say(json!({"total": 1_100}));
    due(&client).await;
    asked(&panel, 2).await;
    server.stop().await;
    panel.hold(false);
    let told = async || bridge.log().iter().any(|line| line.contains("waits for the database")).then_some(());
    eventually("it is told", told).await;
    panel.say(json!({"total": 1_150}));
    server.start_again().await;
    let client = server.client().await;
    let sum = "SELECT coalesce(sum(total_bytes), 0)::bigint FROM usage_records";
    let stored = async || {
        let sum: i64 = client.query_one(sum, &[]).await.expect("valid").get(0);
        (sum == 150).then_some(())
    };
    eventually("everything is stored", stored).await;
    assert_eq!(bridge.get("/statusz").await.0, 200);
    assert!(server.store().reconcile().await.expect("reconcile runs").is_clean());
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a stop that waits for a panel which does not answer, and one that drops what was answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_the_panel() {
    let (database, panel, bridge) = base().await;
    panel.hold(true);
    panel.say(json!({"total": 1_100}));
    due(&database.client).await;
    asked(&panel, 2).await;
    assert_eq!(bridge.terminate().await, Some(0));
    let lease = "SELECT expires_at <= clock_timestamp() AND finished_slot IS NULL FROM source_leases";
    assert_eq!(database.text(lease, &[]).await, "true", "another instance may make the run at once");
    database.assert_reconciled().await;
}
