//! Who may come in when. What is refused or has to wait here has cost an accept and no more: nothing is read from it.
//!
//! Rates make connections wait for their turn, because many devices may stand behind one address. Only counts, and a wait that
//! would be too long, close them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::mqtt::MqttConfig;

use super::metrics::BrokerMetrics;
use super::rate::{Bucket, Pace};

/// A handshake that takes long looks this often whether others wait for its place.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Why a connection is closed before anything is read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnedAway {
    /// It would have to wait too long, because of connections of all addresses.
    Rate,
    /// As above, because of those of its address.
    AddressRate,
    TooManyWaiting,
    TooManyOfAddress,
    /// No place for its handshake became free in time.
    NoPlace,
}

impl TurnedAway {
    /// Value of the metric label `result`.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::AddressRate => "address_rate",
            Self::TooManyWaiting => "too_many_waiting",
            Self::TooManyOfAddress => "too_many_of_address",
            Self::NoPlace => "no_handshake_place",
        }
    }
}

#[derive(Clone, Copy)]
struct Limits {
    rate: Option<Pace>,
    address_rate: Option<Pace>,
    offences: Option<Pace>,
    offence_delay_max: Duration,
    max_wait: Duration,
    max_waiting: usize,
    max_of_address: usize,
    max_handshakes: usize,
    max_handshakes_of_address: usize,
    checks_of_address: usize,
    max_addresses: usize,
    timeout: Duration,
    crowded_timeout: Duration,
}

/// Everybody on the way in.
pub(super) struct Admission {
    limits: Limits,
    inner: Mutex<Inner>,
    /// Places for handshakes.
    places: Arc<Semaphore>,
    /// Connections that wait for one of `places`.
    crowd: AtomicUsize,
    waiting: AtomicUsize,
    metrics: Arc<BrokerMetrics>,
}

#[derive(Default)]
struct Inner {
    all: Bucket,
    addresses: HashMap<IpAddr, Address>,
}

#[derive(Default)]
struct Address {
    connections: usize,
    arrivals: Bucket,
    offences: Bucket,
    /// `None` while it has no connection.
    shared: Option<Arc<Shared>>,
}

/// What the connections of one address share.
struct Shared {
    places: Arc<Semaphore>,
    crowd: AtomicUsize,
    checks: Semaphore,
}

impl Shared {
    fn new(limits: &Limits) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limits.max_handshakes_of_address)),
            crowd: AtomicUsize::new(0),
            checks: Semaphore::new(limits.checks_of_address),
        }
    }
}

impl Address {
    /// Nothing would be different without it.
    fn is_at_rest(&self, now: Instant) -> bool {
        self.connections == 0 && self.arrivals.is_full(now) && self.offences.is_full(now)
    }
}

/// Whom an address stands for: a host gets a whole /64 of IPv6.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

impl Admission {
    pub(super) fn new(config: &MqttConfig, metrics: Arc<BrokerMetrics>) -> Self {
        let admission = &config.admission;
        let offence_delay = Duration::from_millis(admission.offence_delay_milliseconds);
        let limits = Limits {
            rate: Pace::per_second(admission.connections_per_second, admission.connection_burst),
            address_rate: Pace::per_second(
                admission.connections_per_second_per_address,
                admission.connection_burst_per_address,
            ),
            offences: (!offence_delay.is_zero())
                .then(|| Pace::every(offence_delay, admission.offences_tolerated_per_address)),
            offence_delay_max: Duration::from_secs(admission.offence_delay_max_seconds),
            max_wait: Duration::from_secs(admission.max_wait_seconds),
            max_waiting: admission.max_waiting_connections,
            max_of_address: match admission.max_connections_per_address {
                0 => usize::MAX,
                limit => limit,
            },
            max_handshakes: admission.max_handshakes,
            max_handshakes_of_address: admission.max_handshakes_per_address,
            checks_of_address: config.password_checks_at_once,
            max_addresses: admission.max_addresses,
            timeout: Duration::from_secs(config.connect_timeout_seconds),
            crowded_timeout: Duration::from_secs(admission.crowded_connect_timeout_seconds),
        };
        Self {
            inner: Mutex::default(),
            places: Arc::new(Semaphore::new(limits.max_handshakes)),
            crowd: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            limits,
            metrics,
        }
    }

    /// A connection has come from `address`.
    pub(super) fn arrive(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Arrival, TurnedAway> {
        let (limits, address) = (&self.limits, source(address));
        let mut inner = self.lock();
        let known = inner.addresses.len() < limits.max_addresses || inner.addresses.contains_key(&address);
        let Inner { all, addresses, .. } = &mut *inner;
        let of_address = known.then(|| addresses.entry(address).or_default());
        let wait_of = |pace: Option<Pace>, bucket: &Bucket| {
            pace.map_or(Duration::ZERO, |pace| bucket.wait_for_one(pace, now))
        };
        let mut wait = wait_of(limits.rate, all);
        if wait > limits.max_wait {
            return Err(TurnedAway::Rate);
        }
        if let Some(of_address) = &of_address {
            if of_address.connections >= limits.max_of_address {
                return Err(TurnedAway::TooManyOfAddress);
            }
            let own = wait_of(limits.address_rate, &of_address.arrivals);
            let delay = limits.offences.map_or(Duration::ZERO, |pace| of_address.offences.wait(pace, now));
            wait = wait.max(own + delay);
            if wait > limits.max_wait {
                return Err(TurnedAway::AddressRate);
            }
        }
        if !wait.is_zero() && !self.may_wait() {
            return Err(TurnedAway::TooManyWaiting);
        }
        // Who is turned away has not taken anything from those that come after it.
        if let Some(pace) = limits.rate {
            all.take(pace, 1, limits.max_wait, now);
        }
        let shared = of_address.map(|of_address| {
            of_address.connections += 1;
            if let Some(pace) = limits.address_rate {
                of_address.arrivals.take(pace, 1, limits.max_wait, now);
            }
            of_address.shared.get_or_insert_with(|| Arc::new(Shared::new(limits))).clone()
        });
        let held = Held { of: self.clone(), address: shared.is_some().then_some(address), shared };
        let waiting = (!wait.is_zero()).then(|| Waiting::new(self));
        Ok(Arrival { held, arrived: now, turn: now + wait, waiting })
    }

    /// Forgets addresses at rest.
    pub(super) fn tidy(&self, now: Instant) {
        let mut inner = self.lock();
        inner.addresses.retain(|_, address| !address.is_at_rest(now));
        if inner.addresses.len() * 4 < inner.addresses.capacity() {
            inner.addresses.shrink_to_fit();
        }
    }

    fn may_wait(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < self.limits.max_waiting
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Numbers only; the worst that a panic can leave is a count that is off by one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn addresses(&self) -> usize {
        self.lock().addresses.len()
    }

    #[cfg(test)]
    pub(super) fn connections_of(&self, address: IpAddr) -> usize {
        self.lock().addresses.get(&address).map_or(0, |address| address.connections)
    }
}

/// Counts a connection that waits for its turn.
struct Waiting(Arc<Admission>);

impl Waiting {
    fn new(admission: &Arc<Admission>) -> Self {
        admission.waiting.fetch_add(1, Ordering::Relaxed);
        admission.metrics.waiting_connections.inc();
        Self(admission.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.waiting_connections.dec();
    }
}

/// Counts those who wait for a place, while they do.
struct Crowd<'c>(&'c AtomicUsize);

impl<'c> Crowd<'c> {
    fn new(crowd: &'c AtomicUsize) -> Self {
        crowd.fetch_add(1, Ordering::Relaxed);
        Self(crowd)
    }
}

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that was not turned away. Its turn may be now, or later.
pub(super) struct Arrival {
    held: Held,
    arrived: Instant,
    turn: Instant,
    waiting: Option<Waiting>,
}

impl Arrival {
    #[cfg(test)]
    pub(super) fn waits(&self, now: Instant) -> Duration {
        self.turn.saturating_duration_since(now)
    }

    /// Waits for its turn and for a place to do its handshakes in.
    pub(super) async fn turn(mut self) -> Result<Place, TurnedAway> {
        if self.waiting.is_some() {
            tokio::time::sleep_until(self.turn.into()).await;
        }
        let admission = self.held.of.clone();
        let patience = self.arrived + admission.limits.max_wait;
        let mut permits = [None, None];
        let shared = self.held.shared.clone();
        let of_address = shared.as_ref().map(|shared| (&shared.places, &shared.crowd));
        let of_all = Some((&admission.places, &admission.crowd));
        for (permit, places) in permits.iter_mut().zip([of_address, of_all]) {
            let Some((places, crowd)) = places else { continue };
            *permit = places.clone().try_acquire_owned().ok();
            if permit.is_some() {
                continue;
            }
            if self.waiting.is_none() {
                if !admission.may_wait() {
                    return Err(TurnedAway::TooManyWaiting);
                }
                self.waiting = Some(Waiting::new(&admission));
            }
            let _crowd = Crowd::new(crowd);
            let acquired = tokio::time::timeout_at(patience.into(), places.clone().acquire_owned()).await;
            // The semaphores are never closed.
            *permit = Some(acquired.map_err(|_| TurnedAway::NoPlace)?.map_err(|_| TurnedAway::NoPlace)?);
        }
        Ok(Place { held: self.held, since: Instant::now(), _permits: permits })
    }
}

/// A connection's place among those of its address, for as long as it lasts.
pub(super) struct Held {
    of: Arc<Admission>,
    /// `None`: there was no room to tell it from others.
    address: Option<IpAddr>,
    shared: Option<Arc<Shared>>,
}

impl Held {
    /// The client did what nobody does by accident often.
    pub(super) fn offend(&self, now: Instant) {
        let (Some(address), Some(pace)) = (self.address, self.of.limits.offences) else { return };
        if let Some(of_address) = self.of.lock().addresses.get_mut(&address) {
            of_address.offences.take(pace, 1, self.of.limits.offence_delay_max, now);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut inner = self.of.lock();
        let Some(of_address) = inner.addresses.get_mut(&address) else { return };
        of_address.connections -= 1;
        if of_address.connections == 0 {
            of_address.shared = None;
            if of_address.is_at_rest(Instant::now()) {
                inner.addresses.remove(&address);
            }
        }
    }
}

/// The right to do handshakes and to log in.
pub(super) struct Place {
    pub(super) held: Held,
    /// When the handshakes began.
    since: Instant,
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

impl Place {
    /// They are done.
    pub(super) fn leave(self) -> Held {
        self.held
    }

    /// Waits until the handshakes have lasted too long, which is earlier while others wait for a place.
    pub(super) async fn overdue(&self) {
        let limits = &self.held.of.limits;
        let deadline = self.since + limits.timeout;
        let mut look = self.since + limits.crowded_timeout;
        loop {
            tokio::time::sleep_until(look.min(deadline).into()).await;
            if look >= deadline || self.is_wanted() {
                return;
            }
            look += LOOK_EVERY;
        }
    }

    fn is_wanted(&self) -> bool {
        let own = self.held.shared.as_ref().map_or(0, |shared| shared.crowd.load(Ordering::Relaxed));
        own > 0 || self.held.of.crowd.load(Ordering::Relaxed) > 0
    }

    /// Password checks that this address may have under way or in line at once, so that the line does not grow for others with
    /// the passwords that one address tries.
    pub(super) fn checks(&self) -> Option<&Semaphore> {
        self.held.shared.as_ref().map(|shared| &shared.checks)
    }
}
