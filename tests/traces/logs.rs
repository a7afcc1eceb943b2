//! What is logged does not depend on traces.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::batches::{device, publish};
use crate::collectors::log_to_the_end;
use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::collector::Collector;
use crate::harness::database::TestDatabase;
use crate::harness::pipeline::record;

/// Runs a program that stores a record; the events that it logs, each by level, module, message and names of fields.
async fn events(filter: &str, endpoint: &str) -> BTreeSet<String> {
    let database = TestDatabase::new().await;
    let mut options = BridgeOptions::new(database.url());
    options.log = filter.into();
    options.set("traces.endpoint", endpoint);
    let bridge = BridgeProcess::start(&options).await;
    publish(&mut device(&bridge).await, &record("one", 5, 1, 2)).await;
    let log = log_to_the_end(bridge).await;
    let event = |line: &String| {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let fields: Vec<_> = event.as_object().expect("an object").keys().cloned().collect();
        format!("{} {} {} {}", event["level"], event["target"], event["message"], fields.join(" "))
    };
    log.iter().map(event).collect()
}

#[tokio::test]
async fn the_log_is_the_same_with_and_without_traces() {
    let collector = Collector::start().await;
    let (with, without) = (events("info", &collector.url()).await, events("info", "").await);
    assert!(!collector.spans().is_empty());
    assert!(without.len() >= 3, "{without:?}");
    assert_eq!(with, without);
}

/// Catches spans that enter the log where everything is wanted, and the exporter's own requests as spans of a trace without an end.
#[tokio::test]
async fn spans_do_not_enter_the_log_and_their_sending_makes_none() {
    let collector = Collector::start().await;
    let with = events("trace", &collector.url()).await;
    let told: Vec<_> =
        with.iter().filter(|event| event.contains("opentelemetry") || event.ends_with("spans")).collect();
    assert!(told.is_empty(), "{told:#?}");
    let hosts = collector.spans().into_iter().filter(|span| span.name.contains("/v1/traces"));
    assert_eq!(hosts.count(), 0);
}
