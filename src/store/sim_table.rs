//! SIMs of a tenant as a table that searches, filters, sorts and turns pages.
//!
//! First the ICCIDs of a page are chosen, with nothing but what they are chosen by; then these few are described.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::domain::TenantId;

use super::{Statement, Store, StoreError, statement};

static COUNT: Statement = statement!("count_sims", INT4, TEXT, TEXT_ARRAY, TEXT_ARRAY);
static BY_ICCID: Statement =
    statement!("sims_by_iccid", INT4, TEXT, TEXT_ARRAY, TEXT_ARRAY, BOOL, TEXT, INT8, INT8);
static BY_FIELD: Statement =
    statement!("sims_by_field", INT4, TEXT, TEXT_ARRAY, TEXT_ARRAY, TEXT, BOOL, INT8, INT8);
static BY_USAGE: Statement =
    statement!("sims_by_usage", INT4, TEXT, TEXT_ARRAY, TEXT_ARRAY, TEXT, BOOL, INT8, INT8, TIMESTAMPTZ);
static OF_PAGE: Statement = statement!("sims_of_page", INT4, TEXT_ARRAY, TIMESTAMPTZ);
static CHOICES: Statement = statement!("sim_choices", INT4, INT8);

/// Which SIMs; what is empty matches all.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimFilter {
    /// Occurs in the ICCID, IMSI, MSISDN or device name; a to z in any case.
    pub(crate) search: String,
    pub(crate) statuses: Vec<String>,
    /// Names.
    pub(crate) carriers: Vec<String>,
}

/// What SIMs are sorted by; SIMs that are alike, by ICCID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SimField {
    Iccid,
    Msisdn,
    DeviceName,
    Status,
    Carrier,
    RatePlan,
    /// In the current cycle.
    UsedBytes,
    /// Of the limit of the current cycle.
    PercentOfLimit,
}

impl SimField {
    /// As the statements call it.
    const fn word(self) -> &'static str {
        match self {
            Self::Iccid => "iccid",
            Self::Msisdn => "msisdn",
            Self::DeviceName => "deviceName",
            Self::Status => "status",
            Self::Carrier => "carrier",
            Self::RatePlan => "ratePlan",
            Self::UsedBytes => "usedBytes",
            Self::PercentOfLimit => "percentOfLimit",
        }
    }
}

/// An order and a part of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SimPage {
    pub(crate) by: SimField,
    pub(crate) descending: bool,
    pub(crate) limit: i64,
    pub(crate) offset: i64,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub(crate) struct ListedSim {
    pub(crate) sim_id: String,
    pub(crate) iccid: String,
    pub(crate) imsi: Option<String>,
    pub(crate) msisdn: Option<String>,
    pub(crate) status: String,
    pub(crate) device_name: Option<String>,
    pub(crate) location_name: Option<String>,
    pub(crate) carrier: Option<String>,
    pub(crate) rate_plan: Option<String>,
    /// Of a cycle.
    pub(crate) data_limit_bytes: Option<i64>,
    /// The current cycle; `None` while nobody needed it.
    pub(crate) cycle_id: Option<String>,
    /// In that cycle, decimal text.
    pub(crate) used_bytes: String,
    /// Of the limit, two decimals; `None` without one.
    pub(crate) percent: Option<String>,
    /// End of the newest raw record that is kept.
    pub(crate) last_record_at: Option<DateTime<Utc>>,
}

/// What there is to filter by.
#[derive(Clone, Debug)]
pub(crate) struct SimChoice {
    /// Of a status, else of a carrier.
    pub(crate) is_status: bool,
    pub(crate) name: String,
    pub(crate) sims: i64,
}

impl Store {
    /// A page of the SIMs that match, and how many match in all.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn page_of_sims(
        &self,
        tenant: TenantId,
        filter: &SimFilter,
        page: SimPage,
        now: DateTime<Utc>,
    ) -> Result<(Vec<ListedSim>, i64), StoreError> {
        let client = self.client().await?;
        let SimFilter { search, statuses, carriers } = filter;
        let SimPage { by, descending, limit, offset } = page;
        let field = by.word();
        let count: [&(dyn ToSql + Sync); 4] = [&tenant.0, search, statuses, carriers];
        let total = COUNT.rows(&client, self.mode, &count).await?.first().map_or(0, |row| row.get("total"));
        let chosen = match by {
            SimField::Iccid => {
                let params: [&(dyn ToSql + Sync); 8] =
                    [&tenant.0, search, statuses, carriers, &descending, &"", &limit, &offset];
                BY_ICCID.rows(&client, self.mode, &params).await?
            }
            SimField::UsedBytes | SimField::PercentOfLimit => {
                let params: [&(dyn ToSql + Sync); 9] =
                    [&tenant.0, search, statuses, carriers, &field, &descending, &limit, &offset, &now];
                BY_USAGE.rows(&client, self.mode, &params).await?
            }
            _ => {
                let params: [&(dyn ToSql + Sync); 8] =
                    [&tenant.0, search, statuses, carriers, &field, &descending, &limit, &offset];
                BY_FIELD.rows(&client, self.mode, &params).await?
            }
        };
        let iccids: Vec<String> = chosen.iter().map(|row| row.get("iccid")).collect();
        let rows = OF_PAGE.rows(&client, self.mode, &[&tenant.0, &iccids, &now]).await?;
        Ok((rows.iter().map(listed).collect(), total))
    }

    /// SIMs that match by ICCID, at most `limit`, after the ICCID `after`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn sims_after(
        &self,
        tenant: TenantId,
        filter: &SimFilter,
        (after, limit): (&str, i64),
        now: DateTime<Utc>,
    ) -> Result<Vec<ListedSim>, StoreError> {
        let client = self.client().await?;
        let SimFilter { search, statuses, carriers } = filter;
        let params: [&(dyn ToSql + Sync); 8] =
            [&tenant.0, search, statuses, carriers, &false, &after, &limit, &0_i64];
        let chosen = BY_ICCID.rows(&client, self.mode, &params).await?;
        let iccids: Vec<String> = chosen.iter().map(|row| row.get("iccid")).collect();
        let rows = OF_PAGE.rows(&client, self.mode, &[&tenant.0, &iccids, &now]).await?;
        Ok(rows.iter().map(listed).collect())
    }

    /// Statuses and carriers of a tenant's SIMs, at most `limit` of each, the most frequent first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn sim_choices(
        &self,
        tenant: TenantId,
        limit: i64,
    ) -> Result<Vec<SimChoice>, StoreError> {
        let client = self.client().await?;
        let rows = CHOICES.rows(&client, self.mode, &[&tenant.0, &limit]).await?;
        let choices = rows.iter().map(|row| SimChoice {
            is_status: row.get("by_status"),
            name: row.get("name"),
            sims: row.get("sims"),
        });
        Ok(choices.collect())
    }
}

fn listed(row: &Row) -> ListedSim {
    ListedSim {
        sim_id: row.get("sim_id"),
        iccid: row.get("iccid"),
        imsi: row.get("imsi"),
        msisdn: row.get("msisdn"),
        status: row.get("status"),
        device_name: row.get("device_name"),
        location_name: row.get("location_name"),
        carrier: row.get("carrier"),
        rate_plan: row.get("rate_plan"),
        data_limit_bytes: row.get("data_limit_bytes"),
        cycle_id: row.get("cycle_id"),
        used_bytes: row.get("used_bytes"),
        percent: row.get("percent"),
        last_record_at: row.get("last_record_at"),
    }
}
