//! `/statusz` and `simbridge status`: what stands at their head.

use serde_json::{Value, json};

use crate::harness::bridge::{BridgeOptions, BridgeProcess, command, simbridge};
use crate::harness::certificates::{Certificates, connect_tls};
use crate::harness::database::TestDatabase;
use crate::harness::eventually;
use crate::harness::packets::Client;
use crate::harness::websocket::Socket;

async fn broker(bridge: &BridgeProcess) -> Value {
    let (code, body) = bridge.get("/statusz").await;
    assert_eq!(code, 200, "{body}");
    serde_json::from_str::<Value>(&body).expect("JSON")["broker"].take()
}

/// What the page of operations is told.
async fn operations(database: &TestDatabase, bridge: &BridgeProcess) -> Value {
    let create = ["keys", "create", "operator", "--permission", "usage:read"];
    let (code, key, said) = command(database, &create).await;
    assert_eq!(code, Some(0), "{said}");
    let request = reqwest::Client::new().get(format!("http://{}/api/v1/operations", bridge.http));
    let answer = request.bearer_auth(key.trim()).send().await.expect("an answer");
    let text = answer.text().await.expect("text");
    serde_json::from_str::<Value>(&text).expect("JSON")["broker"].take()
}

/// Connections are counted when they are accepted, and a moment after they have ended.
async fn counts(bridge: &BridgeProcess, connections: i64) {
    let expected = json!({"connections": connections});
    eventually("the connections are counted", async || (broker(bridge).await == expected).then_some(()))
        .await;
}

async fn head(bridge: &BridgeProcess) -> Vec<String> {
    let mut command = simbridge();
    command.args(["status", "--http-addr", &bridge.http.to_string()]);
    let output = command.output().await.expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

fn lines(broker: &str) -> Vec<String> {
    let version = format!("simbridge {}: well", env!("CARGO_PKG_VERSION"));
    [&version, broker, "queue    0 messages wait", "rollups  0.0 s behind"].map(str::to_owned).into()
}

/// Catches a status that looks at the plain listener alone: a broker that only listens encrypted was shown as off.
#[tokio::test(flavor = "multi_thread")]
async fn connections_of_every_listener_are_shown_also_without_the_plain_one() {
    let (database, certificates) = (TestDatabase::new().await, Certificates::create(&[]).await);
    let mut options = BridgeOptions { mqtt: String::new(), ..BridgeOptions::new(database.url()) };
    certificates.configure(&mut options);
    let bridge = BridgeProcess::start(&options).await;
    assert_eq!(bridge.mqtt.port(), 0, "the plain listener is off");
    assert_eq!(broker(&bridge).await, json!({"connections": 0}));
    assert_eq!(head(&bridge).await, lines("broker   0 connections"));
    let connector = certificates.connector(None);
    let stream = connect_tls(bridge.mqtts, &connector).await.expect("a handshake");
    let (encrypted, _) = Client::connect(stream, "encrypted", None).await.expect("a CONNACK");
    counts(&bridge, 1).await;
    let stream = connect_tls(bridge.wss, &connector).await.expect("a handshake");
    let subprotocol = ("Sec-WebSocket-Protocol", "mqtt");
    let mut page = Socket::over(stream, "wss://localhost/mqtt", &[subprotocol]).await.expect("it opens");
    page.connect("page").await;
    counts(&bridge, 2).await;
    assert_eq!(head(&bridge).await, lines("broker   2 connections"));
    assert_eq!(operations(&database, &bridge).await["connections"], 2);
    drop(encrypted);
    counts(&bridge, 1).await;
    assert_eq!(bridge.terminate().await, Some(0));

    let mut options = BridgeOptions { mqtt: String::new(), ..BridgeOptions::new(database.url()) };
    options.set("mqtt.websocket.listen", "127.0.0.1:0");
    let bridge = BridgeProcess::start(&options).await;
    let mut page = Socket::open(bridge.ws).await;
    page.connect("page").await;
    counts(&bridge, 1).await;
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a broker that is off and counted as one that nobody uses.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_none_is_shown() {
    let database = TestDatabase::new().await;
    let mut options = BridgeOptions::new(database.url());
    options.set("mqtt.enabled", "false");
    let bridge = BridgeProcess::start(&options).await;
    assert_eq!(broker(&bridge).await, Value::Null);
    assert_eq!(head(&bridge).await, lines("broker   off"));
    assert_eq!(operations(&database, &bridge).await, Value::Null);
    assert_eq!(bridge.terminate().await, Some(0));
}
