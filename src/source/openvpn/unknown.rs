//! Sessions whose account stands for no SIM: parked when they are met and when they have ended, not with each look.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};

use crate::source::readings::Reading;

/// Accounts that are mentioned in the log, each once: more of them say nothing new, and memory is bounded.
const MENTIONED_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct UnknownSessions {
    sessions: HashMap<String, Unknown>,
    mentioned: HashSet<String>,
}

struct Unknown {
    newest: Reading,
    /// When the reading that was parked last was taken.
    parked: Option<DateTime<Utc>>,
}

impl UnknownSessions {
    /// True when the account is to be mentioned.
    pub(super) fn met(&mut self, reading: &Reading) -> bool {
        let parked = self.sessions.get(&reading.session_id).and_then(|unknown| unknown.parked);
        let unknown = Unknown { newest: reading.clone(), parked };
        self.sessions.insert(reading.session_id.clone(), unknown);
        self.mentioned.len() < MENTIONED_MAX && self.mentioned.insert(reading.account.clone())
    }

    /// The account stands for a SIM now.
    pub(super) fn known(&mut self, reading: &Reading) {
        if self.sessions.remove(&reading.session_id).is_some() {
            self.mentioned.remove(&reading.account);
        }
    }

    /// What is to be parked: the first reading of each session, and the last one of those that have ended.
    pub(super) fn due(&self, live: &HashSet<String>) -> Vec<Reading> {
        let due = self.sessions.iter().filter(|(id, unknown)| match unknown.parked {
            None => true,
            Some(parked) => !live.contains(*id) && unknown.newest.taken_at > parked,
        });
        due.map(|(_, unknown)| Reading { before: unknown.parked, ..unknown.newest.clone() }).collect()
    }

    /// What was due is parked; sessions that have ended are forgotten.
    pub(super) fn parked(&mut self, due: &[Reading], live: &HashSet<String>) {
        for reading in due {
            if let Some(unknown) = self.sessions.get_mut(&reading.session_id) {
                unknown.parked = Some(reading.taken_at);
            }
        }
        self.sessions.retain(|id, _| live.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(account: &str, taken: i64) -> Reading {
        let at = |second| DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap();
        Reading {
            account: account.into(),
            session_id: format!("hq:{account}:1"),
            upload_bytes: taken,
            download_bytes: 0,
            began_at: at(0),
            before: Some(at(taken - 1)),
            taken_at: at(taken),
            mccmnc: None,
            from: None,
        }
    }

    fn live(accounts: &[&str]) -> HashSet<String> {
        accounts.iter().map(|account| format!("hq:{account}:1")).collect()
    }

    /// What is due as taken second and second from which it counts; it is parked then.
    fn park(unknown: &mut UnknownSessions, live: &HashSet<String>) -> Vec<(i64, Option<i64>)> {
        let due = unknown.due(live);
        unknown.parked(&due, live);
        let second = |at: DateTime<Utc>| at.timestamp() - 1_800_000_000;
        due.iter().map(|reading| (second(reading.taken_at), reading.before.map(second))).collect()
    }

    #[test]
    fn a_session_is_parked_when_it_is_met_and_when_it_has_ended() {
        let (mut unknown, alice) = (UnknownSessions::default(), live(&["alice"]));
        assert!(unknown.met(&reading("alice", 60)));
        assert_eq!(park(&mut unknown, &alice), [(60, None)]);
        for taken in [120, 180] {
            assert!(!unknown.met(&reading("alice", taken)), "mentioned already");
            assert_eq!(park(&mut unknown, &alice), []);
        }
        assert_eq!(park(&mut unknown, &live(&[])), [(180, Some(60))]);
        assert_eq!(park(&mut unknown, &live(&[])), [], "it is forgotten");
    }

    #[test]
    fn a_session_that_ends_as_it_was_met_is_parked_once() {
        let mut unknown = UnknownSessions::default();
        unknown.met(&reading("alice", 60));
        assert_eq!(park(&mut unknown, &live(&[])), [(60, None)]);
        assert_eq!(park(&mut unknown, &live(&[])), []);
    }

    #[test]
    fn an_account_that_is_known_now_is_not_parked_and_would_be_mentioned_again() {
        let (mut unknown, alice) = (UnknownSessions::default(), live(&["alice"]));
        unknown.met(&reading("alice", 60));
        park(&mut unknown, &alice);
        unknown.known(&reading("alice", 120));
        assert_eq!(park(&mut unknown, &live(&[])), []);
        assert!(unknown.met(&reading("alice", 180)));
    }

    #[test]
    fn no_more_accounts_are_remembered_than_is_useful() {
        let mut unknown = UnknownSessions::default();
        let mentioned = (0..MENTIONED_MAX + 5).filter(|n| unknown.met(&reading(&n.to_string(), 1))).count();
        assert_eq!(mentioned, MENTIONED_MAX);
    }
}
