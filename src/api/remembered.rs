use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What was right this recently is looked up again, whoever else guesses at its address.
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// Of a kind, at once.
const AT_MOST: usize = 10_000;

/// SHA-256 of a secret.
type Hash = [u8; 32];

/// What stands behind secrets that were right not long ago, and when it was looked up; by their hash, so that how long a look takes
/// says nothing about a secret.
#[derive(Debug)]
pub(super) struct Remembered<T>(Mutex<HashMap<Hash, (T, Instant)>>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Remembered<T> {
    pub(super) fn recall(&self, hash: &Hash) -> Option<(T, Instant)> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(hash).filter(|(_, at)| at.elapsed() < KNOWN_FOR).cloned()
    }

    /// Remembers what was looked up `at` this moment, if there is room.
    pub(super) fn keep(&self, hash: Hash, value: T, at: Instant) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= AT_MOST {
            held.retain(|_, (_, at)| at.elapsed() < KNOWN_FOR);
        }
        if held.len() < AT_MOST || held.contains_key(&hash) {
            held.insert(hash, (value, at));
        }
    }

    pub(super) fn forget(&self, hash: &Hash) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: usize) -> Hash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        hash
    }

    /// Catches what is remembered without bound, and what is old in the place of what is new.
    #[test]
    fn so_much_is_remembered_and_what_is_old_makes_room() {
        let (remembered, now) = (Remembered::default(), Instant::now());
        let Some(long_ago) = now.checked_sub(KNOWN_FOR) else { return };
        let held = || remembered.0.lock().unwrap().len();
        for number in 0..AT_MOST + 10 {
            remembered.keep(hash(number), number, if number < 5 { long_ago } else { now });
        }
        assert_eq!(held(), AT_MOST);
        assert!(remembered.recall(&hash(0)).is_none(), "it was looked up too long ago");
        assert!(remembered.recall(&hash(AT_MOST + 4)).is_some(), "it took the place of an old one");
        assert!(remembered.recall(&hash(AT_MOST + 5)).is_none(), "there was no room");
        // What is held already can be renewed.
        remembered.keep(hash(7), 0, now);
        assert_eq!(remembered.recall(&hash(7)), Some((0, now)));
        assert_eq!(held(), AT_MOST);
        remembered.forget(&hash(7));
        assert_eq!(remembered.recall(&hash(7)), None);
    }
}
