//! Readings between the look at a server and their commit: the newest of each session.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::source::readings::Reading;

/// While the database is away looks go on, so that a session that ends meanwhile is not lost.
pub(super) struct Undelivered {
    held: Mutex<Held>,
    changed: Notify,
    most: usize,
}

#[derive(Default)]
struct Held {
    readings: HashMap<String, Reading>,
    /// Sessions of the newest look.
    live: HashSet<String>,
    oldest: Option<Instant>,
    looked: bool,
    closed: bool,
}

/// What waits for delivery.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) readings: Vec<Reading>,
    pub(super) live: HashSet<String>,
    pub(super) oldest: Option<Instant>,
}

impl Undelivered {
    /// Of at most `most` readings, beside those of the sessions of one look.
    pub(super) fn new(most: usize) -> Self {
        Self { held: Mutex::default(), changed: Notify::new(), most }
    }

    /// A whole look. Returns how many readings of ended sessions had to give way, the oldest first.
    pub(super) fn look(&self, readings: Vec<Reading>) -> usize {
        let mut held = self.lock();
        held.live = readings.iter().map(|reading| reading.session_id.clone()).collect();
        held.looked = true;
        held.add(readings, Instant::now());
        let given_up = held.bound(self.most);
        drop(held);
        self.changed.notify_one();
        given_up
    }

    /// What could not be delivered; newer readings of the same sessions stand.
    pub(super) fn give_back(&self, batch: Batch) {
        let mut held = self.lock();
        let newer: Vec<Reading> = held.readings.drain().map(|(_, reading)| reading).collect();
        let (now, since) = (Instant::now(), held.oldest);
        held.add(batch.readings, now);
        held.add(newer, now);
        held.oldest = batch.oldest.or(since);
        held.looked = true;
        held.bound(self.most);
        drop(held);
        self.changed.notify_one();
    }

    /// Waits for a look. `None` after [`close`](Self::close), when all was taken.
    pub(super) async fn take(&self) -> Option<Batch> {
        loop {
            {
                let mut held = self.lock();
                if std::mem::take(&mut held.looked) {
                    let readings = held.readings.drain().map(|(_, reading)| reading).collect();
                    return Some(Batch { readings, live: held.live.clone(), oldest: held.oldest.take() });
                }
                if held.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// There will be no further look.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn add(&mut self, readings: Vec<Reading>, now: Instant) {
        if !readings.is_empty() {
            self.oldest.get_or_insert(now);
        }
        for mut reading in readings {
            match self.readings.get(&reading.session_id) {
                // The server's clock was set back; the pipeline, too, takes what is later by that clock.
                Some(held) if held.taken_at > reading.taken_at => continue,
                // What was used since the look before it is not delivered yet.
                Some(held) => reading.before = held.before,
                None => {}
            }
            self.readings.insert(reading.session_id.clone(), reading);
        }
    }

    /// The next look brings the sessions that go on again, so what ended goes last.
    fn bound(&mut self, most: usize) -> usize {
        let Some(excess @ 1..) = self.readings.len().checked_sub(most.max(self.live.len())) else { return 0 };
        let ended = self.readings.values().filter(|reading| !self.live.contains(&reading.session_id));
        let mut ended: Vec<_> = ended.map(|reading| (reading.taken_at, reading.session_id.clone())).collect();
        ended.sort_unstable();
        ended.truncate(excess);
        for (_, session) in &ended {
            self.readings.remove(session);
        }
        ended.len()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn reading(session: &str, before: Option<i64>, taken: i64, bytes: i64) -> Reading {
        let at = |second| DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap();
        Reading {
            account: "alice".into(),
            session_id: session.into(),
            upload_bytes: bytes,
            download_bytes: 0,
            began_at: at(0),
            before: before.map(at),
            taken_at: at(taken),
            mccmnc: None,
            from: None,
        }
    }

    async fn taken(undelivered: &Undelivered) -> Vec<(String, Option<i64>, i64)> {
        let batch = undelivered.take().await.expect("a look");
        let second = |at: chrono::DateTime<chrono::Utc>| at.timestamp() - 1_800_000_000;
        let mut told: Vec<_> = batch
            .readings
            .into_iter()
            .map(|reading| (reading.session_id, reading.before.map(second), reading.upload_bytes))
            .collect();
        told.sort();
        told
    }

    #[tokio::test]
    async fn of_looks_that_were_not_delivered_the_newest_reading_stands_for_all_of_the_time() {
        let undelivered = Undelivered::new(10);
        undelivered.look(vec![reading("a", Some(0), 60, 1), reading("ended", None, 60, 7)]);
        let batch = undelivered.take().await.expect("a look");
        undelivered.look(vec![reading("a", Some(60), 120, 2)]);
        undelivered.give_back(batch);
        undelivered.look(vec![reading("a", Some(120), 180, 3)]);
        assert_eq!(taken(&undelivered).await, [("a".into(), Some(0), 3), ("ended".into(), None, 7)]);
    }

    #[tokio::test]
    async fn a_clock_that_was_set_back_does_not_replace_what_is_later_by_it() {
        let undelivered = Undelivered::new(10);
        undelivered.look(vec![reading("a", None, 120, 5)]);
        undelivered.look(vec![reading("a", None, 60, 6)]);
        assert_eq!(taken(&undelivered).await, [("a".into(), None, 5)]);
    }

    /// Catches memory that grows as long as the database is away, and sessions that go on being given up instead of ended ones.
    #[tokio::test]
    async fn when_too_much_waits_the_oldest_of_the_ended_sessions_are_given_up() {
        let undelivered = Undelivered::new(2);
        assert_eq!(undelivered.look(vec![reading("a", None, 1, 1), reading("b", None, 1, 1)]), 0);
        assert_eq!(undelivered.look(vec![reading("a", None, 2, 2), reading("c", None, 2, 2)]), 1);
        assert_eq!(undelivered.look(vec![reading("c", None, 3, 3), reading("d", None, 3, 3)]), 1);
        assert_eq!(taken(&undelivered).await, [("c".into(), None, 3), ("d".into(), None, 3)]);
        let many = (0..5).map(|n| reading(&n.to_string(), None, 4, 4)).collect();
        assert_eq!(undelivered.look(many), 0, "one look is never cut");
    }

    #[tokio::test]
    async fn the_end_comes_after_what_was_looked_at() {
        let undelivered = Undelivered::new(2);
        undelivered.look(Vec::new());
        undelivered.close();
        assert!(undelivered.take().await.expect("an empty look is one").readings.is_empty());
        assert!(undelivered.take().await.is_none());
    }
}
