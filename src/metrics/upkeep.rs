use std::sync::atomic::AtomicU64;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::RejectionCode;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NoLabel {}

/// What is looked at now and then in the database and on the disk.
#[derive(Debug, Default)]
pub(crate) struct UpkeepMetrics {
    runway_days: Gauge<f64, AtomicU64>,
    parked: Family<ReasonLabel, Gauge>,
    // Those without a label are families so that they are not there until something is known.
    partitions_end: Family<NoLabel, Gauge<f64, AtomicU64>>,
    disk_free: Family<NoLabel, Gauge<f64, AtomicU64>>,
    disk_size: Family<NoLabel, Gauge<f64, AtomicU64>>,
}

impl UpkeepMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "partitions_end_timestamp_seconds",
            "When the last partition of usage_records ends",
            self.partitions_end.clone(),
        );
        registry.register(
            "partition_runway_days",
            "Days for which partitions of usage_records exist ahead",
            self.runway_days.clone(),
        );
        registry.register(
            "quarantine_records",
            "Records that are parked and wait for somebody, of all tenants and instances",
            self.parked.clone(),
        );
        registry.register(
            "data_directory_free_bytes",
            "Room that is left where the private PostgreSQL keeps its data",
            self.disk_free.clone(),
        );
        registry.register("data_directory_size_bytes", "Size of that file system", self.disk_size.clone());
    }

    pub(crate) fn partitions(&self, end: DateTime<Utc>, now: DateTime<Utc>) {
        self.partitions_end.get_or_create(&NoLabel {}).set(end.timestamp() as f64);
        self.runway_days.set((end - now).num_days().max(0) as f64);
    }

    /// Days ahead for which there are partitions, as of the last look.
    pub(crate) fn runway_days(&self) -> f64 {
        self.runway_days.get()
    }

    /// Reasons that are not named have none.
    pub(crate) fn parked(&self, found: &[(String, i64)]) {
        for reason in RejectionCode::ALL.map(RejectionCode::as_str) {
            let parked = found.iter().find(|(name, _)| name == reason).map_or(0, |(_, parked)| *parked);
            self.parked.get_or_create(&ReasonLabel { reason }).set(parked);
        }
    }

    /// Bytes.
    pub(crate) fn disk(&self, free: u64, size: u64) {
        self.disk_free.get_or_create(&NoLabel {}).set(free as f64);
        self.disk_size.get_or_create(&NoLabel {}).set(size as f64);
    }
}
