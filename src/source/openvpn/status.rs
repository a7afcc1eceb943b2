//! What a server says of its clients: versions 1, 2 and 3 of the status format.
//!
//! The server writes its file anew in place, line by line, and cuts off the rest at the end. Who reads meanwhile sees new lines and
//! after them the rest of the old ones, down to their END. So a status that does not add up is [torn](StatusFault::is_torn).

mod columns;
mod local_list;
mod table;

use std::collections::HashSet;
use std::str;

use chrono::{DateTime, Utc};
use thiserror::Error;

use crate::domain::MAX_AMOUNT;
use crate::store::accounts::ACCOUNT_MAX_CHARS;

use super::zone::Zone;

/// What the server writes for a name that it does not have (yet).
const NO_NAME: &str = "UNDEF";
/// The server cuts its lines at 512 bytes.
const LINE_MAX_BYTES: usize = 4_096;

/// By which of its names a client is an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountName {
    /// That of its certificate; the user name where there is none.
    CommonName,
    UserName,
}

impl AccountName {
    /// From the configuration.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "common_name" => Some(Self::CommonName),
            "username" => Some(Self::UserName),
            _ => None,
        }
    }
}

/// How a status is understood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'r> {
    pub(super) account: AccountName,
    /// Of times without one.
    pub(super) zone: &'r Zone,
    pub(super) sessions_max: usize,
}

/// A status as far as it can be used.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// By the server's clock.
    pub(super) taken_at: DateTime<Utc>,
    pub(super) sessions: Vec<Session>,
    /// Clients that cannot be counted, and why the first of them cannot.
    pub(super) refused: u64,
    pub(super) why_refused: Option<String>,
}

/// A connected client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) account: String,
    pub(super) began_at: DateTime<Utc>,
    /// What tells it from the account's other sessions: when it began in seconds since 1970, and where the server gives clients
    /// numbers, `.` and its number.
    pub(super) which: String,
    /// Bytes that the server received, so the client's upload.
    pub(super) received_bytes: i64,
    pub(super) sent_bytes: i64,
}

/// Why a status cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum StatusFault {
    #[error("the status is not whole: {0}")]
    Torn(&'static str),
    #[error("this is not the status of an OpenVPN server; it begins with `{0}`")]
    NotAStatus(String),
    #[error("this is the status of a client or of a tunnel between two; only a server has a list of clients")]
    NotAServer,
    #[error("the list of clients has no column `{0}`")]
    NoColumn(&'static str),
    #[error("the time `{0}` is none that OpenVPN writes")]
    NotATime(String),
    #[error(
        "the file says that it was written at {says} and was at {written}: set time_zone to the server's"
    )]
    OtherZone { says: DateTime<Utc>, written: DateTime<Utc> },
    #[error("more than {0} clients; raise sessions_max")]
    TooManySessions(usize),
    #[error("version 1 of the status has no user names; use `status-version 3`")]
    NoUserNames,
}

impl StatusFault {
    /// It was read while it was written; soon it is whole.
    pub(super) fn is_torn(&self) -> bool {
        matches!(self, Self::Torn(_))
    }
}

/// Reads a whole status; `written_at` is when its file was changed, if it is one.
pub(super) fn parse(
    bytes: &[u8],
    rules: Rules<'_>,
    written_at: Option<DateTime<Utc>>,
) -> Result<Status, StatusFault> {
    let text = bytes.strip_suffix(b"\n").ok_or(StatusFault::Torn("it does not end with a line"))?;
    let mut lines: Vec<&[u8]> =
        text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    if lines.pop() != Some(b"END") {
        return Err(StatusFault::Torn("it does not end with END"));
    }
    if lines.contains(&&b"END"[..]) {
        return Err(StatusFault::Torn("END stands within it"));
    }
    let first = lines.first().copied().unwrap_or_default();
    if first == b"OpenVPN CLIENT LIST" {
        local_list::parse(&lines, rules, written_at)
    } else if first.starts_with(b"TITLE,") {
        table::parse(&lines, ',', rules)
    } else if first.starts_with(b"TITLE\t") {
        table::parse(&lines, '\t', rules)
    } else if first == b"OpenVPN STATISTICS" {
        Err(StatusFault::NotAServer)
    } else {
        Err(StatusFault::NotAStatus(excerpt(first)))
    }
}

/// What is gathered of a status, client by client.
struct Gathered<'r> {
    rules: Rules<'r>,
    status: Status,
}

impl<'r> Gathered<'r> {
    fn new(rules: Rules<'r>, taken_at: DateTime<Utc>) -> Self {
        Self { rules, status: Status { taken_at, ..Status::default() } }
    }

    fn refuse(&mut self, why: impl Into<String>) {
        self.status.refused += 1;
        self.status.why_refused.get_or_insert_with(|| why.into());
    }

    /// A line of the list as text; those that cannot be are refused.
    fn text<'l>(&mut self, line: &'l [u8]) -> Option<&'l str> {
        let text = str::from_utf8(line).ok().filter(|_| line.len() <= LINE_MAX_BYTES);
        if text.is_none() {
            self.refuse(format!("`{}` is no text in UTF-8, or too long", excerpt(line)));
        }
        text
    }

    /// A client by its names; one without any has not said who it is, and is looked at again when it has.
    fn add(
        &mut self,
        [common_name, user_name]: [&str; 2],
        session: impl FnOnce(String) -> Session,
    ) -> Result<(), StatusFault> {
        let known = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty() && name != NO_NAME);
        let account = match self.rules.account {
            AccountName::CommonName => known(common_name).or_else(|| known(user_name)),
            AccountName::UserName => known(user_name),
        };
        let Some(account) = account else { return Ok(()) };
        if account.contains(char::is_control) || account.chars().count() > ACCOUNT_MAX_CHARS {
            let name = excerpt(account.as_bytes());
            self.refuse(format!("the name `{name}` holds control characters, or is too long"));
            return Ok(());
        }
        if self.status.sessions.len() == self.rules.sessions_max {
            return Err(StatusFault::TooManySessions(self.rules.sessions_max));
        }
        let session = session(account);
        if session.received_bytes.saturating_add(session.sent_bytes) > MAX_AMOUNT {
            let name = excerpt(session.account.as_bytes());
            self.refuse(format!("the session of `{name}` has counted more than 2^45 bytes"));
            return Ok(());
        }
        self.status.sessions.push(session);
        Ok(())
    }

    /// Clients that nothing tells apart are refused. The same number twice is one client, read again while the file was written.
    fn finish(mut self) -> Result<Status, StatusFault> {
        let (mut seen, mut twice) = (HashSet::new(), HashSet::new());
        for session in &self.status.sessions {
            let key = (session.account.as_str(), session.which.as_str());
            if !seen.insert(key) {
                twice.insert((session.account.clone(), session.which.clone()));
            }
        }
        if twice.is_empty() {
            return Ok(self.status);
        }
        if twice.iter().any(|(_, which)| which.contains('.')) {
            return Err(StatusFault::Torn("a client stands in it twice"));
        }
        let sessions = std::mem::take(&mut self.status.sessions);
        let (alike, told_apart): (Vec<_>, Vec<_>) = sessions
            .into_iter()
            .partition(|session| twice.contains(&(session.account.clone(), session.which.clone())));
        self.status.sessions = told_apart;
        for session in alike {
            let name = excerpt(session.account.as_bytes());
            self.refuse(format!(
                "`{name}` connected twice in one second, and nothing tells the two apart; use `status-version 3`"
            ));
        }
        Ok(self.status)
    }
}

fn bytes_of(text: &str) -> Option<i64> {
    // `parse` would take a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn seconds_of(text: &str) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(bytes_of(text)?, 0)
}

/// For messages: bounded, without what a terminal would obey.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]);
    text.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
