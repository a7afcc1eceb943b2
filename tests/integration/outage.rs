//! The database goes away, or answers no more, at the worst moment.

use std::pin::pin;
use std::time::Duration;

use prometheus_client::registry::Registry;
use simbridge::domain::Clock;
use simbridge::ingest::queue::{Message, Receipt};
use simbridge::ingest::{BatchLimits, PipelineOptions};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{
    TestPipeline, correction_at, decided, message, options, record_at, sender, time, words,
};
use crate::harness::proxy::Proxy;
use crate::harness::server::{store, store_with};
use crate::harness::{PATIENCE, eventually};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";
const AT: &str = "2026-03-10T11:00:00Z";

async fn with_sim() -> (TestDatabase, Proxy) {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    // So that a batch finds the partition and the cycle that it needs.
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    pipeline.one(ICCID, record_at("before", AT, 1)).await;
    pipeline.finish().await;
    let proxy = Proxy::to(&database.name).await;
    (database, proxy)
}

/// One writer, batches of four, a queue of eight.
fn small() -> PipelineOptions {
    let batch = BatchLimits { max_messages: 4, max_bytes: 1 << 20 };
    PipelineOptions { queue_max_messages: 8, writers: 1, batch, ..options() }
}

fn started(store: &simbridge::store::Store, options: &PipelineOptions) -> TestPipeline {
    TestPipeline::start_with(store, options, Clock::Fixed(time(NOW)))
}

fn numbered(n: usize) -> (Message, oneshot::Receiver<Receipt>) {
    message(sender(false), Some(ICCID), record_at(&format!("r-{n}"), AT, 1), time(NOW))
}

/// Whether a future that was not polled before has to wait.
async fn waits(future: std::pin::Pin<&mut impl Future>) -> bool {
    let mut future = Some(future);
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(future.take().expect("polled once").poll(context).is_pending())
    })
    .await
}

/// Catches an acknowledgement before COMMIT, a message that is dropped, and a queue without a bound.
#[tokio::test]
async fn while_the_database_is_away_nothing_is_acknowledged_and_senders_wait() {
    let (database, proxy) = with_sim().await;
    proxy.refuse();
    let pipeline = started(&store(proxy.config.clone()), &small());
    let mut receipts = Vec::new();
    for n in 0..9 {
        let (message, receipt) = numbered(n);
        pipeline.queue.send(message).await.expect("there is room");
        receipts.push(receipt);
        if n == 0 {
            // The writer holds the first one now; the others stay in the queue.
            eventually("the outage is noticed", async || (!pipeline.database.is_working()).then_some(()))
                .await;
        }
    }
    let (message, receipt) = numbered(9);
    let mut tenth = pin!(pipeline.queue.send(message));
    assert!(waits(tenth.as_mut()).await, "the queue holds eight");
    assert!(receipts.iter_mut().all(|receipt| receipt.try_recv().is_err()), "nothing is acknowledged");
    assert_eq!(pipeline.metrics.balance().in_flight, 9);

    proxy.open();
    timeout(PATIENCE, tenth).await.expect("room in time").expect("the pipeline runs");
    receipts.push(receipt);
    for receipt in receipts {
        assert_eq!(words(&decided(receipt).await), ["stored"]);
    }
    assert!(pipeline.database.is_working());
    let balance = pipeline.metrics.balance();
    assert!(balance.holds() && balance.stored == 10, "{balance:?}");
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 11);
    database.assert_reconciled().await;
}

/// Catches giving bytes back when a writer takes a message: the bound would not cover what is being written.
#[tokio::test]
async fn the_bound_in_bytes_covers_what_is_being_written_too() {
    let (database, proxy) = with_sim().await;
    proxy.refuse();
    let length = record_at("r-0", AT, 1).len() as u32;
    let options = PipelineOptions { queue_max_bytes: 3 * length, ..options() };
    let pipeline = started(&store(proxy.config.clone()), &options);
    let mut receipts = Vec::new();
    for n in 0..3 {
        let (message, receipt) = numbered(n);
        pipeline.queue.send(message).await.expect("there is room");
        receipts.push(receipt);
    }
    eventually("writers took all", async || (pipeline.queue.gauge().depth() == 0).then_some(())).await;
    let (next, receipt) = numbered(3);
    let mut fourth = pin!(pipeline.queue.send(next));
    assert!(waits(fourth.as_mut()).await, "three of that size are the bound");
    proxy.open();
    timeout(PATIENCE, fourth).await.expect("room in time").expect("the pipeline runs");
    receipts.push(receipt);

    let (larger, receipt) = message(
        sender(false),
        Some(ICCID),
        record_at("r-4", AT, 1) + &" ".repeat(4 * length as usize),
        time(NOW),
    );
    pipeline.queue.send(larger).await.expect("a message larger than the bound takes all of it");
    receipts.push(receipt);
    for receipt in receipts {
        assert_eq!(words(&decided(receipt).await), ["stored"]);
    }
    database.assert_reconciled().await;
}

/// Catches taking a batch that was committed for repetitions, or writing it twice.
#[tokio::test]
async fn a_batch_whose_commit_was_not_confirmed_is_told_as_stored() {
    let (database, proxy) = with_sim().await;
    let pipeline = started(&store(proxy.config.clone()), &options());
    for n in 0..5 {
        proxy.lose_commits(1);
        let payload = format!(
            "[{},{},{},{},{}]",
            record_at(&format!("new-{n}"), AT, 10),
            record_at("before", AT, 1),
            correction_at(&format!("fix-{n}"), "unknown", AT, -1),
            record_at("before", AT, 2),
            correction_at(&format!("half-{n}"), "before", AT, 1),
        );
        let receipt = decided(pipeline.send_as(sender(true), Some(ICCID), payload).await).await;
        assert_eq!(proxy.commits_lost(), n + 1);
        // The last one has to wait for the second record's commit.
        assert_eq!(words(&receipt), ["stored", "duplicate", "bad_correction", "conflict", "stored"]);
    }
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 11);
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 56);
    assert_eq!(database.number("SELECT count(*) FROM quarantine WHERE reason = 'bad_correction'").await, 5);
    let balance = pipeline.metrics.balance();
    assert!(balance.holds() && balance.stored == 10, "{balance:?}");
    database.assert_reconciled().await;
}

/// Catches whatever a connection that ends in any statement could do to a batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_end_again_and_again_lose_nothing_and_double_nothing() {
    let (database, proxy) = with_sim().await;
    let pipeline = started(&store(proxy.config.clone()), &PipelineOptions { writers: 2, ..small() });
    let mut receipts = Vec::new();
    for n in 0..200 {
        let (message, receipt) = numbered(n);
        pipeline.queue.send(message).await.expect("the pipeline runs");
        receipts.push(receipt);
        match n % 20 {
            5 => proxy.lose_commits(1),
            10 => proxy.cut(),
            _ => {}
        }
    }
    proxy.lose_commits(0);
    for receipt in receipts {
        assert_eq!(words(&decided(receipt).await), ["stored"]);
    }
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 201);
    database.assert_reconciled().await;
}

/// Catches acknowledging at a hard stop: the sender would not send again what was never stored.
#[tokio::test]
async fn a_hard_stop_while_the_database_is_away_acknowledges_nothing() {
    let (database, proxy) = with_sim().await;
    proxy.refuse();
    let pipeline = started(&store(proxy.config.clone()), &small());
    let mut receipts = Vec::new();
    for n in 0..4 {
        let (message, receipt) = numbered(n);
        pipeline.queue.send(message).await.expect("there is room");
        receipts.push(receipt);
    }
    eventually("the outage is noticed", async || (!pipeline.database.is_working()).then_some(())).await;
    pipeline.abort().await;
    proxy.open();
    for receipt in receipts {
        assert!(receipt.await.is_err(), "dropped, not answered");
    }
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 1);
    database.assert_reconciled().await;
}

/// Catches a wait without a limit: a server that vanished without a word would hold the writer for ever.
#[tokio::test]
async fn a_database_that_does_not_answer_is_given_up_and_tried_again() {
    let (database, proxy) = with_sim().await;
    let stalled = store_with(proxy.config.clone(), Duration::from_millis(200));
    stalled.ping().await.expect("a connection to begin with");
    proxy.stall();
    let pipeline = started(&stalled, &small());
    let receipt = pipeline.send(Some(ICCID), record_at("r", AT, 1)).await;
    eventually("the outage is noticed", async || (!pipeline.database.is_working()).then_some(())).await;
    proxy.open();
    assert_eq!(words(&decided(receipt).await), ["stored"]);
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 2);
    database.assert_reconciled().await;
}

fn retries(registry: &Registry) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix("batch_retries_total "));
    line.expect("the counter is registered").parse().expect("a number")
}

/// Catches leaving an attempt that was given up to wait at the server: each further one adds a connection, without bound.
#[tokio::test]
async fn attempts_that_are_given_up_do_not_pile_up_at_the_server() {
    let (database, _) = with_sim().await;
    let impatient = store_with(database.another_config(), Duration::from_millis(100));
    let pipeline = started(&impatient, &small());
    let mut registry = Registry::default();
    pipeline.metrics.register(&mut registry);
    database.run("BEGIN; LOCK TABLE usage_cycles IN EXCLUSIVE MODE").await;
    let receipt = pipeline.send(Some(ICCID), record_at("r", AT, 1)).await;
    eventually("five attempts", async || (retries(&registry) >= 5).then_some(())).await;
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    assert!(database.number(waiting).await <= 1);
    database.run("COMMIT").await;
    assert_eq!(words(&decided(receipt).await), ["stored"]);
    database.assert_reconciled().await;
}
