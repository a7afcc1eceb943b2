//! SIMs that change hands, carrier or plan, also for the past.

use chrono::{DateTime, Utc};
use tokio_postgres::types::ToSql;

use crate::domain::{Iccid, TenantId};

use super::sims::{ENSURE_CYCLES, IMPORT_CARRIERS, INVENTORY_EXCLUSIVE, STAMP_RECORDS};
use super::{Statement, Store, StoreError, statement};

static MOVE_SIM: Statement = statement!("move_sim", TEXT, INT4, TEXT, TEXT, TIMESTAMPTZ);

/// What counts for a SIM from a moment on. `None` leaves what counts now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimMove {
    pub iccid: Iccid,
    pub tenant: Option<TenantId>,
    pub carrier: Option<String>,
    /// A plan of the tenant that has the SIM after the move. A SIM that changes tenants without one has none.
    pub rate_plan: Option<String>,
    pub from: DateTime<Utc>,
}

/// What became of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// Records that count elsewhere now.
    Done {
        records: i64,
    },
    UnknownSim,
    /// The tenant has no such plan.
    UnknownPlan,
}

impl Store {
    /// Moves a SIM. Its records since then, their cycles and rollups follow in the same transaction.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn move_sim(&self, to: &SimMove, now: DateTime<Utc>) -> Result<Moved, StoreError> {
        self.in_time(async |client| {
            let tx = client.transaction().await?;
            INVENTORY_EXCLUSIVE.rows(&tx, self.mode, &[]).await?;
            let iccid = to.iccid.as_str();
            let (carriers, networks) = (vec![to.carrier.as_deref()], vec![None::<&str>]);
            IMPORT_CARRIERS.execute(&tx, self.mode, &[&carriers, &networks]).await?;
            let tenant = to.tenant.map(|tenant| tenant.0);
            let params: [&(dyn ToSql + Sync); 5] = [&iccid, &tenant, &to.carrier, &to.rate_plan, &to.from];
            let rows = MOVE_SIM.rows(&tx, self.mode, &params).await?;
            let Some(row) = rows.first() else { return Ok(Moved::UnknownSim) };
            if !row.get::<_, bool>("plan_known") {
                return Ok(Moved::UnknownPlan);
            }
            let iccids = vec![iccid];
            ENSURE_CYCLES.rows(&tx, self.mode, &[&iccids, &vec![now], &now]).await?;
            // All of its records: a tenant that never owned it after all has what it sent to itself again.
            let since = DateTime::<Utc>::UNIX_EPOCH;
            let records = STAMP_RECORDS.rows(&tx, self.mode, &[&iccids, &since, &now]).await?[0].get(0);
            tx.commit().await?;
            Ok(Moved::Done { records })
        })
        .await
    }
}
