//! `simbridge import` as a process: killed, interrupted, at its end, and what it says.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use simulator::history::HistoryFormat;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::harness::bridge::simbridge;
use crate::harness::database::TestDatabase;
use crate::harness::history::{TestFile, file, history};
use crate::harness::{PATIENCE, eventually};

const ICCID: &str = "8941000000000000001";

fn command(database: &TestDatabase, path: &Path) -> Command {
    let mut command = simbridge();
    command.arg("import").arg(path).env("DATABASE_URL", database.url());
    command.env("SIMBRIDGE__INGEST__BATCH_MAX_MESSAGES", "500");
    command.env("SIMBRIDGE__INGEST__QUEUE_MAX_MESSAGES", "2000");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn start(database: &TestDatabase, path: &Path) -> Child {
    command(database, path).spawn().expect("it starts")
}

async fn ended(child: Child) -> (Option<i32>, String, String) {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends in time");
    let Output { status, stdout, stderr } = output.expect("it can be waited for");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// `N records read` of the summary.
fn records_read(stdout: &str) -> i64 {
    let number = stdout.split(": ").nth(1).and_then(|rest| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no summary: {stdout}"))
}

/// A file that takes ten seconds as long as [`fast`] is not called, and how many different records it holds.
async fn large(database: &TestDatabase, format: HistoryFormat) -> (TestFile, i64) {
    database
        .run(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM pg_sleep(0.1); RETURN NULL;
             END $$;
             CREATE TRIGGER slow AFTER INSERT ON rollup_markers FOR EACH STATEMENT EXECUTE FUNCTION slow();",
        )
        .await;
    let (bytes, different) = history(database, format, 300, 300).await;
    (file(if format == HistoryFormat::Csv { "h.csv" } else { "h.ndjson" }, bytes), different)
}

async fn fast(database: &TestDatabase) {
    database.run("DROP TRIGGER slow ON rollup_markers").await;
}

async fn saved(database: &TestDatabase) -> i64 {
    database.number("SELECT coalesce(max(committed_lines), 0) FROM file_imports").await
}

/// Catches saving a place before which something is not committed (a row would be lost), and beginning at the start.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_import_goes_on_where_it_was_and_stores_each_row_once() {
    let database = TestDatabase::new().await;
    let (file, different) = large(&database, HistoryFormat::Csv).await;
    let mut lines = 0;
    for _ in 0..3 {
        let mut child = start(&database, &file.path);
        let further = async || {
            let saved = saved(&database).await;
            let ended = database.number("SELECT count(finished_at) FROM file_imports").await == 1;
            (saved > lines || ended).then_some(saved)
        };
        lines = eventually("saved progress", further).await;
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..300))).await;
        child.kill().await.expect("it can be killed");
    }
    assert!(lines > 0 && lines < different, "killed in the middle");
    let stored = database.number("SELECT count(*) FROM usage_records").await;
    assert!(stored < different, "not everything was stored before the last kill");
    fast(&database).await;
    let place = saved(&database).await;
    let (code, stdout, stderr) = ended(start(&database, &file.path)).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains(&format!("going on at line {}", place + 1)), "{stderr}");
    let all = std::fs::read_to_string(&file.path).expect("it is there").lines().count() as i64;
    assert_eq!(records_read(&stdout), all - place, "{stdout}");
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, different);
    let (code, stdout, _) = ended(start(&database, &file.path)).await;
    assert_eq!(code, Some(0));
    assert!(stdout.contains("nothing was changed") && stdout.contains("--again"), "{stdout}");
    database.assert_reconciled().await;
}

/// Catches an interrupt that forgets what was read, or says that the file is finished.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_saves_its_place_and_says_how_to_go_on() {
    let database = TestDatabase::new().await;
    let (file, different) = large(&database, HistoryFormat::Ndjson).await;
    let child = start(&database, &file.path);
    eventually("records", async || {
        (database.number("SELECT count(*) FROM usage_records").await > 0).then_some(())
    })
    .await;
    let pid = child.id().expect("it runs");
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT).expect("it can be signalled");
    let (code, stdout, stderr) = ended(child).await;
    assert_eq!(code, Some(130), "{stdout}{stderr}");
    let line = saved(&database).await;
    assert!(
        line > 0 && stdout.contains(&format!("interrupted after line {line}: run the same command")),
        "{stdout}"
    );
    let stored = database.number("SELECT count(*) FROM usage_records").await;
    assert!(stored < different, "it stops");
    fast(&database).await;
    let (code, stdout, stderr) = ended(start(&database, &file.path)).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains(&format!("going on at line {}", line + 1)), "{stderr}");
    assert!(stdout.contains("with earlier imports of it: "), "{stdout}");
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, different);
    database.assert_reconciled().await;
}

/// Catches a pipe that is taken for a file, and the exit codes.
#[tokio::test]
async fn standard_input_is_imported_and_parked_rows_show_in_the_exit_code() {
    let database = TestDatabase::new().await;
    let text = format!(
        "record_id,iccid,period_start,period_end,total_bytes\n\
         a,{ICCID},2026-11-01T00:00:00Z,2026-11-01T01:00:00Z,5\nb,{ICCID},2026-11-01T00:00:00Z,,5\n"
    );
    for (stored, duplicate) in [(1, 0), (0, 1)] {
        let mut child = command(&database, Path::new("-")).stdin(Stdio::piped()).spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(text.as_bytes()).await.expect("it reads");
        drop(stdin);
        let (code, stdout, _) = ended(child).await;
        assert_eq!(code, Some(1), "{stdout}");
        let said = format!("stdin: 2 records read, {stored} stored, {duplicate} duplicates, 1 parked");
        assert!(stdout.starts_with(&said) && stdout.contains("simbridge quarantine list"), "{stdout}");
    }
    let parked = database.rows("SELECT via, sender, topic, seen_count FROM quarantine").await;
    assert_eq!(parked, ["file|stdin|stdin:3|2"]);
    assert_eq!(database.number("SELECT count(*) FROM file_imports").await, 0);
    database.assert_reconciled().await;
}

#[tokio::test]
async fn what_cannot_be_imported_is_said_in_one_line() {
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let wrong = file("wrong.csv", "iccid,colour\n");
    let missing = directory.path().join("missing.csv");
    for (path, arguments, code, said) in [
        (missing.as_path(), &[][..], 2, "missing.csv: No such file"),
        (directory.path(), &[], 2, "is a directory"),
        (&wrong.path, &[], 2, "wrong.csv: the header names `colour`"),
        (&wrong.path, &["--format", "ndjson", "--tenant", "nobody"], 1, "there is no tenant `nobody`"),
    ] {
        let child = command(&database, path).args(arguments).spawn().expect("it starts");
        let (ended_with, _, stderr) = ended(child).await;
        assert_eq!(ended_with, Some(code), "{stderr}");
        assert!(stderr.starts_with("simbridge: ") && stderr.contains(said), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    database.assert_reconciled().await;
}
