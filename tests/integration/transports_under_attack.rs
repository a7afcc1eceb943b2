//! Handshakes that are begun and never ended, on every port at once.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::certificates::{Certificates, connect_tls};
use crate::harness::database::TestDatabase;
use crate::harness::packets::{self, Client};
use crate::harness::pipeline::record;
use crate::harness::websocket::Socket;
use crate::harness::{PATIENCE, eventually};

const ICCID: &str = "8941000000000000001";
const HOSTILE_OF_A_KIND: usize = 20;
const RECORDS: u16 = 50;
/// Connections to the database that the records may have opened.
const POOL: usize = 10;

fn descriptors(bridge: &BridgeProcess) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", bridge.pid())).expect("it runs").count()
}

/// Says its part and waits to be thrown out, reading nothing into memory.
async fn begin(address: Option<SocketAddr>, words: &[u8]) {
    let mut tcp = TcpStream::connect(address.expect("it is on")).await.expect("it listens");
    tcp.write_all(words).await.ok();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut rest)).await.expect("thrown out in time").ok();
}

/// As `begin`, after a handshake of TLS.
async fn begin_encrypted(address: Option<SocketAddr>, certificates: &Certificates, words: &[u8]) {
    let connector = certificates.connector(None);
    let mut stream = connect_tls(address, &connector).await.expect("a handshake");
    stream.write_all(words).await.ok();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("thrown out in time").ok();
}

/// Catches a connection that is not counted down, a socket that is not closed, and a limit that one of the steps lacks.
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_never_end_cost_well_behaved_clients_nothing() {
    let (database, certificates) = (TestDatabase::new().await, Certificates::create(&[]).await);
    let mut options = BridgeOptions::new(database.url());
    certificates.configure(&mut options);
    options.set("mqtt.websocket.listen", "127.0.0.1:0").set("mqtt.connect_timeout_seconds", "10");
    let bridge = BridgeProcess::start(&options).await;
    let stream = connect_tls(bridge.mqtts, &certificates.connector(None)).await.expect("a handshake");
    let (mut over_tls, _) = Client::connect(stream, "over TLS", None).await.expect("a CONNACK");
    let mut over_ws = Socket::open(bridge.ws).await;
    over_ws.connect("over WebSocket").await;
    let before = descriptors(&bridge);

    let half_connect = &packets::connect("half", None)[..8];
    let head = b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    // Announces a CONNECT in a frame that never comes to its end.
    let half_frame = [&head[..], &[0x82, 0xa0, 1, 2, 3, 4, 5]].concat();
    let hostile = async {
        let round = (0..HOSTILE_OF_A_KIND).map(|_| async {
            tokio::join!(
                begin(Some(bridge.mqtt), half_connect),
                begin(bridge.mqtts, b""),
                begin(bridge.mqtts, &[22, 3, 1, 2, 0, 1]),
                begin_encrypted(bridge.mqtts, &certificates, half_connect),
                begin(bridge.ws, &head[..60]),
                begin(bridge.ws, &half_frame),
                begin(bridge.wss, b""),
                begin_encrypted(bridge.wss, &certificates, &head[..60]),
                begin_encrypted(bridge.wss, &certificates, &half_frame),
            );
        });
        futures_util::future::join_all(round).await;
    };
    let good = async {
        eventually("all of them are here", async || {
            let open = bridge.metric("simbridge_mqtt_connections_open").await;
            (open > (HOSTILE_OF_A_KIND * 7) as f64).then_some(())
        })
        .await;
        for n in 1..=RECORDS {
            over_tls.publish(n, ICCID, &record(&format!("t-{n}"), 0, 1, 1)).await.expect("a PUBACK");
            over_ws.publish(n, ICCID, &record(&format!("w-{n}"), 0, 1, 1)).await;
        }
        // They are still there: it did not wait for their end.
        bridge.metric("simbridge_mqtt_connections_open").await
    };
    let ((), meanwhile) = tokio::join!(hostile, good);
    assert!(meanwhile > 2.0, "the good ones waited until the others were gone");
    bridge.metric_becomes("simbridge_mqtt_connections_open", 2.0).await;
    let timeouts = "simbridge_mqtt_connections_total{result=\"timeout\"}";
    bridge.metric_becomes(timeouts, (HOSTILE_OF_A_KIND * 9) as f64).await;
    eventually("every descriptor is given back", async || {
        (descriptors(&bridge) <= before + POOL).then_some(())
    })
    .await;
    over_tls.publish(1, ICCID, &record("after", 0, 1, 1)).await.expect("a PUBACK");
    let stored = database.number("SELECT count(*) FROM usage_records").await;
    assert_eq!(stored, i64::from(RECORDS) * 2 + 1);
}
