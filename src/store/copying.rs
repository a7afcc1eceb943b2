//! Large batches go to the server by COPY, which costs it less than arrays (ADR 0032). Keys that are copied have to be new, all of
//! them; whoever meets one that is not claims them one by one, as small batches always do.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use deadpool_postgres::Transaction;

use super::batch::NewRecord;
use super::{Statement, StatementMode, StoreError, statement};

static COPY_KEYS: Statement = statement!("copy_keys", INT4, TEXT, TEXT, BYTEA, TIMESTAMPTZ, INT8);

/// Smaller batches go as arrays: a COPY begins with a round trip. The number is chosen; where the one outweighs the other was not measured.
const LARGE: usize = 200;

/// Batches whose keys are claimed one by one after one met a key that was taken. A batch that is tried in vain costs about as much as
/// it does to be stored, so repetitions make storing dearer by a hundredth at most.
const CAREFUL_BATCHES: u32 = 100;

/// How a batch comes by its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claims {
    /// All of them or none.
    Together,
    /// Each for itself; those that are taken are told.
    OneByOne,
}

/// What is remembered of batches before.
#[derive(Debug, Default)]
pub(super) struct Copying {
    careful: AtomicU32,
    no_records: AtomicBool,
}

impl Copying {
    /// How to claim the keys of a batch that is tried for the first time.
    pub(super) fn claims(&self, mode: StatementMode, records: usize, earlier: &[i64]) -> Claims {
        // What an earlier attempt claimed has to be found.
        if mode == StatementMode::Unnamed || records < LARGE || !earlier.is_empty() {
            return Claims::OneByOne;
        }
        let less = |left: u32| left.checked_sub(1);
        match self.careful.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Claims::OneByOne,
            Err(_) => Claims::Together,
        }
    }

    /// A key was taken by another record or by the same one.
    pub(super) fn met_a_taken_key(&self) {
        self.careful.store(CAREFUL_BATCHES, Ordering::Relaxed);
    }

    /// Whether so many records are copied.
    pub(super) fn takes_records(&self, mode: StatementMode, records: usize) -> bool {
        mode == StatementMode::Prepared && records >= LARGE && self.may_copy_records()
    }

    /// False once the server has refused it.
    pub(super) fn may_copy_records(&self) -> bool {
        !self.no_records.load(Ordering::Relaxed)
    }

    /// The server does not take records by COPY: row-level security applies to this login, as it does to all that `simbridge roles` makes.
    pub(super) fn must_not_copy_records(&self) {
        self.no_records.store(true, Ordering::Relaxed);
    }
}

/// Claims the keys of `records`, sorted by key; a key that is taken ends the transaction ([`StoreError::key_taken`]).
pub(super) async fn claim(
    tx: &Transaction<'_>,
    records: &[NewRecord],
    write_id: i64,
) -> Result<u64, StoreError> {
    let mut copy = COPY_KEYS.copy(tx).await?;
    for new in records {
        let key = &new.record.key;
        let (iccid, fingerprint) = (key.iccid.as_str(), &new.fingerprint.0[..]);
        copy.row(&[&key.tenant.0, &iccid, &key.record_id, &fingerprint, &new.record.period_start, &write_id])
            .await?;
    }
    copy.finish().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches a COPY for batches that gain nothing by it, behind a pooler, or of keys that an earlier attempt may hold.
    #[test]
    fn only_large_batches_that_are_tried_for_the_first_time_take_all_keys_to_be_new() {
        let copying = Copying::default();
        assert_eq!(copying.claims(StatementMode::Prepared, LARGE, &[]), Claims::Together);
        assert_eq!(copying.claims(StatementMode::Prepared, LARGE - 1, &[]), Claims::OneByOne);
        assert_eq!(copying.claims(StatementMode::Unnamed, LARGE, &[]), Claims::OneByOne);
        assert_eq!(copying.claims(StatementMode::Prepared, LARGE, &[7]), Claims::OneByOne);
    }

    /// Catches a storm of repetitions that is tried in vain with each batch, and caution for ever.
    #[test]
    fn a_taken_key_makes_the_next_hundred_batches_careful() {
        let copying = Copying::default();
        copying.met_a_taken_key();
        for _ in 0..CAREFUL_BATCHES {
            assert_eq!(copying.claims(StatementMode::Prepared, LARGE, &[]), Claims::OneByOne);
        }
        assert_eq!(copying.claims(StatementMode::Prepared, LARGE, &[]), Claims::Together);
    }

    #[test]
    fn whoever_was_refused_a_copy_of_records_does_not_ask_again() {
        let copying = Copying::default();
        assert!(copying.takes_records(StatementMode::Prepared, LARGE));
        copying.must_not_copy_records();
        assert!(!copying.takes_records(StatementMode::Prepared, LARGE));
    }
}
