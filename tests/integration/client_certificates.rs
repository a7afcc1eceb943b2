//! Logging in with a certificate.

use nix::sys::signal::Signal;

use crate::harness::bridge::{BridgeOptions, BridgeProcess, command};
use crate::harness::certificates::{Certificates, connect_tls};
use crate::harness::database::TestDatabase;
use crate::harness::packets::Client;
use crate::harness::pipeline::record;

const ICCID: &str = "8941000000000000001";
const BAD_LOGIN: u8 = 4;

async fn start(database: &TestDatabase, certificates: &Certificates, clients: &str) -> BridgeProcess {
    BridgeProcess::start(&options(database, certificates, clients)).await
}

fn options(database: &TestDatabase, certificates: &Certificates, clients: &str) -> BridgeOptions {
    let mut options = BridgeOptions::new(database.url());
    options.anonymous = false;
    certificates.configure(&mut options);
    options.set("mqtt.tls.client_certificate", clients);
    options.set("mqtt.tls.client_ca_file", certificates.text("ca.pem"));
    options.set("mqtt.login_failure_delay_milliseconds", "0");
    options
}

/// Adds a user; its password.
async fn add(database: &TestDatabase, user: &str, tenant: &str) -> String {
    let (code, said, error) = command(database, &["devices", "add", user, "--tenant", tenant]).await;
    assert_eq!(code, Some(0), "{error}");
    said.rsplit(' ').next().expect("a password").to_owned()
}

/// Catches a login without looking the user up (the revoked and the unknown one then pass), a certificate that opens another
/// user's door, and a wrong password that is not looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_stands_for_the_user_that_it_names_and_for_no_other() {
    let database = TestDatabase::new().await;
    database.tenant("acme", "UTC").await;
    let certificates = Certificates::create(&["meter-1", "stolen", "nobody"]).await;
    let password = add(&database, "meter-1", "acme").await;
    let other_password = add(&database, "other", "default").await;
    add(&database, "stolen", "default").await;
    assert_eq!(command(&database, &["devices", "revoke", "stolen"]).await.0, Some(0));
    let bridge = start(&database, &certificates, "optional").await;
    let log_in = async |certificate: Option<&str>, login: Option<(&str, &str)>| {
        let stream =
            connect_tls(bridge.mqtts, &certificates.connector(certificate)).await.expect("a handshake");
        Client::connect(stream, "d", login).await.expect("a CONNACK")
    };
    let (mut meter, code) = log_in(Some("meter-1"), None).await;
    assert_eq!(code, 0);
    meter.publish(1, ICCID, &record("c-1", 0, 1, 1)).await.expect("a PUBACK");
    let tenant = "SELECT t.name FROM usage_records r JOIN tenants t ON t.id = r.tenant_id";
    assert_eq!(database.text(tenant, &[]).await, "acme");

    let meter = Some("meter-1");
    for (certificate, login, expected) in [
        (meter, Some(("meter-1", "")), 0),
        (meter, Some(("meter-1", &*password)), 0),
        (meter, Some(("meter-1", "wrong")), BAD_LOGIN),
        (meter, Some(("other", &*other_password)), BAD_LOGIN),
        (Some("stolen"), None, BAD_LOGIN),
        (Some("nobody"), None, BAD_LOGIN),
        (None, None, BAD_LOGIN),
        (None, Some(("meter-1", "")), BAD_LOGIN),
        (None, Some(("meter-1", &*password)), 0),
    ] {
        assert_eq!(log_in(certificate, login).await.1, expected, "{certificate:?} {login:?}");
    }

    // Revoked while the program runs: refused from the next connection on.
    assert_eq!(command(&database, &["devices", "revoke", "meter-1"]).await.0, Some(0));
    assert_eq!(log_in(meter, None).await.1, BAD_LOGIN);
}

/// Catches a verifier that takes any certificate: CN `meter-1` of another authority would be meter-1.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_refused_in_the_handshake() {
    let database = TestDatabase::new().await;
    let (certificates, forged) =
        (Certificates::create(&["meter-1"]).await, Certificates::create(&["meter-1"]).await);
    add(&database, "meter-1", "default").await;
    for clients in ["optional", "required"] {
        let bridge = start(&database, &certificates, clients).await;
        // With TLS 1.3 the client learns it when it reads.
        let attempt = async |connector| match connect_tls(bridge.mqtts, &connector).await {
            Ok(stream) => Client::connect(stream, "d", None).await.map(|(_, code)| code),
            Err(error) => Err(error),
        };
        assert_eq!(attempt(certificates.connector(Some("meter-1"))).await.expect("it logs in"), 0);
        let refused = attempt(certificates.connector_as(Some((&forged, "meter-1")))).await;
        assert!(refused.is_err(), "{clients}: {refused:?}");
        let without = attempt(certificates.connector(None)).await;
        match clients {
            "required" => assert!(without.is_err(), "{without:?}"),
            _ => assert_eq!(without.expect("an answer"), BAD_LOGIN),
        }
        let failed = if clients == "required" { 2.0 } else { 1.0 };
        bridge.metric_becomes("simbridge_mqtt_connections_total{result=\"tls_handshake\"}", failed).await;
    }
}

/// Catches a revocation list that is not looked at, one that is read at the start only, and a broken one that ends the checking.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_is_refused_from_the_reload_of_the_list_on() {
    let (database, certificates) = (TestDatabase::new().await, Certificates::create(&["good", "bad"]).await);
    for device in ["good", "bad"] {
        add(&database, device, "default").await;
    }
    certificates.revoke(&[]).await;
    let mut options = options(&database, &certificates, "optional");
    options.set("mqtt.tls.crl_file", certificates.text("crl.pem"));
    let bridge = BridgeProcess::start(&options).await;
    let enters =
        async |device: &str| match connect_tls(bridge.mqtts, &certificates.connector(Some(device))).await {
            Ok(stream) => Client::connect(stream, device, None).await.is_ok_and(|(_, code)| code == 0),
            Err(_) => false,
        };
    let hang_up = async |result: &str, times: f64| {
        bridge.signal(Signal::SIGHUP);
        let metric = format!("simbridge_mqtt_certificate_reloads_total{{result=\"{result}\"}}");
        bridge.metric_becomes(&metric, times).await;
    };
    assert!(enters("good").await && enters("bad").await);
    certificates.revoke(&["bad"]).await;
    hang_up("ok", 1.0).await;
    assert!(enters("good").await && !enters("bad").await);
    std::fs::write(certificates.path("crl.pem"), "no list").expect("it is ours");
    hang_up("failed", 1.0).await;
    assert!(bridge.log().iter().any(|line| line.contains("mqtt.tls.crl_file")), "{:#?}", bridge.log());
    assert!(enters("good").await && !enters("bad").await, "the list from before goes on counting");
    assert_eq!(bridge.terminate().await, Some(0));
}
