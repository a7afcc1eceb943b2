//! Parked records.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use sha2::{Digest, Sha256};
use tokio_postgres::Row;

use crate::domain::{ParkedRecord, TenantId};

use super::{Statement, StatementMode, Store, StoreError, statement};

#[rustfmt::skip]
static PARK_RECORDS: Statement = statement!(
    "park_records",
    INT4_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, BYTEA_ARRAY,
    BYTEA_ARRAY, INT8_ARRAY,
);
static LIST: Statement = statement!("list_quarantine", TEXT, TEXT, INT8, INT8);
static SHOW: Statement = statement!("show_quarantine", INT8);
static OWN: Statement = statement!("own_quarantine", INT4, TEXT, TEXT, TEXT, INT8, INT8);
static OWN_ENTRY: Statement = statement!("own_quarantine_entry", INT4, INT8);
static REASONS: Statement = statement!("quarantine_reasons", INT4, TEXT_ARRAY, INT8);
static PARKED: Statement = statement!("parked_by_reason", INT8);
static RESOLVE: Statement = statement!("resolve_quarantine", INT8, TEXT);

/// A parked record as it stands in the quarantine.
#[derive(Clone, Debug)]
pub struct QuarantineEntry {
    pub id: i64,
    pub tenant: TenantId,
    pub iccid: Option<String>,
    pub record_id: Option<String>,
    pub reason: String,
    pub detail: String,
    pub via: String,
    pub sender: String,
    pub topic: String,
    pub payload: Bytes,
    pub first_seen_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    pub seen_count: i64,
    /// `parked`, `replayed` or `discarded`.
    pub state: String,
}

/// An entry as a list shows it.
#[derive(Clone, Debug)]
pub(crate) struct QuarantineLine {
    pub(crate) id: i64,
    pub(crate) iccid: Option<String>,
    pub(crate) record_id: Option<String>,
    pub(crate) reason: String,
    pub(crate) detail: String,
    pub(crate) via: String,
    pub(crate) sender: String,
    pub(crate) topic: String,
    pub(crate) payload_bytes: i64,
    pub(crate) first_seen_at: DateTime<Utc>,
    pub(crate) last_seen_at: DateTime<Utc>,
    pub(crate) seen_count: i64,
    pub(crate) state: String,
    pub(crate) resolved_at: Option<DateTime<Utc>>,
}

/// Which entries a list shows; empty texts match all.
#[derive(Clone, Debug, Default)]
pub(crate) struct QuarantineFilter {
    pub(crate) state: &'static str,
    pub(crate) reason: String,
    pub(crate) iccid: String,
    /// Entries with lower ids only.
    pub(crate) before: Option<i64>,
}

/// How a parked record leaves the quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    Replayed,
    Discarded,
}

impl Store {
    /// Parked records, newest first: at most `limit`, with ids below `before`. Empty filters match everything.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn list_quarantine(
        &self,
        state: &str,
        reason: &str,
        before: i64,
        limit: i64,
    ) -> Result<Vec<QuarantineEntry>, StoreError> {
        let client = self.client().await?;
        let rows = LIST.rows(&client, self.mode, &[&state, &reason, &before, &limit]).await?;
        Ok(rows.iter().map(QuarantineEntry::from_row).collect())
    }

    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn show_quarantine(&self, id: i64) -> Result<Option<QuarantineEntry>, StoreError> {
        let client = self.client().await?;
        let rows = SHOW.rows(&client, self.mode, &[&id]).await?;
        Ok(rows.first().map(QuarantineEntry::from_row))
    }

    /// Entries of a tenant, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn own_quarantine(
        &self,
        tenant: TenantId,
        filter: &QuarantineFilter,
        limit: i64,
    ) -> Result<Vec<QuarantineLine>, StoreError> {
        let client = self.client().await?;
        let before = filter.before.unwrap_or(i64::MAX);
        let rows = OWN
            .rows(
                &client,
                self.mode,
                &[&tenant.0, &filter.state, &filter.reason, &filter.iccid, &before, &limit],
            )
            .await?;
        Ok(rows.iter().map(|row| QuarantineLine::from_row(row, row.get("payload_bytes"))).collect())
    }

    /// An entry of a tenant, and its line.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn own_quarantine_entry(
        &self,
        tenant: TenantId,
        id: i64,
    ) -> Result<Option<(QuarantineLine, QuarantineEntry)>, StoreError> {
        let client = self.client().await?;
        let rows = OWN_ENTRY.rows(&client, self.mode, &[&tenant.0, &id]).await?;
        let both = |row: &Row| {
            let entry = QuarantineEntry::from_row(row);
            (QuarantineLine::from_row(row, entry.payload.len() as i64), entry)
        };
        Ok(rows.first().map(both))
    }

    /// How many records of a tenant are parked for each of these reasons, most first, none left out but those without any;
    /// each counted up to `at_most`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn quarantine_reasons(
        &self,
        tenant: TenantId,
        reasons: &[&str],
        at_most: i64,
    ) -> Result<Vec<(String, i64)>, StoreError> {
        let client = self.client().await?;
        let rows = REASONS.rows(&client, self.mode, &[&tenant.0, &reasons, &at_most]).await?;
        Ok(rows.iter().map(|row| (row.get("reason"), row.get("parked"))).collect())
    }

    /// How many records of all tenants are parked, by reason, counted up to `at_most` in all. Reasons without any are left out.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn parked_by_reason(&self, at_most: i64) -> Result<Vec<(String, i64)>, StoreError> {
        let client = self.client().await?;
        let rows = PARKED.rows(&client, self.mode, &[&at_most]).await?;
        Ok(rows.iter().map(|row| (row.get("reason"), row.get("parked"))).collect())
    }

    /// False when the entry is not parked (any more).
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn resolve_quarantine(&self, id: i64, resolution: Resolution) -> Result<bool, StoreError> {
        let state = match resolution {
            Resolution::Replayed => "replayed",
            Resolution::Discarded => "discarded",
        };
        let client = self.client().await?;
        Ok(RESOLVE.execute(&client, self.mode, &[&id, &state]).await? == 1)
    }
}

impl QuarantineLine {
    fn from_row(row: &Row, payload_bytes: i64) -> Self {
        Self {
            id: row.get("id"),
            iccid: row.get("iccid"),
            record_id: row.get("record_id"),
            reason: row.get("reason"),
            detail: row.get("detail"),
            via: row.get("via"),
            sender: row.get("sender"),
            topic: row.get("topic"),
            payload_bytes,
            first_seen_at: row.get("first_seen_at"),
            last_seen_at: row.get("last_seen_at"),
            seen_count: row.get("seen_count"),
            state: row.get("state"),
            resolved_at: row.get("resolved_at"),
        }
    }
}

impl QuarantineEntry {
    fn from_row(row: &Row) -> Self {
        let payload: Vec<u8> = row.get("payload");
        Self {
            id: row.get("id"),
            tenant: TenantId(row.get("tenant_id")),
            iccid: row.get("iccid"),
            record_id: row.get("record_id"),
            reason: row.get("reason"),
            detail: row.get("detail"),
            via: row.get("via"),
            sender: row.get("sender"),
            topic: row.get("topic"),
            payload: payload.into(),
            first_seen_at: row.get("first_seen_at"),
            last_seen_at: row.get("last_seen_at"),
            seen_count: row.get("seen_count"),
            state: row.get("state"),
        }
    }
}

/// Parks records in the caller's transaction.
pub(super) async fn park(
    tx: &Transaction<'_>,
    mode: StatementMode,
    parked: &[ParkedRecord],
) -> Result<(), StoreError> {
    if parked.is_empty() {
        return Ok(());
    }
    let folded = fold(parked);
    let tenants: Vec<i32> = folded.iter().map(|(_, p, _)| p.tenant.0).collect();
    let iccids: Vec<_> = folded.iter().map(|(_, p, _)| p.iccid.as_deref().map(storable)).collect();
    let record_ids: Vec<_> = folded.iter().map(|(_, p, _)| p.record_id.as_deref().map(storable)).collect();
    let reasons: Vec<&str> = folded.iter().map(|(_, p, _)| p.rejection.code.as_str()).collect();
    let details: Vec<String> = folded.iter().map(|(_, p, _)| storable(&p.rejection.to_string())).collect();
    let vias: Vec<&str> = folded.iter().map(|(_, p, _)| p.provenance.via).collect();
    let senders: Vec<String> = folded.iter().map(|(_, p, _)| storable(&p.provenance.sender)).collect();
    let topics: Vec<String> = folded.iter().map(|(_, p, _)| storable(&p.provenance.topic)).collect();
    let payloads: Vec<&[u8]> = folded.iter().map(|(_, p, _)| &p.provenance.payload[..]).collect();
    let digests: Vec<&[u8]> = folded.iter().map(|(digest, ..)| &digest[..]).collect();
    let counts: Vec<i64> = folded.iter().map(|(.., count)| *count).collect();
    #[rustfmt::skip]
    PARK_RECORDS.execute(tx, mode, &[
        &tenants, &iccids, &record_ids, &reasons, &details, &vias, &senders, &topics, &payloads, &digests, &counts,
    ]).await?;
    Ok(())
}

/// One entry for each fault, sorted by what the unique index sorts by: one INSERT cannot touch a row twice, and two
/// batches must lock rows in the same order.
fn fold(parked: &[ParkedRecord]) -> Vec<([u8; 16], &ParkedRecord, i64)> {
    let mut folded: Vec<_> = parked.iter().map(|record| (digest(record), record, 1)).collect();
    folded.sort_by_key(|(digest, record, _)| (record.tenant, *digest));
    folded.dedup_by(|again, kept| {
        let same = (again.1.tenant, again.0) == (kept.1.tenant, kept.0);
        if same {
            kept.2 += again.2;
        }
        same
    });
    folded
}

fn digest(record: &ParkedRecord) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in [record.rejection.code.as_str().as_bytes(), record.provenance.topic.as_bytes()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(&record.provenance.payload);
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes
}

/// PostgreSQL's text cannot hold U+0000.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
