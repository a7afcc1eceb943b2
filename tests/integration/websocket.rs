//! MQTT over WebSocket, encrypted and not.

use futures_util::SinkExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::certificates::{Certificates, connect_tls};
use crate::harness::database::{TestDatabase, sim};
use crate::harness::packets;
use crate::harness::pipeline::record;
use crate::harness::websocket::Socket;

const ICCID: &str = "8941000000000000001";
const SUBPROTOCOL: (&str, &str) = ("Sec-WebSocket-Protocol", "mqtt");

async fn start(database: &TestDatabase) -> BridgeProcess {
    let mut options = BridgeOptions::new(database.url());
    options.set("mqtt.websocket.listen", "127.0.0.1:0");
    BridgeProcess::start(&options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_over_ws_and_wss_is_stored_when_it_is_acknowledged() {
    let (database, certificates) = (TestDatabase::new().await, Certificates::create(&[]).await);
    database.import(&[sim(ICCID)]).await;
    let mut options = BridgeOptions::new(database.url());
    certificates.configure(&mut options);
    options.set("mqtt.websocket.listen", "127.0.0.1:0");
    let bridge = BridgeProcess::start(&options).await;
    let stored = async || database.number("SELECT count(*) FROM usage_records").await;

    let mut ws = Socket::open(bridge.ws).await;
    ws.connect("page").await;
    ws.publish(1, ICCID, &record("ws-1", 0, 10, 20)).await;
    assert_eq!(stored().await, 1);

    let tls = connect_tls(bridge.wss, &certificates.connector(None)).await.expect("a handshake");
    let mut wss = Socket::over(tls, "wss://localhost/mqtt", &[SUBPROTOCOL]).await.expect("it opens");
    wss.connect("safe page").await;
    wss.publish(1, ICCID, &record("wss-1", 0, 10, 20)).await;
    assert_eq!(stored().await, 2);
    // A large answer is divided: 400 PUBACKs and a batch larger than a TLS record.
    let batch: Vec<String> = (0..400).map(|n| record(&format!("b-{n}"), 0, 1, 1)).collect();
    wss.publish(2, ICCID, &format!("[{}]", batch.join(","))).await;
    for n in 10..410 {
        wss.send(&packets::publish(n, ICCID, &record(&format!("r-{n}"), 0, 1, 1))).await;
    }
    let expected: Vec<u8> = (10..410).flat_map(packets::puback).collect();
    assert_eq!(wss.bytes(1600).await, expected);
    assert_eq!(stored().await, 802);
    database.assert_reconciled().await;
    assert_eq!(bridge.terminate().await, Some(0));
    assert_eq!(ws.close_code().await, u16::from(CloseCode::Normal));
}

/// Catches a reader for which a frame is a packet.
#[tokio::test(flavor = "multi_thread")]
async fn packets_and_frames_may_have_different_bounds() {
    let database = TestDatabase::new().await;
    let bridge = start(&database).await;
    let mut socket = Socket::open(bridge.ws).await;
    // CONNECT in three messages, the last of which holds a whole PUBLISH too.
    let connect = packets::connect("cut", None);
    socket.send(&connect[..1]).await;
    socket.send(&connect[1..9]).await;
    socket.send(&[&connect[9..], &packets::publish(1, ICCID, &record("f-1", 0, 1, 1))].concat()).await;
    assert_eq!(socket.bytes(8).await, [packets::CONNACK, packets::puback(1)].concat());

    // One message of three frames, with a ping in between, as the standard allows.
    let publish = packets::publish(2, ICCID, &record("f-2", 0, 1, 1));
    let (a, b) = (publish.len() / 3, 2 * publish.len() / 3);
    let parts = [(Data::Binary, &publish[..a], false), (Data::Continue, &publish[a..b], false)];
    for (kind, part, last) in parts.into_iter().chain([(Data::Continue, &publish[b..], true)]) {
        let frame = Frame::message(part.to_vec(), OpCode::Data(kind), last);
        socket.0.send(Message::Frame(frame)).await.expect("it reads");
        if !last {
            socket.0.send(Message::Ping("still here".into())).await.expect("it reads");
            assert_eq!(socket.next().await, Some(Message::Pong("still here".into())));
        }
    }
    assert_eq!(socket.bytes(4).await, packets::puback(2));

    // Two packets and a half in one message, the rest in the next; an empty one means nothing.
    let many: Vec<u8> =
        (3..6).flat_map(|n| packets::publish(n, ICCID, &record(&format!("f-{n}"), 0, 1, 1))).collect();
    socket.send(&many[..many.len() - 40]).await;
    socket.send(&[]).await;
    socket.send(&many[many.len() - 40..]).await;
    let acknowledged: Vec<u8> = (3..6).flat_map(packets::puback).collect();
    assert_eq!(socket.bytes(12).await, acknowledged);
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 5);
}

/// Catches a close that nobody answers, and a connection that stays when its client is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_close_frame_is_answered_and_ends_the_connection() {
    let database = TestDatabase::new().await;
    let bridge = start(&database).await;
    let mut socket = Socket::open(bridge.ws).await;
    socket.connect("leaving").await;
    let frame = CloseFrame { code: CloseCode::Away, reason: "".into() };
    socket.0.send(Message::Close(Some(frame))).await.expect("it reads");
    assert_eq!(socket.close_code().await, u16::from(CloseCode::Away));
    assert_eq!(socket.next().await, None);

    // DISCONNECT of MQTT is answered with a close frame; a client that is simply gone is gone.
    let mut polite = Socket::open(bridge.ws).await;
    polite.connect("polite").await;
    polite.send(&[0xe0, 0]).await;
    assert_eq!(polite.close_code().await, u16::from(CloseCode::Normal));
    let mut gone = Socket::open(bridge.ws).await;
    gone.connect("gone").await;
    drop(gone);
    bridge.metric_becomes("simbridge_mqtt_connections_open", 0.0).await;
}
