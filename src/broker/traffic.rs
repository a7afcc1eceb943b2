//! How much one client may send beside usage. What it sends too fast waits in its socket: nothing is dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::admission::TrafficConfig;

use super::metrics::BrokerMetrics;
use super::rate::{Bucket, Ledger, Pace};
use super::registry::ClientKey;

/// Longest that one packet can make its sender wait, whatever its size.
const LONGEST: Duration = Duration::from_secs(60);
/// A pause is at least so long, in milliseconds: a client would otherwise be woken and answered for each single packet. Each one is of
/// another length, so that clients that began together do not go on together.
const SHORTEST_MS: std::ops::Range<u64> = 50..150;

/// What clients have left of their rates.
pub(super) struct TrafficLimits {
    packets: Option<Pace>,
    bytes: Option<Pace>,
    /// Of those that are away: who comes back does not begin with a new burst.
    away: Ledger<ClientKey, 2>,
}

impl TrafficLimits {
    pub(super) fn new(config: &TrafficConfig, remembered: usize) -> Self {
        Self {
            packets: Pace::per_second(config.packets_per_second, config.packet_burst),
            bytes: Pace::per_second(config.bytes_per_second, config.burst_bytes),
            away: Ledger::new(remembered),
        }
    }

    /// What a client may send that has just connected.
    pub(super) fn take_up(&self, client: &ClientKey) -> Traffic {
        let mut traffic = Traffic {
            packets: self.packets,
            bytes: self.bytes,
            buckets: self.away.remove(client),
            resumes_at: None,
        };
        traffic.spend(0, 0, Instant::now());
        traffic
    }

    /// Remembers it of a client that leaves.
    pub(super) fn put_away(&self, client: ClientKey, traffic: &Traffic, now: Instant) {
        self.away.insert(client, traffic.buckets, now);
    }

    pub(super) fn tidy(&self, now: Instant) {
        self.away.tidy(now);
    }
}

/// What one client has sent lately.
pub(super) struct Traffic {
    packets: Option<Pace>,
    bytes: Option<Pace>,
    buckets: [Bucket; 2],
    resumes_at: Option<Instant>,
}

impl Traffic {
    /// Counts what was read.
    pub(super) fn spend(&mut self, packets: usize, bytes: usize, now: Instant) {
        for ((pace, count), bucket) in
            [(self.packets, packets), (self.bytes, bytes)].into_iter().zip(&mut self.buckets)
        {
            if let Some(pace) = pace {
                bucket.take(pace, u32::try_from(count).unwrap_or(u32::MAX), LONGEST, now);
                let wait = bucket.wait(pace, now);
                if !wait.is_zero() {
                    let shortest = Duration::from_millis(rand::random_range(SHORTEST_MS));
                    self.resumes_at = self.resumes_at.max(Some(now + wait.max(shortest)));
                }
            }
        }
    }

    /// For so long the client was not read for another reason, and has not rested.
    pub(super) fn stood_still(&mut self, time: Duration) {
        self.buckets.iter_mut().for_each(|bucket| bucket.stand_still(time));
    }

    /// When the client may go on; `None` when it may now.
    pub(super) fn resumes_at(&self) -> Option<Instant> {
        self.resumes_at
    }

    /// That moment has come.
    pub(super) fn resume(&mut self) {
        self.resumes_at = None;
    }
}

/// Counts a client that is not read because it sends too fast, for as long as that lasts.
pub(super) struct Throttled(Arc<BrokerMetrics>);

impl Throttled {
    pub(super) fn new(metrics: &Arc<BrokerMetrics>) -> Self {
        metrics.throttled_readers.inc();
        metrics.throttled.inc();
        Self(metrics.clone())
    }
}

impl Drop for Throttled {
    fn drop(&mut self) {
        self.0.throttled_readers.dec();
    }
}
