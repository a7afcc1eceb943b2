//! Brokers of others: what they deliver is stored once and acknowledged after its COMMIT.

use std::time::Duration;

use serde_json::Value;

use crate::harness::bridge::{BridgeProcess, simbridge};
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::mosquitto::{Mosquitto, installed, subscribed_to};
use crate::harness::pipeline::record;

const ICCID: &str = "8941000000000000001";
const TOPIC: &str = "simportal/sims/8941000000000000001/usage";

async fn subscribed(bridge: &BridgeProcess) {
    eventually("it is subscribed", async || {
        (bridge.metric("simbridge_source_connected").await == 1.0).then_some(())
    })
    .await;
}

async fn reaches(bridge: &BridgeProcess, name: &str, value: f64) {
    eventually(name, async || (bridge.metric(name).await == value).then_some(())).await;
}

async fn stored(database: &TestDatabase, records: i64) {
    let count = "SELECT count(*) FROM usage_records";
    eventually("all are stored", async || (database.number(count).await >= records).then_some(())).await;
    assert_eq!(database.number(count).await, records);
}

async fn with_sim() -> TestDatabase {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    database
}

/// Catches records under another tenant, a parked record that keeps its place in the window for ever, and `{tenant}`
/// subscribed as a wildcard.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_delivers_is_stored_once_in_the_name_of_the_tenant() {
    if !installed() {
        return;
    }
    for version in [5, 3] {
        let database = TestDatabase::new().await;
        let acme = database.tenant("acme", "UTC").await;
        let broker = Mosquitto::start().await;
        let settings = format!("version = {version}, tenant = \"acme\"");
        let bridge = BridgeProcess::start(&subscribed_to(&database.url(), &broker.url(), &settings)).await;
        subscribed(&bridge).await;
        let twice = record("a", 0, 1, 2);
        broker.publish(TOPIC, &twice).await;
        broker.publish(TOPIC, &twice).await;
        broker.publish(TOPIC, "no record").await;
        broker.publish("sim/acme/8941000000000000001/usage", &record("b", 0, 3, 4)).await;
        broker.publish("sim/other/8941000000000000001/usage", &record("c", 0, 5, 6)).await;
        broker.publish_with(&["-q", "0", "-t", TOPIC, "-m", &record("d", 0, 7, 8)]).await;
        stored(&database, 3).await;
        let tenants = database.rows("SELECT DISTINCT tenant_id FROM record_keys").await;
        assert_eq!(tenants, [acme.0.to_string()], "version {version}");
        let parked = database.rows("SELECT reason, via, sender FROM quarantine").await;
        assert_eq!(parked, ["malformed|source|plant"]);
        reaches(&bridge, "simbridge_source_messages_received_total", 5.0).await;
        reaches(&bridge, "simbridge_source_messages_acknowledged_total", 4.0).await;
        reaches(&bridge, "simbridge_source_unacknowledged_messages", 0.0).await;
        assert_eq!(bridge.get("/readyz").await.0, 200);
        assert_eq!(bridge.terminate().await, Some(0));
        database.assert_reconciled().await;
    }
}

/// Catches an acknowledgement at receipt: the broker would forget what the killed program had not committed.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_received_and_not_committed_is_delivered_again_after_a_kill() {
    if !installed() {
        return;
    }
    for version in [5, 3] {
        let (database, broker) = (with_sim().await, Mosquitto::start().await);
        let options = subscribed_to(&database.url(), &broker.url(), &format!("version = {version}"));
        let bridge = BridgeProcess::start(&options).await;
        subscribed(&bridge).await;
        database.run("BEGIN; LOCK TABLE usage_records IN EXCLUSIVE MODE").await;
        for n in 0..20 {
            broker.publish(TOPIC, &record(&format!("r-{n}"), 0, 1, 1)).await;
        }
        reaches(&bridge, "simbridge_source_messages_received_total", 20.0).await;
        assert_eq!(bridge.metric("simbridge_source_messages_acknowledged_total").await, 0.0);
        assert_eq!(bridge.metric("simbridge_source_unacknowledged_messages").await, 20.0);
        bridge.kill().await;
        database.run("ROLLBACK").await;
        // The server may be finishing the killed program's transaction; it is rolled back or found by its keys.
        let bridge = BridgeProcess::start(&options).await;
        stored(&database, 20).await;
        reaches(&bridge, "simbridge_source_messages_acknowledged_total", 20.0).await;
        database.assert_reconciled().await;
        assert_eq!(bridge.terminate().await, Some(0));
    }
}

/// Catches a stop that loses what was received, that ends the session, or that begins a new one afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_acknowledges_what_was_received_and_leaves_the_session() {
    if !installed() {
        return;
    }
    for version in [5, 3] {
        let (database, broker) = (with_sim().await, Mosquitto::start().await);
        let options = subscribed_to(&database.url(), &broker.url(), &format!("version = {version}"));
        let bridge = BridgeProcess::start(&options).await;
        subscribed(&bridge).await;
        database.run("BEGIN; LOCK TABLE usage_records IN EXCLUSIVE MODE").await;
        for n in 0..5 {
            broker.publish(TOPIC, &record(&format!("before-{n}"), 0, 1, 1)).await;
        }
        reaches(&bridge, "simbridge_source_messages_received_total", 5.0).await;
        bridge.signal(nix::sys::signal::Signal::SIGTERM);
        eventually("it stops", async || (bridge.get("/readyz").await.0 == 503).then_some(())).await;
        database.run("ROLLBACK").await;
        assert_eq!(bridge.ended().await, Some(0));
        assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 5);
        // It may read what it was sent after the program has ended.
        let disconnected = "Received DISCONNECT from simbridge-plant-1";
        eventually("the broker heard of it", async || broker.log().contains(disconnected).then_some(()))
            .await;
        let log = broker.log();
        assert_eq!(log.matches("Received PUBACK from simbridge-plant-1").count(), 5, "{log}");

        broker.publish(TOPIC, &record("while away", 0, 1, 1)).await;
        let bridge = BridgeProcess::start(&options).await;
        stored(&database, 6).await;
        assert_eq!(database.number("SELECT count(*) FROM quarantine").await, 0);
        assert_eq!(bridge.metric("simbridge_records_duplicate_total").await, 0.0, "nothing came twice");
        assert_eq!(bridge.terminate().await, Some(0));
    }
}

/// Catches a client that comes back deaf: one that subscribes only with its first connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_lost_the_session_is_subscribed_anew() {
    if !installed() {
        return;
    }
    for version in [5, 3] {
        let (database, mut broker) = (with_sim().await, Mosquitto::start().await);
        let options = subscribed_to(&database.url(), &broker.url(), &format!("version = {version}"));
        let bridge = BridgeProcess::start(&options).await;
        subscribed(&bridge).await;
        broker.publish(TOPIC, &record("a", 0, 1, 1)).await;
        stored(&database, 1).await;
        broker.terminate().await;
        reaches(&bridge, "simbridge_source_connected", 0.0).await;
        assert_eq!(
            bridge.get("/readyz").await.0,
            200,
            "a broker that is away is no reason to send no traffic"
        );
        broker.forget_everything();
        broker.start_again().await;
        subscribed(&bridge).await;
        assert_eq!(bridge.metric("simbridge_source_sessions_lost_total").await, 1.0);
        broker.publish(TOPIC, &record("b", 0, 1, 1)).await;
        stored(&database, 2).await;
        assert_eq!(bridge.terminate().await, Some(0));
    }
}

/// Catches a session that ends with its connection: `clean_start`, or no expiry.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_delivers_what_it_kept() {
    if !installed() {
        return;
    }
    for version in [5, 3] {
        let (database, mut broker) = (with_sim().await, Mosquitto::start().await);
        let options = subscribed_to(&database.url(), &broker.url(), &format!("version = {version}"));
        let bridge = BridgeProcess::start(&options).await;
        subscribed(&bridge).await;
        bridge.kill().await;
        broker.publish(TOPIC, &record("while away", 0, 1, 1)).await;
        broker.terminate().await;
        let bridge = BridgeProcess::start(&options).await;
        eventually("it tries", async || {
            (bridge.metric("simbridge_source_failures_total").await > 1.0).then_some(())
        })
        .await;
        broker.start_again().await;
        stored(&database, 1).await;
        assert_eq!(bridge.metric("simbridge_source_sessions_lost_total").await, 0.0);
        assert_eq!(bridge.terminate().await, Some(0));
    }
}

/// Catches a connection that stops answering pings while the queue is full, and one that reads without bound.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_queue_is_full_the_connection_stays_and_nothing_is_lost() {
    if !installed() {
        return;
    }
    let (database, broker) = (with_sim().await, Mosquitto::start().await);
    let mut options = subscribed_to(&database.url(), &broker.url(), "in_flight = 50");
    options.env.push(("SIMBRIDGE__INGEST__QUEUE_MAX_MESSAGES".into(), "5".into()));
    options.env.push(("SIMBRIDGE__INGEST__BATCH_MAX_MESSAGES".into(), "5".into()));
    let bridge = BridgeProcess::start(&options).await;
    subscribed(&bridge).await;
    database.run("BEGIN; LOCK TABLE usage_records IN EXCLUSIVE MODE").await;
    let topic = format!("simportal/sims/{ICCID}/usage");
    for n in 0..80 {
        broker.publish(&topic, &record(&format!("r-{n}"), 0, 1, 1)).await;
    }
    // The window is what bounds it: the broker holds the rest back.
    reaches(&bridge, "simbridge_source_unacknowledged_messages", 50.0).await;
    // Twice as long as the broker waits for a client with this keep alive.
    let oldest = "simbridge_source_oldest_unacknowledged_seconds";
    eventually("a long stall", async || (bridge.metric(oldest).await > 15.0).then_some(())).await;
    assert_eq!(bridge.metric("simbridge_source_messages_received_total").await, 50.0);
    database.run("ROLLBACK").await;
    stored(&database, 80).await;
    reaches(&bridge, "simbridge_source_unacknowledged_messages", 0.0).await;
    assert_eq!(bridge.metric("simbridge_source_failures_total").await, 0.0, "one connection sufficed");
    assert_eq!(bridge.terminate().await, Some(0));
    database.assert_reconciled().await;
}

/// Catches a source that keeps the embedded broker from its work, or the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_broker_and_another_one_work_side_by_side() {
    if !installed() {
        return;
    }
    let (database, broker) = (with_sim().await, Mosquitto::start().await);
    let mut options = subscribed_to(&database.url(), &broker.url(), "");
    options.env.retain(|(name, _)| name != "SIMBRIDGE__MQTT__ENABLED");
    let bridge = BridgeProcess::start(&options).await;
    subscribed(&bridge).await;
    let port = bridge.mqtt.port().to_string();
    broker.publish(TOPIC, &record("theirs", 0, 1, 1)).await;
    let ours = record("ours", 0, 1, 1);
    let mut publish = tokio::process::Command::new("mosquitto_pub");
    publish.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", TOPIC, "-m", &ours]);
    assert!(publish.status().await.expect("mosquitto_pub is installed").success());
    stored(&database, 2).await;
    let (_, metrics) = bridge.get("/metrics").await;
    for line in [
        "simbridge_records_received_total{via=\"mqtt\"} 1",
        "simbridge_records_received_total{via=\"source\"} 1",
        "simbridge_source_connected{source=\"plant\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert_eq!(bridge.terminate().await, Some(0));
}

async fn status(bridge: &BridgeProcess) -> (Option<i32>, String) {
    let mut command = simbridge();
    command.args(["status", "--http-addr", &bridge.http.to_string()]);
    let output = command.output().await.expect("it starts");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Catches a status that calls well what is not.
#[tokio::test(flavor = "multi_thread")]
async fn status_tells_how_each_source_stands() {
    if !installed() {
        return;
    }
    let (database, mut broker) = (with_sim().await, Mosquitto::start().await);
    let bridge = BridgeProcess::start(&subscribed_to(&database.url(), &broker.url(), "")).await;
    subscribed(&bridge).await;
    broker.publish(TOPIC, &record("a", 0, 1, 1)).await;
    stored(&database, 1).await;
    reaches(&bridge, "simbridge_source_messages_acknowledged_total", 1.0).await;
    let (code, text) = status(&bridge).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(": well\n") && text.contains("plant   mqtt  subscribed"), "{text}");
    let body: Value = serde_json::from_str(&bridge.get("/statusz").await.1).expect("JSON");
    let source = &body["sources"][0];
    assert_eq!((&source["received"], &source["acknowledged"]), (&1.into(), &1.into()), "{source}");
    assert!(source["lastMessageAt"].is_string() && source["workingSince"].is_string(), "{source}");

    broker.kill().await;
    reaches(&bridge, "simbridge_source_connected", 0.0).await;
    let (code, text) = status(&bridge).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("not well: source `plant` is not subscribed: "), "{text}");
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a `status` that calls well what does not run.
#[tokio::test]
async fn status_of_nothing_is_unavailable() {
    let mut command = simbridge();
    command.args(["status", "--http-addr", "127.0.0.1:1"]);
    let output = tokio::time::timeout(Duration::from_secs(20), command.output()).await.expect("it ends");
    assert_eq!(output.expect("it starts").status.code(), Some(69));
}
