//! Signed corrections: permitted ones change totals, and nothing ever falls below zero.

use simbridge::config::Config;
use simbridge::domain::Clock;
use simbridge::ingest::queue::RecordStatus;
use simbridge::replay::{Replay, ReplayRules};

use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, correction_at, decided, record_at, sender, time, word, words};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";
const AT: &str = "2026-03-10T11:00:00Z";

/// A SIM with one record of 100 bytes, `r`.
async fn with_record() -> (TestDatabase, TestPipeline) {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    pipeline.one(ICCID, record_at("r", AT, 100)).await;
    (database, pipeline)
}

async fn correct(pipeline: &TestPipeline, record: String) -> RecordStatus {
    pipeline.one_as(sender(true), ICCID, record).await
}

async fn assert_total(database: &TestDatabase, bytes: i64) {
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, bytes);
    database.assert_reconciled().await;
}

/// Catches a correction from anybody.
#[tokio::test]
async fn a_permitted_correction_changes_the_total_and_another_is_parked() {
    let (database, pipeline) = with_record().await;
    let fix = correction_at("fix-1", "r", AT, -40);
    assert_eq!(word(&pipeline.one(ICCID, fix.clone()).await), "not_permitted");
    assert_total(&database, 100).await;
    assert_eq!(word(&correct(&pipeline, fix.clone()).await), "stored");
    assert_eq!(word(&correct(&pipeline, fix).await), "duplicate");
    assert_eq!(word(&correct(&pipeline, correction_at("fix-2", "r", AT, 5)).await), "stored");
    assert_total(&database, 65).await;
}

/// Catches keeping the key of a refused correction, after which a mended one would be a conflict.
#[tokio::test]
async fn a_correction_below_zero_is_parked_and_a_mended_one_may_have_its_id() {
    let (database, pipeline) = with_record().await;
    assert_eq!(word(&correct(&pipeline, correction_at("fix", "r", AT, -101)).await), "bad_correction");
    assert_total(&database, 100).await;
    assert_eq!(word(&correct(&pipeline, correction_at("fix", "r", AT, -100)).await), "stored");
    assert_eq!(word(&correct(&pipeline, correction_at("more", "r", AT, -1)).await), "bad_correction");
    assert_total(&database, 0).await;
    assert_eq!(database.number("SELECT count(*) FROM quarantine").await, 2);
}

/// Catches a correction that is accepted on trust.
#[tokio::test]
async fn a_correction_of_nothing_waits_in_the_quarantine_until_its_record_is_there() {
    let (database, pipeline) = with_record().await;
    assert_eq!(word(&correct(&pipeline, correction_at("fix", "later", AT, -1)).await), "bad_correction");
    pipeline.one(ICCID, record_at("later", AT, 10)).await;
    let entry = database.store.list_quarantine("parked", "", i64::MAX, 9).await.unwrap().remove(0);
    let rules = ReplayRules::new(&Config::default());
    let clock = Clock::Fixed(time(NOW));
    let replay = Replay { store: &database.store, rules: &rules, clock, allow_corrections: true };
    let stored = replay.run(&entry, None).await.expect("it can be stored now");
    assert_eq!(word(&stored[0].status), "stored");
    assert_total(&database, 109).await;
}

/// Catches chains of corrections, and a writer that waits for ever for records that wait for each other.
#[tokio::test]
async fn a_correction_cannot_be_corrected_nor_correct_itself() {
    let (database, pipeline) = with_record().await;
    assert_eq!(word(&correct(&pipeline, correction_at("fix", "r", AT, -10)).await), "stored");
    assert_eq!(word(&correct(&pipeline, correction_at("again", "fix", AT, 10)).await), "bad_correction");
    let circle = format!(
        "[{},{},{}]",
        correction_at("a", "b", AT, -1),
        correction_at("b", "a", AT, -1),
        correction_at("c", "c", AT, 1)
    );
    let receipt = decided(pipeline.send_as(sender(true), Some(ICCID), circle).await).await;
    assert_eq!(words(&receipt), ["bad_correction"; 3]);
    assert_total(&database, 90).await;
}

/// Catches a correction that lands in another hour or cycle than its record.
#[tokio::test]
async fn a_correction_has_the_period_start_of_its_record_and_amounts() {
    let (database, pipeline) = with_record().await;
    let shifted = correction_at("fix", "r", "2026-03-10T11:00:01Z", -1);
    assert_eq!(word(&correct(&pipeline, shifted).await), "bad_correction");
    let counters = correction_at("fix", "r", AT, 0).replace(
        r#""usage":{"totalBytes":0}"#,
        r#""counters":{"sessionId":"s","uploadBytes":1,"downloadBytes":1}"#,
    );
    assert_eq!(word(&correct(&pipeline, counters).await), "bad_correction");
    assert_eq!(database.number("SELECT count(*) FROM usage_sessions").await, 0);
    assert_total(&database, 100).await;
}

/// Catches checking before the record is stored.
#[tokio::test]
async fn a_correction_may_come_with_its_record() {
    let (database, pipeline) = with_record().await;
    let both = format!("[{},{}]", correction_at("a-fix", "new", AT, -3), record_at("new", AT, 10));
    let receipt = decided(pipeline.send_as(sender(true), Some(ICCID), both).await).await;
    assert_eq!(words(&receipt), ["stored", "stored"]);
    assert_total(&database, 107).await;
}

/// Catches checking without a lock: both would see the record as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_corrections_that_are_too_much_together_one_is_stored() {
    let (database, first) = with_record().await;
    let second = TestPipeline::start_at(&database.another_store(), NOW);
    for n in 0..10 {
        let target = format!("r-{n}");
        first.one(ICCID, record_at(&target, AT, 100)).await;
        let receipts = [
            first
                .send_as(sender(true), Some(ICCID), correction_at(&format!("a-{n}"), &target, AT, -60))
                .await,
            second
                .send_as(sender(true), Some(ICCID), correction_at(&format!("b-{n}"), &target, AT, -60))
                .await,
        ];
        let mut outcomes = Vec::new();
        for receipt in receipts {
            outcomes.extend(words(&decided(receipt).await));
        }
        outcomes.sort_unstable();
        assert_eq!(outcomes, ["bad_correction", "stored"]);
    }
    assert_total(&database, 100 + 10 * 40).await;
}
