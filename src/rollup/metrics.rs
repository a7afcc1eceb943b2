use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::store::rollups::{Backlog, RolledUp};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NoLabel {}

/// What rollups do and how far behind they are.
#[derive(Debug)]
pub struct RollupMetrics {
    lag_seconds: Gauge<f64, AtomicU64>,
    /// A family, so that it is not there before the first look.
    last_look: Family<NoLabel, Gauge<f64, AtomicU64>>,
    pending_records: Gauge,
    pending_batches: Gauge,
    records: Counter,
    chunks: Counter,
    failures: Counter,
    chunk_seconds: Histogram,
}

impl Default for RollupMetrics {
    fn default() -> Self {
        Self {
            lag_seconds: Gauge::default(),
            last_look: Family::default(),
            pending_records: Gauge::default(),
            pending_batches: Gauge::default(),
            records: Counter::default(),
            chunks: Counter::default(),
            failures: Counter::default(),
            // 10 ms to 40 s.
            chunk_seconds: Histogram::new(exponential_buckets(0.01, 2.0, 13)),
        }
    }
}

impl RollupMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("rollup");
        registry.register(
            "lag_seconds",
            "Age of the oldest batch that no chart shows yet",
            self.lag_seconds.clone(),
        );
        registry.register(
            "last_look_timestamp_seconds",
            "When this instance last saw what waits; lag and pending are as of then",
            self.last_look.clone(),
        );
        registry.register("pending_records", "Records that no chart shows yet", self.pending_records.clone());
        registry.register("pending_batches", "Batches that no chart shows yet", self.pending_batches.clone());
        registry.register("records", "Records rolled up by this instance", self.records.clone());
        registry.register("chunks", "Transactions of the rollup worker", self.chunks.clone());
        registry.register("failures", "Attempts of the rollup worker that failed", self.failures.clone());
        registry.register(
            "chunk_seconds",
            "Time that one transaction of the rollup worker took",
            self.chunk_seconds.clone(),
        );
    }

    /// Age of the oldest batch that waits, as of the last look.
    pub fn lag(&self) -> Duration {
        Duration::try_from_secs_f64(self.lag_seconds.get()).unwrap_or_default()
    }

    /// Records and batches that no chart shows yet, as of the last look.
    pub(crate) fn pending(&self) -> (i64, i64) {
        (self.pending_records.get(), self.pending_batches.get())
    }

    pub(super) fn backlog(&self, backlog: &Backlog, at: DateTime<Utc>) {
        self.last_look.get_or_create(&NoLabel {}).set(at.timestamp() as f64);
        self.lag_seconds.set(backlog.oldest_age.unwrap_or_default().as_secs_f64());
        self.pending_records.set(backlog.records);
        self.pending_batches.set(backlog.markers);
    }

    pub(super) fn chunk(&self, done: &RolledUp, took: Duration) {
        self.records.inc_by(u64::try_from(done.records).unwrap_or(0));
        self.chunks.inc();
        self.chunk_seconds.observe(took.as_secs_f64());
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }
}
