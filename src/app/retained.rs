//! Retained messages of the embedded broker, before its start and after each change.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::broker::{Broker, RetainedChanges, RetainedLog, RetainedMessage};
use crate::domain::{Clock, TenantId};
use crate::shutdown::vital;
use crate::store::retained::RetainedRow;
use crate::store::{Remedy, Store, StoreError};

use super::write_behind::{self, WriteBehind};

const PAGE: i64 = 1_000;
/// Messages in one transaction; with the largest packets they are 25 MB.
const AT_ONCE: usize = 100;

/// Gives a broker that has no clients yet what was retained before, and keeps what it retains from now on.
pub(super) async fn attach(
    broker: &Broker,
    store: &Store,
    clock: Clock,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    restore(store, clock, &broker.retained()).await?;
    let retained = Retained { store: store.clone(), clock, log: broker.retained() };
    tasks.spawn(vital("retained messages", write_behind::keep(retained, stop.clone())));
    Ok(())
}

/// Gives the broker what was retained before. What there is no room for is left where it is.
async fn restore(store: &Store, clock: Clock, log: &RetainedLog) -> Result<(), StoreError> {
    let (mut after, mut restored, mut refused) = ((TenantId(0), String::new()), 0, 0);
    let now = clock.now();
    loop {
        let page = store.load_retained((after.0, &after.1), now, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = (last.tenant, last.topic.clone());
        for row in page {
            let left = row.expires_at.map(|at| (at - now).to_std().unwrap_or_default());
            let kept = log.restore(RetainedMessage {
                tenant: row.tenant,
                topic: row.topic,
                payload: row.payload.into(),
                qos: u8::try_from(row.qos).unwrap_or(0),
                properties: row.properties,
                expires_in: left,
            });
            if kept { restored += 1 } else { refused += 1 }
        }
    }
    if refused > 0 {
        warn!(refused, "more retained messages are stored than mqtt.max_retained_messages and _bytes allow");
    }
    if restored > 0 {
        info!(messages = restored, "retained messages are back");
    }
    Ok(())
}

struct Retained {
    store: Store,
    clock: Clock,
    log: RetainedLog,
}

impl WriteBehind for Retained {
    const WHAT: &'static str = "retained messages";

    async fn write(&self) -> Result<(), StoreError> {
        loop {
            let changes = self.log.take(AT_ONCE);
            if changes.is_empty() {
                return Ok(());
            }
            if let Err(error) = save(&self.store, &rows(&changes, self.clock), &changes.forgotten).await {
                self.log.give_back(changes);
                return Err(error);
            }
        }
    }
}

/// One message that the table refuses must not keep the others from it.
async fn save(store: &Store, rows: &[RetainedRow], gone: &[(TenantId, String)]) -> Result<(), StoreError> {
    match store.save_retained(rows, gone).await {
        Err(error) if error.remedy() == Remedy::Isolate => {}
        done => return done,
    }
    store.save_retained(&[], gone).await?;
    for row in rows {
        match store.save_retained(std::slice::from_ref(row), &[]).await {
            Err(error) if error.remedy() == Remedy::Isolate => {
                warn!(topic = row.topic, %error, "a retained message cannot be stored; it ends with this program");
            }
            done => done?,
        }
    }
    Ok(())
}

fn rows(changes: &RetainedChanges, clock: Clock) -> Vec<RetainedRow> {
    let now = clock.now();
    let row = |message: &RetainedMessage| RetainedRow {
        tenant: message.tenant,
        topic: message.topic.clone(),
        payload: message.payload.to_vec(),
        qos: message.qos.into(),
        properties: message.properties.clone(),
        expires_at: message.expires_in.map(|left| now + left),
    };
    changes.kept.iter().map(row).collect()
}
