//! The machine's clock jumps under the program, and nights in which the clocks of the tenant's country do.
//!
//! libfaketime stands between the program and the wall clock. The monotonic clock goes on, as it does when somebody sets the
//! time.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use crate::effort::either;
use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::mqtt::{Answer, Hello, MqttClient};
use crate::harness::pipeline::{record_at, time};
use crate::scene::Scene;

const ICCID: &str = "8941000000000000001";
const TOPIC: &str = "simportal/sims/8941000000000000001/usage";

/// Sets the program's wall clock.
struct FakeTime {
    library: PathBuf,
    file: tempfile::NamedTempFile,
}

impl FakeTime {
    /// `None` where libfaketime is not installed.
    fn find() -> Option<Self> {
        let places = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
        let library = places.iter().map(|place| Path::new(place).join("faketime/libfaketimeMT.so.1"));
        let Some(library) = library.into_iter().find(|library| library.exists()) else {
            assert!(std::env::var_os("CI").is_none(), "install libfaketime");
            eprintln!("NOT RUN: install libfaketime to run this test");
            return None;
        };
        Some(Self { library, file: tempfile::NamedTempFile::new().expect("a file") })
    }

    fn on(&self, options: &mut BridgeOptions) {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        options.env.extend([
            ("LD_PRELOAD".into(), path(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE".into(), path(self.file.path())),
            // Looked at for each question for the time.
            ("FAKETIME_NO_CACHE".into(), "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
            ("DONT_FAKE_MONOTONIC".into(), "1".into()),
        ]);
    }

    /// An offset such as `+1h`, or a time such as `@2026-10-25 00:59:58`, from which it runs on.
    fn set(&self, time: &str) {
        std::fs::write(self.file.path(), time).expect("it is ours");
    }
}

/// What the program takes as now, from its answer about its health.
async fn told_time(bridge: &BridgeProcess) -> DateTime<Utc> {
    let (_, body) = bridge.get("/api/v1/health").await;
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    time(body["timestamp"].as_str().expect("a time"))
}

/// Catches pauses, leases and keep-alives by the wall clock (after the jump back they take an hour; after the jump ahead every
/// device is thrown out), and rollups that are due by it alone.
#[tokio::test(flavor = "multi_thread")]
async fn jumps_of_the_clock_by_an_hour_throw_nobody_out_and_stop_nothing() {
    let Some(clock) = FakeTime::find() else { return };
    clock.set("+0");
    let mut scene = Scene::set().await;
    clock.on(&mut scene.options);
    let bridge = scene.bridge().await;
    let fleet = scene.fleet();
    for turn in 0..either(1, 20) {
        for (offset, hours) in [("+1h", 1), ("-1h", -1), ("+0", 0)] {
            fleet.more_acked(200).await;
            clock.set(offset);
            let ahead = told_time(&bridge).await - crate::harness::database::now();
            let wanted = TimeDelta::hours(hours);
            assert!((ahead - wanted).abs() < TimeDelta::minutes(5), "{turn}: {ahead} instead of {wanted}");
            fleet.more_acked(500).await;
            let chunks = bridge.metric("simbridge_rollup_chunks_total").await;
            eventually("rollups go on", async || {
                (bridge.metric("simbridge_rollup_chunks_total").await > chunks).then_some(())
            })
            .await;
        }
    }
    assert_eq!(fleet.stats.snapshot().reconnects, 0, "nobody was thrown out");
    scene.prove(fleet, bridge).await;
}

/// Publishes the whole local day while the program's clock passes the moment at which the zone's changes; asserts how the
/// day's records are told.
async fn through_the_night(clock: &FakeTime, eve: &str, change: &str, hours: i64) {
    let database = TestDatabase::new().await;
    database.run("UPDATE tenants SET time_zone = 'Europe/Zurich' WHERE id = 1").await;
    database.import_at(eve, &[sim(ICCID)]).await;
    let mut options = BridgeOptions::new(database.url());
    options.set("rollup.flush_after_ms", "100");
    clock.on(&mut options);
    let change = time(change);
    clock.set(&(change - TimeDelta::seconds(2)).format("@%Y-%m-%d %H:%M:%S").to_string());
    let bridge = BridgeProcess::start(&options).await;
    let hello = Hello { v5: false, id: "meter", user: None, password: None };
    let mut client = MqttClient::connect(bridge.mqtt, hello).await;
    let first = time(eve);
    let mut quarters = 0;
    for n in 0..hours * 4 {
        let at = (first + TimeDelta::minutes(15 * n)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
        assert_eq!(client.publish(TOPIC, &record_at(&format!("q-{n}"), &at, 1)).await, Answer::Acknowledged);
        quarters += 1;
        if n == hours * 2 {
            eventually("the hour of the change", async || (told_time(&bridge).await >= change).then_some(()))
                .await;
        }
    }
    for (name, at) in [("before", first - TimeDelta::seconds(1)), ("after", first + TimeDelta::hours(hours))]
    {
        let at = at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        assert_eq!(client.publish(TOPIC, &record_at(name, &at, 1)).await, Answer::Acknowledged);
    }
    eventually("rollups of everything", async || {
        (database.number("SELECT count(*) FROM rollup_markers").await == 0).then_some(())
    })
    .await;
    assert_eq!(database.number("SELECT count(*) FROM quarantine").await, 0);
    let day = change.date_naive();
    let (before, after) = (day.pred_opt().expect("a day"), day.succ_opt().expect("a day"));
    let days = database.rows("SELECT usage_date, data_bytes FROM daily_usage ORDER BY usage_date").await;
    assert_eq!(days, [format!("{before}|1"), format!("{day}|{quarters}"), format!("{after}|1")]);
    assert_eq!(database.number("SELECT count(*) FROM hourly_usage").await, hours + 2);
    database.assert_reconciled().await;
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches days by UTC or by a fixed offset (the neighbours then have records of the day), hours of local time (the hour that
/// comes twice is then one), and a worker that stops when the local clock is set back.
#[tokio::test(flavor = "multi_thread")]
async fn days_of_23_and_25_hours_hold_each_record_once_while_the_program_lives_through_them() {
    let Some(clock) = FakeTime::find() else { return };
    through_the_night(&clock, "2026-10-24T22:00:00Z", "2026-10-25T01:00:00Z", 25).await;
    through_the_night(&clock, "2026-03-28T23:00:00Z", "2026-03-29T01:00:00Z", 23).await;
}
