//! Requests a minute of each key, and of each address in demo mode (contract §3).

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::http::{HeaderMap, HeaderValue};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::config::RateLimitConfig;
use crate::domain::Clock;

use super::caller::{Caller, Who};
use super::error::ApiError;

/// Keys and addresses that are told apart at once; beyond that those at rest are forgotten.
const AT_MOST: usize = 20_000;

/// What a request counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitClass {
    UsageSingle,
    UsageBatch,
    ProvisioningRead,
    ProvisioningWrite,
    /// Usage, consumption and alerts.
    Reading,
}

impl LimitClass {
    pub const ALL: [Self; 5] =
        [Self::UsageSingle, Self::UsageBatch, Self::ProvisioningRead, Self::ProvisioningWrite, Self::Reading];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::UsageSingle => "usage_single",
            Self::UsageBatch => "usage_batch",
            Self::ProvisioningRead => "provisioning_read",
            Self::ProvisioningWrite => "provisioning_write",
            Self::Reading => "reading",
        }
    }

    fn per_minute(self, config: &RateLimitConfig) -> u32 {
        match self {
            Self::UsageSingle => config.usage_single_per_minute,
            Self::UsageBatch => config.usage_batch_per_minute,
            Self::ProvisioningRead => config.provisioning_read_per_minute,
            Self::ProvisioningWrite => config.provisioning_write_per_minute,
            Self::Reading => config.reading_per_minute,
        }
    }
}

/// What the headers of an answer say about the limit of its caller. Filled while the request is looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing(Arc<OnceLock<Counts>>);

#[derive(Clone, Copy, Debug)]
struct Counts {
    limit: u32,
    remaining: u32,
    /// Unix time in seconds at which all of the limit is available again.
    reset: i64,
}

impl Standing {
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let Some(counts) = self.0.get() else { return };
        headers.insert("x-ratelimit-limit", HeaderValue::from(counts.limit));
        headers.insert("x-ratelimit-remaining", HeaderValue::from(counts.remaining));
        headers.insert("x-ratelimit-reset", HeaderValue::from(counts.reset));
    }
}

type Limiter =
    RateLimiter<Subject, DefaultKeyedStateStore<Subject>, DefaultClock, StateInformationMiddleware>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Key(i32),
    Address(IpAddr),
}

/// The limits of this instance and who stands where.
pub(crate) struct RateLimits {
    config: RateLimitConfig,
    clock: Clock,
    /// By class and requests a minute; keys share what is configured, and few have limits of their own.
    limiters: Mutex<HashMap<(LimitClass, NonZeroU32), Arc<Limiter>>>,
}

impl RateLimits {
    pub(crate) fn new(config: RateLimitConfig, clock: Clock) -> Self {
        Self { config, clock, limiters: Mutex::default() }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`].
    pub(crate) fn check(
        &self,
        caller: &Caller,
        class: LimitClass,
        standing: &Standing,
    ) -> Result<(), ApiError> {
        let (subject, own) = match &caller.who {
            Who::Key(key) => (Subject::Key(key.id), key.rate_limits.get(class.as_str()).copied()),
            Who::Demo(..) => (Subject::Address(caller.address), None),
        };
        let Some(limit) = NonZeroU32::new(own.unwrap_or_else(|| class.per_minute(&self.config))) else {
            return Ok(());
        };
        let limiter = self.limiter(class, limit);
        if limiter.len() > AT_MOST {
            limiter.retain_recent();
        }
        let (remaining, wait) = match limiter.check_key(&subject) {
            Ok(snapshot) => (snapshot.remaining_burst_capacity(), None),
            Err(until) => (0, Some(until.wait_time_from(DefaultClock::default().now()))),
        };
        let full_in = f64::from(limit.get() - remaining) * 60.0 / f64::from(limit.get());
        let reset = self.clock.now().timestamp() + full_in.ceil() as i64;
        // Set once: a request has one caller.
        standing.0.get_or_init(|| Counts { limit: limit.get(), remaining, reset });
        match wait {
            None => Ok(()),
            Some(wait) => {
                Err(ApiError::RateLimited { retry_after_seconds: wait.as_secs_f64().ceil() as u64 })
            }
        }
    }

    fn limiter(&self, class: LimitClass, limit: NonZeroU32) -> Arc<Limiter> {
        let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(RateLimiter::keyed(Quota::per_minute(limit)).with_middleware());
        limiters.entry((class, limit)).or_insert_with(made).clone()
    }
}
