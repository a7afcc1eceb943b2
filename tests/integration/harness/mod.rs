//! What the tests stand on.

pub(crate) mod api;
pub(crate) mod bridge;
pub(crate) mod browser;
pub(crate) mod canary;
pub(crate) mod certificates;
#[cfg(feature = "opentelemetry")]
pub(crate) mod collector;
pub(crate) mod customer;
pub(crate) mod database;
pub(crate) mod durable;
pub(crate) mod fleet;
pub(crate) mod front;
mod given_server;
pub(crate) mod history;
pub(crate) mod mqtt;
pub(crate) mod packets;
pub(crate) mod panel;
pub(crate) mod patience;
pub(crate) mod pgbouncer;
pub(crate) mod mosquitto;
pub(crate) mod openvpn;
pub(crate) mod pipeline;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod radius;
pub(crate) mod server;
pub(crate) mod small_disk;
pub(crate) mod spool;
pub(crate) mod websocket;

pub(crate) use patience::{PATIENCE, eventually};
