//! Requests that came a moment ago: a NAS that hears nothing sends the same packet again (RFC 5080, 2.2.2).

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// What makes two packets one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RequestKey {
    pub(super) from: SocketAddr,
    pub(super) identifier: u8,
    pub(super) authenticator: [u8; 16],
}

/// How a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    New,
    /// It will be answered.
    InFlight,
    /// It was answered like this.
    Answered(Vec<u8>),
}

/// Requests of the last while, with their answers. Beyond the bounds the oldest are forgotten: their repetitions are stored
/// again, which adds nothing, because their counters are known.
pub(super) struct Duplicates {
    max_age: Duration,
    max_requests: usize,
    requests: HashMap<RequestKey, Option<Vec<u8>>>,
    order: VecDeque<(Instant, RequestKey)>,
}

impl Duplicates {
    pub(super) fn new(max_age: Duration, max_requests: usize) -> Self {
        Self { max_age, max_requests, requests: HashMap::new(), order: VecDeque::new() }
    }

    /// Enters a new request.
    pub(super) fn see(&mut self, key: RequestKey, now: Instant) -> Seen {
        self.forget_old(now);
        match self.requests.get(&key) {
            Some(Some(answer)) => return Seen::Answered(answer.clone()),
            Some(None) => return Seen::InFlight,
            None => {}
        }
        self.requests.insert(key, None);
        self.order.push_back((now, key));
        Seen::New
    }

    pub(super) fn answered(&mut self, key: &RequestKey, answer: Vec<u8>) {
        if let Some(entry) = self.requests.get_mut(key) {
            *entry = Some(answer);
        }
    }

    /// It was not taken, so its repetition is a new one.
    pub(super) fn dropped(&mut self, key: &RequestKey) {
        self.requests.remove(key);
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((since, key)) = self.order.front() {
            // Those that wait for the database are kept beyond their age: repetitions need not wait beside them.
            let is_open = self.requests.get(key).is_some_and(Option::is_none);
            let is_old = now.duration_since(*since) > self.max_age && !is_open;
            if !is_old && self.order.len() < self.max_requests {
                break;
            }
            self.requests.remove(key);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(30);

    fn key(identifier: u8, authenticator: u8) -> RequestKey {
        let from = "192.0.2.1:1813".parse().unwrap();
        RequestKey { from, identifier, authenticator: [authenticator; 16] }
    }

    #[test]
    fn a_repetition_is_answered_as_the_first_one_was_until_it_is_old() {
        let (mut seen, start) = (Duplicates::new(AGE, 100), Instant::now());
        assert_eq!(seen.see(key(1, 1), start), Seen::New);
        assert_eq!(seen.see(key(1, 1), start), Seen::InFlight);
        assert_eq!(seen.see(key(1, 2), start), Seen::New, "the identifier is used again");
        seen.answered(&key(1, 1), vec![5]);
        assert_eq!(seen.see(key(1, 1), start + AGE), Seen::Answered(vec![5]));
        let later = start + AGE + Duration::from_secs(1);
        assert_eq!(seen.see(key(1, 1), later), Seen::New);
        assert_eq!(seen.see(key(1, 2), later), Seen::InFlight, "it still waits");
    }

    #[test]
    fn what_was_not_taken_is_new_when_it_comes_again() {
        let (mut seen, now) = (Duplicates::new(AGE, 100), Instant::now());
        assert_eq!(seen.see(key(1, 1), now), Seen::New);
        seen.dropped(&key(1, 1));
        assert_eq!(seen.see(key(1, 1), now), Seen::New);
    }

    #[test]
    fn the_oldest_give_way_whether_answered_or_not() {
        let (mut seen, now) = (Duplicates::new(AGE, 3), Instant::now());
        for n in 0..200 {
            assert_eq!(seen.see(key(n, 0), now), Seen::New);
        }
        assert!(seen.requests.len() <= 3 && seen.order.len() <= 3, "{}", seen.order.len());
        assert_eq!(seen.see(key(199, 0), now), Seen::InFlight);
    }
}
