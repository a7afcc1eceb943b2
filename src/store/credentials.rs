//! Who may connect to the embedded broker.

use chrono::{DateTime, Utc};

use crate::domain::TenantId;

use super::{Statement, Store, StoreError, statement};

static MQTT_CREDENTIAL: Statement = statement!("mqtt_credential", TEXT);
static SAVE: Statement = statement!("save_mqtt_credential", TEXT, TEXT, TEXT);
static LIST: Statement = statement!("list_mqtt_credentials", TEXT, INT8);
static REVOKE: Statement = statement!("revoke_mqtt_credential", TEXT);
static TENANT_BY_NAME: Statement = statement!("tenant_by_name", TEXT);

/// A user of the embedded broker.
#[derive(Clone, Debug)]
pub struct MqttCredential {
    /// argon2id in PHC form.
    pub password_hash: String,
    pub tenant: TenantId,
    pub tenant_name: String,
    /// Permission `usage:correct`.
    pub may_correct: bool,
    pub enabled: bool,
}

/// A line of `devices list`.
#[derive(Clone, Debug)]
pub struct MqttUser {
    pub username: String,
    pub tenant_name: String,
    pub enabled: bool,
    pub created_at: DateTime<Utc>,
}

impl Store {
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn mqtt_credential(&self, username: &str) -> Result<Option<MqttCredential>, StoreError> {
        let client = self.client().await?;
        let rows = MQTT_CREDENTIAL.rows(&client, self.mode, &[&username]).await?;
        Ok(rows.first().map(|row| MqttCredential {
            password_hash: row.get("password_hash"),
            tenant: TenantId(row.get("tenant_id")),
            tenant_name: row.get("tenant_name"),
            may_correct: row.get("may_correct"),
            enabled: row.get("enabled"),
        }))
    }

    /// Adds a user or gives it a new password. False when there is no such tenant.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn save_mqtt_credential(
        &self,
        username: &str,
        tenant_name: &str,
        password_hash: &str,
    ) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(SAVE.execute(&client, self.mode, &[&username, &tenant_name, &password_hash]).await? == 1)
    }

    /// Users by name, at most `limit`, after the name `after`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn list_mqtt_credentials(&self, after: &str, limit: i64) -> Result<Vec<MqttUser>, StoreError> {
        let client = self.client().await?;
        let rows = LIST.rows(&client, self.mode, &[&after, &limit]).await?;
        Ok(rows
            .iter()
            .map(|row| MqttUser {
                username: row.get("username"),
                tenant_name: row.get("tenant_name"),
                enabled: row.get("enabled"),
                created_at: row.get("created_at"),
            })
            .collect())
    }

    /// False when there is no such user.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn revoke_mqtt_credential(&self, username: &str) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(REVOKE.execute(&client, self.mode, &[&username]).await? == 1)
    }

    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn tenant_by_name(&self, name: &str) -> Result<Option<TenantId>, StoreError> {
        let client = self.client().await?;
        let rows = TENANT_BY_NAME.rows(&client, self.mode, &[&name]).await?;
        Ok(rows.first().map(|row| TenantId(row.get(0))))
    }
}
