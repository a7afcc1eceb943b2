//! Addresses that present keys which nobody has: after a few they have to wait, before the database is asked again.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;

use super::error::ApiError;

/// Addresses that are told apart at once.
const AT_MOST: usize = 20_000;

/// Who guessed too often.
pub(super) struct Strangers {
    /// `None` when guesses are not limited.
    guesses: Option<DefaultKeyedRateLimiter<IpAddr>>,
    waiting: Mutex<HashMap<IpAddr, Instant>>,
}

impl Strangers {
    /// Allows so many unknown keys a minute from each address; 0 for any number.
    pub(super) fn new(per_minute: u32) -> Self {
        let quota = NonZeroU32::new(per_minute).map(Quota::per_minute);
        Self { guesses: quota.map(RateLimiter::keyed), waiting: Mutex::default() }
    }

    /// # Errors
    /// [`ApiError::RateLimited`] while an address that guessed too often has to wait.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), ApiError> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = waiting.get(&network(address)) else { return Ok(()) };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        Err(ApiError::RateLimited { retry_after_seconds: left.as_secs_f64().ceil() as u64 })
    }

    /// Counts an unknown key.
    pub(super) fn guessed(&self, address: IpAddr) {
        let Some(guesses) = &self.guesses else { return };
        let address = network(address);
        if guesses.len() > AT_MOST {
            guesses.retain_recent();
        }
        let Err(until) = guesses.check_key(&address) else { return };
        let now = Instant::now();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= AT_MOST {
            waiting.retain(|_, until| *until > now);
        }
        // So many at once are not one guesser; the database is asked for them again.
        if waiting.len() < AT_MOST {
            waiting.insert(address, now + until.wait_time_from(DefaultClock::default().now()));
        }
    }
}

/// Who has one IPv6 address has the 2^64 of its network.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_guesser_waits_and_nobody_else() {
        let strangers = Strangers::new(3);
        let (guesser, neighbour): (IpAddr, IpAddr) =
            ("2001:db8::1".parse().unwrap(), "2001:db8:0:0:7::9".parse().unwrap());
        for _ in 0..4 {
            assert!(strangers.check(guesser).is_ok());
            strangers.guessed(guesser);
        }
        assert!(matches!(strangers.check(guesser), Err(ApiError::RateLimited { .. })));
        assert!(strangers.check(neighbour).is_err(), "it is of the same network");
        assert!(strangers.check("2001:db8:0:1::1".parse().unwrap()).is_ok());
        assert!(strangers.check("192.0.2.1".parse().unwrap()).is_ok());
    }
}
