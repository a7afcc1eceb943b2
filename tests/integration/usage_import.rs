//! Usage history from files: each row exactly once, whatever is wrong beside it and whenever the import is killed.

use std::path::Path;

use chrono::{TimeDelta, TimeZone, Utc};
use simbridge::domain::Clock;
use simbridge::source::file::{Format, ImportError, ImportRequest, Opened, Report, RunOptions, UsageFile};
use simbridge::store::file_imports::Committed;
use simulator::history::HistoryFormat;
use tokio_util::sync::CancellationToken;

use crate::harness::database::{TENANT, TestDatabase, sim};
use crate::harness::history::{file, history};
use crate::harness::pipeline::{correction_at, options, record_at, time};
use crate::harness::proxy::Proxy;
use crate::harness::server::store;
use crate::harness::{PATIENCE, eventually};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";
const AT: &str = "2026-03-10T11:00:00Z";
const HEADER: &str = "recordId,iccid,periodStart,periodEnd,totalBytes";

const ONCE: ImportRequest = ImportRequest { tenant: TENANT, may_correct: false, again: false };

fn run_options(database: &TestDatabase) -> RunOptions {
    RunOptions {
        store: database.store.clone(),
        pipeline: options(),
        metrics: Default::default(),
        database: Default::default(),
        clock: Clock::System,
        stop: CancellationToken::new(),
        grace: PATIENCE,
    }
}

async fn open(database: &TestDatabase, path: &Path, request: ImportRequest) -> Result<Opened, ImportError> {
    UsageFile::open(path, None).await?.import(request, &database.store).await
}

async fn import_with(
    database: &TestDatabase,
    path: &Path,
    request: ImportRequest,
    options: RunOptions,
) -> Report {
    let opened = open(database, path, request).await.expect("the file can be used");
    let Opened::Ready(import) = opened else { panic!("it was imported before") };
    let report = tokio::time::timeout(PATIENCE, import.run(options, |_| {})).await;
    report.expect("it ends in time").expect("it ends well")
}

async fn import_at(database: &TestDatabase, path: &Path, at: &str) -> Committed {
    let options = RunOptions { clock: Clock::Fixed(time(at)), ..run_options(database) };
    import_with(database, path, ONCE, options).await.committed
}

/// Stored, duplicates, parked.
fn counts(committed: &Committed) -> (u64, u64, u64) {
    (committed.stored, committed.duplicate, committed.parked)
}

/// Everything that an import may change.
async fn state(database: &TestDatabase) -> Vec<String> {
    let records = "SELECT record_id, iccid, period_start, period_end, total_bytes, data_upload_bytes, data_download_bytes,
                          sms_count, voice_seconds, source, mccmnc, corrects, sim_id IS NULL, cycle_id
                   FROM usage_records ORDER BY 2, 1";
    let cycles = "SELECT iccid, cycle_id, total_bytes, total_upload_bytes, total_download_bytes, sms_count, voice_seconds,
                         record_count FROM usage_cycles ORDER BY 1, 2";
    let parked = "SELECT reason, detail, via, sender, topic, payload FROM quarantine ORDER BY id";
    let mut state = database.rows(records).await;
    state.extend(database.rows(cycles).await);
    state.extend(database.rows(parked).await);
    state
}

/// Reason, topic and detail of what is parked, in the order of the file.
async fn parked(database: &TestDatabase) -> Vec<String> {
    database
        .rows(
            "SELECT reason, topic, detail FROM quarantine
             WHERE via = 'file' AND topic = sender || ':' || split_part(topic, ':', 2)
             ORDER BY split_part(topic, ':', 2)::integer",
        )
        .await
}

/// Catches a column that is taken for another, and a second way of storing that differs from the first.
#[tokio::test]
async fn csv_and_ndjson_give_the_same_rows() {
    let mut states = Vec::new();
    for (name, format) in [("h.csv", HistoryFormat::Csv), ("h.ndjson", HistoryFormat::Ndjson)] {
        let database = TestDatabase::new().await;
        let (bytes, different) = history(&database, format, 20, 200).await;
        let file = file(name, bytes);
        let report = import_with(&database, &file.path, ONCE, run_options(&database)).await;
        assert!(report.finished && report.saved, "{report:?}");
        let (stored, duplicate, parked) = counts(&report.committed);
        assert_eq!((stored as i64, parked), (different, 0));
        assert!(duplicate > 0, "some records are written twice");
        assert!(database.number("SELECT count(*) FROM usage_records WHERE cycle_id IS NULL").await == 0);
        states.push(state(&database).await);
        database.assert_reconciled().await;
    }
    assert_eq!(states[0], states[1]);
}

/// Catches counting a row twice, a second entry of the quarantine for the same line, and a finished file that is read again.
#[tokio::test]
async fn the_same_file_again_changes_nothing() {
    let database = TestDatabase::new().await;
    let (mut bytes, different) = history(&database, HistoryFormat::Ndjson, 10, 50).await;
    bytes.extend_from_slice(b"{\"recordId\":\"bad\"}\nnothing\n");
    let original = file("h.ndjson", &bytes);
    let first = import_with(&database, &original.path, ONCE, run_options(&database)).await;
    assert_eq!((first.committed.stored as i64, first.committed.parked), (different, 2));
    let before = state(&database).await;

    let renamed = file("copy.ndjson", &bytes);
    let opened = open(&database, &renamed.path, ONCE).await.expect("the file can be used");
    assert!(matches!(opened, Opened::Finished { counts, .. } if counts == first.committed));
    let again = ImportRequest { again: true, ..ONCE };
    let second = import_with(&database, &original.path, again, run_options(&database)).await;
    let all = first.committed.stored + first.committed.duplicate;
    assert_eq!(counts(&second.committed), (0, all, 2));
    assert_eq!(state(&database).await, before);
    assert_eq!(database.number("SELECT count(*) FROM file_imports").await, 1);
    database.assert_reconciled().await;
}

/// Rows that are none, each between two good ones; and what is said of them.
fn bad_csv() -> (Vec<u8>, Vec<(usize, &'static str, &'static str)>) {
    let good = |n: usize| format!("good-{n},{ICCID},{AT},{AT},1\r\n").into_bytes();
    let bad: Vec<(Vec<u8>, &str, &str)> = vec![
        (format!("a,{ICCID},{AT},{AT},many\n").into(), "invalid", "usage.totalBytes: must be an integer"),
        (format!("a,12,{AT},{AT},1\n").into(), "invalid", "iccid: must be 10 to 20 digits"),
        (format!(",{ICCID},yesterday,{AT},-1\n").into(), "invalid", "recordId: is required; periodStart"),
        (format!("a,{ICCID},2020-01-01T00:00:00Z,{AT},1\n").into(), "invalid", "is more than 400 days old"),
        (format!("a,{ICCID},{AT},{AT}\n").into(), "malformed", "has 4 fields, and the header 5"),
        (
            format!("a\",\"{ICCID}\",{AT},\"{AT},1\n").into(),
            "malformed",
            "text stands behind a closing quote",
        ),
        (format!("\"a\"b,{ICCID},{AT},{AT},1\n").into(), "malformed", "text stands behind a closing quote"),
        ([b"\xff,", ICCID.as_bytes(), b",,,1\n"].concat(), "malformed", "is not UTF-8"),
        ([vec![b'x'; 2 << 20], b"\n".to_vec()].concat(), "malformed", "is longer than 1 MiB"),
    ];
    let mut text = format!("{HEADER}\n").into_bytes();
    let mut expected = Vec::new();
    for (n, (row, reason, detail)) in bad.into_iter().enumerate() {
        text.extend(good(n));
        text.extend(row);
        expected.push((3 + 2 * n, reason, detail));
    }
    text.extend(good(99));
    (text, expected)
}

fn assert_told(file: &str, parked: &[String], expected: &[(usize, &str, &str)]) {
    assert_eq!(parked.len(), expected.len(), "{parked:#?}");
    for (entry, (line, reason, detail)) in parked.iter().zip(expected) {
        assert!(entry.starts_with(&format!("{reason}|{file}:{line}|")), "{entry} is not of line {line}");
        assert!(entry.contains(detail), "{entry} does not say {detail}");
    }
}

/// Catches a row that takes its neighbours with it, above all by a quote that is not closed, and a line that is miscounted.
#[tokio::test]
async fn bad_rows_of_csv_are_parked_with_file_and_line_and_their_neighbours_are_stored() {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let (text, expected) = bad_csv();
    let file = file("bad.csv", text);
    let committed = import_at(&database, &file.path, NOW).await;
    let bad = expected.len() as u64;
    assert_eq!(counts(&committed), (bad + 1, 0, bad));
    assert_told("bad.csv", &parked(&database).await, &expected);
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 1 + bad as i64);
    assert!(database.number("SELECT max(length(payload)) FROM quarantine").await <= 4096, "bounded");
    let kept = database.text("SELECT payload FROM quarantine WHERE detail LIKE '%integer%'", &[]).await;
    assert!(kept.len() > 10, "the row is kept");
    database.assert_reconciled().await;
}

/// The same for NDJSON, also without a line feed at the end.
#[tokio::test]
async fn bad_lines_of_ndjson_are_parked_with_file_and_line_and_their_neighbours_are_stored() {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let with_iccid = |record: String| record.replacen('{', &format!(r#"{{"iccid":"{ICCID}","#), 1);
    let good = |n: usize| with_iccid(record_at(&format!("good-{n}"), AT, 1)).into_bytes();
    let bad: Vec<(Vec<u8>, &str, &str)> = vec![
        (record_at("a", AT, 1).into(), "invalid", "iccid: is required"),
        (with_iccid(record_at("a", AT, -1)).into(), "invalid", "must not be negative"),
        (b"{\"recordId\":".to_vec(), "malformed", "not JSON"),
        (b"{\"recordId\":\"\xff\"}".to_vec(), "malformed", "not JSON"),
        (b"recordId,iccid".to_vec(), "malformed", "a usage payload is a JSON object or array"),
        (vec![b'{'; 3 << 20], "malformed", "the line is longer than 1 MiB; its first 4096 bytes are kept"),
    ];
    let (mut text, mut expected) = (b"\xef\xbb\xbf".to_vec(), Vec::new());
    for (n, (line, reason, detail)) in bad.into_iter().enumerate() {
        text.extend([good(n), b"\r\n\n".to_vec(), line, b"\n".to_vec()].concat());
        expected.push((3 + 3 * n, reason, detail));
    }
    text.extend(good(99));
    let file = file("bad.txt", text);
    let committed = import_at(&database, &file.path, NOW).await;
    assert_eq!(counts(&committed), (7, 0, 6));
    assert_told("bad.txt", &parked(&database).await, &expected);
    database.assert_reconciled().await;
}

/// Catches two writers that decide the rows of one SIM in any order: a correction would come before its record.
#[tokio::test]
async fn a_correction_finds_the_record_above_it_and_of_two_contents_the_first_is_stored() {
    let database = TestDatabase::new().await;
    let (mut lines, mut sims) = (Vec::new(), Vec::new());
    for n in 0..40 {
        let iccid = format!("89410000000000{n:05}");
        let with_iccid = |record: String| record.replacen('{', &format!(r#"{{"iccid":"{iccid}","#), 1);
        for k in 0..20 {
            lines.push(with_iccid(record_at(&format!("r-{k}"), AT, 5)));
            lines.push(with_iccid(record_at(&format!("r-{k}"), AT, 6)));
            lines.push(with_iccid(correction_at(&format!("fix-{k}"), &format!("r-{k}"), AT, -2)));
        }
        sims.push(sim(&iccid));
    }
    database.import_at(NOW, &sims).await;
    let file = file("corrections.ndjson", lines.join("\n"));
    let clock = Clock::Fixed(time(NOW));
    let refused =
        import_with(&database, &file.path, ONCE, RunOptions { clock, ..run_options(&database) }).await;
    assert_eq!(counts(&refused.committed), (800, 0, 1600));
    let request = ImportRequest { may_correct: true, again: true, ..ONCE };
    // Small batches, so that a record and its correction are often in different ones.
    let mut options = RunOptions { clock, ..run_options(&database) };
    options.pipeline.batch.max_messages = 7;
    let allowed = import_with(&database, &file.path, request, options).await;
    assert_eq!(counts(&allowed.committed), (800, 800, 800));
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 800 * 3);
    let reasons = database.rows("SELECT reason, count(*) FROM quarantine GROUP BY 1 ORDER BY 1").await;
    assert_eq!(reasons, ["conflict|800", "not_permitted|800"]);
    database.assert_reconciled().await;
}

#[tokio::test]
async fn history_of_months_long_past_gets_its_partitions() {
    let database = TestDatabase::new().await;
    let csv = format!("{HEADER}\na,{ICCID},2019-02-03T00:00:00Z,2019-02-04T00:00:00Z,7\n");
    let file = file("old.csv", csv);
    let mut options = run_options(&database);
    options.pipeline.payload.max_age = TimeDelta::days(3660);
    let report = import_with(&database, &file.path, ONCE, options).await;
    assert_eq!(counts(&report.committed), (1, 0, 0));
    let start = Utc.with_ymd_and_hms(2019, 2, 3, 0, 0, 0).unwrap();
    let stored = "SELECT total_bytes FROM usage_records WHERE period_start = $1";
    assert_eq!(database.text(stored, &[&start]).await, "7");
    database.assert_reconciled().await;
}

/// Catches a header that is only found wanting after rows were stored.
#[tokio::test]
async fn a_header_that_does_not_fit_is_refused_before_anything_is_stored() {
    let database = TestDatabase::new().await;
    let row = format!("a,{ICCID},{AT},{AT},1");
    for (header, said) in [
        (
            "recordId,iccid,periodStart,periodEnd,megabytes",
            "`megabytes`, which is no column of usage history",
        ),
        ("recordId,iccid,periodStart,totalBytes,source", "names no column periodEnd"),
        ("recordId,iccid,periodStart,periodEnd,source", "no column of an amount"),
        ("recordId,iccid,periodStart,periodEnd,period_end", "names periodEnd twice"),
        ("\"recordId,iccid", "a quoted field is not closed"),
        ("", "names `a`"),
    ] {
        let file = file("h.csv", format!("{header}\n{row}\n"));
        let refused = open(&database, &file.path, ONCE).await.err().expect("it is refused");
        assert!(matches!(&refused, ImportError::Header { name, .. } if name == "h.csv"));
        assert!(refused.to_string().contains(said), "{refused}");
    }
    assert_eq!(database.number("SELECT count(*) FROM file_imports").await, 0);
    database.assert_reconciled().await;
}

#[tokio::test]
async fn a_file_without_rows_is_imported_and_one_without_its_header_refused() {
    let database = TestDatabase::new().await;
    for (name, content) in [
        ("h.csv", format!("{HEADER}\r\n")),
        ("h2.csv", format!("\u{feff}{HEADER}")),
        ("h.ndjson", "\n".into()),
    ] {
        let file = file(name, content);
        let report = import_with(&database, &file.path, ONCE, run_options(&database)).await;
        assert!(report.finished, "{report:?}");
        assert_eq!(counts(&report.committed), (0, 0, 0));
    }
    let empty = file("empty.csv", "");
    let refused = open(&database, &empty.path, ONCE).await.err().expect("it is refused");
    assert!(refused.to_string().contains("the file is empty"), "{refused}");
    let refused = UsageFile::open(Path::new("/nonexistent.csv"), Some(Format::Csv)).await.err();
    assert!(matches!(refused, Some(ImportError::Read { .. })));
    assert_eq!(state(&database).await, Vec::<String>::new());
    database.assert_reconciled().await;
}

/// Catches giving up, and going on without what was under way, when the database goes away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_waits_for_the_database_and_loses_nothing() {
    let database = TestDatabase::new().await;
    let (bytes, different) = history(&database, HistoryFormat::Csv, 40, 240).await;
    let file = file("h.csv", bytes);
    let proxy = Proxy::to(&database.name).await;
    let store = store(proxy.config.clone());
    let Opened::Ready(import) = open(&database, &file.path, ONCE).await.expect("the file can be used") else {
        panic!("it is new")
    };
    let (told, mut standing) = tokio::sync::watch::channel(None);
    let options = RunOptions { store, ..run_options(&database) };
    let running = tokio::spawn(import.run(options, move |progress| {
        told.send_replace(Some(progress));
    }));
    eventually("records", async || {
        (database.number("SELECT count(*) FROM usage_records").await > 0).then_some(())
    })
    .await;
    proxy.refuse();
    let away = standing.wait_for(|now| now.is_some_and(|now| !now.database_works));
    tokio::time::timeout(PATIENCE, away).await.expect("it is noticed in time").expect("the import runs");
    proxy.open();
    let report = tokio::time::timeout(PATIENCE, running).await.expect("it ends in time").expect("no panic");
    let report = report.expect("it ends well");
    assert!(report.finished && report.saved, "{report:?}");
    assert_eq!(report.committed.stored as i64, different);
    database.assert_reconciled().await;
}
