//! How long things took, and how many there were, in the last 10 to 20 seconds.

use std::sync::Mutex;
use std::time::{Duration, Instant};

const GENERATION: Duration = Duration::from_secs(10);
const BUCKETS: usize = 80;
/// Each bucket is 20 % wider than the one before; 80 of them reach from 50 µs to beyond a minute.
const GROWTH: f64 = 1.2;
const FIRST_BUCKET_SECONDS: f64 = 0.000_05;
/// A rate is not made of less: right after the start it would be of one event.
const RATE_OVER: Duration = Duration::from_secs(1);

/// Two generations of a histogram, so that an estimate covers the recent past only.
pub(crate) struct Recent(Mutex<Generations>);

struct Generations {
    current: Generation,
    previous: Generation,
    began: Instant,
    /// How much time the previous one covers.
    previous_lasted: Duration,
}

#[derive(Clone, Copy)]
struct Generation {
    buckets: [u32; BUCKETS],
    amount: u64,
}

const EMPTY: Generation = Generation { buckets: [0; BUCKETS], amount: 0 };

impl Recent {
    pub(crate) fn new(now: Instant) -> Self {
        let previous_lasted = Duration::ZERO;
        Self(Mutex::new(Generations { current: EMPTY, previous: EMPTY, began: now, previous_lasted }))
    }

    /// Something took so long, and did so much.
    pub(crate) fn record(&self, latency: Duration, amount: u64, now: Instant) {
        // A poisoned lock would mean a panic in a few lines of arithmetic; the estimate is not worth a crash.
        if let Ok(mut recent) = self.0.lock() {
            recent.rotate(now);
            let steps = (latency.as_secs_f64() / FIRST_BUCKET_SECONDS).max(1.0).ln() / GROWTH.ln();
            recent.current.buckets[(steps.ceil() as usize).min(BUCKETS - 1)] += 1;
            recent.current.amount += amount;
        }
    }

    /// Quantiles of the times, each the upper bound of its bucket; `None` when there were none.
    pub(crate) fn quantiles<const N: usize>(&self, wanted: [f64; N], now: Instant) -> Option<[Duration; N]> {
        let mut recent = self.0.lock().ok()?;
        recent.rotate(now);
        let mut found = [Duration::ZERO; N];
        for (quantile, found) in wanted.into_iter().zip(&mut found) {
            *found = recent.quantile(quantile)?;
        }
        Some(found)
    }

    /// What was done in a second, on average.
    pub(crate) fn per_second(&self, now: Instant) -> f64 {
        let Ok(mut recent) = self.0.lock() else { return 0.0 };
        recent.rotate(now);
        let over = recent.previous_lasted + now.saturating_duration_since(recent.began);
        (recent.current.amount + recent.previous.amount) as f64 / over.max(RATE_OVER).as_secs_f64()
    }
}

impl Generations {
    fn rotate(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.began);
        if age >= GENERATION {
            let current = std::mem::replace(&mut self.current, EMPTY);
            // What is older tells of nothing but that there was a pause.
            (self.previous, self.previous_lasted) =
                if age < GENERATION * 2 { (current, age) } else { (EMPTY, GENERATION) };
            self.began = now;
        }
    }

    fn quantile(&self, quantile: f64) -> Option<Duration> {
        let both = self.current.buckets.iter().zip(&self.previous.buckets);
        let counts = || both.clone().map(|(a, b)| u64::from(*a) + u64::from(*b));
        let total: u64 = counts().sum();
        let wanted = (total as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in counts().enumerate() {
            seen += count;
            if total > 0 && seen >= wanted {
                return Some(Duration::from_secs_f64(FIRST_BUCKET_SECONDS * GROWTH.powi(bucket as i32)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_is_within_a_bucket_of_the_truth() {
        let start = Instant::now();
        let recent = Recent::new(start);
        assert_eq!(recent.quantiles([0.5, 0.99], start), None);
        for n in 1..=1000 {
            recent.record(Duration::from_millis(n), 1, start);
        }
        let [p50, p99] = recent.quantiles([0.5, 0.99], start).unwrap();
        assert!((Duration::from_millis(500)..Duration::from_millis(601)).contains(&p50), "{p50:?}");
        assert!((Duration::from_millis(990)..Duration::from_millis(1190)).contains(&p99), "{p99:?}");
    }

    #[test]
    fn old_latencies_are_forgotten() {
        let start = Instant::now();
        let recent = Recent::new(start);
        recent.record(Duration::from_secs(1), 1, start);
        assert!(recent.quantiles([0.99], start + GENERATION).is_some());
        assert_eq!(recent.quantiles([0.99], start + GENERATION * 2), None);
    }

    #[test]
    fn a_rate_is_of_all_the_time_that_it_covers() {
        let start = Instant::now();
        let recent = Recent::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        recent.record(Duration::ZERO, 500, start);
        assert_eq!(recent.per_second(start), 500.0);
        assert_eq!(recent.per_second(at(5)), 100.0);
        recent.record(Duration::ZERO, 500, at(10));
        assert_eq!(recent.per_second(at(15)), 1000.0 / 15.0);
        assert_eq!(recent.per_second(at(60)), 0.0);
        recent.record(Duration::ZERO, 20, at(100));
        assert_eq!(recent.per_second(at(100)), 2.0, "after a pause");
    }
}
