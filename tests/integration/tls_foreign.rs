//! TLS as OpenSSL sees it: what the broker agrees to, and certificates that are past their time.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tokio::process::Command;

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::database::TestDatabase;
use crate::harness::mosquitto::{Mosquitto, installed, subscribed_to};
use crate::harness::{PATIENCE, eventually};

/// An authority with a certificate for `localhost`, and others for a client: name, year of its end, and what it is for.
fn certificates(directory: &Path, server_ends: i32) {
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text).expect("it is ours");
    let key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "authority");
    write("ca.pem", authority.self_signed(&key).expect("an authority").pem());
    let authority = Issuer::new(authority, key);
    for (name, ends, usage) in [
        ("server", server_ends, ExtendedKeyUsagePurpose::ServerAuth),
        ("good", 2200, ExtendedKeyUsagePurpose::ClientAuth),
        ("expired", 2020, ExtendedKeyUsagePurpose::ClientAuth),
        ("of-a-server", 2200, ExtendedKeyUsagePurpose::ServerAuth),
    ] {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(ends, 1, 1));
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        write(&format!("{name}.pem"), params.signed_by(&key, &authority).expect("a certificate").pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

async fn started(directory: &Path, database: &TestDatabase, clients: &str) -> (BridgeProcess, SocketAddr) {
    let mut options = BridgeOptions::new(database.url());
    let path = |name: &str| directory.join(name).display().to_string();
    options
        .set("mqtt.tls.listen", "127.0.0.1:0")
        .set("mqtt.tls.certificate_file", path("server.pem"))
        .set("mqtt.tls.key_file", path("server.key"))
        .set("mqtt.tls.client_certificate", clients);
    if clients != "off" {
        options.set("mqtt.tls.client_ca_file", path("ca.pem"));
    }
    let bridge = BridgeProcess::start(&options).await;
    let address = bridge.mqtts.expect("TLS is on");
    (bridge, address)
}

/// Does a handshake; whether it succeeded, and what OpenSSL said.
async fn handshake(directory: &Path, address: SocketAddr, arguments: &str) -> (bool, String) {
    let mut command = Command::new("openssl");
    command.args([
        "s_client",
        "-connect",
        &address.to_string(),
        "-servername",
        "localhost",
        "-CAfile",
        "ca.pem",
    ]);
    command.args(["-verify_return_error", "-verify_hostname", "localhost"]);
    command.args(arguments.split_whitespace()).current_dir(directory).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("in time");
    let output = output.expect("openssl is installed");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), said)
}

/// Catches another provider of cryptography, or a configuration of it, that agrees to what nobody should use any more.
#[tokio::test(flavor = "multi_thread")]
async fn only_sound_versions_and_ciphers_are_agreed_to() {
    let (database, directory) = (TestDatabase::new().await, tempfile::tempdir().expect("a directory"));
    certificates(directory.path(), 2200);
    let (bridge, address) = started(directory.path(), &database, "off").await;
    for (arguments, agreed) in [
        ("-tls1_3", "TLS_AES_256_GCM_SHA384"),
        ("-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ] {
        let (done, said) = handshake(directory.path(), address, arguments).await;
        assert!(done && said.contains(&format!("Cipher is {agreed}")), "{arguments}: {said}");
    }
    for arguments in [
        // Everything that this OpenSSL can do, in versions that are too old.
        "-tls1 -cipher ALL:@SECLEVEL=0",
        "-tls1_1 -cipher ALL:@SECLEVEL=0",
        // Without authenticated encryption, without forward secrecy, without encryption, without a certificate.
        "-tls1_2 -cipher ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0",
        "-tls1_2 -cipher kRSA:@SECLEVEL=0",
        "-tls1_2 -cipher kDHE:kPSK:kSRP:@SECLEVEL=0",
        "-tls1_2 -cipher eNULL:@SECLEVEL=0",
        "-tls1_2 -cipher aNULL:@SECLEVEL=0",
        // The tag of half the length.
        "-tls1_2 -cipher ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0",
        "-tls1_3 -ciphersuites TLS_AES_128_CCM_8_SHA256:TLS_AES_128_CCM_SHA256",
    ] {
        let (done, said) = handshake(directory.path(), address, arguments).await;
        assert!(!done && said.contains("alert"), "the broker refuses {arguments}: {said}");
    }
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a verifier that does not look at the time or at what a certificate is for, and a door that is open without one.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_counts_within_its_time_and_for_clients_only() {
    let (database, directory) = (TestDatabase::new().await, tempfile::tempdir().expect("a directory"));
    certificates(directory.path(), 2200);
    let (bridge, address) = started(directory.path(), &database, "required").await;
    let shown = |name: &str| format!("-tls1_2 -cert {name}.pem -key {name}.key");
    let (done, said) = handshake(directory.path(), address, &shown("good")).await;
    assert!(done, "{said}");
    for (arguments, alert) in [
        (shown("expired"), "alert certificate expired"),
        (shown("of-a-server"), "alert"),
        ("-tls1_2".into(), "alert"),
    ] {
        let (done, said) = handshake(directory.path(), address, &arguments).await;
        assert!(!done && said.contains(alert), "{arguments}: {said}");
    }
    bridge.metric_becomes("simbridge_mqtt_connections_total{result=\"tls_handshake\"}", 3.0).await;
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a source that gives its password to whoever holds a certificate that is past its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_certificate_is_past_its_time_is_not_talked_to() {
    if !installed() {
        return;
    }
    let database = TestDatabase::new().await;
    let settings = "allow_anonymous true\ncertfile DIR/server.pem\nkeyfile DIR/server.key\n";
    for (ends, connected) in [(2020, 0.0), (2200, 1.0)] {
        let directory = tempfile::tempdir().expect("a directory");
        certificates(directory.path(), ends);
        let broker = Mosquitto::start_in(directory, settings).await;
        let url = format!("mqtts://me:secret@localhost:{}", broker.address.port());
        let authority = format!("ca_file = \"{}\"", broker.directory().join("ca.pem").display());
        let bridge = BridgeProcess::start(&subscribed_to(&database.url(), &url, &authority)).await;
        eventually("it is decided", async || {
            let failed = bridge.metric("simbridge_source_failures_total").await > 1.0;
            (failed || bridge.metric("simbridge_source_connected").await == 1.0).then_some(())
        })
        .await;
        assert_eq!(bridge.metric("simbridge_source_connected").await, connected, "ends in {ends}");
        assert!(connected == 1.0 || !broker.log().contains("CONNECT"), "{}", broker.log());
        bridge.kill().await;
    }
}
