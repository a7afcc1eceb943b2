//! Signed corrections: a record plus its corrections is never below zero (invariant I8).

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use tokio_postgres::Row;

use crate::domain::{Amounts, Rejection, RejectionCode, Usage};

use super::batch::{KeyOutcome, NewRecord};
use super::{Statement, StatementMode, StoreError, statement};

static LOCK_CORRECTED: Statement = statement!("lock_corrected", INT4_ARRAY, TEXT_ARRAY, TEXT_ARRAY);
static CORRECTED_AMOUNTS: Statement = statement!("corrected_amounts", INT4_ARRAY, TEXT_ARRAY, TEXT_ARRAY);

/// A record to be corrected: when it was and what is left of it.
struct Corrected {
    period_start: DateTime<Utc>,
    left: Amounts,
}

type Target<'r> = (i32, &'r str, &'r str);

/// Claimed corrections that cannot be stored, by their index in `records`. Locks what the others correct.
pub(super) async fn refused(
    tx: &Transaction<'_>,
    mode: StatementMode,
    records: &[NewRecord],
    keys: &[KeyOutcome],
) -> Result<Vec<(usize, Rejection)>, StoreError> {
    let claimed = || {
        records
            .iter()
            .enumerate()
            .filter(|(index, _)| keys.get(*index) == Some(&KeyOutcome::Stored))
            .filter_map(|(index, new)| {
                new.record.corrects.as_deref().map(|target| (index, new, target_of(new, target)))
            })
    };
    if claimed().next().is_none() {
        return Ok(Vec::new());
    }
    let mut targets: Vec<Target<'_>> = claimed().map(|(_, _, target)| target).collect();
    targets.sort_unstable();
    targets.dedup();
    let mut left = load(tx, mode, &targets).await?;
    Ok(claimed()
        .filter_map(|(index, new, target)| {
            let verdict = match left.get_mut(&target) {
                None => Err("names no stored record of this ICCID (a correction cannot be corrected)"),
                Some(corrected) => corrected.take(new),
            };
            verdict.err().map(|why| (index, Rejection::new(RejectionCode::BadCorrection, "corrects", why)))
        })
        .collect())
}

fn target_of<'r>(new: &'r NewRecord, target: &'r str) -> Target<'r> {
    (new.record.key.tenant.0, new.record.key.iccid.as_str(), target)
}

async fn load<'t>(
    tx: &Transaction<'_>,
    mode: StatementMode,
    targets: &[Target<'t>],
) -> Result<HashMap<Target<'t>, Corrected>, StoreError> {
    let tenants: Vec<i32> = targets.iter().map(|t| t.0).collect();
    let iccids: Vec<&str> = targets.iter().map(|t| t.1).collect();
    let record_ids: Vec<&str> = targets.iter().map(|t| t.2).collect();
    LOCK_CORRECTED.rows(tx, mode, &[&tenants, &iccids, &record_ids]).await?;
    let rows = CORRECTED_AMOUNTS.rows(tx, mode, &[&tenants, &iccids, &record_ids]).await?;
    Ok(targets
        .iter()
        .zip(&rows)
        .filter_map(|(target, row)| Some((*target, Corrected::from_row(row)?)))
        .collect())
}

impl Corrected {
    fn from_row(row: &Row) -> Option<Self> {
        let period_start: Option<DateTime<Utc>> = row.get("period_start");
        Some(Self {
            period_start: period_start?,
            left: Amounts {
                upload_bytes: row.get("upload"),
                download_bytes: row.get("download"),
                total_bytes: row.get("total"),
                sms_count: row.get("sms_count"),
                voice_seconds: row.get("voice_seconds"),
            },
        })
    }

    /// Applies one correction, if it may be made.
    fn take(&mut self, new: &NewRecord) -> Result<(), &'static str> {
        if new.record.period_start != self.period_start {
            return Err("the record that it corrects has another periodStart");
        }
        let Usage::Amounts(change) = &new.record.usage else {
            return Err("a correction states amounts in `usage`, not counters");
        };
        let left = Amounts {
            upload_bytes: self.left.upload_bytes + change.upload_bytes,
            download_bytes: self.left.download_bytes + change.download_bytes,
            total_bytes: self.left.total_bytes + change.total_bytes,
            sms_count: self.left.sms_count + change.sms_count,
            voice_seconds: self.left.voice_seconds + change.voice_seconds,
        };
        let all =
            [left.upload_bytes, left.download_bytes, left.total_bytes, left.sms_count, left.voice_seconds];
        if all.iter().any(|amount| *amount < 0) {
            return Err("would take more than the record and its other corrections add up to");
        }
        self.left = left;
        Ok(())
    }
}
