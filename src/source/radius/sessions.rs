//! What a report of a session is worth, given what is stored of it.
//!
//! Datagrams come late, twice and out of order, counters of 32 bits wrap, and a NAS that restarts may give ids again. Within
//! one session counters only grow (RFC 2866, 5.3), so their order is the true one: what is lower came late. The time only
//! tells whether it is still the same session.

use chrono::{DateTime, TimeDelta, Utc};

use super::accounting::{Event, SessionReport};
use crate::source::readings::Reading;
use crate::store::sessions::SessionReading;

/// How far times of one NAS may lie apart that should be equal: it counts in whole seconds, and a request without
/// Event-Timestamp took a while to arrive.
const JITTER: TimeDelta = TimeDelta::seconds(5);
const TICK: TimeDelta = TimeDelta::milliseconds(1);
/// A 32-bit counter starts again here.
const WRAP: i64 = 1 << 32;

/// What is to be done about a report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// The session begins at zero at this time; what is stored of it under the same id was another one.
    pub(super) begin_at: Option<DateTime<Utc>>,
    /// A reading that counts.
    pub(super) count: Option<Reading>,
    /// What is stored of the session ended at this time, if not before.
    pub(super) end_at: Option<DateTime<Utc>>,
}

pub(super) fn decide(report: &SessionReport, newest: Option<&SessionReading>) -> Decision {
    match report.event {
        Event::Start => start(report.reading.taken_at, newest),
        Event::Interim | Event::Stop => usage(report, newest),
    }
}

fn start(at: DateTime<Utc>, newest: Option<&SessionReading>) -> Decision {
    let begins = Decision { begin_at: Some(at), ..Decision::default() };
    match newest {
        None => begins,
        // Repeated, or overtaken by what came after it.
        Some(stored) if at <= stored.taken_at + JITTER => Decision::default(),
        Some(stored) if stored.ended_at.is_some() => begins,
        // Either the id is used again and the end was lost, or this came late without a time. The next reading knows.
        Some(_) => Decision { end_at: Some(at), ..Decision::default() },
    }
}

fn usage(report: &SessionReport, newest: Option<&SessionReading>) -> Decision {
    let reading = &report.reading;
    let ends = |at: DateTime<Utc>| (report.event == Event::Stop).then_some(at);
    let counts = |reading: Reading| Decision {
        end_at: ends(reading.taken_at),
        count: report.counted.then_some(reading),
        ..Decision::default()
    };
    let Some(stored) = newest else { return counts(reading.clone()) };
    let upload = goes_on(stored.upload_bytes, reading.upload_bytes, report.wide[0]);
    let download = goes_on(stored.download_bytes, reading.download_bytes, report.wide[1]);
    let went_back = report.counted && (upload.is_none() || download.is_none());
    if is_another(report, stored, went_back) {
        // Without its time it is only known that it is younger than what ended.
        let begin_at = if report.timed { reading.began_at } else { reading.taken_at };
        // A record has to lie after it.
        let begin_at = begin_at.min(reading.taken_at - TICK);
        return Decision { begin_at: Some(begin_at), ..counts(reading.clone()) };
    }
    if stored.began_at.is_some_and(|began| reading.taken_at < began - JITTER) {
        // Late, of the session that had the id before.
        return Decision::default();
    }
    let mut later = reading.clone();
    later.upload_bytes = upload.unwrap_or(stored.upload_bytes);
    later.download_bytes = download.unwrap_or(stored.download_bytes);
    let is_more = (later.upload_bytes, later.download_bytes) != (stored.upload_bytes, stored.download_bytes);
    if report.counted && is_more {
        // Whole seconds: a Stop often has the time of the reading before it.
        later.taken_at = later.taken_at.max(stored.taken_at + TICK);
        return counts(later);
    }
    Decision { end_at: ends(reading.taken_at.max(stored.taken_at)), ..Decision::default() }
}

/// A session with the id of one that is over. A clock that was set makes the time of its beginning jump, so the time alone
/// does not decide: the stored one was told to have ended, or counters went back, which they never do within one.
fn is_another(report: &SessionReport, stored: &SessionReading, went_back: bool) -> bool {
    if report.timed {
        let younger = report.reading.began_at > stored.taken_at + JITTER;
        return younger && (stored.ended_at.is_some() || went_back);
    }
    stored.ended_at.is_some_and(|ended| report.reading.taken_at > ended + JITTER)
}

/// Where a counter stands, with the wraps that it does not show itself; `None` when it went back.
fn goes_on(stored: i64, told: i64, wide: bool) -> Option<i64> {
    if wide || told >= stored {
        return (told >= stored).then_some(told);
    }
    // Serial numbers (RFC 1982): less than half a round ahead is ahead, more is behind.
    let ahead = (told - stored).rem_euclid(WRAP);
    (ahead < WRAP / 2).then_some(stored + ahead)
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
