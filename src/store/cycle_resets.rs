//! Cycles that a client ends (migration V12).

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio_postgres::types::ToSql;

use crate::domain::{Iccid, TenantId};

use super::sims::INVENTORY_EXCLUSIVE;
use super::{Statement, Store, StoreError, statement};

static RESET: Statement =
    statement!("reset_cycle", INT4, TEXT, TEXT, TIMESTAMPTZ, TIMESTAMPTZ, JSONB, TIMESTAMPTZ);
static ARCHIVED_USAGE: Statement = statement!("archived_usage", TEXT, INT4, TEXT);

/// Which cycle is to be the current one.
#[derive(Clone, Debug)]
pub struct CycleReset {
    pub tenant: TenantId,
    pub iccid: Iccid,
    /// `YYYY-MM`, the month in which it starts.
    pub cycle_id: String,
    pub starts: DateTime<Utc>,
    pub ends: DateTime<Utc>,
    /// Amounts by the names of `final_usage` that go before those of the records.
    pub final_usage: Option<Value>,
}

/// A cycle that a reset archived; amounts are decimal text, because sums may leave 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedCycle {
    pub id: String,
    pub upload_bytes: String,
    pub download_bytes: String,
    pub total_bytes: String,
    pub sms_count: String,
    pub voice_seconds: String,
}

/// What became of a reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CycleResetOutcome {
    /// Done now, or before.
    Done {
        former: Option<ArchivedCycle>,
    },
    UnknownSim,
    /// Fields with what is wrong with them; nothing was changed.
    Refused(Vec<(String, String)>),
}

impl Store {
    /// Ends the current cycle of a SIM. Records follow the bounds, in cycles and rollups, in the same transaction, which
    /// shuts out batches. Repeated, it changes nothing and has the same outcome.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then, unless it is ambiguous.
    pub async fn reset_cycle(
        &self,
        reset: &CycleReset,
        now: DateTime<Utc>,
    ) -> Result<CycleResetOutcome, StoreError> {
        self.in_time(async |client| {
            let tx = client.transaction().await?;
            INVENTORY_EXCLUSIVE.rows(&tx, self.mode, &[]).await?;
            let (tenant, iccid) = (reset.tenant.0, reset.iccid.as_str());
            let params: [&(dyn ToSql + Sync); 7] =
                [&tenant, &iccid, &reset.cycle_id, &reset.starts, &reset.ends, &reset.final_usage, &now];
            let rows = RESET.rows(&tx, self.mode, &params).await?;
            let row = &rows[0];
            if !row.get::<_, bool>("known") {
                return Ok(CycleResetOutcome::UnknownSim);
            }
            if let Some(faults) = row.get::<_, Option<Value>>("faults") {
                return Ok(CycleResetOutcome::Refused(faults_of(&faults)));
            }
            let mut former = None;
            if let Some(id) = row.get::<_, Option<String>>("former") {
                let rows = ARCHIVED_USAGE.rows(&tx, self.mode, &[&iccid, &tenant, &id]).await?;
                former = rows.first().map(|row| ArchivedCycle {
                    id,
                    upload_bytes: row.get("upload"),
                    download_bytes: row.get("download"),
                    total_bytes: row.get("total"),
                    sms_count: row.get("sms"),
                    voice_seconds: row.get("voice"),
                });
            }
            tx.commit().await.map_err(StoreError::CommitUnconfirmed)?;
            Ok(CycleResetOutcome::Done { former })
        })
        .await
    }
}

/// An array of objects with `field` and `message`.
fn faults_of(faults: &Value) -> Vec<(String, String)> {
    let text = |fault: &Value, name: &str| fault[name].as_str().unwrap_or_default().to_owned();
    faults.as_array().into_iter().flatten().map(|f| (text(f, "field"), text(f, "message"))).collect()
}
