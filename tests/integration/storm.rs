//! Redelivery storms: each record ten times, over many connections, through two instances.

use std::sync::Arc;

use simulator::fleet::FleetSpec;
use simulator::load::{self, LoadOptions, LoadProgress};
use simulator::publisher::Protocol;
use simulator::record::RunId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::bridge::{BridgeOptions, BridgeProcess};
use crate::harness::database::{TestDatabase, now};
use crate::harness::fleet::{FleetOptions, TestFleet};

const RECORDS: u64 = 1_000;
const TIMES: usize = 10;

/// Catches a key that is claimed outside the transaction, unsorted locks (deadlocks then cost retries without end), and a
/// total that is added for a key that was not claimed.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_through_two_instances_counts_each_record_once() {
    let database = TestDatabase::new().await;
    let options = FleetOptions { sims: 50, ..FleetOptions::default() };
    TestFleet::provision(&database.store, &options).await;
    let first = BridgeProcess::start(&BridgeOptions::new(database.url())).await;
    let second = BridgeProcess::start(&BridgeOptions::new(database.url())).await;
    let until = now();
    let mut storm = JoinSet::new();
    for n in 0..TIMES {
        let bridge = if n % 2 == 0 { &first } else { &second };
        let load = LoadOptions {
            addr: bridge.mqtt.to_string(),
            protocol: if n % 3 == 0 { Protocol::V5 } else { Protocol::V311 },
            qos: 1,
            credentials: None,
            connections: 4,
            window: 50,
            records_per_message: 1,
            rate: None,
            records: Some(RECORDS),
            duration: None,
            fleet: FleetSpec { sims: options.sims, seed: options.seed },
            // The same run id and time give the same records.
            run_id: RunId::new(1, until),
            until,
            drain_timeout: crate::harness::PATIENCE,
        };
        storm.spawn(load::run(load, Arc::new(LoadProgress::default()), CancellationToken::new()));
    }
    while let Some(ended) = storm.join_next().await {
        let report = ended.expect("no panic").expect("the load runs");
        assert_eq!(report.records_acked, RECORDS, "{report:?}");
        assert_eq!(report.messages_answered_with_error, 0, "a repetition is a success");
    }
    let reconciliation = database.assert_reconciled().await;
    assert_eq!(reconciliation.records as u64, RECORDS);
    let mut received = 0.0;
    for bridge in [&first, &second] {
        let mut sum = 0.0;
        for result in ["stored", "duplicate", "parked"] {
            sum += bridge.metric(&format!("simbridge_records_{result}_total")).await;
        }
        assert_eq!(bridge.metric("simbridge_records_received_total").await, sum, "the balance holds");
        assert_eq!(bridge.metric("simbridge_records_in_flight").await, 0.0);
        received += sum;
    }
    assert_eq!(received, RECORDS as f64 * TIMES as f64);
    let stored = first.metric("simbridge_records_stored_total").await
        + second.metric("simbridge_records_stored_total").await;
    assert_eq!(stored, RECORDS as f64);
}
