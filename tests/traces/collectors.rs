//! Collectors that are away, hang, or are slower than spans are made.

use std::time::{Duration, Instant};

use crate::batches::{device, publish, traced};
use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::collector::{Collector, Mood};
use crate::harness::database::TestDatabase;
use crate::harness::eventually;
use crate::harness::pipeline::record;

fn times(log: &[String], message: &str) -> usize {
    log.iter().filter(|line| line.contains(message)).count()
}

async fn said(bridge: &BridgeProcess, message: &str) {
    eventually(message, async || (times(&bridge.log(), message) > 0).then_some(())).await;
}

/// Ends the program; all that it logged.
pub(crate) async fn log_to_the_end(bridge: BridgeProcess) -> Vec<String> {
    bridge.signal(nix::sys::signal::Signal::SIGTERM);
    said(&bridge, "\"stopped\"").await;
    let log = bridge.log();
    assert_eq!(bridge.ended().await, Some(0));
    log
}

const AWAY: &str = "spans are not taken; they wait as far as there is room";
const BACK: &str = "spans are taken again";

/// Catches a warning for each attempt, records that wait for a collector, and spans that are lost although there was room.
#[tokio::test]
async fn a_collector_that_is_away_costs_nothing_and_is_told_of_once() {
    let (database, collector) = (TestDatabase::new().await, Collector::start().await);
    collector.is_in_the_mood(Mood::Breaks);
    let bridge = traced(&database, &collector).await;
    let mut device = device(&bridge).await;
    publish(&mut device, &record("one", 5, 1, 2)).await;
    said(&bridge, AWAY).await;
    let came = collector.came();
    eventually("another attempt", async || (collector.came() > came).then_some(())).await;
    publish(&mut device, &record("two", 5, 1, 2)).await;
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 2);
    collector.is_in_the_mood(Mood::Takes);
    said(&bridge, BACK).await;
    let log = bridge.log();
    assert_eq!((times(&log, AWAY), times(&log, BACK)), (1, 1));
    assert_eq!(bridge.terminate().await, Some(0));
    assert_eq!(collector.named("process usage").len(), 2, "both waited");
}

/// Catches an end that waits for an answer that never comes.
#[tokio::test]
async fn a_collector_that_hangs_does_not_hold_up_the_end() {
    let (database, collector) = (TestDatabase::new().await, Collector::start().await);
    collector.is_in_the_mood(Mood::Hangs);
    let mut options = BridgeOptions::new(database.url());
    options.set("traces.endpoint", collector.url());
    options.set("traces.timeout_ms", "600000").set("traces.flush_ms", "200");
    let bridge = BridgeProcess::start(&options).await;
    publish(&mut device(&bridge).await, &record("one", 5, 1, 2)).await;
    eventually("spans are sent", async || (collector.came() > 0).then_some(())).await;
    let began = Instant::now();
    let log = log_to_the_end(bridge).await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(times(&log, "the last spans were not sent in time"), 1);
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 1);
}

/// Catches a queue without a bound, and a warning for each span.
#[tokio::test]
async fn spans_without_room_are_dropped_and_told_of_once() {
    let (database, collector) = (TestDatabase::new().await, Collector::start().await);
    let mut options = BridgeOptions::new(database.url());
    options.set("traces.endpoint", collector.url()).set("traces.queue_max_spans", "1");
    let bridge = BridgeProcess::start(&options).await;
    let mut device = device(&bridge).await;
    let mut n = 0;
    let dropped = "more spans are made than can be sent";
    eventually(dropped, async || {
        n += 1;
        publish(&mut device, &record(&format!("r-{n}"), 5, 1, 2)).await;
        (times(&bridge.log(), dropped) > 0).then_some(())
    })
    .await;
    let stored = database.number("SELECT count(*) FROM usage_records").await;
    assert_eq!((stored, times(&bridge.log(), dropped)), (n, 1));
    assert_eq!(bridge.terminate().await, Some(0));
}
