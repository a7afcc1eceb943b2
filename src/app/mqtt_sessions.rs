//! Sessions of MQTT clients, before the broker's start and after each change.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::broker::{
    Broker, GroupLog, SessionChange, SessionChanges, SessionLog, SessionRestore, StoredMessage,
    StoredSession, StoredWill,
};
use crate::config::mqtt::MqttConfig;
use crate::domain::{Clock, TenantId};
use crate::shutdown::vital;
use crate::store::mqtt_sessions::{MqttMessageRow, MqttSessionChange, MqttSessionRow, MqttWillRow};
use crate::store::{Remedy, Store, StoreError};

use super::mqtt_groups;
use super::write_behind::{self, WriteBehind};

const PAGE: i64 = 1_000;
/// Sessions in one transaction; each brings at most about 1 MB of messages.
const AT_ONCE: usize = 50;

/// Where the sessions of one broker are.
#[derive(Clone)]
pub(super) struct Table {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) instance: String,
}

/// Gives a broker that has no clients yet its sessions back, and keeps what changes from now on.
pub(super) async fn attach(
    broker: &Broker,
    config: &MqttConfig,
    store: &Store,
    clock: Clock,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    let table = Table { store: store.clone(), clock, instance: config.instance_name.clone() };
    let (log, sessions) = broker.sessions();
    // Their members come with the sessions.
    let (groups, waiting) = broker.groups();
    let most = i64::try_from(config.max_outbound_messages + config.max_outbound_in_flight);
    restore(&table, &sessions, most.unwrap_or(i64::MAX)).await?;
    mqtt_groups::restore(&table, &waiting).await?;
    tasks.spawn(vital("MQTT sessions", write_behind::keep(Sessions { table, log, groups }, stop.clone())));
    Ok(())
}

/// Gives the broker its sessions back, each with at most `most` messages.
async fn restore(table: &Table, sessions: &SessionRestore, most: i64) -> Result<(), StoreError> {
    let (mut after, mut restored, mut refused) = ((TenantId(0), String::new()), 0, 0);
    let now = table.clock.now();
    table.store.forget_expired_mqtt_sessions(&table.instance, now).await?;
    loop {
        let page = table.store.load_mqtt_sessions(&table.instance, (after.0, &after.1), now, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = (last.tenant, last.client_id.clone());
        for row in page {
            let of = (row.tenant, &*row.client_id);
            let messages = table.store.load_mqtt_session_messages(&table.instance, of, now, most).await?;
            let left = |at: chrono::DateTime<chrono::Utc>| (at - now).to_std().unwrap_or_default();
            let messages = messages.into_iter().map(|row| StoredMessage {
                position: row.position.try_into().unwrap_or(0),
                topic: row.topic,
                payload: row.payload.into(),
                qos: row.qos.try_into().unwrap_or(1),
                retain: row.retain,
                properties: row.properties,
                identifiers: row.identifiers.iter().filter_map(|id| u32::try_from(*id).ok()).collect(),
                expires_in: row.expires_at.map(left),
                packet_id: row.packet_id.and_then(|id| id.try_into().ok()),
                released: row.released,
            });
            let session = StoredSession {
                tenant: row.tenant,
                client_id: row.client_id,
                owner: row.owner,
                keep: Duration::from_secs(row.keep_seconds.try_into().unwrap_or(0)),
                expires_in: row.expires_at.map(left),
                subscriptions: row.subscriptions,
                received: row.received.iter().filter_map(|id| u16::try_from(*id).ok()).collect(),
                last_packet_id: row.last_packet_id.try_into().unwrap_or(0),
                will: row.will.map(|will| StoredWill {
                    due_in: left(will.due_at),
                    payload: will.payload.into(),
                    message: will.message,
                }),
            };
            if sessions.restore(session, messages.collect()) { restored += 1 } else { refused += 1 }
        }
    }
    if refused > 0 {
        warn!(
            refused,
            "more MQTT sessions are stored than mqtt.max_parked_sessions and max_subscriptions allow"
        );
    }
    if restored > 0 {
        info!(sessions = restored, "sessions of MQTT clients are back");
    }
    Ok(())
}

struct Sessions {
    table: Table,
    log: SessionLog,
    groups: GroupLog,
}

impl WriteBehind for Sessions {
    const WHAT: &'static str = "MQTT sessions";

    async fn write(&self) -> Result<(), StoreError> {
        loop {
            let changes = self.log.take(AT_ONCE);
            if changes.is_empty() {
                return mqtt_groups::write(&self.table, &self.groups).await;
            }
            if let Err(error) = save(&self.table, &changes).await {
                self.log.give_back(changes);
                return Err(error);
            }
            self.log.stored(changes);
        }
    }
}

/// One session that the table refuses must not keep the others from it.
async fn save(table: &Table, changes: &SessionChanges) -> Result<(), StoreError> {
    let Table { store, instance, .. } = table;
    let rows: Vec<MqttSessionChange> =
        changes.changed.iter().map(|change| rows(change, table.clock)).collect();
    match store.save_mqtt_sessions(instance, &rows, &changes.gone).await {
        Err(error) if error.remedy() == Remedy::Isolate => {}
        done => return done,
    }
    store.save_mqtt_sessions(instance, &[], &changes.gone).await?;
    for row in &rows {
        match store.save_mqtt_sessions(instance, std::slice::from_ref(row), &[]).await {
            Err(error) if error.remedy() == Remedy::Isolate => {
                warn!(client = row.client_id, %error, "what changed of an MQTT session cannot be stored");
            }
            done => done?,
        }
    }
    Ok(())
}

fn rows(change: &SessionChange, clock: Clock) -> MqttSessionChange {
    let now = clock.now();
    let message = |message: &StoredMessage| MqttMessageRow {
        position: message.position as i64,
        topic: message.topic.clone(),
        payload: message.payload.to_vec(),
        qos: message.qos.into(),
        retain: message.retain,
        properties: message.properties.clone(),
        identifiers: message.identifiers.iter().map(|id| *id as i32).collect(),
        expires_at: message.expires_in.map(|left| now + left),
        packet_id: message.packet_id.map(i32::from),
        released: message.released,
    };
    let session = |session: &StoredSession| MqttSessionRow {
        tenant: session.tenant,
        client_id: session.client_id.clone(),
        owner: session.owner.clone(),
        keep_seconds: i32::try_from(session.keep.as_secs()).unwrap_or(i32::MAX).max(1),
        expires_at: session.expires_in.map(|left| now + left),
        subscriptions: session.subscriptions.clone(),
        received: session.received.iter().map(|id| i32::from(*id)).collect(),
        last_packet_id: session.last_packet_id.into(),
        will: session.will.as_ref().map(|will| MqttWillRow {
            due_at: now + will.due_in,
            payload: will.payload.to_vec(),
            message: will.message.clone(),
        }),
    };
    MqttSessionChange {
        tenant: change.tenant,
        client_id: change.client_id.clone(),
        session: change.session.as_ref().map(session),
        oldest_sent: change.oldest_sent as i64,
        oldest_waiting: change.oldest_waiting as i64,
        sent_is_new: change.sent_is_new,
        messages: change.messages.iter().map(message).collect(),
    }
}
