//! What the page of operations is told, against what happened.

use serde_json::json;
use simbridge::domain::Clock;

use crate::harness::api::TestApi;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::mqtt::{Answer, Hello, MqttClient};

const PATH: &str = "/api/v1/operations";

/// Catches figures that no event moves.
#[tokio::test]
async fn figures_follow_what_is_sent() {
    let database = TestDatabase::new().await;
    let watching = |config: &mut simbridge::config::Config| {
        config.reconcile.enabled = true;
        config.reconcile.pause_ms = 1;
        config.reconcile.max_busy_percent = 100;
    };
    let api = TestApi::start_with(&database, Clock::System, false, watching).await;
    let key = api.key(&["usage:*"]).await;
    let idle = api.get_as(&key, PATH).await.json();
    assert_eq!((&idle["status"], &idle["problems"]), (&json!("well"), &json!([])));
    assert_eq!(
        (&idle["commit"], &idle["puback"], &idle["ingest"]["received"]),
        (&json!(null), &json!(null), &json!(0))
    );
    assert!(idle["queue"]["maxMessages"].as_u64().is_some_and(|room| room > 0), "{idle}");
    assert_eq!((&idle["broker"], &idle["sources"]), (&json!({"connections": 0, "paused": 0}), &json!([])));

    database.import(&[sim("8941000000000000001")]).await;
    let now = crate::harness::database::now();
    let record = |id: &str, bytes: i64| {
        json!({"recordId": id, "iccid": "8941000000000000001", "periodStart": now,
        "periodEnd": now, "usage": {"totalBytes": bytes}})
    };
    let batch = json!({"batchId": "b", "records": [record("a", 1), record("b", 2), record("bad", -1)]});
    assert_eq!(api.post_as(&key, "/api/v1/usage/batch", &batch).await.status, 202);
    assert_eq!(api.post_as(&key, "/api/v1/usage", &record("a", 1)).await.status, 202);
    let hello = Hello { v5: true, id: "device", user: None, password: None };
    let mut device = MqttClient::connect(api.bridge.mqtt_addr.expect("it listens"), hello).await;
    let topic = "simportal/sims/8941000000000000001/usage";
    assert_eq!(device.publish(topic, &record("m", 4).to_string()).await, Answer::Acknowledged);
    let busy = api.get_as(&key, PATH).await.json();
    let ingest = &busy["ingest"];
    let counted = ["received", "stored", "duplicate", "parked", "inFlight"].map(|name| ingest[name].clone());
    assert_eq!(counted, [5, 3, 1, 1, 0].map(|count| json!(count)));
    assert!(ingest["recordsPerSecond"].as_f64().is_some_and(|rate| rate > 0.0), "{busy}");
    for latency in ["commit", "puback"] {
        let [p50, p99] = ["p50Milliseconds", "p99Milliseconds"].map(|name| busy[latency][name].as_f64());
        assert!(p50 > Some(0.0) && p50 <= p99, "{latency}: {busy}");
    }
    assert_eq!(busy["broker"]["connections"], 1);
    eventually("every invariant was checked", async || {
        let reconcile = api.get_as(&key, PATH).await.json()["reconcile"].clone();
        let names = reconcile["invariants"].as_array()?.len();
        (names == 10 && reconcile["lastPassAt"].is_string()).then_some(())
    })
    .await;
    eventually("partitions were made ahead", async || {
        let days = api.get_as(&key, PATH).await.json()["partitions"]["runwayDays"].as_f64()?;
        (days > 20.0).then_some(())
    })
    .await;
    api.close().await;
}
