//! Keys: what makes a repetition recognisable, and below which moment none is given any more.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use crate::domain::{Rejection, RejectionCode};

use super::batch::{KeyOutcome, NewRecord};
use super::{Statement, statement};

pub(super) static RELEASE_KEYS: Statement =
    statement!("release_keys", INT4_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8);

/// First moment of which raw records are kept; `None` while all are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RawFloor(pub(super) Option<DateTime<Utc>>);

impl RawFloor {
    /// Why a record cannot be stored, if it lies below.
    fn refuses(self, new: &NewRecord) -> Option<Rejection> {
        let floor = self.0.filter(|floor| new.record.period_start < *floor)?;
        Some(Rejection::new(
            RejectionCode::TooOld,
            "periodStart",
            format!(
                "lies before {}, and the records of that time are no longer kept",
                floor.format("%F %T UTC")
            ),
        ))
    }
}

/// Claimed records below the floor, by their index in `records`.
pub(super) fn below_floor(
    floor: RawFloor,
    records: &[NewRecord],
    keys: &[KeyOutcome],
) -> Vec<(usize, Rejection)> {
    if floor.0.is_none() {
        return Vec::new();
    }
    let claimed = records.iter().zip(keys).enumerate().filter(|(_, (_, key))| **key == KeyOutcome::Stored);
    claimed.filter_map(|(index, (new, _))| Some((index, floor.refuses(new)?))).collect()
}

/// The ids under which one batch was tried.
#[derive(Clone, Copy)]
pub(super) struct Attempts<'b> {
    pub(super) current: i64,
    pub(super) earlier: &'b [i64],
}

/// Who holds a key.
pub(super) struct HeldKey<'r> {
    fingerprint: &'r [u8],
    pub(super) write_id: i64,
    pub(super) processed_at: DateTime<Utc>,
}

impl<'r> HeldKey<'r> {
    /// A row of find_keys.sql. `None` when the key was deleted after it had been found taken.
    pub(super) fn from_row(row: &'r Row) -> Option<Self> {
        let write_id: Option<i64> = row.get("write_id");
        Some(Self {
            write_id: write_id?,
            fingerprint: row.get("fingerprint"),
            processed_at: row.get("processed_at"),
        })
    }

    /// What this says about `new`.
    pub(super) fn outcome(
        &self,
        new: &NewRecord,
        write: Attempts<'_>,
        written_before: bool,
        floor: RawFloor,
    ) -> KeyOutcome {
        if write.earlier.contains(&self.write_id) {
            return KeyOutcome::Stored;
        }
        if self.write_id == write.current {
            // This attempt could claim what the committed one had claimed and given back.
            let given_back = || {
                let why = "was refused; the quarantine says why";
                Rejection::new(RejectionCode::BadCorrection, "corrects", why)
            };
            return if written_before {
                KeyOutcome::Rejected(floor.refuses(new).unwrap_or_else(given_back))
            } else {
                KeyOutcome::Stored
            };
        }
        if self.fingerprint == new.fingerprint.0 {
            return KeyOutcome::Duplicate(self.processed_at);
        }
        KeyOutcome::Rejected(Rejection::new(
            RejectionCode::Conflict,
            "recordId",
            "was stored before with other content; a change needs a correction or a new recordId",
        ))
    }
}

/// The three columns of a key, as parameters.
pub(super) struct KeyColumns<'r> {
    pub(super) tenants: Vec<i32>,
    pub(super) iccids: Vec<&'r str>,
    pub(super) record_ids: Vec<&'r str>,
}

impl<'r> KeyColumns<'r> {
    pub(super) fn of(records: impl Iterator<Item = &'r NewRecord>) -> Self {
        let mut columns = Self { tenants: Vec::new(), iccids: Vec::new(), record_ids: Vec::new() };
        for new in records {
            columns.tenants.push(new.record.key.tenant.0);
            columns.iccids.push(new.record.key.iccid.as_str());
            columns.record_ids.push(&new.record.key.record_id);
        }
        columns
    }
}
