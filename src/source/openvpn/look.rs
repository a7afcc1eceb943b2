//! One look after the other at a server's status.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use thiserror::Error;
use tokio::time::Instant;

use crate::domain::moment::in_seconds;
use crate::source::readings::{Reading, session_id};

use super::file::{FileFault, StatusFile};
use super::management::{self, ManagementAddress, ManagementFault};
use super::status::{self, Rules, Status, StatusFault};
use super::{OpenVpnOptions, StatusFrom};

/// What was read while it was written is read again after so long: writing takes the server some milliseconds.
const TORN_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// So many times in a row; then it is no accident but a fault.
const TORN_TRIES: u32 = 5;
/// After a fault the next look does not wait longer, however long the interval is.
const FAULT_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Why a look brought nothing, or is not what it should be.
#[derive(Debug, Error)]
pub(super) enum LookFault {
    #[error(transparent)]
    File(#[from] FileFault),
    #[error("{address}: {fault}")]
    Management { address: ManagementAddress, fault: ManagementFault },
    #[error("{address}: no status within {} s; the server talks to one program at a time", limit.as_secs())]
    NoAnswer { address: ManagementAddress, limit: Duration },
    #[error(transparent)]
    Status(#[from] StatusFault),
    #[error("the server's clock is {minutes} min ahead; nothing is counted until it is right")]
    Ahead { minutes: i64 },
    #[error("the status is of {}; does OpenVPN run, and write its status? Is its clock right?", in_seconds(*.of))]
    Stale { of: DateTime<Utc> },
}

impl LookFault {
    pub(super) fn is_torn(&self) -> bool {
        match self {
            Self::File(FileFault::BeingWritten(_)) => true,
            Self::Status(fault) => fault.is_torn(),
            _ => false,
        }
    }
}

/// What a look brought.
pub(super) struct Look {
    pub(super) readings: Vec<Reading>,
    pub(super) refused: u64,
    pub(super) why_refused: Option<String>,
    /// It is older than it should be; its readings are true all the same.
    pub(super) stale: Option<LookFault>,
}

enum From<'o> {
    File(StatusFile),
    Management { address: &'o ManagementAddress, password: Option<&'o str> },
}

/// Looks at a server, and remembers the look before.
pub(super) struct Looker<'o> {
    options: &'o OpenVpnOptions,
    source: &'o str,
    from: From<'o>,
    /// When each session was looked at last, by the server's clock.
    last: HashMap<String, DateTime<Utc>>,
    torn: u32,
}

impl<'o> Looker<'o> {
    pub(super) fn new(options: &'o OpenVpnOptions, source: &'o str) -> Self {
        let from = match &options.status {
            StatusFrom::File(path) => {
                From::File(StatusFile::new(path.clone(), options.status_max_bytes, options.timeout))
            }
            StatusFrom::Management { address, password } => {
                From::Management { address, password: password.as_deref() }
            }
        };
        Self { options, source, from, last: HashMap::new(), torn: 0 }
    }

    /// Reads the status of now.
    pub(super) async fn look(&mut self, now: DateTime<Utc>) -> Result<Look, LookFault> {
        let status = self.read().await?;
        self.torn = 0;
        let age = now - status.taken_at;
        let stale_after = TimeDelta::from_std(self.options.stale_after).unwrap_or(TimeDelta::MAX);
        if -age > stale_after {
            // Once stored, it would make everything that is read until then look old.
            return Err(LookFault::Ahead { minutes: -age.num_minutes() });
        }
        let stale = (age > stale_after).then_some(LookFault::Stale { of: status.taken_at });
        let (refused, why_refused) = (status.refused, status.why_refused.clone());
        Ok(Look { readings: self.readings(status), refused, why_refused, stale })
    }

    /// When to look again after a look that began at `began`; and whether a fault is to be told.
    pub(super) fn next(&mut self, began: Instant, fault: Option<&LookFault>) -> (Instant, bool) {
        let regular = began + self.options.interval;
        match fault {
            None => (regular, false),
            Some(fault) if fault.is_torn() && self.torn < TORN_TRIES => {
                self.torn += 1;
                (Instant::now() + TORN_AGAIN_AFTER, false)
            }
            Some(_) => (regular.min(Instant::now() + FAULT_AGAIN_AFTER), true),
        }
    }

    async fn read(&self) -> Result<Status, LookFault> {
        let OpenVpnOptions { account, time_zone, sessions_max, status_max_bytes, timeout, .. } = self.options;
        let rules = Rules { account: *account, zone: time_zone, sessions_max: *sessions_max };
        match &self.from {
            From::File(file) => {
                let contents = file.read().await?;
                Ok(status::parse(&contents.bytes, rules, Some(contents.written_at))?)
            }
            From::Management { address, password } => {
                let asked = management::status(address, *password, *status_max_bytes);
                let address = (*address).clone();
                match tokio::time::timeout(*timeout, asked).await {
                    Ok(Ok(bytes)) => Ok(status::parse(&bytes, rules, None)?),
                    Ok(Err(fault)) => Err(LookFault::Management { address, fault }),
                    Err(_) => Err(LookFault::NoAnswer { address, limit: *timeout }),
                }
            }
        }
    }

    fn readings(&mut self, status: Status) -> Vec<Reading> {
        let taken_at = status.taken_at;
        let mut last = HashMap::with_capacity(status.sessions.len());
        let mut readings = Vec::with_capacity(status.sessions.len());
        for session in status.sessions {
            let session_id = session_id(self.source, &session.account, &session.which);
            let before = self.last.get(&session_id).copied().filter(|before| *before < taken_at);
            last.insert(session_id.clone(), taken_at);
            readings.push(Reading {
                account: session.account,
                session_id,
                // What the server received is what the client sent.
                upload_bytes: session.received_bytes,
                download_bytes: session.sent_bytes,
                began_at: session.began_at,
                before,
                taken_at,
                mccmnc: None,
                from: None,
            });
        }
        self.last = last;
        readings
    }
}
