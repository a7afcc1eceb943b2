//! Which rows of a file are decided, and up to which place all of them are.
//!
//! Writers commit in any order. What may be saved as the place to go on from is the end of the last stretch before which
//! nothing is open.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::ingest::queue::{Receipt, RecordStatus};
use crate::store::file_imports::Committed;

use super::rows::Position;

/// A stretch of rows on its way.
#[derive(Debug)]
pub(super) struct Open {
    end: Position,
    /// Rows that are not decided.
    left: AtomicUsize,
    stored: AtomicU64,
    duplicate: AtomicU64,
    parked: AtomicU64,
}

impl Open {
    /// One of its rows is committed.
    pub(super) fn decided(&self, receipt: &Receipt) {
        for record in &receipt.records {
            let count = match record.status {
                RecordStatus::Stored { .. } => &self.stored,
                RecordStatus::Duplicate { .. } => &self.duplicate,
                RecordStatus::Parked(_) => &self.parked,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
        // Whoever sees that none is left sees the counts too.
        self.left.fetch_sub(1, Ordering::Release);
    }
}

#[derive(Debug)]
struct State {
    /// In the order of the file.
    open: VecDeque<Arc<Open>>,
    committed: Committed,
}

/// The account of one import.
#[derive(Debug)]
pub(super) struct Ledger(Mutex<State>);

impl Ledger {
    /// Goes on from what an earlier import committed.
    pub(super) fn new(committed: Committed) -> Self {
        Self(Mutex::new(State { open: VecDeque::new(), committed }))
    }

    /// A stretch of `rows` rows begins its way.
    pub(super) fn open(&self, rows: usize, end: Position) -> Arc<Open> {
        let open = Arc::new(Open {
            end,
            left: AtomicUsize::new(rows),
            stored: AtomicU64::default(),
            duplicate: AtomicU64::default(),
            parked: AtomicU64::default(),
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).open.push_back(open.clone());
        open
    }

    /// How far everything is decided.
    pub(super) fn committed(&self) -> Committed {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while state.open.front().is_some_and(|first| first.left.load(Ordering::Acquire) == 0) {
            let Some(first) = state.open.pop_front() else { break };
            let counted = |count: &AtomicU64| count.load(Ordering::Relaxed);
            let committed = &mut state.committed;
            committed.bytes = first.end.bytes;
            committed.lines = first.end.lines;
            committed.stored += counted(&first.stored);
            committed.duplicate += counted(&first.duplicate);
            committed.parked += counted(&first.parked);
        }
        state.committed
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::ingest::queue::RecordReceipt;

    fn stored() -> Receipt {
        let status = RecordStatus::Stored { processed_at: DateTime::UNIX_EPOCH };
        Receipt { batch_id: None, records: vec![RecordReceipt { record_id: None, status }] }
    }

    /// Catches saving the place of a later stretch while an earlier one is still open: a crash would lose its rows.
    #[test]
    fn a_stretch_counts_when_nothing_before_it_is_open() {
        let ledger = Ledger::new(Committed { bytes: 10, lines: 1, stored: 5, ..Committed::default() });
        let first = ledger.open(2, Position { bytes: 20, lines: 3 });
        let second = ledger.open(1, Position { bytes: 30, lines: 4 });
        second.decided(&stored());
        first.decided(&stored());
        assert_eq!(ledger.committed().bytes, 10);
        first.decided(&stored());
        let all = Committed { bytes: 30, lines: 4, stored: 8, ..Committed::default() };
        assert_eq!(ledger.committed(), all);
    }
}
