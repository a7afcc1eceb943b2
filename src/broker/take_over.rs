//! Two clients with one identifier end each other's connection. Each time costs a session that changes hands, so they are slowed.

use std::time::{Duration, Instant};

use crate::config::admission::AdmissionConfig;

use super::rate::{Ledger, Pace};
use super::registry::ClientKey;

/// The newcomer would have to wait too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// How often each client identifier was taken over lately.
pub(super) struct TakeOvers {
    pace: Option<Pace>,
    max_wait: Duration,
    ledger: Ledger<ClientKey, 1>,
}

impl TakeOvers {
    pub(super) fn new(config: &AdmissionConfig) -> Self {
        Self {
            pace: Pace::per_minute(config.take_overs_per_minute, config.take_over_burst),
            max_wait: Duration::from_secs(config.max_wait_seconds),
            ledger: Ledger::new(config.max_addresses),
        }
    }

    /// How long a newcomer has to wait before it takes over.
    pub(super) fn reserve(&self, key: &ClientKey, now: Instant) -> Result<Duration, TooMany> {
        let Some(pace) = self.pace else { return Ok(Duration::ZERO) };
        self.ledger.update(key, now, |[bucket]| {
            let wait = bucket.wait_for_one(pace, now);
            if wait > self.max_wait {
                return Err(TooMany);
            }
            bucket.take(pace, 1, self.max_wait, now);
            Ok(wait)
        })
    }

    pub(super) fn tidy(&self, now: Instant) {
        self.ledger.tidy(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TenantId;

    /// Catches a burst that never ends, a wait that does not grow, and one client that pays for another.
    #[test]
    fn take_overs_of_one_identifier_wait_longer_and_longer() {
        let config = AdmissionConfig {
            take_over_burst: 2,
            take_overs_per_minute: 60,
            max_wait_seconds: 3,
            ..AdmissionConfig::default()
        };
        let (take_overs, start) = (TakeOvers::new(&config), Instant::now());
        let key = |tenant, name: &str| -> ClientKey { (TenantId(tenant), name.into()) };
        let waits = [(); 6].map(|()| take_overs.reserve(&key(1, "d"), start).map(|wait| wait.as_secs()));
        assert_eq!(waits, [Ok(0), Ok(0), Ok(1), Ok(2), Ok(3), Err(TooMany)]);
        for other in [key(1, "e"), key(2, "d")] {
            assert_eq!(take_overs.reserve(&other, start), Ok(Duration::ZERO));
        }
        let rested = start + Duration::from_secs(60);
        take_overs.tidy(rested);
        assert_eq!(take_overs.reserve(&key(1, "d"), rested), Ok(Duration::ZERO));
    }
}
