//! The demo's past: stored once, whoever interrupts it, without keeping the fleet waiting, and right in every figure.

use std::path::Path;
use std::process::Stdio;

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use simulator::fleet::{Fleet, FleetSpec};
use tokio::process::{Child, Command};

use crate::harness::api::TestApi;
use crate::harness::bridge::simbridge;
use crate::harness::database::{TestDatabase, now};
use crate::harness::{PATIENCE, eventually};

const HISTORY: &str = "FROM usage_records WHERE record_id LIKE '%-demo-history-0'";

fn demo(database: &TestDatabase, directory: &Path, sims: u32, days: u16) -> Child {
    let mut command: Command = simbridge();
    command.args(["demo", "--rate", "5", "--faults", "cut=0", "--mqtt-addr", "127.0.0.1:0"]);
    command.args(["--http-addr", "127.0.0.1:0", "--sims", &sims.to_string()]);
    command.args(["--history-days", &days.to_string()]).arg("--data-dir").arg(directory);
    command.env("DATABASE_URL", database.url()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.spawn().expect("the program starts")
}

/// As Ctrl-C does it; returns the exit code and what was printed.
async fn interrupted(demo: Child) -> (Option<i32>, String) {
    let pid = demo.id().expect("it runs");
    kill(Pid::from_raw(pid as i32), Signal::SIGINT).expect("it can be signalled");
    let output = tokio::time::timeout(PATIENCE, demo.wait_with_output()).await.expect("it ends in time");
    let output = output.expect("it can be waited for");
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

async fn finished(database: &TestDatabase) {
    eventually("the history is stored", async || {
        let count = "SELECT count(*) FROM file_imports WHERE finished_at IS NOT NULL";
        (database.number(count).await == 1).then_some(())
    })
    .await;
}

/// Records of hours of a fleet's days up to the hour that the name of the file says.
async fn expected(database: &TestDatabase, sims: u32, days: i64) -> i64 {
    let names = database.rows("SELECT name FROM file_imports").await;
    let [name] = &names[..] else { panic!("one file: {names:?}") };
    let to = name.rsplit('-').next().and_then(|end| end.strip_suffix(".ndjson")).expect("a time");
    let to = format!("{}-{}-{}T{}:00:00Z", &to[..4], &to[4..6], &to[6..8], &to[9..]);
    let to: DateTime<Utc> = to.parse().expect("a time");
    let publishing = Fleet::generate(FleetSpec { sims, seed: 1 }).publishing().len() as i64;
    publishing * (days * 24 + i64::from(to.hour()))
}

/// Catches a history that a second demo stores again, also with other options, and one whose charts or invoices are not its records.
#[tokio::test]
async fn a_demo_has_a_past_that_is_stored_once_and_adds_up() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let first = demo(&database, directory.path(), 6, 40);
    finished(&database).await;
    // 40 days reach into a month that is closed.
    eventually("an invoice", async || {
        (database.number("SELECT count(*) FROM invoices").await > 0).then_some(())
    })
    .await;
    let (code, told) = interrupted(first).await;
    assert_eq!(code, Some(0), "its own proof holds: {told}");
    let count = format!("SELECT count(*) {HISTORY}");
    let stored = database.number(&count).await;
    assert_eq!(stored, expected(&database, 6, 40).await);
    assert!(told.contains(&format!("{stored} records of the last 40 days are being stored")), "{told}");
    assert!(told.contains(&format!("history     stored {stored} records in ")), "{told}");
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0, "no file is left");
    database.assert_reconciled().await;

    let api = TestApi::demo(&database).await;
    let (from, to) = (now().date_naive() - TimeDelta::days(50), now().date_naive() + TimeDelta::days(1));
    let kpis = api.get(&format!("/api/consumption/kpis?start_date={from}&end_date={to}")).await.json();
    let bytes = database.number("SELECT sum(total_bytes)::bigint FROM usage_records").await;
    assert_eq!(kpis["data"]["dataUsage"]["value"], bytes);
    assert_eq!(database.number("SELECT sum(total_bytes)::bigint FROM usage_cycles").await, bytes);
    assert_eq!(database.number("SELECT sum(data_bytes)::bigint FROM daily_usage").await, bytes);
    api.close().await;

    let all = "SELECT count(*) FROM usage_records";
    let before = database.number(all).await;
    let second = demo(&database, directory.path(), 8, 60);
    eventually("its fleet", async || (database.number(all).await > before).then_some(())).await;
    let (code, told) = interrupted(second).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains(&format!("{stored} records, stored by a demo before this one")), "{told}");
    assert_eq!(database.number(&count).await, stored);
}

/// Catches an import that begins anew after a kill with other periods, which would count hours twice: the file is gone, and the options
/// are others.
#[tokio::test]
async fn a_past_that_a_kill_interrupted_is_the_same_in_the_end() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut first = demo(&database, directory.path(), 8, 80);
    let count = format!("SELECT count(*) {HISTORY}");
    eventually("the first records", async || (database.number(&count).await > 0).then_some(())).await;
    first.kill().await.expect("it can be killed");
    assert!(database.number(&count).await < expected(&database, 8, 80).await, "it is interrupted");
    for file in std::fs::read_dir(directory.path()).expect("a directory") {
        std::fs::remove_file(file.expect("an entry").path()).expect("it can be removed");
    }
    let second = demo(&database, directory.path(), 5, 10);
    finished(&database).await;
    let (code, told) = interrupted(second).await;
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(database.number(&count).await, expected(&database, 8, 80).await);
    let parked = "SELECT count(*) FROM quarantine WHERE via = 'file'";
    assert_eq!(database.number(parked).await, 0, "it is in no conflict with itself");
    database.assert_reconciled().await;
}

/// Catches a fleet that begins only when its past is stored: here the file of it never ends.
#[tokio::test]
async fn the_fleet_does_not_wait_for_its_past() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    // The hour may end before the program looks at the clock.
    for hour in [now(), now() + TimeDelta::hours(1)] {
        let path = directory.path().join(format!("demo-history-1-6-30-{}.ndjson", hour.format("%Y%m%dT%H")));
        let mode = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
        nix::unistd::mkfifo(&path, mode).expect("a pipe that nobody writes to");
    }
    let mut demo = demo(&database, directory.path(), 6, 30);
    eventually("what the fleet publishes", async || {
        (database.number("SELECT count(*) FROM usage_records").await > 10).then_some(())
    })
    .await;
    assert_eq!(database.number(&format!("SELECT count(*) {HISTORY}")).await, 0);
    demo.kill().await.expect("it can be killed");
}

#[tokio::test]
async fn a_demo_without_a_past_has_none() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let demo = demo(&database, directory.path(), 6, 0);
    eventually("what the fleet publishes", async || {
        (database.number("SELECT count(*) FROM usage_records").await > 10).then_some(())
    })
    .await;
    let (code, told) = interrupted(demo).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(!told.contains("history"), "{told}");
    assert_eq!(database.number("SELECT count(*) FROM file_imports").await, 0);
}
