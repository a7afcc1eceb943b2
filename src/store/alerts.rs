//! Alerts: thresholds, what was raised, and what of it is current (`raise_alerts` of migration V15).

use chrono::{DateTime, NaiveDate, Utc};
use tokio_postgres::Row;

use crate::domain::TenantId;

use super::{Statement, Store, StoreError, statement};

static RAISE: Statement = statement!("raise_alerts", TEXT, INT4, TIMESTAMPTZ, INT4);
static LIST: Statement =
    statement!("list_alerts", INT4, TEXT, TEXT, TIMESTAMPTZ, TIMESTAMPTZ, INT8, INT8, INT4);
static AFTER: Statement = statement!("alerts_after", INT8, INT8);
static CURRENT: Statement = statement!("current_alerts", TIMESTAMPTZ, INT8);
static NEWEST: Statement = statement!("newest_alert");
static STALE: Statement = statement!("stale_alerts", INT8_ARRAY, TIMESTAMPTZ);
static SCOPE_SIM: Statement = statement!("alert_scope_sim", INT4, TEXT);
static SCOPE_PLAN: Statement = statement!("alert_scope_plan", INT4, TEXT);
static RULE: Statement = statement!("alert_rule", INT4, INT4, TEXT);
static SET_RULE: Statement =
    statement!("set_alert_rule", INT4, INT4, TEXT, INT4_ARRAY, INT8_ARRAY, TIMESTAMPTZ);
static DELETE_RULE: Statement = statement!("delete_alert_rule", INT4, INT4, TEXT);
static DELETE_OLD: Statement = statement!("delete_old_alerts", TIMESTAMPTZ, INT8);

/// A threshold that a SIM or a pool crossed.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    pub id: i64,
    pub tenant: TenantId,
    /// Empty for a pool as a whole.
    pub sim_id: String,
    pub iccid: String,
    /// Of a pool, or of a member that has a limit of its own there.
    pub pool: Option<AlertPool>,
    /// The billing cycle of the SIM, or the period of the pool.
    pub cycle_id: String,
    pub cycle_start: DateTime<Utc>,
    pub cycle_end: DateTime<Utc>,
    /// `None` when the threshold is one in bytes.
    pub threshold_percent: Option<i32>,
    pub threshold_bytes: i64,
    pub limit_bytes: Option<i64>,
    /// At most 2^53 - 1.
    pub used_bytes: i64,
    /// Decimal text, when it is more than that.
    pub used_bytes_exact: Option<String>,
    /// Of the limit, two decimals.
    pub percent: Option<f64>,
    pub raised_at: DateTime<Utc>,
    pub exhausted_on: Option<NaiveDate>,
}

/// The pool of an alert, as it was called then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertPool {
    pub id: i32,
    pub name: String,
}

impl Alert {
    pub(super) fn from_row(row: &Row) -> Self {
        Self {
            id: row.get("id"),
            tenant: TenantId(row.get("tenant_id")),
            sim_id: row.get("sim_id"),
            iccid: row.get("iccid"),
            pool: row.get::<_, Option<i32>>("pool_id").map(|id| AlertPool {
                id,
                name: row.get::<_, Option<String>>("pool_name").unwrap_or_default(),
            }),
            cycle_id: row.get("cycle_id"),
            cycle_start: row.get("cycle_start"),
            cycle_end: row.get("cycle_end"),
            threshold_percent: row.get("threshold_percent"),
            threshold_bytes: row.get("threshold_bytes"),
            limit_bytes: row.get("limit_bytes"),
            used_bytes: row.get("used_bytes"),
            used_bytes_exact: row.get("used_bytes_exact"),
            percent: row.get("percent"),
            raised_at: row.get("raised_at"),
            exhausted_on: row.get("exhausted_on"),
        }
    }
}

/// What one look at some SIMs did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    pub sims: i32,
    /// The last of them; `None` without any.
    pub last_iccid: Option<String>,
    pub raised: i32,
}

/// Which alerts of a tenant; empty texts match all.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    pub iccid: String,
    pub cycle_id: String,
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
    pub pool: Option<i32>,
    /// Alerts with a smaller id.
    pub before: Option<i64>,
}

/// Whose thresholds: with neither plan nor SIM the tenant's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleScope {
    pub rate_plan_id: i32,
    pub iccid: String,
}

impl RuleScope {
    /// As the rule of exactly this scope is stored: that of a SIM names no plan.
    fn own_plan(&self) -> i32 {
        if self.iccid.is_empty() { self.rate_plan_id } else { 0 }
    }
}

/// Thresholds, and for whom they are stated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub percents: Vec<i32>,
    pub bytes: Vec<i64>,
    /// `sim`, `ratePlan` or `tenant`.
    pub stated_for: String,
}

impl Store {
    /// Raises what is due for at most `at_most` SIMs after an ICCID. `None` while another instance is at it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn raise_alerts(
        &self,
        after_iccid: &str,
        at_most: i32,
        at: DateTime<Utc>,
        tries: i32,
    ) -> Result<Option<Raised>, StoreError> {
        let mode = self.mode;
        self.in_time(async |client| {
            let rows = RAISE.rows(&*client, mode, &[&after_iccid, &at_most, &at, &tries]).await?;
            let row = &rows[0];
            let sims: Option<i32> = row.get("sims");
            Ok(sims.map(|sims| Raised { sims, last_iccid: row.get("last_iccid"), raised: row.get("raised") }))
        })
        .await
    }

    /// A page of alerts of a tenant, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn alerts(
        &self,
        tenant: TenantId,
        filter: &AlertFilter,
        limit: i64,
    ) -> Result<Vec<Alert>, StoreError> {
        let client = self.client().await?;
        let before = filter.before.unwrap_or(i64::MAX);
        #[rustfmt::skip]
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
            &tenant.0, &filter.iccid, &filter.cycle_id, &filter.since, &filter.until, &before, &limit, &filter.pool,
        ];
        Ok(LIST.rows(&client, self.mode, &params).await?.iter().map(Alert::from_row).collect())
    }

    /// Alerts of SIMs of all tenants after one of them, oldest first; not those of pools.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn alerts_after(&self, id: i64, limit: i64) -> Result<Vec<Alert>, StoreError> {
        let client = self.client().await?;
        Ok(AFTER.rows(&client, self.mode, &[&id, &limit]).await?.iter().map(Alert::from_row).collect())
    }

    /// The newest alert of each SIM in its current cycle, the newest ones of too many.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn current_alerts(&self, at: DateTime<Utc>, limit: i64) -> Result<Vec<Alert>, StoreError> {
        let client = self.client().await?;
        Ok(CURRENT.rows(&client, self.mode, &[&at, &limit]).await?.iter().map(Alert::from_row).collect())
    }

    /// Id of the alert that was raised last, 0 without any.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn newest_alert(&self) -> Result<i64, StoreError> {
        let client = self.client().await?;
        Ok(NEWEST.rows(&client, self.mode, &[]).await?[0].get("id"))
    }

    /// Which of some alerts are not of their SIM's current cycle any more.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn stale_alerts(&self, ids: &[i64], at: DateTime<Utc>) -> Result<Vec<i64>, StoreError> {
        let client = self.client().await?;
        Ok(STALE.rows(&client, self.mode, &[&ids, &at]).await?.iter().map(|row| row.get("id")).collect())
    }

    /// A SIM of a tenant, by its id or ICCID.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn alert_scope_of_sim(
        &self,
        tenant: TenantId,
        sim: &str,
    ) -> Result<Option<RuleScope>, StoreError> {
        let client = self.client().await?;
        let rows = SCOPE_SIM.rows(&client, self.mode, &[&tenant.0, &sim]).await?;
        Ok(rows
            .first()
            .map(|row| RuleScope { rate_plan_id: row.get("rate_plan_id"), iccid: row.get("iccid") }))
    }

    /// A rate plan of a tenant, by its name.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn alert_scope_of_plan(
        &self,
        tenant: TenantId,
        plan: &str,
    ) -> Result<Option<RuleScope>, StoreError> {
        let client = self.client().await?;
        let rows = SCOPE_PLAN.rows(&client, self.mode, &[&tenant.0, &plan]).await?;
        Ok(rows.first().map(|row| RuleScope { rate_plan_id: row.get("id"), iccid: String::new() }))
    }

    /// The thresholds that hold for a scope; `None` when those do that hold without any rule.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn alert_rule(&self, tenant: TenantId, scope: &RuleScope) -> Result<Option<Rule>, StoreError> {
        let client = self.client().await?;
        let rows = RULE.rows(&client, self.mode, &[&tenant.0, &scope.rate_plan_id, &scope.iccid]).await?;
        Ok(rows.first().map(|row| Rule {
            percents: row.get("percents"),
            bytes: row.get("bytes"),
            stated_for: row.get("stated_for"),
        }))
    }

    /// States the thresholds of a scope. When they differ from what was stated they are armed anew.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn set_alert_rule(
        &self,
        tenant: TenantId,
        scope: &RuleScope,
        percents: &[i32],
        bytes: &[i64],
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let client = self.client().await?;
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&tenant.0, &scope.own_plan(), &scope.iccid, &percents, &bytes, &at];
        SET_RULE.execute(&client, self.mode, &params).await?;
        Ok(())
    }

    /// Forgets the thresholds of a scope; those of the next wider one hold, armed anew. False without any.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn delete_alert_rule(&self, tenant: TenantId, scope: &RuleScope) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let rows =
            DELETE_RULE.rows(&client, self.mode, &[&tenant.0, &scope.own_plan(), &scope.iccid]).await?;
        Ok(!rows.is_empty())
    }

    /// Deletes some alerts of before a moment; returns how many.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn delete_old_alerts(&self, before: DateTime<Utc>, at_most: i64) -> Result<u64, StoreError> {
        let client = self.client().await?;
        DELETE_OLD.execute(&client, self.mode, &[&before, &at_most]).await
    }
}
