//! Clients that we did not write.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::harness::bridge::{BridgeOptions, BridgeProcess, simbridge};
use crate::harness::database::{TestDatabase, sim};
use crate::harness::durable::DurableServer;
use crate::harness::pipeline::record;
use crate::harness::{PATIENCE, eventually};

const ICCID: &str = "8941000000000000001";

fn mosquitto(program: &str, bridge: &BridgeProcess, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(["-h", &bridge.mqtt.ip().to_string(), "-p", &bridge.mqtt.port().to_string()])
        .args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Whether the clients are here. Without them there is nothing to prove on this machine; in CI they must be here.
pub(crate) fn installed() -> bool {
    let found =
        std::process::Command::new("mosquitto_pub").arg("--help").stdout(Stdio::null()).status().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "install mosquitto-clients");
    if !found {
        eprintln!("NOT RUN: install mosquitto-clients (mosquitto_pub and mosquitto_sub) to run this test");
    }
    found
}

fn publish(bridge: &BridgeProcess, qos: &str, version: &str, payload: &str) -> Command {
    let topic = format!("simportal/sims/{ICCID}/usage");
    mosquitto("mosquitto_pub", bridge, &["-q", qos, "-V", version, "-t", &topic, "-m", payload])
}

async fn succeeds(mut command: Command) {
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("in time").expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_row_is_there_when_mosquitto_pub_returns() {
    if !installed() {
        return;
    }
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    let bridge = BridgeProcess::start(&BridgeOptions::new(database.url())).await;
    for (n, (qos, version)) in
        [("1", "mqttv311"), ("1", "mqttv5"), ("2", "mqttv311"), ("2", "mqttv5")].into_iter().enumerate()
    {
        let payload = record(&format!("m-{n}"), 0, 10, 20);
        succeeds(publish(&bridge, qos, version, &payload)).await;
        let stored = database.number("SELECT count(*) FROM usage_records").await;
        assert_eq!(stored as usize, n + 1, "QoS {qos} {version}");
        // The same again is acknowledged and not stored twice.
        succeeds(publish(&bridge, qos, version, &payload)).await;
        assert_eq!(database.number("SELECT count(*) FROM usage_records").await, stored);
    }
    assert_eq!(database.text("SELECT total_bytes FROM usage_cycles", &[]).await, "120");
    database.assert_reconciled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_pub_waits_until_the_database_is_back_and_the_row_is_there_once() {
    if !installed() {
        return;
    }
    let mut server = DurableServer::start().await;
    let bridge = BridgeProcess::start(&BridgeOptions::new(server.url())).await;
    server.stop().await;
    let mut waiting: Vec<Child> = Vec::new();
    let kinds = [("1", "mqttv311"), ("1", "mqttv5"), ("2", "mqttv311"), ("2", "mqttv5")];
    for (n, (qos, version)) in kinds.into_iter().enumerate() {
        let payload = record(&format!("w-{n}"), 0, 1, 1);
        waiting.push(publish(&bridge, qos, version, &payload).spawn().expect("mosquitto_pub is installed"));
    }
    eventually("all four are received", async || {
        (bridge.metric("simbridge_records_in_flight").await == kinds.len() as f64).then_some(())
    })
    .await;
    // Time for an acknowledgement that must not come: the writers have tried and failed by now.
    eventually("a try to write", async || {
        (bridge.metric("simbridge_batch_retries_total").await > 0.0).then_some(())
    })
    .await;
    for child in &mut waiting {
        assert!(child.try_wait().expect("it can be asked").is_none(), "returned before COMMIT");
    }
    server.start_again().await;
    for mut child in waiting {
        let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("in time").expect("it ends");
        assert!(status.success());
    }
    let client = server.client().await;
    let row = client
        .query_one("SELECT count(*), count(DISTINCT record_id) FROM usage_records", &[])
        .await
        .expect("rows");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_sub_sees_the_traffic_of_devices() {
    if !installed() {
        return;
    }
    let database = TestDatabase::new().await;
    let bridge = BridgeProcess::start(&BridgeOptions::new(database.url())).await;
    for version in ["mqttv311", "mqttv5"] {
        // A retained message first: when it arrives, the subscription stands.
        let retained = ["-r", "-t", "simportal/devices/7/status", "-m", "online", "-q", "1"];
        succeeds(mosquitto("mosquitto_pub", &bridge, &retained)).await;
        let arguments = ["-t", "simportal/#", "-v", "-C", "2", "-V", version, "-q", "1"];
        let mut watching =
            mosquitto("mosquitto_sub", &bridge, &arguments).spawn().expect("mosquitto_sub is installed");
        let mut lines = BufReader::new(watching.stdout.take().expect("piped")).lines();
        let mut next = async || {
            tokio::time::timeout(PATIENCE, lines.next_line())
                .await
                .expect("in time")
                .expect("a line")
                .unwrap_or_default()
        };
        assert_eq!(next().await, "simportal/devices/7/status online");
        let payload = record(&format!("seen-{version}"), 0, 1, 2);
        succeeds(publish(&bridge, "1", "mqttv5", &payload)).await;
        assert_eq!(next().await, format!("simportal/sims/{ICCID}/usage {payload}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_anonymous_access_only_a_user_with_its_password_may_connect() {
    if !installed() {
        return;
    }
    let database = TestDatabase::new().await;
    let mut add = simbridge();
    add.args(["devices", "add", "meter-7"]).env("DATABASE_URL", database.url());
    add.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = add.spawn().expect("the program starts");
    child.stdin.take().expect("piped").write_all(b"correct horse\n").await.expect("it reads");
    assert!(child.wait().await.expect("it ends").success());

    let mut options = BridgeOptions::new(database.url());
    options.anonymous = false;
    let bridge = BridgeProcess::start(&options).await;
    let topic = format!("simportal/sims/{ICCID}/usage");
    let attempt = async |login: &[&str]| {
        let payload = record("login-1", 0, 1, 1);
        let arguments = [&["-q", "1", "-V", "mqttv5", "-t", &topic, "-m", &payload], login].concat();
        let output = mosquitto("mosquitto_pub", &bridge, &arguments).output().await.expect("it starts");
        output.status.success()
    };
    assert!(!attempt(&[]).await, "no login");
    assert!(!attempt(&["-u", "meter-7", "-P", "wrong"]).await, "wrong password");
    assert!(!attempt(&["-u", "nobody", "-P", "correct horse"]).await, "unknown user");
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 0);
    assert!(attempt(&["-u", "meter-7", "-P", "correct horse"]).await, "right password");
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 1);
    for line in bridge.log() {
        assert!(!line.contains("correct horse"), "a password in the log: {line}");
    }
}

/// Catches a decoder that ends the session, or a batch that dies of one record.
#[tokio::test(flavor = "multi_thread")]
async fn bad_records_cost_neither_their_neighbours_nor_the_session_anything() {
    if !installed() {
        return;
    }
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    let bridge = BridgeProcess::start(&BridgeOptions::new(database.url())).await;
    let good = |n: usize| record(&format!("good-{n}"), 0, 1, 1).into_bytes();
    let with = |from: &str, to: &str| record("bad", 0, 1, 1).replace(from, to).into_bytes();
    let deep = [b"[".repeat(10_000), b"]".repeat(10_000)].concat();
    let array = [b"[".to_vec(), good(100), b",{\"recordId\":7},".to_vec(), good(101), b"]".to_vec()].concat();
    let bad: Vec<Vec<u8>> = vec![
        b"{\"recordId\":".to_vec(),
        deep,
        with("\"totalBytes\":2", "\"totalBytes\":1e400"),
        with("\"totalBytes\":2", "\"totalBytes\":NaN"),
        b"{\"recordId\":\"\xff\xfe\"}".to_vec(),
        with("\"totalBytes\":2", "\"totalBytes\":-2"),
        with("\"totalBytes\":2", "\"totalBytes\":2.5"),
        with("\"totalBytes\":2", "\"totalBytes\":\"2\""),
        with("\"totalBytes\":2", "\"totalBytes\":99999999999999999999"),
        with("\"periodStart\":\"20", "\"periodStart\":\"00"),
        with("\"periodStart\":\"20", "\"periodStart\":\"99"),
        with("{\"recordId\"", "{\"iccid\":\"8941000000000000002\",\"recordId\""),
        b" ".to_vec(),
        array,
    ];
    // One connection sends everything, good and bad in turn: mosquitto_pub -l publishes each line.
    let topic = format!("simportal/sims/{ICCID}/usage");
    let mut child = mosquitto("mosquitto_pub", &bridge, &["-q", "1", "-t", &topic, "-l"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("mosquitto_pub is installed");
    let mut stdin = child.stdin.take().expect("piped");
    for (n, payload) in bad.iter().enumerate() {
        for line in [&good(n), payload] {
            stdin.write_all(line).await.expect("it reads");
            stdin.write_all(b"\n").await.expect("it reads");
        }
    }
    drop(stdin);
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("in time").expect("it ends");
    assert!(status.success(), "the session went on to its end");
    assert_eq!(bridge.metric("simbridge_mqtt_connections_total").await, 1.0, "one connection sufficed");

    let stored = bad.len() + 2;
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await as usize, stored);
    let parked = database.rows("SELECT reason || ': ' || detail FROM quarantine ORDER BY id").await;
    assert_eq!(parked.len(), bad.len(), "{parked:#?}");
    assert!(parked.iter().all(|line| line.len() > 20), "each says why: {parked:#?}");

    // 300 KB is more than a packet may have: that connection is closed with the reason, and nobody else's.
    let mut socket = TcpStream::connect(bridge.mqtt).await.expect("it listens");
    let connect = [0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 1, b'x'];
    let publish_of_300_kb = [0x30, 0xe0, 0xa7, 0x12];
    socket.write_all(&[&connect[..], &publish_of_300_kb].concat()).await.expect("it reads");
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("in time").expect("an end");
    let connack_length = 2 + usize::from(answer[1]);
    assert_eq!((answer[0], answer[connack_length], answer[connack_length + 2]), (0x20, 0xe0, 0x95));
    succeeds(publish(&bridge, "1", "mqttv5", &record("after", 0, 1, 1))).await;
    database.assert_reconciled().await;
    assert_eq!(bridge.terminate().await, Some(0));
}
