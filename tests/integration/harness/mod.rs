//! What the tests stand on.

pub(crate) mod api;
pub(crate) mod bridge;
pub(crate) mod browser;
pub(crate) mod certificates;
pub(crate) mod customer;
pub(crate) mod database;
pub(crate) mod durable;
pub(crate) mod fleet;
pub(crate) mod front;
pub(crate) mod history;
pub(crate) mod mqtt;
pub(crate) mod packets;
pub(crate) mod panel;
pub(crate) mod mosquitto;
pub(crate) mod openvpn;
pub(crate) mod pipeline;
pub(crate) mod proxy;
pub(crate) mod radius;
pub(crate) mod server;
pub(crate) mod spool;
pub(crate) mod websocket;

use std::time::Duration;

/// How long a test waits for something that is bound to happen. Long, because only a failure ever waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `check` gives a value; `what` names it when it never does.
pub(crate) async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
