use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::{CounterPlace, Iccid, Rejection};

/// The largest amount of one record: 2^45 bytes (35 TB), so that no sum of a cycle can overflow `numeric(30,0)` and
/// every amount survives a JSON number (2^53).
pub const MAX_AMOUNT: i64 = 1 << 45;

/// The tenant in whose name something was sent. Never read from a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(pub i32);

/// What identifies a record: the same key again is a repetition, never new usage.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    pub tenant: TenantId,
    pub iccid: Iccid,
    pub record_id: String,
}

/// Amounts of one record; negative only in corrections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    pub upload_bytes: i64,
    pub download_bytes: i64,
    /// As sent. May differ from upload + download; such records are counted in a metric.
    pub total_bytes: i64,
    pub sms_count: i64,
    pub voice_seconds: i64,
}

/// Cumulative readings of one session since it began, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterSample {
    pub session_id: String,
    pub upload_bytes: i64,
    pub download_bytes: i64,
    /// Where the session stood when this was read, from those who know what a lower value means; see
    /// [`CounterReading::advance_from`](super::CounterReading::advance_from).
    pub from: Option<CounterPlace>,
}

/// What a record says was used: amounts of its period, or readings that become amounts when it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    Amounts(Amounts),
    Counters(CounterSample),
}

/// A validated usage record (contract §1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRecord {
    pub key: RecordKey,
    pub period_start: DateTime<Utc>,
    pub period_end: DateTime<Utc>,
    pub usage: Usage,
    /// Total, upload and download were all given and disagree; kept as sent and counted. No part of the fingerprint.
    pub total_mismatch: bool,
    /// Serving network of the period, five or six digits.
    pub mccmnc: Option<String>,
    /// `recordId` of the record that this one corrects.
    pub corrects: Option<String>,
    /// What produced the record; says nothing about usage and is no part of the fingerprint.
    pub source: Option<String>,
    /// The sender's name for the batch that carried it; no part of the fingerprint either.
    pub batch_id: Option<String>,
}

/// The first 128 bits of a SHA-256 over everything that a record says about usage. Two records with one key and one
/// fingerprint are the same record sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 16]);

impl UsageRecord {
    /// The content fingerprint. Times count in microseconds, which is what PostgreSQL keeps.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(self.period_start.timestamp_micros().to_be_bytes());
        hash.update(self.period_end.timestamp_micros().to_be_bytes());
        match &self.usage {
            Usage::Amounts(a) => {
                hash.update([0]);
                for amount in [a.upload_bytes, a.download_bytes, a.total_bytes, a.sms_count, a.voice_seconds]
                {
                    hash.update(amount.to_be_bytes());
                }
            }
            Usage::Counters(c) => {
                hash.update([1]);
                hash.update(c.upload_bytes.to_be_bytes());
                hash.update(c.download_bytes.to_be_bytes());
                update_text(&mut hash, Some(&c.session_id));
                if let Some(from) = c.from {
                    hash.update(from.upload_bytes.to_be_bytes());
                    hash.update(from.download_bytes.to_be_bytes());
                }
            }
        }
        update_text(&mut hash, self.mccmnc.as_deref());
        update_text(&mut hash, self.corrects.as_deref());
        let digest = hash.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Fingerprint(bytes)
    }
}

/// Length first, so that no two different sequences of texts feed the same bytes.
fn update_text(hash: &mut Sha256, text: Option<&str>) {
    match text {
        None => hash.update(u32::MAX.to_be_bytes()),
        Some(text) => {
            // Texts are bounded to 100 characters by validation, so the length fits.
            hash.update((text.len() as u32).to_be_bytes());
            hash.update(text);
        }
    }
}

/// Where something came from and what it looked like: kept with parked records, so that they can be mended and replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The way it came in, for example `mqtt`.
    pub via: &'static str,
    /// MQTT client id, API key name or name of a file.
    pub sender: Arc<str>,
    /// Topic as published, or file and line; empty when it came otherwise.
    pub topic: Arc<str>,
    /// The record as it was sent.
    pub payload: Bytes,
}

/// A record that is not stored, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedRecord {
    pub tenant: TenantId,
    /// As far as the payload or the topic tells.
    pub iccid: Option<String>,
    pub record_id: Option<String>,
    pub rejection: Rejection,
    pub provenance: Provenance,
}
