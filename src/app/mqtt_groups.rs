//! What waits for shared subscriptions, before the broker's start and after each change.

use std::collections::BTreeSet;

use tracing::{info, warn};

use crate::broker::{GroupChanges, GroupLog, GroupRestore, StoredGroup, StoredMessage};
use crate::domain::{Clock, TenantId};
use crate::store::mqtt_groups::{MqttGroup, MqttGroupMessageRow, MqttGroupOldest};
use crate::store::{Remedy, StoreError};

use super::mqtt_sessions::Table;

/// Messages; with the largest packets they are 25 MB.
const PAGE: i64 = 100;
/// Groups in one transaction; each brings at most about 1 MB of messages.
const AT_ONCE: usize = 50;

/// Gives the broker back what waited for groups. Those without a member are forgotten.
pub(super) async fn restore(table: &Table, groups: &GroupRestore) -> Result<(), StoreError> {
    let Table { store, clock, instance } = table;
    let now = clock.now();
    store.forget_expired_mqtt_group_messages(instance, now).await?;
    let nothing = MqttGroup { tenant: TenantId(0), name: String::new(), filter: String::new() };
    let (mut after, mut restored, mut deserted) = ((nothing, 0), 0, BTreeSet::new());
    loop {
        let page = store.load_mqtt_group_messages(instance, (&after.0, after.1), now, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = (last.group.clone(), last.position);
        for row in page {
            let MqttGroup { tenant, name, filter } = row.group;
            let group = StoredGroup { tenant, name, filter };
            let message = StoredMessage {
                position: row.position.try_into().unwrap_or(0),
                topic: row.topic,
                payload: row.payload.into(),
                qos: row.qos.try_into().unwrap_or(1),
                retain: row.retain,
                properties: row.properties,
                identifiers: Vec::new(),
                expires_in: row.expires_at.map(|at| (at - now).to_std().unwrap_or_default()),
                packet_id: None,
                released: false,
            };
            if groups.restore(&group, message) {
                restored += 1;
            } else {
                deserted.insert(group);
            }
        }
    }
    if !deserted.is_empty() {
        let all: Vec<_> = deserted.into_iter().map(everything_of).collect();
        store.save_mqtt_groups(instance, &all, &[]).await?;
    }
    if restored > 0 {
        info!(messages = restored, "messages of shared MQTT subscriptions are back");
    }
    Ok(())
}

/// Writes down all that changed.
pub(super) async fn write(table: &Table, log: &GroupLog) -> Result<(), StoreError> {
    loop {
        let changes = log.take(AT_ONCE);
        if changes.is_empty() {
            return Ok(());
        }
        if let Err(error) = save(table, &changes).await {
            log.give_back(changes);
            return Err(error);
        }
        log.stored(changes);
    }
}

/// One message that the table refuses must not keep the others from it.
async fn save(table: &Table, changes: &GroupChanges) -> Result<(), StoreError> {
    let Table { store, clock, instance } = table;
    let gone = changes.gone.iter().cloned().map(everything_of);
    let left = changes.changed.iter().map(|change| (group(change.group.clone()), change.oldest as i64));
    let oldest: Vec<MqttGroupOldest> = gone.chain(left).collect();
    let added: Vec<MqttGroupMessageRow> = changes
        .changed
        .iter()
        .flat_map(|change| change.messages.iter().map(|message| row(&change.group, message, *clock)))
        .collect();
    match store.save_mqtt_groups(instance, &oldest, &added).await {
        Err(error) if error.remedy() == Remedy::Isolate => {}
        done => return done,
    }
    store.save_mqtt_groups(instance, &oldest, &[]).await?;
    for row in &added {
        match store.save_mqtt_groups(instance, &[], std::slice::from_ref(row)).await {
            Err(error) if error.remedy() == Remedy::Isolate => {
                warn!(topic = row.topic, %error, "a message of a shared subscription cannot be stored; it ends with this program");
            }
            done => done?,
        }
    }
    Ok(())
}

fn everything_of(stored: StoredGroup) -> MqttGroupOldest {
    (group(stored), i64::MAX)
}

fn group(stored: StoredGroup) -> MqttGroup {
    let StoredGroup { tenant, name, filter } = stored;
    MqttGroup { tenant, name, filter }
}

fn row(of: &StoredGroup, message: &StoredMessage, clock: Clock) -> MqttGroupMessageRow {
    MqttGroupMessageRow {
        group: group(of.clone()),
        position: message.position as i64,
        topic: message.topic.clone(),
        payload: message.payload.to_vec(),
        qos: message.qos.into(),
        retain: message.retain,
        properties: message.properties.clone(),
        expires_at: message.expires_in.map(|left| clock.now() + left),
    }
}
