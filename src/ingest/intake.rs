//! What a writer took from the queue: decoded, waiting for a decision on every record, then acknowledged.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::OwnedSemaphorePermit;

use crate::domain::{Iccid, ParkedRecord, Provenance, Rejection};
use crate::payload::{self, Decoded, Envelope, PayloadLimits};
use crate::store::{KeyOutcome, NewRecord};
use crate::traces::Span;

use super::metrics::IngestMetrics;
use super::queue::{Acknowledge, Message, Queued, Receipt, RecordReceipt, RecordStatus};
use super::round::{Place, Round};
use super::traced::Tally;
use super::under_way::Holding;

/// A decoded message that is not acknowledged yet.
struct Pending {
    acknowledge: Option<Acknowledge>,
    batch_id: Option<String>,
    /// One for each element of the payload, filled as they are decided.
    receipts: Vec<Option<RecordReceipt>>,
    /// Held until the acknowledgement, so that the queue's bound covers what is being written.
    _bytes: OwnedSemaphorePermit,
}

/// Decoded messages and what they carry.
pub(super) struct Intake {
    _holding: Holding,
    pub(super) span: Span,
    pending: Vec<Pending>,
    /// Good records, in the order of arrival.
    pub(super) arrived: Vec<(NewRecord, Place)>,
    /// Records that cannot be stored.
    pub(super) parked: Vec<ParkedRecord>,
}

impl Intake {
    /// Without a message.
    pub(super) fn under_way(holding: Holding, span: Span) -> Self {
        Self { _holding: holding, span, pending: Vec::new(), arrived: Vec::new(), parked: Vec::new() }
    }

    /// Decodes one more message.
    pub(super) fn add(&mut self, queued: Queued, limits: &PayloadLimits, metrics: &IngestMetrics) {
        let Queued { message, refused, origin: _, _bytes } = queued;
        let envelope = Envelope {
            tenant: message.sender.tenant,
            topic_iccid: message.topic_iccid.as_deref(),
            own_iccid: message.sender.iccid.as_ref().map(Iccid::as_str),
            may_correct: message.sender.may_correct,
            now: message.received_at,
        };
        let Decoded { batch_id, elements } = match refused {
            Some(rejection) => payload::refused(&message.payload, envelope, rejection),
            None => payload::decode(&message.payload, envelope, limits),
        };
        metrics.message_decoded(message.sender.via, elements.len());
        let Message { sender, topic, acknowledge, .. } = message;
        let provenance = Provenance {
            via: sender.via.as_str(),
            sender: Arc::from(sender.name.as_str()),
            topic: Arc::from(topic),
            payload: bytes::Bytes::new(),
        };
        let mut receipts = Vec::with_capacity(elements.len());
        for (index, element) in elements.into_iter().enumerate() {
            let provenance = Provenance { payload: element.raw, ..provenance.clone() };
            let place = Place { message: self.pending.len(), element: index };
            match element.result {
                Ok(record) => {
                    let fingerprint = record.fingerprint();
                    self.arrived.push((NewRecord { record, fingerprint, provenance }, place));
                    receipts.push(None);
                }
                Err(bad) => {
                    receipts.push(Some(RecordReceipt {
                        record_id: bad.record_id.clone(),
                        status: RecordStatus::Parked(bad.rejection.clone()),
                    }));
                    self.parked.push(ParkedRecord {
                        tenant: sender.tenant,
                        iccid: bad.iccid,
                        record_id: bad.record_id,
                        rejection: bad.rejection,
                        provenance,
                    });
                }
            }
        }
        self.pending.push(Pending { acknowledge, batch_id, receipts, _bytes });
    }

    /// Notes what the database decided about a round.
    pub(super) fn decide(
        &mut self,
        round: &Round,
        outcomes: &[(KeyOutcome, DateTime<Utc>)],
        metrics: &IngestMetrics,
    ) {
        let mut told = vec![false; round.records.len()];
        for (of, place) in &round.places {
            let record = &round.records[*of].record;
            let (outcome, processed_at) = &outcomes[*of];
            let repeated = std::mem::replace(&mut told[*of], true);
            let status = match outcome {
                KeyOutcome::Stored if repeated => RecordStatus::Duplicate { processed_at: *processed_at },
                KeyOutcome::Stored => {
                    if record.total_mismatch {
                        metrics.total_mismatched();
                    }
                    RecordStatus::Stored { processed_at: *processed_at }
                }
                KeyOutcome::Duplicate(at) => RecordStatus::Duplicate { processed_at: *at },
                KeyOutcome::Rejected(rejection) => RecordStatus::Parked(Rejection::clone(rejection)),
            };
            self.pending[place.message].receipts[place.element] =
                Some(RecordReceipt { record_id: Some(record.key.record_id.clone()), status });
        }
    }

    /// Counts and acknowledges every message; all of them are decided.
    pub(super) fn acknowledge(self, metrics: &IngestMetrics) -> Tally {
        let mut tally = Tally::default();
        for pending in self.pending {
            let records: Vec<RecordReceipt> = pending.receipts.into_iter().flatten().collect();
            for record in &records {
                metrics.record_decided(&record.status);
                tally.add(&record.status);
            }
            if let Some(acknowledge) = pending.acknowledge {
                acknowledge(Receipt { batch_id: pending.batch_id, records });
            }
        }
        tally
    }
}
