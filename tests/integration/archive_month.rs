//! A month of many records, by the command: there and back, equal to the byte.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use chrono::{DateTime, Datelike, Months, NaiveTime, TimeDelta, Utc};

use crate::archive::{RECORDS, digest, digests, directory, text};
use crate::archive_files::names;
use crate::harness::bridge::simbridge;
use crate::harness::database::{TENANT, TestDatabase, now, sim};
use crate::harness::server::TestServer;

/// Records of a month that is over for a while, spread over 500 SIMs; their number from SIMBRIDGE_TEST_ARCHIVE_RECORDS.
fn month_of_records(records: usize, from: DateTime<Utc>) -> String {
    let mut csv = "recordId,iccid,periodStart,periodEnd,dataUploadBytes,dataDownloadBytes,smsCount,voiceSeconds,source,mccmnc\n".to_owned();
    let step = TimeDelta::days(28) / i32::try_from(records).expect("not too many");
    for n in 0..records {
        let start = from + step * i32::try_from(n).expect("not too many");
        let mixed = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (up, down) = (mixed >> 44, mixed >> 40);
        let (sms, voice) = (n % 50 / 49, n % 20 / 19 * 61);
        let source = if n % 3 == 0 { "" } else { "gateway-7" };
        let network = ["22801", "22802", ""][n % 3];
        let sim = mixed % 500;
        let micros = "%Y-%m-%dT%H:%M:%S%.6fZ";
        csv += &format!(
            "record-{n:08},8941000000000{sim:06},{},{},{up},{down},{sms},{voice},{source},{network}\n",
            start.format(micros),
            (start + TimeDelta::minutes(5)).format(micros),
        );
    }
    csv
}

/// Runs a command to its end; how long it took and how much memory it had at most, in KiB.
async fn measured(url: &str, arguments: &[&str]) -> (String, Duration, u64) {
    let began = Instant::now();
    let mut command = match std::env::var_os("SIMBRIDGE_TEST_PROGRAM") {
        Some(program) => tokio::process::Command::new(program),
        None => simbridge(),
    };
    command.args(arguments).env("DATABASE_URL", url).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("it starts");
    let status = PathBuf::from(format!("/proc/{}/status", child.id().expect("it runs")));
    let mut ended = std::pin::pin!(child.wait_with_output());
    let mut peak = 0;
    let output = loop {
        if let Ok(output) = tokio::time::timeout(Duration::from_millis(20), &mut ended).await {
            break output.expect("it ends");
        }
        let held = std::fs::read_to_string(&status).unwrap_or_default();
        let high = held
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        peak = peak.max(high.unwrap_or(0));
    };
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    (said, began.elapsed(), peak)
}

/// The command's way, for as many records as wanted (`SIMBRIDGE_TEST_ARCHIVE_RECORDS=1000000`) and, to measure it, by a program of another
/// profile (`SIMBRIDGE_TEST_PROGRAM=target/release/simbridge`). Catches whatever differs by one byte, and
/// rows that are skipped at the edges of row groups.
#[tokio::test(flavor = "multi_thread")]
async fn a_month_of_many_records_comes_back_equal_to_the_byte() {
    let records =
        std::env::var("SIMBRIDGE_TEST_ARCHIVE_RECORDS").map_or(70_000, |n| n.parse().expect("a number"));
    let database = TestDatabase::new().await;
    let url = TestServer::shared().owner_url_for(&database.name);
    let sims: Vec<_> = (0..450).map(|n| sim(&format!("8941000000000{n:06}"))).collect();
    let today = now().date_naive();
    let month = today.with_day(1).expect("a first") - Months::new(3);
    let from = month.and_time(NaiveTime::MIN).and_utc();
    database.store.import_sims(TENANT, &sims, from - TimeDelta::days(40)).await.expect("an import");
    let directory = directory();
    let csv = directory.path().join("month.csv");
    std::fs::write(&csv, month_of_records(records, from)).expect("a file");
    measured(&url, &["import", text(&csv)]).await;
    measured(&url, &["rollup"]).await;
    let before = (digest(&database, RECORDS).await, digests(&database).await);
    let count = "SELECT count(*) FROM usage_records";
    assert_eq!(database.number(count).await, records as i64);

    let archives = directory.path().join("archives");
    std::fs::create_dir(&archives).expect("a directory");
    let name = month.format("%Y-%m").to_string();
    let create = ["archive", "create", "--through", &name, "--dir", text(&archives)];
    let (said, created, create_peak) = measured(&url, &create).await;
    assert!(said.contains(&format!("{name}: {records} records, ")), "{said}");
    assert_eq!(database.number(count).await, 0);
    assert_eq!(digests(&database).await, before.1);
    let (proof, ..) = measured(&url, &["reconcile"]).await;
    assert!(proof.starts_with("0 records, "), "{proof}");
    let file = archives.join(format!("usage_records_{name}.parquet"));
    let bytes = std::fs::metadata(&file).expect("a file").len();
    let (said, verified, verify_peak) = measured(&url, &["archive", "verify"]).await;
    assert!(said.contains("as archived"), "{said}");
    assert_eq!(names(&archives).len(), 1, "nothing else is left");

    let (_, restored, restore_peak) = measured(&url, &["archive", "restore", "--from", &name]).await;
    assert_eq!((digest(&database, RECORDS).await, digests(&database).await), before);
    measured(&url, &["reconcile"]).await;
    eprintln!(
        "{records} records: {bytes} bytes of Parquet; create {created:.1?}, {create_peak} KiB; verify {verified:.1?}, \
         {verify_peak} KiB; restore {restored:.1?}, {restore_peak} KiB"
    );
    for peak in [create_peak, verify_peak, restore_peak] {
        assert!(peak < 256 << 10, "{peak} KiB");
    }
}
