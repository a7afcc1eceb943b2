//! What was read becomes records, as far as it is news and believed.

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tracing::info;

use crate::source::readings::{DeliveryError, FirstReading, Outcome, Reading, Readings, session_id};
use crate::store::sessions::SessionReading;

use super::PanelSource;
use super::figures::{Figure, shown};
use super::notes::{Notes, Trouble};
use super::reset::Meaning;

/// The figure of an account, and when it was asked for.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) account: String,
    pub(super) asked_at: DateTime<Utc>,
    pub(super) figure: Figure,
}

/// What became of a figure.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub(crate) figure: Figure,
    /// What was counted up to.
    pub(crate) previous: Option<SessionReading>,
    /// What the figure means beside it; `None` for the first one.
    pub(crate) meaning: Option<Meaning>,
    /// `None` when it was withheld.
    pub(crate) outcome: Option<Outcome>,
}

impl Counted {
    /// Bytes that the figure adds to what was counted.
    pub(crate) fn delta_bytes(&self) -> i64 {
        let total = self.figure.total_bytes();
        match (self.meaning, &self.previous) {
            (Some(Meaning::Forward), Some(previous)) => total - total_of(previous),
            (Some(Meaning::Reset), _) => total,
            (None, _) if self.outcome != Some(Outcome::Base) => total,
            _ => 0,
        }
    }
}

pub(super) fn total_of(reading: &SessionReading) -> i64 {
    reading.upload_bytes + reading.download_bytes
}

impl PanelSource {
    /// Waits until what is news is committed. One entry for each, in their order.
    pub(super) async fn count(
        &self,
        read: Vec<Read>,
        readings: &Readings,
        notes: &mut Notes,
    ) -> Result<Vec<Counted>, DeliveryError> {
        let name = self.state.name();
        let ids: Vec<String> = read.iter().map(|read| session_id(name, &read.account, "total")).collect();
        let newest = readings.newest(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let (mut counted, mut due, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (read, id)) in read.iter().zip(&ids).enumerate() {
            self.state.message();
            let previous = newest.get(id).cloned();
            let note = notes.of(&read.account);
            // To the millisecond, of which the record's id is made.
            let at = DateTime::from_timestamp_millis(read.asked_at.timestamp_millis());
            let at = at.unwrap_or(read.asked_at);
            let meaning = previous.as_ref().map(|previous| {
                let total = read.figure.total_bytes();
                self.options.reset.judge(total_of(previous), total, at, &mut note.low)
            });
            if !matches!(meaning, Some(Meaning::Behind | Meaning::Doubtful)) {
                let (upload_bytes, download_bytes) = amounts(&read.figure, previous.as_ref(), meaning);
                due.push(Reading {
                    account: read.account.clone(),
                    session_id: id.clone(),
                    upload_bytes,
                    download_bytes,
                    began_at: at,
                    before: note.counted_at,
                    taken_at: at,
                    mccmnc: None,
                    from: Some(previous.as_ref().map(SessionReading::place).unwrap_or_default()),
                });
                places.push(index);
            }
            counted.push(Counted { figure: read.figure.clone(), previous, meaning, outcome: None });
        }
        self.state.window(due.len(), (!due.is_empty()).then(Instant::now));
        let outcomes = readings.deliver(&due, self.clock.now()).await;
        self.state.window(0, None);
        for ((index, reading), outcome) in places.into_iter().zip(&due).zip(outcomes?) {
            if outcome == Outcome::UnknownAccount
                && notes.trouble(name, &reading.account, Trouble::Unknown, "")
                && self.is_worth_parking()
            {
                readings.park_unknown(reading, self.clock.now()).await?;
            }
            counted[index].outcome = Some(outcome);
        }
        for (read, counted) in read.iter().zip(&counted) {
            self.note(read, counted, notes);
        }
        Ok(counted)
    }

    /// Whether the reading of an unknown account says something: it would count, and the account is not one of the many that a
    /// list may tell beside those that are meant.
    fn is_worth_parking(&self) -> bool {
        let is_meant = self.options.list.is_none() || !self.options.accounts.is_empty();
        self.options.first == FirstReading::Counts && is_meant
    }

    fn note(&self, read: &Read, counted: &Counted, notes: &mut Notes) {
        let (source, account) = (self.state.name(), read.account.as_str());
        let values = || {
            let previous = counted.previous.as_ref().map_or(0, total_of);
            format!("{} bytes after {previous}", counted.figure.total_bytes())
        };
        match (&counted.outcome, counted.meaning) {
            (Some(Outcome::UnknownAccount), _) => self.state.unknown_account(),
            (Some(Outcome::Parked(why)), _) => {
                notes.trouble(source, account, Trouble::Parked, &why.to_string());
            }
            (None, Some(Meaning::Doubtful)) => {
                notes.trouble(source, account, Trouble::Doubtful, &values());
            }
            (None, _) => {
                notes.trouble(source, account, Trouble::Behind, &values());
            }
            (Some(_), meaning) => {
                self.state.acknowledged();
                if meaning == Some(Meaning::Reset) {
                    let (account, values) = (shown(account), values());
                    info!(source, account, values, "the value of an account began anew");
                }
                notes.well(account);
                notes.of(account).counted_at = Some(read.asked_at);
            }
        }
    }
}

/// The counters of a session that only go forward: as they were read where both directions do; else, for a panel that tells
/// them now and then only, all that is new as download.
fn amounts(figure: &Figure, previous: Option<&SessionReading>, meaning: Option<Meaning>) -> (i64, i64) {
    let as_read = (figure.upload_bytes, figure.download_bytes);
    match (previous, meaning) {
        (Some(held), Some(Meaning::Forward))
            if as_read.0 < held.upload_bytes || as_read.1 < held.download_bytes =>
        {
            (held.upload_bytes, figure.total_bytes() - held.upload_bytes)
        }
        _ => as_read,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches a direction that is missing in one answer and counts again with the next.
    #[test]
    fn only_the_sum_of_both_directions_decides() {
        let figure =
            |upload_bytes, download_bytes| Figure { upload_bytes, download_bytes, found: String::new() };
        let held = |upload_bytes, download_bytes| SessionReading {
            iccid: "8941000000000000001".into(),
            session_id: "s".into(),
            upload_bytes,
            download_bytes,
            taken_at: DateTime::UNIX_EPOCH,
            began_at: None,
            ended_at: None,
        };
        let forward = Some(Meaning::Forward);
        assert_eq!(amounts(&figure(3, 9), Some(&held(2, 9)), forward), (3, 9));
        assert_eq!(amounts(&figure(0, 13), Some(&held(3, 9)), forward), (3, 10), "a total after directions");
        assert_eq!(amounts(&figure(4, 10), Some(&held(0, 13)), forward), (0, 14), "and directions after it");
        assert_eq!(amounts(&figure(4, 9), Some(&held(3, 10)), forward), (3, 10), "nothing new");
        assert_eq!(amounts(&figure(1, 2), Some(&held(3, 9)), Some(Meaning::Reset)), (1, 2));
        assert_eq!(amounts(&figure(1, 2), None, None), (1, 2));
    }
}
