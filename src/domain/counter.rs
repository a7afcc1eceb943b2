use chrono::{DateTime, Utc};

/// A 32-bit counter starts again at 2^32: RADIUS without Gigawords and many modems count like that.
const WRAP_BYTES: i64 = 1 << 32;

/// A cumulative reading of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterReading {
    pub upload_bytes: i64,
    pub download_bytes: i64,
    pub taken_at: DateTime<Utc>,
}

/// Where the counters of a session stood, in bytes; at first nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterPlace {
    pub upload_bytes: i64,
    pub download_bytes: i64,
}

impl CounterReading {
    /// Bytes (upload, download) used since `newest`, which becomes this reading.
    ///
    /// * No reading before: everything since the session began.
    /// * Taken before `newest`: nothing, because `newest` included it already; `newest` stays.
    /// * A counter that went from the top quarter of 32 bits to the bottom one has wrapped.
    /// * A counter that went back in any other way was reset with its session, and so was the other one.
    pub fn advance(self, newest: &mut Option<Self>) -> (i64, i64) {
        let Some(last) = *newest else {
            *newest = Some(self);
            return (self.upload_bytes, self.download_bytes);
        };
        if self.taken_at < last.taken_at {
            return (0, 0);
        }
        let went_back = self.upload_bytes < last.upload_bytes || self.download_bytes < last.download_bytes;
        if self.taken_at == last.taken_at && went_back {
            // Two readings of one moment: the higher one is the later one.
            return (0, 0);
        }
        *newest = Some(self);
        let upload = step(last.upload_bytes, self.upload_bytes);
        let download = step(last.download_bytes, self.download_bytes);
        match (upload, download) {
            (Some(upload), Some(download)) => (upload, download),
            _ => (self.upload_bytes, self.download_bytes),
        }
    }

    /// The same for a reading whose sender says from where it counts, and so has decided already what a lower value means:
    /// it was reset. Where `newest` stands elsewhere, somebody else moved it on meanwhile, and the reading is not worth
    /// anything: the next one covers it.
    pub fn advance_from(self, place: CounterPlace, newest: &mut Option<Self>) -> (i64, i64) {
        let held = newest.map_or(CounterPlace::default(), |newest| newest.place());
        if held != place || newest.is_some_and(|newest| self.taken_at <= newest.taken_at) {
            return (0, 0);
        }
        *newest = Some(self);
        let (upload, download) =
            (self.upload_bytes - held.upload_bytes, self.download_bytes - held.download_bytes);
        if upload < 0 || download < 0 { (self.upload_bytes, self.download_bytes) } else { (upload, download) }
    }

    fn place(self) -> CounterPlace {
        CounterPlace { upload_bytes: self.upload_bytes, download_bytes: self.download_bytes }
    }
}

/// How far one counter went; `None` when it was reset.
fn step(from: i64, to: i64) -> Option<i64> {
    if to >= from {
        return Some(to - from);
    }
    let wrapped = (WRAP_BYTES / 4 * 3..WRAP_BYTES).contains(&from) && to < WRAP_BYTES / 4;
    wrapped.then(|| WRAP_BYTES - from + to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reading(second: i64, upload_bytes: i64, download_bytes: i64) -> CounterReading {
        let taken_at = DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap();
        CounterReading { upload_bytes, download_bytes, taken_at }
    }

    fn run(readings: &[CounterReading]) -> Vec<(i64, i64)> {
        let mut newest = None;
        readings.iter().map(|r| r.advance(&mut newest)).collect()
    }

    #[test]
    fn the_first_reading_counts_from_the_beginning_of_the_session() {
        assert_eq!(run(&[reading(0, 100, 7), reading(60, 150, 7)]), [(100, 7), (50, 0)]);
    }

    #[test]
    fn a_counter_that_wraps_at_32_bits_goes_on() {
        let last = (1i64 << 32) - 10;
        assert_eq!(run(&[reading(0, last, 5), reading(60, 20, 6)])[1], (30, 1));
    }

    #[test]
    fn a_session_that_restarts_counts_from_zero_again() {
        assert_eq!(run(&[reading(0, 5_000, 900), reading(60, 40, 950)])[1], (40, 950));
    }

    #[test]
    fn a_reading_that_comes_late_adds_nothing() {
        let late = [reading(60, 500, 50), reading(0, 300, 30), reading(120, 600, 60)];
        assert_eq!(run(&late), [(500, 50), (0, 0), (100, 10)]);
    }

    /// Catches a value of a moment ago that arrives after a newer one, by a clock that runs ahead, and is taken for a reset.
    #[test]
    fn a_reading_that_counts_from_elsewhere_adds_nothing() {
        let place = |upload_bytes, download_bytes| CounterPlace { upload_bytes, download_bytes };
        let mut newest = None;
        assert_eq!(reading(0, 100, 7).advance_from(place(0, 0), &mut newest), (100, 7));
        assert_eq!(reading(60, 120, 7).advance_from(place(100, 7), &mut newest), (20, 0));
        let held = newest;
        assert_eq!(reading(90, 110, 7).advance_from(place(100, 7), &mut newest), (0, 0));
        assert_eq!(reading(60, 130, 7).advance_from(place(120, 7), &mut newest), (0, 0), "not newer");
        assert_eq!(newest, held);
        let top = 1i64 << 32;
        assert_eq!(reading(120, top - 1, 7).advance_from(place(120, 7), &mut newest), (top - 121, 0));
        assert_eq!(reading(180, 5, 1).advance_from(place(top - 1, 7), &mut newest), (5, 1), "no wrap");
    }

    proptest! {
        /// Catches a late reading that moves `newest` back: then the next delta would count again what was counted.
        #[test]
        fn no_order_of_arrival_counts_more_than_the_last_reading(
            steps in prop::collection::vec((0i64..1_000_000, 0i64..1_000_000), 1..20),
            swaps in prop::collection::vec((0usize..20, 0usize..20), 0..20),
        ) {
            let mut sums = (0, 0);
            let mut readings: Vec<_> = steps.iter().enumerate().map(|(n, (up, down))| {
                sums = (sums.0 + up, sums.1 + down);
                reading(n as i64, sums.0, sums.1)
            }).collect();
            for (a, b) in swaps {
                let len = readings.len();
                readings.swap(a % len, b % len);
            }
            let total = run(&readings).iter().fold((0, 0), |t, d| (t.0 + d.0, t.1 + d.1));
            prop_assert_eq!(total, sums);
        }
    }
}
