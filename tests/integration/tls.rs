//! MQTT over TLS, and what comes to the wrong door or too slowly.

use std::time::{Duration, Instant};

use rustls::ClientConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::PATIENCE;
use crate::harness::bridge::{BridgeOptions, BridgeProcess, simbridge, variable};
use crate::harness::certificates::{Certificates, connect_tls, localhost};
use crate::harness::database::{TestDatabase, sim};
use crate::harness::packets::{self, Client};
use crate::harness::pipeline::record;

const ICCID: &str = "8941000000000000001";

async fn start(
    database: &TestDatabase,
    certificates: &Certificates,
    change: impl FnOnce(&mut BridgeOptions),
) -> BridgeProcess {
    let mut options = BridgeOptions::new(database.url());
    certificates.configure(&mut options);
    change(&mut options);
    BridgeProcess::start(&options).await
}

/// The first bytes of a TLS client that trusts these certificates.
fn client_hello(certificates: &Certificates) -> Vec<u8> {
    let connector = certificates.connector(None);
    let mut client = ClientConnection::new(connector.config().clone(), localhost()).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("to memory");
    hello
}

/// Reads until the peer has closed, and returns what it said.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset is an end too.
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("closed in time").ok();
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_over_tls_is_stored_when_mosquitto_pub_returns() {
    if !crate::mosquitto::installed() {
        return;
    }
    let (database, certificates) = (TestDatabase::new().await, Certificates::create(&[]).await);
    database.import(&[sim(ICCID)]).await;
    let bridge = start(&database, &certificates, |_| ()).await;
    let port = bridge.mqtts.expect("TLS is on").port().to_string();
    let (topic, ca) = (format!("simportal/sims/{ICCID}/usage"), certificates.text("ca.pem"));
    let kinds = [("1", "mqttv311", "tlsv1.2"), ("2", "mqttv5", "tlsv1.2"), ("1", "mqttv5", "tlsv1.3")];
    for (n, (qos, version, tls)) in kinds.into_iter().enumerate() {
        let payload = record(&format!("tls-{n}"), 0, 10, 20);
        let mut publishing = tokio::process::Command::new("mosquitto_pub");
        publishing.args(["-h", "localhost", "-p", &port, "--cafile", &ca, "--tls-version", tls]);
        publishing.args(["-q", qos, "-V", version, "-t", &topic, "-m", &payload]).kill_on_drop(true);
        let output =
            tokio::time::timeout(PATIENCE, publishing.output()).await.expect("in time").expect("it starts");
        assert!(output.status.success(), "{tls}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(database.number("SELECT count(*) FROM usage_records").await as usize, n + 1);
    }
    // Whoever does not trust the authority does not talk to this server.
    let stranger = Certificates::create(&[]).await;
    assert!(connect_tls(bridge.mqtts, &stranger.connector(None)).await.is_err());
    database.assert_reconciled().await;
    assert_eq!(bridge.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_records_and_a_large_one_pass_through_one_encrypted_connection() {
    let (database, certificates) = (TestDatabase::new().await, Certificates::create(&[]).await);
    let bridge = start(&database, &certificates, |_| ()).await;
    let stream = connect_tls(bridge.mqtts, &certificates.connector(None)).await.expect("a handshake");
    let (mut client, _) = Client::connect(stream, "busy", None).await.expect("a CONNACK");
    // All at once, so that TLS records and packets have different bounds.
    let packets: Vec<u8> =
        (1..=500).flat_map(|n| packets::publish(n, ICCID, &record(&format!("r-{n}"), 0, 1, 1))).collect();
    client.0.write_all(&packets).await.expect("it reads");
    let mut answers = vec![0; 500 * 4];
    tokio::time::timeout(PATIENCE, client.0.read_exact(&mut answers)).await.expect("in time").expect("500");
    let expected: Vec<u8> = (1..=500).flat_map(packets::puback).collect();
    assert_eq!(answers, expected);
    // Larger than any TLS record.
    let batch: Vec<String> = (0..400).map(|n| record(&format!("b-{n}"), 0, 1, 1)).collect();
    client.publish(501, ICCID, &format!("[{}]", batch.join(","))).await.expect("a PUBACK");
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 900);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_without_tls_can_be_left_out() {
    let (database, certificates) = (TestDatabase::new().await, Certificates::create(&[]).await);
    let bridge = start(&database, &certificates, |options| options.mqtt = String::new()).await;
    assert_eq!(bridge.mqtt.port(), 0);
    let stream = connect_tls(bridge.mqtts, &certificates.connector(None)).await.expect("a handshake");
    let (mut client, _) = Client::connect(stream, "only", None).await.expect("a CONNACK");
    client.publish(1, ICCID, &record("o-1", 0, 1, 1)).await.expect("a PUBACK");
    let (status, body) = bridge.get("/readyz").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a check of the first port only.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_others_can_reach_rules_anonymous_access_out() {
    let certificates = Certificates::create(&[]).await;
    for key in ["mqtt.listen", "mqtt.tls.listen", "mqtt.websocket.listen", "mqtt.websocket.tls_listen"] {
        let mut program = simbridge();
        program
            .arg("serve")
            .env(variable("mqtt.anonymous"), "true")
            .env(variable("mqtt.listen"), "127.0.0.1:0");
        program.env(variable("mqtt.tls.certificate_file"), certificates.path("server.pem"));
        program.env(variable("mqtt.tls.key_file"), certificates.path("server.key"));
        program.env(variable(key), "0.0.0.0:0");
        program.env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
        let output =
            tokio::time::timeout(PATIENCE, program.output()).await.expect("it ends").expect("starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{key}: {said}");
        assert!(said.contains("mqtt.anonymous is for this machine alone"), "{key}: {said}");
    }
}

/// Catches a broker that lets whoever came to the wrong door hold a connection until the time is over.
#[tokio::test(flavor = "multi_thread")]
async fn plain_text_to_the_tls_port_and_tls_to_the_plain_port_end_at_once() {
    let (database, certificates) = (TestDatabase::new().await, Certificates::create(&[]).await);
    let bridge = start(&database, &certificates, |options| {
        options.set("mqtt.connect_timeout_seconds", "300");
    })
    .await;
    let stream = connect_tls(bridge.mqtts, &certificates.connector(None)).await.expect("a handshake");
    let (mut good, _) = Client::connect(stream, "good", None).await.expect("a CONNACK");
    for n in 0..20 {
        let mut plain = TcpStream::connect(bridge.mqtts.expect("TLS is on")).await.expect("it listens");
        plain.write_all(&packets::connect("lost", None)).await.expect("it reads");
        assert!(!until_closed(&mut plain).await.starts_with(&packets::CONNACK), "no CONNACK");
        let mut encrypted = TcpStream::connect(bridge.mqtt).await.expect("it listens");
        encrypted.write_all(&client_hello(&certificates)).await.expect("it reads");
        assert_eq!(until_closed(&mut encrypted).await, b"");
        good.publish(n + 1, ICCID, &record(&format!("g-{n}"), 0, 1, 1)).await.expect("a PUBACK");
    }
    bridge.metric_becomes("simbridge_mqtt_connections_total{result=\"tls_handshake\"}", 20.0).await;
    bridge.metric_becomes("simbridge_mqtt_connections_open", 1.0).await;
}

/// Catches a handshake in the accept loop (the others then wait for it), and one without a limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_dripping_handshake_is_ended_in_time_and_nobody_else_waits() {
    let (database, certificates) = (TestDatabase::new().await, Certificates::create(&[]).await);
    let bridge = start(&database, &certificates, |options| {
        options.set("mqtt.connect_timeout_seconds", "4");
    })
    .await;
    let (address, hello) = (bridge.mqtts.expect("TLS is on"), client_hello(&certificates));
    let slow: Vec<_> = (0..20)
        .map(|n| {
            let hello = hello.clone();
            tokio::spawn(async move {
                let mut tcp = TcpStream::connect(address).await.expect("it listens");
                let began = Instant::now();
                // Some are silent.
                let mut bytes = hello.iter().take(if n % 4 == 0 { 0 } else { hello.len() - 1 });
                let mut answer = [0; 64];
                loop {
                    if let Some(byte) = bytes.next() {
                        tcp.write_all(&[*byte]).await.ok();
                    }
                    let quiet = Duration::from_millis(50);
                    if let Ok(read) = tokio::time::timeout(quiet, tcp.read(&mut answer)).await {
                        assert!(read.is_err() || read.is_ok_and(|read| read == 0), "nothing to say");
                        return began.elapsed();
                    }
                    assert!(began.elapsed() < PATIENCE, "still open");
                }
            })
        })
        .collect();
    let stream = connect_tls(bridge.mqtts, &certificates.connector(None)).await.expect("a handshake");
    let (mut good, _) = Client::connect(stream, "good", None).await.expect("a CONNACK");
    good.publish(1, ICCID, &record("g-1", 0, 1, 1)).await.expect("a PUBACK");
    assert!(slow.iter().any(|slow| !slow.is_finished()), "the good one had to wait for the slow ones");
    for slow in slow {
        let lasted = slow.await.expect("no panic");
        assert!(lasted > Duration::from_secs(3) && lasted < Duration::from_secs(20), "{lasted:?}");
    }
    bridge.metric_becomes("simbridge_mqtt_connections_total{result=\"timeout\"}", 20.0).await;
}

/// Catches a limit for each step: bytes that drip would gain the time of all of them.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_for_the_handshake_is_taken_from_the_time_for_connect() {
    let (database, certificates) = (TestDatabase::new().await, Certificates::create(&[]).await);
    let bridge = start(&database, &certificates, |options| {
        options.set("mqtt.connect_timeout_seconds", "4");
    })
    .await;
    let tcp = TcpStream::connect(bridge.mqtts.expect("TLS is on")).await.expect("it listens");
    let began = Instant::now();
    // The time itself is what is tested here.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let connecting = certificates.connector(None).connect(localhost(), tcp);
    let mut stream = connecting.await.expect("a handshake, just in time");
    stream.write_all(&packets::connect("slow", None)[..10]).await.expect("it reads");
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed").ok();
    let lasted = began.elapsed();
    assert!(rest.is_empty() && lasted < Duration::from_millis(6_500), "{lasted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_older_than_1_2_is_refused() {
    let (database, certificates) = (TestDatabase::new().await, Certificates::create(&[]).await);
    let bridge = start(&database, &certificates, |_| ()).await;
    for minor in [1, 2, 3] {
        let mut tcp = TcpStream::connect(bridge.mqtts.expect("TLS is on")).await.expect("it listens");
        tcp.write_all(&old_client_hello(minor)).await.expect("it reads");
        let mut answer = [0; 7];
        tokio::time::timeout(PATIENCE, tcp.read_exact(&mut answer)).await.expect("in time").expect("it says");
        match minor {
            // 1.2 is welcome: a handshake record, ServerHello.
            3 => assert_eq!((answer[0], answer[5]), (22, 2)),
            // A fatal alert: protocol_version.
            _ => assert_eq!((answer[0], &answer[5..]), (21, &[2, 70][..]), "TLS 1.{}", minor - 1),
        }
    }
}

/// ClientHello of TLS 1.0 (1), 1.1 (2) or 1.2 (3), which all have ECDHE_ECDSA with AES (1.2: in GCM) to offer.
fn old_client_hello(minor: u8) -> Vec<u8> {
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..], // supported_groups: secp256r1
        &[0, 11, 0, 2, 1, 0],            // ec_point_formats: uncompressed
        &[0, 13, 0, 4, 0, 2, 4, 3],      // signature_algorithms: ecdsa_secp256r1_sha256
        &[0, 23, 0, 0],                  // extended_master_secret
    ]
    .concat();
    let suites = [0, 4, 0xc0, 0x2b, 0xc0, 0x09];
    let body = [
        &[3, minor][..],
        &[7; 32],
        &[0],
        &suites,
        &[1, 0],
        &(extensions.len() as u16).to_be_bytes(),
        &extensions,
    ]
    .concat();
    let handshake = [&[1, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat();
    [&[22, 3, 1][..], &(handshake.len() as u16).to_be_bytes(), &handshake].concat()
}

/// Catches a start without encryption, or one that dies later, when a file is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_used_ends_the_start_with_one_line_and_78() {
    let (mine, others) = (Certificates::create(&[]).await, Certificates::create(&[]).await);
    let (certificate, key) = (mine.text("server.pem"), mine.text("server.key"));
    let nowhere = mine.text("nowhere.pem");
    let cases = [
        ((&*certificate, &*others.text("server.key")), "mqtt.tls.key_file: the key in", "does not belong"),
        ((&*nowhere, &*key), "mqtt.tls.certificate_file: cannot read", "No such file"),
        ((&*certificate, &*nowhere), "mqtt.tls.key_file: cannot read", "nowhere.pem"),
        ((&*certificate, &*certificate), "mqtt.tls.key_file:", "there is no private key in PEM format in it"),
        ((&*key, &*key), "mqtt.tls.certificate_file:", "there is no certificate in PEM format in it"),
        ((&*certificate, ""), "`mqtt.tls.key_file`", "must be set, because mqtt.tls.listen needs it"),
    ];
    for command in ["serve", "check"] {
        for ((certificate, key), begins, says) in &cases {
            let mut program = simbridge();
            program.arg(command).env(variable("mqtt.tls.listen"), "127.0.0.1:0");
            program.env(variable("mqtt.tls.certificate_file"), certificate);
            program.env(variable("mqtt.tls.key_file"), key);
            // If it went on, it would fail otherwise.
            program.env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
            let output =
                tokio::time::timeout(PATIENCE, program.output()).await.expect("it ends").expect("starts");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(78), "{command}: {said}");
            assert!(said.contains(begins) && said.contains(says), "{command}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}
