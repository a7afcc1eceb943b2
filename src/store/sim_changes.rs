//! Single SIMs that clients look at, add and change.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use tokio_postgres::Row;

use crate::domain::TenantId;

use super::sims::{ADD_CARRIERS, INVENTORY_EXCLUSIVE, SimRow};
use super::{Statement, Store, StoreError, statement};

static FIND_SIM: Statement = statement!("find_sim", INT4, TEXT);
static CHANGE_SIM: Statement = statement!("change_sim", INT4, TEXT, JSONB, TIMESTAMPTZ);
static TENANT_CURRENCY: Statement = statement!("tenant_currency", INT4);

/// A SIM of the inventory as it is now.
#[derive(Clone, Debug)]
pub(crate) struct InventorySim {
    pub(crate) sim_id: String,
    pub(crate) iccid: String,
    pub(crate) imsi: Option<String>,
    pub(crate) msisdn: Option<String>,
    pub(crate) carrier: Option<String>,
    pub(crate) rate_plan: Option<String>,
    pub(crate) data_limit_bytes: Option<i64>,
    pub(crate) customer_id: Option<String>,
    pub(crate) status: String,
    pub(crate) device_name: Option<String>,
    pub(crate) latitude: Option<f64>,
    pub(crate) longitude: Option<f64>,
    pub(crate) location_name: Option<String>,
    pub(crate) cycle_day: i16,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

/// Fields to change, by their names in JSON; null clears one. Their values fit the columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SimPatch {
    pub(crate) fields: Map<String, Value>,
    /// Home network of a carrier that is new.
    pub(crate) mccmnc: Option<String>,
    /// Terms of a plan that is new.
    pub(crate) price_per_mb: Option<String>,
    pub(crate) included_bytes: Option<i64>,
}

impl SimPatch {
    fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }

    /// It changes by what records are billed.
    fn changes_billing(&self) -> bool {
        ["carrier", "ratePlan"].iter().any(|field| self.fields.contains_key(*field))
    }
}

impl Store {
    /// A SIM by its id or ICCID.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn sim(&self, tenant: TenantId, sim: &str) -> Result<Option<InventorySim>, StoreError> {
        let client = self.client().await?;
        Ok(FIND_SIM.rows(&client, self.mode, &[&tenant.0, &sim]).await?.first().map(inventory_sim))
    }

    /// ISO 4217
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn tenant_currency(&self, tenant: TenantId) -> Result<Option<String>, StoreError> {
        let client = self.client().await?;
        let rows = TENANT_CURRENCY.rows(&client, self.mode, &[&tenant.0]).await?;
        Ok(rows.first().map(|row| row.get("currency")))
    }

    /// Adds a SIM; records that came before it count from then on. `None` when somebody has its ICCID already.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub(crate) async fn create_sim(
        &self,
        tenant: TenantId,
        row: &SimRow,
        now: DateTime<Utc>,
    ) -> Result<Option<InventorySim>, StoreError> {
        self.in_time(async |client| {
            let tx = client.transaction().await?;
            INVENTORY_EXCLUSIVE.rows(&tx, self.mode, &[]).await?;
            let rows = std::slice::from_ref(row);
            self.import_referenced(&tx, tenant, rows, &ADD_CARRIERS).await?;
            // A SIM that was there already would be changed: that is undone with the transaction.
            let [(iccid, true)] = &self.import_rows(&tx, tenant, rows).await?[..] else { return Ok(None) };
            self.put_in_force(&tx, &[iccid], now).await?;
            let found = FIND_SIM.rows(&tx, self.mode, &[&tenant.0, iccid]).await?;
            let sim = found.first().map(inventory_sim);
            tx.commit().await?;
            Ok(sim)
        })
        .await
    }

    /// Changes a SIM; another carrier or plan counts from now on, another cycle day from the end of its newest cycle on
    /// (ADR 0004). `None` for an unknown SIM.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub(crate) async fn change_sim(
        &self,
        tenant: TenantId,
        sim: &str,
        patch: &SimPatch,
        now: DateTime<Utc>,
    ) -> Result<Option<InventorySim>, StoreError> {
        self.in_time(async |client| {
            let tx = client.transaction().await?;
            // What is not billed by need not keep batches waiting.
            if patch.changes_billing() {
                INVENTORY_EXCLUSIVE.rows(&tx, self.mode, &[]).await?;
                let carriers = [(patch.text("carrier"), patch.mccmnc.as_deref())];
                let terms = (patch.price_per_mb.as_deref(), patch.included_bytes);
                let plans = [(patch.text("ratePlan"), terms.0, terms.1, None)];
                self.add_referenced(&tx, tenant, &carriers, &plans, &ADD_CARRIERS).await?;
            }
            let fields = Value::Object(patch.fields.clone());
            let changed = CHANGE_SIM.rows(&tx, self.mode, &[&tenant.0, &sim, &fields, &now]).await?;
            let Some(row) = changed.first() else { return Ok(None) };
            if patch.changes_billing() {
                self.put_in_force(&tx, &[row.get("iccid")], now).await?;
            }
            let found = FIND_SIM.rows(&tx, self.mode, &[&tenant.0, &sim]).await?;
            let sim = found.first().map(inventory_sim);
            tx.commit().await?;
            Ok(sim)
        })
        .await
    }
}

fn inventory_sim(row: &Row) -> InventorySim {
    InventorySim {
        sim_id: row.get("sim_id"),
        iccid: row.get("iccid"),
        imsi: row.get("imsi"),
        msisdn: row.get("msisdn"),
        carrier: row.get("carrier"),
        rate_plan: row.get("rate_plan"),
        data_limit_bytes: row.get("data_limit_bytes"),
        customer_id: row.get("customer_id"),
        status: row.get("status"),
        device_name: row.get("device_name"),
        latitude: row.get("latitude"),
        longitude: row.get("longitude"),
        location_name: row.get("location_name"),
        cycle_day: row.get("cycle_day"),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
    }
}
