//! Sessions of MQTT clients outlive the program.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::database::TestDatabase;
use crate::harness::{PATIENCE, eventually};

/// A client of MQTT 5 in bytes, whose session lasts and that acknowledges when the test says so.
struct Subscriber {
    stream: TcpStream,
    session_present: bool,
}

/// A short packet.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).expect("a short packet");
    assert!(length < 0x80);
    [&[first, length], body].concat()
}

/// What a client heard.
struct Heard {
    said: String,
    qos: u8,
    packet_id: [u8; 2],
}

impl Subscriber {
    async fn connect(bridge: &BridgeProcess, window: u16) -> Self {
        Self::connect_as(bridge, window, false).await
    }

    async fn connect_as(bridge: &BridgeProcess, window: u16, clean: bool) -> Self {
        let stream = TcpStream::connect(bridge.mqtt).await.expect("it listens");
        let mut subscriber = Self { stream, session_present: false };
        // Session expiry of an hour, and the receive maximum.
        let properties = [&[0x11, 0, 0, 0x0e, 0x10, 0x21][..], &window.to_be_bytes()].concat();
        let head = [&b"\0\x04MQTT\x05"[..], &[if clean { 2 } else { 0 }, 0, 0, 8]].concat();
        subscriber.send(0x10, &[&head[..], &properties, b"\0\x08listener"].concat()).await;
        let (first, connack) = subscriber.next().await;
        assert_eq!((first, connack[1]), (0x20, 0));
        subscriber.session_present = connack[0] == 1;
        subscriber
    }

    async fn send(&mut self, first: u8, body: &[u8]) {
        self.stream.write_all(&packet(first, body)).await.expect("it is read");
    }

    async fn read(&mut self) -> (u8, Vec<u8>) {
        let reading = async {
            let first = self.stream.read_u8().await?;
            let mut body = vec![0; self.stream.read_u8().await?.into()];
            self.stream.read_exact(&mut body).await?;
            Ok::<_, std::io::Error>((first, body))
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("in time").expect("a packet")
    }

    /// The next packet but PUBREL, which is answered.
    async fn next(&mut self) -> (u8, Vec<u8>) {
        loop {
            match self.read().await {
                (0x62, pubrel) => self.send(0x70, &pubrel[..2]).await,
                other => return other,
            }
        }
    }

    async fn subscribe(&mut self, filter: &str) {
        let length = u8::try_from(filter.len()).expect("a short filter");
        self.send(0x82, &[&[0, 1, 0, 0, length][..], filter.as_bytes(), &[2]].concat()).await;
        let (first, suback) = self.next().await;
        assert_eq!((first, suback.last()), (0x90, Some(&2)), "{filter}");
    }

    async fn heard(&mut self) -> Heard {
        let (first, body) = self.next().await;
        assert_eq!(first >> 4, 3, "{first:#x} {body:?}");
        let (topic, rest) = body[2..].split_at(usize::from(body[1]));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (qos, dup) = (first >> 1 & 3, if first & 8 != 0 { " dup" } else { "" });
        let said = format!("{} {} {qos}{dup}", text(topic), text(&rest[3..]));
        Heard { said, qos, packet_id: [rest[0], rest[1]] }
    }

    /// Hears a message and acknowledges it.
    async fn takes(&mut self) -> String {
        let heard = self.heard().await;
        // PUBACK or PUBREC.
        self.send(if heard.qos == 1 { 0x40 } else { 0x50 }, &heard.packet_id).await;
        heard.said
    }
}

/// Publishes at QoS 1, and the last at QoS 2, and waits until the broker has them.
async fn publish(bridge: &BridgeProcess, topic: &str, payloads: &[&str]) {
    let mut options = MqttOptions::new("publisher", bridge.mqtt.ip().to_string(), bridge.mqtt.port());
    options.set_clean_start(true);
    let (client, mut events) = AsyncClient::new(options, 100);
    for (n, payload) in payloads.iter().enumerate() {
        let qos = if n + 1 == payloads.len() { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        client.publish(topic, qos, false, payload.to_string()).await.expect("a request");
    }
    let mut answered = 0;
    let answers = async {
        while answered < payloads.len() {
            if let Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) =
                events.poll().await.expect("a connection")
            {
                answered += 1;
            }
        }
    };
    tokio::time::timeout(PATIENCE, Box::pin(answers)).await.expect("in time");
}

async fn stored(database: &TestDatabase, messages: i64) {
    let sql = "SELECT count(*) FROM mqtt_session_messages";
    eventually("that many messages are stored", async || {
        (database.number(sql).await == messages).then_some(())
    })
    .await;
}

/// Catches sessions that end with the program (`SessionLog` without the registry), messages that are forgotten when they are sent, and
/// such as come again although they were acknowledged (`note_acknowledged` left out).
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_there_after_a_restart_and_after_a_kill() {
    let database = TestDatabase::new().await;
    let options = BridgeOptions::new(database.url());
    let bridge = BridgeProcess::start(&options).await;
    let mut listener = Subscriber::connect(&bridge, 2).await;
    assert!(!listener.session_present);
    for filter in ["d/#", "$share/g/e/+"] {
        listener.subscribe(filter).await;
    }
    publish(&bridge, "d/1", &["a", "b", "c"]).await;
    for expected in ["d/1 a 1", "d/1 b 1"] {
        assert_eq!(listener.heard().await.said, expected);
    }
    drop(listener);
    publish(&bridge, "d/2", &["d"]).await;
    // At once: what came a moment ago is stored before the program ends.
    assert_eq!(bridge.terminate().await, Some(0));

    let bridge = BridgeProcess::start(&options).await;
    let mut listener = Subscriber::connect(&bridge, 2).await;
    assert!(listener.session_present);
    for expected in ["d/1 a 1 dup", "d/1 b 1 dup", "d/1 c 2", "d/2 d 2"] {
        assert_eq!(listener.takes().await, expected);
    }
    publish(&bridge, "e/1", &["shared"]).await;
    assert_eq!(listener.takes().await, "e/1 shared 2");
    // Its SUBACK comes behind every PUBREL.
    listener.subscribe("g").await;
    stored(&database, 0).await;
    drop(listener);
    publish(&bridge, "d/3", &["e", "f", "g"]).await;
    stored(&database, 3).await;
    bridge.kill().await;

    let bridge = BridgeProcess::start(&options).await;
    let mut listener = Subscriber::connect(&bridge, 100).await;
    assert!(listener.session_present);
    for expected in ["d/3 e 1", "d/3 f 1", "d/3 g 2"] {
        assert_eq!(listener.takes().await, expected);
    }
    // While it is connected its subscriptions are stored all the same.
    listener.subscribe("f").await;
    let subscriptions = "SELECT count(*) FROM mqtt_sessions WHERE subscriptions @> '[{\"filter\": \"f\"}]' AND expires_at IS NULL";
    eventually("the new one is stored", async || (database.number(subscriptions).await == 1).then_some(()))
        .await;
    bridge.kill().await;

    let bridge = BridgeProcess::start(&options).await;
    publish(&bridge, "f", &["h"]).await;
    let mut listener = Subscriber::connect(&bridge, 100).await;
    assert!(listener.session_present);
    assert_eq!(listener.takes().await, "f h 2");
    drop(listener);
    assert!(!Subscriber::connect_as(&bridge, 100, true).await.session_present);
    let anew = "SELECT count(*) FROM mqtt_sessions WHERE subscriptions = '[]'";
    eventually("the old one is gone", async || (database.number(anew).await == 1).then_some(())).await;
    stored(&database, 0).await;
}

/// Catches a session that outlives its expiry by a restart, one of another instance, and one that goes to another login.
#[tokio::test(flavor = "multi_thread")]
async fn only_ones_own_sessions_that_have_not_expired_come_back() {
    let database = TestDatabase::new().await;
    database
        .run(
            "INSERT INTO mqtt_sessions (instance, tenant_id, client_id, owner, keep_seconds, expires_at, subscriptions, received, last_packet_id)
             SELECT instance, 1, client_id, owner, 60, now() + ends, '[{\"filter\": \"d/#\", \"qos\": 1}]', '{}', 0
             FROM (VALUES ('default', 'listener', 'user:somebody', interval '1 hour'),
                          ('default', 'expired', 'anonymous', interval '-1 second'),
                          ('second', 'elsewhere', 'anonymous', interval '1 hour')) AS v (instance, client_id, owner, ends)",
        )
        .await;
    let bridge = BridgeProcess::start(&BridgeOptions::new(database.url())).await;
    let left = "SELECT client_id FROM mqtt_sessions ORDER BY 1";
    assert_eq!(database.rows(left).await, ["elsewhere", "listener"]);
    assert!(!Subscriber::connect(&bridge, 10).await.session_present, "it is another login's");
    let mine = "SELECT owner FROM mqtt_sessions WHERE client_id = 'listener'";
    eventually("its own stands in its place", async || {
        (database.rows(mine).await == ["anonymous"]).then_some(())
    })
    .await;
    assert_eq!(bridge.terminate().await, Some(0));
    assert_eq!(database.rows(left).await, ["elsewhere", "listener"]);
}

/// Catches a program that does not end because it cannot write sessions down, changes that are lost in an outage, and the end of a
/// session that overtakes the beginning of the next one.
#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_the_database_is_away_is_stored_later() {
    let database = TestDatabase::new().await;
    let bridge = BridgeProcess::start(&BridgeOptions::new(database.url())).await;
    let mut listener = Subscriber::connect(&bridge, 10).await;
    listener.subscribe("old").await;
    let of = |filter: &str| {
        format!("SELECT count(*) FROM mqtt_sessions WHERE subscriptions @> '[{{\"filter\": \"{filter}\"}}]'")
    };
    eventually("it is stored", async || (database.number(&of("old")).await == 1).then_some(())).await;
    database.run("ALTER TABLE mqtt_sessions RENAME TO away").await;
    drop(listener);
    let mut listener = Subscriber::connect_as(&bridge, 10, true).await;
    eventually("it was tried", async || {
        bridge.log().iter().any(|line| line.contains("MQTT sessions wait for the database")).then_some(())
    })
    .await;
    listener.subscribe("new").await;
    drop(listener);
    publish(&bridge, "new", &["x"]).await;
    database.run("ALTER TABLE away RENAME TO mqtt_sessions").await;
    stored(&database, 1).await;
    assert_eq!(database.number(&of("new")).await, 1);
    assert_eq!(database.number(&of("old")).await, 0);
    database.run("ALTER TABLE mqtt_sessions RENAME TO away").await;
    publish(&bridge, "new", &["y"]).await;
    let ended = tokio::time::timeout(Duration::from_secs(30), bridge.terminate()).await;
    assert_eq!(ended.expect("it ends"), Some(0));
}
