//! Checking all totals in the background, a part at a time.

use std::sync::Arc;
use std::time::Duration;

use simbridge::domain::Clock;
use simbridge::reconcile::{ReconcileMetrics, ReconcileOptions, watch};
use tokio_util::sync::CancellationToken;

use crate::harness::database::{TENANT, TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, record_at};
use crate::harness::{PATIENCE, eventually};

const NOW: &str = "2026-03-10T12:00:00Z";

/// Waits for two more passes: the first of them may have begun before the change.
async fn after_a_pass(metrics: &ReconcileMetrics) {
    let passes = metrics.passes() + 2;
    eventually("passes over everything", async || (metrics.passes() >= passes).then_some(())).await;
}

/// Catches parts that leave SIMs or months out, and a gauge that is never lowered.
#[tokio::test]
async fn a_total_that_does_not_add_up_is_found_in_the_background_and_forgotten_when_it_is_mended() {
    let database = TestDatabase::new().await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let iccids: Vec<String> = (0..9).map(|n| format!("894100000000000000{n}")).collect();
    for iccid in &iccids[..7] {
        database.import_at(NOW, &[sim(iccid)]).await;
    }
    for (n, iccid) in iccids.iter().enumerate() {
        for month in ["2025-12", "2026-01", "2026-03"] {
            pipeline.one(iccid, record_at(month, &format!("{month}-0{}T10:00:00Z", n + 1), 5)).await;
        }
    }
    database.roll_up().await;
    let (metrics, stop) = (Arc::new(ReconcileMetrics::default()), CancellationToken::new());
    let options =
        ReconcileOptions { pause: Duration::from_millis(1), slice_records: 7, max_busy_percent: 100 };
    let clock = Clock::Fixed(NOW.parse().expect("a time"));
    let watching =
        tokio::spawn(watch(database.another_store(), clock, options, metrics.clone(), stop.clone()));
    let found =
        || ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I11"].map(|i| metrics.violations(i));
    after_a_pass(&metrics).await;
    assert_eq!(found(), [0; 10]);

    database
        .run("UPDATE usage_cycles SET total_bytes = 4 WHERE record_count = 1 AND iccid = '8941000000000000000'")
        .await;
    database.run("UPDATE hourly_usage SET total_bytes = 4 WHERE hour < '2026-01-01'").await;
    database
        .run("UPDATE usage_aggregations SET active_sim_count = 1 WHERE period_start = '2026-01-01'")
        .await;
    database
        .run("DELETE FROM sim_daily_usage WHERE iccid = '8941000000000000008' AND usage_date > '2026-02-01'")
        .await;
    eventually("violations", async || {
        (found()[0] == 3 && found()[2] == 9 && found()[3] >= 1 && found()[4] >= 2).then_some(())
    })
    .await;

    database.run("UPDATE usage_cycles SET total_bytes = 5 WHERE total_bytes = 4").await;
    let (first, last) = database.store.rebuild_span(TENANT).await.expect("a span").expect("days");
    database.store.rebuild_days(TENANT, first, last, PATIENCE).await.expect("a rebuild");
    database.assert_reconciled().await;
    after_a_pass(&metrics).await;
    assert_eq!(found(), [0; 10]);
    stop.cancel();
    watching.await.expect("it ends");
}

/// Catches looking only at the first and the last of a SIM's records, between which it belonged to another carrier.
#[tokio::test]
async fn a_record_is_found_that_lies_between_two_others_and_has_what_was_in_force_for_them_but_not_for_it() {
    let database = TestDatabase::new().await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let iccid = "8941000000000000000";
    database.import_at(NOW, &[sim(iccid)]).await;
    for day in [2, 4, 6] {
        let at = format!("2026-03-0{day}T10:00:00Z");
        pipeline.one(iccid, record_at(&format!("day-{day}"), &at, 5)).await;
    }
    database.assert_reconciled().await;
    database
        .run(
            "INSERT INTO sim_ownership (iccid, valid_from, tenant_id, sim_id, carrier_id, rate_plan_id)
             SELECT o.iccid, timestamptz '2026-03-03', o.tenant_id, o.sim_id, coalesce(o.carrier_id, 0) + 1, o.rate_plan_id FROM sim_ownership o
             UNION ALL SELECT o.iccid, timestamptz '2026-03-05', o.tenant_id, o.sim_id, o.carrier_id, o.rate_plan_id FROM sim_ownership o",
        )
        .await;
    let found = database.store.reconcile().await.expect("the database answers");
    let of_records = found.results.iter().find(|result| result.name == "I6").expect("it is looked at");
    assert_eq!(of_records.violations, 1, "{:?}", of_records.shown);
    assert!(of_records.shown[0].contains("day-4"), "{:?}", of_records.shown);
}
