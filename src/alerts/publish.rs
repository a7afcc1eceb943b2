use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::broker::Publisher;
use crate::domain::{Clock, TenantId};
use crate::store::alerts::Alert;
use crate::store::{Store, StoreError};

use super::metrics::AlertMetrics;
use super::{AlertDocument, AlertOptions};

/// Alerts that are read at once.
const PAGE: i64 = 500;
/// Retained alerts that are asked after at once, so that a look stays short however many there are.
const ASKED_AT_ONCE: usize = 500;

/// Keeps the newest alert of each SIM's current cycle as a retained message on this instance's broker, until `stop`. The
/// broker forgets when it is restarted, so they are published again then.
pub async fn run(
    store: Store,
    clock: Clock,
    options: AlertOptions,
    publisher: Publisher,
    metrics: Arc<AlertMetrics>,
    stop: CancellationToken,
) {
    let mut board =
        Board { store, clock, options, publisher, metrics, last: None, shown: HashMap::new(), asked: 0 };
    let mut ticks = tokio::time::interval(board.options.pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fails = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match board.look().await {
            Ok(()) => fails = false,
            Err(error) => {
                if !std::mem::replace(&mut fails, true) {
                    warn!(%error, "alerts on MQTT wait for the database");
                }
            }
        }
    }
}

struct Board {
    store: Store,
    clock: Clock,
    options: AlertOptions,
    publisher: Publisher,
    metrics: Arc<AlertMetrics>,
    /// The alert up to which all were published; `None` before the first look.
    last: Option<i64>,
    /// What is retained: the alert of each SIM.
    shown: HashMap<(TenantId, String), i64>,
    /// Up to which alert those that are shown were asked after.
    asked: i64,
}

impl Board {
    async fn look(&mut self) -> Result<(), StoreError> {
        let mut last = match self.last {
            Some(last) => last,
            None => {
                // First the end, then what stands before it: nothing that is raised in between is missed.
                let newest = self.store.newest_alert().await?;
                let most = i64::try_from(self.options.retained_max_messages).unwrap_or(i64::MAX);
                for alert in self.store.current_alerts(self.clock.now(), most).await? {
                    self.show(alert).await;
                }
                *self.last.insert(newest)
            }
        };
        loop {
            let alerts = self.store.alerts_after(last, PAGE).await?;
            let full = alerts.len() == PAGE as usize;
            for alert in alerts {
                last = alert.id;
                self.show(alert).await;
                self.last = Some(last);
            }
            if !full {
                break;
            }
        }
        self.clear_stale().await
    }

    async fn show(&mut self, alert: Alert) {
        let key = (alert.tenant, alert.iccid.clone());
        let known = self.shown.get(&key).copied();
        if known.is_some_and(|known| known >= alert.id) {
            return;
        }
        if known.is_none() && self.shown.len() >= self.options.retained_max_messages {
            return;
        }
        self.shown.insert(key, alert.id);
        let (tenant, topic) = (alert.tenant, topic(&alert.iccid));
        self.publisher.retain(tenant, topic, AlertDocument::from(alert).json().into());
        self.metrics.published.inc();
    }

    /// Takes back what is of a cycle that has ended, or of a SIM that has another tenant now.
    async fn clear_stale(&mut self) -> Result<(), StoreError> {
        let mut ids: Vec<i64> = self.shown.values().copied().filter(|id| *id > self.asked).collect();
        ids.sort_unstable();
        ids.truncate(ASKED_AT_ONCE);
        // After the last of them it goes on with the first.
        self.asked = if ids.len() < ASKED_AT_ONCE { 0 } else { ids.last().copied().unwrap_or(0) };
        if ids.is_empty() {
            return Ok(());
        }
        let stale = self.store.stale_alerts(&ids, self.clock.now()).await?;
        let gone: Vec<_> =
            self.shown.iter().filter(|(_, id)| stale.contains(id)).map(|(key, _)| key.clone()).collect();
        for (tenant, iccid) in gone {
            self.publisher.retain(tenant, topic(&iccid), Bytes::new());
            self.shown.remove(&(tenant, iccid));
        }
        Ok(())
    }
}

fn topic(iccid: &str) -> String {
    format!("simportal/sims/{iccid}/alerts")
}
