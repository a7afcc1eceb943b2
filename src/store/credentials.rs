//! Who may connect to the embedded broker, and what changed about it.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use tokio_postgres::types::ToSql;

use crate::domain::{Iccid, TenantId, TopicRule};

use super::{Statement, Store, StoreError, statement};

static MQTT_CREDENTIAL: Statement = statement!("mqtt_credential", TEXT);
static SAVE: Statement = statement!(
    "save_mqtt_credential",
    TEXT,
    TEXT,
    TEXT,
    BOOL,
    TEXT,
    BOOL,
    TEXT_ARRAY,
    BOOL,
    TEXT_ARRAY,
    BOOL
);
static CHANGE: Statement =
    statement!("change_mqtt_credential", TEXT, BOOL, TEXT, BOOL, TEXT_ARRAY, BOOL, TEXT_ARRAY, BOOL);
static LIST: Statement = statement!("list_mqtt_credentials", TEXT, INT8);
static REVOKE: Statement = statement!("revoke_mqtt_credential", TEXT);
static LOGIN_VERSION: Statement = statement!("login_version");
static USER_REVISIONS: Statement = statement!("user_revisions", TEXT_ARRAY);
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
    /// Of a device; `None` for gateways and services.
    pub iccid: Option<Iccid>,
    /// `None`: what is configured.
    pub publish: Option<Vec<TopicRule>>,
    pub subscribe: Option<Vec<TopicRule>>,
    /// Changes with everything above.
    pub revision: i64,
    pub created_at: DateTime<Utc>,
}

/// What is to be changed of a user; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct MqttRights {
    /// `Some(None)` makes it no device.
    pub iccid: Option<Option<Iccid>>,
    /// `Some(None)`: what is configured.
    pub publish: Option<Option<Vec<TopicRule>>>,
    pub subscribe: Option<Option<Vec<TopicRule>>>,
    pub may_correct: Option<bool>,
}

impl MqttRights {
    fn named(&self) -> [bool; 3] {
        [self.iccid.is_some(), self.publish.is_some(), self.subscribe.is_some()]
    }

    fn iccid(&self) -> Option<&str> {
        self.iccid.as_ref().and_then(Option::as_ref).map(Iccid::as_str)
    }
}

fn texts(rules: &Option<Option<Vec<TopicRule>>>) -> Option<Vec<&str>> {
    rules.as_ref()?.as_ref().map(|rules| rules.iter().map(TopicRule::as_str).collect())
}

/// A pattern that was written into the table by hand and cannot be used allows nothing.
fn rules(texts: Option<Vec<String>>) -> Option<Vec<TopicRule>> {
    texts.map(|texts| texts.iter().filter_map(|text| text.parse().ok()).collect())
}

/// A line of `devices list`.
#[derive(Clone, Debug)]
pub struct MqttUser {
    pub username: String,
    pub tenant_name: String,
    pub iccid: Option<String>,
    /// It has lists of topics of its own.
    pub own_topics: bool,
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
            iccid: row.get::<_, Option<&str>>("iccid").and_then(Iccid::parse),
            publish: rules(row.get("publish_topics")),
            subscribe: rules(row.get("subscribe_topics")),
            revision: row.get("revision"),
            created_at: row.get("created_at"),
        }))
    }

    /// Adds a user or gives it a new password, with the rights that are named. Without a tenant it stays with its own; a new
    /// one goes to the tenant `default`. False when there is no such tenant.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn save_mqtt_credential(
        &self,
        username: &str,
        tenant_name: Option<&str>,
        password_hash: &str,
        rights: &MqttRights,
    ) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let (publish, subscribe) = (texts(&rights.publish), texts(&rights.subscribe));
        let [has_iccid, has_publish, has_subscribe] = rights.named();
        let params: [&(dyn ToSql + Sync); 10] = [
            &username,
            &tenant_name,
            &password_hash,
            &has_iccid,
            &rights.iccid(),
            &has_publish,
            &publish,
            &has_subscribe,
            &subscribe,
            &rights.may_correct,
        ];
        Ok(SAVE.execute(&client, self.mode, &params).await? == 1)
    }

    /// False when there is no such user.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn change_mqtt_credential(
        &self,
        username: &str,
        rights: &MqttRights,
    ) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let (publish, subscribe) = (texts(&rights.publish), texts(&rights.subscribe));
        let [has_iccid, has_publish, has_subscribe] = rights.named();
        let params: [&(dyn ToSql + Sync); 8] = [
            &username,
            &has_iccid,
            &rights.iccid(),
            &has_publish,
            &publish,
            &has_subscribe,
            &subscribe,
            &rights.may_correct,
        ];
        Ok(CHANGE.execute(&client, self.mode, &params).await? == 1)
    }

    /// A number that moves with every change of a user or key that exists, in the order of commits.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn login_version(&self) -> Result<i64, StoreError> {
        let client = self.client().await?;
        let rows = LOGIN_VERSION.rows(&client, self.mode, &[]).await?;
        // The migration made the row.
        Ok(rows.first().map_or(0, |row| row.get(0)))
    }

    /// Revisions of those of these users that may log in.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn user_revisions(&self, usernames: &[&str]) -> Result<HashMap<String, i64>, StoreError> {
        let client = self.client().await?;
        let rows = USER_REVISIONS.rows(&client, self.mode, &[&usernames]).await?;
        Ok(rows.iter().map(|row| (row.get("username"), row.get("revision"))).collect())
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
                iccid: row.get("iccid"),
                own_topics: row.get("own_topics"),
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
