//! Rates: how often something may happen, with a burst after a rest.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A rate and its burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    interval: Duration,
    burst: Duration,
}

impl Pace {
    /// So many a second, `burst` of them at once after a rest; `None`, which is no limit, for 0 a second.
    pub(super) fn per_second(count: u32, burst: u32) -> Option<Self> {
        (count > 0).then(|| Self::every(Duration::from_secs(1) / count, burst))
    }

    pub(super) fn per_minute(count: u32, burst: u32) -> Option<Self> {
        (count > 0).then(|| Self::every(Duration::from_secs(60) / count, burst))
    }

    pub(super) fn every(interval: Duration, burst: u32) -> Self {
        Self { interval, burst: interval * burst }
    }
}

/// A token bucket, as the moment at which it is full again (GCRA). It may be overdrawn: who takes waits afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// How long from `now` until nothing is overdrawn.
    pub(super) fn wait(&self, pace: Pace, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now + pace.burst))
    }

    /// How long who takes one more would have to wait for it.
    pub(super) fn wait_for_one(&self, pace: Pace, now: Instant) -> Duration {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + pace.interval;
        full_at.saturating_duration_since(now + pace.burst)
    }

    /// Takes `count`, whether they are there or not; what it waits for then is `limit` away at most.
    pub(super) fn take(&mut self, pace: Pace, count: u32, limit: Duration, now: Instant) {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + pace.interval * count;
        self.full_at = Some(full_at.min(now + pace.burst + limit));
    }

    /// Does not fill for so long.
    pub(super) fn stand_still(&mut self, time: Duration) {
        self.full_at = self.full_at.map(|at| at + time);
    }

    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }
}

/// Buckets of whoever has used one lately. A full one is the same as none, so it need not be kept.
pub(super) struct Ledger<K, const N: usize> {
    entries: Mutex<HashMap<K, [Bucket; N]>>,
    at_most: usize,
}

impl<K: Eq + Hash, const N: usize> Ledger<K, N> {
    /// Beyond `at_most` nobody new is remembered.
    pub(super) fn new(at_most: usize) -> Self {
        Self { entries: Mutex::default(), at_most }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, [Bucket; N]>> {
        // A panic while the lock was held can at worst have left an entry out.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out what is remembered of `key`.
    pub(super) fn remove(&self, key: &K) -> [Bucket; N] {
        self.lock().remove(key).unwrap_or([Bucket::default(); N])
    }

    pub(super) fn insert(&self, key: K, buckets: [Bucket; N], now: Instant) {
        if buckets.iter().all(|bucket| bucket.is_full(now)) {
            return;
        }
        let mut entries = self.lock();
        if entries.len() < self.at_most {
            entries.insert(key, buckets);
        }
    }

    /// Changes what is remembered of `key`, if there is room for it.
    pub(super) fn update<T>(&self, key: &K, now: Instant, change: impl FnOnce(&mut [Bucket; N]) -> T) -> T
    where
        K: Clone,
    {
        let mut entries = self.lock();
        let mut buckets = entries.get(key).copied().unwrap_or([Bucket::default(); N]);
        let changed = change(&mut buckets);
        let is_full = buckets.iter().all(|bucket| bucket.is_full(now));
        if !is_full && (entries.len() < self.at_most || entries.contains_key(key)) {
            entries.insert(key.clone(), buckets);
        }
        changed
    }

    /// Forgets full buckets.
    pub(super) fn tidy(&self, now: Instant) {
        let mut entries = self.lock();
        entries.retain(|_, buckets| !buckets.iter().all(|bucket| bucket.is_full(now)));
        if entries.len() * 4 < entries.capacity() {
            entries.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Catches a bucket without a burst, one that never fills, and one that forgets what was overdrawn.
    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let pace = Pace::per_second(10, 3).unwrap();
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..5 {
            waits.push(bucket.wait_for_one(pace, start));
            bucket.take(pace, 1, Duration::MAX / 4, start);
        }
        assert_eq!(waits, [0, 0, 0, 100, 200].map(|ms| MS * ms));
        assert_eq!(bucket.wait(pace, start), MS * 200);
        assert_eq!(bucket.wait(pace, start + MS * 150), MS * 50);
        let rested = start + MS * 500;
        assert_eq!(bucket.wait(pace, rested), Duration::ZERO);
        assert!(bucket.is_full(rested));
        assert_eq!(Pace::per_second(0, 3), None);
    }

    #[test]
    fn what_is_overdrawn_is_limited() {
        let pace = Pace::every(MS * 100, 2);
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        for _ in 0..100 {
            bucket.take(pace, 1, MS * 250, start);
        }
        assert_eq!(bucket.wait(pace, start), MS * 250);
    }

    /// Catches a ledger that grows with everybody who ever came.
    #[test]
    fn a_ledger_remembers_so_many_and_forgets_full_buckets() {
        let pace = Pace::every(MS, 1);
        let ledger = Ledger::<u32, 1>::new(2);
        let now = Instant::now();
        let mut used = [Bucket::default()];
        used[0].take(pace, 5, MS * 1000, now);
        for key in 0..3 {
            ledger.insert(key, used, now);
        }
        assert_eq!(ledger.remove(&2), [Bucket::default()], "there was no room");
        let later = now + MS * 10;
        ledger.tidy(later);
        used[0].take(pace, 5, MS * 1000, later);
        ledger.insert(3, used, later);
        assert_eq!((ledger.remove(&0), ledger.remove(&3)), ([Bucket::default()], used));
    }
}
