//! A fleet on MQTT connections: paced, with faults, and exact about what was acknowledged.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod connection;
mod feed;
mod pacing;
mod session;
mod stats;
mod window;

pub use crate::load::Protocol;
pub use stats::{PublisherStats, StatsSnapshot};

use crate::clock::Clock;
use crate::faults::FaultPlan;
use crate::fleet::Fleet;
use crate::ledger::Ledger;
use crate::record::RunId;
use connection::Connection;
use feed::{Budget, Feed};
use session::Session;

/// Most connections of one publisher: what a process may open where the limit of open files is the usual one.
pub const MAX_CONNECTIONS: u32 = 60_000;

/// How the SIMs share connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each SIM has its own connection.
    PerSim,
    /// Many SIMs behind each of so many gateways.
    Gateway { gateways: u32 },
}

/// User name and password.
#[derive(Clone)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What a publisher does.
#[derive(Clone)]
pub struct PublisherOptions {
    pub host: String,
    pub port: u16,
    pub protocol: Protocol,
    /// 0, 1 or 2.
    pub qos: u8,
    pub credentials: Option<Credentials>,
    pub fleet: Arc<Fleet>,
    pub run_id: RunId,
    pub mode: Mode,
    /// 1 = one record on the SIM's topic; more = batches of so many on the batch topic (gateways only).
    pub records_per_message: u16,
    /// Records per second in all; `None` = as fast as the acknowledgements come.
    pub rate: Option<f64>,
    /// Records in all, conflicts and duplicates not counted; `None` = until stopped.
    pub records: Option<u64>,
    /// Unacknowledged messages on each connection at most.
    pub window: u16,
    pub faults: FaultPlan,
    pub ledger: Option<Arc<Ledger>>,
    pub clock: Clock,
    /// The amounts are those of a period of this length, however short the record's own period is: a demonstration of
    /// five minutes then shows amounts like those of a day.
    pub amounts_for: TimeDelta,
    /// How long to wait for acknowledgements, and for a broker that is away, after the stop.
    pub drain_timeout: Duration,
    /// MQTT 5: what the broker answers with 0x10, "No matching subscribers", is not taken and is sent again. A broker that has
    /// just restarted may have forgotten the subscription of whoever stores usage. Without effect where nothing says so.
    pub repeat_unheard: bool,
}

impl PublisherOptions {
    /// One connection for each SIM, one record per SIM every 15 minutes, QoS 1, no faults.
    pub fn new(host: impl Into<String>, port: u16, fleet: Arc<Fleet>, run_id: RunId) -> Self {
        let rate = fleet.sims().len() as f64 / 900.0;
        Self {
            host: host.into(),
            port,
            protocol: Protocol::V311,
            qos: 1,
            credentials: None,
            fleet,
            run_id,
            mode: Mode::PerSim,
            records_per_message: 1,
            rate: Some(rate),
            records: None,
            window: 20,
            faults: FaultPlan::default(),
            ledger: None,
            clock: Clock::system(),
            amounts_for: TimeDelta::minutes(15),
            drain_timeout: Duration::from_secs(10),
            repeat_unheard: true,
        }
    }

    fn check(&self) -> Result<(), PublisherError> {
        let refuse = |message| Err(PublisherError::Options(message));
        if self.qos > 2 {
            return refuse("QoS is 0, 1 or 2");
        }
        if !(1..=10_000).contains(&self.window) {
            return refuse("the window is 1 to 10000 messages");
        }
        if !(1..=500).contains(&self.records_per_message) {
            return refuse("a message carries 1 to 500 records: more would not fit into a packet of 256 KB");
        }
        if self.records_per_message > 1 && self.mode == Mode::PerSim {
            return refuse("only gateways send batches");
        }
        if self.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return refuse("the rate is a positive number of records per second");
        }
        if !(1..=31 * 86_400).contains(&self.amounts_for.num_seconds()) {
            return refuse("amounts are for 1 second to 31 days");
        }
        Ok(())
    }
}

/// What a publisher did.
pub type Summary = StatsSnapshot;

/// Why a publisher ended early or could not begin.
#[derive(Debug, thiserror::Error)]
pub enum PublisherError {
    #[error("{0}")]
    Options(&'static str),
    #[error("the broker refused the connection: {0}")]
    Denied(String),
    #[error("the ledger cannot be written: {0}")]
    Ledger(#[from] std::io::Error),
    #[error("a connection task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Publishes until `stop` is cancelled or the records are used up, then waits for outstanding acknowledgements and
/// disconnects. What is still outstanding then is in the summary as `in_flight`.
pub async fn run(
    options: PublisherOptions,
    stats: Arc<PublisherStats>,
    stop: CancellationToken,
) -> Result<Summary, PublisherError> {
    options.check()?;
    let groups = groups(&options)?;
    let options = Arc::new(options);
    let budget = Arc::new(Budget::new(options.records));
    // One connection's failure ends all of them, and not more than them.
    let stop = stop.child_token();
    let connections = groups.len() as u32;
    let mut tasks = JoinSet::new();
    for (index, sims) in (0..).zip(groups) {
        let feed = Feed::new(Arc::clone(&options), Arc::clone(&budget), index, &sims);
        let connection =
            Connection::new(index, connections, Arc::clone(&options), feed, Arc::clone(&stats), stop.clone());
        tasks.spawn(connection.run());
    }
    let mut failure = None;
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended.map_err(PublisherError::from).and_then(|result| result) {
            stop.cancel();
            failure.get_or_insert(error);
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(stats.snapshot()),
    }
}

/// Which SIMs go over which connection.
fn groups(options: &PublisherOptions) -> Result<Vec<Vec<u32>>, PublisherError> {
    let sims = options.fleet.publishing();
    let count = match options.mode {
        Mode::PerSim => sims.len(),
        Mode::Gateway { gateways } => (gateways.max(1) as usize).min(sims.len()),
    };
    if count > MAX_CONNECTIONS as usize {
        return Err(PublisherError::Options("more than 60000 connections: put the SIMs behind gateways"));
    }
    let mut groups = vec![Vec::new(); count];
    for (place, sim) in sims.into_iter().enumerate() {
        groups[place % count].push(sim);
    }
    Ok(groups)
}
