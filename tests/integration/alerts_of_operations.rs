//! Each alert of `config/prometheus/rules` fires for the fault that it is for: the real program, the fault itself, and a real
//! Prometheus with the repository's rules. Only what they wait is left out; `promtool test rules` proves that (`monitoring.rs`).

use std::path::Path;

use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::certificates::Certificates;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::mosquitto::subscribed_to;
use crate::harness::packets::{Client, publish};
use crate::harness::pipeline::{TestPipeline, record};
use crate::harness::prometheus::{Prometheus, installed};
use crate::harness::proxy::Proxy;
use crate::harness::server::{connect, open_to_others};
use crate::harness::small_disk::SmallDisk;

const ICCID: &str = "8941000000000000001";

async fn device(bridge: &BridgeProcess) -> Client<TcpStream> {
    let stream = TcpStream::connect(bridge.mqtt).await.expect("it listens");
    Client::connect(stream, "meter", None).await.expect("a CONNACK").0
}

/// Catches alerts that look at figures which stand still, or are not told, while the database is away.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_tell_that_the_database_is_away_and_that_the_program_is() {
    if !installed() {
        return;
    }
    let database = TestDatabase::new().await;
    let proxy = Proxy::to(&database.name).await;
    let mut options = BridgeOptions::new(proxy.url());
    options.set("mqtt.max_unacked_bytes_per_connection", "300000");
    let bridge = BridgeProcess::start(&options).await;
    let prometheus = Prometheus::watching(&[bridge.http]).await;
    let mut device = device(&bridge).await;
    device.publish(1, ICCID, &record("before", 1, 1, 1)).await.expect("a PUBACK");
    prometheus.is_quiet(1).await;

    proxy.refuse();
    for n in 2..6 {
        let large = record(&format!("r-{n}"), 1, 1, 1) + &" ".repeat(200_000);
        device.0.write_all(&publish(n, ICCID, &large)).await.expect("sockets take it");
    }
    prometheus.fires("SimbridgeReadingPaused", &[("severity", "warning")]).await;
    prometheus.fires("SimbridgeNotReady", &[("check", "database")]).await;
    prometheus.fires("SimbridgeIngestLag", &[]).await;
    proxy.open();
    for alert in ["SimbridgeReadingPaused", "SimbridgeNotReady", "SimbridgeIngestLag"] {
        prometheus.resolves(alert).await;
    }
    let stored = "SELECT count(*) FROM usage_records";
    eventually("all is stored", async || (database.number(stored).await == 5).then_some(())).await;

    let instance = bridge.http.to_string();
    bridge.kill().await;
    prometheus.fires("SimbridgeDown", &[("instance", &instance), ("job", "simbridge")]).await;
}

/// Signs the key of `name` anew, by the authority or, if it is the authority, by itself.
async fn sign(certificates: &Certificates, name: &str, into: &str, days: u32) {
    let subject = "/CN=localhost";
    let days = days.to_string();
    let (key, request) = (format!("{name}.key"), format!("{into}.csr"));
    let commands: Vec<Vec<&str>> = if name == "ca" {
        vec![vec!["req", "-x509", "-new", "-key", &key, "-subj", subject, "-days", &days, "-out", into]]
    } else {
        let sign = [
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            "names",
        ];
        // Without extensions it would be one of version 1, which nobody takes.
        std::fs::write(certificates.path("names"), "subjectAltName=DNS:localhost\n").expect("it is ours");
        vec![
            vec!["req", "-new", "-key", &key, "-subj", subject, "-out", &request],
            [&sign[..], &["-days", &days, "-out", into]].concat(),
        ]
    };
    for arguments in commands {
        let mut command = tokio::process::Command::new("openssl");
        let done =
            command.args(&arguments).current_dir(certificates.path(".")).output().await.expect("openssl");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

/// Catches the expiry of one certificate told as that of another, and one that is read at the start and not again.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_tell_which_certificate_expires_and_that_new_ones_cannot_be_used() {
    if !installed() {
        return;
    }
    let (database, certificates) = (TestDatabase::new().await, Certificates::create(&["meter"]).await);
    let mut options = BridgeOptions::new(database.url());
    certificates.configure(&mut options);
    options.set("mqtt.tls.client_certificate", "optional");
    options.set("mqtt.tls.client_ca_file", certificates.text("clients.pem"));
    let copy = |from: &str, to: &str| {
        std::fs::copy(certificates.path(from), certificates.path(to)).expect("it is ours");
    };
    copy("ca.pem", "clients.pem");
    copy("server.pem", "long.pem");
    let bridge = BridgeProcess::start(&options).await;
    let prometheus = Prometheus::watching(&[bridge.http]).await;
    prometheus.is_quiet(1).await;

    sign(&certificates, "server", "server.pem", 5).await;
    bridge.signal(Signal::SIGHUP);
    prometheus.fires("SimbridgeCertificateExpires", &[("certificate", "server")]).await;
    copy("long.pem", "server.pem");
    sign(&certificates, "ca", "clients.pem", 5).await;
    bridge.signal(Signal::SIGHUP);
    prometheus.fires("SimbridgeCertificateExpires", &[("certificate", "client_ca")]).await;
    copy("ca.pem", "clients.pem");
    bridge.signal(Signal::SIGHUP);
    prometheus.resolves("SimbridgeCertificateExpires").await;
    std::fs::write(certificates.path("server.pem"), "not a certificate").expect("it is ours");
    bridge.signal(Signal::SIGHUP);
    prometheus.fires("SimbridgeCertificateReloadFailed", &[("result", "failed")]).await;
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches counters that appear with their first event, of which no query sees an increase.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_tell_of_parked_records_wrong_totals_and_of_webhooks_that_heard_nothing() {
    if !installed() {
        return;
    }
    let database = TestDatabase::new().await;
    database.import(&[crate::alerts::limited(ICCID, 1_000)]).await;
    let nobody = "INSERT INTO alert_webhooks (tenant_id, url, secret, created_at) VALUES (1, 'http://127.0.0.1:9/', 's', now())";
    database.run(nobody).await;
    let mut options = BridgeOptions::new(database.url());
    for (key, value) in [
        ("reconcile.pause_ms", "100"),
        ("reconcile.max_busy_percent", "100"),
        ("alerts.pause_ms", "100"),
        ("alerts.webhook_attempts", "1"),
        ("alerts.webhook_allow_private", "true"),
    ] {
        options.set(key, value);
    }
    let bridge = BridgeProcess::start(&options).await;
    let prometheus = Prometheus::watching(&[bridge.http]).await;
    let mut device = device(&bridge).await;
    device.publish(1, ICCID, &record("good", 1, 1, 1)).await.expect("a PUBACK");
    prometheus.is_quiet(1).await;

    device.publish(2, ICCID, "{}").await.expect("a PUBACK");
    prometheus.fires("SimbridgeQuarantineGrows", &[("reason", "invalid")]).await;
    device.publish(3, ICCID, &record("beyond", 1, 1_000, 1_000)).await.expect("a PUBACK");
    prometheus.fires("SimbridgeWebhookGivenUp", &[("result", "given_up")]).await;
    database.run("UPDATE usage_cycles SET total_bytes = total_bytes + 1 WHERE record_count > 0").await;
    prometheus.fires("SimbridgeReconcileViolations", &[("invariant", "I1")]).await;
    database.run("UPDATE usage_cycles SET total_bytes = total_bytes - 1 WHERE record_count > 0").await;
    prometheus.resolves("SimbridgeReconcileViolations").await;
    eventually("the parked one is counted", async || {
        (bridge.metric("simbridge_quarantine_records").await == 1.0).then_some(())
    })
    .await;
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a lag that is told by the worker that hangs, a runway that is looked at only when partitions are made, and a check that
/// fails without a word.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_tell_of_charts_partitions_checks_and_sources_that_stand_still() {
    if !installed() {
        return;
    }
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    let well = BridgeProcess::start(&BridgeOptions::new(database.url())).await;
    let blind = TestDatabase::new().await;
    blind.run("REVOKE SELECT ON record_keys FROM simbridge_serve, simbridge_ingest").await;
    // Nobody listens at the address of its source.
    let mut options = subscribed_to(&blind.url(), "mqtt://127.0.0.1:9", "");
    options.set("reconcile.pause_ms", "100");
    options.set("reconcile.max_busy_percent", "100");
    let prometheus = Prometheus::watching(&[well.http]).await;
    prometheus.is_quiet(1).await;

    let ahead = "simbridge_partition_runway_days";
    eventually(ahead, async || (well.metric(ahead).await >= 62.0).then_some(())).await;
    let drop = "DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage_records'::regclass LOOP
            IF name >= 'usage_records_y' || to_char(now(), 'YYYY\"m\"MM') THEN EXECUTE 'DROP TABLE ' || name; END IF;
        END LOOP; END $$";
    database.run(drop).await;
    prometheus.fires("SimbridgePartitionRunwayShort", &[]).await;

    let holder = connect(&database.another_config()).await;
    let lock = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('simbridge.rollup'))";
    holder.batch_execute(lock).await.expect("the lock");
    let pipeline = TestPipeline::start(&database.store);
    pipeline.one(ICCID, record("waits", 60, 1, 1)).await;
    prometheus.fires("SimbridgeRollupLag", &[]).await;
    holder.batch_execute("COMMIT").await.expect("it ends");
    prometheus.resolves("SimbridgeRollupLag").await;

    let away = BridgeProcess::start(&options).await;
    let prometheus = Prometheus::watching(&[away.http]).await;
    prometheus.fires("SimbridgeSourceAway", &[("source", "plant")]).await;
    prometheus.fires("SimbridgeReconcileStopped", &[]).await;
    assert_eq!((away.terminate().await, well.terminate().await), (Some(0), Some(0)));
}

/// Catches the room of another disk than the one on which the private PostgreSQL writes.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_tells_that_the_disk_of_the_private_database_fills() {
    if !installed() {
        return;
    }
    let Some(disk) = SmallDisk::mount() else { return };
    let data = disk.path().join("data");
    std::fs::create_dir(&data).expect("a directory");
    open_to_others(&data);
    let mut options = BridgeOptions::new("");
    options.set("data_dir", text(&data));
    let bridge = BridgeProcess::start(&options).await;
    let prometheus = Prometheus::watching(&[bridge.http]).await;
    prometheus.is_quiet(1).await;
    disk.take(disk.left() - 16).expect("there is room");
    prometheus.fires("SimbridgeDiskFills", &[]).await;
    disk.free();
    assert_eq!(bridge.terminate().await, Some(0));
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
