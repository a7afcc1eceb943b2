use std::time::Duration;

use rand::RngExt;

const FIRST: Duration = Duration::from_millis(20);
/// Short, because traffic has to flow again within seconds of the database's return.
const LONGEST: Duration = Duration::from_secs(1);

/// Waiting times that double up to a limit, each drawn from its upper half so that instances do not return in step.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(super) fn next_delay(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures += 1;
        full.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_times_grow_and_stay_below_the_limit() {
        let mut backoff = Backoff::default();
        let first = backoff.next_delay();
        assert!(first <= FIRST, "{first:?}");
        let last = (0..40).map(|_| backoff.next_delay()).last().unwrap();
        assert!(last >= LONGEST / 2 && last <= LONGEST, "{last:?}");
    }
}
