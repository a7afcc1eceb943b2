use std::time::Duration;

use rand::RngExt;

/// A subscription that stood for so long was no accident: the next failure begins anew.
const STABLE: Duration = Duration::from_secs(10);

/// Waiting times that double up to a limit, each drawn from its upper half, so that instances whose broker restarts do not
/// come back in step.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// How long to wait after a connection that was subscribed for `stood`.
    pub(super) fn next_delay(&mut self, stood: Duration) -> Duration {
        if stood >= STABLE {
            self.failures = 0;
        }
        let full = self.first.saturating_mul(1 << self.failures.min(20)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_times_grow_up_to_the_limit_until_a_connection_stood_for_a_while() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut backoff = Backoff::new(first, longest);
        assert!(backoff.next_delay(Duration::ZERO) <= first);
        let late = (0..60).map(|_| backoff.next_delay(Duration::from_secs(1))).last().unwrap();
        assert!(late >= longest / 2 && late <= longest, "{late:?}");
        assert!(backoff.next_delay(STABLE) <= first);
    }
}
