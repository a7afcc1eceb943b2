//! What publishers were told is stored. Sums instead of ids: a record that is sent again is the same record, so that counts
//! and bytes of each SIM and cycle are exact however often it was sent, and an hour of them fits into memory.

use std::collections::HashMap;

use chrono::{DateTime, Datelike, Utc};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) records: i64,
    pub(super) bytes: i64,
}

#[derive(Default)]
pub(super) struct Ledger {
    /// By index of the SIM in the fleet and month in which the cycle begins.
    cycles: HashMap<(u32, i32), Tally>,
}

impl Ledger {
    pub(super) fn add(&mut self, sim: u32, month: i32, bytes: i64) {
        let tally = self.cycles.entry((sim, month)).or_default();
        tally.records += 1;
        tally.bytes += bytes;
    }

    /// Adds what another publisher was told, of SIMs of its own.
    pub(super) fn merge(&mut self, other: Self) {
        let before = self.cycles.len() + other.cycles.len();
        self.cycles.extend(other.cycles);
        assert_eq!(self.cycles.len(), before, "each SIM has one publisher");
    }

    /// By index of the SIM and id of the cycle.
    pub(super) fn cycles(&self) -> impl Iterator<Item = (u32, String, Tally)> {
        self.cycles.iter().map(|((sim, month), tally)| {
            (*sim, format!("{:04}-{:02}", month.div_euclid(12), month.rem_euclid(12) + 1), *tally)
        })
    }

    pub(super) fn total(&self) -> Tally {
        let mut total = Tally::default();
        for tally in self.cycles.values() {
            total.records += tally.records;
            total.bytes += tally.bytes;
        }
        total
    }
}

/// Months since the year 0 at the beginning of the cycle that holds `at`, in UTC: reckoned here again, apart from the program.
pub(super) fn cycle_month(at: DateTime<Utc>, cycle_day: u8) -> i32 {
    let first = at.date_naive().with_day(1).expect("each month has a first day");
    let begins = u32::from(cycle_day).min(u32::from(first.num_days_in_month()));
    let month = at.year() * 12 + at.month0() as i32;
    if at.day() >= begins { month } else { month - 1 }
}
