use chrono::{DateTime, Utc};

/// Decides when a scheduled run is due: once in each interval, at minutes that it divides.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Interval and slot as of the last look.
    last: Option<(i64, i64)>,
}

impl Schedule {
    /// Whether a run is due at `now`, given the interval in force (minutes). The first look at an interval only takes its
    /// bearings: what waits from before is flushed by its age.
    pub(super) fn is_due(&mut self, now: DateTime<Utc>, interval_minutes: i64) -> bool {
        let minute = now.timestamp().div_euclid(60);
        let slot = minute - minute.rem_euclid(interval_minutes.max(1));
        let last = self.last.replace((interval_minutes, slot));
        // A clock that was set back does not make a run due.
        last.is_some_and(|(interval, last)| interval == interval_minutes && slot > last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_minutes(schedule: &mut Schedule, interval: i64, minutes: std::ops::Range<u32>) -> Vec<u32> {
        minutes
            .filter(|minute| {
                [0, 20, 59].into_iter().fold(false, |due, second| {
                    let at = format!("2026-03-10T12:{minute:02}:{second:02}Z");
                    schedule.is_due(at.parse().expect("a time"), interval) || due
                })
            })
            .collect()
    }

    #[test]
    fn runs_are_due_once_at_the_minutes_that_the_interval_divides() {
        assert_eq!(due_minutes(&mut Schedule::default(), 5, 3..17), [5, 10, 15]);
        assert_eq!(due_minutes(&mut Schedule::default(), 1, 3..6), [4, 5]);
    }

    #[test]
    fn another_interval_counts_from_the_next_look_on() {
        let mut schedule = Schedule::default();
        assert_eq!(due_minutes(&mut schedule, 5, 0..7), [5]);
        assert_eq!(due_minutes(&mut schedule, 2, 7..11), [8, 10]);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_due() {
        let mut schedule = Schedule::default();
        assert_eq!(due_minutes(&mut schedule, 1, 30..32), [31]);
        assert_eq!(due_minutes(&mut schedule, 1, 10..31), (11..31).collect::<Vec<_>>());
    }
}
