//! What a query string asks for: days, periods of a chart, filters. Everything is bounded.

use chrono::{DateTime, Datelike, Days, DurationRound, Months, NaiveDate, TimeDelta, Utc, Weekday};

use crate::store::consumption::{Scope, Standing, UsageFilter};

use super::super::query::Query;

/// Days of a range without periods.
const DAYS_AT_MOST: i64 = 1_830;
/// SIMs whose hours are read from their records.
const HOURLY_SIMS_AT_MOST: usize = 20;
const FILTER_VALUES_AT_MOST: usize = 500;

/// Length of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Granularity {
    Hourly,
    Daily,
    /// ISO 8601 weeks.
    Weekly,
    Monthly,
}

pub(super) const TREND_GRANULARITIES: [(&str, (Granularity, &str)); 5] = [
    ("hourly", (Granularity::Hourly, "hourly")),
    ("24h", (Granularity::Hourly, "24h")),
    ("daily", (Granularity::Daily, "daily")),
    ("weekly", (Granularity::Weekly, "weekly")),
    ("monthly", (Granularity::Monthly, "monthly")),
];

/// Details are kept by day: `24h` asks for those of the days that are named.
pub(super) const DETAIL_GRANULARITIES: [(&str, Granularity); 4] = [
    ("24h", Granularity::Daily),
    ("daily", Granularity::Daily),
    ("weekly", Granularity::Weekly),
    ("monthly", Granularity::Monthly),
];

/// A period, cut to the range that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    /// First day of the whole day, week or month.
    pub(super) of: NaiveDate,
    pub(super) first: NaiveDate,
    pub(super) last: NaiveDate,
}

impl Granularity {
    /// Days at most of a range that is cut into such periods.
    fn days_at_most(self) -> i64 {
        match self {
            Self::Hourly => 31,
            Self::Daily => 366,
            Self::Weekly => 106 * 7,
            Self::Monthly => DAYS_AT_MOST,
        }
    }

    /// First day of the range that is shown unless one is asked for: so many periods, the one of `last` included.
    pub(super) fn usual_first(self, last: NaiveDate) -> NaiveDate {
        match self {
            Self::Hourly => last,
            Self::Daily => last - Days::new(6),
            Self::Weekly => self.start_of(last) - Days::new(4 * 7),
            Self::Monthly => self.start_of(last) - Months::new(5),
        }
    }

    /// First day of the period that holds a day.
    fn start_of(self, day: NaiveDate) -> NaiveDate {
        match self {
            Self::Hourly | Self::Daily => day,
            Self::Weekly => day.week(Weekday::Mon).first_day(),
            Self::Monthly => day - Days::new(u64::from(day.day0())),
        }
    }

    fn next(self, start: NaiveDate) -> NaiveDate {
        match self {
            Self::Hourly | Self::Daily => start + Days::new(1),
            Self::Weekly => start + Days::new(7),
            Self::Monthly => start + Months::new(1),
        }
    }

    /// Every period of a range, oldest first.
    pub(super) fn periods(self, first: NaiveDate, last: NaiveDate) -> Vec<Period> {
        let mut periods = Vec::new();
        let mut of = self.start_of(first);
        while of <= last {
            let next = self.next(of);
            periods.push(Period { of, first: of.max(first), last: (next - Days::new(1)).min(last) });
            of = next;
        }
        periods
    }

    /// Last day of the period that holds a day.
    pub(super) fn end_of(self, day: NaiveDate) -> NaiveDate {
        self.next(self.start_of(day)) - Days::new(1)
    }
}

/// `imsi` (ICCIDs, as everywhere on the page) and `mccmnc` (serving networks).
pub(super) fn filter(query: &mut Query) -> UsageFilter {
    let mut values = |name: &'static str, digits: std::ops::RangeInclusive<usize>| {
        let values = query.all(name);
        if values.len() > FILTER_VALUES_AT_MOST {
            query.fault(name, format!("more than {FILTER_VALUES_AT_MOST} values"));
        }
        let fits =
            |value: &String| digits.contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
        if let Some(wrong) = values.iter().find(|value| !fits(value)) {
            let (least, most) = (digits.start(), digits.end());
            let wrong: String = wrong.chars().take(40).collect();
            query.fault(name, format!("`{wrong}` is not {least} to {most} digits"));
        }
        (!values.is_empty()).then_some(values)
    };
    UsageFilter { iccids: values("imsi", 10..=20), networks: values("mccmnc", 5..=6) }
}

/// Days that were asked for; `None` where a date cannot be read.
pub(super) struct Asked {
    pub(super) start: Option<NaiveDate>,
    pub(super) end: Option<NaiveDate>,
}

pub(super) fn asked(query: &mut Query) -> Asked {
    let mut date = |name| {
        let date = query.date(name);
        if date.is_some_and(|date| !(2000..=2100).contains(&date.year())) {
            query.fault(name, "must be a day of the years 2000 to 2100");
            return None;
        }
        date
    };
    Asked { start: date("start_date"), end: date("end_date") }
}

impl Asked {
    pub(super) fn is_empty(&self) -> bool {
        self.start.is_none() && self.end.is_none()
    }

    /// From the first to the last day; what is left out is filled in, what contradicts itself or is too long is a fault.
    pub(super) fn days(
        &self,
        query: &mut Query,
        today: NaiveDate,
        usual_first: impl Fn(NaiveDate) -> NaiveDate,
        at_most: i64,
    ) -> (NaiveDate, NaiveDate) {
        let last = self.end.unwrap_or_else(|| today.max(self.start.unwrap_or(today)));
        let first = self.start.unwrap_or_else(|| usual_first(last));
        let days = (last - first).num_days() + 1;
        if days < 1 {
            query.fault("end_date", "must not be before start_date");
        } else if days > at_most {
            query.fault("start_date", format!("{days} days are too many: at most {at_most} at once"));
        } else {
            return (first, last);
        }
        (today, today)
    }
}

/// Days and filters of a question without periods; the current month up to today unless dates are given.
pub(super) fn scope(query: &mut Query, standing: &Standing) -> (Scope, Asked) {
    let asked = asked(query);
    let filter = filter(query);
    let month = |last| Granularity::Monthly.start_of(last);
    let (first, last) = asked.days(query, standing.today, month, DAYS_AT_MOST);
    (Scope { first, last, filter }, asked)
}

/// What a chart shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chart {
    /// So many UTC hours.
    Hours(DateTime<Utc>, i32),
    /// The UTC hours of some days of the tenant.
    HoursOf(NaiveDate, NaiveDate),
    Days(Vec<Period>),
}

/// The periods of a chart; up to now unless dates are given.
pub(super) fn chart(
    query: &mut Query,
    granularity: Granularity,
    filter: &UsageFilter,
    standing: &Standing,
    now: DateTime<Utc>,
) -> Chart {
    let asked = asked(query);
    let hourly = granularity == Granularity::Hourly;
    if hourly && filter.iccids.as_ref().is_some_and(|iccids| iccids.len() > HOURLY_SIMS_AT_MOST) {
        query.fault("imsi", format!("by hour at most {HOURLY_SIMS_AT_MOST} SIMs at once"));
    }
    if hourly && asked.is_empty() {
        let hour = now.duration_trunc(TimeDelta::hours(1)).unwrap_or(now);
        return Chart::Hours(hour - TimeDelta::hours(23), 24);
    }
    let usual_first = |last| granularity.usual_first(last);
    let (first, last) = asked.days(query, standing.today, usual_first, granularity.days_at_most());
    if hourly {
        return Chart::HoursOf(first, last);
    }
    // Unless it was cut off by a date, the current week or month is whole.
    let last = if asked.end.is_none() && last == standing.today { granularity.end_of(last) } else { last };
    Chart::Days(granularity.periods(first, last))
}

/// Periods of details; both dates are needed.
pub(super) fn detail_periods(query: &mut Query, granularity: Granularity, today: NaiveDate) -> Vec<Period> {
    let asked = asked(query);
    for (name, date) in [("start_date", asked.start), ("end_date", asked.end)] {
        if date.is_none() && query.text(name).is_none() {
            query.fault(name, "is required");
        }
    }
    let (first, last) = asked.days(query, today, |last| last, granularity.days_at_most());
    granularity.periods(first, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    fn shown(granularity: Granularity, first: &str, last: &str) -> Vec<String> {
        let periods = granularity.periods(date(first), date(last));
        periods.iter().map(|p| format!("{}: {} to {}", p.of, p.first, p.last)).collect()
    }

    #[test]
    fn periods_are_cut_to_the_range() {
        assert_eq!(
            shown(Granularity::Weekly, "2026-12-30", "2027-01-05"),
            ["2026-12-28: 2026-12-30 to 2027-01-03", "2027-01-04: 2027-01-04 to 2027-01-05"]
        );
        assert_eq!(
            shown(Granularity::Monthly, "2026-01-31", "2026-03-01"),
            [
                "2026-01-01: 2026-01-31 to 2026-01-31",
                "2026-02-01: 2026-02-01 to 2026-02-28",
                "2026-03-01: 2026-03-01 to 2026-03-01"
            ]
        );
        assert_eq!(shown(Granularity::Daily, "2026-03-29", "2026-03-29").len(), 1);
    }

    #[test]
    fn what_is_usual_ends_with_the_current_period() {
        let last = date("2026-11-19");
        let count = |g: Granularity| g.periods(g.usual_first(last), g.end_of(last)).len();
        assert_eq!([Granularity::Daily, Granularity::Weekly, Granularity::Monthly].map(count), [7, 5, 6]);
    }
}
