//! Files of archives: what is wrong with them is found, and nothing is dropped for one that is.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::archive::{JANUARY, archive, archive_both, archive_next, directory, text, with_history};
use crate::harness::bridge::{command, simbridge};
use crate::harness::database::TestDatabase;

/// What lies in a directory.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

fn january(directory: &Path) -> PathBuf {
    directory.join("usage_records_2026-01.parquet")
}

async fn refused(database: &TestDatabase, arguments: &[&str], code: i32, why: &str) {
    let (found, said, problem) = archive(database, arguments).await;
    assert_eq!(found, Some(code), "{arguments:?}: {said}{problem}");
    assert!(problem.contains(why), "{problem}");
}

/// Catches a verification that looks at less than every byte, one that is content with a file that is gone, and findings that end with 0.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_a_file_is_found() {
    let (database, _pipeline) = with_history().await;
    let directory = directory();
    archive_both(&database, directory.path()).await;
    let path = january(directory.path());
    let whole = std::fs::read(&path).expect("a file");
    let (code, said, problem) = archive(&database, &["verify"]).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    assert_eq!(said.lines().count(), 2, "{said}");
    let finds = async |what: &str| {
        let (code, said, problem) = archive(&database, &["verify"]).await;
        assert_eq!((code, said.contains(what)), (Some(1), true), "{said}{problem}");
        assert!(said.contains("2025-12: 3 records"), "the other one is well: {said}");
        // Nothing is restored from it either.
        refused(&database, &["restore", "--from", "2026-01"], 1, what).await;
    };
    for place in [5, whole.len() / 2, whole.len() - 20] {
        let mut flipped = whole.clone();
        flipped[place] ^= 4;
        std::fs::write(&path, &flipped).expect("a file");
        finds("is not what was written: its SHA-256 is").await;
    }
    std::fs::write(&path, &whole[..whole.len() - 1]).expect("a file");
    finds(&format!("has {} bytes instead of {}", whole.len() - 1, whole.len())).await;
    std::fs::remove_file(&path).expect("it is there");
    finds("the file is missing").await;
    let elsewhere = directory.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a directory");
    std::fs::write(january(&elsewhere), &whole).expect("a file");
    let place = ["--dir", text(&elsewhere)];
    let (code, said, _) = archive(&database, &[&["verify", "--month", "2026-01"], &place[..]].concat()).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said, problem) =
        archive(&database, &[&["restore", "--from", "2026-01"], &place[..]].concat()).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    database.assert_reconciled().await;
    refused(&database, &["verify", "--month", "2024-01"], 1, "2024-01 is not archived").await;
}

/// Catches a file that is compared with itself by its size alone, and one that needs its database to be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_verified_by_itself() {
    let (database, _pipeline) = with_history().await;
    let directory = directory();
    archive_both(&database, directory.path()).await;
    let path = january(directory.path());
    let verify = async |path: &Path| {
        let mut command = simbridge();
        command.args([
            "archive",
            "verify",
            text(path),
            "--database-url",
            "postgres://nobody@127.0.0.1:1/none",
        ]);
        let output = command.output().await.expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = verify(&path).await;
    assert_eq!((code, said.contains("2026-01, 10 records, ")), (Some(0), true), "{said}");
    let whole = std::fs::read(&path).expect("a file");
    // Anything but a few bytes that say nothing of records, such as who wrote it.
    let mut found = 0;
    for place in (4..whole.len()).step_by(97) {
        let mut flipped = whole.clone();
        flipped[place] ^= 1;
        std::fs::write(&path, &flipped).expect("a file");
        let (code, said) = verify(&path).await;
        assert!(code == Some(0) || code == Some(1), "{place}: {code:?} {said}");
        found += u32::from(code == Some(1));
    }
    assert!(found > 0);
    std::fs::write(&path, "PAR1").expect("a file");
    let (code, said) = verify(&path).await;
    assert_eq!((code, said.contains("is no archive")), (Some(1), true), "{said}");
}

/// Catches a month that is taken out, or dropped, although it cannot be written; and each failure that is told as another one.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_archived_stays_and_says_why() {
    let (database, pipeline) = with_history().await;
    let directory = directory();
    let place = text(directory.path()).to_owned();
    let january = ["create", "--through", "2026-01", "--dir", &place];
    refused(&database, &["create", "--through", "2026-01", "--dir", "/no/such"], 2, "cannot find /no/such")
        .await;
    refused(&database, &["create", "--through", "2026-01", "--dir", "/sys"], 2, "cannot write into /sys")
        .await;
    refused(&database, &["create", "--through", "2026-01"], 2, "--dir").await;
    refused(&database, &["create", "--dir", &place], 2, "--through").await;
    refused(&database, &["create", "--through", "9998-01", "--dir", &place], 1, "it is open in UTC").await;
    refused(&database, &["restore", "--from", "2026-01"], 1, "2026-01 is not archived").await;
    refused(
        &database,
        &["create", "--copy", "2020-01", "--dir", &place],
        1,
        "there are no records of 2020-01",
    )
    .await;
    let (code, _, problem) = command(&database, &[&["archive"], &january[..]].concat()).await;
    assert_eq!((code, problem.contains("as the owner of the tables")), (Some(78), true), "{problem}");
    pipeline
        .one("8941000000000000001", crate::harness::pipeline::record_at("late", "2025-12-02T00:00:00Z", 5))
        .await;
    refused(&database, &january, 69, "run `simbridge rollup`").await;
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 20);
    assert_eq!(database.number("SELECT count(*) FROM usage_archives").await, 0);
    assert_eq!(names(directory.path()), [""; 0]);
    database.roll_up().await;
    let taken = directory.path().join("usage_records_2025-12.parquet");
    std::fs::write(&taken, "mine").expect("a file");
    refused(&database, &january, 2, "is there already and is not the archive of this month").await;
    assert_eq!(std::fs::read_to_string(&taken).expect("a file"), "mine");
    assert_eq!(names(directory.path()), ["usage_records_2025-12.parquet"]);
    // It waits outside the records; back it comes without a file.
    assert_eq!(database.number("SELECT count(*) FROM usage_archiving").await, 4);
    database.assert_reconciled().await;
    let (code, said, problem) = archive(&database, &["restore", "--from", "2025-12"]).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    assert_eq!(database.assert_reconciled().await.records, 20);
    assert_eq!(database.store.raw_floor().await.expect("an answer"), None);
}

/// Catches a month that is dropped although its file is not whole, and what a full disk leaves behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_nothing_but_time() {
    let (database, _pipeline) = with_history().await;
    let (disk, directory) = (directory(), directory());
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4k", "simbridge-test"])
        .arg(disk.path())
        .output();
    if !mount.is_ok_and(|output| output.status.success()) {
        eprintln!("NOT RUN: mounting a file system is not allowed here");
        return;
    }
    let result = archive(&database, &["create", "--through", "2026-01", "--dir", text(disk.path())]).await;
    let left = names(disk.path());
    Command::new("umount").arg("--lazy").arg(disk.path()).status().expect("it starts");
    assert_eq!((result.0, result.2.contains("No space left on device")), (Some(69), true), "{result:?}");
    assert_eq!(left, [""; 0]);
    assert_eq!(database.number("SELECT count(*) FROM usage_archiving").await, 3);
    let (code, said, problem) =
        archive(&database, &["create", "--through", "2026-01", "--dir", text(directory.path())]).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    let (code, said, problem) = archive(&database, &["restore", "--from", "2025-12"]).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    assert_eq!(database.assert_reconciled().await.records, 19);
}

/// Catches a list that leaves out what waits, and a copy that takes records away or is taken for an archive.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_changes_nothing_and_archives_are_listed() {
    use std::os::unix::fs::PermissionsExt;
    let (database, _pipeline) = with_history().await;
    let (directory, copies) = (directory(), directory());
    let copy = ["create", "--copy", "2026-01", "--dir", text(copies.path())];
    let (code, said, problem) = archive(&database, &copy).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    assert!(
        said.contains("2026-01: 10 records, ") && said.contains("its records are where they were"),
        "{said}"
    );
    assert_eq!(database.assert_reconciled().await.records, 19);
    refused(&database, &copy, 2, "is there already").await;
    let (_, said, _) = archive(&database, &["list", "--json"]).await;
    assert_eq!(said, "[]");
    let mode = std::fs::metadata(january(copies.path())).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it names SIMs and customers");
    database.run("INSERT INTO settings (key, value) VALUES ('retention.raw_days', '32')").await;
    refused(
        &database,
        &["create", "--through", "2026-01", "--dir", text(copies.path())],
        2,
        "is not the archive",
    )
    .await;
    let (code, said, _) = archive(&database, &["list"]).await;
    // December has its file, and January waits.
    assert_eq!((code, said.lines().count(), said.contains("pending")), (Some(0), 3, true), "{said}");
    archive_next(&database, directory.path()).await.expect("an archive").expect("a month");
    refused(
        &database,
        &["restore", "--from", "2025-12"],
        78,
        "retention.raw_days = 32 would give 2025-12 up again",
    )
    .await;
    let (_, said, _) = archive(&database, &["list", "--json"]).await;
    let all: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(all[1]["month"], "2026-01");
    assert_eq!(all[1]["state"], "archived");
    let manifest = &all[1]["manifest"];
    assert_eq!(manifest["figures"]["records"], 10);
    assert_eq!(manifest["figures"]["total_bytes"], (9 * (2 << 20) - 1_000).to_string());
    assert_eq!(manifest["figures"]["days"].as_array().expect("days").len(), 3);
    assert_eq!(manifest["columns"].as_array().expect("columns").len(), 23);
    let digests = "SELECT count(DISTINCT file_sha256) FROM usage_archives WHERE state = 'archived'";
    assert_eq!(database.number(digests).await, 2);
}

/// Catches columns that archives do not know how to hold: a migration that adds one has to teach them.
#[tokio::test]
async fn a_column_of_a_type_that_archives_do_not_know_is_refused() {
    let (database, _pipeline) = with_history().await;
    let directory = directory();
    database.run("ALTER TABLE usage_records ADD COLUMN extra jsonb").await;
    let refused = archive_next(&database, directory.path()).await.expect_err("refused").to_string();
    assert!(refused.contains("the column `extra` of usage_records has the type jsonb"), "{refused}");
    database
        .run("ALTER TABLE usage_records DROP COLUMN extra; ALTER TABLE usage_archiving DROP COLUMN extra")
        .await;
    archive_both(&database, directory.path()).await;
    // What is younger than an archive is empty in what comes back.
    database.run("ALTER TABLE usage_records ADD COLUMN note text").await;
    let owner = database.owner();
    for archive in owner.archives_since(JANUARY).await.expect("archives") {
        owner
            .restore_month(&archive, None, crate::harness::pipeline::time(crate::archive::NOW))
            .await
            .expect("it is back");
    }
    assert_eq!(database.assert_reconciled().await.records, 16);
}

/// Programs that we did not write read the same. Needs the environment that `.ci/parquet-reader` makes.
#[tokio::test(flavor = "multi_thread")]
async fn duckdb_reads_what_was_archived() {
    let python = Path::new(env!("CARGO_BIN_EXE_simbridge"))
        .ancestors()
        .nth(2)
        .expect("a directory")
        .join("parquet-reader/bin/python");
    if !python.exists() {
        eprintln!("NOT RUN: .ci/parquet-reader installs DuckDB for it");
        return;
    }
    let (database, _pipeline) = with_history().await;
    let directory = directory();
    let query = "SELECT id, write_id, iccid, record_id, to_char(period_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'),
            to_char(processed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), total_bytes, data_upload_bytes, tenant_id, carrier_id,
            sim_id, cycle_id, status, source, corrects
        FROM usage_records WHERE period_start < '2026-02-01' ORDER BY id";
    let before = database.rows(query).await;
    archive_both(&database, directory.path()).await;
    let script = "
import sys, duckdb
duckdb.sql(\"SET TimeZone = 'UTC'\")
names = '''id, write_id, iccid, record_id, strftime(period_start, '%Y-%m-%d %H:%M:%S.%f'),
    strftime(processed_at, '%Y-%m-%d %H:%M:%S.%f'), total_bytes, data_upload_bytes, tenant_id, carrier_id, sim_id, cycle_id, status, source, corrects'''
rows = duckdb.sql(f\"SELECT {names} FROM read_parquet('{sys.argv[1]}/*.parquet') ORDER BY id\").fetchall()
print('\\n'.join('|'.join('NULL' if v is None else str(v) for v in row) for row in rows))
";
    let output =
        Command::new(python).args(["-c", script, text(directory.path())]).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().collect::<Vec<_>>(), before);
}
