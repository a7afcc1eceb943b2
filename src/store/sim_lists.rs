//! Pages of a tenant's SIMs for clients that read all of them.

use chrono::{DateTime, Utc};

use crate::domain::TenantId;

use super::{Statement, Store, StoreError, statement};

static LIST_PROVISIONED_SIMS: Statement = statement!("list_provisioned_sims", INT4, TEXT, INT8);
static LIST_SIM_CARDS: Statement = statement!("list_sim_cards", INT4, TEXT, INT8, TIMESTAMPTZ);

/// What a device needs to know of its SIM. Texts that are not stated are empty.
#[derive(Clone, Debug)]
pub(crate) struct ProvisionedSim {
    pub(crate) sim_id: String,
    pub(crate) iccid: String,
    pub(crate) msisdn: String,
    pub(crate) status: String,
}

/// What a page about a SIM shows. Texts that are not stated are empty.
#[derive(Clone, Debug)]
pub(crate) struct SimCard {
    pub(crate) sim_id: String,
    pub(crate) iccid: String,
    pub(crate) imsi: String,
    pub(crate) msisdn: String,
    pub(crate) status: String,
    pub(crate) carrier: String,
    pub(crate) plan: String,
    /// Such as `5.00 GB`, in the current cycle.
    pub(crate) data_used: String,
    /// `0.00 GB` without a limit.
    pub(crate) data_limit: String,
}

impl Store {
    /// SIMs by ICCID, at most `limit`, after the ICCID `after`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn provisioned_sims(
        &self,
        tenant: TenantId,
        after: &str,
        limit: i64,
    ) -> Result<Vec<ProvisionedSim>, StoreError> {
        let client = self.client().await?;
        let rows = LIST_PROVISIONED_SIMS.rows(&client, self.mode, &[&tenant.0, &after, &limit]).await?;
        let sims = rows.iter().map(|row| ProvisionedSim {
            sim_id: row.get("sim_id"),
            iccid: row.get("iccid"),
            msisdn: row.get("msisdn"),
            status: row.get("status"),
        });
        Ok(sims.collect())
    }

    /// The same with what they used.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn sim_cards(
        &self,
        tenant: TenantId,
        after: &str,
        limit: i64,
        now: DateTime<Utc>,
    ) -> Result<Vec<SimCard>, StoreError> {
        let client = self.client().await?;
        let rows = LIST_SIM_CARDS.rows(&client, self.mode, &[&tenant.0, &after, &limit, &now]).await?;
        let sims = rows.iter().map(|row| SimCard {
            sim_id: row.get("sim_id"),
            iccid: row.get("iccid"),
            imsi: row.get("imsi"),
            msisdn: row.get("msisdn"),
            status: row.get("status"),
            carrier: row.get("carrier"),
            plan: row.get("plan"),
            data_used: row.get("data_used"),
            data_limit: row.get("data_limit"),
        });
        Ok(sims.collect())
    }
}
