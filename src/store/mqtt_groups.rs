//! What waits for groups of shared subscriptions of which all members are away.

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio_postgres::types::ToSql;

use crate::domain::TenantId;

use super::{Statement, Store, StoreError, statement};

static LOAD: Statement =
    statement!("load_mqtt_group_messages", TEXT, INT4, TEXT, TEXT, INT8, TIMESTAMPTZ, INT8);
static SAVE: Statement = statement!(
    "save_mqtt_group_messages",
    TEXT,
    INT4_ARRAY,
    TEXT_ARRAY,
    TEXT_ARRAY,
    INT8_ARRAY,
    TEXT_ARRAY,
    BYTEA_ARRAY,
    INT2_ARRAY,
    BOOL_ARRAY,
    JSONB_ARRAY,
    TIMESTAMPTZ_ARRAY
);
static FORGET: Statement =
    statement!("forget_mqtt_group_messages", TEXT, INT4_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY);
static FORGET_EXPIRED: Statement = statement!("forget_expired_mqtt_group_messages", TEXT, TIMESTAMPTZ);

/// A group: `$share/{name}/{filter}` of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttGroup {
    pub tenant: TenantId,
    pub name: String,
    pub filter: String,
}

/// A message that waits for a group.
#[derive(Clone, Debug, PartialEq)]
pub struct MqttGroupMessageRow {
    pub group: MqttGroup,
    pub position: i64,
    pub topic: String,
    pub payload: Vec<u8>,
    /// 1 or 2.
    pub qos: i16,
    pub retain: bool,
    pub properties: Option<Value>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// The oldest position that still waits in a group.
pub type MqttGroupOldest = (MqttGroup, i64);

impl Store {
    /// At most `limit` messages of an instance, by group and position, after `after`, without those that have expired at `now`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn load_mqtt_group_messages(
        &self,
        instance: &str,
        (after, position): (&MqttGroup, i64),
        now: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<MqttGroupMessageRow>, StoreError> {
        let client = self.client().await?;
        let MqttGroup { tenant, name, filter } = after;
        let params: [&(dyn ToSql + Sync); 7] = [&instance, &tenant.0, name, filter, &position, &now, &limit];
        let rows = LOAD.rows(&client, self.mode, &params).await?;
        Ok(rows
            .iter()
            .map(|row| MqttGroupMessageRow {
                group: MqttGroup {
                    tenant: TenantId(row.get("tenant_id")),
                    name: row.get("share_name"),
                    filter: row.get("filter"),
                },
                position: row.get("position"),
                topic: row.get("topic"),
                payload: row.get("payload"),
                qos: row.get("qos"),
                retain: row.get("retain"),
                properties: row.get("properties"),
                expires_at: row.get("expires_at"),
            })
            .collect())
    }

    /// Removes what waits for groups of an instance and has expired at `now`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn forget_expired_mqtt_group_messages(
        &self,
        instance: &str,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let client = self.client().await?;
        FORGET_EXPIRED.execute(&client, self.mode, &[&instance, &now]).await.map(drop)
    }

    /// Removes everything below the positions of `oldest`, in their order, and then adds messages, in one transaction.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn save_mqtt_groups(
        &self,
        instance: &str,
        oldest: &[MqttGroupOldest],
        added: &[MqttGroupMessageRow],
    ) -> Result<(), StoreError> {
        let tenants: Vec<i32> = oldest.iter().map(|(group, _)| group.tenant.0).collect();
        let names: Vec<&str> = oldest.iter().map(|(group, _)| &*group.name).collect();
        let filters: Vec<&str> = oldest.iter().map(|(group, _)| &*group.filter).collect();
        let positions: Vec<i64> = oldest.iter().map(|(_, position)| *position).collect();
        self.in_time(async |client| {
            let tx = client.transaction().await?;
            let params: [&(dyn ToSql + Sync); 5] = [&instance, &tenants, &names, &filters, &positions];
            FORGET.execute(&tx, self.mode, &params).await?;
            if !added.is_empty() {
                let tenants: Vec<i32> = added.iter().map(|row| row.group.tenant.0).collect();
                let names: Vec<&str> = added.iter().map(|row| &*row.group.name).collect();
                let filters: Vec<&str> = added.iter().map(|row| &*row.group.filter).collect();
                let positions: Vec<i64> = added.iter().map(|row| row.position).collect();
                let topics: Vec<&str> = added.iter().map(|row| &*row.topic).collect();
                let payloads: Vec<&[u8]> = added.iter().map(|row| &*row.payload).collect();
                let qos: Vec<i16> = added.iter().map(|row| row.qos).collect();
                let retain: Vec<bool> = added.iter().map(|row| row.retain).collect();
                let properties: Vec<Option<&Value>> =
                    added.iter().map(|row| row.properties.as_ref()).collect();
                let expiries: Vec<Option<DateTime<Utc>>> = added.iter().map(|row| row.expires_at).collect();
                let params: [&(dyn ToSql + Sync); 11] = [
                    &instance,
                    &tenants,
                    &names,
                    &filters,
                    &positions,
                    &topics,
                    &payloads,
                    &qos,
                    &retain,
                    &properties,
                    &expiries,
                ];
                SAVE.execute(&tx, self.mode, &params).await?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await
    }
}
