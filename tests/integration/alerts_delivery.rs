//! How alerts reach webhooks and MQTT clients.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};
use serde_json::{Value, json};
use simbridge::alerts::signature;
use simbridge::domain::Clock;

use crate::alerts::{BEGIN, ICCID, NOW, limited, raise};
use crate::harness::api::TestApi;
use crate::harness::database::TestDatabase;
use crate::harness::pipeline::{TestPipeline, record_at, time};
use crate::harness::{PATIENCE, eventually};

/// Somebody else's server. The first answers are failures.
struct Receiver {
    url: String,
    seen: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

impl Receiver {
    async fn start(failures: usize) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let seen: Arc<Mutex<Vec<(HeaderMap, Bytes)>>> = Arc::default();
        let (keep, left) = (seen.clone(), Arc::new(AtomicUsize::new(failures)));
        let take = async move |headers: HeaderMap, body: Bytes| {
            keep.lock().expect("no panic").push((headers, body));
            let fails = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
            if fails { StatusCode::TEMPORARY_REDIRECT } else { StatusCode::NO_CONTENT }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(take)).await });
        Self { url, seen }
    }

    fn count(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }

    fn header(&self, n: usize, name: &str) -> String {
        self.seen.lock().expect("no panic")[n].0[name].to_str().expect("text").to_owned()
    }
}

async fn program(database: &TestDatabase, clock: Clock) -> TestApi {
    TestApi::start_with(database, clock, false, |config| {
        config.alerts.pause_ms = 20;
        config.alerts.webhook_allow_private = true;
        config.alerts.webhook_first_retry_ms = 1;
        config.alerts.webhook_attempts = 3;
    })
    .await
}

async fn used(database: &TestDatabase, iccid: &str, id: &str, bytes: i64) {
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    pipeline.one(iccid, record_at(id, NOW, bytes)).await;
    pipeline.finish().await;
}

async fn add(api: &TestApi, key: &str, url: &str) -> Value {
    let made = api.post_as(key, "/api/v1/alerts/webhooks", &json!({"url": url})).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.json()
}

/// A program whose clock runs, or no retry would ever be due, with one alert that was raised before it began.
async fn one_alert_waits(database: &TestDatabase, receiver: &Receiver) -> (TestApi, String, Value) {
    let maker = program(database, Clock::Fixed(time(NOW))).await;
    let key = maker.key(&["admin:alerts", "usage:read"]).await;
    let made = add(&maker, &key, &receiver.url).await;
    maker.close().await;
    used(database, ICCID, "a", 850).await;
    assert_eq!(raise(&database.store, NOW).await, 1);
    (program(database, Clock::System).await, key, made)
}

const STATES: &str = "SELECT state, attempts, last_status FROM alert_deliveries ORDER BY id";

/// Catches a retry under another id, a signature over something else than what is sent, and a redirect that is followed.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_a_signed_alert_again_until_it_takes_it() {
    let database = TestDatabase::new().await;
    database.import_at(BEGIN, &[limited(ICCID, 1000)]).await;
    let receiver = Receiver::start(2).await;
    let (api, key, made) = one_alert_waits(&database, &receiver).await;
    let delivered = ["delivered|3|204"];
    eventually("the delivery", async || (database.rows(STATES).await == delivered).then_some(())).await;
    assert_eq!(receiver.count(), 3);
    let (_, body) = receiver.seen.lock().expect("no panic")[2].clone();
    let secret = made["secret"].as_str().expect("a secret");
    for n in 0..3 {
        let timestamp = receiver.header(n, "x-simbridge-timestamp");
        let expected = format!("v1={}", signature(secret, &timestamp, &body));
        assert_eq!(receiver.header(n, "x-simbridge-signature"), expected);
        assert_eq!(receiver.header(n, "x-simbridge-delivery"), "1");
    }
    let alert = api.get_as(&key, "/api/v1/alerts").await.json()["alerts"][0].clone();
    let sent: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(sent, json!({"type": "usage.alert", "alert": alert}));

    let replay = format!("/api/v1/alerts/webhooks/{}/replay", made["id"]);
    assert_eq!(api.post_as(&key, &replay, &json!({})).await.json(), json!({"replayed": 0}), "nothing failed");
    let again = api.post_as(&key, &format!("{replay}?alert={}", alert["id"]), &json!({})).await;
    assert_eq!(again.json(), json!({"replayed": 1}));
    eventually("the replay", async || (database.rows(STATES).await == ["delivered|4|204"]).then_some(()))
        .await;
    assert_eq!((receiver.count(), receiver.header(3, "x-simbridge-delivery")), (4, "1".to_owned()));
    api.close().await;
}

/// Catches retries without an end, and a failure that cannot be seen or replayed.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_is_given_up_and_can_be_replayed() {
    let database = TestDatabase::new().await;
    database.import_at(BEGIN, &[limited(ICCID, 1000)]).await;
    let receiver = Receiver::start(3).await;
    let (api, key, made) = one_alert_waits(&database, &receiver).await;
    eventually("the end", async || (database.rows(STATES).await == ["failed|3|307"]).then_some(())).await;
    let path = format!("/api/v1/alerts/webhooks/{}", made["id"]);
    let page = api.get_as(&key, &format!("{path}/deliveries?state=failed")).await.json();
    let entry = &page["deliveries"][0];
    assert_eq!(
        (&entry["lastStatus"], &entry["lastError"]),
        (&json!(307), &json!("answered 307 Temporary Redirect"))
    );
    assert_eq!(api.get_as(&key, "/api/v1/alerts/webhooks").await.json()["webhooks"][0]["failed"], 1);
    assert_eq!(api.post_as(&key, &format!("{path}/replay"), &json!({})).await.json(), json!({"replayed": 1}));
    eventually("the replay", async || (database.rows(STATES).await == ["delivered|4|204"]).then_some(()))
        .await;
    let metrics = api.get("/metrics").await.text;
    for line in ["delivered\"} 1", "retried\"} 2", "given_up\"} 1"] {
        let line = format!("simbridge_alerts_webhook_attempts_total{{result=\"{line}");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    api.close().await;
}

/// Catches a claim without an end: what a killed instance had taken would never be sent.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_instance_was_sending_is_sent_by_another_one() {
    let database = TestDatabase::new().await;
    database.import_at(BEGIN, &[limited(ICCID, 1000)]).await;
    let receiver = Receiver::start(0).await;
    let maker = program(&database, Clock::Fixed(time(BEGIN))).await;
    let key = maker.key(&["admin:alerts"]).await;
    add(&maker, &key, &receiver.url).await;
    maker.close().await;
    used(&database, ICCID, "a", 850).await;
    assert_eq!(raise(&database.store, NOW).await, 1);
    // It takes the delivery and is never heard of again.
    let lost_at = time("2026-03-10T12:00:40Z");
    let store = &database.store;
    let claimed = store.claim_alert_deliveries(time(NOW), 5, lost_at, &[]).await.expect("a claim");
    assert_eq!(claimed.len(), 1);
    let early = time("2026-03-10T12:00:39Z");
    assert!(store.claim_alert_deliveries(early, 5, lost_at, &[]).await.expect("a claim").is_empty());
    let api = program(&database, Clock::Fixed(lost_at)).await;
    eventually("the delivery", async || (database.rows(STATES).await == ["delivered|2|204"]).then_some(()))
        .await;
    assert_eq!(receiver.count(), 1);
    // Should the first one wake up, its result is not taken for the later one's.
    let late = simbridge::store::alert_webhooks::DeliveryResult {
        delivered: false,
        next_attempt_at: None,
        status: None,
        error: Some("too late".into()),
    };
    assert!(!store.finish_alert_delivery(&claimed[0], &late, lost_at).await.expect("an answer"));
    api.close().await;
}

/// Catches claiming without SKIP LOCKED or without asking again behind the lock: some would be sent twice.
#[tokio::test(flavor = "multi_thread")]
async fn two_instances_raise_and_send_each_alert_once() {
    let database = TestDatabase::new().await;
    let sims: Vec<_> = (0..30).map(|n| limited(&format!("89410000000000000{n:02}"), 1000)).collect();
    database.import_at(BEGIN, &sims).await;
    let [one, two] = [
        program(&database, Clock::Fixed(time(NOW))).await,
        program(&database, Clock::Fixed(time(NOW))).await,
    ];
    let receiver = Receiver::start(0).await;
    let key = one.key(&["admin:alerts"]).await;
    for n in 0..3 {
        add(&one, &key, &format!("{}/{n}", receiver.url)).await;
    }
    for sim in &sims {
        used(&database, sim.iccid.as_str(), "a", 950).await;
    }
    let delivered = "SELECT count(*) FROM alert_deliveries WHERE state = 'delivered'";
    eventually("all deliveries", async || (database.number(delivered).await == 90).then_some(())).await;
    assert_eq!(database.number("SELECT count(*) FROM usage_alerts").await, 30);
    let mut ids = HashMap::new();
    for n in 0..receiver.count() {
        *ids.entry(receiver.header(n, "x-simbridge-delivery")).or_insert(0) += 1;
    }
    assert_eq!((ids.len(), receiver.count()), (90, 90));
    one.close().await;
    two.close().await;
}

/// The next publication on the alerts of all SIMs.
async fn next(events: &mut rumqttc::EventLoop) -> rumqttc::Publish {
    tokio::time::timeout(PATIENCE, async {
        loop {
            if let Event::Incoming(Incoming::Publish(publish)) = events.poll().await.expect("a connection") {
                return publish;
            }
        }
    })
    .await
    .expect("a message in time")
}

async fn subscriber(api: &TestApi, id: &str) -> (AsyncClient, rumqttc::EventLoop) {
    let address = api.bridge.mqtt_addr.expect("MQTT is on");
    let (client, events) =
        AsyncClient::new(MqttOptions::new(id, address.ip().to_string(), address.port()), 10);
    client.subscribe("simportal/sims/+/alerts", QoS::AtLeastOnce).await.expect("a subscription");
    (client, events)
}

/// Catches a broker that forgets alerts with a restart, one that keeps them beyond their cycle, and forged ones.
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_alert_is_retained_until_its_cycle_ends_also_after_a_restart() {
    let database = TestDatabase::new().await;
    database.import_at(BEGIN, &[limited(ICCID, 1000)]).await;
    let topic = format!("simportal/sims/{ICCID}/alerts");
    let api = program(&database, Clock::Fixed(time(NOW))).await;
    let (forger, mut events) = subscriber(&api, "live").await;
    let forged = r#"{"id":0}"#;
    forger.publish(&topic, QoS::AtLeastOnce, true, forged).await.expect("it is sent");
    used(&database, ICCID, "a", 850).await;
    let live = next(&mut events).await;
    let told: Value = serde_json::from_slice(&live.payload).expect("JSON");
    assert_eq!((live.topic.as_str(), live.retain), (topic.as_str(), false));
    assert_eq!(
        (&told["id"], &told["threshold"], &told["usedBytes"]),
        (&json!(1), &json!({"percent": 80, "bytes": 800}), &json!(850))
    );
    used(&database, ICCID, "b", 100).await;
    let second: Value = serde_json::from_slice(&next(&mut events).await.payload).expect("JSON");
    assert_eq!(second["threshold"]["percent"], 90);
    api.close().await;

    let api = program(&database, Clock::Fixed(time(NOW))).await;
    let (_client, mut events) = subscriber(&api, "later").await;
    let kept = next(&mut events).await;
    assert_eq!(serde_json::from_slice::<Value>(&kept.payload).expect("JSON"), second);
    // The cycle ends: an empty message, and nothing for whoever comes then.
    database.store.roll_cycles(time("2026-04-01T00:00:00Z")).await.expect("a new cycle");
    assert!(next(&mut events).await.payload.is_empty());
    assert_eq!(database.number("SELECT count(*) FROM usage_alerts").await, 2);
    api.close().await;
}
