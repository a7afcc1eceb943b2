//! What is remembered of accounts between looks, in memory: it spares words and makes periods shorter, but no total depends on
//! it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use tracing::warn;

use super::figures::shown;
use super::reset::LowReads;

/// Lines about accounts that one look may write; what is beyond is counted.
const SAID_AT_ONCE: usize = 100;

/// What is wrong with an account, said once until it is well again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The answer tells no figure of it.
    Missing,
    /// The panel does not answer for it.
    Unanswered,
    /// It stands for no SIM.
    Unknown,
    /// Its value went back.
    Behind,
    /// Its value fell far.
    Doubtful,
    /// Its reading was parked.
    Parked,
}

impl Trouble {
    fn words(self) -> &'static str {
        match self {
            Self::Missing => "no usage of an account is found in the answer; it counts as 0",
            Self::Unanswered => "the panel gives no answer for an account",
            Self::Unknown => "an account stands for no SIM; say which with `simbridge accounts set`",
            Self::Behind => {
                "the value of an account went back; it counts again when it passes what was counted"
            }
            Self::Doubtful => "the value of an account fell far; it counts as a reset if it stays there",
            Self::Parked => "a reading was parked; see `simbridge quarantine list`",
        }
    }
}

/// What is remembered of an account.
#[derive(Debug, Default)]
pub(super) struct AccountNote {
    /// When its value was read and counted last.
    pub(super) counted_at: Option<DateTime<Utc>>,
    pub(super) low: Option<LowReads>,
    trouble: Option<Trouble>,
}

/// What is remembered of all accounts of a panel.
#[derive(Debug, Default)]
pub(super) struct Notes {
    accounts: HashMap<String, AccountNote>,
    /// The account that was read last by a look that was cut short.
    pub(super) reached: Option<String>,
    said: usize,
    unsaid: usize,
}

impl Notes {
    /// A look at these accounts begins; others are forgotten.
    pub(super) fn begin(&mut self, is_meant: impl Fn(&str) -> bool) {
        self.accounts.retain(|account, _| is_meant(account));
        (self.said, self.unsaid) = (0, 0);
    }

    pub(super) fn of(&mut self, account: &str) -> &mut AccountNote {
        if !self.accounts.contains_key(account) {
            self.accounts.insert(account.to_owned(), AccountNote::default());
        }
        self.accounts.get_mut(account).expect("it is there, or was made a line above")
    }

    /// Says what is wrong with an account, unless it was said already. Whether it is news.
    pub(super) fn trouble(&mut self, source: &str, account: &str, trouble: Trouble, detail: &str) -> bool {
        if self.of(account).trouble.replace(trouble) == Some(trouble) {
            return false;
        }
        if self.said == SAID_AT_ONCE {
            self.unsaid += 1;
        } else {
            self.said += 1;
            warn!(source, account = shown(account), detail, "{}", trouble.words());
        }
        true
    }

    /// The account is well.
    pub(super) fn well(&mut self, account: &str) {
        self.of(account).trouble = None;
    }

    /// A look ended.
    pub(super) fn end(&mut self, source: &str) {
        if self.unsaid > 0 {
            warn!(source, accounts = self.unsaid, "more accounts are in trouble");
            self.unsaid = 0;
        }
    }

    /// Accounts in trouble. Those that stand for no SIM are counted by themselves: a list may be full of them.
    pub(super) fn troubled(&self) -> usize {
        let is_trouble =
            |trouble: Option<Trouble>| trouble.is_some_and(|trouble| trouble != Trouble::Unknown);
        self.accounts.values().filter(|note| is_trouble(note.trouble)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches a line for each account with every look, and a trouble that comes back unsaid.
    #[test]
    fn trouble_is_news_once_until_the_account_is_well() {
        let mut notes = Notes::default();
        let mut news = |account: &str, trouble| notes.trouble("hq", account, trouble, "");
        assert!(news("a", Trouble::Missing));
        assert!(!news("a", Trouble::Missing));
        assert!(news("b", Trouble::Missing));
        assert!(news("a", Trouble::Unknown));
        assert_eq!(notes.troubled(), 1, "the unknown one is no trouble");
        notes.well("a");
        assert_eq!(notes.troubled(), 1);
        assert!(notes.trouble("hq", "a", Trouble::Unknown, ""));
        notes.begin(|account| account == "b");
        assert_eq!((notes.troubled(), notes.accounts.len()), (1, 1));
        for n in 0..=SAID_AT_ONCE {
            assert!(notes.trouble("hq", &n.to_string(), Trouble::Missing, ""));
        }
        assert_eq!(notes.unsaid, 1);
    }
}
