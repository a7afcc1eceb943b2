use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::domain::{Clock, Setting};
use crate::store::{Store, StoreError};

use super::RollupOptions;
use super::metrics::RollupMetrics;
use super::run::{Reason, run};
use super::schedule::Schedule;

/// How often the worker looks whether something waits: one statement on a small table.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Rolls up on schedule, and in between whatever has waited for long, until `stop`. A run that fails is told and left to
/// the next one: what waits stays marked.
pub async fn work(
    store: Store,
    clock: Clock,
    options: RollupOptions,
    metrics: Arc<RollupMetrics>,
    stop: CancellationToken,
) {
    let mut schedule = Schedule::default();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut away = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let reason = match due(&store, clock, &options, &metrics, &mut schedule).await {
            Ok(reason) => {
                away = false;
                reason
            }
            Err(problem) => {
                // An outage is told by the writers already; once is enough here.
                if !std::mem::replace(&mut away, true) {
                    warn!(error = %problem, "rollups wait for the database");
                }
                continue;
            }
        };
        if let Some(reason) = reason
            && let Err(problem) = run(&store, &options, reason, &metrics, &stop).await
        {
            error!(error = %problem, "a rollup run failed; the next one goes on with it");
        }
    }
}

/// Why a run is due now, if it is.
async fn due(
    store: &Store,
    clock: Clock,
    options: &RollupOptions,
    metrics: &RollupMetrics,
    schedule: &mut Schedule,
) -> Result<Option<Reason>, StoreError> {
    let backlog = store.rollup_backlog().await?;
    metrics.backlog(&backlog, clock.now());
    let interval = store.setting(Setting::RollupInterval).await?;
    if schedule.is_due(clock.now(), interval) && (backlog.markers > 0 || backlog.zone_changes > 0) {
        return Ok(Some(Reason::Schedule));
    }
    let waited = backlog.oldest_age.is_some_and(|age| age >= options.flush_after);
    Ok((waited || backlog.zone_changes > 0).then_some(Reason::Flush))
}
