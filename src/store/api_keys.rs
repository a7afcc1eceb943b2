//! Keys of the HTTP API.

use std::collections::HashMap;
use std::net::IpAddr;

use chrono::{DateTime, NaiveDate, Utc};
use subtle::ConstantTimeEq;
use tokio_postgres::Row;

use crate::domain::{Permission, PermissionPattern, TenantId};

use super::{Statement, Store, StoreError, statement};

static FIND: Statement = statement!("find_api_key", BYTEA);
static REVISIONS: Statement = statement!("key_revisions", INT4_ARRAY);
static ADD: Statement = statement!("add_api_key", TEXT, TEXT, BYTEA, TEXT_ARRAY, JSONB);
static LIST: Statement = statement!("list_api_keys", DATE, INT4, INT8);
static REVOKE: Statement = statement!("revoke_api_key", TEXT, TEXT, TIMESTAMPTZ);
static USES: Statement = statement!("api_key_uses", TEXT, TEXT, INT8);
static ADD_USES: Statement = statement!(
    "add_api_key_uses",
    INT4_ARRAY,
    DATE_ARRAY,
    INET_ARRAY,
    TEXT_ARRAY,
    INT8_ARRAY,
    INT8_ARRAY,
    TIMESTAMPTZ_ARRAY,
    TIMESTAMPTZ_ARRAY
);

/// SHA-256 of a whole key.
pub type KeyHash = [u8; 32];

/// A key as it is stored.
#[derive(Clone, Debug)]
pub struct ApiKey {
    pub id: i32,
    pub tenant: TenantId,
    pub tenant_name: String,
    pub name: String,
    pub permissions: Vec<PermissionPattern>,
    /// Requests a minute by class of the rate limit, where they differ from what is configured; 0 for no limit.
    pub rate_limits: HashMap<String, u32>,
    pub enabled: bool,
    /// Changes with everything above.
    pub revision: i64,
}

impl ApiKey {
    pub(super) fn from_row(row: &Row) -> Self {
        let permissions: Vec<String> = row.get("permissions");
        let limits: serde_json::Value = row.get("rate_limits");
        Self {
            id: row.get("id"),
            tenant: TenantId(row.get("tenant_id")),
            tenant_name: row.get("tenant_name"),
            name: row.get("name"),
            // What a later version may have granted means nothing to this one.
            permissions: permissions.iter().filter_map(|text| text.parse().ok()).collect(),
            rate_limits: serde_json::from_value(limits).unwrap_or_default(),
            enabled: row.get("enabled"),
            revision: row.get("revision"),
        }
    }

    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.iter().any(|pattern| pattern.grants(permission))
    }
}

/// A line of `keys list`.
#[derive(Clone, Debug)]
pub struct ApiKeySummary {
    pub id: i32,
    pub tenant_name: String,
    pub name: String,
    pub permissions: Vec<String>,
    pub rate_limits: HashMap<String, u32>,
    pub enabled: bool,
    pub created_at: DateTime<Utc>,
    /// Requests since the day that was asked for.
    pub accepted: i64,
    pub refused: i64,
    pub last_used_at: Option<DateTime<Utc>>,
}

/// What a key did on a UTC day, from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyUse {
    pub key: i32,
    pub day: NaiveDate,
    pub address: IpAddr,
    /// Permission that the requests needed.
    pub action: String,
    pub accepted: i64,
    pub refused: i64,
    pub first_at: DateTime<Utc>,
    pub last_at: DateTime<Utc>,
}

impl Store {
    /// The key with this hash, revoked or not.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn api_key(&self, hash: &KeyHash) -> Result<Option<ApiKey>, StoreError> {
        let client = self.client().await?;
        let rows = FIND.rows(&client, self.mode, &[&hash.as_slice()]).await?;
        // The index was asked for the hash, and a hash says nothing about other keys; compared as a whole, in constant time.
        let same = |row: &&Row| bool::from(row.get::<_, &[u8]>("key_hash").ct_eq(hash));
        Ok(rows.first().filter(same).map(ApiKey::from_row))
    }

    /// Revisions of those of these keys that were not revoked.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn key_revisions(&self, keys: &[i32]) -> Result<HashMap<i32, i64>, StoreError> {
        let client = self.client().await?;
        let rows = REVISIONS.rows(&client, self.mode, &[&keys]).await?;
        Ok(rows.iter().map(|row| (row.get("id"), row.get("revision"))).collect())
    }

    /// Adds a key; `None` when there is no tenant of this name.
    ///
    /// # Errors
    /// [`StoreError`]; a name that the tenant has already is a unique violation (23505).
    pub async fn add_api_key(
        &self,
        tenant_name: &str,
        name: &str,
        hash: &KeyHash,
        permissions: &[PermissionPattern],
        rate_limits: &HashMap<String, u32>,
    ) -> Result<Option<i32>, StoreError> {
        let client = self.client().await?;
        let permissions: Vec<String> = permissions.iter().map(ToString::to_string).collect();
        let limits = serde_json::json!(rate_limits);
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&tenant_name, &name, &hash.as_slice(), &permissions, &limits];
        Ok(ADD.rows(&client, self.mode, &params).await?.first().map(|row| row.get("id")))
    }

    /// A page of keys by their number, after `after`, with their use since a day.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn list_api_keys(
        &self,
        since: NaiveDate,
        after: i32,
        limit: i64,
    ) -> Result<Vec<ApiKeySummary>, StoreError> {
        let client = self.client().await?;
        let rows = LIST.rows(&client, self.mode, &[&since, &after, &limit]).await?;
        let summary = |row: &Row| ApiKeySummary {
            id: row.get("id"),
            tenant_name: row.get("tenant_name"),
            name: row.get("name"),
            permissions: row.get("permissions"),
            rate_limits: serde_json::from_value(row.get("rate_limits")).unwrap_or_default(),
            enabled: row.get("enabled"),
            created_at: row.get("created_at"),
            accepted: row.get("accepted"),
            refused: row.get("refused"),
            last_used_at: row.get("last_at"),
        };
        Ok(rows.iter().map(summary).collect())
    }

    /// False when the tenant has no key of this name.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn revoke_api_key(
        &self,
        tenant_name: &str,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(REVOKE.execute(&client, self.mode, &[&tenant_name, &name, &now]).await? == 1)
    }

    /// What a key was used for, newest first, at most `limit` lines; `None` when the tenant has no key of this name.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn api_key_uses(
        &self,
        tenant_name: &str,
        name: &str,
        limit: i64,
    ) -> Result<Option<Vec<ApiKeyUse>>, StoreError> {
        let client = self.client().await?;
        let rows = USES.rows(&client, self.mode, &[&tenant_name, &name, &limit]).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let line = |row: &Row| {
            Some(ApiKeyUse {
                key: row.get("id"),
                day: row.get::<_, Option<_>>("used_on")?,
                address: row.get("address"),
                action: row.get("action"),
                accepted: row.get("accepted"),
                refused: row.get("refused"),
                first_at: row.get("first_at"),
                last_at: row.get("last_at"),
            })
        };
        Ok(Some(rows.iter().filter_map(line).collect()))
    }

    /// Adds to the audit.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was added then.
    pub async fn add_api_key_uses(&self, uses: &[ApiKeyUse]) -> Result<(), StoreError> {
        let client = self.client().await?;
        macro_rules! column {
            ($field:ident) => {
                uses.iter().map(|use_| use_.$field.clone()).collect::<Vec<_>>()
            };
        }
        let (keys, days, addresses, actions) =
            (column!(key), column!(day), column!(address), column!(action));
        let (accepted, refused) = (column!(accepted), column!(refused));
        let (first, last) = (column!(first_at), column!(last_at));
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 8] =
            [&keys, &days, &addresses, &actions, &accepted, &refused, &first, &last];
        ADD_USES.execute(&client, self.mode, &params).await?;
        Ok(())
    }
}
