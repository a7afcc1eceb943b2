//! Certificates that change while the program runs.

use nix::sys::signal::Signal;
use simbridge::domain::Clock;

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::certificates::{Certificates, connect_tls};
use crate::harness::database::TestDatabase;
use crate::harness::eventually;
use crate::harness::packets::Client;
use crate::harness::pipeline::record;

const ICCID: &str = "8941000000000000001";

async fn hang_up(bridge: &BridgeProcess, result: &str, times: f64) {
    bridge.signal(Signal::SIGHUP);
    let metric = format!("simbridge_mqtt_certificate_reloads_total{{result=\"{result}\"}}");
    bridge.metric_becomes(&metric, times).await;
}

/// Catches a reload that ends connections, one that does nothing, and one that takes broken files.
#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_count_for_new_handshakes_and_broken_ones_for_none() {
    let database = TestDatabase::new().await;
    let (first, second) = (Certificates::create(&[]).await, Certificates::create(&[]).await);
    let mut options = BridgeOptions::new(database.url());
    first.configure(&mut options);
    let bridge = BridgeProcess::start(&options).await;
    let (trusts_first, trusts_second) = (first.connector(None), second.connector(None));
    let stream = connect_tls(bridge.mqtts, &trusts_first).await.expect("the first certificate");
    let (mut standing, _) = Client::connect(stream, "standing", None).await.expect("a CONNACK");

    first.replace_server(&second);
    assert!(connect_tls(bridge.mqtts, &trusts_first).await.is_ok(), "nothing changes by itself");
    hang_up(&bridge, "ok", 1.0).await;
    standing.publish(1, ICCID, &record("s-1", 0, 1, 1)).await.expect("the connection stands");
    for address in [bridge.mqtts, bridge.wss] {
        assert!(connect_tls(address, &trusts_second).await.is_ok(), "the second certificate");
        assert!(connect_tls(address, &trusts_first).await.is_err(), "the first one is gone");
    }

    // A key of somebody else, and then no file at all.
    std::fs::copy(Certificates::create(&[]).await.path("server.key"), first.path("server.key"))
        .expect("copied");
    hang_up(&bridge, "failed", 1.0).await;
    std::fs::remove_file(first.path("server.pem")).expect("removed");
    hang_up(&bridge, "failed", 2.0).await;
    assert!(connect_tls(bridge.mqtts, &trusts_second).await.is_ok(), "the second one goes on counting");
    standing.publish(2, ICCID, &record("s-2", 0, 1, 1)).await.expect("the connection stands");
    let log = bridge.log();
    let errors: Vec<_> = log.iter().filter(|line| line.contains("\"ERROR\"")).collect();
    assert_eq!(errors.len(), 2, "one line for each: {errors:?}");
    assert!(errors[0].contains("mqtt.tls.key_file") && errors[1].contains("mqtt.tls.certificate_file"));
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 2);
    assert_eq!(bridge.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_expiry_of_the_certificate_is_a_metric() {
    let (database, certificates) = (TestDatabase::new().await, Certificates::create(&[]).await);
    let mut options = BridgeOptions::new(database.url());
    let plain = BridgeProcess::start(&options).await;
    let metric = "simbridge_mqtt_certificate_expiry_timestamp_seconds";
    assert_eq!(plain.metric(metric).await, 0.0);
    certificates.configure(&mut options);
    let bridge = BridgeProcess::start(&options).await;
    let expires = eventually(metric, async || Some(bridge.metric(metric).await).filter(|at| *at > 0.0)).await;
    let days = (expires - Clock::System.now().timestamp() as f64) / 86_400.0;
    assert!((395.0..398.0).contains(&days), "{days}");
}
