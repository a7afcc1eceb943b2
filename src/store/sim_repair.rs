//! Makes everything that is held of a SIM what its records say (migration V9).

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tracing::warn;

use crate::domain::Iccid;

use super::rollups::Lock;
use super::{Statement, Store, StoreError, statement};

static REPAIR_SIM: Statement = statement!("repair_sim", TEXT, TIMESTAMPTZ);

/// A repair that deadlocks with somebody else (40P01) is tried again so often.
const RETRIES: u32 = 5;
const RETRY_DELAY: Duration = Duration::from_millis(500);

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
    /// every SIM. `limit` is that of one attempt, and of all that are begun.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn repair_sim(
        &self,
        iccid: &Iccid,
        now: DateTime<Utc>,
        limit: Duration,
    ) -> Result<SimRepair, StoreError> {
        let (until, mut failures) = (Instant::now() + limit, 0);
        loop {
            match self.try_repair_sim(iccid, now, limit).await {
                // It holds many locks for long, so whoever is in its way may come again.
                Err(error) if error.is_contention() && failures < RETRIES && Instant::now() < until => {
                    failures += 1;
                    warn!(%error, failures, "the repair of a SIM was in another's way and is tried again");
                    tokio::time::sleep(RETRY_DELAY * failures).await;
                }
                done => return done,
            }
        }
    }

    async fn try_repair_sim(
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
