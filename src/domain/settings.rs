//! Settings that stand in the database: they count for all instances and take effect without a restart.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use thiserror::Error;

/// A hundred years, so that no date leaves the calendar.
const MOST_DAYS: i64 = 36_500;

/// One of the settings. Each is a whole number; a value out of bounds counts as the nearest one within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setting {
    RollupInterval,
    PanelInterval,
    RawRetention,
    ArchiveFirst,
    KeyRetention,
    QuarantineRetention,
    InvoiceAfter,
    InvoiceDue,
}

/// There is no setting of this name.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("there is no setting `{0}`; there are {list}", list = Setting::ALL.map(Setting::key).join(", "))]
pub struct UnknownSetting(pub String);

impl Setting {
    pub const ALL: [Self; 8] = [
        Self::RollupInterval,
        Self::PanelInterval,
        Self::RawRetention,
        Self::ArchiveFirst,
        Self::KeyRetention,
        Self::QuarantineRetention,
        Self::InvoiceAfter,
        Self::InvoiceDue,
    ];

    /// Its name in the database and on the command line.
    pub fn key(self) -> &'static str {
        match self {
            Self::RollupInterval => "rollup.interval_minutes",
            Self::PanelInterval => "panel.interval_minutes",
            Self::RawRetention => "retention.raw_days",
            Self::ArchiveFirst => "retention.archive_first",
            Self::KeyRetention => "retention.key_days",
            Self::QuarantineRetention => "retention.quarantine_days",
            Self::InvoiceAfter => "invoice.after_days",
            Self::InvoiceDue => "invoice.due_days",
        }
    }

    /// What counts while nothing is set.
    pub fn default_value(self) -> i64 {
        match self {
            Self::RollupInterval => 1,
            Self::PanelInterval => 5,
            Self::RawRetention | Self::ArchiveFirst | Self::KeyRetention | Self::QuarantineRetention => 0,
            Self::InvoiceAfter => 3,
            Self::InvoiceDue => 30,
        }
    }

    /// For people, with unit and bounds.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::RollupInterval => "minutes from one roll-up to the next, 1 to 5",
            Self::PanelInterval => "minutes from one look at remote panels to the next, 1 to 5",
            Self::RawRetention => "days for which raw records are kept, at least 32; 0 keeps all",
            Self::ArchiveFirst => {
                "1: raw records are given up by `simbridge archive create` alone, which writes them into files first; 0: by \
                 serve, for good"
            }
            Self::KeyRetention => {
                "days for which record ids are remembered, at least 32 and never fewer than raw records or late \
                 data need; 0 keeps all"
            }
            Self::QuarantineRetention => {
                "days for which parked records are kept since they were last seen, others since they were \
                 resolved; 0 keeps all"
            }
            Self::InvoiceAfter => "days from the end of a month until its invoices are made, 0 to 28",
            Self::InvoiceDue => "days from an invoice until it is due, 1 to 365",
        }
    }

    /// The value that counts when this one is given.
    #[must_use]
    pub fn clamp(self, value: i64) -> i64 {
        let within = |bounds: RangeInclusive<i64>| value.clamp(*bounds.start(), *bounds.end());
        match self {
            Self::RollupInterval | Self::PanelInterval => within(1..=5),
            // A month of records and a day: what is open can always be made anew. Nothing below 1 deletes anything.
            Self::RawRetention | Self::KeyRetention if value >= 1 => within(32..=MOST_DAYS),
            Self::QuarantineRetention if value >= 1 => within(1..=MOST_DAYS),
            Self::RawRetention | Self::KeyRetention | Self::QuarantineRetention => 0,
            Self::ArchiveFirst => within(0..=1),
            Self::InvoiceAfter => within(0..=28),
            Self::InvoiceDue => within(1..=365),
        }
    }

    /// The value that counts when this text stands in the database; `None` when it is no whole number.
    pub fn read(self, text: &str) -> Option<i64> {
        text.trim().parse().ok().map(|value| self.clamp(value))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

impl FromStr for Setting {
    type Err = UnknownSetting;

    fn from_str(key: &str) -> Result<Self, UnknownSetting> {
        Self::ALL
            .into_iter()
            .find(|setting| setting.key() == key)
            .ok_or_else(|| UnknownSetting(key.to_owned()))
    }
}

/// For how many days keys are kept, counted from `period_start`; `None` for ever.
///
/// A key is what makes a repetition recognisable. Each stored record needs its own (`reconcile` I2), and whatever is young
/// enough to be accepted, `max_age_days`, can be sent again under another period: without the key it would count twice. The
/// day on top covers clocks that disagree.
pub fn key_days(key_days: i64, raw_days: i64, max_age_days: i64) -> Option<i64> {
    (key_days > 0 && raw_days > 0).then(|| key_days.max(raw_days).max(max_age_days) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_bounds_counts_as_the_nearest_one_within() {
        for (setting, given, counts) in [
            (Setting::RollupInterval, -7, 1),
            (Setting::RollupInterval, 0, 1),
            (Setting::RollupInterval, 3, 3),
            (Setting::RollupInterval, i64::MAX, 5),
            (Setting::PanelInterval, 0, 1),
            (Setting::PanelInterval, 60, 5),
            (Setting::RawRetention, -1, 0),
            (Setting::RawRetention, 0, 0),
            (Setting::RawRetention, 1, 32),
            (Setting::RawRetention, 400, 400),
            (Setting::KeyRetention, 31, 32),
            (Setting::KeyRetention, i64::MAX, MOST_DAYS),
            (Setting::QuarantineRetention, 1, 1),
            (Setting::QuarantineRetention, i64::MIN, 0),
            (Setting::InvoiceAfter, -1, 0),
            (Setting::InvoiceAfter, 29, 28),
            (Setting::InvoiceDue, 0, 1),
            (Setting::InvoiceDue, 366, 365),
        ] {
            assert_eq!(setting.clamp(given), counts, "{setting} {given}");
        }
    }

    #[test]
    fn defaults_lie_within_their_bounds_and_keys_lead_back_to_their_setting() {
        for setting in Setting::ALL {
            assert_eq!(setting.clamp(setting.default_value()), setting.default_value(), "{setting}");
            assert_eq!(setting.key().parse(), Ok(setting));
        }
        let unknown = "rollup.interval".parse::<Setting>().unwrap_err().to_string();
        assert!(unknown.contains("`rollup.interval`") && unknown.contains("invoice.due_days"), "{unknown}");
    }

    #[test]
    fn only_whole_numbers_are_read() {
        for (text, read) in
            [("4", Some(4)), (" 4\n", Some(4)), ("9", Some(5)), ("", None), ("4.5", None), ("soon", None)]
        {
            assert_eq!(Setting::RollupInterval.read(text), read, "{text}");
        }
        assert_eq!(Setting::RawRetention.read("99999999999999999999"), None);
    }

    #[test]
    fn keys_are_kept_for_as_long_as_anything_needs_them() {
        assert_eq!(key_days(0, 90, 400), None);
        assert_eq!(key_days(90, 0, 400), None, "every record that is kept has its key");
        assert_eq!(key_days(90, 60, 400), Some(401));
        assert_eq!(key_days(90, 60, 40), Some(91));
        assert_eq!(key_days(32, 500, 400), Some(501));
    }
}
