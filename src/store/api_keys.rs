//! Keys of the HTTP API.

use std::collections::HashMap;

use crate::domain::{PermissionPattern, TenantId};

use super::{Statement, Store, StoreError, statement};

static FIND: Statement = statement!("find_api_key", BYTEA);
static ADD: Statement = statement!("add_api_key", TEXT, TEXT, BYTEA, TEXT_ARRAY, JSONB);

/// SHA-256 of a whole key.
pub type KeyHash = [u8; 32];

/// A key as it is stored.
#[derive(Clone, Debug)]
pub struct ApiKey {
    pub id: i32,
    pub tenant: TenantId,
    pub name: String,
    pub permissions: Vec<PermissionPattern>,
    /// Requests a minute by class of the rate limit, where they differ from what is configured; 0 for no limit.
    pub rate_limits: HashMap<String, u32>,
    pub enabled: bool,
}

impl Store {
    /// The key with this hash, revoked or not.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn api_key(&self, hash: &KeyHash) -> Result<Option<ApiKey>, StoreError> {
        let client = self.client().await?;
        let rows = FIND.rows(&client, self.mode, &[&hash.as_slice()]).await?;
        Ok(rows.first().map(|row| {
            let permissions: Vec<String> = row.get("permissions");
            let limits: serde_json::Value = row.get("rate_limits");
            ApiKey {
                id: row.get("id"),
                tenant: TenantId(row.get("tenant_id")),
                name: row.get("name"),
                // What a later version may have granted means nothing to this one.
                permissions: permissions.iter().filter_map(|text| text.parse().ok()).collect(),
                rate_limits: serde_json::from_value(limits).unwrap_or_default(),
                enabled: row.get("enabled"),
            }
        }))
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
}
