use std::time::{Duration, Instant};

use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::store::rollups::{Lock, RolledUp, ZoneMoved};
use crate::store::{Store, StoreError};
use crate::traces::{Kind, Span};

use super::RollupOptions;
use super::metrics::RollupMetrics;

/// A chunk that fails is tried again so often within its run.
const RETRIES: u32 = 2;
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Why a run takes place; told in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The interval has passed.
    Schedule,
    /// Something waited for too long.
    Flush,
    /// Somebody asked for it.
    Command,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Flush => "flush",
            Self::Command => "command",
        }
    }

    /// A command is waited for; an instance leaves to another what that one is doing already.
    fn lock(self) -> Lock {
        match self {
            Self::Schedule | Self::Flush => Lock::Skip,
            Self::Command => Lock::Wait,
        }
    }
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunSummary {
    pub chunks: u32,
    pub batches: i64,
    pub records: i64,
    /// Rows of `daily_usage` that were stored, counted in each chunk.
    pub days: i64,
    /// SIMs whose days moved to another time zone.
    pub moved_sims: i64,
    /// Another instance is at it; nothing more was done here.
    pub elsewhere: bool,
}

/// Why a run ended early. What its chunks did stands; the rest waits for the next run.
#[derive(Debug, Error)]
pub enum RunError {
    #[error("a chunk failed again and again: {0}")]
    Chunk(StoreError),
    #[error("the run was not done within {0} s")]
    Limit(u64),
}

/// Rolls up what waits, chunk after chunk, until a chunk was not full, another instance has the lock, or `stop`.
///
/// # Errors
/// [`RunError`].
pub async fn run(
    store: &Store,
    options: &RollupOptions,
    reason: Reason,
    metrics: &RollupMetrics,
    stop: &CancellationToken,
) -> Result<RunSummary, RunError> {
    let mut run = Run { store, options, metrics, reason, until: Instant::now() + options.run_limit };
    let started = Instant::now();
    let mut summary = RunSummary::default();
    let span = store.traces().begin("rollup", Kind::Internal);
    let ended = span.around(run.steps(&mut summary, stop)).await;
    tell(&span, reason, &summary, &ended);
    ended?;
    if summary.chunks > 0 {
        let RunSummary { chunks, batches, records, days, moved_sims, .. } = summary;
        let ms = started.elapsed().as_millis() as u64;
        match reason {
            Reason::Flush => debug!(chunks, batches, records, days, moved_sims, ms, "rollup is up to date"),
            Reason::Schedule | Reason::Command => {
                info!(chunks, batches, records, days, moved_sims, ms, "rollup is up to date");
            }
        }
    }
    Ok(summary)
}

struct Run<'a> {
    store: &'a Store,
    options: &'a RollupOptions,
    metrics: &'a RollupMetrics,
    reason: Reason,
    until: Instant,
}

fn tell(span: &Span, reason: Reason, summary: &RunSummary, ended: &Result<(), RunError>) {
    span.note("simbridge.rollup.reason", reason.as_str());
    span.note("simbridge.rollup.chunks", summary.chunks);
    span.note("simbridge.rollup.batches", summary.batches);
    span.note("simbridge.rollup.records", summary.records);
    span.note("simbridge.rollup.days", summary.days);
    span.note("simbridge.rollup.moved_sims", summary.moved_sims);
    span.note("simbridge.rollup.elsewhere", summary.elsewhere);
    match ended {
        Ok(()) => {}
        Err(RunError::Chunk(error)) => error.tell(span),
        Err(RunError::Limit(_)) => span.fail("timeout"),
    }
}

impl Run<'_> {
    async fn steps(&mut self, summary: &mut RunSummary, stop: &CancellationToken) -> Result<(), RunError> {
        while !stop.is_cancelled() && self.step(summary).await? {}
        Ok(())
    }

    /// One chunk of records and one of a change of zone. Returns whether there may be more.
    async fn step(&mut self, summary: &mut RunSummary) -> Result<bool, RunError> {
        let Some((done, moved)) = self.attempts().await? else {
            summary.elsewhere = true;
            return Ok(false);
        };
        if done.markers == 0 && moved.tenant.is_none() {
            return Ok(false);
        }
        if summary.chunks == 0 {
            debug!(reason = self.reason.as_str(), "rollup begins");
        }
        summary.chunks += 1;
        summary.batches += i64::from(done.markers);
        summary.records += done.records;
        summary.days += i64::from(done.days);
        summary.moved_sims += i64::from(moved.sims);
        // A chunk that was not full took all that waited. What came meanwhile is left to the next run: the more records of a
        // SIM are added together, the less each costs.
        Ok(done.records >= self.options.chunk_records || moved.tenant.is_some())
    }

    async fn attempts(&self) -> Result<Option<(RolledUp, ZoneMoved)>, RunError> {
        let mut failures = 0;
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(RunError::Limit(self.options.run_limit.as_secs()));
            }
            match self.attempt(left).await {
                Ok(done) => return Ok(done),
                Err(error) => {
                    self.metrics.failed();
                    failures += 1;
                    if failures > RETRIES {
                        return Err(RunError::Chunk(error));
                    }
                    warn!(%error, failures, "a rollup chunk failed and is tried again");
                    tokio::time::sleep(RETRY_DELAY * failures).await;
                }
            }
        }
    }

    async fn attempt(&self, left: Duration) -> Result<Option<(RolledUp, ZoneMoved)>, StoreError> {
        let started = Instant::now();
        let lock = self.reason.lock();
        let Some(done) = self.store.roll_up(self.options.chunk_records, left, lock).await? else {
            return Ok(None);
        };
        let took = started.elapsed();
        if done.markers > 0 {
            self.metrics.chunk(&done, took);
            let ms = took.as_millis() as u64;
            debug!(batches = done.markers, records = done.records, days = done.days, ms, "rollup chunk");
        }
        let moved = self.store.move_zone(self.options.zone_chunk_sims, left, lock).await?;
        let moved = moved.unwrap_or(ZoneMoved { tenant: None, sims: 0, finished: true });
        if let Some(tenant) = moved.tenant {
            debug!(
                tenant = tenant.0,
                sims = moved.sims,
                finished = moved.finished,
                "days moved to a new time zone"
            );
        }
        Ok(Some((done, moved)))
    }
}
