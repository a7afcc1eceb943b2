//! Claimed records on their way into `usage_records`, as arrays or by COPY.

use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;

use crate::domain::Amounts;

use super::batch::NewRecord;
use super::copying::Copying;
use super::directory::Placement;
use super::keys::KeyColumns;
use super::{Statement, StatementMode, StoreError, statement};

#[rustfmt::skip]
static INSERT_RECORDS: Statement = statement!(
    "insert_records",
    INT4_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TIMESTAMPTZ_ARRAY, TIMESTAMPTZ_ARRAY,
    INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY,
    TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY,
    INT4_ARRAY, TEXT_ARRAY, INT4_ARRAY, INT4_ARRAY, TEXT_ARRAY, INT8,
);
#[rustfmt::skip]
static COPY_RECORDS: Statement = statement!(
    "copy_records",
    INT4, TEXT, TEXT, TIMESTAMPTZ, TIMESTAMPTZ,
    INT8, INT8, INT8, INT8, INT8,
    TEXT, TEXT, TEXT, TEXT,
    INT4, TEXT, INT4, INT4, TEXT, INT8,
);

/// Records with what was found out about them; the three slices go together.
pub(super) struct RecordRows<'a> {
    pub(super) records: &'a [&'a NewRecord],
    pub(super) placements: &'a [Placement],
    pub(super) amounts: &'a [Amounts],
    pub(super) write_id: i64,
}

impl RecordRows<'_> {
    /// Returns how many were stored.
    pub(super) async fn store(
        &self,
        tx: &Transaction<'_>,
        mode: StatementMode,
        copying: &Copying,
    ) -> Result<u64, StoreError> {
        if copying.takes_records(mode, self.records.len()) {
            self.copy(tx).await
        } else {
            self.insert(tx, mode).await
        }
    }

    async fn copy(&self, tx: &Transaction<'_>) -> Result<u64, StoreError> {
        let mut copy = COPY_RECORDS.copy(tx).await?;
        for ((new, place), amounts) in self.records.iter().zip(self.placements).zip(self.amounts) {
            let (record, key, owned) = (&new.record, &new.record.key, place.owned.as_ref());
            #[rustfmt::skip]
            copy.row(&[
                &key.tenant.0, &key.iccid.as_str(), &key.record_id, &record.period_start, &record.period_end,
                &amounts.upload_bytes, &amounts.download_bytes, &amounts.total_bytes, &amounts.sms_count,
                &amounts.voice_seconds, &record.mccmnc, &record.source, &record.batch_id, &record.corrects, &place.tenant.0,
                &owned.map(|o| &*o.sim_id), &owned.and_then(|o| o.carrier_id), &owned.and_then(|o| o.rate_plan_id),
                &owned.map(|o| &*o.cycle_id), &self.write_id,
            ]).await?;
        }
        copy.finish().await
    }

    async fn insert(&self, tx: &Transaction<'_>, mode: StatementMode) -> Result<u64, StoreError> {
        let Self { records, placements, amounts, write_id } = self;
        let columns = KeyColumns::of(records.iter().copied());
        let starts: Vec<_> = records.iter().map(|new| new.record.period_start).collect();
        let ends: Vec<_> = records.iter().map(|new| new.record.period_end).collect();
        let up: Vec<_> = amounts.iter().map(|a| a.upload_bytes).collect();
        let down: Vec<_> = amounts.iter().map(|a| a.download_bytes).collect();
        let total: Vec<_> = amounts.iter().map(|a| a.total_bytes).collect();
        let sms: Vec<_> = amounts.iter().map(|a| a.sms_count).collect();
        let voice: Vec<_> = amounts.iter().map(|a| a.voice_seconds).collect();
        let mccmnc: Vec<_> = records.iter().map(|new| new.record.mccmnc.as_deref()).collect();
        let source: Vec<_> = records.iter().map(|new| new.record.source.as_deref()).collect();
        let batch_id: Vec<_> = records.iter().map(|new| new.record.batch_id.as_deref()).collect();
        let corrects: Vec<_> = records.iter().map(|new| new.record.corrects.as_deref()).collect();
        let tenants: Vec<_> = placements.iter().map(|p| p.tenant.0).collect();
        let owned = || placements.iter().map(|p| p.owned.as_ref());
        let sim_ids: Vec<_> = owned().map(|o| o.map(|o| &*o.sim_id)).collect();
        let carriers: Vec<_> = owned().map(|o| o.and_then(|o| o.carrier_id)).collect();
        let plans: Vec<_> = owned().map(|o| o.and_then(|o| o.rate_plan_id)).collect();
        let cycle_ids: Vec<_> = owned().map(|o| o.map(|o| &*o.cycle_id)).collect();
        #[rustfmt::skip]
        let params: [&(dyn ToSql + Sync); 20] = [
            &columns.tenants, &columns.iccids, &columns.record_ids, &starts, &ends, &up, &down, &total, &sms, &voice,
            &mccmnc, &source, &batch_id, &corrects, &tenants, &sim_ids, &carriers, &plans, &cycle_ids, write_id,
        ];
        INSERT_RECORDS.execute(tx, mode, &params).await
    }
}
