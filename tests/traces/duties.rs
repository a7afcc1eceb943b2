//! Work in the background.

use crate::batches::{device, publish, traced};
use crate::harness::collector::Collector;
use crate::harness::database::TestDatabase;
use crate::harness::pipeline::record;

#[tokio::test]
async fn rollups_and_duties_are_traces_of_their_own() {
    let (database, collector) = (TestDatabase::new().await, Collector::start().await);
    let bridge = traced(&database, &collector).await;
    publish(&mut device(&bridge).await, &record("one", 5, 1, 2)).await;
    let rollup = collector.finds("rollup", |run| run.has("simbridge.rollup.records") == "1").await;
    assert_eq!(rollup.parent, "");
    let told =
        ["batches", "chunks", "days"].map(|what| rollup.has(&format!("simbridge.rollup.{what}")).to_owned());
    assert_eq!(told, ["1", "1", "1"]);
    assert!(["schedule", "flush"].contains(&rollup.has("simbridge.rollup.reason")));
    collector.step(&rollup, "roll_up_chunk");
    for duty in ["roll cycles", "make partitions", "make invoices", "give up old records"] {
        let span = collector.finds(duty, |_| true).await;
        assert_eq!((span.parent.as_str(), span.failed, span.has("simbridge.duty")), ("", false, duty));
    }
    assert_eq!(bridge.terminate().await, Some(0));
}
