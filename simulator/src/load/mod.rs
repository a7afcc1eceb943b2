//! Load: as many acknowledged messages per second as the broker gives, at the cost of as little CPU as possible.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use hdrhistogram::Histogram;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod connection;
mod cpu;
mod frames;
mod report;
mod template;

pub use frames::Protocol;
pub use report::LoadReport;

use crate::fleet::{Fleet, FleetSpec};
use crate::record::RunId;
use connection::{Connection, ConnectionError, Outcome};
use template::{ICCID_LEN, Template, TemplateSpec};

/// Connections opened at the same time: enough to be quick, few enough for the default listen backlog of 128.
const CONNECTING_AT_ONCE: usize = 64;
/// Histograms that the connections share; one for each connection would be 32 KB times 10,000.
const SHARDS: usize = 16;

/// How a load run is made.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// `host:port` of the broker.
    pub addr: String,
    pub protocol: Protocol,
    /// 0, 1 or 2.
    pub qos: u8,
    pub credentials: Option<(String, String)>,
    pub connections: u32,
    /// Unacknowledged messages on each connection at most.
    pub window: u16,
    /// 1 = one record on the SIM's topic; more = a JSON array of so many.
    pub records_per_message: u16,
    /// Records per second in all; `None` = as fast as the acknowledgements come.
    pub rate: Option<f64>,
    /// Records in all; `None` = until the duration is over.
    pub records: Option<u64>,
    pub duration: Option<Duration>,
    pub fleet: FleetSpec,
    pub run_id: RunId,
    /// Periods lie in the last whole hour before this time.
    pub until: DateTime<Utc>,
    /// How long to wait for acknowledgements after the last message.
    pub drain_timeout: Duration,
}

/// Why a load run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{0}")]
    Options(&'static str),
    #[error("cannot connect to {addr}")]
    Connect { addr: String, source: ConnectionError },
    #[error("a connection task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// What the connections of a run share.
pub(crate) struct Shared {
    options: LoadOptions,
    template: Template,
    iccids: Vec<[u8; ICCID_LEN]>,
    latencies: Vec<Mutex<Histogram<u64>>>,
    stop: CancellationToken,
    progress: Arc<LoadProgress>,
}

/// Counters that can be read while the run goes on.
#[derive(Debug, Default)]
pub struct LoadProgress {
    acked_records: AtomicU64,
}

impl LoadProgress {
    pub fn acked_records(&self) -> u64 {
        self.acked_records.load(Ordering::Relaxed)
    }
}

/// Runs until the records are sent, the duration is over or `stop` is cancelled, then waits for what is outstanding.
pub async fn run(
    options: LoadOptions,
    progress: Arc<LoadProgress>,
    stop: CancellationToken,
) -> Result<LoadReport, LoadError> {
    check(&options)?;
    let shared = Arc::new(Shared::new(options, progress, stop.child_token()));
    let streams = connect_all(&shared).await?;
    let cpu_before = cpu::used();
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for (index, stream) in (0..).zip(streams) {
        tasks.spawn(Connection::new(index, stream, Arc::clone(&shared), started).run());
    }
    let timer = shared.options.duration.map(|duration| {
        let stop = shared.stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            stop.cancel();
        })
    });
    let mut outcomes: Vec<Outcome> = Vec::new();
    while let Some(outcome) = tasks.join_next().await {
        outcomes.push(outcome?);
    }
    if let Some(timer) = timer {
        timer.abort();
    }
    let cpu = cpu_before.zip(cpu::used()).map(|(before, after)| after.saturating_sub(before));
    Ok(LoadReport::new(&shared, &outcomes, started, cpu))
}

fn check(options: &LoadOptions) -> Result<(), LoadError> {
    let refuse = |message| Err(LoadError::Options(message));
    if options.qos > 2 {
        return refuse("QoS is 0, 1 or 2");
    }
    if options.connections == 0 || options.window == 0 {
        return refuse("connections and window are at least 1");
    }
    if !(1..=1000).contains(&options.records_per_message) {
        return refuse("a message carries 1 to 1000 records");
    }
    if options.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
        return refuse("the rate is a positive number of records per second");
    }
    if options.records.is_none() && options.duration.is_none() {
        return refuse("say when to end: a number of records or a duration");
    }
    Ok(())
}

async fn connect_all(shared: &Arc<Shared>) -> Result<Vec<TcpStream>, LoadError> {
    let permits = Arc::new(Semaphore::new(CONNECTING_AT_ONCE));
    let mut tasks = JoinSet::new();
    for index in 0..shared.options.connections {
        let (permits, shared) = (Arc::clone(&permits), Arc::clone(shared));
        tasks.spawn(async move {
            let _permit = permits.acquire().await.expect("the semaphore is never closed");
            connection::open(index, &shared.options).await
        });
    }
    let mut streams = Vec::with_capacity(tasks.len());
    while let Some(stream) = tasks.join_next().await {
        let connect = |source| LoadError::Connect { addr: shared.options.addr.clone(), source };
        streams.push(stream?.map_err(connect)?);
    }
    Ok(streams)
}

impl Shared {
    fn new(options: LoadOptions, progress: Arc<LoadProgress>, stop: CancellationToken) -> Self {
        let template = Template::new(&TemplateSpec {
            protocol: options.protocol,
            qos: options.qos,
            records_per_message: options.records_per_message,
            run_id: &options.run_id,
            until: options.until,
        });
        let fleet = Fleet::generate(options.fleet);
        let digits = |iccid: &str| iccid.as_bytes().try_into().expect("an ICCID of the fleet has 19 digits");
        let iccids = fleet.sims().iter().map(|sim| digits(&sim.iccid)).collect();
        let latencies = (0..SHARDS).map(|_| Mutex::new(histogram())).collect();
        Self { options, template, iccids, latencies, stop, progress }
    }

    fn record_latencies(&self, connection: u32, latencies: impl Iterator<Item = Duration>) {
        let shard = &self.latencies[connection as usize % SHARDS];
        let mut histogram = shard.lock().unwrap_or_else(PoisonError::into_inner);
        for latency in latencies {
            histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        }
    }

    fn merged_latencies(&self) -> Histogram<u64> {
        let mut all = histogram();
        for shard in &self.latencies {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.add(&*shard).expect("all histograms have the same bounds");
        }
        all
    }
}

/// 1 µs to 10 minutes in microseconds, two significant digits: what a latency table shows, in a few KB.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 2).expect("the bounds are constants and valid")
}
