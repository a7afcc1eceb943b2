//! What a reading of a session is worth, given what is stored of it.

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::Iccid;
use crate::store::sessions::{SeededSession, SessionReading};

use super::readings::{FirstReading, Reading};

/// The longest period of a record (contract §1).
const LONGEST_PERIOD: TimeDelta = TimeDelta::days(31);

/// What a reading needs, given what is stored of its session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Base(SeededSession),
    /// A record from a moment on, after a place to count from where the session moved to this SIM.
    Count {
        from: DateTime<Utc>,
        seed: Option<SeededSession>,
    },
}

/// What is to be done with a reading of this SIM's session.
pub(super) fn step(reading: &Reading, iccid: &Iccid, held: &[SessionReading], first: FirstReading) -> Step {
    let seed = |upload_bytes, download_bytes, taken_at| SeededSession {
        iccid: iccid.clone(),
        session_id: reading.session_id.clone(),
        upload_bytes,
        download_bytes,
        taken_at,
    };
    match newest(held) {
        None if first == FirstReading::IsTheBase => {
            Step::Base(seed(reading.upload_bytes, reading.download_bytes, reading.taken_at))
        }
        None => Step::Count { from: since(reading, None), seed: None },
        Some(newest) if reading.taken_at <= newest.taken_at => Step::Nothing,
        Some(newest) if reading.from.is_some_and(|from| from != newest.place()) => Step::Nothing,
        Some(newest)
            if (reading.upload_bytes, reading.download_bytes)
                == (newest.upload_bytes, newest.download_bytes) =>
        {
            Step::Nothing
        }
        Some(newest) => Step::Count {
            from: since(reading, reading.before.max(Some(newest.taken_at))),
            // The account stood for another SIM until now: what was read before is that one's.
            seed: (newest.iccid != iccid.as_str())
                .then(|| seed(newest.upload_bytes, newest.download_bytes, newest.taken_at)),
        },
    }
}

/// From when on the usage of a reading lies: the last look whose usage is stored, else the beginning of the session; and not
/// further back than a record may reach.
pub(super) fn since(reading: &Reading, looked: Option<DateTime<Utc>>) -> DateTime<Utc> {
    looked.unwrap_or(reading.began_at).clamp(reading.taken_at - LONGEST_PERIOD, reading.taken_at)
}

/// The newest of what is held of a session, whichever SIM it belonged to.
pub(super) fn newest(held: &[SessionReading]) -> Option<&SessionReading> {
    held.iter().max_by_key(|held| held.taken_at)
}
