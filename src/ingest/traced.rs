//! The way of a batch as spans: how long it waited, each attempt to write it, what became of its records.

use chrono::{DateTime, Utc};

use crate::store::{KeyOutcome, StoreError, WriteOutcome};
use crate::traces::{self, Kind, Span, Traces};

use super::queue::{Queued, RecordStatus, Via};

/// What became of the records of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    stored: usize,
    duplicate: usize,
    parked: usize,
}

impl Tally {
    pub(super) fn add(&mut self, status: &RecordStatus) {
        match status {
            RecordStatus::Stored { .. } => self.stored += 1,
            RecordStatus::Duplicate { .. } => self.duplicate += 1,
            RecordStatus::Parked(_) => self.parked += 1,
        }
    }

    pub(super) fn tell(self, span: &Span) {
        span.note("simbridge.records.stored", self.stored);
        span.note("simbridge.records.duplicate", self.duplicate);
        span.note("simbridge.records.parked", self.parked);
    }
}

/// The span of what a writer took at `now`; it began with the oldest message.
pub(super) fn begin(traces: &Traces, taken: &[Queued], now: DateTime<Utc>) -> Span {
    if !traces.are_on() {
        return Span::default();
    }
    let received = taken.iter().map(|queued| queued.message.received_at).min().unwrap_or(now).min(now);
    let span = traces.batch(received, taken.iter().map(|queued| queued.origin.clone()));
    if span.is_recorded() {
        span.note("messaging.operation.type", "process");
        span.note("messaging.operation.name", "process");
        span.note("messaging.batch.message_count", taken.len());
        let came_by = |via: Via| taken.iter().any(|queued| queued.message.sender.via == via);
        let ways: Vec<_> = Via::ALL.into_iter().filter(|via| came_by(*via)).map(Via::as_str).collect();
        if ways.iter().all(|way| ["mqtt", "source"].contains(way)) {
            span.note("messaging.system", "mqtt");
        }
        span.note("simbridge.via", ways.join(","));
        span.past("wait", received, now);
    }
    span
}

/// Attempts that all have a span; of those that follow each that doubles their number has one. An outage may take thousands.
const ATTEMPTS_SHOWN: u64 = 8;

/// The span of one attempt to write.
pub(super) fn write(records: usize, parked: usize, attempt: u64) -> Span {
    if attempt > ATTEMPTS_SHOWN && !attempt.is_power_of_two() {
        return Span::default();
    }
    let span = traces::step("write", Kind::Client);
    span.note("db.system.name", "postgresql");
    span.note("db.operation.batch.size", records);
    span.note("simbridge.parked_before", parked);
    span.note("simbridge.attempt", attempt);
    span
}

/// How the attempt ended.
pub(super) fn written(span: &Span, result: &Result<WriteOutcome, StoreError>) {
    match result {
        Ok(outcome) if span.is_recorded() => {
            let mut tally = Tally::default();
            for key in &outcome.keys {
                match key {
                    KeyOutcome::Stored => tally.stored += 1,
                    KeyOutcome::Duplicate(_) => tally.duplicate += 1,
                    KeyOutcome::Rejected(_) => tally.parked += 1,
                }
            }
            tally.tell(span);
        }
        Ok(_) => {}
        Err(error) => error.tell(span),
    }
}
