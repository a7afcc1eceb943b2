//! What is no MQTT over WebSocket, and costs nobody else anything.

use std::time::{Duration, Instant};

use futures_util::SinkExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::database::TestDatabase;
use crate::harness::packets;
use crate::harness::pipeline::record;
use crate::harness::websocket::Socket;
use crate::harness::{PATIENCE, eventually};

const ICCID: &str = "8941000000000000001";
const SUBPROTOCOL: (&str, &str) = ("Sec-WebSocket-Protocol", "mqtt");

async fn start(database: &TestDatabase, settings: &[(&str, &str)]) -> BridgeProcess {
    let mut options = BridgeOptions::new(database.url());
    options.set("mqtt.websocket.listen", "127.0.0.1:0");
    for (key, value) in settings {
        options.set(key, *value);
    }
    BridgeProcess::start(&options).await
}

/// The status with which a handshake is refused, 101 when it is not.
async fn status(bridge: &BridgeProcess, path: &str, headers: &[(&'static str, &str)]) -> u16 {
    match Socket::try_open(bridge.ws, path, headers).await {
        Ok(_) => 101,
        Err(Error::Http(refused)) => refused.status().as_u16(),
        Err(other) => panic!("{other}"),
    }
}

/// Catches a handshake that looks at nothing: any page could then talk to a broker on its reader's machine.
#[tokio::test(flavor = "multi_thread")]
async fn another_path_subprotocol_or_page_is_refused() {
    let database = TestDatabase::new().await;
    let bridge = start(&database, &[("mqtt.websocket.origins", "[\"https://portal.example\"]")]).await;
    let own = format!("http://{}", bridge.ws.expect("it is on"));
    assert_eq!(status(&bridge, "/mqtt", &[SUBPROTOCOL]).await, 101);
    assert_eq!(status(&bridge, "/", &[SUBPROTOCOL]).await, 404);
    assert_eq!(status(&bridge, "/mqtt/x", &[SUBPROTOCOL]).await, 404);
    assert_eq!(status(&bridge, "/mqtt", &[]).await, 400);
    assert_eq!(status(&bridge, "/mqtt", &[("Sec-WebSocket-Protocol", "chat")]).await, 400);
    assert_eq!(status(&bridge, "/mqtt", &[SUBPROTOCOL, ("Origin", &own)]).await, 101);
    assert_eq!(status(&bridge, "/mqtt", &[SUBPROTOCOL, ("Origin", "https://portal.example")]).await, 101);
    assert_eq!(status(&bridge, "/mqtt", &[SUBPROTOCOL, ("Origin", "https://evil.example")]).await, 403);
    let refused = "simbridge_mqtt_connections_total{result=\"websocket_handshake\"}";
    bridge.metric_becomes(refused, 5.0).await;
}

/// Catches a request without end that is kept in memory, and one for which there is no time limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_long_or_too_slow_is_ended() {
    let database = TestDatabase::new().await;
    let bridge = start(&database, &[("mqtt.connect_timeout_seconds", "2")]).await;
    let address = bridge.ws.expect("it is on");
    let mut long = TcpStream::connect(address).await.expect("it listens");
    let endless = format!("GET /mqtt HTTP/1.1\r\nX: {}", "x".repeat(9_000));
    long.write_all(endless.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, long.read_to_string(&mut answer)).await.expect("in time").expect("text");
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");

    let mut slow = TcpStream::connect(address).await.expect("it listens");
    let began = Instant::now();
    slow.write_all(b"GET /mqtt HTTP/1.1\r\n").await.expect("it reads");
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, slow.read_to_end(&mut rest)).await.expect("closed in time").ok();
    assert!(began.elapsed() > Duration::from_secs(1) && rest.is_empty());
    bridge.metric_becomes("simbridge_mqtt_connections_total{result=\"timeout\"}", 1.0).await;
}

/// Catches text that is taken for packets, and a message whose size nobody looks at.
#[tokio::test(flavor = "multi_thread")]
async fn text_and_messages_that_are_too_large_close_the_connection_with_their_code() {
    let database = TestDatabase::new().await;
    let bridge = start(&database, &[("mqtt.max_packet_bytes", "4096")]).await;
    let mut good = Socket::open(bridge.ws).await;
    good.connect("good").await;
    // Before CONNECT and after it; what came before the text is still done.
    let mut first = Socket::open(bridge.ws).await;
    first.0.send(Message::text("hello")).await.expect("it reads");
    assert_eq!(first.close_code().await, 1003);
    let mut later = Socket::open(bridge.ws).await;
    later.connect("later").await;
    let publish = packets::publish(1, ICCID, &record("before", 0, 1, 1));
    later.0.feed(Message::binary(publish)).await.expect("it reads");
    later.0.send(Message::text("hello")).await.expect("it reads");
    assert_eq!(later.close_code().await, 1003);

    // Refused by what its header announces, before it is there.
    let mut large = Socket::open(bridge.ws).await;
    large.connect("large").await;
    let announced = [0x82, 0xff, 0, 0, 0, 0, 0x7f, 0, 0, 0, 1, 2, 3, 4];
    large.0.get_mut().write_all(&announced).await.expect("it reads");
    assert_eq!(large.close_code().await, 1009);
    // The same in many small frames.
    let mut pieces = Socket::open(bridge.ws).await;
    pieces.connect("pieces").await;
    let part = [&[0x00, 0xfe, 0x04, 0x00, 0, 0, 0, 0][..], &[0; 1024]].concat();
    let begin = [&[0x02, 0xfe, 0x04, 0x00, 0, 0, 0, 0][..], &[0; 1024]].concat();
    pieces.0.get_mut().write_all(&[begin, part.repeat(4)].concat()).await.expect("it reads");
    assert_eq!(pieces.close_code().await, 1009);
    // A frame that no client may send: not masked.
    let mut bare = Socket::open(bridge.ws).await;
    bare.connect("bare").await;
    bare.0.get_mut().write_all(&[0x82, 2, 0xc0, 0]).await.expect("it reads");
    assert_eq!(bare.close_code().await, 1002);

    good.publish(1, ICCID, &record("good-1", 0, 1, 1)).await;
    eventually("only the good one is left, and both records", async || {
        let open = bridge.metric("simbridge_mqtt_connections_open").await;
        let stored = database.number("SELECT count(*) FROM usage_records").await;
        (open == 1.0 && stored == 2).then_some(())
    })
    .await;
}
