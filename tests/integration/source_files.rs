//! Directories of files: what is taken, what is put aside, and what is told of it.

use std::io::Write;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::harness::bridge::{BridgeProcess, command};
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::spool::{HEADER, Spool, counted, fast, minutes_ago, rows, slow};

const ICCID: &str = "8941000000000000001";

async fn database() -> TestDatabase {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    database
}

fn packed(content: &str) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(content.as_bytes()).expect("it is memory");
    writer.finish().expect("it is memory")
}

/// `files` of the source in `/statusz`, and its last error.
async fn told(bridge: &BridgeProcess) -> (Value, Value) {
    let status: Value = serde_json::from_str(&bridge.get("/statusz").await.1).expect("it is JSON");
    (status["sources"][0]["files"].clone(), status["sources"][0]["lastError"].clone())
}

/// Catches a file that counts again under another name or packed, and one that takes the place of another one in done/.
#[tokio::test(flavor = "multi_thread")]
async fn a_content_counts_once_whatever_it_is_called() {
    let (database, spool) = (database().await, Spool::new());
    let at = minutes_ago(30);
    let record = format!(
        r#"{{"recordId":"n","iccid":"{ICCID}","periodStart":"{at}","periodEnd":"{at}","usage":{{"totalBytes":1000}}}}"#
    );
    let csv = format!("{HEADER}{}", rows(ICCID, 0, 10));
    spool.put("a.csv", &csv);
    spool.put("b.ndjson", &record);
    spool.put("c.csv.gz", packed(&format!("{HEADER}{}", rows(ICCID, 10, 30))));
    let bridge = BridgeProcess::start(&spool.instance(&database, "")).await;
    spool.holds("done", &["a.csv", "b.ndjson", "c.csv.gz"]).await;
    assert_eq!(counted(&database).await, 1_030);
    spool.put("again.csv", &csv);
    spool.put("packed.csv.gz", packed(&csv));
    spool.put("a.csv", format!("{HEADER}{}", rows(ICCID, 5, 35)));
    spool.holds("done", &["a.csv", "a.csv.1", "again.csv", "b.ndjson", "c.csv.gz", "packed.csv.gz"]).await;
    assert_eq!(counted(&database).await, 1_035, "five rows are new");
    assert_eq!(database.number("SELECT count(*) FROM file_imports").await, 4);
    bridge.metric_becomes("simbridge_source_files_waiting", 0.0).await;
    let (files, error) = told(&bridge).await;
    assert_eq!((&files["done"], &files["failed"], &error), (&6.into(), &0.into(), &Value::Null), "{files}");
    assert_eq!((&files["rowsStored"], &files["rowsDuplicate"]), (&36.into(), &25.into()), "{files}");
    assert_eq!(bridge.metric("simbridge_source_file_rows_total").await, 61.0);
    let shown = command_of(&database, &bridge).await;
    assert!(
        shown.contains("files of cdr: 6 done, 0 failed, 0 waiting; rows: 36 stored, 25 duplicate"),
        "{shown}"
    );
    assert_eq!(bridge.terminate().await, Some(0));
    database.assert_reconciled().await;
}

async fn command_of(database: &TestDatabase, bridge: &BridgeProcess) -> String {
    let address = bridge.http.to_string();
    let (_, told, wrong) = command(database, &["--http-addr", &address, "status"]).await;
    format!("{told}{wrong}")
}

/// Catches a file whose good rows are lost with its bad ones, and one that cannot be used and is tried for ever.
#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_are_parked_and_a_file_that_is_none_is_put_aside_with_the_reason() {
    let (database, spool) = (database().await, Spool::new());
    let bad = format!("{HEADER}{}x,{ICCID},soon,,1\n{}", rows(ICCID, 0, 2), rows(ICCID, 2, 4));
    spool.put("bad.csv", bad);
    spool.put("wrong.csv", "iccid,colour\n1,red\n");
    spool.put("broken.csv.gz", &packed(&format!("{HEADER}{}", rows(ICCID, 0, 900)))[..200]);
    spool.put("large.csv", format!("{HEADER}{}", rows(ICCID, 0, 200)));
    let bridge = BridgeProcess::start(&spool.instance(&database, "file_max_bytes = 8192")).await;
    spool.holds("", &[]).await;
    spool.holds("done", &["bad.csv"]).await;
    let failed = ["broken.csv.gz", "large.csv", "wrong.csv"];
    let all = failed.iter().flat_map(|name| [(*name).to_owned(), format!("{name}.reason.txt")]);
    let all: Vec<String> = all.collect();
    assert_eq!(spool.names("failed"), all);
    let reason = |name: &str| std::fs::read_to_string(spool.path(&format!("failed/{name}.reason.txt")));
    let wrong = reason("wrong.csv").expect("it is there");
    assert!(wrong.starts_with("wrong.csv: the header names `colour`, which is no column"), "{wrong}");
    assert!(reason("broken.csv.gz").expect("it is there").starts_with("cannot read broken.csv.gz: "));
    assert!(reason("large.csv").expect("it is there").starts_with("large.csv holds more than 8192 bytes"));
    assert_eq!(counted(&database).await, 4);
    let parked = database.rows("SELECT reason, via, topic FROM quarantine").await;
    assert_eq!(parked, ["invalid|file|bad.csv:4"]);
    // Mended, under its old name.
    spool.put("wrong.csv", format!("{HEADER}{}", rows(ICCID, 4, 9)));
    spool.holds("done", &["bad.csv", "wrong.csv"]).await;
    assert_eq!(counted(&database).await, 9);
    let (files, error) = told(&bridge).await;
    assert_eq!((&files["done"], &files["failed"], &error), (&2.into(), &3.into(), &Value::Null), "{files}");
    assert_eq!(bridge.terminate().await, Some(0));
    database.assert_reconciled().await;
}

/// Catches a file of which not one row could be stored, and that is passed over when it is put there again because it was imported.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_a_usable_row_is_read_again_when_it_comes_again() {
    let (database, spool) = (database().await, Spool::new());
    let at = minutes_ago(24 * 60 * 20);
    let old = format!("{HEADER}a,{ICCID},{at},{at},7\n");
    spool.put("old.csv", &old);
    let mut options = spool.instance(&database, "");
    options.set("ingest.max_age_days", "10");
    let bridge = BridgeProcess::start(&options).await;
    spool.holds("done", &["old.csv"]).await;
    assert_eq!(bridge.terminate().await, Some(0));
    assert_eq!(counted(&database).await, 0);
    spool.put("old.csv", &old);
    let bridge = BridgeProcess::start(&spool.instance(&database, "")).await;
    spool.holds("done", &["old.csv", "old.csv.1"]).await;
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_records").await, 7);
    assert_eq!(bridge.terminate().await, Some(0));
    database.assert_reconciled().await;
}

/// Catches a look that follows links, or takes what somebody still writes.
#[tokio::test(flavor = "multi_thread")]
async fn only_ordinary_files_that_are_finished_are_taken() {
    let (database, spool) = (database().await, Spool::new());
    let elsewhere = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(elsewhere.path(), format!("{HEADER}{}", rows(ICCID, 0, 5))).expect("it is ours");
    symlink(elsewhere.path(), spool.path("link.csv")).expect("it is ours");
    nix::unistd::mkfifo(&spool.path("pipe.csv"), nix::sys::stat::Mode::S_IRWXU).expect("it is ours");
    std::fs::create_dir(spool.path("directory.csv")).expect("it is ours");
    for name in [".hidden.csv", "a.csv.part", "a.csv.tmp", "a.csv~", "a.txt"] {
        std::fs::write(spool.path(name), format!("{HEADER}{}", rows(ICCID, 0, 5))).expect("it is ours");
    }
    let bridge = BridgeProcess::start(&spool.instance(&database, "")).await;
    spool.put("z.csv", format!("{HEADER}{}", rows(ICCID, 5, 7)));
    spool.holds("done", &["z.csv"]).await;
    assert_eq!(counted(&database).await, 2);
    assert!(spool.path("link.csv").is_symlink() && spool.path("pipe.csv").exists());
    assert_eq!(bridge.terminate().await, Some(0));

    // One that is there in part, before it has settled.
    spool.put("half.csv", &format!("{HEADER}{}", rows(ICCID, 7, 9))[..150]);
    let bridge = BridgeProcess::start(&spool.instance(&database, "settled_seconds = 3600")).await;
    bridge.metric_becomes("simbridge_source_files_waiting", 1.0).await;
    assert!(bridge.metric("simbridge_source_oldest_waiting_file_seconds").await > 0.0);
    let last = database.text("SELECT max(finished_slot) FROM source_leases", &[]).await;
    let later = format!("SELECT count(*) FROM source_leases WHERE finished_slot > '{last}'");
    eventually("a turn", async || (database.number(&later).await > 0).then_some(())).await;
    assert_eq!(counted(&database).await, 2, "not a row of it");
    spool.put("half.csv", format!("{HEADER}{}", rows(ICCID, 7, 9)));
    assert_eq!(bridge.terminate().await, Some(0));
    let bridge = BridgeProcess::start(&spool.instance(&database, "")).await;
    spool.holds("done", &["half.csv", "z.csv"]).await;
    assert_eq!(counted(&database).await, 4);
    assert_eq!(database.number("SELECT count(*) FROM quarantine").await, 0);
    assert_eq!(bridge.terminate().await, Some(0));
    database.assert_reconciled().await;
}

/// Catches a file that is moved away although its writer went on: what it wrote meanwhile would never be read.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_while_a_file_is_imported_counts_too() {
    let (database, spool) = (database().await, Spool::new());
    slow(&database).await;
    spool.put("a.csv", format!("{HEADER}{}", rows(ICCID, 0, 3_000)));
    let bridge = BridgeProcess::start(&spool.instance(&database, "")).await;
    let some = async || (database.number("SELECT count(*) FROM usage_records").await > 0).then_some(());
    eventually("records", some).await;
    let mut file = std::fs::File::options().append(true).open(spool.path("a.csv")).expect("it is ours");
    file.write_all(rows(ICCID, 3_000, 3_500).as_bytes()).expect("it is ours");
    drop(file);
    fast(&database).await;
    spool.holds("done", &["a.csv"]).await;
    assert_eq!(counted(&database).await, 3_500);
    assert_eq!(database.number("SELECT count(*) FROM file_imports").await, 2, "two contents");
    assert_eq!(bridge.terminate().await, Some(0));
    database.assert_reconciled().await;
}

/// Catches a file that cannot be moved and is imported again and again, or said again and again; and one that holds up the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_moved_is_said_once_and_moved_later() {
    let (database, spool) = (database().await, Spool::new());
    // Binds for root too, whom no permission stops.
    std::fs::write(spool.path("done"), "in the way").expect("it is ours");
    spool.put("a.csv", format!("{HEADER}{}", rows(ICCID, 0, 5)));
    spool.put("b.csv", format!("{HEADER}{}", rows(ICCID, 5, 8)));
    spool.put("wrong.csv", "iccid,colour\n");
    let bridge = BridgeProcess::start(&spool.instance(&database, "")).await;
    spool.holds("failed", &["wrong.csv", "wrong.csv.reason.txt"]).await;
    let problem =
        "a.csv cannot be moved to done/, and it is imported: Not a directory (os error 20); and 1 more";
    let said = async || (told(&bridge).await.1 == problem).then_some(());
    eventually("it is told", said).await;
    assert_eq!(counted(&database).await, 8);
    let saved = database.rows("SELECT name, finished_at, saved_at FROM file_imports ORDER BY 1").await;
    let slots =
        "SELECT count(DISTINCT finished_slot) FROM source_leases WHERE finished_slot > $1::timestamptz";
    let first = database.text("SELECT max(finished_slot)::text FROM source_leases", &[]).await;
    let slots = slots.replace("$1", &format!("'{first}'"));
    eventually("more turns", async || (database.number(&slots).await > 0).then_some(())).await;
    let (files, _) = told(&bridge).await;
    assert_eq!((&files["done"], &files["waiting"]), (&2.into(), &0.into()), "{files}");
    assert_eq!(database.rows("SELECT name, finished_at, saved_at FROM file_imports ORDER BY 1").await, saved);
    let lines = |text: &str| bridge.log().iter().filter(|line| line.contains(text)).count();
    assert_eq!((lines("a file has to wait"), lines("the file is imported")), (2, 2), "{:#?}", bridge.log());
    std::fs::remove_file(spool.path("done")).expect("it is ours");
    spool.holds("done", &["a.csv", "b.csv"]).await;
    let well = async || bridge.get("/statusz").await.1.contains(r#""status":"well""#).then_some(());
    eventually("all is well again", well).await;
    assert_eq!(counted(&database).await, 8);
    assert_eq!(bridge.terminate().await, Some(0));
    database.assert_reconciled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_there_is_told_and_read_when_it_comes() {
    let (database, spool) = (database().await, Spool::new());
    let inner = Spool::new();
    let mut options = inner.instance(&database, "");
    let directory = spool.path("later").display().to_string();
    let outer = inner.path("").display().to_string();
    options.env[0].1 = options.env[0].1.replace(outer.trim_end_matches('/'), &directory);
    let bridge = BridgeProcess::start(&options).await;
    let problem = format!("{directory} cannot be read: No such file or directory (os error 2)");
    eventually("it is told", async || (told(&bridge).await.1 == problem.as_str()).then_some(())).await;
    std::fs::create_dir(&directory).expect("it is ours");
    std::fs::write(spool.path("later/a.csv"), format!("{HEADER}{}", rows(ICCID, 0, 5))).expect("it is ours");
    spool.holds("later/done", &["a.csv"]).await;
    assert_eq!(counted(&database).await, 5);
    assert_eq!(bridge.terminate().await, Some(0));
    database.assert_reconciled().await;
}
