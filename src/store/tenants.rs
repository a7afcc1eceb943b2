//! Tenants: those who own SIMs, each with a billing time zone and a currency.

use chrono::{DateTime, NaiveDate, Utc};

use crate::domain::{Iccid, TenantId};

use super::sims::INVENTORY_EXCLUSIVE;
use super::{Statement, Store, StoreError, statement};

static LIST: Statement = statement!("list_tenants");
static TIME_ZONE: Statement = statement!("time_zone", TEXT);
static ADD: Statement = statement!("add_tenant", TEXT, TEXT, TEXT);
static SET: Statement = statement!("set_tenant", TEXT, TEXT, TEXT);
static DAY_START: Statement = statement!("day_start", INT4, TEXT, DATE);

/// A tenant in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantSummary {
    pub id: TenantId,
    pub name: String,
    pub time_zone: String,
    pub currency: String,
    pub sims: i64,
    pub rate_plans: i64,
    pub zone_change: Option<ZoneChange>,
}

/// Days on their way to another time zone, SIM after SIM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneChange {
    pub former_zone: String,
    /// SIMs whose days count in the former zone still.
    pub sims_to_move: i64,
}

/// What became of a change of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantChange {
    Done {
        former_zone: String,
        former_currency: String,
    },
    UnknownTenant,
    /// It has rate plans in another currency than the wanted one; nothing was changed.
    PlansInOtherCurrency {
        currency: String,
    },
    /// The server's words: an earlier change of the zone is not done yet. Nothing was changed.
    ZoneBusy(String),
}

impl Store {
    /// Every tenant, by name.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn tenants(&self) -> Result<Vec<TenantSummary>, StoreError> {
        let client = self.client().await?;
        let rows = LIST.rows(&client, self.mode, &[]).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let (zone, left): (Option<_>, Option<_>) = (row.get("former_zone"), row.get("sims_to_move"));
                TenantSummary {
                    id: TenantId(row.get("id")),
                    name: row.get("name"),
                    time_zone: row.get("time_zone"),
                    currency: row.get("currency"),
                    sims: row.get("sims"),
                    rate_plans: row.get("rate_plans"),
                    zone_change: zone
                        .zip(left)
                        .map(|(former_zone, sims_to_move)| ZoneChange { former_zone, sims_to_move }),
                }
            })
            .collect())
    }

    /// A time zone as PostgreSQL spells it; `None` when it knows none of this name.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn time_zone(&self, name: &str) -> Result<Option<String>, StoreError> {
        let client = self.client().await?;
        let rows = TIME_ZONE.rows(&client, self.mode, &[&name]).await?;
        Ok(rows.first().map(|row| row.get("name")))
    }

    /// Adds a tenant; returns its time zone and currency. `None` when the name is taken.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn add_tenant(
        &self,
        name: &str,
        time_zone: Option<&str>,
        currency: Option<&str>,
    ) -> Result<Option<(String, String)>, StoreError> {
        let client = self.client().await?;
        let rows = ADD.rows(&client, self.mode, &[&name, &time_zone, &currency]).await?;
        Ok(rows.first().map(|row| (row.get("time_zone"), row.get("currency"))))
    }

    /// Changes time zone and currency, where stated. The days of its SIMs follow a change of the zone through
    /// [`Store::move_zone`].
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn set_tenant(
        &self,
        name: &str,
        time_zone: Option<&str>,
        currency: Option<&str>,
    ) -> Result<TenantChange, StoreError> {
        self.in_time(async |client| {
            let tx = client.transaction().await?;
            INVENTORY_EXCLUSIVE.rows(&tx, self.mode, &[]).await?;
            let rows = match SET.rows(&tx, self.mode, &[&name, &time_zone, &currency]).await {
                Ok(rows) => rows,
                Err(error) => return error.object_in_use().map(TenantChange::ZoneBusy).ok_or(error),
            };
            let Some(row) = rows.first() else { return Ok(TenantChange::UnknownTenant) };
            if let Some(currency) = row.get("plans_in") {
                return Ok(TenantChange::PlansInOtherCurrency { currency });
            }
            let done = TenantChange::Done {
                former_zone: row.get("former_zone"),
                former_currency: row.get("former_currency"),
            };
            tx.commit().await?;
            Ok(done)
        })
        .await
    }

    /// First moment of a day in the zone of `tenant`, or else of the tenant that has the SIM; `None` when it has none.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn day_start(
        &self,
        tenant: Option<TenantId>,
        iccid: &Iccid,
        day: NaiveDate,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let client = self.client().await?;
        let tenant = tenant.map(|tenant| tenant.0);
        let rows = DAY_START.rows(&client, self.mode, &[&tenant, &iccid.as_str(), &day]).await?;
        Ok(rows.first().map(|row| row.get("moment")))
    }
}
