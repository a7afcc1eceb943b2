//! What the consumption pages show, read from rollups (ADR 0007, migration V14); one SIM's hours from its records.

use chrono::{DateTime, NaiveDate, Utc};
use tokio_postgres::Row;

use crate::domain::TenantId;

use super::{Statement, Store, StoreError, statement};

pub(crate) use super::consumption_breakdown::{CarrierShare, DetailsFrom, Place, Region, UsageDetail};
pub(crate) use super::consumption_invoices::{InvoiceQuestion, TenantInvoice};
pub(crate) use super::consumption_parts::{Part, Split};
pub(crate) use super::consumption_trend::{Figures, KpiDays, Point};

static STANDING: Statement = statement!("consumption_standing", INT4, TIMESTAMPTZ);

/// What every answer for a tenant depends on beside its question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) tenant: String,
    pub(crate) time_zone: String,
    pub(crate) currency: String,
    /// The tenant's local day.
    pub(crate) today: NaiveDate,
    /// First moment of which raw records are kept; `None` while all are.
    pub(crate) raw_floor: Option<DateTime<Utc>>,
    /// Moves whenever anything that is shown may have changed.
    pub(crate) version: i64,
}

/// Days of a tenant, both ends inclusive, with what is looked at of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    pub(crate) first: NaiveDate,
    pub(crate) last: NaiveDate,
    pub(crate) filter: UsageFilter,
}

/// `None` for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct UsageFilter {
    pub(crate) iccids: Option<Vec<String>>,
    /// Serving networks.
    pub(crate) networks: Option<Vec<String>>,
}

impl Store {
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn consumption_standing(
        &self,
        tenant: TenantId,
        now: DateTime<Utc>,
    ) -> Result<Standing, StoreError> {
        let client = self.client().await?;
        let rows = STANDING.rows(&client, self.mode, &[&tenant.0, &now]).await?;
        let row = rows.first().ok_or_else(|| StoreError::Config(format!("no tenant {}", tenant.0)))?;
        Ok(Standing {
            tenant: row.get("name"),
            time_zone: row.get("time_zone"),
            currency: row.get("currency"),
            today: row.get("today"),
            raw_floor: floor(row),
            version: row.get("version"),
        })
    }
}

/// `-infinity` is no time of chrono's.
fn floor(row: &Row) -> Option<DateTime<Utc>> {
    match row.get::<_, tokio_postgres::types::Timestamp<DateTime<Utc>>>("raw_floor") {
        tokio_postgres::types::Timestamp::Value(floor) => Some(floor),
        _ => None,
    }
}
