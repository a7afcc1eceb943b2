//! Which clients are connected, and the sessions of those that are away.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::domain::TenantId;

use super::acl::{Login, Principal};
use super::ending::Ending;
use super::session::Session;
use super::will::Will;

/// A client identifier belongs to its tenant: another tenant's client of that name is another client.
pub(super) type ClientKey = (TenantId, Arc<str>);

/// The right to be the one connection of a client, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    key: ClientKey,
    dismissed: Arc<Dismissed>,
    gone: CancellationToken,
    inner: Shared,
}

/// Why a connection has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dismissal {
    /// Another connection uses the client identifier.
    TakenOver,
    /// What is stored of the login changed; it may connect again.
    LoginChanged,
    /// The login was revoked or deleted.
    LoginRevoked,
}

#[derive(Debug, Default)]
struct Dismissed {
    now: CancellationToken,
    why: OnceLock<Dismissal>,
}

impl Dismissed {
    /// Only the first one counts.
    fn dismiss(&self, why: Dismissal) {
        self.why.get_or_init(|| why);
        self.now.cancel();
    }
}

impl Ticket {
    /// Waits until the connection has to go. Cancel-safe.
    pub(super) async fn dismissed(&self) -> Ending {
        self.dismissed.now.cancelled().await;
        match self.dismissed.why.get() {
            Some(Dismissal::LoginChanged) => Ending::LoginChanged,
            Some(Dismissal::LoginRevoked) => Ending::LoginRevoked,
            Some(Dismissal::TakenOver) | None => Ending::TakenOver,
        }
    }
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
    dismissed: Arc<Dismissed>,
    gone: CancellationToken,
    login: Login,
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
    /// Number of times that the logins of all connections were compared with what is stored.
    checks: u64,
    /// Somebody connected with a login that was read before the last comparison began and was not in it.
    unchecked: bool,
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

    /// To be noted before a login is read; see [`claim`](Self::claim).
    pub(super) fn checks(&self) -> u64 {
        lock(&self.inner).checks
    }

    /// Becomes the client's connection: an older one is told to go and waited for. Returns what was left. `checks` is from
    /// before the login was read: a change of it that was looked for since then may have been missed.
    pub(super) async fn claim(&self, key: ClientKey, login: &Login, checks: u64) -> (Ticket, Option<Left>) {
        loop {
            let gone = {
                let mut inner = lock(&self.inner);
                match inner.live.get(&key) {
                    Some(live) => {
                        live.dismissed.dismiss(Dismissal::TakenOver);
                        live.gone.clone()
                    }
                    None => {
                        let ticket = Ticket {
                            key: key.clone(),
                            dismissed: Arc::default(),
                            gone: CancellationToken::new(),
                            inner: self.inner.clone(),
                        };
                        let live = Live {
                            dismissed: ticket.dismissed.clone(),
                            gone: ticket.gone.clone(),
                            login: login.clone(),
                        };
                        inner.live.insert(key.clone(), live);
                        inner.unchecked |= inner.checks != checks;
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

    /// Whether somebody of another login is connected as this client. Who knows identifiers could otherwise end the
    /// connections of everybody else of its tenant.
    pub(super) fn is_anothers(&self, key: &ClientKey, principal: &Principal) -> bool {
        lock(&self.inner).live.get(key).is_some_and(|live| live.login.principal != *principal)
    }

    pub(super) fn is_connected(&self, key: &ClientKey) -> bool {
        lock(&self.inner).live.contains_key(key)
    }

    pub(super) fn has_unchecked(&self) -> bool {
        lock(&self.inner).unchecked
    }

    /// Everybody who is connected and logged in, to be compared with what is stored.
    pub(super) fn begin_check(&self) -> Vec<(ClientKey, Login)> {
        let mut inner = lock(&self.inner);
        inner.checks += 1;
        inner.unchecked = false;
        let logged_in = inner.live.iter().filter(|(_, live)| live.login.principal != Principal::Anonymous);
        logged_in.map(|(key, live)| (key.clone(), live.login.clone())).collect()
    }

    /// Tells a client to go, if it is still connected by this login.
    pub(super) fn dismiss(&self, key: &ClientKey, login: &Login, why: Dismissal) {
        if let Some(live) = lock(&self.inner).live.get(key).filter(|live| live.login == *login) {
            live.dismissed.dismiss(why);
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

    /// Takes over a session whose client is away, with a will and when it is due. False when there are too many.
    pub(super) fn park(
        &self,
        key: ClientKey,
        session: Session,
        ends: Instant,
        will: Option<(Will, Instant)>,
    ) -> bool {
        let mut inner = lock(&self.inner);
        let has_room = inner.parked.len() < self.max_parked;
        if has_room {
            inner.parked.insert(key, Parked { session, ends, will });
        }
        has_room
    }

    /// Takes out sessions whose time is over and wills whose delay is.
    pub(super) fn take_expired(&self, now: Instant) -> Expired {
        let mut expired = Expired::default();
        let mut inner = lock(&self.inner);
        let over = inner.parked.extract_if(|_, parked| {
            let over = parked.ends <= now;
            if let Some((will, _)) = parked.will.take_if(|(_, at)| over || *at <= now) {
                expired.wills.push(will);
                parked.session.note_will_sent();
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
        let (ticket, _) = registry.claim(key.clone(), &Login::default(), 0).await;
        let crashed = std::thread::spawn(move || {
            let _lost = ticket;
            panic!("the connection's task");
        });
        assert!(crashed.join().is_err());
        assert!(registry.claim(key, &Login::default(), 0).await.1.is_none());
    }

    /// Catches a login that is revoked between the moment it is read and the moment it counts as connected.
    #[tokio::test]
    async fn a_login_that_was_read_before_a_check_and_came_after_it_is_checked_again() {
        let registry = Registry::new(1);
        let login = Login { principal: Principal::Key(1), revision: 1 };
        let before = registry.checks();
        assert!(registry.begin_check().is_empty());
        let (early, _) = registry.claim((TenantId(1), "a".into()), &login, before).await;
        assert!(registry.has_unchecked());
        assert_eq!(registry.begin_check().len(), 1);
        let (_late, _) = registry.claim((TenantId(1), "b".into()), &login, registry.checks()).await;
        assert!(!registry.has_unchecked());
        let newer = Login { revision: 2, ..login.clone() };
        registry.dismiss(&(TenantId(1), "a".into()), &newer, Dismissal::LoginRevoked);
        assert!(!early.dismissed.now.is_cancelled(), "it is connected by another login");
        registry.dismiss(&(TenantId(1), "a".into()), &login, Dismissal::LoginRevoked);
        assert!(matches!(early.dismissed().await, Ending::LoginRevoked));
    }
}
