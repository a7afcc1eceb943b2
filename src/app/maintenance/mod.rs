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
use crate::metrics::Metrics;
use crate::store::{Store, StoreError};
use crate::traces::Kind;

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
        let sims = duty(&store, "roll cycles", store.roll_cycles(now)).await;
        if let Some(sims) = sims.filter(|sims| *sims > 0) {
            info!(sims, "billing cycles ended and new ones began");
        }
        if partitions_due <= Instant::now() {
            let made = duty(&store, "make partitions", partitions(&store, clock, max_age_days)).await;
            partitions_due = made.map_or(partitions_due, |()| Instant::now() + HOURLY);
        }
        observing::look(&store, clock, &directory, &metrics).await;
        if invoices_due <= Instant::now() {
            let made = duty(&store, "make invoices", invoices(&store, clock)).await;
            invoices_due = made.map_or(invoices_due, |()| Instant::now() + HOURLY);
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

/// Does what is due, as a trace of its own. An outage is told by the writers already; here it only delays.
async fn duty<T>(
    store: &Store,
    what: &'static str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Option<T> {
    let span = store.traces().begin(what, Kind::Internal);
    span.note("simbridge.duty", what);
    match span.around(work).await {
        Ok(done) => Some(done),
        Err(error) => {
            error.tell(&span);
            warn!(what, %error, "maintenance will try again");
            None
        }
    }
}
