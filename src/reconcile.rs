//! The invariants, checked all the time: a few SIMs after the other, then a month, so that a pass over everything costs little
//! at any moment. `simbridge reconcile` checks all of them at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::domain::Clock;
use crate::store::reconcile::{InvariantResult, Scope};
use crate::store::{Store, StoreError};

/// How the invariants are checked in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconcileOptions {
    /// Time between two checks, at least.
    pub pause: Duration,
    /// Records of the SIMs that are looked at together, about.
    pub slice_records: i64,
    /// Share of the time in which something is checked, 1 to 100, at most.
    pub max_busy_percent: u32,
}

/// What is checked, in the order in which it is told.
pub const NAMES: [&str; 10] = ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I11"];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InvariantLabel {
    invariant: &'static str,
}

/// What the checks found.
#[derive(Debug, Default)]
pub struct ReconcileMetrics {
    violations: Family<InvariantLabel, Gauge>,
    checks: Counter,
    passes: Counter,
    failures: Counter,
    last_pass: Gauge<f64, AtomicU64>,
}

impl ReconcileMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("reconcile");
        registry.register(
            "violations",
            "Violations of an invariant that the last pass over everything found, or this one so far",
            self.violations.clone(),
        );
        registry.register("checks", "Parts that were checked", self.checks.clone());
        registry.register("passes", "Passes over everything", self.passes.clone());
        registry.register("failures", "Checks that could not be done", self.failures.clone());
        registry.register(
            "last_pass_timestamp_seconds",
            "When the last pass over everything ended",
            self.last_pass.clone(),
        );
    }

    /// Violations of an invariant (`I1` to `I9`, `I11`) as last found.
    pub fn violations(&self, invariant: &'static str) -> i64 {
        self.violations.get_or_create(&InvariantLabel { invariant }).get()
    }

    /// All invariants that were looked at, with their violations as last found.
    pub(crate) fn found(&self) -> Vec<(&'static str, i64)> {
        let of = |invariant| self.violations.get(&InvariantLabel { invariant }).map(|gauge| gauge.get());
        NAMES.into_iter().filter_map(|name| Some((name, of(name)?))).collect()
    }

    /// When the last pass over everything ended, in Unix seconds; `None` before the first.
    pub(crate) fn last_pass(&self) -> Option<i64> {
        Some(self.last_pass.get() as i64).filter(|seconds| *seconds > 0)
    }

    /// Passes over everything that were completed.
    pub fn passes(&self) -> u64 {
        self.passes.get()
    }
}

/// Checks until `stop`, one part after the other.
pub async fn watch(
    store: Store,
    clock: Clock,
    options: ReconcileOptions,
    metrics: Arc<ReconcileMetrics>,
    stop: CancellationToken,
) {
    let mut pass = Pass::default();
    let mut pause = options.pause;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let started = Instant::now();
        match step(&store, options, &metrics, &mut pass).await {
            Ok(()) => {}
            Err(problem) => {
                metrics.failures.inc();
                warn!(error = %problem, "a part of the invariants could not be checked; it is tried again");
            }
        }
        if pass.is_complete() {
            pass.end(&metrics, clock);
            pass = Pass::default();
        }
        pause = options.pause.max(started.elapsed() * (100 / options.max_busy_percent.clamp(1, 100) - 1));
    }
}

/// How far a pass over everything is.
#[derive(Default)]
struct Pass {
    /// SIMs up to this one are done.
    after: String,
    sims_done: bool,
    /// Months that are still to be looked at, the newest last; `None` before they are known.
    months: Option<Vec<chrono::NaiveDate>>,
    found: BTreeMap<&'static str, i64>,
}

impl Pass {
    fn is_complete(&self) -> bool {
        self.sims_done && self.months.as_ref().is_some_and(Vec::is_empty)
    }

    fn take(&mut self, results: &[InvariantResult], metrics: &ReconcileMetrics) {
        metrics.checks.inc();
        for result in results {
            let found = self.found.entry(result.name).or_default();
            *found += i64::try_from(result.violations).unwrap_or(i64::MAX);
            let gauge = metrics.violations.get_or_create(&InvariantLabel { invariant: result.name });
            // What is new is shown at once, what is mended when the pass ends.
            gauge.set(gauge.get().max(*found));
            for violation in &result.shown {
                error!(invariant = result.name, violation, "a total does not add up");
            }
        }
    }

    fn end(&self, metrics: &ReconcileMetrics, clock: Clock) {
        for (invariant, found) in &self.found {
            metrics.violations.get_or_create(&InvariantLabel { invariant }).set(*found);
        }
        metrics.passes.inc();
        metrics.last_pass.set(clock.now().timestamp() as f64);
        let violations: i64 = self.found.values().sum();
        info!(violations, "every record and every total was checked");
    }
}

/// The next part of a pass.
async fn step(
    store: &Store,
    options: ReconcileOptions,
    metrics: &ReconcileMetrics,
    pass: &mut Pass,
) -> Result<(), StoreError> {
    if !pass.sims_done {
        let scope = store.next_sims(&pass.after, options.slice_records).await?;
        let Some(results) = store.reconcile_part(&scope).await? else { return Ok(()) };
        pass.take(&results, metrics);
        if let Scope::Sims { up_to, .. } = scope {
            pass.sims_done = up_to == crate::store::reconcile::LAST_SIM;
            pass.after = up_to;
        }
        return Ok(());
    }
    let months = match &mut pass.months {
        Some(months) => months,
        unknown => {
            let mut months = store.rollup_months().await?;
            months.reverse();
            unknown.insert(months)
        }
    };
    if let Some(month) = months.last().copied() {
        let Some(results) = store.reconcile_part(&Scope::Month(month)).await? else { return Ok(()) };
        months.pop();
        pass.take(&results, metrics);
    }
    Ok(())
}
