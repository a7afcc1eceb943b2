//! What the broker says about itself, under the names that mosquitto gives it. It is published to those who have subscribed below
//! `$SYS`, in each tenant's own topics, and costs nothing while nobody has. It is not in the retained store: a new subscription gets
//! the values at once all the same, and nothing that is out of date is left when the last one is gone.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::MissedTickBehavior;

use crate::domain::TenantId;

use super::Hub;
use super::publication::Publication;

/// First level of the topics.
pub(super) const ROOT: &str = "$SYS";
/// Clients that subscribe in a loop get the values for each other no more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);

/// Publishes every `mqtt.sys_interval_seconds` and soon after a subscription; never returns.
pub(super) async fn run(hub: Arc<Hub>) {
    let seconds = hub.config.sys_interval_seconds;
    if seconds == 0 {
        return pending().await;
    }
    let started = Instant::now();
    let mut interval = tokio::time::interval(Duration::from_secs(seconds));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = hub.sys_wanted.notified() => {}
        }
        for tenant in hub.subscriptions.tenants_below(ROOT) {
            publish(&hub, tenant, started.elapsed());
        }
        tokio::time::sleep(SHORTEST_PAUSE).await;
    }
}

/// Whether a new subscription of `filter` wants the values now.
pub(super) fn concerns(filter: &str) -> bool {
    filter.split('/').next() == Some(ROOT)
}

fn publish(hub: &Hub, tenant: TenantId, uptime: Duration) {
    for (topic, value) in values(hub, uptime) {
        let publication = Publication::new(tenant, topic.into(), Bytes::from(value), None, Instant::now());
        // It goes to those only whose filter matches.
        hub.publish(publication);
    }
}

/// Topics and values. The numbers are the whole broker's, of all tenants.
fn values(hub: &Hub, uptime: Duration) -> [(&'static str, String); 7] {
    let received = hub.metrics.messages_received().to_string();
    let sent = hub.metrics.messages_sent.get().to_string();
    [
        ("$SYS/broker/version", format!("simbridge version {}", env!("CARGO_PKG_VERSION"))),
        ("$SYS/broker/uptime", format!("{} seconds", uptime.as_secs())),
        ("$SYS/broker/clients/connected", hub.metrics.connections.get().to_string()),
        ("$SYS/broker/messages/received", received.clone()),
        ("$SYS/broker/messages/sent", sent.clone()),
        ("$SYS/broker/publish/messages/received", received),
        ("$SYS/broker/publish/messages/sent", sent),
    ]
}
