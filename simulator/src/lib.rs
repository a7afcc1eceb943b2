//! A simulated SIM fleet that publishes usage over MQTT. It knows the wire contract only, so that a fault in the
//! bridge's own types cannot hide on both sides of the wire.

pub mod clock;
pub mod faults;
pub mod fleet;
pub mod history;
pub mod ledger;
pub mod load;
pub mod plan;
pub mod publisher;
pub mod record;

mod catalog;
mod malformed;
mod profile;
