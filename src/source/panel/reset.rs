//! What a value means that is lower than the one before.
//!
//! A panel's counter goes back for three reasons: it was reset (a new month), the answer is old (a cache, a replica that lags),
//! or somebody corrected it. Only the first is usage, and taking one of the others for it would count everything again. So:
//!
//! * A lower value adds nothing by itself, and what was counted stays: when the old value comes again, nothing of it counts twice.
//! * It is a reset once the value fell below a share of the old one, stayed below the old one and never fell again, in at
//!   least two successive reads and for longer than any answer of the panel is old. The new value counts from 0 then; while
//!   this is waited for nothing is lost, because the counter goes on.
//! * 0 proves nothing: panels say it when they fail. It is passed over, which costs nothing, because 0 adds nothing.
//! * A value that fell less than that, for whatever reason, counts again from where it passes the old one.

use chrono::{DateTime, TimeDelta, Utc};

/// When a lower value is believed.
#[derive(Clone, Copy, Debug)]
pub struct ResetRule {
    /// Share of the old value below which it must fall, in percent.
    pub below_percent: u8,
    /// The oldest answer that the panel may give.
    pub stale: TimeDelta,
}

/// Lower values, one after the other, of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LowReads {
    since: DateTime<Utc>,
    last: i64,
}

/// What a value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It went on, or stands still.
    Forward,
    /// It went back a little, or to 0: an old answer, until it passes what was counted.
    Behind,
    /// It fell far. Not believed yet.
    Doubtful,
    /// It began anew.
    Reset,
}

impl ResetRule {
    /// What `total` means after `counted`; `low` is what is remembered of the account.
    pub(super) fn judge(
        self,
        counted: i64,
        total: i64,
        at: DateTime<Utc>,
        low: &mut Option<LowReads>,
    ) -> Meaning {
        if total >= counted {
            *low = None;
            return Meaning::Forward;
        }
        if total == 0 {
            return Meaning::Behind;
        }
        match *low {
            Some(reads) if total >= reads.last => {
                *low = Some(LowReads { last: total, ..reads });
                if at - reads.since >= self.stale { Meaning::Reset } else { Meaning::Doubtful }
            }
            // Amounts are at most 2^45, so their hundredfold fits.
            _ if total * 100 < counted * i64::from(self.below_percent) => {
                *low = Some(LowReads { since: at, last: total });
                Meaning::Doubtful
            }
            _ => {
                *low = None;
                Meaning::Behind
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Meaning::{Behind, Doubtful, Forward, Reset};
    use super::*;

    const RULE: ResetRule = ResetRule { below_percent: 50, stale: TimeDelta::minutes(15) };

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + minute * 60, 0).expect("a time")
    }

    /// Reads (minute, value), as a panel that is counted exactly: what each means, and what was counted in all.
    fn run(rule: ResetRule, base: i64, reads: &[(i64, i64)]) -> (Vec<Meaning>, i64) {
        let (mut counted, mut sum, mut low) = (base, 0, None);
        let meanings = reads.iter().map(|(minute, total)| {
            let meaning = rule.judge(counted, *total, at(*minute), &mut low);
            match meaning {
                Forward => sum += total - counted,
                Reset => sum += total,
                Behind | Doubtful => return meaning,
            }
            counted = *total;
            meaning
        });
        (meanings.collect(), sum)
    }

    #[test]
    fn a_monthly_reset_counts_from_zero_when_it_is_certain() {
        let reads = [(0, 1_010), (5, 40), (10, 60), (15, 60), (20, 90), (25, 100)];
        let expected = vec![Forward, Doubtful, Doubtful, Doubtful, Reset, Forward];
        assert_eq!(run(RULE, 1_000, &reads), (expected, 110));
    }

    /// Catches a cache, a replica or a panel that answers 0 in trouble, each taken for a reset: all of it would count again.
    #[test]
    fn a_value_that_comes_again_never_counts_twice() {
        let cache = [(0, 110), (5, 104), (10, 104), (15, 105), (60, 106), (65, 112)];
        assert_eq!(run(RULE, 100, &cache), (vec![Forward, Behind, Behind, Behind, Behind, Forward], 12));
        let young = [(0, 10), (1, 3), (2, 12), (3, 4), (4, 4), (5, 13)];
        assert_eq!(run(RULE, 0, &young), (vec![Forward, Doubtful, Forward, Doubtful, Doubtful, Forward], 13));
        let trouble = [(0, 0), (5, 0), (60, 0), (65, 101)];
        assert_eq!(run(RULE, 100, &trouble), (vec![Behind, Behind, Behind, Forward], 1));
        let falls = [(0, 40), (10, 30), (20, 41), (24, 42), (25, 43)];
        assert_eq!(run(RULE, 100, &falls).0, [Doubtful, Doubtful, Doubtful, Doubtful, Reset]);
    }

    #[test]
    fn a_reset_is_seen_also_after_zeros_and_when_much_is_used_at_once() {
        let zeros = [(0, 0), (30, 0), (35, 7), (40, 0), (45, 8), (50, 9)];
        assert_eq!(run(RULE, 100, &zeros), (vec![Behind, Behind, Doubtful, Behind, Doubtful, Reset], 9));
        let quick = [(0, 30), (5, 70), (10, 80), (15, 95)];
        assert_eq!(run(RULE, 100, &quick), (vec![Doubtful, Doubtful, Doubtful, Reset], 95));
    }

    #[test]
    fn without_caches_two_reads_suffice() {
        let rule = ResetRule { stale: TimeDelta::zero(), ..RULE };
        assert_eq!(run(rule, 100, &[(0, 5), (5, 6)]), (vec![Doubtful, Reset], 6));
    }

    proptest! {
        /// Replicas that lag by less than `stale`, read in any order, add up to what the counter says.
        #[test]
        fn lag_within_the_bound_changes_nothing(
            steps in prop::collection::vec((0i64..1_000, 0i64..14), 1..60),
        ) {
            let mut truth = vec![1i64];
            for (used, _) in &steps {
                truth.push(truth.last().expect("one") + used);
            }
            // One read a minute; the lag is in minutes too.
            let reads: Vec<_> = steps
                .iter()
                .enumerate()
                .map(|(minute, (_, lag))| (minute as i64, truth[(minute + 1).saturating_sub(*lag as usize)]))
                .collect();
            let (meanings, sum) = run(RULE, 1, &reads);
            prop_assert!(!meanings.contains(&Reset));
            prop_assert_eq!(sum, reads.iter().map(|(_, total)| total).max().expect("one").max(&1) - 1);
        }
    }
}
