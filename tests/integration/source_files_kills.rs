//! Instances that import files are killed, stopped and follow each other; each row counts once.

use nix::sys::signal::Signal;

use crate::harness::bridge::BridgeProcess;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::spool::{HEADER, Spool, counted, fast, rows, slow};

const ICCID: &str = "8941000000000000001";
/// A hundred batches, in several of the stretches whose end can be saved.
const MANY: usize = 20_000;

/// A database in which writing takes its time, and a directory with a file that takes seconds then.
async fn slowly() -> (TestDatabase, Spool) {
    let (database, spool) = (TestDatabase::new().await, Spool::new());
    database.import(&[sim(ICCID)]).await;
    slow(&database).await;
    spool.put("large.csv", format!("{HEADER}{}", rows(ICCID, 0, MANY)));
    (database, spool)
}

async fn saved(database: &TestDatabase) -> i64 {
    database.number("SELECT coalesce(max(committed_lines), 0) FROM file_imports").await
}

async fn some_is_saved(database: &TestDatabase, more_than: i64) {
    let further = async || (saved(database).await > more_than).then_some(());
    eventually("saved progress", further).await;
}

fn begun(bridge: &BridgeProcess) -> Vec<String> {
    bridge.log().into_iter().filter(|line| line.contains("the file is imported")).collect()
}

/// Catches rows that are lost because their place was saved before they were committed, and rows that count again because the
/// file is begun anew with other ids.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_file_neither_loses_nor_repeats() {
    let (database, spool) = slowly().await;
    let mut line = 0;
    for _ in 0..2 {
        let bridge = BridgeProcess::start(&spool.instance(&database, "")).await;
        some_is_saved(&database, line).await;
        bridge.kill().await;
        line = saved(&database).await;
    }
    assert!(counted(&database).await < MANY as i64, "killed in the middle");
    assert_eq!(spool.names(""), ["large.csv"]);
    fast(&database).await;
    let bridge = BridgeProcess::start(&spool.instance(&database, "")).await;
    spool.holds("done", &["large.csv"]).await;
    assert_eq!(counted(&database).await, MANY as i64);
    let begun = begun(&bridge);
    assert!(begun.len() == 1 && !begun[0].contains(r#""line":1,"#), "it goes on: {begun:?}");
    assert_eq!(bridge.terminate().await, Some(0));
    database.assert_reconciled().await;
}

/// Catches a file that is imported again because it still lies there: the move is no part of the transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_last_commit_and_the_move_counts_nothing_twice() {
    let (database, spool) = (TestDatabase::new().await, Spool::new());
    database.import(&[sim(ICCID)]).await;
    std::fs::write(spool.path("done"), "in the way").expect("it is ours");
    spool.put("a.csv", format!("{HEADER}{}", rows(ICCID, 0, 50)));
    let bridge = BridgeProcess::start(&spool.instance(&database, "")).await;
    let finished = "SELECT count(finished_at) FROM file_imports";
    eventually("it is imported", async || (database.number(finished).await == 1).then_some(())).await;
    bridge.kill().await;
    assert_eq!(spool.names(""), ["a.csv", "done"]);
    let before = database.rows("SELECT stored, duplicate, finished_at FROM file_imports").await;
    std::fs::remove_file(spool.path("done")).expect("it is ours");
    let bridge = BridgeProcess::start(&spool.instance(&database, "")).await;
    spool.holds("done", &["a.csv"]).await;
    assert_eq!(begun(&bridge), Vec::<String>::new(), "it is known");
    assert_eq!(database.rows("SELECT stored, duplicate, finished_at FROM file_imports").await, before);
    assert_eq!(counted(&database).await, 50);
    assert_eq!(bridge.terminate().await, Some(0));
    database.assert_reconciled().await;
}

/// Catches two instances that import at once (a lease that is not looked at, or not kept), and none that does after a kill.
#[tokio::test(flavor = "multi_thread")]
async fn one_instance_imports_and_another_one_takes_over() {
    let (database, spool) = slowly().await;
    let first = BridgeProcess::start(&spool.instance(&database, "")).await;
    some_is_saved(&database, 0).await;
    let second = BridgeProcess::start(&spool.instance(&database, "")).await;
    let expiry = "SELECT extract(epoch FROM expires_at)::bigint FROM source_leases";
    let began = database.number(expiry).await;
    let kept = async || (database.number(expiry).await > began).then_some(());
    eventually("the lease is kept", kept).await;
    assert_eq!((begun(&first).len(), begun(&second).len()), (1, 0));
    first.kill().await;
    let line = saved(&database).await;
    let over = async || (begun(&second).len() == 1).then_some(());
    eventually("the other one takes over", over).await;
    assert!(!begun(&second)[0].contains(r#""line":1,"#), "from line {line} on: {:?}", begun(&second));
    fast(&database).await;
    spool.holds("done", &["large.csv"]).await;
    let first = BridgeProcess::start(&spool.instance(&database, "")).await;
    let names: Vec<String> = (0..20).map(|n| format!("small-{n:02}.csv")).collect();
    for (n, name) in names.iter().enumerate() {
        let from = MANY + 10 * n;
        spool.put(name, format!("{HEADER}{}", rows(ICCID, from, from + 10)));
    }
    let all: Vec<&str> = std::iter::once("large.csv").chain(names.iter().map(String::as_str)).collect();
    spool.holds("done", &all).await;
    assert_eq!(begun(&first).len() + begun(&second).len(), 21, "each of them once");
    assert_eq!(counted(&database).await, MANY as i64 + 200);
    assert_eq!((first.terminate().await, second.terminate().await), (Some(0), Some(0)));
    database.assert_reconciled().await;
}

/// Catches an instance that wakes up and goes on with a file that another one has imported meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_slept_counts_nothing_again() {
    let (database, spool) = slowly().await;
    let first = BridgeProcess::start(&spool.instance(&database, "")).await;
    some_is_saved(&database, 0).await;
    first.signal(Signal::SIGSTOP);
    let second = BridgeProcess::start(&spool.instance(&database, "")).await;
    fast_when_nobody_writes(&database).await;
    spool.holds("done", &["large.csv"]).await;
    first.signal(Signal::SIGCONT);
    spool.put("b.csv", format!("{HEADER}{}", rows(ICCID, MANY, MANY + 5)));
    spool.holds("done", &["b.csv", "large.csv"]).await;
    assert_eq!(counted(&database).await, MANY as i64 + 5);
    assert_eq!((first.terminate().await, second.terminate().await), (Some(0), Some(0)));
    assert_eq!(spool.names("done"), ["b.csv", "large.csv"]);
    database.assert_reconciled().await;
}

/// The instance that sleeps may hold a lock on the table of the trigger: its connections are ended first, as a firewall does.
async fn fast_when_nobody_writes(database: &TestDatabase) {
    database
        .run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'",
        )
        .await;
    fast(database).await;
}

/// Catches a stop that waits for the end of the file, or that forgets what was read.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_within_a_file_and_the_next_start_goes_on() {
    let (database, spool) = slowly().await;
    let bridge = BridgeProcess::start(&spool.instance(&database, "")).await;
    some_is_saved(&database, 0).await;
    assert_eq!(bridge.terminate().await, Some(0));
    let (stored, line) = (counted(&database).await, saved(&database).await);
    assert!(stored > 0 && stored < MANY as i64, "{stored}");
    assert!(line > 1 && line <= stored + 1, "line {line}, and the header is one");
    let free = "SELECT expires_at <= clock_timestamp() FROM source_leases";
    assert_eq!(database.text(free, &[]).await, "true", "another instance may go on at once");
    fast(&database).await;
    let bridge = BridgeProcess::start(&spool.instance(&database, "")).await;
    spool.holds("done", &["large.csv"]).await;
    assert_eq!(counted(&database).await, MANY as i64);
    assert!(!begun(&bridge)[0].contains(r#""line":1,"#), "it goes on: {:?}", begun(&bridge));
    assert_eq!(bridge.terminate().await, Some(0));
    database.assert_reconciled().await;
}
