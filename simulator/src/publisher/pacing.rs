//! When something is sent, and when a connection is tried again.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// A device that waits longer than this after a restart of the broker makes the restart look like an outage.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// When the next message is due. A connection that was away does not catch up in a burst.
pub(crate) struct Pace {
    next: Instant,
    interval: Duration,
}

impl Pace {
    /// One message in so many seconds; the first after this part of them.
    pub(crate) fn new(seconds: f64, phase: f64) -> Self {
        // A day at most: far below what a Duration holds, and as good as never.
        let interval = Duration::from_secs_f64(seconds.clamp(1e-6, 86_400.0));
        Self { next: Instant::now() + interval.mul_f64(phase), interval }
    }

    pub(crate) fn due(&self) -> Instant {
        self.next
    }

    pub(crate) fn advance(&mut self) {
        let now = Instant::now();
        self.next += self.interval;
        if self.next + self.interval < now {
            self.next = now;
        }
    }
}

/// How long to wait before the next attempt.
pub(crate) struct Backoff {
    delay: Duration,
    rng: ChaCha8Rng,
}

impl Backoff {
    pub(crate) fn new(rng: ChaCha8Rng) -> Self {
        Self { delay: FIRST_BACKOFF, rng }
    }

    pub(crate) fn reset(&mut self) {
        self.delay = FIRST_BACKOFF;
    }

    /// Half of the delay is fixed and half random: 500 SIMs must not come back in the same millisecond.
    pub(crate) fn next(&mut self) -> Duration {
        let jittered = self.delay.mul_f64(self.rng.random_range(0.5..1.0));
        self.delay = (self.delay * 2).min(MAX_BACKOFF);
        jittered
    }
}
