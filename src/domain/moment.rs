//! Moments at which the program did something, as it tells them: in UTC, to the second, with Z. What senders said, such as
//! the periods of records, is told to them as they said it.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serializer;

/// Such as `2026-11-21T02:00:01Z`; what is left of a second is cut off.
pub fn in_seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// For serde's `serialize_with`.
///
/// # Errors
/// Those of the serializer.
pub fn to_the_second<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&in_seconds(*at))
}

/// The same where there may be none.
///
/// # Errors
/// Those of the serializer.
pub fn if_any<S: Serializer>(at: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => to_the_second(at, serializer),
        None => serializer.serialize_none(),
    }
}
