//! Which clients are connected, and the sessions of those that are away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::domain::TenantId;

use super::Hub;
use super::session::Session;
use super::will::Will;

/// A client identifier belongs to its tenant: another tenant's client of that name is another client.
pub(super) type ClientKey = (TenantId, Arc<str>);

/// The right to be the one connection of a client.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) key: ClientKey,
    /// Cancelled when another connection takes over.
    pub(super) taken_over: CancellationToken,
    gone: CancellationToken,
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
    inner: Mutex<Inner>,
    max_parked: usize,
}

impl Registry {
    pub(super) fn new(max_parked: usize) -> Self {
        Self { inner: Mutex::default(), max_parked }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Entries are inserted and removed whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Becomes the client's connection: an older one is told to go and waited for. Returns the session that was left.
    pub(super) async fn claim(&self, key: ClientKey) -> (Ticket, Option<Session>) {
        loop {
            let gone = {
                let mut inner = self.lock();
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
                        };
                        let live = Live { taken_over: ticket.taken_over.clone(), gone: ticket.gone.clone() };
                        inner.live.insert(key.clone(), live);
                        // The client is back: a will that waited is not sent.
                        let session = inner.parked.remove(&key).map(|parked| parked.session);
                        return (ticket, session);
                    }
                }
            };
            gone.cancelled().await;
        }
    }

    /// Gives the ticket back. Returns the session if it ends now, and the will if it is due now.
    pub(super) fn release(&self, ticket: &Ticket, leave: Leave) -> (Option<Session>, Option<Will>) {
        let mut inner = self.lock();
        inner.live.remove(&ticket.key);
        let now = Instant::now();
        let left = match leave.session {
            Some((session, expiry)) if inner.parked.len() < self.max_parked => {
                let will = leave.delayed_will.map(|(will, delay)| (will, now + delay));
                inner.parked.insert(ticket.key.clone(), Parked { session, ends: now + expiry, will });
                (None, None)
            }
            Some((session, _)) => (Some(session), leave.delayed_will.map(|(will, _)| will)),
            None => (None, leave.delayed_will.map(|(will, _)| will)),
        };
        ticket.gone.cancel();
        left
    }

    /// Ends sessions whose time is over and sends wills whose delay is.
    pub(super) fn end_expired(&self, hub: &Arc<Hub>, now: Instant) {
        let mut wills = Vec::new();
        let mut ended = Vec::new();
        {
            let mut inner = self.lock();
            let over: Vec<ClientKey> = inner
                .parked
                .iter_mut()
                .filter_map(|(key, parked)| {
                    let due = parked.ends <= now || parked.will.as_ref().is_some_and(|(_, at)| *at <= now);
                    if due {
                        wills.extend(parked.will.take().map(|(will, _)| will));
                    }
                    (parked.ends <= now).then(|| key.clone())
                })
                .collect();
            ended.extend(over.iter().filter_map(|key| Some((key.0, inner.parked.remove(key)?))));
        }
        for (tenant, parked) in ended {
            parked.session.end(hub, tenant);
        }
        for will in wills {
            let on = hub.clone();
            // Publishing may wait for the router or the queue, and housekeeping must not.
            hub.tasks.spawn(async move { will.publish(&on).await });
        }
    }
}
