//! Sessions of MQTT clients that outlive their connections.

use chrono::{DateTime, Utc};
use deadpool_postgres::Transaction;
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;

use crate::domain::TenantId;

use super::{Statement, StatementMode, Store, StoreError, statement};

static LOAD: Statement = statement!("load_mqtt_sessions", TEXT, INT4, TEXT, TIMESTAMPTZ, INT8);
static LOAD_MESSAGES: Statement =
    statement!("load_mqtt_session_messages", TEXT, INT4, TEXT, TIMESTAMPTZ, INT8);
static SAVE: Statement = statement!(
    "save_mqtt_sessions",
    TEXT,
    INT4_ARRAY,
    TEXT_ARRAY,
    TEXT_ARRAY,
    INT4_ARRAY,
    TIMESTAMPTZ_ARRAY,
    JSONB_ARRAY,
    JSONB_ARRAY,
    INT4_ARRAY,
    JSONB_ARRAY,
    BYTEA_ARRAY,
    TIMESTAMPTZ_ARRAY
);
static SAVE_MESSAGES: Statement = statement!(
    "save_mqtt_session_messages",
    TEXT,
    INT4_ARRAY,
    TEXT_ARRAY,
    INT8_ARRAY,
    TEXT_ARRAY,
    BYTEA_ARRAY,
    INT2_ARRAY,
    BOOL_ARRAY,
    JSONB_ARRAY,
    JSONB_ARRAY,
    TIMESTAMPTZ_ARRAY,
    INT4_ARRAY,
    BOOL_ARRAY
);
static FORGET: Statement = statement!("forget_mqtt_sessions", TEXT, INT4_ARRAY, TEXT_ARRAY);
static FORGET_MESSAGES: Statement = statement!(
    "forget_mqtt_session_messages",
    TEXT,
    INT4_ARRAY,
    TEXT_ARRAY,
    INT8_ARRAY,
    INT8_ARRAY,
    BOOL_ARRAY
);
static FORGET_EXPIRED: Statement = statement!("forget_expired_mqtt_sessions", TEXT, TIMESTAMPTZ);
static FORGET_EXPIRED_MESSAGES: Statement =
    statement!("forget_expired_mqtt_session_messages", TEXT, TIMESTAMPTZ);

/// A session.
#[derive(Clone, Debug, PartialEq)]
pub struct MqttSessionRow {
    pub tenant: TenantId,
    pub client_id: String,
    pub owner: String,
    pub keep_seconds: i32,
    pub expires_at: Option<DateTime<Utc>>,
    pub subscriptions: Value,
    /// Packet ids.
    pub received: Vec<i32>,
    pub last_packet_id: i32,
    pub will: Option<MqttWillRow>,
}

/// A will that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct MqttWillRow {
    pub due_at: DateTime<Utc>,
    pub payload: Vec<u8>,
    /// Everything else.
    pub message: Value,
}

/// A message that waits for a session's client.
#[derive(Clone, Debug, PartialEq)]
pub struct MqttMessageRow {
    pub position: i64,
    pub topic: String,
    pub payload: Vec<u8>,
    /// 1 or 2.
    pub qos: i16,
    pub retain: bool,
    pub properties: Option<Value>,
    pub identifiers: Vec<i32>,
    pub expires_at: Option<DateTime<Utc>>,
    pub packet_id: Option<i32>,
    pub released: bool,
}

/// What is to be written of one session.
#[derive(Clone, Debug)]
pub struct MqttSessionChange {
    pub tenant: TenantId,
    pub client_id: String,
    /// `None`: nothing but its messages changed.
    pub session: Option<MqttSessionRow>,
    /// Messages below are acknowledged, and those below `oldest_waiting` that were never sent gave way.
    pub oldest_sent: i64,
    pub oldest_waiting: i64,
    /// All that was sent is in `messages`.
    pub sent_is_new: bool,
    pub messages: Vec<MqttMessageRow>,
}

impl Store {
    /// At most `limit` sessions of an instance, by tenant and client, after `after`; of those that have expired at `now`, those with
    /// a will.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn load_mqtt_sessions(
        &self,
        instance: &str,
        after: (TenantId, &str),
        now: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<MqttSessionRow>, StoreError> {
        let client = self.client().await?;
        let rows = LOAD.rows(&client, self.mode, &[&instance, &after.0.0, &after.1, &now, &limit]).await?;
        Ok(rows
            .iter()
            .map(|row| MqttSessionRow {
                tenant: TenantId(row.get("tenant_id")),
                client_id: row.get("client_id"),
                owner: row.get("owner"),
                keep_seconds: row.get("keep_seconds"),
                expires_at: row.get("expires_at"),
                subscriptions: row.get("subscriptions"),
                received: row.get("received"),
                last_packet_id: row.get("last_packet_id"),
                will: row.get::<_, Option<Value>>("will").map(|message| MqttWillRow {
                    due_at: row.get("will_due_at"),
                    payload: row.get("will_payload"),
                    message,
                }),
            })
            .collect())
    }

    /// At most `limit` messages that wait for a client, in order, without those that have expired at `now`.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn load_mqtt_session_messages(
        &self,
        instance: &str,
        (tenant, client_id): (TenantId, &str),
        now: DateTime<Utc>,
        limit: i64,
    ) -> Result<Vec<MqttMessageRow>, StoreError> {
        let client = self.client().await?;
        let params: [&(dyn ToSql + Sync); 5] = [&instance, &tenant.0, &client_id, &now, &limit];
        let rows = LOAD_MESSAGES.rows(&client, self.mode, &params).await?;
        Ok(rows
            .iter()
            .map(|row| MqttMessageRow {
                position: row.get("position"),
                topic: row.get("topic"),
                payload: row.get("payload"),
                qos: row.get("qos"),
                retain: row.get("retain"),
                properties: row.get("properties"),
                identifiers: row.get("identifiers"),
                expires_at: row.get("expires_at"),
                packet_id: row.get("packet_id"),
                released: row.get("released"),
            })
            .collect())
    }

    /// Removes the sessions and messages of an instance that have expired at `now`, but for sessions with a will.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn forget_expired_mqtt_sessions(
        &self,
        instance: &str,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let client = self.client().await?;
        FORGET_EXPIRED.execute(&client, self.mode, &[&instance, &now]).await?;
        FORGET_EXPIRED_MESSAGES.execute(&client, self.mode, &[&instance, &now]).await.map(drop)
    }

    /// Writes what changed of some sessions, and removes others, in one transaction. No session stands in both.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn save_mqtt_sessions(
        &self,
        instance: &str,
        changed: &[MqttSessionChange],
        gone: &[(TenantId, String)],
    ) -> Result<(), StoreError> {
        self.in_time(async |client| {
            let tx = client.transaction().await?;
            if !gone.is_empty() {
                let tenants: Vec<i32> = gone.iter().map(|(tenant, _)| tenant.0).collect();
                let clients: Vec<&str> = gone.iter().map(|(_, client)| &**client).collect();
                FORGET.execute(&tx, self.mode, &[&instance, &tenants, &clients]).await?;
            }
            save(&tx, self.mode, instance, changed).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }
}

async fn save(
    tx: &Transaction<'_>,
    mode: StatementMode,
    instance: &str,
    changed: &[MqttSessionChange],
) -> Result<(), StoreError> {
    if changed.is_empty() {
        return Ok(());
    }
    save_headers(tx, mode, instance, changed).await?;
    let tenants: Vec<i32> = changed.iter().map(|change| change.tenant.0).collect();
    let clients: Vec<&str> = changed.iter().map(|change| &*change.client_id).collect();
    let sent: Vec<i64> = changed.iter().map(|change| change.oldest_sent).collect();
    let waiting: Vec<i64> = changed.iter().map(|change| change.oldest_waiting).collect();
    let anew: Vec<bool> = changed.iter().map(|change| change.sent_is_new).collect();
    let params: [&(dyn ToSql + Sync); 6] = [&instance, &tenants, &clients, &sent, &waiting, &anew];
    FORGET_MESSAGES.execute(tx, mode, &params).await?;
    save_messages(tx, mode, instance, changed).await
}

async fn save_headers(
    tx: &Transaction<'_>,
    mode: StatementMode,
    instance: &str,
    changed: &[MqttSessionChange],
) -> Result<(), StoreError> {
    let sessions: Vec<&MqttSessionRow> =
        changed.iter().filter_map(|change| change.session.as_ref()).collect();
    if sessions.is_empty() {
        return Ok(());
    }
    let tenants: Vec<i32> = sessions.iter().map(|row| row.tenant.0).collect();
    let clients: Vec<&str> = sessions.iter().map(|row| &*row.client_id).collect();
    let owners: Vec<&str> = sessions.iter().map(|row| &*row.owner).collect();
    let keep: Vec<i32> = sessions.iter().map(|row| row.keep_seconds).collect();
    let expiries: Vec<Option<DateTime<Utc>>> = sessions.iter().map(|row| row.expires_at).collect();
    let subscriptions: Vec<&Value> = sessions.iter().map(|row| &row.subscriptions).collect();
    let received: Vec<Value> = sessions.iter().map(|row| json!(row.received)).collect();
    let last: Vec<i32> = sessions.iter().map(|row| row.last_packet_id).collect();
    let wills: Vec<Option<&MqttWillRow>> = sessions.iter().map(|row| row.will.as_ref()).collect();
    let messages: Vec<Option<&Value>> = wills.iter().map(|will| Some(&will.as_ref()?.message)).collect();
    let payloads: Vec<Option<&[u8]>> = wills.iter().map(|will| Some(&*will.as_ref()?.payload)).collect();
    let due: Vec<Option<DateTime<Utc>>> = wills.iter().map(|will| Some(will.as_ref()?.due_at)).collect();
    let params: [&(dyn ToSql + Sync); 12] = [
        &instance,
        &tenants,
        &clients,
        &owners,
        &keep,
        &expiries,
        &subscriptions,
        &received,
        &last,
        &messages,
        &payloads,
        &due,
    ];
    SAVE.execute(tx, mode, &params).await?;
    Ok(())
}

async fn save_messages(
    tx: &Transaction<'_>,
    mode: StatementMode,
    instance: &str,
    changed: &[MqttSessionChange],
) -> Result<(), StoreError> {
    let added: Vec<(&MqttSessionChange, &MqttMessageRow)> = changed
        .iter()
        .flat_map(|change| change.messages.iter().map(move |message| (change, message)))
        .collect();
    if added.is_empty() {
        return Ok(());
    }
    let tenants: Vec<i32> = added.iter().map(|(of, _)| of.tenant.0).collect();
    let clients: Vec<&str> = added.iter().map(|(of, _)| &*of.client_id).collect();
    let positions: Vec<i64> = added.iter().map(|(_, row)| row.position).collect();
    let topics: Vec<&str> = added.iter().map(|(_, row)| &*row.topic).collect();
    let payloads: Vec<&[u8]> = added.iter().map(|(_, row)| &*row.payload).collect();
    let qos: Vec<i16> = added.iter().map(|(_, row)| row.qos).collect();
    let retain: Vec<bool> = added.iter().map(|(_, row)| row.retain).collect();
    let properties: Vec<Option<&Value>> = added.iter().map(|(_, row)| row.properties.as_ref()).collect();
    let identifiers: Vec<Value> = added.iter().map(|(_, row)| json!(row.identifiers)).collect();
    let expiries: Vec<Option<DateTime<Utc>>> = added.iter().map(|(_, row)| row.expires_at).collect();
    let packets: Vec<Option<i32>> = added.iter().map(|(_, row)| row.packet_id).collect();
    let released: Vec<bool> = added.iter().map(|(_, row)| row.released).collect();
    let params: [&(dyn ToSql + Sync); 13] = [
        &instance,
        &tenants,
        &clients,
        &positions,
        &topics,
        &payloads,
        &qos,
        &retain,
        &properties,
        &identifiers,
        &expiries,
        &packets,
        &released,
    ];
    SAVE_MESSAGES.execute(tx, mode, &params).await?;
    Ok(())
}
