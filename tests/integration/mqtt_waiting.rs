//! What waits in the broker for clients that are away outlives the program: shared subscriptions and delayed wills.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, LastWillProperties, Packet};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::database::TestDatabase;
use crate::harness::{PATIENCE, eventually};

/// A client whose session lasts for an hour.
struct Lasting {
    client: AsyncClient,
    events: EventLoop,
    session_present: bool,
}

impl Lasting {
    async fn connect(bridge: &BridgeProcess, id: &str) -> Self {
        Self::connect_with(bridge, id, None).await
    }

    async fn connect_with(bridge: &BridgeProcess, id: &str, will: Option<LastWill>) -> Self {
        let mut options = MqttOptions::new(id, bridge.mqtt.ip().to_string(), bridge.mqtt.port());
        options.set_clean_start(false).set_session_expiry_interval(Some(3600));
        if let Some(will) = will {
            options.set_last_will(will);
        }
        let (client, events) = AsyncClient::new(options, 100);
        let mut connected = Self { client, events, session_present: false };
        match connected.next(|packet| matches!(packet, Packet::ConnAck(_))).await {
            Packet::ConnAck(ack) => connected.session_present = ack.session_present,
            other => panic!("{other:?}"),
        }
        connected
    }

    async fn next(&mut self, wanted: impl Fn(&Packet) -> bool) -> Packet {
        let next = async {
            loop {
                match self.events.poll().await.expect("a connection") {
                    Event::Incoming(packet) if wanted(&packet) => return packet,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, Box::pin(next)).await.expect("in time")
    }

    async fn subscribe(&mut self, filter: &str) {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.expect("a request");
        self.next(|packet| matches!(packet, Packet::SubAck(_))).await;
    }

    async fn publish(&mut self, topic: &str, payload: &str) {
        let payload = payload.to_owned();
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.expect("a request");
        self.next(|packet| matches!(packet, Packet::PubAck(_))).await;
    }

    /// Payload of the next message.
    async fn hears(&mut self) -> String {
        match self.next(|packet| matches!(packet, Packet::Publish(_))).await {
            Packet::Publish(publish) => String::from_utf8_lossy(&publish.payload).into_owned(),
            other => panic!("{other:?}"),
        }
    }
}

async fn becomes(database: &TestDatabase, count: &str, value: i64) {
    eventually(count, async || (database.number(count).await == value).then_some(())).await;
}

const WAITING: &str = "SELECT count(*) FROM mqtt_group_messages";

/// Catches messages that end with the program when all members of a group are away, rows that stay when a member has them, and
/// rows of a group that nobody is in.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_group_outlives_a_stop_and_a_kill() {
    let database = TestDatabase::new().await;
    let options = BridgeOptions::new(database.url());
    let bridge = BridgeProcess::start(&options).await;
    for id in ["a", "b"] {
        Lasting::connect(&bridge, id).await.subscribe("$share/g/t/#").await;
    }
    bridge.metric_becomes("simbridge_mqtt_connections_open", 0.0).await;
    let mut publisher = Lasting::connect(&bridge, "publisher").await;
    for payload in ["1", "2"] {
        publisher.publish("t/x", payload).await;
    }
    becomes(&database, WAITING, 2).await;
    bridge.kill().await;

    let bridge = BridgeProcess::start(&options).await;
    let mut publisher = Lasting::connect(&bridge, "publisher").await;
    publisher.publish("t/y", "3").await;
    // At once: what came a moment ago is stored before the program ends.
    assert_eq!(bridge.terminate().await, Some(0));
    assert_eq!(database.number(WAITING).await, 3);

    database
        .run(
            "INSERT INTO mqtt_group_messages (instance, tenant_id, share_name, filter, position, topic, payload, qos, retain, expires_at)
             SELECT 'default', 1, name, 't/#', 7, 't', '', 1, false, now() + ends
             FROM (VALUES ('g', interval '-1 second'), ('deserted', interval '1 hour')) AS v (name, ends)",
        )
        .await;
    let bridge = BridgeProcess::start(&options).await;
    assert_eq!(database.number(WAITING).await, 3, "without what expired and what nobody waits for");
    let mut back = Lasting::connect(&bridge, "b").await;
    assert!(back.session_present);
    for expected in ["1", "2", "3"] {
        assert_eq!(back.hears().await, expected);
    }
    becomes(&database, WAITING, 0).await;
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches wills that end with the program, and sessions that end while it is away and take theirs along.
#[tokio::test(flavor = "multi_thread")]
async fn delayed_wills_outlive_a_kill() {
    let database = TestDatabase::new().await;
    let options = BridgeOptions::new(database.url());
    let bridge = BridgeProcess::start(&options).await;
    Lasting::connect(&bridge, "listener").await.subscribe("will/#").await;
    for id in ["due", "ended", "back"] {
        let mut will = LastWill::new(format!("will/{id}"), id, QoS::AtLeastOnce, false, None);
        will.properties = Some(LastWillProperties {
            delay_interval: Some(1800),
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: None,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        });
        drop(Lasting::connect_with(&bridge, id, Some(will)).await);
    }
    let wills = "SELECT count(*) FROM mqtt_sessions WHERE will IS NOT NULL";
    becomes(&database, wills, 3).await;
    bridge.kill().await;
    // As if the time had passed.
    database
        .run("UPDATE mqtt_sessions SET will_due_at = now() - interval '1 s' WHERE client_id = 'due'")
        .await;
    database
        .run("UPDATE mqtt_sessions SET expires_at = now() - interval '1 s' WHERE client_id = 'ended'")
        .await;

    let bridge = BridgeProcess::start(&options).await;
    let mut listener = Lasting::connect(&bridge, "listener").await;
    assert!(listener.session_present);
    let mut heard = [listener.hears().await, listener.hears().await];
    heard.sort();
    assert_eq!(heard, ["due", "ended"]);
    assert!(Lasting::connect(&bridge, "back").await.session_present);
    becomes(&database, wills, 0).await;
    let left = "SELECT client_id FROM mqtt_sessions ORDER BY 1";
    assert_eq!(database.rows(left).await, ["back", "due", "listener"]);
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches messages that have expired and stay in the table for as long as their session.
#[tokio::test(flavor = "multi_thread")]
async fn what_expired_while_the_program_was_away_is_deleted() {
    let database = TestDatabase::new().await;
    let options = BridgeOptions::new(database.url());
    let bridge = BridgeProcess::start(&options).await;
    Lasting::connect(&bridge, "listener").await.subscribe("t").await;
    bridge.metric_becomes("simbridge_mqtt_connections_open", 0.0).await;
    let mut publisher = Lasting::connect(&bridge, "publisher").await;
    for payload in ["expires", "stays"] {
        publisher.publish("t", payload).await;
    }
    let waiting = "SELECT count(*) FROM mqtt_session_messages";
    becomes(&database, waiting, 2).await;
    bridge.kill().await;
    database
        .run("UPDATE mqtt_session_messages SET expires_at = now() - interval '1 s' WHERE payload = 'expires'")
        .await;
    let bridge = BridgeProcess::start(&options).await;
    assert_eq!(database.number(waiting).await, 1);
    assert_eq!(Lasting::connect(&bridge, "listener").await.hears().await, "stays");
    assert_eq!(bridge.terminate().await, Some(0));
}
