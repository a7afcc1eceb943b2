//! simbridge receives SIM usage, stores every record exactly once and keeps the totals.
//!
//! The modules stand in the order in which data passes them.

pub mod config;
pub mod domain;
pub mod ingest;
pub mod payload;
pub mod store;
