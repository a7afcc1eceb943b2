//! Takes what is in the queue, stores it, acknowledges it, repeats.
//!
//! There is no timer: a writer that is idle takes whatever is there, so a lone message waits for nothing but its own
//! COMMIT, and under load a batch fills while the one before is being committed.

use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::domain::{Clock, ParkedRecord, Rejection, RejectionCode};
use crate::payload::PayloadLimits;
use crate::store::{
    KeyOutcome, NewRecord, Remedy, Store, StoreError, WRITE_ID_BLOCK, WriteBatch, WriteOutcome,
};
use crate::traces::{self, Kind};

use super::backoff::Backoff;
use super::database::DatabaseState;
use super::intake::Intake;
use super::metrics::IngestMetrics;
use super::queue::Queued;
use super::round::Round;
use super::traced;

/// Messages decoded before other tasks get a turn.
const DECODE_SLICE: usize = 256;

/// Bounds of one batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    pub max_messages: usize,
    /// Payload bytes; bounds the records of a batch too, because one takes about 100 bytes at least.
    pub max_bytes: usize,
}

/// What all writers share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) queue: Mutex<mpsc::Receiver<Queued>>,
    pub(crate) batch: BatchLimits,
    pub(crate) payload: PayloadLimits,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<IngestMetrics>,
    pub(crate) database: DatabaseState,
}

/// One of the tasks that store batches.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    /// Next write id and the end of the block that it is from.
    write_ids: (i64, i64),
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, write_ids: (0, 0) }
    }

    /// Runs until the queue is closed and empty, or until the hard stop.
    pub(crate) async fn run(mut self, hard: CancellationToken) {
        let stop = hard.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.store_all() => {}
        }
    }

    async fn store_all(&mut self) {
        while let Some(intake) = self.take().await {
            let span = intake.span.clone();
            span.around(self.store(intake)).await;
        }
    }

    /// What is in the queue, at most one batch; waits for the first message.
    async fn take(&mut self) -> Option<Intake> {
        let taken = {
            let mut queue = self.shared.queue.lock().await;
            let first = queue.recv().await?;
            let mut bytes = first.message.payload.len();
            let mut taken = vec![first];
            while taken.len() < self.shared.batch.max_messages && bytes < self.shared.batch.max_bytes {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.message.payload.len();
                taken.push(next);
            }
            taken
        };
        let now = self.shared.clock.now();
        let waited = taken.iter().filter_map(|queued| (now - queued.message.received_at).to_std().ok()).max();
        let span = traced::begin(self.shared.store.traces(), &taken, now);
        let holding = self.shared.metrics.batch_begins(waited.unwrap_or_default());
        let mut intake = Intake::under_way(holding, span.clone());
        let decoding = span.within(|| traces::step("decode", Kind::Internal));
        for (n, queued) in taken.into_iter().enumerate() {
            if n % DECODE_SLICE == DECODE_SLICE - 1 {
                tokio::task::yield_now().await;
            }
            intake.add(queued, &self.shared.payload, &self.shared.metrics);
        }
        decoding.end();
        Some(intake)
    }

    async fn store(&mut self, mut intake: Intake) {
        let mut parked = std::mem::take(&mut intake.parked);
        let mut arrived = std::mem::take(&mut intake.arrived);
        while !arrived.is_empty() || !parked.is_empty() {
            let mut round = Round::fold(arrived);
            let outcomes = self.write(&round.records, std::mem::take(&mut parked)).await;
            intake.decide(&round, &outcomes, &self.shared.metrics);
            arrived = std::mem::take(&mut round.later);
        }
        let (span, acknowledging) = (intake.span.clone(), traces::step("acknowledge", Kind::Internal));
        intake.acknowledge(&self.shared.metrics).tell(&span);
        acknowledging.end();
    }

    /// Stores records and parked records; where PostgreSQL refuses a row, halves the batch until the row stands alone and
    /// parks it. Returns what became of each record and when.
    async fn write(
        &mut self,
        records: &[NewRecord],
        mut parked: Vec<ParkedRecord>,
    ) -> Vec<(KeyOutcome, DateTime<Utc>)> {
        let mut outcomes = Vec::with_capacity(records.len());
        // Ranges still to be written, the next one on top.
        let mut ranges = std::iter::once(0..records.len()).collect::<Vec<_>>();
        while let Some(range) = ranges.pop() {
            match self.commit(&records[range.clone()], &parked).await {
                Ok(outcome) => {
                    parked.clear();
                    outcomes.extend(outcome.keys.into_iter().map(|key| (key, outcome.processed_at)));
                }
                // The parked ones may be what is refused, so no record is judged in their company.
                Err(_) if !parked.is_empty() => {
                    self.park(&std::mem::take(&mut parked)).await;
                    ranges.push(range);
                }
                Err(_) if range.len() > 1 => ranges.extend(halves(&range)),
                Err(refused) => {
                    let rejection = Rejection::new(RejectionCode::RefusedByDatabase, "", refused.to_string());
                    parked.extend(records[range].iter().map(|new| new.parked(rejection.clone())));
                    outcomes.push((KeyOutcome::Rejected(rejection), self.shared.clock.now()));
                }
            }
        }
        self.park(&parked).await;
        outcomes
    }

    /// Commits parked records alone. One whose texts PostgreSQL refuses is kept with the part of them that it takes.
    async fn park(&mut self, parked: &[ParkedRecord]) {
        let mut ranges = std::iter::once(0..parked.len()).collect::<Vec<_>>();
        while let Some(range) = ranges.pop().filter(|range| !range.is_empty()) {
            match self.commit(&[], &parked[range.clone()]).await {
                Ok(_) => {}
                Err(_) if range.len() > 1 => ranges.extend(halves(&range)),
                Err(_) => {
                    let plain = in_ascii(&parked[range.start]);
                    if let Err(refused) = self.commit(&[], &[plain]).await {
                        error!(error = %refused, record = ?parked[range.start], "a refused record could not be parked");
                    }
                }
            }
        }
    }

    /// One transaction, repeated until it is committed or one of its rows is refused.
    async fn commit(
        &mut self,
        records: &[NewRecord],
        parked: &[ParkedRecord],
    ) -> Result<WriteOutcome, StoreError> {
        let mut backoff = Backoff::default();
        let mut earlier = Vec::new();
        let mut write_id = None;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let started = Instant::now();
            let span = traced::write(records.len(), parked.len(), attempts);
            let result = span.around(self.attempt(&mut write_id, &earlier, records, parked)).await;
            traced::written(&span, &result);
            span.end();
            match result {
                Ok(outcome) => {
                    self.shared.database.works();
                    self.shared.metrics.batch_committed(records.len(), started.elapsed().as_secs_f64());
                    return Ok(outcome);
                }
                Err(error) if error.remedy() == Remedy::Isolate => return Err(error),
                Err(error) => {
                    self.shared.metrics.batch_retried();
                    if error.is_ambiguous() {
                        earlier.extend(write_id.take());
                    }
                    if error.is_contention() {
                        debug!(%error, "batch is written again");
                    } else {
                        self.shared.database.fails(&error);
                    }
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    async fn attempt(
        &mut self,
        write_id: &mut Option<i64>,
        earlier: &[i64],
        records: &[NewRecord],
        parked: &[ParkedRecord],
    ) -> Result<WriteOutcome, StoreError> {
        let id = match *write_id {
            Some(id) => id,
            None => *write_id.insert(self.next_write_id().await?),
        };
        let batch = WriteBatch { write_id: id, earlier, records, parked, all_or_none: false };
        self.shared.store.write(batch, self.shared.clock.now()).await
    }

    async fn next_write_id(&mut self) -> Result<i64, StoreError> {
        let (next, end) = &mut self.write_ids;
        if next == end {
            *next = self.shared.store.next_write_ids().await?;
            *end = *next + WRITE_ID_BLOCK;
        }
        *next += 1;
        Ok(*next - 1)
    }
}

/// Both halves, the first one last, which is on top of the stack.
fn halves(range: &Range<usize>) -> [Range<usize>; 2] {
    let middle = range.start + range.len() / 2;
    [middle..range.end, range.start..middle]
}

/// For a database whose encoding does not know every character (22P05).
fn in_ascii(parked: &ParkedRecord) -> ParkedRecord {
    let plain = |text: &str| text.replace(|c: char| !c.is_ascii(), "?");
    let mut parked = parked.clone();
    parked.record_id = parked.record_id.as_deref().map(plain);
    for fault in &mut parked.rejection.faults {
        fault.message = plain(&fault.message);
    }
    parked.provenance.sender = plain(&parked.provenance.sender).into();
    parked.provenance.topic = plain(&parked.provenance.topic).into();
    parked
}
