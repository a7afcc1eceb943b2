//! Hours, days and months, kept equal to the records (ADR 0007). The work itself is SQL in the migrations; here is decided
//! when it is done, in what portions, and what happens when it fails.

pub mod metrics;
pub mod rebuild;
mod run;
mod schedule;
mod worker;

use std::time::Duration;

pub use run::{Reason, RunError, RunSummary, run};
pub use worker::work;

/// How rollups are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollupOptions {
    /// Records of one transaction, about: a chunk ends with a whole batch.
    pub chunk_records: i64,
    /// SIMs of one transaction while a tenant's days move to another time zone.
    pub zone_chunk_sims: i32,
    /// Batches that wait for longer than this are rolled up between the scheduled runs too.
    pub flush_after: Duration,
    /// For how long one run may take, its retries included.
    pub run_limit: Duration,
}
