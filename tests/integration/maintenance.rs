//! What the program itself gives up, and what of the quarantine.

use simbridge::domain::Setting;
use simbridge::store::sims::SimRow;

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::pipeline::{TestPipeline, record, time, word};
use crate::harness::server::connect;

const ICCID: &str = "8941000000000000001";

/// Catches entries that vanish while their sender still sends them, and parked ones that are counted from their first day.
#[tokio::test]
async fn the_quarantine_forgets_what_was_resolved_or_last_seen_long_ago() {
    let database = TestDatabase::new().await;
    let entries = "INSERT INTO quarantine (tenant_id, reason, detail, via, sender, topic, payload, digest, first_seen_at,
                                           last_seen_at, state, resolved_at, record_id)
        SELECT 1, 'invalid', '', 'mqtt', '', '', '', id::bytea, '2025-01-01', seen, state, resolved, id
        FROM (VALUES ('parked-old', '2026-01-01'::timestamptz, 'parked', NULL::timestamptz),
                     ('parked-seen', '2026-03-01', 'parked', NULL),
                     ('replayed-old', '2026-01-01', 'replayed', '2026-01-02'),
                     ('replayed-lately', '2026-01-01', 'replayed', '2026-03-02'),
                     ('discarded-old', '2026-01-01', 'discarded', '2026-01-31')) AS e (id, seen, state, resolved)";
    database.run(entries).await;
    let cutoff = time("2026-02-01T00:00:00Z");
    let holder = connect(&database.another_config()).await;
    let lock = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('simbridge.retention'))";
    holder.batch_execute(lock).await.expect("the lock");
    assert_eq!(database.store.delete_old_quarantine(cutoff).await.expect("an answer"), None);
    holder.batch_execute("COMMIT").await.expect("it ends");
    assert_eq!(database.store.delete_old_quarantine(cutoff).await.expect("an answer"), Some(3));
    let left = "SELECT record_id FROM quarantine ORDER BY 1";
    assert_eq!(database.rows(left).await, ["parked-seen", "replayed-lately"]);
    assert_eq!(database.store.delete_old_quarantine(cutoff).await.expect("an answer"), Some(0));
}

/// Catches maintenance that reads no setting, stops at the first step, or does not say what it did.
#[tokio::test]
async fn the_bridge_gives_up_what_is_old_and_makes_invoices_soon_after_its_start() {
    let database = TestDatabase::new().await;
    let on_plan = SimRow {
        carrier: Some("Salt".into()),
        rate_plan: Some("flat".into()),
        price_per_mb: Some("0.5".into()),
        ..sim(ICCID)
    };
    database.import_at("2020-01-01T00:00:00Z", &[on_plan]).await;
    let pipeline = TestPipeline::start(&database.store);
    for (id, days) in [("old", 120), ("new", 1)] {
        let text = record(id, days * 24 * 60, 1 << 20, 0);
        assert_eq!(word(&pipeline.one(ICCID, text).await), "stored");
    }
    assert_eq!(word(&pipeline.one(ICCID, "{}").await), "invalid");
    database.roll_up().await;
    database
        .run(
            "UPDATE quarantine SET last_seen_at = now() - interval '3 days';
             INSERT INTO record_keys (tenant_id, iccid, record_id, fingerprint, period_start, write_id)
             VALUES (1, '8941000000000000009', 'gone', '', now() - interval '500 days', 1)",
        )
        .await;
    for (setting, days) in [
        (Setting::RawRetention, 32),
        (Setting::KeyRetention, 32),
        (Setting::QuarantineRetention, 2),
        (Setting::InvoiceAfter, 0),
    ] {
        database.store.set_setting(setting, days).await.expect("it is set");
    }
    let bridge = BridgeProcess::start(&BridgeOptions::new(database.url())).await;
    for (metric, at_least) in [
        ("simbridge_raw_floor_timestamp_seconds", 1.7e9),
        ("simbridge_retention_dropped_partitions_total", 2.0),
        ("simbridge_retention_deleted_keys_total", 1.0),
        ("simbridge_retention_deleted_quarantine_total", 1.0),
    ] {
        eventually(metric, async || (bridge.metric(metric).await >= at_least).then_some(())).await;
    }
    let invoices = "SELECT count(*) FROM invoices WHERE total_amount = 0.50";
    eventually("an invoice", async || (database.number(invoices).await >= 1).then_some(())).await;
    let ahead = "SELECT count(*) FROM generate_series(0, 62) AS day
                 WHERE to_regclass(to_char(now() + make_interval(days => day), '\"sim_daily_usage_y\"YYYY\"m\"MM')) IS NULL";
    assert_eq!(database.number(ahead).await, 0);
    assert_eq!(database.rows("SELECT record_id FROM usage_records").await, ["new"]);
    assert_eq!(database.rows("SELECT record_id FROM record_keys ORDER BY 1").await, ["new", "old"]);
    assert_eq!(database.number("SELECT count(*) FROM quarantine").await, 0);
    database.assert_reconciled().await;
    assert!(bridge.log().iter().any(|line| line.contains("raw records from before the floor are gone")));
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches two sessions that both find a partition missing: the second one remembered that while it waited for the first.
#[tokio::test]
async fn partitions_of_rollups_are_made_once_when_two_sessions_need_them() {
    let database = TestDatabase::new().await;
    let [first, second] =
        [connect(&database.another_config()).await, connect(&database.another_config()).await];
    let make = "SELECT ensure_rollup_partitions('2031-05-01', '2031-06-30')";
    first.batch_execute("BEGIN").await.expect("a transaction");
    assert_eq!(first.query_one(make, &[]).await.expect("partitions").get::<_, i32>(0), 2);
    let waiting =
        tokio::spawn(async move { second.query_one(make, &[]).await.map(|row| row.get::<_, i32>(0)) });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("a session that waits", async || (database.number(waits).await == 1).then_some(())).await;
    first.batch_execute("COMMIT").await.expect("is committed");
    assert_eq!(waiting.await.expect("a task").expect("nothing is made twice"), 0);
}
