//! Live figures.

use chrono::{DateTime, Utc};

use crate::domain::TenantId;

use super::{Statement, Store, StoreError, statement};

static STATS: Statement = statement!("dashboard_stats", INT4, TIMESTAMPTZ, INT4);

/// What a tenant used, in GB of 2^30 bytes with two decimals, and who is active.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DashboardStats {
    /// Of all days that rollups hold.
    pub data_usage: f64,
    pub data_usage_upload: f64,
    pub data_usage_download: f64,
    /// Of the calendar month and of the day, in the tenant's time zone.
    pub monthly_data_usage: f64,
    pub today_data_usage: f64,
    /// Distinct SIMs with usage this month.
    pub active_sims: i64,
    /// Sessions with a reading not long ago.
    pub active_sessions: i64,
}

impl Store {
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn dashboard_stats(
        &self,
        tenant: TenantId,
        now: DateTime<Utc>,
        session_idle_minutes: i32,
    ) -> Result<DashboardStats, StoreError> {
        let client = self.client().await?;
        let rows = STATS.rows(&client, self.mode, &[&tenant.0, &now, &session_idle_minutes]).await?;
        let row = &rows[0];
        Ok(DashboardStats {
            data_usage: row.get("total"),
            data_usage_upload: row.get("upload"),
            data_usage_download: row.get("download"),
            monthly_data_usage: row.get("month"),
            today_data_usage: row.get("today"),
            active_sims: row.get("active_sims"),
            active_sessions: row.get("active_sessions"),
        })
    }
}
