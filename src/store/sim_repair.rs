//! Makes everything that is held of a SIM what its records say (migration V9).

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::domain::Iccid;

use super::rollups::Lock;
use super::{Statement, Store, StoreError, statement};

static REPAIR_SIM: Statement = statement!("repair_sim", TEXT, TIMESTAMPTZ);

/// What a repair changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SimRepair {
    /// Records that were given the tenant, carrier, plan and cycle in force.
    pub records_stamped: i64,
    /// Cycles whose totals were set.
    pub cycles_set: i32,
    /// Days whose rollups, with all sums above them, were made anew.
    pub days_rebuilt: i32,
}

impl Store {
    /// One transaction that shuts out batches and roll-ups, so it is for a SIM that differs from its records and not for
    /// every SIM.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn repair_sim(
        &self,
        iccid: &Iccid,
        now: DateTime<Utc>,
        limit: Duration,
    ) -> Result<SimRepair, StoreError> {
        let repaired = self
            .under_rollup_lock(limit, Lock::Wait, async |tx, mode| {
                let rows = REPAIR_SIM.rows(tx, mode, &[&iccid.as_str(), &now]).await?;
                let row = &rows[0];
                Ok(SimRepair {
                    records_stamped: row.get("stamped"),
                    cycles_set: row.get("cycles"),
                    days_rebuilt: row.get("days"),
                })
            })
            .await?;
        Ok(repaired.expect("whoever waits for the lock gets it"))
    }
}
