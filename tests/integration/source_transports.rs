//! TLS and WebSocket to brokers of others.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::harness::bridge::BridgeProcess;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::mosquitto::{Mosquitto, installed, subscribed_to};
use crate::harness::pipeline::record;

const ICCID: &str = "8941000000000000001";
const TOPIC: &str = "simportal/sims/8941000000000000001/usage";

async fn openssl(directory: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).current_dir(directory);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().await.expect("openssl is installed").success(), "openssl {arguments}");
}

/// An authority, a certificate for `localhost` and one for a client.
async fn certificates(directory: &Path) {
    std::fs::write(directory.join("extensions"), "subjectAltName=DNS:localhost\n").expect("it is ours");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(directory, &format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"))
        .await;
    for name in ["server", "client"] {
        openssl(directory, &format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}")).await;
        let signed = format!("-CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -extfile extensions");
        openssl(directory, &format!("x509 -req -in {name}.csr {signed} -days 2")).await;
    }
}

async fn with_sim() -> TestDatabase {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    database
}

async fn failures(bridge: &BridgeProcess) {
    eventually("it is refused", async || {
        (bridge.metric("simbridge_source_failures_total").await > 1.0).then_some(())
    })
    .await;
    assert_eq!(bridge.metric("simbridge_source_connected").await, 0.0);
}

/// Catches a certificate of an unknown authority that is accepted, and a client certificate that is not shown.
#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_authority_counts_and_the_own_certificate_is_shown() {
    if !installed() {
        return;
    }
    let database = with_sim().await;
    let directory = tempfile::tempdir().expect("a directory");
    certificates(directory.path()).await;
    let settings = "allow_anonymous true\ncafile DIR/ca.pem\ncertfile DIR/server.pem\nkeyfile DIR/server.key\n\
                    require_certificate true\n";
    let broker = Mosquitto::start_in(directory, settings).await;
    let url = format!("mqtts://localhost:{}", broker.address.port());
    let path = |name: &str| broker.directory().join(name).display().to_string();
    let authority = format!("ca_file = \"{}\"", path("ca.pem"));
    let own = format!("certificate_file = \"{}\", key_file = \"{}\"", path("client.pem"), path("client.key"));
    for settings in [own.clone(), authority.clone()] {
        let bridge = BridgeProcess::start(&subscribed_to(&database.url(), &url, &settings)).await;
        failures(&bridge).await;
        bridge.kill().await;
    }
    for version in [5, 3] {
        let settings = format!("{authority}, {own}, version = {version}");
        let bridge = BridgeProcess::start(&subscribed_to(&database.url(), &url, &settings)).await;
        let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
        let id = format!("r-{version}");
        let payload = record(&id, 0, 1, 1);
        eventually("it is subscribed", async || {
            (bridge.metric("simbridge_source_connected").await == 1.0).then_some(())
        })
        .await;
        let login = ["-h", "localhost", "--cafile", &ca, "--cert", &cert, "--key", &key];
        let message = ["-q", "1", "-t", TOPIC, "-m", &payload];
        broker.publish_with(&[&login[..], &message[..]].concat()).await;
        let count = format!("SELECT count(*) FROM usage_records WHERE record_id = '{id}'");
        eventually("it is stored", async || (database.number(&count).await == 1).then_some(())).await;
        assert_eq!(bridge.terminate().await, Some(0));
    }
}

fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    free.expect("a free port").port()
}

/// Publishes at the broker's other listener, and waits until what `url` brings is stored; with both versions.
async fn brings(database: &TestDatabase, broker: &Mosquitto, url: &str, settings: &str) {
    for version in [5, 3] {
        let settings = format!("version = {version}{settings}");
        let bridge = BridgeProcess::start(&subscribed_to(&database.url(), url, &settings)).await;
        eventually("it is subscribed", async || {
            (bridge.metric("simbridge_source_connected").await == 1.0).then_some(())
        })
        .await;
        let id = format!("r-{version}");
        broker.publish(TOPIC, &record(&id, 0, 1, 1)).await;
        let count = format!("SELECT count(*) FROM usage_records WHERE record_id = '{id}'");
        eventually("it is stored", async || (database.number(&count).await == 1).then_some(())).await;
        assert_eq!(bridge.terminate().await, Some(0));
    }
}

/// Catches a WebSocket without the subprotocol of MQTT.
#[tokio::test(flavor = "multi_thread")]
async fn over_websocket_it_is_the_same() {
    if !installed() {
        return;
    }
    let (database, port) = (with_sim().await, free_port());
    let settings = format!("listener {port} 127.0.0.1\nprotocol websockets\nallow_anonymous true\n");
    let broker = Mosquitto::start_with(&settings).await;
    brings(&database, &broker, &format!("ws://127.0.0.1:{port}/mqtt"), "").await;
}

/// Catches a WebSocket that is not encrypted, or that trusts whoever answers.
#[tokio::test(flavor = "multi_thread")]
async fn over_websocket_and_tls_too_and_the_authority_counts() {
    if !installed() {
        return;
    }
    let (database, port) = (with_sim().await, free_port());
    let directory = tempfile::tempdir().expect("a directory");
    certificates(directory.path()).await;
    let settings = format!(
        "allow_anonymous true\nlistener {port} 127.0.0.1\nprotocol websockets\ncertfile DIR/server.pem\n\
         keyfile DIR/server.key\n"
    );
    let broker = Mosquitto::start_in(directory, &settings).await;
    let url = format!("wss://localhost:{port}/mqtt");
    let bridge = BridgeProcess::start(&subscribed_to(&database.url(), &url, "")).await;
    failures(&bridge).await;
    bridge.kill().await;
    let authority = broker.directory().join("ca.pem").display().to_string();
    brings(&database, &broker, &url, &format!(", ca_file = \"{authority}\"")).await;
}
