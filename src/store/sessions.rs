//! Sessions that report cumulative counters, for those who ask for them.

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::TenantId;

use super::{Statement, Store, StoreError, statement};

static FIND: Statement = statement!("find_session", INT4, TEXT, FLOAT8);

/// A session as its readings tell it; amounts are decimal text, because sums may leave 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionUsage {
    pub iccid: String,
    pub upload_bytes: String,
    pub download_bytes: String,
    pub total_bytes: String,
    /// When its first reading was stored.
    pub created_at: DateTime<Utc>,
    /// When it counts as over, unless another reading comes.
    pub expires_at: DateTime<Utc>,
}

impl Store {
    /// The session of a tenant with this id; it expires `idle` after its newest reading.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn session(
        &self,
        tenant: TenantId,
        session_id: &str,
        idle: TimeDelta,
    ) -> Result<Option<SessionUsage>, StoreError> {
        let client = self.client().await?;
        let idle_seconds = idle.num_seconds() as f64;
        let rows = FIND.rows(&client, self.mode, &[&tenant.0, &session_id, &idle_seconds]).await?;
        Ok(rows.first().map(|row| SessionUsage {
            iccid: row.get("iccid"),
            upload_bytes: row.get("upload"),
            download_bytes: row.get("download"),
            total_bytes: row.get("total"),
            created_at: row.get("created_at"),
            expires_at: row.get("expires_at"),
        }))
    }
}
