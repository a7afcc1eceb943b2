use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Counters of a publisher; may be read at any time while it runs.
pub struct PublisherStats {
    pub(crate) sent: AtomicU64,
    pub(crate) acked: AtomicU64,
    pub(crate) parked: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unconfirmed: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) resent_messages: AtomicU64,
    pub(crate) unheard_messages: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) connected: AtomicU64,
    latencies: Mutex<Histogram<u64>>,
}

/// The counters at one moment. Everything counts records, except where the name says messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatsSnapshot {
    /// Handed to a connection, each once: resending does not count again.
    pub sent: u64,
    /// Acknowledged with PUBACK or PUBCOMP, parked ones included.
    pub acked: u64,
    /// Of the acknowledged, those that the broker said (in MQTT 5) it keeps aside.
    pub parked: u64,
    /// The broker answered that it will not keep them.
    pub refused: u64,
    /// Written at QoS 0, which nobody confirms.
    pub unconfirmed: u64,
    pub in_flight: u64,
    pub resent_messages: u64,
    /// Times that the broker said (in MQTT 5) that nobody subscribes to a message.
    pub unheard_messages: u64,
    /// Connections opened again after a loss; failed attempts do not count.
    pub reconnects: u64,
    /// Connections that are open now.
    pub connected: u64,
    pub ack_p50: Duration,
    pub ack_p99: Duration,
}

impl Default for PublisherStats {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            sent: zero(),
            acked: zero(),
            parked: zero(),
            refused: zero(),
            unconfirmed: zero(),
            in_flight: zero(),
            resent_messages: zero(),
            unheard_messages: zero(),
            reconnects: zero(),
            connected: zero(),
            latencies: Mutex::new(
                Histogram::new_with_bounds(1, 600_000_000, 2).expect("the bounds are constants and valid"),
            ),
        }
    }
}

impl PublisherStats {
    pub fn snapshot(&self) -> StatsSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        let quantile = |quantile| Duration::from_micros(latencies.value_at_quantile(quantile));
        StatsSnapshot {
            sent: read(&self.sent),
            acked: read(&self.acked),
            parked: read(&self.parked),
            refused: read(&self.refused),
            unconfirmed: read(&self.unconfirmed),
            in_flight: read(&self.in_flight),
            resent_messages: read(&self.resent_messages),
            unheard_messages: read(&self.unheard_messages),
            reconnects: read(&self.reconnects),
            connected: read(&self.connected),
            ack_p50: quantile(0.5),
            ack_p99: quantile(0.99),
        }
    }

    pub(crate) fn record_latency(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
    }
}

pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

pub(crate) fn subtract(counter: &AtomicU64, amount: u64) {
    counter.fetch_sub(amount, Ordering::Relaxed);
}
