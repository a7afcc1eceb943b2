//! What has to happen now and then: cycles that end, partitions that will be needed, what is old, invoices.
//!
//! Every instance does all of it. Each step is one transaction under a lock of its own, or does nothing when another
//! instance has done it already.

mod observing;
mod retention;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::domain::Clock;
use crate::store::{Store, StoreError};

use crate::metrics::Metrics;

pub(super) use observing::DataDirectory;

/// A cycle becomes current at most this late. Records do not depend on it: the batch that needs a cycle makes it.
const EVERY: Duration = Duration::from_secs(20);
/// Everything else.
const HOURLY: Duration = Duration::from_secs(3_600);

pub(super) async fn run(
    store: Store,
    clock: Clock,
    max_age_days: u64,
    directory: DataDirectory,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut partitions_due = Instant::now();
    let mut invoices_due = Instant::now();
    let mut retention = retention::Schedule::starting(Instant::now());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = clock.now();
        match store.roll_cycles(now).await {
            Ok(0) => {}
            Ok(sims) => info!(sims, "billing cycles ended and new ones began"),
            Err(error) => failed("roll cycles", &error),
        }
        if partitions_due <= Instant::now() {
            match partitions(&store, clock, max_age_days).await {
                Ok(()) => partitions_due = Instant::now() + HOURLY,
                Err(error) => failed("make partitions", &error),
            }
        }
        observing::look(&store, clock, &directory, &metrics).await;
        if invoices_due <= Instant::now() {
            match invoices(&store, clock).await {
                Ok(()) => invoices_due = Instant::now() + HOURLY,
                Err(error) => failed("make invoices", &error),
            }
        }
        let work = retention::Retention { store: &store, clock, max_age_days, metrics: &metrics.retention };
        retention.round(&work, &stop).await;
    }
}

async fn partitions(store: &Store, clock: Clock, max_age_days: u64) -> Result<(), StoreError> {
    let now = clock.now();
    let made = store.ensure_partitions(now, max_age_days).await?;
    if made > 0 {
        info!(made, "partitions of usage_records made");
    }
    let made = store.ensure_rollup_partitions(now).await?;
    if made > 0 {
        info!(made, "partitions of sim_daily_usage made");
    }
    Ok(())
}

async fn invoices(store: &Store, clock: Clock) -> Result<(), StoreError> {
    let changed = store.keep_invoices(clock.now()).await?;
    if changed > 0 {
        info!(changed, "invoices were made, changed with their month or became overdue");
    }
    Ok(())
}

/// An outage is told by the writers already; here it only delays what is due.
fn failed(what: &str, error: &StoreError) {
    warn!(what, %error, "maintenance will try again");
}
