//! A record counts once, however often and by whatever way it comes.

use std::collections::HashMap;
use std::sync::Arc;

use simbridge::ingest::queue::{RecordStatus, Sender};

use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, decided, record_at, sender, word, words};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";
const AT: &str = "2026-03-10T11:00:00Z";

async fn with_sim() -> TestDatabase {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    database
}

async fn assert_totals(database: &TestDatabase, bytes: i64, records: i64) {
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, bytes);
    assert_eq!(database.number("SELECT sum(record_count) FROM usage_cycles").await, records);
    database.assert_reconciled().await;
}

/// Catches telling the time of the repetition instead of the first one's.
#[tokio::test]
async fn a_repetition_is_told_when_the_record_was_stored() {
    let database = with_sim().await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let RecordStatus::Stored { processed_at } = pipeline.one(ICCID, record_at("r-1", AT, 7)).await else {
        panic!("it is new");
    };
    let again = pipeline.one(ICCID, record_at("r-1", AT, 7)).await;
    assert_eq!(again, RecordStatus::Duplicate { processed_at });
    let source = record_at("r-1", AT, 7).replacen('{', r#"{"source":"another gateway","#, 1);
    assert_eq!(pipeline.one(ICCID, source).await, RecordStatus::Duplicate { processed_at });

    let other = TestPipeline::start_at(&database.another_store(), NOW);
    assert_eq!(other.one(ICCID, record_at("r-1", AT, 7)).await, RecordStatus::Duplicate { processed_at });
    assert_totals(&database, 7, 1).await;
}

/// Catches a batch that inserts a key twice, and one that tells a sender `stored` twice.
#[tokio::test]
async fn a_record_that_stands_twice_in_one_payload_counts_once() {
    let database = with_sim().await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let (a, b) = (record_at("a", AT, 1), record_at("b", AT, 2));
    let receipt = pipeline.decide(Some(ICCID), format!("[{b},{a},{b},{a},{a}]")).await;
    assert_eq!(words(&receipt), ["stored", "stored", "duplicate", "duplicate", "duplicate"]);
    let ids: Vec<_> = receipt.records.iter().map(|record| record.record_id.as_deref().unwrap()).collect();
    assert_eq!(ids, ["b", "a", "b", "a", "a"], "in the order of the payload");
    assert_totals(&database, 3, 2).await;
}

/// Catches storing before claiming (duplicates counted twice), keys that are claimed unsorted (deadlocks that surface),
/// and any error that a storm could raise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_repetitions_into_two_instances_counts_each_record_once() {
    const RECORDS: usize = 500;
    let database = TestDatabase::new().await;
    let iccids: Vec<String> = (0..50).map(|n| format!("89410000000000001{n:02}")).collect();
    database.import_at(NOW, &iccids.iter().map(|iccid| sim(iccid)).collect::<Vec<_>>()).await;
    let first = Arc::new(TestPipeline::start_at(&database.store, NOW));
    let second = Arc::new(TestPipeline::start_at(&database.another_store(), NOW));
    let iccids = Arc::new(iccids);

    let senders: Vec<_> = (0..4)
        .map(|of: usize| {
            let pipelines = [first.clone(), second.clone()];
            let iccids = iccids.clone();
            tokio::spawn(async move {
                let mut receipts = Vec::new();
                for round in (of..10).step_by(4) {
                    for n in 0..RECORDS {
                        // Each round in another order, so that batches overlap in every way.
                        let n = (n * (2 * round + 1) + round * 37) % RECORDS;
                        let payload = record_at(&format!("r-{n}"), AT, n as i64);
                        let pipeline = &pipelines[(round + n) % 2];
                        receipts.push((n, pipeline.send(Some(&iccids[n % iccids.len()]), payload).await));
                    }
                }
                let mut statuses = Vec::new();
                for (n, receipt) in receipts {
                    statuses.push((n, decided(receipt).await.records.remove(0).status));
                }
                statuses
            })
        })
        .collect();
    let mut stored = HashMap::new();
    let mut duplicates = Vec::new();
    for sender in senders {
        for (n, status) in sender.await.expect("the sender ends well") {
            match status {
                RecordStatus::Stored { processed_at } => {
                    assert_eq!(stored.insert(n, processed_at), None, "{n} is stored once");
                }
                RecordStatus::Duplicate { processed_at } => duplicates.push((n, processed_at)),
                RecordStatus::Parked(rejection) => panic!("{n}: {rejection}"),
            }
        }
    }
    assert_eq!((stored.len(), duplicates.len()), (RECORDS, 9 * RECORDS));
    assert!(duplicates.iter().all(|(n, at)| stored[n] == *at), "each is told when it was stored");
    assert!(first.metrics.balance().holds() && second.metrics.balance().holds());
    assert_totals(&database, (0..RECORDS as i64).sum(), RECORDS as i64).await;
}

/// Catches keys that hold the period (the same id with a shifted time would count twice), and last one wins.
#[tokio::test]
async fn the_same_id_with_other_content_is_parked_and_changes_no_total() {
    let database = with_sim().await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    assert_eq!(word(&pipeline.one(ICCID, record_at("r", AT, 7)).await), "stored");
    for other in [
        record_at("r", AT, 8),
        record_at("r", "2026-03-10T11:00:01Z", 7),
        record_at("r", "2026-02-10T11:00:00Z", 7),
        record_at("r", AT, 7).replacen('{', r#"{"mccmnc":"22801","#, 1),
    ] {
        assert_eq!(word(&pipeline.one(ICCID, other.clone()).await), "conflict", "{other}");
    }
    let both = format!("[{},{},{}]", record_at("x", AT, 1), record_at("x", AT, 2), record_at("x", AT, 1));
    assert_eq!(words(&pipeline.decide(Some(ICCID), both).await), ["stored", "conflict", "duplicate"]);
    let parked = "SELECT count(*) FROM quarantine WHERE reason = 'conflict' AND state = 'parked'";
    assert_eq!(database.number(parked).await, 5);
    assert_totals(&database, 8, 2).await;
    assert!(pipeline.metrics.balance().holds());
}

/// Catches a key without its tenant: one tenant could claim the ids of another.
#[tokio::test]
async fn another_tenant_may_use_the_same_id() {
    let database = with_sim().await;
    let other = Sender { tenant: database.tenant("other", "UTC").await, ..sender(false) };
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    assert_eq!(word(&pipeline.one_as(other.clone(), ICCID, record_at("r", AT, 5)).await), "stored");
    assert_eq!(word(&pipeline.one(ICCID, record_at("r", AT, 7)).await), "stored");
    assert_eq!(word(&pipeline.one_as(other, ICCID, record_at("r", AT, 5)).await), "duplicate");
    assert_totals(&database, 7, 1).await;
}
