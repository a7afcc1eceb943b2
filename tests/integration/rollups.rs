//! Hours, days and months follow the records, each in the tenant's time zone.

use simbridge::store::sims::SimRow;

use simbridge::domain::Iccid;
use simbridge::store::rollups::Lock;
use simbridge::store::sim_moves::{Moved, SimMove};

use crate::harness::PATIENCE;
use crate::harness::database::{TENANT, TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, record_at, time, word};

const ICCID: &str = "8941000000000000001";
const OTHER: &str = "8941000000000000002";
const NOW: &str = "2026-03-10T12:00:00Z";

fn on_plan(iccid: &str, carrier: &str, plan: &str, price: &str, included: i64) -> SimRow {
    SimRow {
        carrier: Some(carrier.into()),
        rate_plan: Some(plan.into()),
        price_per_mb: Some(price.into()),
        included_bytes: Some(included),
        ..sim(iccid)
    }
}

const DAYS: &str = "SELECT usage_date, data_bytes, active_sim_count, cost::float8 FROM daily_usage ORDER BY usage_date, carrier_id";

#[tokio::test]
async fn a_day_and_a_month_hold_what_its_records_hold() {
    let database = TestDatabase::new().await;
    database
        .import_at(NOW, &[on_plan(ICCID, "Salt", "flat", "0.5", 0), on_plan(OTHER, "Salt", "flat", "0.5", 0)])
        .await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (n, (iccid, at, megabytes)) in [
        (ICCID, "2026-03-10T10:00:00Z", 1),
        (ICCID, "2026-03-10T11:00:00Z", 2),
        (OTHER, "2026-03-10T11:30:00Z", 4),
        (OTHER, "2026-03-09T11:30:00Z", 8),
        (OTHER, "2026-02-09T11:30:00Z", 16),
    ]
    .into_iter()
    .enumerate()
    {
        let record = record_at(&format!("r-{n}"), at, megabytes << 20);
        assert_eq!(word(&pipeline.one(iccid, record).await), "stored");
    }
    database.assert_reconciled().await;
    assert_eq!(database.roll_up().await, 5);
    assert_eq!(
        database.rows(DAYS).await,
        ["2026-02-09|16777216|1|8", "2026-03-09|8388608|1|4", "2026-03-10|7340032|2|3.5"]
    );
    let months = "SELECT period_start, period_end, total_data_bytes, active_sim_count FROM usage_aggregations ORDER BY 1";
    assert_eq!(
        database.rows(months).await,
        ["2026-02-01|2026-02-28|16777216|1", "2026-03-01|2026-03-31|15728640|2"]
    );
    let hours =
        "SELECT to_char(hour AT TIME ZONE 'UTC', 'DD HH24'), total_bytes, active_sim_count FROM hourly_usage
                 WHERE hour >= '2026-03-10' ORDER BY hour";
    assert_eq!(database.rows(hours).await, ["10 10|1048576|1", "10 11|6291456|2"]);
    database.assert_reconciled().await;
    assert_eq!(database.roll_up().await, 0);
}

/// Catches a change that is not taken from where it was, or added twice when its marker still stands.
#[tokio::test]
async fn a_sim_that_is_moved_for_the_past_takes_its_usage_along() {
    let database = TestDatabase::new().await;
    let other = database.tenant("other", "Asia/Kolkata").await;
    let plans = [on_plan(ICCID, "Salt", "flat", "0.5", 0), on_plan(OTHER, "Salt", "pool", "1", 2 << 20)];
    database.import_at("2026-01-01T00:00:00Z", &plans).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let send = async |id: &str, at: &str| {
        for iccid in [ICCID, OTHER] {
            assert_eq!(word(&pipeline.one(iccid, record_at(id, at, 1 << 20)).await), "stored");
        }
    };
    send("a", "2026-03-01T10:00:00Z").await;
    send("b", "2026-03-05T20:00:00Z").await;
    database.roll_up().await;
    send("c", "2026-03-06T20:00:00Z").await;
    let to = |iccid: &str, tenant, plan: Option<&str>, from: &str| SimMove {
        iccid: Iccid::parse(iccid).expect("an ICCID"),
        tenant,
        carrier: Some("Sunrise".into()),
        rate_plan: plan.map(str::to_owned),
        from: time(from),
    };
    let moved =
        database.store.move_sim(&to(ICCID, Some(other), None, "2026-03-05T00:00:00Z"), time(NOW)).await;
    assert_eq!(moved.expect("a move"), Moved::Done { records: 2 });
    database.assert_reconciled().await;
    database.roll_up().await;
    let reconciled = database.assert_reconciled().await;
    assert_eq!(reconciled.records, 6);
    let days = "SELECT tenant_id, usage_date, carrier_id, data_bytes >> 20, active_sim_count FROM
                (SELECT tenant_id, usage_date, carrier_id, data_bytes::bigint, active_sim_count FROM daily_usage) d
                ORDER BY 1, 2, 3";
    assert_eq!(
        database.rows(days).await,
        [
            "1|2026-03-01|1|2|2",
            "1|2026-03-05|1|1|1",
            "1|2026-03-06|1|1|1",
            "2|2026-03-06|2|1|1",
            "2|2026-03-07|2|1|1"
        ]
    );
    let cost = "SELECT usage_date, cost::float8 FROM daily_usage WHERE tenant_id = 1 ORDER BY 1";
    assert_eq!(database.rows(cost).await, ["2026-03-01|0.5", "2026-03-05|0", "2026-03-06|1"]);
    // And back again, to the day.
    let back = to(ICCID, Some(TENANT), Some("flat"), "2026-03-05T00:00:00Z");
    assert_eq!(database.store.move_sim(&back, time(NOW)).await.expect("a move"), Moved::Done { records: 2 });
    database.assert_reconciled().await;
    assert_eq!(database.number("SELECT count(*) FROM daily_usage WHERE tenant_id = 2").await, 0);
    assert_eq!(database.number("SELECT count(*) FROM usage_aggregations WHERE tenant_id = 2").await, 0);
}

/// Catches days that stay in the former zone, and a rebuild that counts what still has a marker.
#[tokio::test]
async fn a_changed_time_zone_moves_every_day_and_a_rebuild_changes_nothing() {
    let database = TestDatabase::new().await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for n in 0..8 {
        let iccid = format!("894100000000000000{n}");
        for hour in 0..24 {
            let at = format!("2026-03-08T{hour:02}:15:00Z");
            pipeline.one(&iccid, record_at(&format!("r-{hour}"), &at, 1)).await;
        }
    }
    database.roll_up().await;
    let days = "SELECT usage_date, data_bytes, active_sim_count FROM daily_usage ORDER BY 1";
    assert_eq!(database.rows(days).await, ["2026-03-08|192|8"]);
    database.run("UPDATE tenants SET time_zone = 'America/New_York' WHERE id = 1").await;
    database.assert_reconciled().await;
    assert!(
        database.client.batch_execute("UPDATE tenants SET time_zone = 'UTC' WHERE id = 1").await.is_err()
    );
    for _ in 0..2 {
        database.store.move_zone(3, PATIENCE, Lock::Wait).await.expect("a move");
        database.assert_reconciled().await;
    }
    database.move_zones().await;
    database.assert_reconciled().await;
    // 08:00 UTC is 03:00 EST; the day of the change has 23 hours and ends at 04:00 UTC of the next.
    assert_eq!(database.rows(days).await, ["2026-03-07|40|8", "2026-03-08|152|8"]);

    pipeline.one(ICCID, record_at("late", "2026-03-08T12:00:00Z", 1000)).await;
    let sums = "SELECT (SELECT string_agg(t::text, ',' ORDER BY t::text) FROM
                (SELECT tenant_id, iccid, usage_date, total_bytes, cost, latest_event_at FROM sim_daily_usage) t),
                (SELECT string_agg(h::text, ',' ORDER BY h::text) FROM hourly_usage h)";
    let before = database.rows(sums).await;
    let span = database.store.rebuild_span(TENANT).await.expect("a span").expect("days");
    let rebuilt = database.store.rebuild_days(TENANT, span.0, span.1, PATIENCE).await.expect("a rebuild");
    assert_eq!(rebuilt, 192);
    assert_eq!(database.rows(sums).await, before);
    database.assert_reconciled().await;
    assert_eq!(database.roll_up().await, 1);
    database.assert_reconciled().await;

    database.run("UPDATE sim_daily_usage SET total_bytes = 9; DELETE FROM hourly_usage; UPDATE daily_usage SET cost = 7").await;
    assert!(!database.store.reconcile().await.expect("reconcile runs").is_clean());
    database.store.rebuild_days(TENANT, span.0, span.1, PATIENCE).await.expect("a rebuild");
    database.assert_reconciled().await;
}

/// Catches bounds that begin with the second of two midnights: the day's first hour would be cleared and not counted again.
#[tokio::test]
async fn a_rebuild_of_a_day_with_two_midnights_begins_with_the_first() {
    let now = "2026-11-05T12:00:00Z";
    let database = TestDatabase::new().await;
    database.run("UPDATE tenants SET time_zone = 'America/Havana' WHERE id = 1").await;
    database.move_zones().await;
    let pipeline = TestPipeline::start_at(&database.store, now);
    // On 1 November 2026 at 01:00, 05:00 UTC, Havana's clocks go back to midnight.
    for (n, at) in ["03:59:59Z", "04:00:00Z", "04:59:59Z", "05:00:00Z"].into_iter().enumerate() {
        pipeline.one(ICCID, record_at(&format!("r-{n}"), &format!("2026-11-01T{at}"), 1 << n)).await;
    }
    database.roll_up().await;
    let days = "SELECT usage_date, data_bytes FROM daily_usage ORDER BY 1";
    assert_eq!(database.rows(days).await, ["2026-10-31|1", "2026-11-01|14"]);
    for (first, last) in [("2026-11-01", "2026-11-01"), ("2026-10-31", "2026-10-31")] {
        let [first, last] = [first, last].map(|day| day.parse().expect("a date"));
        database.store.rebuild_days(TENANT, first, last, PATIENCE).await.expect("a rebuild");
        assert_eq!(database.rows(days).await, ["2026-10-31|1", "2026-11-01|14"]);
        database.assert_reconciled().await;
    }
}

/// Catches `>=` for `>` wherever a SIM is compared with the last one that moved: its days would be taken for days of the former
/// zone, or be moved twice.
#[tokio::test]
async fn a_sim_may_change_hands_while_its_tenants_days_are_half_way_to_another_zone() {
    let at = "2026-03-09T02:30:00Z"; // 22:30 of the day before in New York
    let database = TestDatabase::new().await;
    let plans = [ICCID, OTHER].map(|iccid| on_plan(iccid, "Salt", "flat", "0.5", 0));
    database.import_at("2026-01-01T00:00:00Z", &plans).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let send = async |id: &str| {
        for iccid in [ICCID, OTHER] {
            assert_eq!(word(&pipeline.one(iccid, record_at(id, at, 1)).await), "stored");
        }
    };
    send("a").await;
    database.roll_up().await;
    database.run("UPDATE tenants SET time_zone = 'America/New_York' WHERE id = 1").await;
    database.store.move_zone(1, PATIENCE, Lock::Wait).await.expect("a move");
    let days = "SELECT iccid, usage_date, sum(total_bytes) FROM sim_daily_usage GROUP BY 1, 2 ORDER BY 1, 2";
    let half = |bytes: i64| [format!("{ICCID}|2026-03-08|{bytes}"), format!("{OTHER}|2026-03-09|{bytes}")];
    assert_eq!(database.rows(days).await, half(1));
    for (iccid, carrier) in [(ICCID, "Sunrise"), (OTHER, "Sunrise")] {
        let iccid = Iccid::parse(iccid).expect("an ICCID");
        let carrier = Some(carrier.into());
        let to = SimMove { iccid, tenant: None, carrier, rate_plan: None, from: time(at) };
        let moved = database.store.move_sim(&to, time(NOW)).await.expect("a move");
        assert_eq!(moved, Moved::Done { records: 1 });
        assert_eq!(database.rows(days).await, half(1));
    }
    send("b").await;
    database.roll_up().await;
    assert_eq!(database.rows(days).await, half(2));
    let [first, last] = ["2026-03-08", "2026-03-09"].map(|day| day.parse().expect("a date"));
    database.store.rebuild_days(TENANT, first, last, PATIENCE).await.expect("a rebuild");
    assert_eq!(database.rows(days).await, half(2));
    database.assert_reconciled().await;
    let second = database.store.move_zone(1, PATIENCE, Lock::Wait).await.expect("a move").expect("the lock");
    assert_eq!((second.sims, second.finished), (1, false));
    assert_eq!(
        database.rows("SELECT DISTINCT usage_date FROM sim_daily_usage").await,
        ["2026-03-08"],
        "each SIM moves once"
    );
    database.move_zones().await;
    database.assert_reconciled().await;
}
