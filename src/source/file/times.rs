//! Times as files write them.

use chrono::format::{Item, Numeric, StrftimeItems};
use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

/// How a file writes its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    Rfc3339,
    /// Since 1970, as whole numbers or fractions of this many to a second: 1, 1,000.
    Unix {
        per_second: u32,
    },
    /// A pattern that tells the offset from UTC.
    Zoned(String),
    /// A pattern that tells what a wall clock in this zone shows.
    Local(String, Tz),
}

/// Why there is no such format: the key at fault, and what would do.
pub type TimeFormatFault = (&'static str, String);

impl TimeFormat {
    /// `rfc3339`, `unix`, `unix_ms`, or a pattern of strftime; `zone` is for patterns that tell no offset, and for no others.
    ///
    /// # Errors
    /// [`TimeFormatFault`]
    pub fn parse(format: &str, zone: &str) -> Result<Self, TimeFormatFault> {
        let parsed = match format {
            "rfc3339" => Self::Rfc3339,
            "unix" => Self::Unix { per_second: 1 },
            "unix_ms" => Self::Unix { per_second: 1_000 },
            pattern => return Self::pattern(pattern, zone),
        };
        if zone.is_empty() {
            return Ok(parsed);
        }
        Err(("time_zone", format!("is for patterns that tell no offset; {format} does without")))
    }

    fn pattern(pattern: &str, zone: &str) -> Result<Self, TimeFormatFault> {
        let unusable = |problem: &str| {
            let known = "rfc3339, unix, unix_ms, or a pattern such as %Y-%m-%d %H:%M:%S";
            Err(("time_format", format!("`{pattern}` {problem}; it is {known}")))
        };
        let items: Vec<Item<'_>> = StrftimeItems::new(pattern).collect();
        let is_timestamp = |item: &Item<'_>| matches!(item, Item::Numeric(Numeric::Timestamp, _));
        if items.contains(&Item::Error) || items.iter().any(is_timestamp) {
            return unusable("cannot be used");
        }
        // An offset that may lack its minutes can be read and not be written.
        let written = pattern.replace("%#z", "%z");
        let sample = DateTime::<Utc>::UNIX_EPOCH.format(&written).to_string();
        let is_zoned = DateTime::parse_from_str(&sample, pattern).is_ok();
        if !is_zoned && NaiveDateTime::parse_from_str(&sample, pattern).is_err() {
            return unusable("tells no day and time of day");
        }
        match (is_zoned, zone) {
            (true, "") => Ok(Self::Zoned(pattern.into())),
            (true, _) => Err(("time_zone", "stands beside a pattern that tells the offset itself".into())),
            (false, "") => {
                Err(("time_zone", "must be stated: the pattern tells no offset (UTC is one too)".into()))
            }
            (false, zone) => match zone.parse() {
                Ok(zone) => Ok(Self::Local(pattern.into(), zone)),
                Err(_) => Err(("time_zone", format!("`{zone}` is no time zone such as Europe/Zurich"))),
            },
        }
    }

    /// The moment that a text means. Of the two in an hour that comes twice it is the first one, unless that lies before
    /// `not_before`, such as the beginning of the same period.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub(super) fn moment(
        &self,
        text: &str,
        not_before: Option<DateTime<Utc>>,
    ) -> Result<DateTime<Utc>, String> {
        match self {
            Self::Rfc3339 => DateTime::parse_from_rfc3339(text)
                .map(|at| at.to_utc())
                .map_err(|_| "is no RFC 3339 time with a zone".into()),
            Self::Unix { per_second } => unix(text, *per_second)
                .ok_or_else(|| format!("is no number of {} since 1970", unit_of(*per_second))),
            Self::Zoned(pattern) => DateTime::parse_from_str(text, pattern)
                .map(|at| at.to_utc())
                .map_err(|_| format!("is no time as in {pattern}")),
            Self::Local(pattern, zone) => {
                let clock = NaiveDateTime::parse_from_str(text, pattern)
                    .map_err(|_| format!("is no time as in {pattern}"))?;
                match zone.from_local_datetime(&clock).map(|at| at.to_utc()) {
                    LocalResult::Single(at) => Ok(at),
                    LocalResult::Ambiguous(one, other) => {
                        let first = one.min(other);
                        let is_late = not_before.is_some_and(|start| first < start);
                        Ok(if is_late { one.max(other) } else { first })
                    }
                    LocalResult::None => Err(format!("never was in {zone}, whose clocks went forward")),
                }
            }
        }
    }
}

fn unit_of(per_second: u32) -> &'static str {
    if per_second == 1 { "seconds" } else { "milliseconds" }
}

/// To the microsecond; further digits are dropped.
fn unix(text: &str, per_second: u32) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros(text, 1_000_000 / i64::from(per_second))?)
}

/// `12` or `12.5` of units of so many microseconds.
fn micros(text: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(6)];
    let part = fraction.parse::<i64>().ok()? * unit / 10_i64.pow(u32::try_from(fraction.len()).ok()?);
    whole.parse::<i64>().ok()?.checked_mul(unit)?.checked_add(part)
}

/// How long a text says: seconds, whole or not, or `H:MM:SS`.
pub(super) fn duration(text: &str) -> Option<TimeDelta> {
    if !text.contains(':') {
        return micros(text, 1_000_000).map(TimeDelta::microseconds);
    }
    let (hours, rest) = text.split_once(':')?;
    let (minutes, seconds) = rest.split_once(':')?;
    let two = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    let few = (1..=6).contains(&hours.len()) && hours.bytes().all(|byte| byte.is_ascii_digit());
    if !few || !two(minutes) || !two(seconds) {
        return None;
    }
    let [hours, minutes, seconds] = [hours, minutes, seconds].map(|part| part.parse::<i64>().ok());
    let (minutes, seconds) = (minutes.filter(|n| *n < 60)?, seconds.filter(|n| *n < 60)?);
    Some(TimeDelta::seconds(hours? * 3_600 + minutes * 60 + seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn read(format: &str, zone: &str, text: &str) -> Result<DateTime<Utc>, String> {
        TimeFormat::parse(format, zone).expect("a format").moment(text, None)
    }

    #[test]
    fn every_way_of_writing_a_time_is_understood() {
        let expected = Ok(at("2026-03-10T07:05:09Z"));
        assert_eq!(read("rfc3339", "", "2026-03-10T08:05:09+01:00"), expected);
        assert_eq!(read("unix", "", "1773126309"), expected);
        assert_eq!(read("unix", "", "1773126309.25"), Ok(at("2026-03-10T07:05:09.25Z")));
        assert_eq!(read("unix_ms", "", "1773126309000"), expected);
        assert_eq!(read("%d.%m.%Y %H:%M:%S", "Europe/Zurich", "10.03.2026 08:05:09"), expected);
        assert_eq!(read("%Y%m%d%H%M%S%z", "", "20260310080509+0100"), expected);
        assert_eq!(read("%Y-%m-%d %H:%M:%S %#z", "", "2026-03-10 08:05:09 +01"), expected);
        assert_eq!(read("%m/%d/%y %I:%M:%S %p", "UTC", "03/10/26 07:05:09 AM"), expected);
        for (format, zone, text) in [
            ("rfc3339", "", "2026-03-10 08:05:09"),
            ("unix", "", "-5"),
            ("unix", "", "1773126309s"),
            ("unix_ms", "", "99999999999999999999"),
            ("%d.%m.%Y %H:%M:%S", "UTC", "31.02.2026 08:05:09"),
            ("%d.%m.%Y %H:%M:%S", "UTC", "10.03.2026 08:05:09 more"),
        ] {
            assert!(read(format, zone, text).is_err(), "{format} {text}");
        }
    }

    #[test]
    fn a_pattern_that_cannot_tell_a_moment_is_refused_when_it_is_configured() {
        let key = |format: &str, zone: &str| TimeFormat::parse(format, zone).err().map(|fault| fault.0);
        for pattern in ["", "%Q", "%Y-%m-%d", "%H:%M:%S", "%s", "yesterday"] {
            assert_eq!(key(pattern, "UTC"), Some("time_format"), "{pattern}");
        }
        assert_eq!(key("%Y-%m-%d %H:%M", ""), Some("time_zone"));
        assert_eq!(key("%Y-%m-%d %H:%M", "Mars/Olympus"), Some("time_zone"));
        assert_eq!(key("%Y-%m-%d %H:%M %z", "Europe/Zurich"), Some("time_zone"));
        assert_eq!(key("unix", "Europe/Zurich"), Some("time_zone"));
        assert_eq!(key("%Y-%m-%d %H:%M", "Europe/Zurich"), None);
    }

    /// Catches an end that lies before its beginning because the hour came again, and a time that is moved over a gap in silence.
    #[test]
    fn an_hour_that_comes_twice_is_the_first_one_unless_that_is_too_early_and_a_gap_is_refused() {
        let format = TimeFormat::parse("%Y-%m-%d %H:%M", "Europe/Zurich").expect("a format");
        let (first, second) = (at("2026-10-25T00:30:00Z"), at("2026-10-25T01:30:00Z"));
        assert_eq!(format.moment("2026-10-25 02:30", None), Ok(first));
        assert_eq!(format.moment("2026-10-25 02:30", Some(first)), Ok(first));
        assert_eq!(format.moment("2026-10-25 02:30", Some(at("2026-10-25T00:50:00Z"))), Ok(second));
        let refused = format.moment("2026-03-29 02:30", None).expect_err("a gap");
        assert_eq!(refused, "never was in Europe/Zurich, whose clocks went forward");
    }

    #[test]
    fn how_long_something_took_is_seconds_or_a_clock() {
        assert_eq!(duration("90"), Some(TimeDelta::seconds(90)));
        assert_eq!(duration("1.5"), Some(TimeDelta::milliseconds(1_500)));
        assert_eq!(duration("0:01:30"), Some(TimeDelta::seconds(90)));
        assert_eq!(duration("100:00:00"), Some(TimeDelta::hours(100)));
        for text in ["", "-1", "1m", "1:30", "0:60:00", "0:1:30", "a:00:00", "1:00:00:00", "0:00:0x"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
