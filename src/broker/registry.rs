//! Which clients are connected, and the sessions of those that are away.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::domain::TenantId;

use super::session::Session;
use super::will::Will;

/// A client identifier belongs to its tenant: another tenant's client of that name is another client.
pub(super) type ClientKey = (TenantId, Arc<str>);

/// The right to be the one connection of a client, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    key: ClientKey,
    /// Cancelled when another connection takes over.
    pub(super) taken_over: CancellationToken,
    gone: CancellationToken,
    inner: Shared,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Whoever waits to take over goes on even when the connection's task panicked.
        lock(&self.inner).live.remove(&self.key);
        self.gone.cancel();
    }
}

type Shared = Arc<Mutex<Inner>>;

fn lock(inner: &Shared) -> MutexGuard<'_, Inner> {
    // Entries are inserted and removed whole.
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Live {
    taken_over: CancellationToken,
    gone: CancellationToken,
}

struct Parked {
    session: Session,
    ends: Instant,
    /// A will that waits for its delay; it goes with the session's end at the latest.
    will: Option<(Will, Instant)>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

/// What a client left when it went away.
pub(super) struct Left {
    pub(super) session: Session,
    /// A will that waits for its delay. It is not sent when the session goes on.
    pub(super) will: Option<Will>,
}

/// What housekeeping has ended.
#[derive(Default)]
pub(super) struct Expired {
    pub(super) wills: Vec<Will>,
    pub(super) sessions: Vec<Session>,
}

#[derive(Default)]
struct Inner {
    live: HashMap<ClientKey, Live>,
    parked: HashMap<ClientKey, Parked>,
}

/// What becomes of a session when its connection ends.
pub(super) struct Leave {
    /// The session outlives the connection by so long; `None` ends it.
    pub(super) session: Option<(Session, Duration)>,
    pub(super) delayed_will: Option<(Will, Duration)>,
}

pub(super) struct Registry {
    inner: Shared,
    max_parked: usize,
}

impl Registry {
    pub(super) fn new(max_parked: usize) -> Self {
        Self { inner: Shared::default(), max_parked }
    }

    /// Connections, and sessions without one.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let inner = lock(&self.inner);
        (inner.live.len(), inner.parked.len())
    }

    /// Becomes the client's connection: an older one is told to go and waited for. Returns what was left.
    pub(super) async fn claim(&self, key: ClientKey) -> (Ticket, Option<Left>) {
        loop {
            let gone = {
                let mut inner = lock(&self.inner);
                match inner.live.get(&key) {
                    Some(live) => {
                        live.taken_over.cancel();
                        live.gone.clone()
                    }
                    None => {
                        let ticket = Ticket {
                            key: key.clone(),
                            taken_over: CancellationToken::new(),
                            gone: CancellationToken::new(),
                            inner: self.inner.clone(),
                        };
                        let live = Live { taken_over: ticket.taken_over.clone(), gone: ticket.gone.clone() };
                        inner.live.insert(key.clone(), live);
                        let left = inner.parked.remove(&key).map(|Parked { session, will, .. }| Left {
                            session,
                            will: will.map(|(will, _)| will),
                        });
                        return (ticket, left);
                    }
                }
            };
            gone.cancelled().await;
        }
    }

    /// Gives the ticket back. Returns the will if it is due now.
    pub(super) fn release(&self, ticket: Ticket, leave: Leave) -> Option<Will> {
        let now = Instant::now();
        let mut inner = lock(&self.inner);
        let ended = match leave.session {
            Some((session, expiry)) if inner.parked.len() < self.max_parked => {
                let will = leave.delayed_will.map(|(will, delay)| (will, now + delay));
                inner.parked.insert(ticket.key.clone(), Parked { session, ends: now + expiry, will });
                return None;
            }
            session => session,
        };
        drop(inner);
        // The session ends before the client can come back.
        drop(ended);
        leave.delayed_will.map(|(will, _)| will)
    }

    /// Takes out sessions whose time is over and wills whose delay is.
    pub(super) fn take_expired(&self, now: Instant) -> Expired {
        let mut expired = Expired::default();
        let mut inner = lock(&self.inner);
        let over = inner.parked.extract_if(|_, parked| {
            let over = parked.ends <= now;
            if over || parked.will.as_ref().is_some_and(|(_, at)| *at <= now) {
                expired.wills.extend(parked.will.take().map(|(will, _)| will));
            }
            over
        });
        expired.sessions.extend(over.map(|(_, parked)| parked.session));
        drop(inner);
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ticket_that_is_lost_does_not_lock_its_client_out() {
        let registry = Registry::new(1);
        let key: ClientKey = (TenantId(1), "d".into());
        let (ticket, _) = registry.claim(key.clone()).await;
        let crashed = std::thread::spawn(move || {
            let _lost = ticket;
            panic!("the connection's task");
        });
        assert!(crashed.join().is_err());
        assert!(registry.claim(key).await.1.is_none());
    }
}
