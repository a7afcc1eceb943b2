//! Cumulative readings of sessions, from sources that meter accounts: each becomes a `counters` record of the pipeline.
//!
//! What a reading adds is decided where it is stored, under the session's lock (`store::counters`): readings that come twice, late
//! or after a crash add nothing. What is decided here only keeps records out that would say nothing.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::domain::{CounterPlace, Iccid, Rejection, RejectionCode, TenantId};
use crate::ingest::queue::{IngestQueue, Message, QueueClosed, Receipt, RecordStatus, Sender, Via};
use crate::store::sessions::{SeededSession, SessionReading};
use crate::store::{Store, StoreError};

use super::counting::{Step, newest, since, step};

/// Readings whose sessions are looked up by one query.
const LOOK_UP_AT_ONCE: usize = 1_000;
/// Characters of a session id: with the time of a reading and its digest it has to fit into a record id of 100.
pub(super) const SESSION_ID_MAX_CHARS: usize = 75;

/// A session's counters as a source read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// As the source writes it.
    pub account: String,
    /// Made by [`session_id`].
    pub session_id: String,
    /// Since the session began.
    pub upload_bytes: i64,
    pub download_bytes: i64,
    pub began_at: DateTime<Utc>,
    /// When the source read the session before this; usage lies between the two.
    pub before: Option<DateTime<Utc>>,
    pub taken_at: DateTime<Utc>,
    /// Serving network, where the source tells it.
    pub mccmnc: Option<String>,
    /// Where the session stood when the source decided what this reading means; it adds nothing where that is not so any more.
    /// `None` leaves it to the store what a lower value means.
    pub from: Option<CounterPlace>,
}

/// What the first reading of a session is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstReading {
    /// All of it: the session began when the source says.
    Counts,
    /// Nothing: the counter has run since before simbridge looked.
    IsTheBase,
}

/// Why readings were not delivered. Both are for trying again with newer readings: counters lose nothing by it.
#[derive(Debug, Error)]
pub enum DeliveryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("simbridge is stopping")]
    Stopped,
}

impl From<QueueClosed> for DeliveryError {
    fn from(_: QueueClosed) -> Self {
        Self::Stopped
    }
}

/// What became of one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Committed.
    Stored,
    /// Nothing was used since the reading before, or a newer one was stored already.
    Nothing,
    /// The first one of its session, from which the next ones count.
    Base,
    /// In the quarantine, with the reason.
    Parked(Rejection),
    /// The account stands for no SIM.
    UnknownAccount,
}

/// SIMs of accounts, and the newest readings of sessions.
pub(crate) struct Known {
    sims: HashMap<String, Iccid>,
    sessions: HashMap<String, Vec<SessionReading>>,
}

impl Known {
    /// The SIM that an account stands for.
    pub(crate) fn sim(&self, account: &str) -> Option<&Iccid> {
        self.sims.get(account)
    }

    /// The newest reading of a session, whichever SIM it belonged to.
    pub(crate) fn newest(&self, session_id: &str) -> Option<&SessionReading> {
        newest(self.session(session_id))
    }

    /// A session that begins now, also where another one of its id was known.
    pub(crate) fn begins(&mut self, zero: &SeededSession) {
        let begun = SessionReading {
            iccid: zero.iccid.to_string(),
            session_id: zero.session_id.clone(),
            upload_bytes: zero.upload_bytes,
            download_bytes: zero.download_bytes,
            taken_at: zero.taken_at,
            began_at: Some(zero.taken_at),
            ended_at: None,
        };
        self.sessions.entry(zero.session_id.clone()).or_default().push(begun);
    }

    fn session(&self, session_id: &str) -> &[SessionReading] {
        self.sessions.get(session_id).map_or(&[], Vec::as_slice)
    }
}

/// Brings the readings of one source into the pipeline.
pub struct Readings {
    store: Store,
    queue: IngestQueue,
    sender: Arc<Sender>,
    first: FirstReading,
}

impl Readings {
    /// For the source of this name, in a tenant's name.
    pub fn new(
        store: Store,
        queue: IngestQueue,
        tenant: TenantId,
        source: &str,
        first: FirstReading,
    ) -> Self {
        let name = source.to_owned();
        let sender = Sender { tenant, may_correct: false, iccid: None, via: Via::Source, name };
        Self { store, queue, sender: Arc::new(sender), first }
    }

    /// Waits until every reading is committed or needs no record. One outcome for each, in their order.
    ///
    /// # Errors
    /// [`DeliveryError`]; some of the readings may have been stored.
    pub async fn deliver(
        &self,
        readings: &[Reading],
        now: DateTime<Utc>,
    ) -> Result<Vec<Outcome>, DeliveryError> {
        let mut outcomes = Vec::with_capacity(readings.len());
        for some in readings.chunks(LOOK_UP_AT_ONCE) {
            let known = self.look_up(some.iter()).await?;
            outcomes.extend(self.deliver_known(some, &known, now).await?);
        }
        Ok(outcomes)
    }

    /// The newest readings of sessions that have one, by their ids.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn newest(
        &self,
        session_ids: &[&str],
    ) -> Result<HashMap<String, SessionReading>, StoreError> {
        let mut newest: HashMap<String, SessionReading> = HashMap::new();
        for some in session_ids.chunks(LOOK_UP_AT_ONCE) {
            for reading in self.store.session_readings(self.sender.tenant, some).await? {
                match newest.get(&reading.session_id) {
                    Some(held) if held.taken_at >= reading.taken_at => {}
                    _ => drop(newest.insert(reading.session_id.clone(), reading)),
                }
            }
        }
        Ok(newest)
    }

    /// What is known of the accounts and sessions of readings.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn look_up<'r>(
        &self,
        readings: impl Iterator<Item = &'r Reading> + Clone,
    ) -> Result<Known, StoreError> {
        let tenant = self.sender.tenant;
        // PostgreSQL has no text with a zero in it, and so no such account.
        let accounts = readings.clone().map(|reading| reading.account.as_str());
        let accounts: Vec<&str> = accounts.filter(|account| !account.contains('\0')).collect();
        let sims = self.store.resolve_accounts(tenant, &self.sender.name, &accounts).await?;
        let ids: Vec<&str> = readings.map(|reading| reading.session_id.as_str()).collect();
        let mut sessions: HashMap<String, Vec<SessionReading>> = HashMap::new();
        for reading in self.store.session_readings(tenant, &ids).await? {
            sessions.entry(reading.session_id.clone()).or_default().push(reading);
        }
        Ok(Known { sims, sessions })
    }

    /// Like [`deliver`](Self::deliver), for readings that were looked up a moment ago; no session twice.
    ///
    /// # Errors
    /// As [`deliver`](Self::deliver).
    pub(crate) async fn deliver_known(
        &self,
        readings: &[Reading],
        known: &Known,
        now: DateTime<Utc>,
    ) -> Result<Vec<Outcome>, DeliveryError> {
        let tenant = self.sender.tenant;
        let mut outcomes = vec![Outcome::Nothing; readings.len()];
        let (mut bases, mut moved, mut due) = (Vec::new(), Vec::new(), Vec::new());
        for (index, reading) in readings.iter().enumerate() {
            let Some(iccid) = known.sim(&reading.account) else {
                outcomes[index] = Outcome::UnknownAccount;
                continue;
            };
            match step(reading, iccid, known.session(&reading.session_id), self.first) {
                Step::Nothing => {}
                Step::Base(seed) => {
                    bases.push(seed);
                    outcomes[index] = Outcome::Base;
                }
                Step::Count { from, seed } => {
                    moved.extend(seed);
                    due.push((index, iccid, from));
                }
            }
        }
        for (seeds, moved) in [(bases, false), (moved, true)] {
            if !seeds.is_empty() {
                self.store.seed_sessions(tenant, &seeds, moved).await?;
            }
        }
        let mut waiting = Vec::with_capacity(due.len());
        for (index, iccid, from) in due {
            let (message, receipt) = self.message(&readings[index], Some(iccid), from, now);
            self.queue.send(message).await?;
            waiting.push((index, receipt));
        }
        for (index, receipt) in waiting {
            outcomes[index] = outcome(receipt.await.map_err(|_| DeliveryError::Stopped)?);
        }
        Ok(outcomes)
    }

    /// Parks a reading whose account stands for no SIM, so that it is seen and can be mended: with an `iccid` in it, it counts.
    ///
    /// # Errors
    /// [`DeliveryError::Stopped`].
    pub async fn park_unknown(&self, reading: &Reading, now: DateTime<Utc>) -> Result<(), DeliveryError> {
        self.park_all_unknown(&[reading], now).await
    }

    /// The same for several at once.
    ///
    /// # Errors
    /// [`DeliveryError::Stopped`].
    pub(crate) async fn park_all_unknown(
        &self,
        readings: &[&Reading],
        now: DateTime<Utc>,
    ) -> Result<(), DeliveryError> {
        let mut waiting = Vec::with_capacity(readings.len());
        for reading in readings {
            let (message, receipt) = self.message(reading, None, since(reading, reading.before), now);
            let account = reading.account.replace(char::is_control, "\u{fffd}");
            let reason =
                format!("the account `{account}` stands for no SIM; say which with `simbridge accounts set`");
            let rejection = Rejection::new(RejectionCode::UnknownAccount, "account", reason);
            self.queue.send_refused(message, rejection).await?;
            waiting.push(receipt);
        }
        for receipt in waiting {
            receipt.await.map_err(|_| DeliveryError::Stopped)?;
        }
        Ok(())
    }

    fn message(
        &self,
        reading: &Reading,
        iccid: Option<&Iccid>,
        from: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> (Message, oneshot::Receiver<Receipt>) {
        let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let mut record = json!({
            "recordId": record_id(reading, from),
            "periodStart": time(from),
            "periodEnd": time(reading.taken_at),
            "source": self.sender.name,
            "account": reading.account,
            "counters": {
                "sessionId": reading.session_id,
                "uploadBytes": reading.upload_bytes,
                "downloadBytes": reading.download_bytes,
            },
        });
        if let Some(from) = reading.from {
            record["counters"]["from"] =
                json!({"uploadBytes": from.upload_bytes, "downloadBytes": from.download_bytes});
        }
        if let Some(iccid) = iccid {
            record["iccid"] = iccid.as_str().into();
        }
        if let Some(mccmnc) = &reading.mccmnc {
            record["mccmnc"] = mccmnc.as_str().into();
        }
        let (told, receipt) = oneshot::channel();
        let message = Message {
            sender: self.sender.clone(),
            // An account may look like a topic; a replay would take the SIM from it.
            topic: String::new(),
            topic_iccid: None,
            payload: Bytes::from(record.to_string()),
            received_at: now,
            // Whoever waited may be gone; the record is stored all the same.
            acknowledge: Some(Box::new(move |receipt| drop(told.send(receipt)))),
        };
        (message, receipt)
    }
}

/// Two instances may read a session at the same moment, each having looked before at another: what differs has another id, so
/// that it is no conflict. What each adds is decided by the counters.
fn record_id(reading: &Reading, from: DateTime<Utc>) -> String {
    let Reading { session_id, upload_bytes, download_bytes, taken_at, .. } = reading;
    let digest = Sha256::digest(format!("{} {upload_bytes} {download_bytes}", from.timestamp_micros()));
    format!("{session_id}@{}-{}", taken_at.timestamp_millis(), hex(&digest[..4]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn outcome(receipt: Receipt) -> Outcome {
    match receipt.records.into_iter().next().map(|record| record.status) {
        Some(RecordStatus::Parked(rejection)) => Outcome::Parked(rejection),
        Some(RecordStatus::Stored { .. }) => Outcome::Stored,
        Some(RecordStatus::Duplicate { .. }) | None => Outcome::Nothing,
    }
}

/// The id of a session, the same whenever it is read: its source, account, and what tells it from the account's others. Long
/// ones are told by their SHA-256.
pub fn session_id(source: &str, account: &str, which: &str) -> String {
    let plain = format!("{source}:{account}:{which}");
    if plain.chars().count() <= SESSION_ID_MAX_CHARS && !plain.contains(char::is_control) {
        return plain;
    }
    format!("{source}:{}", hex(&Sha256::digest(&plain)[..16]))
}

#[cfg(test)]
#[path = "readings_tests.rs"]
mod tests;
