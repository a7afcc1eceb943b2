//! A record counts in the billing cycle that holds its periodStart.

use simbridge::store::sims::SimRow;

use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::pipeline::{TestPipeline, decided, record_at, time, word, words};

use crate::harness::server::connect;

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";

fn on_day(cycle_day: i16) -> SimRow {
    SimRow { cycle_day: Some(cycle_day), ..sim(ICCID) }
}

/// A tenant in `zone` with one SIM, imported at `at`.
async fn in_zone(zone: &str, cycle_day: i16, at: &str) -> TestDatabase {
    let database = TestDatabase::new().await;
    database
        .client
        .execute("UPDATE tenants SET time_zone = $1 WHERE id = 1", &[&zone])
        .await
        .expect("a zone");
    database.import_at(at, &[on_day(cycle_day)]).await;
    database
}

/// Cycles as `id start end bytes`, oldest first, times in UTC.
async fn cycles(database: &TestDatabase) -> Vec<String> {
    let utc = "AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'";
    let sql = format!(
        "SELECT concat_ws(' ', cycle_id, to_char(cycle_start {utc}), to_char(cycle_end {utc}), total_bytes)
         FROM usage_cycles ORDER BY cycle_start"
    );
    database.rows(&sql).await
}

/// Catches choosing the cycle by the clock.
#[tokio::test]
async fn a_late_record_counts_in_its_own_month() {
    let database = in_zone("UTC", 1, NOW).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (n, at) in ["2026-01-31T23:59:59.999999Z", "2026-02-01T00:00:00Z", NOW].into_iter().enumerate() {
        assert_eq!(word(&pipeline.one(ICCID, record_at(&format!("r-{n}"), at, 1 << n)).await), "stored");
    }
    assert_eq!(
        cycles(&database).await,
        [
            "2026-01 2026-01-01 00:00 2026-02-01 00:00 1",
            "2026-02 2026-02-01 00:00 2026-03-01 00:00 2",
            "2026-03 2026-03-01 00:00 2026-04-01 00:00 4",
        ]
    );
    database.assert_reconciled().await;
}

#[tokio::test]
async fn a_cycle_of_day_31_begins_on_the_last_day_of_a_shorter_month() {
    let database = in_zone("UTC", 31, NOW).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    pipeline.one(ICCID, record_at("old", "2026-01-15T00:00:00Z", 1)).await;
    pipeline.one(ICCID, record_at("boundary", "2026-02-28T00:00:00Z", 2)).await;
    assert_eq!(
        cycles(&database).await,
        [
            "2025-12 2025-12-31 00:00 2026-01-31 00:00 1",
            "2026-01 2026-01-31 00:00 2026-02-28 00:00 0",
            "2026-02 2026-02-28 00:00 2026-03-31 00:00 2",
        ]
    );
    database.assert_reconciled().await;
}

/// Bounds worked out by hand from the zones' rules; a boundary instant belongs to the next cycle. Catches adding months to
/// UTC instants, and a local midnight that does not exist (Cairo, Havana) or exists twice (Havana).
#[tokio::test]
async fn a_cycle_begins_at_midnight_of_its_zone_through_every_change_of_the_clock() {
    // Zone, cycle day, a moment, and the bounds in UTC of the cycle that holds it.
    let cases = [
        ("Europe/Berlin", 1, "2026-03-31T21:59:59.999999Z", "2026-03 2026-02-28 23:00 2026-03-31 22:00 1"),
        ("Europe/Berlin", 1, "2026-10-31T23:00:00Z", "2026-11 2026-10-31 23:00 2026-11-30 23:00 1"),
        ("Europe/Berlin", 29, "2026-03-29T12:00:00Z", "2026-03 2026-03-28 23:00 2026-04-28 22:00 1"),
        ("Asia/Kolkata", 1, "2026-03-31T18:30:00Z", "2026-04 2026-03-31 18:30 2026-04-30 18:30 1"),
        ("Asia/Kolkata", 1, "2026-03-31T18:29:59.999999Z", "2026-03 2026-02-28 18:30 2026-03-31 18:30 1"),
        ("America/New_York", 8, "2026-03-08T05:00:00Z", "2026-03 2026-03-08 05:00 2026-04-08 04:00 1"),
        ("America/New_York", 1, "2026-11-30T12:00:00Z", "2026-11 2026-11-01 04:00 2026-12-01 05:00 1"),
        // 24 April 2026 begins at 01:00 in Cairo: its midnight is 22:00 UTC all the same.
        ("Africa/Cairo", 24, "2026-04-23T22:00:00Z", "2026-04 2026-04-23 22:00 2026-05-23 21:00 1"),
        // 8 March 2026 begins at 01:00 in Havana.
        ("America/Havana", 8, "2026-03-08T05:00:00Z", "2026-03 2026-03-08 05:00 2026-04-08 04:00 1"),
        // 1 November 2026 has midnight twice in Havana; PostgreSQL takes the second one, in standard time.
        ("America/Havana", 1, "2026-11-15T00:00:00Z", "2026-11 2026-11-01 05:00 2026-12-01 05:00 1"),
        ("America/Havana", 1, "2026-11-01T04:30:00Z", "2026-10 2026-10-01 04:00 2026-11-01 05:00 1"),
    ];
    for (zone, day, at, expected) in cases {
        let database = in_zone(zone, day, at).await;
        let pipeline = TestPipeline::start_at(&database.store, at);
        assert_eq!(word(&pipeline.one(ICCID, record_at("r", at, 1)).await), "stored");
        assert_eq!(cycles(&database).await, [expected], "{zone} {at}");
        database.assert_reconciled().await;
    }
}

/// `id current archived final`, oldest first.
async fn states(database: &TestDatabase) -> Vec<String> {
    let sql =
        "SELECT concat_ws(' ', cycle_id, is_current, archived_at IS NOT NULL, final_usage ->> 'totalBytes')
               FROM usage_cycles ORDER BY cycle_start";
    database.rows(sql).await
}

/// Catches two current cycles, a reset that zeroes, and a late record that changes what was final.
#[tokio::test]
async fn a_cycle_that_ended_is_archived_and_a_late_record_changes_only_its_totals() {
    let database = in_zone("UTC", 1, NOW).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    pipeline.one(ICCID, record_at("r-1", "2026-03-05T00:00:00Z", 7)).await;
    let roll = async |at: &str| database.store.roll_cycles(time(at)).await.expect("cycles roll");
    assert_eq!(roll("2026-03-31T23:59:59.999999Z").await, 0);
    assert_eq!(roll("2026-04-01T00:00:00Z").await, 1);
    assert_eq!(roll("2026-04-01T00:00:00Z").await, 0, "a second time changes nothing");
    assert_eq!(states(&database).await, ["2026-03 f t 7", "2026-04 t f"]);

    assert_eq!(roll("2026-07-15T00:00:00Z").await, 1, "three were missed");
    let missed = ["2026-03 f t 7", "2026-04 f t 0", "2026-05 f t 0", "2026-06 f t 0", "2026-07 t f"];
    assert_eq!(states(&database).await, missed);
    let later = TestPipeline::start_at(&database.store, "2026-07-15T00:00:00Z");
    later.one(ICCID, record_at("late", "2026-03-06T00:00:00Z", 5)).await;
    assert_eq!(states(&database).await, missed);
    assert_eq!(database.number("SELECT total_bytes FROM usage_cycles WHERE cycle_id = '2026-03'").await, 12);
    database.assert_reconciled().await;
}

#[tokio::test]
async fn instances_that_roll_at_once_roll_each_sim_once() {
    let database = TestDatabase::new().await;
    let sims: Vec<_> = (0..60).map(|n| sim(&format!("89410000000000002{n:02}"))).collect();
    database.import_at(NOW, &sims).await;
    let at = time("2026-05-02T00:00:00Z");
    let other = database.another_store();
    let (a, b) = tokio::join!(database.store.roll_cycles(at), other.roll_cycles(at));
    assert_eq!(a.expect("rolls") + b.expect("rolls"), 60);
    database.assert_reconciled().await;
}

/// Catches computing bounds anew from the changed day: a gap or an overlap, I7.
#[tokio::test]
async fn a_changed_cycle_day_leaves_no_gap() {
    let database = in_zone("UTC", 20, NOW).await;
    let mut pipeline = TestPipeline::start_at(&database.store, NOW);
    pipeline.one(ICCID, record_at("r-1", "2026-03-01T00:00:00Z", 1)).await;
    for (day, at) in [(5, "2026-03-30T00:00:00Z"), (31, "2026-05-30T00:00:00Z"), (1, "2026-08-30T00:00:00Z")]
    {
        database.import_at(at, &[on_day(day)]).await;
        pipeline = TestPipeline::start_at(&database.store, at);
        for (n, then) in [at, "2026-01-20T00:00:00Z", "2025-11-07T00:00:00Z"].into_iter().enumerate() {
            let record = record_at(&format!("r-{day}-{n}"), then, 1);
            assert_eq!(word(&pipeline.one(ICCID, record).await), "stored");
        }
        database.store.roll_cycles(time(at)).await.expect("cycles roll");
        database.assert_reconciled().await;
    }
    drop(pipeline);
}

/// Catches two writers that extend one chain at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_many_months_that_come_at_once_make_one_chain() {
    let database = TestDatabase::new().await;
    let sims: Vec<_> = (0..60).map(|n| sim(&format!("89410000000000004{n:02}"))).collect();
    database.import_at(NOW, &sims).await;
    let pipelines = [&database.store, &database.another_store()].map(|s| TestPipeline::start_at(s, NOW));
    let mut receipts = Vec::new();
    for (round, month) in ["2026-02", "2025-11", "2026-01", "2025-06", "2025-09"].into_iter().enumerate() {
        for sim in &sims {
            for (of, pipeline) in pipelines.iter().enumerate() {
                let record = record_at(&format!("r-{round}-{of}"), &format!("{month}-10T00:00:00Z"), 1);
                receipts.push(pipeline.send(Some(sim.iccid.as_str()), record).await);
            }
        }
    }
    for receipt in receipts {
        assert_eq!(words(&decided(receipt).await), ["stored"]);
    }
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 600);
    database.assert_reconciled().await;
}

/// Catches extending a chain without the lock on its SIM: the second transaction would make the same cycles.
#[tokio::test]
async fn a_transaction_that_extends_a_chain_waits_for_another_that_does() {
    let database = in_zone("UTC", 1, NOW).await;
    let second = connect(&database.another_config()).await;
    let extend = format!("SELECT ensure_cycles('{{{ICCID}}}', '{{2025-10-10T00:00:00Z}}', '{NOW}')");
    database.run("BEGIN").await;
    assert_eq!(database.number(&extend).await, 5);
    let waiting = {
        let extend = extend.clone();
        tokio::spawn(async move { second.query_one(&*extend, &[]).await.map(|row| row.get::<_, i32>(0)) })
    };
    let blocked = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    // Within a transaction this view stands still unless told otherwise.
    let looks = async || {
        database.run("SELECT pg_stat_clear_snapshot()").await;
        (database.number(blocked).await == 1).then_some(())
    };
    eventually("the second one waits", looks).await;
    database.run("COMMIT").await;
    assert_eq!(waiting.await.expect("it ends").expect("no error"), 0);
    database.assert_reconciled().await;
}

/// Catches totals that leave their pages and go into every index anew, because what they were before may not be tidied up while a
/// rollup or a backup is under way.
#[tokio::test]
async fn totals_change_in_place_although_a_long_transaction_keeps_what_they_were() {
    const SIMS: i64 = 500;
    let database = TestDatabase::new().await;
    let sims: Vec<_> = (0..SIMS).map(|n| sim(&format!("8941000000000{n:06}"))).collect();
    database.import_at(NOW, &sims).await;
    let (long, mut owner) =
        (connect(&database.another_config()).await, connect(&database.another_config()).await);
    let fill =
        "INSERT INTO sim_allowances (tenant_id, iccid, rate_plan_id, cycle_id, total_bytes, correction_count)
                SELECT 1, iccid, 1, cycle_id, 1, 0 FROM usage_cycles";
    owner.batch_execute(fill).await.expect("it may");
    long.batch_execute("BEGIN; SELECT txid_current()").await.expect("it may");
    for table in ["usage_cycles", "sim_allowances"] {
        let change = owner.transaction().await.expect("BEGIN");
        let update = format!("UPDATE {table} SET total_bytes = total_bytes + 1000");
        assert_eq!(change.execute(&update, &[]).await.expect("it may") as i64, SIMS);
        let in_place = format!("SELECT pg_stat_get_xact_tuples_hot_updated('{table}'::regclass)");
        let in_place: i64 = change.query_one(&in_place, &[]).await.expect("a number").get(0);
        assert_eq!(in_place, SIMS, "{table}");
        change.commit().await.expect("COMMIT");
    }
}
