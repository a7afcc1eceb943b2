//! Rollups made anew from the records, a month at a time, while batches go on.

use std::time::Duration;

use chrono::{Datelike, Months, NaiveDate};

use crate::domain::TenantId;
use crate::store::{Store, StoreError};

/// One transaction makes these days, so that a bound of months is in one of them and nothing is read twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    pub first: NaiveDate,
    /// Inclusive.
    pub last: NaiveDate,
}

impl Days {
    pub fn count(self) -> u64 {
        u64::try_from((self.last - self.first).num_days() + 1).unwrap_or(0)
    }

    /// In portions of a calendar month at most, oldest first.
    pub fn by_month(self) -> Vec<Self> {
        let mut portions = Vec::new();
        let mut first = self.first;
        while first <= self.last {
            let next = first.with_day(1).and_then(|day| day.checked_add_months(Months::new(1)));
            let last = next.and_then(|day| day.pred_opt()).unwrap_or(self.last).min(self.last);
            portions.push(Self { first, last });
            let Some(after) = last.succ_opt() else { break };
            first = after;
        }
        portions
    }
}

/// Makes the rollups of a tenant's days anew; `done` is called after each portion. Returns the records read.
///
/// # Errors
/// [`StoreError`]; the portions before it stand.
pub async fn rebuild(
    store: &Store,
    tenant: TenantId,
    days: Days,
    limit: Duration,
    mut done: impl FnMut(Days, i64),
) -> Result<i64, StoreError> {
    let mut records = 0;
    for portion in days.by_month() {
        let read = store.rebuild_days(tenant, portion.first, portion.last, limit).await?;
        records += read;
        done(portion, read);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    #[test]
    fn a_span_is_cut_at_the_ends_of_its_months() {
        let span = Days { first: day("2026-01-30"), last: day("2026-03-02") };
        let cut: Vec<_> = span.by_month().iter().map(|d| (d.first.to_string(), d.last.to_string())).collect();
        let expected =
            [("2026-01-30", "2026-01-31"), ("2026-02-01", "2026-02-28"), ("2026-03-01", "2026-03-02")];
        assert_eq!(cut, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(span.by_month().iter().map(|d| d.count()).sum::<u64>(), span.count());
        assert!(Days { first: day("2026-01-02"), last: day("2026-01-01") }.by_month().is_empty());
    }
}
