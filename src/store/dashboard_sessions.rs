//! Sessions of the dashboard.

use chrono::{DateTime, Utc};
use subtle::ConstantTimeEq;

use super::api_keys::ApiKey;
use super::{Statement, Store, StoreError, statement};

static OPEN: Statement = statement!("open_dashboard_session", BYTEA, INT4, TIMESTAMPTZ, TIMESTAMPTZ, INT8);
static FIND: Statement = statement!("find_dashboard_session", BYTEA, TIMESTAMPTZ);
static TOUCH: Statement = statement!("touch_dashboard_session", BYTEA, TIMESTAMPTZ);
static CLOSE: Statement = statement!("close_dashboard_session", BYTEA);

/// SHA-256 of a session's token.
pub type TokenHash = [u8; 32];

/// A session that counts.
#[derive(Clone, Debug)]
pub struct DashboardSession {
    pub key: ApiKey,
    pub expires_at: DateTime<Utc>,
}

impl Store {
    /// Begins a session. The key has `at_most` of them then: those used least recently end. False when the key was revoked.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn open_dashboard_session(
        &self,
        token: &TokenHash,
        key: i32,
        now: DateTime<Utc>,
        expires_at: DateTime<Utc>,
        at_most: i64,
    ) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let token = token.as_slice();
        Ok(OPEN.execute(&client, self.mode, &[&token, &key, &now, &expires_at, &at_most]).await? == 1)
    }

    /// The session with this token; `None` when there is none, it has expired or its key was revoked.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn dashboard_session(
        &self,
        token: &TokenHash,
        now: DateTime<Utc>,
    ) -> Result<Option<DashboardSession>, StoreError> {
        let client = self.client().await?;
        let rows = FIND.rows(&client, self.mode, &[&token.as_slice(), &now]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        // As with keys: compared as a whole, in constant time.
        if !bool::from(row.get::<_, &[u8]>("key_hash").ct_eq(token)) {
            return Ok(None);
        }
        if row.get("resting") {
            TOUCH.execute(&client, self.mode, &[&token.as_slice(), &now]).await?;
        }
        Ok(Some(DashboardSession { key: ApiKey::from_row(row), expires_at: row.get("expires_at") }))
    }

    /// Ends a session. False when there was none.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn close_dashboard_session(&self, token: &TokenHash) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(CLOSE.execute(&client, self.mode, &[&token.as_slice()]).await? == 1)
    }
}
