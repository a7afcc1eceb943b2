use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::domain::Clock;
use crate::store::pools::PoolPlace;
use crate::store::{Store, StoreError};

use super::AlertOptions;
use super::metrics::AlertMetrics;

/// Alerts that are deleted in one transaction.
const DELETED_AT_ONCE: u64 = 1_000;
/// Pools and limited members of one transaction: of each member a month of days is read, which takes about a millisecond.
const POOLS_AT_ONCE: i32 = 250;
const DELETE_EVERY: Duration = Duration::from_secs(3_600);

/// Looks at all SIMs and pools, some after the others, again and again until `stop`. Totals of cycles are exact at any moment, so nothing
/// has to be remembered of how a SIM came to its total: late records, corrections, other limits, other thresholds and new
/// cycles are all found in the same way, and a kill in between loses nothing.
pub async fn run(
    store: Store,
    clock: Clock,
    options: AlertOptions,
    metrics: Arc<AlertMetrics>,
    stop: CancellationToken,
) {
    let mut fails = false;
    let mut delete_due = Instant::now();
    loop {
        let began = Instant::now();
        let done = async {
            look(&store, clock, &options, &metrics, &stop).await?;
            look_at_pools(&store, clock, &options, &metrics, &stop).await?;
            if delete_due <= began {
                delete_old(&store, clock, &options).await?;
                delete_due = began + DELETE_EVERY;
            }
            Ok::<(), StoreError>(())
        };
        if let Err(error) = done.await {
            metrics.failures.inc();
            // An outage is told by the writers already; once is enough here.
            if !std::mem::replace(&mut fails, true) {
                warn!(%error, "alerts wait for the database");
            }
        } else {
            fails = false;
        }
        metrics.looks.inc();
        let percent = options.max_busy_percent.clamp(1, 100);
        let rest = began.elapsed() * (100 - percent) / percent;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(rest.max(options.pause)) => {}
        }
    }
}

async fn look(
    store: &Store,
    clock: Clock,
    options: &AlertOptions,
    metrics: &AlertMetrics,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    let mut after = String::new();
    while !stop.is_cancelled() {
        let tries = options.webhook.attempts;
        // None: another instance is looking.
        let Some(seen) = store.raise_alerts(&after, options.slice_sims, clock.now(), tries).await? else {
            return Ok(());
        };
        metrics.raised.inc_by(u64::try_from(seen.raised).unwrap_or(0));
        match seen.last_iccid {
            Some(last) if seen.sims == options.slice_sims => after = last,
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// The same for pools and for members with limits of their own. Days of pools are as exact as rollups, and as late.
async fn look_at_pools(
    store: &Store,
    clock: Clock,
    options: &AlertOptions,
    metrics: &AlertMetrics,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    let mut after = PoolPlace::default();
    let at_once = options.slice_sims.min(POOLS_AT_ONCE);
    while !stop.is_cancelled() {
        let tries = options.webhook.attempts;
        let Some(seen) = store.raise_pool_alerts(&after, at_once, clock.now(), tries).await? else {
            return Ok(());
        };
        metrics.raised.inc_by(u64::try_from(seen.raised).unwrap_or(0));
        match seen.last {
            Some(last) if seen.subjects == at_once => after = last,
            _ => return Ok(()),
        }
    }
    Ok(())
}

async fn delete_old(store: &Store, clock: Clock, options: &AlertOptions) -> Result<(), StoreError> {
    let before = clock.now() - options.keep;
    let mut total = 0;
    loop {
        let deleted = store.delete_old_alerts(before, DELETED_AT_ONCE as i64).await?;
        total += deleted;
        if deleted < DELETED_AT_ONCE {
            break;
        }
    }
    if total > 0 {
        info!(alerts = total, "old alerts deleted");
    }
    Ok(())
}
