//! An archive command that is killed: at any moment the month is in the database, or its file is whole.

use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;

use crate::archive::{archive, archive_both, directory, text, with_history};
use crate::archive_files::names;
use crate::harness::bridge::simbridge;
use crate::harness::database::TestDatabase;
use crate::harness::eventually;
use crate::harness::server::{TestServer, connect};

const FIRST: &str = "usage_records_2025-12.parquet";
/// Sessions of this database that wait for a lock.
const WAITING: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

fn start(database: &TestDatabase, into: &Path) -> Child {
    let mut command = simbridge();
    command.args(["archive", "create", "--through", "2026-01", "--dir", text(into)]);
    command.env("DATABASE_URL", TestServer::shared().owner_url_for(&database.name));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
}

/// Somebody waits for a lock in this database.
async fn one_waits(database: &TestDatabase) {
    eventually("a command that waits", async || (database.number(WAITING).await == 1).then_some(())).await;
}

/// Kills a command that waits for a lock which `holding` takes, and lets its server process come to its end.
async fn killed_while(database: &TestDatabase, into: &Path, holding: &str) {
    let holder = connect(&database.another_config()).await;
    holder.batch_execute(&format!("BEGIN; {holding}")).await.expect("the lock");
    let mut child = start(database, into);
    one_waits(database).await;
    child.kill().await.expect("it runs");
    holder.batch_execute("ROLLBACK").await.expect("the lock is given back");
    drop(holder);
    let gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'simbridge'
                AND query LIKE '%archiv%' AND pid <> pg_backend_pid() AND state <> 'idle'";
    eventually("nobody is left", async || (database.number(gone).await == 0).then_some(())).await;
}

/// Catches a command without a limit for standing still (`alone` without the idle limit of duties): one that is frozen with the inventory's lock
/// keeps every batch of every instance waiting until somebody ends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_command_keeps_nobody_waiting_for_good() {
    let (database, _pipeline) = with_history().await;
    let directory = directory();
    let holder = connect(&database.another_config()).await;
    let exclusive = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                     WHERE a.datname = current_database() AND l.locktype = 'advisory' AND l.mode = 'ExclusiveLock' AND l.granted
                       AND l.objid = (hashtext('simbridge.inventory')::bigint & 4294967295)::oid";
    let lock = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('simbridge.inventory'))";
    let mut child = start(&database, directory.path());
    // It waits for the lock for less than a second at a time: until it is stopped in the middle of that.
    let stopped = async || {
        holder.batch_execute(lock).await.expect("the lock");
        one_waits(&database).await;
        signal(&child, Signal::SIGSTOP);
        holder.batch_execute("ROLLBACK").await.expect("the lock is given back");
        eventually("nobody waits", async || (database.number(WAITING).await == 0).then_some(())).await;
        let holds = database.number(exclusive).await == 1;
        if !holds {
            signal(&child, Signal::SIGCONT);
        }
        holds.then_some(())
    };
    eventually("the command stands still with the lock", stopped).await;
    eventually("the lock is free", async || (database.number(exclusive).await == 0).then_some(())).await;
    signal(&child, Signal::SIGCONT);
    assert_eq!(child.wait().await.expect("it runs").code(), Some(69));
    assert_eq!(state(&database).await, ["19|NULL|f"]);
    archive_both(&database, directory.path()).await;
    database.assert_reconciled().await;
}

fn signal(child: &Child, signal: Signal) {
    let pid = child.id().expect("it runs").try_into().expect("a process id");
    kill(Pid::from_raw(pid), signal).expect("it is ours");
}

async fn state(database: &TestDatabase) -> Vec<String> {
    let state = "SELECT (SELECT count(*) FROM usage_records), (SELECT string_agg(month || ' ' || state, ', ') FROM usage_archives),
                        to_regclass('usage_archiving') IS NOT NULL";
    database.rows(state).await
}

/// Catches a month that is dropped before the file has its name, a file with its name that makes the next attempt fail, a table that
/// nobody finds again, and what a kill leaves behind for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_is_gone_on_from() {
    let (database, _pipeline) = with_history().await;
    let records = "SELECT * FROM usage_records ORDER BY id";
    let before = database.rows(records).await;
    let directory = directory();
    // Before the month is taken out.
    killed_while(
        &database,
        directory.path(),
        "SELECT pg_advisory_xact_lock(hashtext('simbridge.inventory'))",
    )
    .await;
    assert_eq!(state(&database).await, ["19|NULL|f"]);
    assert_eq!(names(directory.path()), [""; 0]);
    // After that: a file that is in the way stops it there.
    std::fs::write(directory.path().join(FIRST), "mine").expect("a file");
    assert_eq!(
        archive(&database, &["create", "--through", "2026-01", "--dir", text(directory.path())]).await.0,
        Some(2)
    );
    std::fs::remove_file(directory.path().join(FIRST)).expect("it is there");
    assert_eq!(state(&database).await, ["16|2025-12-01 pending|t"]);
    killed_while(&database, directory.path(), "LOCK TABLE usage_archiving IN ACCESS EXCLUSIVE MODE").await;
    assert_eq!(state(&database).await, ["16|2025-12-01 pending|t"]);
    assert_eq!(names(directory.path()), [""; 0]);
    // While the file is written: its beginning stays.
    let id = database.text("SELECT id FROM usage_archives", &[]).await;
    std::fs::write(directory.path().join(format!(".{FIRST}.{id}.partial")), "PAR1 and so on")
        .expect("a file");
    // When the file has its name, and the table is to be dropped, which somebody reads.
    killed_while(&database, directory.path(), "SELECT count(*) FROM usage_archiving").await;
    assert_eq!(state(&database).await, ["16|2025-12-01 pending|t"]);
    assert_eq!(names(directory.path()), [FIRST]);

    archive_both(&database, directory.path()).await;
    assert_eq!(state(&database).await, ["6|2025-12-01 archived, 2026-01-01 archived|f"]);
    assert_eq!(names(directory.path()), [FIRST, "usage_records_2026-01.parquet"]);
    let (code, said, problem) = archive(&database, &["verify"]).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    database.assert_reconciled().await;
    let (code, said, problem) = archive(&database, &["restore", "--from", "2025-12"]).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    assert_eq!(database.rows(records).await, before);
    database.assert_reconciled().await;
}

/// Catches two commands that write one file, or archive one month twice.
#[tokio::test(flavor = "multi_thread")]
async fn one_command_at_a_time() {
    let (database, _pipeline) = with_history().await;
    let directory = directory();
    let holder = connect(&database.another_config()).await;
    holder
        .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(hashtext('simbridge.archive'))")
        .await
        .expect("the lock");
    let create = ["create", "--through", "2026-01", "--dir", text(directory.path())];
    let (code, _, problem) = archive(&database, &create).await;
    assert_eq!(
        (code, problem.contains("another `simbridge archive` is at work")),
        (Some(69), true),
        "{problem}"
    );
    holder.batch_execute("COMMIT").await.expect("the lock is given back");
    archive_both(&database, directory.path()).await;
    holder
        .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(hashtext('simbridge.archive'))")
        .await
        .expect("the lock");
    let (code, _, problem) = archive(&database, &["restore", "--from", "2026-01"]).await;
    assert_eq!(
        (code, problem.contains("another `simbridge archive` is at work")),
        (Some(69), true),
        "{problem}"
    );
}

/// Catches records that are dropped before their file is on the disk: synced, then named, then the name synced, then committed.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_on_the_disk_before_its_records_are_dropped() {
    let (database, _pipeline) = with_history().await;
    let directory = directory();
    let log = directory.path().join("calls");
    let archives = directory.path().join("archives");
    std::fs::create_dir(&archives).expect("a directory");
    let url = TestServer::shared().owner_url_for(&database.name);
    let output = tokio::process::Command::new("strace")
        .args([
            "-f",
            "-y",
            "-s",
            "300",
            "-e",
            "trace=fsync,fdatasync,rename,renameat,renameat2,sendto,write,writev,unlink",
            "-o",
            text(&log),
        ])
        .arg(env!("CARGO_BIN_EXE_simbridge"))
        .args(["archive", "create", "--through", "2025-12", "--dir", text(&archives)])
        .env("DATABASE_URL", url)
        .output();
    let output = match output.await {
        Ok(output) => output,
        Err(error) => {
            eprintln!("NOT RUN: strace ({error})");
            return;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let calls = std::fs::read_to_string(&log).expect("a file");
    let at = |what: &str, from: usize, is: &dyn Fn(&str) -> bool| {
        let found = calls.lines().skip(from).position(is);
        from + found.unwrap_or_else(|| panic!("no {what} after line {from}"))
    };
    let synced = at("fsync of the file", 0, &|line| line.contains("fsync(") && line.contains(".partial>"));
    let named = at("rename", 0, &|line| line.contains("rename") && line.contains(".partial"));
    let name_synced =
        at("fsync of the directory", named, &|line| line.contains("fsync(") && line.contains("/archives>"));
    let dropped = at("the drop", 0, &|line| line.contains("drop_archived_month"));
    let committed = at("the commit", dropped, &|line| line.contains("COMMIT"));
    assert!(synced < named && named < name_synced && name_synced < dropped && dropped < committed);
}
