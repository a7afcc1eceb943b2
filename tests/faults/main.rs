//! Faults on purpose, with the real program, PostgreSQL and mosquitto as processes and a bad network between every two of
//! them. What must be true after each stands in docs/RELIABILITY.md, beside the rows that `tests/integration` proves.
//!
//! An ordinary run repeats little. `SIMBRIDGE_TEST_FAULTS=long` repeats as often as the table says, and
//! `SIMBRIDGE_TEST_SEED` repeats what a run that failed has printed.

#[allow(dead_code, reason = "the other rows and tests need the rest of it")]
#[path = "../integration/harness/mod.rs"]
mod harness;

mod effort;
mod link;
mod oracle;
mod rollup_duty;
mod scene;
mod server;

mod clock;
mod commits;
mod database_link;
mod device_link;
mod endings;
mod frozen;
mod full_disk;
mod handover;
mod locked_table;
mod migration;
mod soak;
mod standby;
mod synced;
mod mosquitto_link;
