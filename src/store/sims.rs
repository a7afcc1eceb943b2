//! SIM inventory.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;

use crate::domain::{Iccid, TenantId};

use super::{Statement, Store, StoreError, statement};

pub(super) static INVENTORY_EXCLUSIVE: Statement = statement!("inventory_exclusive");
pub(super) static IMPORT_CARRIERS: Statement = statement!("import_carriers", TEXT_ARRAY, TEXT_ARRAY);
pub(super) static ADD_CARRIERS: Statement = statement!("add_carriers", TEXT_ARRAY, TEXT_ARRAY);
static IMPORT_RATE_PLANS: Statement =
    statement!("import_rate_plans", INT4, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY);
#[rustfmt::skip]
static IMPORT_SIMS: Statement = statement!(
    "import_sims",
    INT4, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY,
    FLOAT8_ARRAY, FLOAT8_ARRAY, TEXT_ARRAY, INT2_ARRAY,
);
static OWN_SIMS: Statement = statement!("own_sims", TEXT_ARRAY, TIMESTAMPTZ);
pub(super) static ENSURE_CYCLES: Statement =
    statement!("ensure_cycles", TEXT_ARRAY, TIMESTAMPTZ_ARRAY, TIMESTAMPTZ);
pub(super) static STAMP_RECORDS: Statement =
    statement!("stamp_records", TEXT_ARRAY, TIMESTAMPTZ, TIMESTAMPTZ);
static LIST_SIMS: Statement = statement!("list_sims", INT4, TEXT, INT8);

/// SIMs of one import transaction: writers wait while it holds the inventory lock, so it is short.
pub const IMPORT_CHUNK: usize = 500;

/// A SIM as an import states it. `None` leaves what is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct SimRow {
    pub iccid: Iccid,
    pub imsi: Option<String>,
    pub msisdn: Option<String>,
    pub carrier: Option<String>,
    /// Home network of the carrier.
    pub mccmnc: Option<String>,
    pub rate_plan: Option<String>,
    /// Decimal text, per 2^20 bytes; counts when the plan is new.
    pub price_per_mb: Option<String>,
    pub included_bytes: Option<i64>,
    pub currency: Option<String>,
    pub data_limit_bytes: Option<i64>,
    pub customer_id: Option<String>,
    pub status: Option<String>,
    pub device_name: Option<String>,
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
    pub location_name: Option<String>,
    pub cycle_day: Option<i16>,
}

/// Name of a plan and, where it is new, its price, included volume and currency.
pub(super) type NewPlan<'r> = (Option<&'r str>, Option<&'r str>, Option<i64>, Option<&'r str>);

/// What an import changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub created: u64,
    pub updated: u64,
    /// ICCIDs that another tenant holds; left alone.
    pub foreign: u64,
    /// Records that were waiting for their SIM, or lie ahead of the change, and now count as the inventory says.
    pub stamped: u64,
}

/// A SIM in a list.
#[derive(Clone, Debug)]
pub struct SimSummary {
    pub sim_id: String,
    pub iccid: String,
    pub msisdn: Option<String>,
    pub status: String,
    pub carrier: Option<String>,
    pub rate_plan: Option<String>,
    pub data_limit_bytes: Option<i64>,
    /// Current cycle, its bytes (decimal) and records; `None` before the first cycle.
    pub cycle_id: Option<String>,
    pub total_bytes: Option<String>,
    pub record_count: Option<i64>,
}

impl Store {
    /// Adds or changes SIMs, at most [`IMPORT_CHUNK`] with no ICCID twice, in one transaction that shuts out batches:
    /// each record is placed either before it, and attached by it, or after it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn import_sims(
        &self,
        tenant: TenantId,
        rows: &[SimRow],
        now: DateTime<Utc>,
    ) -> Result<Imported, StoreError> {
        Ok(self.import_chunk(tenant, rows, &IMPORT_CARRIERS, now).await?.0)
    }

    /// The same in the name of a tenant alone: carriers that exist, which all tenants share, stay as they are. Also returns
    /// which ICCIDs were left alone because another tenant holds them.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub(crate) async fn import_own_sims(
        &self,
        tenant: TenantId,
        rows: &[SimRow],
        now: DateTime<Utc>,
    ) -> Result<(Imported, Vec<Iccid>), StoreError> {
        let (imported, stored) = self.import_chunk(tenant, rows, &ADD_CARRIERS, now).await?;
        let stored: HashSet<&str> = stored.iter().map(|(iccid, _)| iccid.as_str()).collect();
        let foreign = rows.iter().map(|row| &row.iccid).filter(|iccid| !stored.contains(iccid.as_str()));
        Ok((imported, foreign.cloned().collect()))
    }

    async fn import_chunk(
        &self,
        tenant: TenantId,
        rows: &[SimRow],
        carriers: &Statement,
        now: DateTime<Utc>,
    ) -> Result<(Imported, Vec<(String, bool)>), StoreError> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        INVENTORY_EXCLUSIVE.rows(&tx, self.mode, &[]).await?;
        self.import_referenced(&tx, tenant, rows, carriers).await?;
        let stored = self.import_rows(&tx, tenant, rows).await?;
        let iccids: Vec<&str> = stored.iter().map(|(iccid, _)| iccid.as_str()).collect();
        let stamped = self.put_in_force(&tx, &iccids, now).await?;
        tx.commit().await?;
        let created = stored.iter().filter(|(_, created)| *created).count();
        let imported = Imported {
            created: created as u64,
            updated: (stored.len() - created) as u64,
            foreign: (rows.len() - stored.len()) as u64,
            stamped,
        };
        Ok((imported, stored))
    }

    /// Lets what the inventory says of SIMs count from now on, also for records that waited for it; returns how many these are.
    pub(super) async fn put_in_force(
        &self,
        tx: &Transaction<'_>,
        iccids: &[&str],
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        OWN_SIMS.execute(tx, self.mode, &[&iccids, &now]).await?;
        ENSURE_CYCLES.rows(tx, self.mode, &[&iccids, &vec![now; iccids.len()], &now]).await?;
        let stamped: i64 = STAMP_RECORDS.rows(tx, self.mode, &[&iccids, &now, &now]).await?[0].get(0);
        Ok(u64::try_from(stamped).unwrap_or(0))
    }

    pub(super) async fn import_referenced(
        &self,
        tx: &Transaction<'_>,
        tenant: TenantId,
        rows: &[SimRow],
        carriers: &Statement,
    ) -> Result<(), StoreError> {
        let named: Vec<_> = rows.iter().map(|r| (r.carrier.as_deref(), r.mccmnc.as_deref())).collect();
        let plans = rows.iter().map(|row| {
            let (price, currency) = (row.price_per_mb.as_deref(), row.currency.as_deref());
            (row.rate_plan.as_deref(), price, row.included_bytes, currency)
        });
        let plans: Vec<NewPlan<'_>> = plans.collect();
        self.add_referenced(tx, tenant, &named, &plans, carriers).await
    }

    /// Makes the carriers and plans that SIMs name, where they are new.
    pub(super) async fn add_referenced(
        &self,
        tx: &Transaction<'_>,
        tenant: TenantId,
        carriers: &[(Option<&str>, Option<&str>)],
        plans: &[NewPlan<'_>],
        add_carriers: &Statement,
    ) -> Result<(), StoreError> {
        let (names, networks): (Vec<_>, Vec<_>) = carriers.iter().copied().unzip();
        add_carriers.execute(tx, self.mode, &[&names, &networks]).await?;
        let params: [&(dyn ToSql + Sync); 5] = [
            &tenant.0,
            &plans.iter().map(|plan| plan.0).collect::<Vec<_>>(),
            &plans.iter().map(|plan| plan.1).collect::<Vec<_>>(),
            &plans.iter().map(|plan| plan.2).collect::<Vec<_>>(),
            &plans.iter().map(|plan| plan.3).collect::<Vec<_>>(),
        ];
        IMPORT_RATE_PLANS.execute(tx, self.mode, &params).await?;
        Ok(())
    }

    /// The ICCIDs that were stored, each with whether it is new.
    pub(super) async fn import_rows(
        &self,
        tx: &Transaction<'_>,
        tenant: TenantId,
        rows: &[SimRow],
    ) -> Result<Vec<(String, bool)>, StoreError> {
        let text = |of: fn(&SimRow) -> &Option<String>| -> Vec<Option<&str>> {
            rows.iter().map(|row| of(row).as_deref()).collect()
        };
        let iccids: Vec<&str> = rows.iter().map(|r| r.iccid.as_str()).collect();
        let limits: Vec<_> = rows.iter().map(|r| r.data_limit_bytes).collect();
        let latitudes: Vec<_> = rows.iter().map(|r| r.latitude).collect();
        let longitudes: Vec<_> = rows.iter().map(|r| r.longitude).collect();
        let cycle_days: Vec<_> = rows.iter().map(|r| r.cycle_day).collect();
        #[rustfmt::skip]
        let params: [&(dyn ToSql + Sync); 14] = [
            &tenant.0, &iccids, &text(|r| &r.imsi), &text(|r| &r.msisdn), &text(|r| &r.carrier), &text(|r| &r.rate_plan),
            &limits, &text(|r| &r.customer_id), &text(|r| &r.status), &text(|r| &r.device_name), &latitudes, &longitudes,
            &text(|r| &r.location_name), &cycle_days,
        ];
        let stored = IMPORT_SIMS.rows(tx, self.mode, &params).await?;
        Ok(stored.iter().map(|row| (row.get("iccid"), row.get("created"))).collect())
    }

    /// SIMs by ICCID, at most `limit`, after the ICCID `after`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn list_sims(
        &self,
        tenant: TenantId,
        after: &str,
        limit: i64,
    ) -> Result<Vec<SimSummary>, StoreError> {
        let client = self.client().await?;
        let rows = LIST_SIMS.rows(&client, self.mode, &[&tenant.0, &after, &limit]).await?;
        Ok(rows
            .iter()
            .map(|row| SimSummary {
                sim_id: row.get("sim_id"),
                iccid: row.get("iccid"),
                msisdn: row.get("msisdn"),
                status: row.get("status"),
                carrier: row.get("carrier"),
                rate_plan: row.get("rate_plan"),
                data_limit_bytes: row.get("data_limit_bytes"),
                cycle_id: row.get("cycle_id"),
                total_bytes: row.get("total_bytes"),
                record_count: row.get("record_count"),
            })
            .collect())
    }
}
