//! A parked record is tried again: decoded by today's rules, stored by the transaction that stores everything else.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use thiserror::Error;

use crate::config::Config;
use crate::domain::{Clock, Iccid, Provenance};
use crate::ingest::queue::{RecordReceipt, RecordStatus, Via};
use crate::ingest::round::{Place, Round};
use crate::ingest::topics::UsageTopics;
use crate::payload::{self, Envelope, PayloadLimits};
use crate::store::quarantine::{QuarantineEntry, Resolution};
use crate::store::{KeyOutcome, NewRecord, Remedy, Store, StoreError, WriteBatch, WriteOutcome};

/// What a record is judged by beside its tenant.
#[derive(Clone, Debug)]
pub struct ReplayRules {
    topics: Option<UsageTopics>,
    pub(crate) limits: PayloadLimits,
}

impl ReplayRules {
    pub fn new(config: &Config) -> Self {
        Self { topics: UsageTopics::parse(&config.mqtt.topics).ok(), limits: config.ingest.payload_limits() }
    }
}

/// What a row of a file says that was parked because its account stood for no SIM.
#[derive(Deserialize)]
struct OfAccount {
    iccid: Option<IgnoredAny>,
    account: Option<String>,
    mapping: Option<String>,
}

/// Replays parked records.
pub struct Replay<'a> {
    pub store: &'a Store,
    pub rules: &'a ReplayRules,
    pub clock: Clock,
    /// The operator has the permission `usage:correct`.
    pub allow_corrections: bool,
}

/// Why a record stays parked.
#[derive(Debug, Error)]
pub enum ReplayError {
    #[error("is {0} already")]
    NotParked(String),
    #[error("still cannot be stored: {0}")]
    StillRefused(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Replay<'_> {
    /// Stores one entry, with `mended` in place of its payload if given, and marks it replayed. All records of the payload
    /// are stored or none; only corrections of records in the same payload follow in a transaction of their own.
    ///
    /// # Errors
    /// [`ReplayError`]; the entry stays parked then, and nothing is added to the quarantine.
    pub async fn run(
        &self,
        entry: &QuarantineEntry,
        mended: Option<Bytes>,
    ) -> Result<Vec<RecordReceipt>, ReplayError> {
        if entry.state != "parked" {
            return Err(ReplayError::NotParked(entry.state.clone()));
        }
        let payload = mended.unwrap_or_else(|| entry.payload.clone());
        let sim = self.sim_of_account(entry, &payload).await?;
        let mut arrived = self.decode(entry, &payload, sim.as_ref())?;
        let mut receipts: Vec<Option<RecordReceipt>> = vec![None; arrived.len()];
        while !arrived.is_empty() {
            let round = Round::fold(arrived);
            if let Some((new, _)) = round.later.iter().find(|(new, _)| new.record.corrects.is_none()) {
                let id = &new.record.key.record_id;
                return Err(ReplayError::StillRefused(format!(
                    "recordId {id} stands there twice, with other content"
                )));
            }
            let outcome = self.write(&round.records).await?;
            for (of, place) in &round.places {
                let record_id = Some(round.records[*of].record.key.record_id.clone());
                let status = match &outcome.keys[*of] {
                    KeyOutcome::Stored => RecordStatus::Stored { processed_at: outcome.processed_at },
                    KeyOutcome::Duplicate(at) => RecordStatus::Duplicate { processed_at: *at },
                    KeyOutcome::Rejected(why) => return Err(ReplayError::StillRefused(why.to_string())),
                };
                receipts[place.element] = Some(RecordReceipt { record_id, status });
            }
            arrived = round.later;
        }
        self.store.resolve_quarantine(entry.id, Resolution::Replayed).await?;
        Ok(receipts.into_iter().flatten().collect())
    }

    /// The SIM of a row of a file that tells an account instead.
    async fn sim_of_account(
        &self,
        entry: &QuarantineEntry,
        payload: &Bytes,
    ) -> Result<Option<Iccid>, ReplayError> {
        let Ok(OfAccount { iccid: None, account: Some(account), mapping: Some(mapping) }) =
            serde_json::from_slice(payload)
        else {
            return Ok(None);
        };
        let mut known = self.store.resolve_accounts(entry.tenant, &mapping, &[&account]).await?;
        Ok(known.remove(&account))
    }

    fn decode(
        &self,
        entry: &QuarantineEntry,
        payload: &Bytes,
        sim: Option<&Iccid>,
    ) -> Result<Vec<(NewRecord, Place)>, ReplayError> {
        let topic = self.rules.topics.as_ref().and_then(|topics| topics.classify(&entry.topic));
        let envelope = Envelope {
            tenant: entry.tenant,
            topic_iccid: sim.map(Iccid::as_str).or(topic.and_then(|topic| topic.iccid)),
            own_iccid: None,
            may_correct: self.allow_corrections,
            now: self.clock.now(),
        };
        let provenance = Provenance {
            via: Via::Replay.as_str(),
            sender: Arc::from(entry.sender.as_str()),
            topic: Arc::from(entry.topic.as_str()),
            payload: payload.clone(),
        };
        let decoded = payload::decode(payload, envelope, &self.rules.limits);
        let taken = decoded.elements.into_iter().enumerate().map(|(index, element)| {
            let record = element.result.map_err(|bad| ReplayError::StillRefused(bad.to_string()))?;
            let fingerprint = record.fingerprint();
            let new = NewRecord { record, fingerprint, provenance: provenance.clone() };
            Ok((new, Place { message: 0, element: index }))
        });
        taken.collect()
    }

    /// All of the records, or none when one of them is refused.
    async fn write(&self, records: &[NewRecord]) -> Result<WriteOutcome, ReplayError> {
        loop {
            let write_id = self.store.next_write_ids().await?;
            let batch = WriteBatch { write_id, earlier: &[], records, parked: &[], all_or_none: true };
            match self.store.write(batch, self.clock.now()).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) if error.is_contention() => {}
                Err(error) if error.remedy() == Remedy::Isolate => {
                    return Err(ReplayError::StillRefused(error.to_string()));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
