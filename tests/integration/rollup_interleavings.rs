//! Writers and workers in each other's way, each held at a chosen step: by a lock on the table that it needs next, or because
//! its transaction is not ended yet. Whatever happens, nothing is counted twice and nothing is forgotten.

use chrono::NaiveDate;
use simbridge::domain::Iccid;
use simbridge::store::rollups::{Backlog, Lock, RolledUp};
use simbridge::store::sim_moves::{Moved, SimMove};
use simbridge::store::sims::SimRow;
use tokio_postgres::Client;

use crate::harness::database::{TENANT, TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, correction_at, decided, record_at, sender, time, word, words};
use crate::harness::server::connect;
use crate::harness::{PATIENCE, eventually};

const ICCID: &str = "8941000000000000001";
const OTHER: &str = "8941000000000000002";
const NOW: &str = "2026-11-05T12:00:00Z";
const AT: &str = "2026-11-01T04:30:00Z";
const LATER: &str = "2026-11-02T10:00:00Z";

fn on_plan(iccid: &str) -> SimRow {
    SimRow {
        carrier: Some("Salt".into()),
        rate_plan: Some("pool".into()),
        price_per_mb: Some("0.5".into()),
        included_bytes: Some(100),
        ..sim(iccid)
    }
}

/// Two SIMs of a tenant in New York, the first with two records that are rolled up.
async fn prepared() -> (TestDatabase, TestPipeline) {
    let database = TestDatabase::new().await;
    database.run("UPDATE tenants SET time_zone = 'America/New_York' WHERE id = 1").await;
    database.move_zones().await;
    database.import_at("2026-10-01T00:00:00Z", &[on_plan(ICCID)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    write(&pipeline, &[record_at("a", AT, 60), record_at("b", LATER, 70)]).await;
    assert_eq!(database.roll_up().await, 2);
    (database, pipeline)
}

async fn write(pipeline: &TestPipeline, records: &[String]) {
    let receipt = pipeline.send_as(sender(true), Some(ICCID), format!("[{}]", records.join(","))).await;
    assert_eq!(words(&decided(receipt).await), vec!["stored"; records.len()]);
}

/// Everything that waits is counted, and nothing but these records.
async fn assert_settled(database: &TestDatabase, records: i64, bytes: i64) {
    database.assert_reconciled().await;
    database.roll_up().await;
    database.move_zones().await;
    assert_eq!(database.assert_reconciled().await.records, records);
    assert_eq!(database.store.rollup_backlog().await.expect("a backlog"), Backlog::default());
    for (table, amount) in
        [("sim_daily_usage", "total_bytes"), ("hourly_usage", "total_bytes"), ("daily_usage", "data_bytes")]
    {
        let sums = database.rows(&format!("SELECT sum(record_count), sum({amount}) FROM {table}")).await;
        assert_eq!(sums, [format!("{records}|{bytes}")], "{table}");
    }
}

/// A connection with a transaction that has done `sql` and is not ended.
async fn held(database: &TestDatabase, sql: &str) -> Client {
    let client = connect(&database.another_config()).await;
    client.batch_execute(&format!("BEGIN; {sql}")).await.expect("the statements are valid");
    client
}

/// Holds everybody who is about to write into a table; readers pass.
async fn gate(database: &TestDatabase, table: &str) -> Client {
    held(database, &format!("LOCK TABLE {table} IN EXCLUSIVE MODE")).await
}

async fn end(transaction: Client, how: &str) {
    transaction.batch_execute(how).await.expect("the transaction ends");
}

/// Waits until somebody waits for a lock, and says who.
async fn waiting(database: &TestDatabase) -> i32 {
    let sql =
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("somebody who waits for a lock", async || {
        database.client.query_opt(sql, &[]).await.expect("the query is valid").map(|row| row.get(0))
    })
    .await
}

async fn kill(database: &TestDatabase, pid: i32) {
    let sql = "SELECT pg_terminate_backend($1, 60000)";
    let gone: bool = database.client.query_one(sql, &[&pid]).await.expect("the query is valid").get(0);
    assert!(gone);
}

async fn roll_up(database: &TestDatabase, lock: Lock) -> Option<RolledUp> {
    database.store.roll_up(1_000, PATIENCE, lock).await.expect("a roll-up")
}

/// Catches a marker that is committed before its records: the worker would take it and find nothing.
#[tokio::test]
async fn a_batch_that_is_not_committed_yet_is_left_to_the_next_chunk() {
    let (database, pipeline) = prepared().await;
    // What is refused is parked last, after records, cycles and marker.
    let gate = gate(&database, "quarantine").await;
    let batch = format!("[{},{}]", record_at("c", AT, 5), r#"{"recordId":"bad"}"#);
    let receipt = pipeline.send(Some(ICCID), batch).await;
    waiting(&database).await;
    assert_eq!(roll_up(&database, Lock::Wait).await, Some(RolledUp::default()));
    database.assert_reconciled().await;
    end(gate, "COMMIT").await;
    assert_eq!(words(&decided(receipt).await), ["stored", "invalid"]);
    database.assert_reconciled().await;
    assert_eq!(roll_up(&database, Lock::Wait).await.map(|done| done.records), Some(1));
    assert_settled(&database, 3, 135).await;
}

/// Catches a marker that is taken without its own records, as all markers of a period would be.
#[tokio::test]
async fn a_batch_that_commits_while_the_worker_is_not_done_keeps_its_marker() {
    for ending in ["COMMIT", "ROLLBACK"] {
        let (database, pipeline) = prepared().await;
        write(&pipeline, &[record_at("c", AT, 5)]).await;
        let worker = held(&database, "SELECT roll_up_chunk(1000)").await;
        write(&pipeline, &[record_at("d", AT, 6), correction_at("e", "c", AT, -5)]).await;
        database.assert_reconciled().await;
        end(worker, ending).await;
        database.assert_reconciled().await;
        let waits = database.store.rollup_backlog().await.expect("a backlog").records;
        assert_eq!(waits, if ending == "COMMIT" { 2 } else { 3 });
        assert_settled(&database, 5, 136).await;
    }
}

/// Catches a look at the records of an hour that counts those which wait: the SIM would be inactive by a correction that no
/// rollup holds.
#[tokio::test]
async fn a_correction_that_commits_in_the_middle_of_a_chunk_takes_nothing_from_it() {
    let (database, pipeline) = prepared().await;
    write(&pipeline, &[record_at("c", "2026-11-03T10:00:00Z", 5)]).await;
    write(&pipeline, &[correction_at("c-1", "c", "2026-11-03T10:00:00Z", -1)]).await;
    let gate = gate(&database, "hourly_usage").await;
    let meanwhile = async {
        waiting(&database).await;
        write(&pipeline, &[correction_at("c-2", "c", "2026-11-03T10:00:00Z", -4)]).await;
        end(gate, "COMMIT").await;
    };
    let (done, ()) = tokio::join!(roll_up(&database, Lock::Wait), meanwhile);
    assert_eq!(done.map(|done| done.records), Some(2));
    let active = "SELECT active_sim_count FROM hourly_usage WHERE hour = '2026-11-03T10:00:00Z'";
    assert_eq!(database.rows(active).await, ["1"]);
    database.assert_reconciled().await;
    roll_up(&database, Lock::Wait).await;
    assert_eq!(database.rows(active).await, ["0"]);
    assert_settled(&database, 5, 130).await;
}

/// Catches two workers that take the same markers, and one that queues behind another for work that will be done.
#[tokio::test]
async fn of_two_workers_one_waits_or_leaves_it_to_the_other() {
    let (database, pipeline) = prepared().await;
    write(&pipeline, &[record_at("c", AT, 5)]).await;
    let first = held(&database, "SELECT roll_up_chunk(1000)").await;
    assert_eq!(roll_up(&database, Lock::Skip).await, None);
    let zone = database.store.move_zone(1, PATIENCE, Lock::Skip).await.expect("a move");
    assert_eq!(zone, None);
    write(&pipeline, &[record_at("d", AT, 6)]).await;
    let meanwhile = async {
        waiting(&database).await;
        end(first, "COMMIT").await;
    };
    let (second, ()) = tokio::join!(roll_up(&database, Lock::Wait), meanwhile);
    assert_eq!(second.map(|done| (done.markers, done.records)), Some((1, 1)));
    assert_eq!(roll_up(&database, Lock::Skip).await, Some(RolledUp::default()));
    assert_settled(&database, 4, 141).await;
}

/// Catches any step that is committed by itself, above all a marker that is deleted before the work: what is killed at any of
/// them leaves everything as it was.
#[tokio::test]
async fn a_worker_that_is_killed_at_any_step_has_done_nothing() {
    let (database, pipeline) = prepared().await;
    write(&pipeline, &[record_at("c", AT, 5), correction_at("d", "a", AT, -60)]).await;
    let waits = database.store.rollup_backlog().await.expect("a backlog").records;
    #[rustfmt::skip]
    let tables = [
        "rollup_markers", "sim_daily_usage", "hourly_usage", "daily_network_usage", "daily_active_sims",
        "monthly_active_sims", "hourly_active_sims", "daily_usage", "usage_aggregations",
    ];
    for table in tables {
        let gate = gate(&database, table).await;
        let meanwhile = async {
            kill(&database, waiting(&database).await).await;
        };
        let (killed, ()) = tokio::join!(database.store.roll_up(1_000, PATIENCE, Lock::Wait), meanwhile);
        assert_eq!(killed.expect_err("it was killed").code(), Some("57P01"), "{table}");
        end(gate, "COMMIT").await;
        assert_eq!(database.store.rollup_backlog().await.expect("a backlog").records, waits, "{table}");
        database.assert_reconciled().await;
    }
    for step in ["SELECT rollup_begin()", "SELECT roll_up_chunk(1000)"] {
        let worker = held(&database, step).await;
        let pid = worker.query_one("SELECT pg_backend_pid()", &[]).await.expect("a worker").get(0);
        kill(&database, pid).await;
        assert_eq!(database.store.rollup_backlog().await.expect("a backlog").records, waits, "{step}");
        database.assert_reconciled().await;
    }
    assert_settled(&database, 4, 75).await;
}

/// Catches a marker in a transaction of its own, before or after the one that stores.
#[tokio::test]
async fn a_writer_that_is_killed_leaves_neither_records_nor_a_marker() {
    let (database, pipeline) = prepared().await;
    // Each of them is held at another step: at its totals, at its marker, and after all of it.
    for (n, table) in ["usage_cycles", "rollup_markers", "quarantine"].into_iter().enumerate() {
        let gate = gate(&database, table).await;
        let batch = format!("[{},{}]", record_at(&format!("c-{n}"), AT, 5), r#"{"recordId":"bad"}"#);
        let receipt = pipeline.send(Some(ICCID), batch).await;
        kill(&database, waiting(&database).await).await;
        let waits = database.store.rollup_backlog().await.expect("a backlog");
        assert_eq!(waits, Backlog::default(), "{table}");
        assert_eq!(database.assert_reconciled().await.records, 2 + n as i64);
        end(gate, "COMMIT").await;
        // The pipeline writes the batch again.
        assert_eq!(words(&decided(receipt).await), ["stored", "invalid"]);
        database.assert_reconciled().await;
        assert_eq!(database.roll_up().await, 1);
    }
    assert_settled(&database, 5, 145).await;
}

fn move_to(carrier: &str, from: &str) -> SimMove {
    let iccid = Iccid::parse(ICCID).expect("an ICCID");
    SimMove { iccid, tenant: None, carrier: Some(carrier.into()), rate_plan: None, from: time(from) }
}

/// Catches records that change hands before they are counted, and are taken from where they never were.
#[tokio::test]
async fn a_sim_may_be_imported_and_moved_between_a_write_and_its_roll_up() {
    let (database, pipeline) = prepared().await;
    for id in ["x", "y"] {
        assert_eq!(word(&pipeline.one(OTHER, record_at(id, AT, 1)).await), "stored");
    }
    write(&pipeline, &[record_at("c", AT, 5)]).await;
    // One record of the unknown SIM and none of the other are counted before.
    database.store.roll_up(1, PATIENCE, Lock::Wait).await.expect("a roll-up");
    assert_eq!(database.import_at(NOW, &[on_plan(OTHER)]).await.stamped, 2);
    database.assert_reconciled().await;
    let moved = database.store.move_sim(&move_to("Sunrise", AT), time(NOW)).await.expect("a move");
    assert_eq!(moved, Moved::Done { records: 3 });
    database.assert_reconciled().await;
    let carriers =
        "SELECT c.name, sum(d.record_count) FROM daily_usage d JOIN carriers c ON c.id = d.carrier_id
                    GROUP BY 1 ORDER BY 1";
    assert_eq!(database.rows(carriers).await, ["Salt|1", "Sunrise|2"]);
    assert_settled(&database, 5, 137).await;
    assert_eq!(database.rows(carriers).await, ["Salt|2", "Sunrise|3"]);
}

/// Catches a move that decides what is counted before the worker has committed: by then it is.
#[tokio::test]
async fn a_move_that_waits_for_the_worker_moves_what_was_counted_meanwhile() {
    for ending in ["COMMIT", "ROLLBACK"] {
        let (database, pipeline) = prepared().await;
        write(&pipeline, &[record_at("c", AT, 5)]).await;
        let worker = held(&database, "SELECT roll_up_chunk(1000)").await;
        let to = move_to("Sunrise", AT);
        let meanwhile = async {
            waiting(&database).await;
            end(worker, ending).await;
        };
        let (moved, ()) = tokio::join!(database.store.move_sim(&to, time(NOW)), meanwhile);
        assert_eq!(moved.expect("a move"), Moved::Done { records: 3 });
        assert_settled(&database, 3, 135).await;
        let carriers = "SELECT DISTINCT c.name FROM sim_daily_usage d JOIN carriers c ON c.id = d.carrier_id";
        assert_eq!(database.rows(carriers).await, ["Sunrise"], "{ending}");
    }
}

/// Catches a chunk that begins in one zone and ends in another, and a record that counts by the former zone though its SIM is
/// the last one that moved.
#[tokio::test]
async fn a_zone_may_change_while_a_chunk_runs() {
    const ZONE: &str = "UPDATE tenants SET time_zone = 'Asia/Kolkata' WHERE id = 1";
    let (database, pipeline) = prepared().await;
    write(&pipeline, &[record_at("c", AT, 5), correction_at("d", "a", AT, -60)]).await;
    let gate = gate(&database, "hourly_usage").await;
    let meanwhile = async {
        waiting(&database).await;
        database.run(ZONE).await;
        end(gate, "COMMIT").await;
    };
    let (done, ()) = tokio::join!(roll_up(&database, Lock::Wait), meanwhile);
    assert_eq!(done.map(|done| done.records), Some(2));
    database.assert_reconciled().await;
    // 00:30 in New York, 10:00 in Kolkata.
    let days = "SELECT usage_date, sum(data_bytes) FROM daily_usage GROUP BY 1 ORDER BY 1";
    assert_eq!(database.rows(days).await, ["2026-11-01|5", "2026-11-02|70"]);

    let late = "2026-11-01T03:30:00Z"; // 23:30 of the day before, 09:00
    write(&pipeline, &[record_at("e", late, 8)]).await;
    let worker = held(&database, "SELECT move_zone_chunk(1)").await;
    write(&pipeline, &[record_at("f", late, 16)]).await;
    assert_eq!(word(&pipeline.one(OTHER, record_at("x", late, 32)).await), "stored");
    database.assert_reconciled().await;
    end(worker, "COMMIT").await;
    database.assert_reconciled().await;
    roll_up(&database, Lock::Wait).await;
    database.assert_reconciled().await;
    // The second SIM has its days in New York still.
    assert_eq!(database.rows(days).await, ["2026-10-31|32", "2026-11-01|29", "2026-11-02|70"]);
    assert_settled(&database, 7, 131).await;
    assert_eq!(database.rows(days).await, ["2026-11-01|61", "2026-11-02|70"]);
}

/// Catches a rebuild that counts what is committed while it runs, or forgets it because its marker is gone.
#[tokio::test]
async fn a_batch_may_commit_while_its_days_are_made_anew() {
    let (database, pipeline) = prepared().await;
    let days = ["2026-11-01", "2026-11-02"].map(|day| day.parse::<NaiveDate>().expect("a date"));
    let worker = held(&database, "SELECT rebuild_days(1, '2026-11-01', '2026-11-02')").await;
    write(&pipeline, &[record_at("c", AT, 5)]).await;
    end(worker, "COMMIT").await;
    database.assert_reconciled().await;

    let gate = gate(&database, "quarantine").await;
    let batch = format!("[{},{}]", record_at("d", AT, 6), r#"{"recordId":"bad"}"#);
    let receipt = pipeline.send(Some(ICCID), batch).await;
    waiting(&database).await;
    let read = database.store.rebuild_days(TENANT, days[0], days[1], PATIENCE).await;
    assert_eq!(read.expect("a rebuild"), 2);
    end(gate, "COMMIT").await;
    decided(receipt).await;
    database.assert_reconciled().await;

    // And one whose markers are taken while the rebuild waits.
    let worker = held(&database, "SELECT roll_up_chunk(1000)").await;
    let meanwhile = async {
        waiting(&database).await;
        end(worker, "COMMIT").await;
    };
    let rebuild = database.store.rebuild_days(TENANT, days[0], days[1], PATIENCE);
    let (read, ()) = tokio::join!(rebuild, meanwhile);
    assert_eq!(read.expect("a rebuild"), 4);
    assert_settled(&database, 4, 141).await;
}

/// Catches a caller whose snapshot is older than the lock: it would not see what was committed before it got it.
#[tokio::test]
async fn a_transaction_with_one_snapshot_for_all_is_refused() {
    let (database, pipeline) = prepared().await;
    write(&pipeline, &[record_at("c", AT, 5)]).await;
    database.run("INSERT INTO carriers (name) VALUES ('Sunrise')").await;
    let due = "UPDATE sim_ownership SET carrier_id = 2";
    for work in [
        "SELECT roll_up_chunk(1)".into(),
        "SELECT aggregate_usage_to_daily()".into(),
        "SELECT move_zone_chunk(1)".into(),
        "SELECT rebuild_days(1, '2026-11-01', '2026-11-01')".into(),
        format!("{due}; SELECT stamp_records('{{{ICCID}}}', '-infinity', now())"),
    ] {
        for level in ["REPEATABLE READ", "SERIALIZABLE"] {
            let sql = format!("BEGIN ISOLATION LEVEL {level}; {work}");
            let refused = database.client.batch_execute(&sql).await.expect_err("it is refused");
            assert_eq!(refused.code().map(|code| code.code()), Some("25000"), "{sql}");
            database.run("ROLLBACK").await;
        }
    }
    assert_settled(&database, 3, 135).await;
}

/// Catches a frozen worker that holds the lock for ever.
#[tokio::test]
async fn a_worker_that_stands_still_loses_the_lock() {
    let (database, pipeline) = prepared().await;
    write(&pipeline, &[record_at("c", AT, 5)]).await;
    database
        .run(
            "CREATE TABLE seen (idle text, statement text); GRANT INSERT ON seen TO PUBLIC;
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 INSERT INTO seen VALUES (current_setting('idle_in_transaction_session_timeout'),
                                          current_setting('statement_timeout'));
                 RETURN NULL;
             END $$;
             CREATE TRIGGER look AFTER DELETE ON rollup_markers FOR EACH STATEMENT EXECUTE FUNCTION look()",
        )
        .await;
    // With a shorter limit than the worker's own, which the test would have to wait for.
    let frozen =
        held(&database, "SET LOCAL idle_in_transaction_session_timeout = 1; SELECT roll_up_chunk(1000)")
            .await;
    assert_eq!(roll_up(&database, Lock::Wait).await.map(|done| done.records), Some(1));
    assert_eq!(database.rows("SELECT * FROM seen").await, ["5s|1min"]);
    assert!(frozen.batch_execute("COMMIT").await.is_err());
    assert_settled(&database, 3, 135).await;
}
