//! simbridge receives SIM usage, stores every record exactly once and keeps the totals.
//!
//! The modules stand in the order in which data passes them.

pub mod domain;
pub mod config;
pub mod broker;
pub mod outgoing;
pub mod traces;
pub mod source;
pub mod ingest;
pub mod payload;
pub mod inventory;
pub mod store;
pub mod rollup;
pub mod reconcile;
pub mod replay;
pub mod alerts;
pub mod api;
pub mod dashboard;
pub mod metrics;
pub mod telemetry;
mod service_manager;
pub mod shutdown;
pub mod app;
pub mod cli;
#[cfg(fuzzing)]
pub mod fuzz;
