use chrono::{DateTime, Utc};

use crate::domain::{Fingerprint, ParkedRecord, Provenance, Rejection, UsageRecord};

/// A validated record on its way into the database.
#[derive(Clone, Debug)]
pub struct NewRecord {
    pub record: UsageRecord,
    pub fingerprint: Fingerprint,
    /// Needed when the record turns out to be in conflict and is parked.
    pub provenance: Provenance,
}

impl NewRecord {
    /// The record as it is parked when the database finds `rejection`.
    pub fn parked(&self, rejection: Rejection) -> ParkedRecord {
        ParkedRecord {
            tenant: self.record.key.tenant,
            iccid: Some(self.record.key.iccid.to_string()),
            record_id: Some(self.record.key.record_id.clone()),
            rejection,
            provenance: self.provenance.clone(),
        }
    }
}

/// What one transaction writes. Records are sorted by key and no key stands twice; no correction stands together with
/// the record that it corrects.
#[derive(Clone, Copy, Debug)]
pub struct WriteBatch<'b> {
    /// Names this write.
    pub write_id: i64,
    /// Ids of earlier attempts with the same batch that ended ambiguously. One of them may have been committed with only
    /// the reply to COMMIT lost: its keys then bear its id, and the batch is recognised as written.
    pub earlier: &'b [i64],
    pub records: &'b [NewRecord],
    pub parked: &'b [ParkedRecord],
    /// When a record is refused, none is stored and none parked; the outcome tells which.
    pub all_or_none: bool,
}

/// What became of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOutcome {
    Stored,
    /// Stored before, at this time, with the same content.
    Duplicate(DateTime<Utc>),
    /// Parked in the same transaction.
    Rejected(Rejection),
}

/// The committed result.
#[derive(Clone, Debug)]
pub struct WriteOutcome {
    pub processed_at: DateTime<Utc>,
    /// One for each record, in the order of [`WriteBatch::records`].
    pub keys: Vec<KeyOutcome>,
}
