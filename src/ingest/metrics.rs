//! What the pipeline counts. The identity `received = stored + duplicate + parked + in flight` holds at every moment
//! between two events, because each side is counted where its event happens and none is derived from the others.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::domain::RejectionCode;

use super::receipt::{RecordStatus, Via};
use super::recent::Recent;
use super::under_way::{Holding, UnderWay};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ViaLabel {
    via: Via,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: RejectionCode,
}

impl EncodeLabelValue for Via {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl EncodeLabelValue for RejectionCode {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

/// Counters of the pipeline, in records unless the name says otherwise.
pub struct IngestMetrics {
    received: Family<ViaLabel, Counter>,
    stored: Counter,
    duplicate: Counter,
    parked: Family<ReasonLabel, Counter>,
    in_flight: Gauge,
    oldest_seconds: Gauge<f64, AtomicU64>,
    under_way: UnderWay,
    total_mismatch: Counter,
    batches: Counter,
    batch_retries: Counter,
    pub(super) batch_records: Histogram,
    pub(super) commit_seconds: Histogram,
    recent: Recent,
}

/// The balance at one moment, in records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    pub received: u64,
    pub stored: u64,
    pub duplicate: u64,
    pub parked: u64,
    pub in_flight: u64,
}

impl Balance {
    /// received = stored + duplicate + parked + in flight.
    pub fn holds(&self) -> bool {
        self.received == self.stored + self.duplicate + self.parked + self.in_flight
    }
}

impl Default for IngestMetrics {
    fn default() -> Self {
        Self {
            received: Family::default(),
            stored: Counter::default(),
            duplicate: Counter::default(),
            parked: Family::default(),
            in_flight: Gauge::default(),
            oldest_seconds: Gauge::default(),
            under_way: UnderWay::default(),
            total_mismatch: Counter::default(),
            batches: Counter::default(),
            batch_retries: Counter::default(),
            batch_records: Histogram::new(exponential_buckets(1.0, 2.0, 14)),
            commit_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
            recent: Recent::new(Instant::now()),
        }
    }
}

impl IngestMetrics {
    /// Names follow `simbridge_<what>_<unit>`; the registry adds the prefix and `_total`.
    pub fn register(&self, registry: &mut Registry) {
        // A counter that appears with its first event has no increase that a query could see.
        for reason in RejectionCode::ALL {
            drop(self.parked.get_or_create(&ReasonLabel { reason }));
        }
        registry.register(
            "records_received",
            "Records taken over from senders (a message that cannot be decoded counts as one)",
            self.received.clone(),
        );
        registry.register("records_stored", "Records stored in usage_records", self.stored.clone());
        registry.register("records_duplicate", "Records that were stored before", self.duplicate.clone());
        registry.register("records_parked", "Records put into the quarantine", self.parked.clone());
        registry.register(
            "records_in_flight",
            "Records received and not yet decided",
            self.in_flight.clone(),
        );
        registry.register(
            "records_oldest_in_flight_seconds",
            "Time since the oldest of them was received",
            self.oldest_seconds.clone(),
        );
        registry.register(
            "records_total_mismatch",
            "Stored records whose total differs from upload plus download",
            self.total_mismatch.clone(),
        );
        registry.register("batches_committed", "Batches committed", self.batches.clone());
        registry.register(
            "batch_retries",
            "Attempts to write a batch that were repeated",
            self.batch_retries.clone(),
        );
        registry.register("batch_records", "Records in a committed batch", self.batch_records.clone());
        registry.register_with_unit(
            "commit",
            "Time from the start of a batch's transaction to its COMMIT",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
    }

    /// Brings up to date what changes by itself.
    pub(crate) fn refresh(&self) {
        self.oldest_seconds.set(self.under_way.oldest_age(Instant::now()).as_secs_f64());
    }

    /// A batch begins whose oldest message has waited for so long; it ends when what is returned is dropped.
    pub(super) fn batch_begins(&self, waited: Duration) -> Holding {
        let now = Instant::now();
        self.under_way.hold(now.checked_sub(waited).unwrap_or(now))
    }

    /// A message enters the queue; it counts as one record until it is decoded.
    pub(super) fn message_received(&self, via: Via) {
        self.received.get_or_create(&ViaLabel { via }).inc();
        self.in_flight.inc();
    }

    /// The message turned out to carry `records` records.
    pub(super) fn message_decoded(&self, via: Via, records: usize) {
        // A message always counts as at least one record, so that the identity holds for an empty array too.
        let more = records.max(1) - 1;
        if more > 0 {
            self.received.get_or_create(&ViaLabel { via }).inc_by(more as u64);
            self.in_flight.inc_by(more as i64);
        }
    }

    /// The fate of one record is committed.
    pub(super) fn record_decided(&self, status: &RecordStatus) {
        match status {
            RecordStatus::Stored { .. } => {
                self.stored.inc();
            }
            RecordStatus::Duplicate { .. } => {
                self.duplicate.inc();
            }
            RecordStatus::Parked(rejection) => {
                self.parked.get_or_create(&ReasonLabel { reason: rejection.code }).inc();
            }
        }
        self.in_flight.dec();
    }

    /// A record was stored whose total differs from its parts.
    pub(super) fn total_mismatched(&self) {
        self.total_mismatch.inc();
    }

    pub(super) fn batch_committed(&self, records: usize, seconds: f64) {
        self.batches.inc();
        self.batch_records.observe(records as f64);
        self.commit_seconds.observe(seconds);
        self.recent.record(Duration::from_secs_f64(seconds), records as u64, Instant::now());
    }

    /// Quantiles of the time from BEGIN to COMMIT of a batch over the last 10 to 20 seconds; `None` without any.
    pub(crate) fn commit_quantiles<const N: usize>(&self, wanted: [f64; N]) -> Option<[Duration; N]> {
        self.recent.quantiles(wanted, Instant::now())
    }

    /// Records of committed batches in a second, over the same time.
    pub(crate) fn records_per_second(&self) -> f64 {
        self.recent.per_second(Instant::now())
    }

    pub(super) fn batch_retried(&self) {
        self.batch_retries.inc();
    }

    /// The balance now. Read while records flow, the figures may be a few records apart.
    pub fn balance(&self) -> Balance {
        Balance {
            received: [Via::Mqtt, Via::Source, Via::Http, Via::File, Via::Replay]
                .into_iter()
                .map(|via| self.received.get_or_create(&ViaLabel { via }).get())
                .sum(),
            stored: self.stored.get(),
            duplicate: self.duplicate.get(),
            parked: RejectionCode::ALL
                .into_iter()
                .map(|reason| self.parked.get_or_create(&ReasonLabel { reason }).get())
                .sum(),
            in_flight: u64::try_from(self.in_flight.get()).unwrap_or(0),
        }
    }
}
