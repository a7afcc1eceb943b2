//! Times that a server writes by its own wall clock.

use chrono::{DateTime, Local, LocalResult, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;

/// Since OpenVPN 2.5; before it.
const FORMATS: [&str; 2] = ["%Y-%m-%d %H:%M:%S", "%a %b %e %H:%M:%S %Y"];

/// The zone of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// That of this machine.
    Machine,
    Named(Tz),
}

impl Zone {
    /// A name such as `Europe/Zurich`; an empty one is this machine's zone.
    pub fn parse(name: &str) -> Option<Self> {
        if name.is_empty() { Some(Self::Machine) } else { name.parse().ok().map(Self::Named) }
    }

    /// The moment at which a clock in this zone shows a time. In the hour that comes twice in autumn it is the one nearest to `near`,
    /// else the first.
    pub(super) fn moment(&self, text: &str, near: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        let time = FORMATS.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
        let moments = match self {
            Self::Machine => Local.from_local_datetime(&time).map(|at| at.to_utc()),
            Self::Named(zone) => zone.from_local_datetime(&time).map(|at| at.to_utc()),
        };
        match moments {
            LocalResult::Single(at) => Some(at),
            LocalResult::Ambiguous(one, other) => {
                Some(if near.is_some_and(|near| (near - other).abs() < (near - one).abs()) {
                    other
                } else {
                    one.min(other)
                })
            }
            LocalResult::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn both_ways_of_writing_a_time_are_understood() {
        let zone = Zone::parse("Europe/Zurich").unwrap();
        let expected = Some(at("2026-03-10T07:05:09Z"));
        assert_eq!(zone.moment("2026-03-10 08:05:09", None), expected);
        assert_eq!(zone.moment("Tue Mar 10 08:05:09 2026", None), expected);
        assert_eq!(zone.moment("Thu Jun  4 04:23:03 2026", None), Some(at("2026-06-04T02:23:03Z")));
        for other in ["", "2026-03-10T08:05:09Z", "1773129909", "Mon Mar 10 08:05:09 2026"] {
            assert_eq!(zone.moment(other, None), None, "{other}");
        }
        assert_eq!(Zone::parse("Mars/Olympus"), None);
        assert_eq!(Zone::parse(""), Some(Zone::Machine));
    }

    #[test]
    fn an_hour_that_comes_twice_is_decided_by_what_is_near_and_one_that_never_comes_is_none() {
        let zone = Zone::parse("Europe/Zurich").unwrap();
        let (first, second) = (at("2026-10-25T00:30:00Z"), at("2026-10-25T01:30:00Z"));
        assert_eq!(zone.moment("2026-10-25 02:30:00", None), Some(first));
        assert_eq!(zone.moment("2026-10-25 02:30:00", Some(first)), Some(first));
        assert_eq!(zone.moment("2026-10-25 02:30:00", Some(second)), Some(second));
        assert_eq!(zone.moment("2026-03-29 02:30:00", None), None);
    }
}
