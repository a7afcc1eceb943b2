//! simbridge receives SIM usage, stores every record exactly once and keeps the totals.
//!
//! The modules stand in the order in which data passes them.

pub mod domain;
pub mod ingest;
pub mod store;
