//! How long the record that has waited longest waits already.
//!
//! A writer takes what is at the head of the queue, so while one holds a batch nothing in the queue is older than what it holds; and
//! while none does, nothing waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct Held {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

/// When the oldest message of each batch under way was received.
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay(Arc<Mutex<Held>>);

/// A batch under way; it is no more when this is dropped.
#[derive(Debug)]
pub(super) struct Holding {
    of: UnderWay,
    number: u64,
}

impl UnderWay {
    pub(super) fn hold(&self, oldest: Instant) -> Holding {
        let mut held = self.lock();
        let number = held.next;
        held.next += 1;
        held.since.insert(number, oldest);
        Holding { of: self.clone(), number }
    }

    /// Zero while nothing is under way.
    pub(super) fn oldest_age(&self, now: Instant) -> Duration {
        let oldest = self.lock().since.values().min().copied();
        oldest.map_or(Duration::ZERO, |oldest| now.saturating_duration_since(oldest))
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.of.lock().since.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches the age of the newest batch, and one that stays after its batch.
    #[test]
    fn the_oldest_batch_counts_until_it_is_done() {
        let (batches, began) = (UnderWay::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(batches.oldest_age(at(5)), Duration::ZERO);
        let newer = batches.hold(at(2));
        let older = batches.hold(at(1));
        assert_eq!(batches.oldest_age(at(5)), Duration::from_secs(4));
        drop(older);
        assert_eq!(batches.oldest_age(at(5)), Duration::from_secs(3));
        drop(newer);
        assert_eq!(batches.oldest_age(at(5)), Duration::ZERO);
    }
}
