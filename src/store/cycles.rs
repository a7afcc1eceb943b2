use chrono::{DateTime, Utc};

use crate::domain::UsageRecord;

use super::writes::INVENTORY_SHARED;
use super::{Statement, Store, StoreError, statement};

static ENSURE_CYCLES: Statement = statement!("ensure_cycles", TEXT_ARRAY, TIMESTAMPTZ_ARRAY, TIMESTAMPTZ);
static ROLL_CYCLES: Statement = statement!("roll_cycles", TIMESTAMPTZ, INT4);

/// SIMs whose cycle is rolled over in one transaction: a few milliseconds during which their batches wait.
const ROLL_CHUNK: i32 = 500;

impl Store {
    /// Makes the cycles that hold these records, for SIMs that are provisioned.
    pub(super) async fn ensure_cycles<'r>(
        &self,
        records: impl Iterator<Item = &'r UsageRecord>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (iccids, moments): (Vec<&str>, Vec<DateTime<Utc>>) =
            records.map(|record| (record.key.iccid.as_str(), record.period_start)).unzip();
        self.in_time(async |client| {
            let tx = client.transaction().await?;
            INVENTORY_SHARED.rows(&tx, self.mode, &[]).await?;
            ENSURE_CYCLES.rows(&tx, self.mode, &[&iccids, &moments, &now]).await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    /// Archives cycles that have ended and begins the next ones, until none is due. Returns the number of SIMs.
    ///
    /// # Errors
    /// [`StoreError`]; what was rolled before stays so.
    pub async fn roll_cycles(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut rolled = 0;
        loop {
            let mut client = self.client().await?;
            let tx = client.transaction().await?;
            INVENTORY_SHARED.rows(&tx, self.mode, &[]).await?;
            let rows = ROLL_CYCLES.rows(&tx, self.mode, &[&now, &ROLL_CHUNK]).await?;
            tx.commit().await?;
            let chunk: i32 = rows[0].get(0);
            rolled += u64::try_from(chunk).unwrap_or(0);
            if chunk == 0 {
                return Ok(rolled);
            }
        }
    }
}
