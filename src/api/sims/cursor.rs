//! Where the next page begins. Clients hand it back as it is; what it holds may change.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike, Utc};

use crate::domain::Iccid;
use crate::store::sessions::{SessionPlace, SimSession};
use crate::store::sim_usage::RecordPlace;

/// What is told of one that is not ours.
pub(super) const FAULT: &str = "must be the nextCursor of the page before";

pub(super) fn of_iccid(iccid: &str) -> String {
    URL_SAFE_NO_PAD.encode(iccid)
}

pub(super) fn iccid(cursor: &str) -> Option<Iccid> {
    Iccid::parse(&decoded(cursor)?)
}

pub(super) fn of_record(place: RecordPlace) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", place.period_start.timestamp_micros(), place.id))
}

pub(super) fn record(cursor: &str) -> Option<RecordPlace> {
    let text = decoded(cursor)?;
    let (micros, id) = text.split_once('.')?;
    Some(RecordPlace { period_start: moment(micros)?, id: id.parse().ok()? })
}

pub(super) fn of_session(session: &SimSession) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", session.last_reading_at.timestamp_micros(), session.session_id))
}

pub(super) fn session(cursor: &str) -> Option<SessionPlace> {
    let text = decoded(cursor)?;
    let (micros, session_id) = text.split_once('.')?;
    // PostgreSQL has no text with a zero in it.
    let session_id = (!session_id.contains('\0')).then(|| session_id.to_owned())?;
    Some(SessionPlace { last_reading_at: moment(micros)?, session_id })
}

/// A time that was ours: PostgreSQL refuses a time that it cannot hold, and chrono's years go further than its years.
fn moment(micros: &str) -> Option<DateTime<Utc>> {
    let at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
    (1_970..=9_999).contains(&at.year()).then_some(at)
}

fn decoded(cursor: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_place_and_anything_else_nowhere() {
        let place = RecordPlace { period_start: DateTime::UNIX_EPOCH, id: 7 };
        assert_eq!(record(&of_record(place)), Some(place));
        assert_eq!(iccid(&of_iccid("8941000000")).map(|i| i.to_string()).as_deref(), Some("8941000000"));
        for bad in ["", "!", "x", &of_iccid("8941000000"), "OTk5OTk5OTk5OTk5OTk5OTk5OTk5LjE", "MS4"] {
            assert_eq!(record(bad), None, "{bad}");
        }
        // The year -26550, which chrono knows and PostgreSQL does not, and one after all of its years.
        for micros in [-900_000_000_000_000_000_i64, 8_200_000_000_000_000_000] {
            assert!(DateTime::<Utc>::from_timestamp_micros(micros).is_some());
            assert_eq!(record(&URL_SAFE_NO_PAD.encode(format!("{micros}.1"))), None);
            assert_eq!(session(&URL_SAFE_NO_PAD.encode(format!("{micros}.a"))), None);
        }
        assert_eq!(iccid(&of_record(place)), None);
        let at = DateTime::UNIX_EPOCH;
        let place = SessionPlace { last_reading_at: at, session_id: "a.b".into() };
        let cursor = URL_SAFE_NO_PAD.encode("0.a.b");
        assert_eq!(session(&cursor), Some(place));
        for bad in ["", "!", "MA", &URL_SAFE_NO_PAD.encode("0.a\0b"), &URL_SAFE_NO_PAD.encode("x.a")] {
            assert_eq!(session(bad), None, "{bad}");
        }
    }
}
