//! Raw records are given up by months; what they amounted to stays.

use chrono::{DateTime, Utc};
use simbridge::domain::Iccid;
use simbridge::ingest::queue::RecordStatus;
use simbridge::store::retention::FloorAdvance;
use simbridge::store::sim_moves::{Moved, SimMove};
use simbridge::store::sims::SimRow;

use crate::harness::database::{TENANT, TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, correction_at, record_at, sender, time, word};
use crate::harness::server::connect;
use crate::harness::{PATIENCE, eventually};

const ICCID: &str = "8941000000000000001";
const OTHER: &str = "8941000000000000002";
/// 32 days before it is 6 February: the floor is the first of that month.
const NOW: &str = "2026-03-10T12:00:00Z";
const FLOOR: &str = "2026-02-01T00:00:00Z";
const DAYS: i32 = 32;

/// Everything that outlives raw records.
const KEPT: &str = "SELECT (SELECT string_agg(t::text, E'\\n' ORDER BY t::text) FROM sim_daily_usage t),
    (SELECT string_agg(t::text, E'\\n' ORDER BY t::text) FROM daily_usage t),
    (SELECT string_agg(t::text, E'\\n' ORDER BY t::text) FROM hourly_usage t),
    (SELECT string_agg(t::text, E'\\n' ORDER BY t::text) FROM usage_aggregations t),
    (SELECT string_agg(t::text, E'\\n' ORDER BY t::text) FROM usage_cycles t),
    (SELECT string_agg(t::text, E'\\n' ORDER BY t::text) FROM record_keys t)";

const PARTITIONS_BELOW: &str =
    "SELECT count(*) FROM usage_partitions_below((SELECT raw_floor FROM inventory_version))";

fn on_plan(iccid: &str, price: &str, included: i64) -> SimRow {
    SimRow {
        carrier: Some("Salt".into()),
        rate_plan: Some(format!("plan-{price}-{included}")),
        price_per_mb: Some(price.into()),
        included_bytes: Some(included),
        cycle_day: Some(15),
        ..sim(iccid)
    }
}

/// A tenant in Kolkata whose month and cycles straddle the floor, with records on both sides of it, rolled up.
async fn straddling() -> (TestDatabase, TestPipeline) {
    let database = TestDatabase::new().await;
    database.run("UPDATE tenants SET time_zone = 'Asia/Kolkata' WHERE id = 1").await;
    database.move_zones().await;
    let rows = [on_plan(ICCID, "0.5", 0), on_plan(OTHER, "1", 3 << 20)];
    database.import_at("2026-01-01T00:00:00Z", &rows).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let moments = [
        "2025-12-20T10:00:00Z",
        "2026-01-16T10:00:00Z",
        // 1 February in Kolkata, and below the floor.
        "2026-01-31T23:59:59Z",
        "2026-02-01T00:00:00Z",
        "2026-02-10T10:00:00Z",
        "2026-03-10T10:00:00Z",
    ];
    for iccid in [ICCID, OTHER] {
        for (n, at) in moments.into_iter().enumerate() {
            assert_eq!(word(&pipeline.one(iccid, record_at(&format!("r-{n}"), at, 2 << 20)).await), "stored");
        }
    }
    database.roll_up().await;
    (database, pipeline)
}

async fn advance(database: &TestDatabase) -> FloorAdvance {
    database.store.advance_raw_floor(time(NOW), DAYS).await.expect("an answer")
}

fn floor_of(advanced: FloorAdvance) -> DateTime<Utc> {
    let FloorAdvance::Done { floor, dropped } = advanced else { panic!("{advanced:?}") };
    assert!(dropped >= 2, "{dropped}");
    floor
}

/// Catches dropping too much or too little, rollups or cycles that follow the records away, and invariants that miss them.
#[tokio::test]
async fn months_below_the_floor_go_and_all_that_they_amounted_to_stays() {
    let (database, _pipeline) = straddling().await;
    database.assert_reconciled().await;
    let before = database.rows(KEPT).await;
    assert_eq!(floor_of(advance(&database).await), time(FLOOR));
    assert_eq!(database.number(PARTITIONS_BELOW).await, 0);
    let left = "SELECT count(*), min(period_start) = '2026-02-01T00:00:00Z' FROM usage_records";
    assert_eq!(database.rows(left).await, ["6|t"]);
    assert_eq!(database.rows(KEPT).await, before);
    database.assert_reconciled().await;
    assert_eq!(advance(&database).await, FloorAdvance::NothingDue);
    // More days than before: what is gone is gone.
    let later = database.store.advance_raw_floor(time(NOW), 400).await.expect("an answer");
    assert_eq!(later, FloorAdvance::NothingDue);
    assert_eq!(database.store.raw_floor().await.expect("an answer"), Some(time(FLOOR)));
}

/// Catches a floor that moves over records which no rollup holds yet: they would never be counted.
#[tokio::test]
async fn the_floor_waits_for_markers_below_it() {
    let (database, pipeline) = straddling().await;
    pipeline.one(ICCID, record_at("late", "2026-01-20T00:00:00Z", 1 << 20)).await;
    assert_eq!(advance(&database).await, FloorAdvance::WaitsForRollup);
    let asked_of_the_function = "SELECT waiting, dropped FROM advance_raw_floor('2026-03-10T12:00:00Z', 32)";
    assert_eq!(database.rows(asked_of_the_function).await, ["t|0"]);
    assert_eq!(database.store.raw_floor().await.expect("an answer"), None);
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 13);
    database.roll_up().await;
    assert_eq!(floor_of(advance(&database).await), time(FLOOR));
    let january = "SELECT record_count FROM usage_aggregations WHERE period_start = '2026-01-01'";
    assert_eq!(database.number(january).await, 3);
    database.assert_reconciled().await;
}

/// Catches a floor above what is open in some zone: it could not be made anew.
#[tokio::test]
async fn fewer_days_than_an_open_month_needs_are_refused() {
    let (database, _pipeline) = straddling().await;
    let refused = database.store.advance_raw_floor(time("2026-03-28T12:00:00Z"), 20).await;
    let refused = refused.expect_err("refused").to_string();
    assert!(refused.contains("raw records of 20 days are too few"), "{refused}");
    assert_eq!(database.store.raw_floor().await.expect("an answer"), None);
    // The last moment of the longest month, where it ends last: 32 days suffice.
    database.tenant("late", "Etc/GMT+12").await;
    for (at, floor) in [("2026-04-01T11:59:59Z", "2026-02-01"), ("2026-03-31T23:00:00Z", "2026-02-01")] {
        let advanced = database.store.advance_raw_floor(time(at), 32).await.expect("an answer");
        let expected = time(&format!("{floor}T00:00:00Z"));
        assert!(
            matches!(advanced, FloorAdvance::Done { floor, .. } if floor == expected)
                || advanced == FloorAdvance::NothingDue,
            "{advanced:?}"
        );
    }
}

/// Catches keys that stay claimed, neighbours that are refused too, and repetitions that are parked as news.
#[tokio::test]
async fn what_lies_below_the_floor_is_parked_and_its_neighbours_are_stored() {
    let (database, pipeline) = straddling().await;
    floor_of(advance(&database).await);
    let keys = "SELECT count(*) FROM record_keys";
    let held = database.number(keys).await;
    let below = |id: &str| record_at(id, "2026-01-31T23:59:59Z", 1 << 20);
    let batch = format!("[{},{}]", below("old"), record_at("new", FLOOR, 1 << 20));
    let receipt = pipeline.decide(Some(ICCID), batch).await;
    let RecordStatus::Parked(rejection) = &receipt.records[0].status else { panic!("{receipt:?}") };
    assert_eq!(rejection.code.as_str(), "too_old");
    assert!(rejection.to_string().contains("before 2026-02-01 00:00:00 UTC"), "{rejection}");
    assert_eq!(word(&receipt.records[1].status), "stored");
    assert_eq!(database.number(keys).await, held + 1);
    let parked = "SELECT record_id, reason, seen_count FROM quarantine";
    assert_eq!(database.rows(parked).await, ["old|too_old|1"]);
    // What was stored before the floor moved is a repetition while its key is kept, or other content under its name.
    assert_eq!(
        word(&pipeline.one(ICCID, record_at("r-2", "2026-01-31T23:59:59Z", 2 << 20)).await),
        "duplicate"
    );
    assert_eq!(word(&pipeline.one(ICCID, below("r-2")).await), "conflict");
    // A correction has the period of its record: that one is gone.
    let correction = correction_at("fix", "r-2", "2026-01-31T23:59:59Z", -1);
    assert_eq!(word(&pipeline.one_as(sender(true), ICCID, correction).await), "too_old");
    assert_eq!(database.number(PARTITIONS_BELOW).await, 0);
    database.store.ensure_partitions(time(NOW), 400).await.expect("partitions");
    assert_eq!(database.number(PARTITIONS_BELOW).await, 0);
    database.roll_up().await;
    database.assert_reconciled().await;
}

/// Catches figures that are made anew from the records that are left: the frozen part would vanish.
#[tokio::test]
async fn late_records_above_the_floor_are_added_to_the_day_month_and_cycle_that_straddle_it() {
    let (database, pipeline) = straddling().await;
    let before = "SELECT data_bytes, record_count, cost::float8 FROM daily_usage WHERE usage_date = '2026-02-01'
                  UNION ALL SELECT total_bytes, record_count, 0 FROM usage_cycles WHERE cycle_id = '2026-01' AND iccid = '8941000000000000001'
                  UNION ALL SELECT total_data_bytes, record_count, total_cost::float8 FROM usage_aggregations WHERE period_start = '2026-02-01'";
    // The second SIM's cycle since 15 January: 2 MiB of 3 MiB included were used by the 16th, so 3 MiB of 1 February cost.
    assert_eq!(database.rows(before).await, ["8388608|4|5", "8388608|4|0", "12582912|6|8"]);
    floor_of(advance(&database).await);
    for iccid in [ICCID, OTHER] {
        let late = record_at("late", "2026-02-01T01:00:00Z", 1 << 20);
        assert_eq!(word(&pipeline.one(iccid, late).await), "stored");
    }
    database.roll_up().await;
    assert_eq!(database.rows(before).await, ["10485760|6|6.5", "9437184|5|0", "14680064|8|9.5"]);
    database.assert_reconciled().await;
    // A correction takes all of it back.
    for iccid in [ICCID, OTHER] {
        let back = correction_at("back", "late", "2026-02-01T01:00:00Z", -1 << 20);
        assert_eq!(word(&pipeline.one_as(sender(true), iccid, back).await), "stored");
    }
    database.roll_up().await;
    assert_eq!(database.rows(before).await, ["8388608|8|5", "8388608|6|0", "12582912|10|8"]);
    database.assert_reconciled().await;
}

/// Catches a change of owner or zone that takes the frozen part along, or leaves behind what still has records.
#[tokio::test]
async fn a_sim_that_is_moved_and_a_zone_that_changes_leave_frozen_days_alone() {
    let (database, _pipeline) = straddling().await;
    let other = database.tenant("other", "UTC").await;
    floor_of(advance(&database).await);
    let frozen = "SELECT usage_date, data_bytes FROM daily_usage WHERE tenant_id = 1 AND usage_date < '2026-02-01' ORDER BY 1";
    let before = database.rows(frozen).await;
    let to = SimMove {
        iccid: Iccid::parse(ICCID).expect("an ICCID"),
        tenant: Some(other),
        carrier: None,
        rate_plan: None,
        from: time("2025-12-01T00:00:00Z"),
    };
    assert_eq!(database.store.move_sim(&to, time(NOW)).await.expect("a move"), Moved::Done { records: 3 });
    database.assert_reconciled().await;
    assert_eq!(database.rows(frozen).await, before);
    let moved = "SELECT usage_date, data_bytes FROM daily_usage WHERE tenant_id = 2 ORDER BY 1";
    assert_eq!(
        database.rows(moved).await,
        ["2026-02-01|2097152", "2026-02-10|2097152", "2026-03-10|2097152"]
    );
    // The frozen record of 23:59:59 stays on 1 February when that day begins half past five hours later.
    database.run("UPDATE tenants SET time_zone = 'UTC' WHERE id = 1").await;
    database.move_zones().await;
    database.assert_reconciled().await;
    let straddling =
        "SELECT sum(data_bytes) FROM daily_usage WHERE tenant_id = 1 AND usage_date = '2026-02-01'";
    assert_eq!(database.number(straddling).await, 3 * (2 << 20));
    // Made anew from its records, that day would lose it.
    let day = "2026-02-01".parse().expect("a date");
    let refused = database.store.rebuild_days(TENANT, day, day, PATIENCE).await.expect_err("refused");
    assert!(refused.to_string().contains("the raw records of 2026-02-01 are gone"), "{refused}");
    let span = database.store.rebuild_span(TENANT).await.expect("a span").expect("days");
    assert!(span.0 > day, "{span:?}");
    database.store.rebuild_days(TENANT, span.0, span.1, PATIENCE).await.expect("a rebuild");
    assert_eq!(database.number(straddling).await, 3 * (2 << 20));
    database.assert_reconciled().await;
}

/// Catches a floor that is remembered from an earlier batch, and a writer that tries for ever what no partition takes.
#[tokio::test]
async fn a_writer_that_waits_while_the_floor_moves_parks_what_has_become_too_old() {
    let (database, pipeline) = straddling().await;
    let holder = connect(&database.another_config()).await;
    let begin = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('simbridge.inventory'))";
    holder.batch_execute(begin).await.expect("the lock");
    let batch = format!(
        "[{},{}]",
        record_at("old", "2026-01-31T23:00:00Z", 1),
        record_at("new", "2026-02-02T00:00:00Z", 1)
    );
    let receipt = pipeline.send(Some(ICCID), batch).await;
    let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                   WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted";
    eventually("a writer that waits", async || (database.number(waiting).await == 1).then_some(())).await;
    let advance = "SELECT kept_from FROM advance_raw_floor('2026-03-10T12:00:00Z', 32); COMMIT";
    holder.batch_execute(advance).await.expect("the floor moves");
    let receipt = crate::harness::pipeline::decided(receipt).await;
    assert_eq!(crate::harness::pipeline::words(&receipt), ["too_old", "stored"]);
    database.roll_up().await;
    database.assert_reconciled().await;
}

/// Catches waiting without end for somebody who reads: all writers would wait as well.
#[tokio::test]
async fn a_long_reader_puts_the_floor_off_and_holds_up_nobody() {
    let (database, pipeline) = straddling().await;
    let reader = connect(&database.another_config()).await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM usage_records").await.expect("a reader");
    assert_eq!(advance(&database).await, FloorAdvance::Busy);
    assert_eq!(database.store.raw_floor().await.expect("an answer"), None);
    assert_eq!(word(&pipeline.one(ICCID, record_at("new", "2026-01-20T00:00:00Z", 1)).await), "stored");
    reader.batch_execute("COMMIT").await.expect("it ends");
    database.roll_up().await;
    floor_of(advance(&database).await);
}

/// Catches a snapshot that is older than the floor: what is gone by now would be missed.
#[tokio::test]
async fn the_invariants_hold_for_who_asks_while_the_floor_moves() {
    let (database, _pipeline) = straddling().await;
    let mover = connect(&database.another_config()).await;
    let advance = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('simbridge.inventory'));
                   SELECT kept_from FROM advance_raw_floor('2026-03-10T12:00:00Z', 32)";
    mover.batch_execute(advance).await.expect("the floor moves");
    let other = database.another_store();
    let asking = tokio::spawn(async move { other.reconcile().await });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("a reader that waits", async || (database.number(waiting).await == 1).then_some(())).await;
    mover.batch_execute("COMMIT").await.expect("it has moved");
    let reconciled = asking.await.expect("it ends").expect("an answer");
    assert!(reconciled.is_clean(), "{:#?}", reconciled.results);
    assert_eq!(reconciled.records, 6);
}

/// Catches two instances that drop or count the same twice.
#[tokio::test]
async fn two_instances_at_once_give_up_each_month_once() {
    let (database, _pipeline) = straddling().await;
    let other = database.another_store();
    let version = "SELECT version FROM inventory_version";
    let before = database.number(version).await;
    let (one, two) = tokio::join!(
        database.store.advance_raw_floor(time(NOW), DAYS),
        other.advance_raw_floor(time(NOW), DAYS)
    );
    let both = [one.expect("an answer"), two.expect("an answer")];
    let dropped: i32 = both
        .iter()
        .map(|advance| if let FloorAdvance::Done { dropped, .. } = advance { *dropped } else { 0 })
        .sum();
    let gone = "SELECT count(*) FROM generate_series(0, 400) n
                WHERE to_regclass(to_char('2026-01-01'::date - make_interval(months => n), '\"usage_records_y\"YYYY\"m\"MM')) IS NOT NULL";
    assert_eq!(database.number(gone).await, 0);
    assert!(dropped >= 2, "{both:?}");
    assert_eq!(database.number(version).await, before + 1, "{both:?}");
}

/// Catches keys that are forgotten while their records are kept, or a repetition would count twice; and one big deletion.
#[tokio::test]
async fn keys_are_forgotten_in_chunks_and_never_above_the_floor() {
    let (database, pipeline) = straddling().await;
    let keys = "SELECT count(*) FROM record_keys WHERE period_start >= '2026-01-01'";
    let far_future = time("2027-01-01T00:00:00Z");
    assert_eq!(database.store.delete_old_keys(far_future).await.expect("an answer"), Some(0));
    floor_of(advance(&database).await);
    let many = "INSERT INTO record_keys (tenant_id, iccid, record_id, fingerprint, period_start, write_id)
                SELECT 1, '8941000000000000009', n::text, ''::bytea, '2025-06-01', 1 FROM generate_series(1, 10000) n";
    database.run(many).await;
    assert_eq!(
        database.store.delete_old_keys(time("2026-01-01T00:00:00Z")).await.expect("an answer"),
        Some(10_000)
    );
    assert_eq!(
        database.store.delete_old_keys(time("2026-01-01T00:00:00Z")).await.expect("an answer"),
        Some(2)
    );
    assert_eq!(database.number(keys).await, 10);
    assert_eq!(database.store.delete_old_keys(far_future).await.expect("an answer"), Some(4));
    assert_eq!(database.number(keys).await, 6);
    // Its key is gone: it cannot be told from a record that was never sent, and is not stored a second time.
    assert_eq!(
        word(&pipeline.one(ICCID, record_at("r-2", "2026-01-31T23:59:59Z", 2 << 20)).await),
        "too_old"
    );
    database.assert_reconciled().await;
}
