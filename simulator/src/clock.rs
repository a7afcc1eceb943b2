use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};

/// Where the fleet's time comes from: passed in, so that a test decides what time it is.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>);

impl Clock {
    /// A clock that asks `now` each time.
    pub fn from_fn(now: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The machine's clock.
    pub fn system() -> Self {
        Self::from_fn(wall_clock)
    }

    /// A clock that stands still.
    pub fn fixed(at: DateTime<Utc>) -> Self {
        Self::from_fn(move || at)
    }

    /// A clock that starts at `origin` and runs `factor` times as fast as real time. Monotonic: a step of the
    /// machine's clock does not move it.
    pub fn scaled(origin: DateTime<Utc>, factor: f64) -> Self {
        let started = Instant::now();
        Self::from_fn(move || {
            // Ten years of simulated time at most: far inside what a TimeDelta can hold.
            let seconds = (started.elapsed().as_secs_f64() * factor).min(315_360_000.0);
            origin + TimeDelta::milliseconds((seconds * 1000.0) as i64)
        })
    }

    /// The fleet's current time in UTC.
    pub fn now(&self) -> DateTime<Utc> {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall_clock() -> DateTime<Utc> {
    Utc::now()
}
