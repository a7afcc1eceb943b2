//! The publisher against a broker that misbehaves on purpose.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics; clippy exempts only #[test] functions"
)]

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeZone, Utc};
use simulator::clock::Clock;
use simulator::fleet::{Fleet, FleetSpec};
use simulator::ledger::{Durability, Ledger, LedgerSummary};
use simulator::publisher::{Mode, Protocol, PublisherError, PublisherOptions, PublisherStats, Summary, run};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

mod chaos;
mod fake_broker;
mod load;
mod qos1;
mod qos2;
mod v5;

/// A publisher on one connection, running in the background, with its ledger.
struct Publisher {
    task: JoinHandle<Result<Summary, PublisherError>>,
    stats: Arc<PublisherStats>,
    stop: CancellationToken,
    ledger: PathBuf,
}

/// One gateway with a few SIMs and a window of four.
fn options(port: u16, records: u64) -> PublisherOptions {
    let fleet = Arc::new(Fleet::generate(FleetSpec { sims: 5, seed: 1 }));
    PublisherOptions {
        mode: Mode::Gateway { gateways: 1 },
        rate: None,
        records: Some(records),
        window: 4,
        clock: Clock::fixed(Utc.with_ymd_and_hms(2026, 11, 20, 12, 0, 0).unwrap()),
        ..PublisherOptions::new("127.0.0.1", port, fleet, "test".parse().unwrap())
    }
}

impl Publisher {
    /// `name` names the ledger file and must be the test's own.
    fn start(name: &str, options: PublisherOptions) -> Self {
        let ledger = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.ndjson"));
        let _ = std::fs::remove_file(&ledger);
        let writer = Arc::new(Ledger::append(&ledger, Durability::Process).unwrap());
        let options = PublisherOptions { ledger: Some(writer), ..options };
        let (stats, stop) = (Arc::new(PublisherStats::default()), CancellationToken::new());
        let task = tokio::spawn(run(options, Arc::clone(&stats), stop.clone()));
        Self { task, stats, stop, ledger }
    }

    /// Waits for the end; the time limit only keeps a broken publisher from hanging the tests.
    async fn end(self) -> (Result<Summary, PublisherError>, LedgerSummary) {
        let summary = tokio::time::timeout(Duration::from_secs(60), self.task).await;
        let summary = summary.expect("the publisher ends").unwrap();
        (summary, Ledger::read(&self.ledger).unwrap())
    }
}

fn ids(keys: &HashSet<(String, String)>) -> HashSet<String> {
    keys.iter().map(|(_, record_id)| record_id.clone()).collect()
}
