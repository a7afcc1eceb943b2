//! What is measured all the time: memory, files, lag, waiting, acknowledgements.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_postgres::Client;

use super::mishaps::connect;
use super::plan::Plan;
use super::publishers::{Live, latencies};
use crate::harness::bridge::BridgeProcess;
use crate::harness::durable::DurableServer;

/// Whether something is wrong on purpose, or was until lately.
pub(super) struct Weather(Mutex<Option<Instant>>);

impl Weather {
    pub(super) fn fine() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(Instant::now()))))
    }

    pub(super) fn storm(&self) {
        *self.0.lock().expect("no panic") = None;
    }

    pub(super) fn clear(&self) {
        *self.0.lock().expect("no panic") = Some(Instant::now());
    }

    fn is_calm(&self, allowance: Duration) -> bool {
        self.0.lock().expect("no panic").is_some_and(|since| since.elapsed() >= allowance)
    }
}

pub(super) struct Sample {
    /// Since the first one.
    pub(super) at: Duration,
    pub(super) calm: bool,
    pub(super) memory: u64,
    pub(super) files: usize,
    /// Seconds; none while the database does not answer.
    pub(super) lag: Option<f64>,
    /// Records that the program has received and not decided.
    pub(super) waiting: f64,
}

pub(super) struct Samples {
    pub(super) all: Vec<Sample>,
    /// Microseconds, of the calm and of all.
    pub(super) calm: Histogram<u64>,
    pub(super) latencies: Histogram<u64>,
    began: Instant,
}

impl Samples {
    pub(super) fn none() -> Self {
        Self { all: Vec::new(), calm: latencies(), latencies: latencies(), began: Instant::now() }
    }

    /// Looks again and again; to be dropped when the soak is over.
    pub(super) async fn gather(
        &mut self,
        plan: &Plan,
        weather: &Weather,
        bridge: &BridgeProcess,
        server: &DurableServer,
        live: &Live,
    ) {
        let mut ticks = interval(plan.sample_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut client: Option<Client> = None;
        let mut told = Duration::ZERO;
        loop {
            ticks.tick().await;
            if client.is_none() {
                client = connect(server).await;
            }
            let lag = match &client {
                Some(client) => lag(client).await,
                None => None,
            };
            if lag.is_none() {
                client = None;
            }
            let sample = Sample {
                at: self.began.elapsed(),
                calm: weather.is_calm(plan.allowance),
                memory: bridge.memory_bytes(),
                files: files(bridge),
                lag,
                waiting: bridge.metric("simbridge_records_in_flight").await,
            };
            let heard = live.take_latencies();
            self.latencies.add(&heard).expect("the bounds are the same");
            if sample.calm {
                self.calm.add(&heard).expect("the bounds are the same");
            }
            if plan.long && sample.at >= told + Duration::from_secs(60) {
                told = sample.at;
                sample.tell(&heard);
            }
            self.all.push(sample);
        }
    }

    /// Those of which nobody can say that a mishap or the beginning explains them.
    pub(super) fn steady<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = &'a Sample> {
        self.all.iter().filter(|sample| sample.calm && sample.at >= plan.warm_up)
    }
}

impl Sample {
    fn tell(&self, heard: &Histogram<u64>) {
        println!(
            "{:5} s{} RSS {:.1} MB, {} files, lag {}, {} waiting, PUBACK p50 {:.1} ms, p99 {:.1} ms",
            self.at.as_secs(),
            if self.calm { ':' } else { '!' },
            megabytes(self.memory),
            self.files,
            self.lag.map_or("unknown".into(), |lag| format!("{lag:.1} s")),
            self.waiting,
            heard.value_at_quantile(0.5) as f64 / 1e3,
            heard.value_at_quantile(0.99) as f64 / 1e3,
        );
    }
}

/// Age of the oldest batch that no chart shows; none when the database does not say.
pub(super) async fn lag(client: &Client) -> Option<f64> {
    let sql = "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 FROM rollup_markers";
    Some(client.query_one(sql, &[]).await.ok()?.get(0))
}

/// Files and sockets that the program has open.
pub(super) fn files(bridge: &BridgeProcess) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", bridge.pid())).expect("it runs").count()
}

pub(super) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Slope of the least squares through points, and its standard error.
pub(super) fn slope(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread;
    let rest: f64 = points.iter().map(|point| (point.1 - y - slope * (point.0 - x)).powi(2)).sum();
    (slope, (rest / (n - 2.0) / spread).sqrt())
}
