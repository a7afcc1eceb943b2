//! The write path: one transaction a batch (ADR 0003).
//!
//! Locks are taken in one order by every writer: inventory (shared), keys, corrected keys, sessions, cycles, quarantine;
//! within each, sorted. Whatever still deadlocks (40P01) is retried by the caller with the same batch.

use chrono::{DateTime, Utc};
use deadpool_postgres::{Object, Transaction};
use tokio_postgres::types::ToSql;

use crate::domain::{Amounts, Rejection, Usage};
use crate::traces::{self, Kind};

use super::batch::{KeyOutcome, NewRecord, WriteBatch, WriteOutcome};
use super::copying::{self, Claims, Copying};
use super::directory::SimDirectory;
use super::keys::{self, HeldKey, KeyColumns, RELEASE_KEYS, RawFloor};
use super::records::RecordRows;
use super::totals::Totals;
use super::{Statement, StatementMode, Store, StoreError, corrections, counters, quarantine, statement};

pub(super) static INVENTORY_SHARED: Statement = statement!("inventory_shared");
static CLAIM_KEYS: Statement =
    statement!("claim_keys", INT4_ARRAY, TEXT_ARRAY, TEXT_ARRAY, BYTEA_ARRAY, TIMESTAMPTZ_ARRAY, INT8);
static FIND_KEYS: Statement = statement!("find_keys", INT4_ARRAY, TEXT_ARRAY, TEXT_ARRAY);
#[rustfmt::skip]
static ADD_TOTALS: Statement = statement!(
    "add_totals",
    TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY,
);
static MARK_WRITE: Statement = statement!("mark_write", INT8, TIMESTAMPTZ, TIMESTAMPTZ, INT8);
static INVENTORY_VERSION: Statement = statement!("inventory_version");
static NEXT_WRITE_IDS: Statement = statement!("next_write_ids");

/// Ids of one block of the sequence `write_ids`; its increment.
pub(crate) const WRITE_ID_BLOCK: i64 = 256;

/// After so many rounds something else than missing cycles, a missing partition or taken keys is wrong.
const ROUNDS: u32 = 5;

/// How one attempt ended.
enum Attempt {
    Committed(WriteOutcome),
    /// Rolled back: these records' cycles are to be made first.
    CyclesMissing,
    /// Rolled back: a key was forgotten while it was asked for (retention).
    KeyGone,
    /// Rolled back: not all keys are new.
    KeyTaken,
}

impl Store {
    /// The first of [`WRITE_ID_BLOCK`] fresh write ids.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn next_write_ids(&self) -> Result<i64, StoreError> {
        self.in_time(async |client| {
            let rows = NEXT_WRITE_IDS.rows(&*client, self.mode, &[]).await?;
            Ok(rows[0].get(0))
        })
        .await
    }

    /// Stores a batch, whole or not at all, and returns after COMMIT.
    ///
    /// # Errors
    /// [`StoreError`]; its remedy says whether to write again or to look for a culprit. Nothing was stored, unless the
    /// error is ambiguous: then the next attempt needs a new id and this one in [`WriteBatch::earlier`].
    pub async fn write(&self, batch: WriteBatch<'_>, now: DateTime<Utc>) -> Result<WriteOutcome, StoreError> {
        let mut claims = self.copying.claims(self.mode, batch.records.len(), batch.earlier);
        for _ in 0..ROUNDS {
            // As of before: another batch may be refused at the same time.
            let may_copy = self.copying.may_copy_records();
            match self.in_time(async |client| self.attempt(client, batch, claims).await).await {
                Ok(Attempt::Committed(outcome)) => return Ok(outcome),
                Ok(Attempt::CyclesMissing) => {
                    self.directory.forget(batch.records);
                    self.ensure_cycles(batch.records.iter().map(|new| &new.record), now).await?;
                }
                Ok(Attempt::KeyGone) => {}
                Ok(Attempt::KeyTaken) => {
                    self.copying.met_a_taken_key();
                    claims = Claims::OneByOne;
                }
                Err(error) if may_copy && error.not_supported() => self.copying.must_not_copy_records(),
                Err(error) if error.lacks_partition() => {
                    self.ensure_partitions_for(batch.records.iter().map(|new| &new.record)).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::CyclesMissing(ROUNDS))
    }

    async fn attempt(
        &self,
        client: &mut Object,
        batch: WriteBatch<'_>,
        claims: Claims,
    ) -> Result<Attempt, StoreError> {
        let tx = client.transaction().await?;
        let mut write = Write {
            tx,
            mode: self.mode,
            directory: &self.directory,
            copying: &self.copying,
            batch,
            claims,
            keys: Vec::new(),
            inventory: 0,
            floor: RawFloor::default(),
        };
        let result = write.run().await;
        let Write { tx, keys, .. } = write;
        match result {
            Ok(Step::Commit { processed_at }) => {
                commit(tx).await?;
                Ok(Attempt::Committed(WriteOutcome { processed_at, keys }))
            }
            Ok(Step::NothingToCommit { processed_at }) => {
                tx.rollback().await?;
                Ok(Attempt::Committed(WriteOutcome { processed_at, keys }))
            }
            Ok(Step::MakeCycles) => {
                tx.rollback().await?;
                Ok(Attempt::CyclesMissing)
            }
            Ok(Step::AskAgain) => {
                tx.rollback().await?;
                Ok(Attempt::KeyGone)
            }
            Err(error) if claims == Claims::Together && error.key_taken() => {
                tx.rollback().await?;
                Ok(Attempt::KeyTaken)
            }
            Err(error) => {
                // The transaction is aborted or its connection is gone; this only tidies up the former.
                tx.rollback().await.ok();
                Err(error)
            }
        }
    }
}

/// Where a batch waits for the disk, and for a standby that is waited for.
async fn commit(tx: Transaction<'_>) -> Result<(), StoreError> {
    let span = traces::step("COMMIT", Kind::Client);
    span.note("db.system.name", "postgresql");
    let committed = tx.commit().await.map_err(StoreError::CommitUnconfirmed);
    statement::tell(&span, &committed);
    committed
}

enum Step {
    Commit {
        processed_at: DateTime<Utc>,
    },
    /// An earlier attempt was committed, or all were to be stored and one is refused.
    NothingToCommit {
        processed_at: DateTime<Utc>,
    },
    MakeCycles,
    AskAgain,
}

enum Claim {
    Made,
    /// An earlier attempt with this batch was committed after all.
    WrittenBefore {
        processed_at: DateTime<Utc>,
    },
    KeyGone,
}

/// One transaction under way.
struct Write<'a> {
    tx: Transaction<'a>,
    mode: StatementMode,
    directory: &'a SimDirectory,
    copying: &'a Copying,
    batch: WriteBatch<'a>,
    claims: Claims,
    /// Version of the inventory that this transaction sees.
    inventory: i64,
    /// Below it no record is stored; it does not move while this transaction runs.
    floor: RawFloor,
    /// Filled by [`Write::claim`], narrowed by what follows.
    keys: Vec<KeyOutcome>,
}

impl Write<'_> {
    async fn run(&mut self) -> Result<Step, StoreError> {
        match self.claim().await? {
            Claim::Made => {}
            Claim::WrittenBefore { processed_at } => return Ok(Step::NothingToCommit { processed_at }),
            Claim::KeyGone => return Ok(Step::AskAgain),
        }
        self.refuse(keys::below_floor(self.floor, self.batch.records, &self.keys)).await?;
        self.refuse(corrections::refused(&self.tx, self.mode, self.batch.records, &self.keys).await?).await?;
        // A batch without a stored record has no time of its own; nobody is told it.
        let mut processed_at = DateTime::UNIX_EPOCH;
        if self.batch.all_or_none && self.keys.iter().any(|key| matches!(key, KeyOutcome::Rejected(_))) {
            return Ok(Step::NothingToCommit { processed_at });
        }
        if self.claimed().next().is_some() {
            match self.insert().await? {
                Some(at) => processed_at = at,
                None => return Ok(Step::MakeCycles),
            }
        }
        self.park().await?;
        Ok(Step::Commit { processed_at })
    }

    /// Records that this transaction is to store.
    fn claimed(&self) -> impl Iterator<Item = &NewRecord> {
        self.batch
            .records
            .iter()
            .zip(&self.keys)
            .filter(|(_, key)| **key == KeyOutcome::Stored)
            .map(|(new, _)| new)
    }

    /// Claims the keys.
    async fn claim(&mut self) -> Result<Claim, StoreError> {
        let records = self.batch.records;
        if records.is_empty() {
            return Ok(Claim::Made);
        }
        let columns = KeyColumns::of(records.iter());
        // Alone and first: what the next statements see must be younger than the lock. (Futures that are joined may be sent
        // in any order, above all while their statements are being prepared.)
        INVENTORY_SHARED.rows(&self.tx, self.mode, &[]).await?;
        let (inventory, claimed) = tokio::join!(INVENTORY_VERSION.rows(&self.tx, self.mode, &[]), async {
            match self.claims {
                Claims::Together => copying::claim(&self.tx, records, self.batch.write_id).await,
                Claims::OneByOne => self.claim_one_by_one(&columns).await,
            }
        });
        // In this order: a refused key aborts the other statement too, and is what has to be told.
        let (claimed, inventory) = (claimed?, inventory?);
        self.inventory = inventory[0].get("version");
        self.floor = RawFloor(inventory[0].get("raw_floor"));
        if claimed as usize == records.len() {
            self.keys = vec![KeyOutcome::Stored; records.len()];
            return Ok(Claim::Made);
        }
        let params: [&(dyn ToSql + Sync); 3] = [&columns.tenants, &columns.iccids, &columns.record_ids];
        let held = FIND_KEYS.rows(&self.tx, self.mode, &params).await?;
        let Some(held) = held.iter().map(HeldKey::from_row).collect::<Option<Vec<_>>>() else {
            return Ok(Claim::KeyGone);
        };
        let write = keys::Attempts { current: self.batch.write_id, earlier: self.batch.earlier };
        let before =
            held.iter().find(|key| write.earlier.contains(&key.write_id)).map(|key| key.processed_at);
        self.keys = records
            .iter()
            .zip(&held)
            .map(|(new, key)| key.outcome(new, write, before.is_some(), self.floor))
            .collect();
        Ok(before.map_or(Claim::Made, |processed_at| Claim::WrittenBefore { processed_at }))
    }

    /// Leaves alone what is taken; returns how many were claimed.
    async fn claim_one_by_one(&self, columns: &KeyColumns<'_>) -> Result<u64, StoreError> {
        let records = self.batch.records;
        let fingerprints: Vec<&[u8]> = records.iter().map(|new| &new.fingerprint.0[..]).collect();
        let starts: Vec<DateTime<Utc>> = records.iter().map(|new| new.record.period_start).collect();
        #[rustfmt::skip]
        let params: [&(dyn ToSql + Sync); 6] = [
            &columns.tenants, &columns.iccids, &columns.record_ids, &fingerprints, &starts, &self.batch.write_id,
        ];
        CLAIM_KEYS.execute(&self.tx, self.mode, &params).await
    }

    /// Gives back the keys of claimed records that turned out not to be stored.
    async fn refuse(&mut self, refused: Vec<(usize, Rejection)>) -> Result<(), StoreError> {
        if refused.is_empty() {
            return Ok(());
        }
        let columns = KeyColumns::of(refused.iter().map(|(index, _)| &self.batch.records[*index]));
        RELEASE_KEYS
            .execute(
                &self.tx,
                self.mode,
                &[&columns.tenants, &columns.iccids, &columns.record_ids, &self.batch.write_id],
            )
            .await?;
        for (index, rejection) in refused {
            self.keys[index] = KeyOutcome::Rejected(rejection);
        }
        Ok(())
    }

    /// Amounts of the claimed records, in their order; readings of counters become deltas here.
    async fn amounts(&self) -> Result<Vec<Amounts>, StoreError> {
        let claimed: Vec<&NewRecord> = self.claimed().collect();
        let mut deltas = counters::deltas(&self.tx, self.mode, &claimed).await?.into_iter();
        Ok(claimed
            .iter()
            .map(|new| match &new.record.usage {
                Usage::Amounts(amounts) => *amounts,
                Usage::Counters(_) => deltas.next().expect("one delta for each counter record"),
            })
            .collect())
    }

    /// Stores the claimed records, adds them to their cycles and leaves the rollup marker. `None` when a cycle is missing.
    async fn insert(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let records: Vec<&NewRecord> = self.claimed().collect();
        let placed = self.directory.place(&self.tx, self.mode, self.inventory, &records).await?;
        let Ok(placements) = placed else { return Ok(None) };
        let amounts = self.amounts().await?;
        let totals = Totals::of(&records, &placements, &amounts);
        let rows = RecordRows {
            records: &records,
            placements: &placements,
            amounts: &amounts,
            write_id: self.batch.write_id,
        };
        let results = tokio::join!(
            rows.store(&self.tx, self.mode, self.copying),
            self.add_totals(&totals),
            self.mark(&records),
        );
        match results {
            (Ok(stored), Ok(()), Ok(marked)) => {
                debug_assert_eq!(stored as usize, records.len());
                Ok(Some(marked))
            }
            (stored, added, marked) => {
                // The one that failed aborts the others: what they report says nothing about the cause.
                let errors = [stored.err(), added.err(), marked.err()].into_iter().flatten();
                Err(errors.min_by_key(StoreError::is_consequence).expect("at least one of them failed"))
            }
        }
    }

    async fn add_totals(&self, totals: &Totals<'_>) -> Result<(), StoreError> {
        if totals.len() == 0 {
            return Ok(());
        }
        #[rustfmt::skip]
        let params: [&(dyn ToSql + Sync); 9] = [
            &totals.sim_ids, &totals.iccids, &totals.cycle_ids, &totals.uploads, &totals.downloads, &totals.totals,
            &totals.sms_counts, &totals.voice_seconds, &totals.record_counts,
        ];
        let updated = ADD_TOTALS.execute(&self.tx, self.mode, &params).await?;
        if updated as usize == totals.len() {
            return Ok(());
        }
        // Cycles vanish only by hand; then what is remembered of them must not be used again.
        self.directory.forget(self.batch.records);
        Err(StoreError::TotalsIncomplete { expected: totals.len(), actual: updated })
    }

    async fn mark(&self, records: &[&NewRecord]) -> Result<DateTime<Utc>, StoreError> {
        let starts = || records.iter().map(|new| new.record.period_start);
        let (from, to) = (starts().min(), starts().max());
        let count = records.len() as i64;
        let rows = MARK_WRITE.rows(&self.tx, self.mode, &[&self.batch.write_id, &from, &to, &count]).await?;
        Ok(rows[0].get("processed_at"))
    }

    /// Parks what was refused before and what the steps above refused.
    async fn park(&self) -> Result<(), StoreError> {
        let found = self.batch.records.iter().zip(&self.keys).filter_map(|(new, key)| match key {
            KeyOutcome::Rejected(rejection) => Some(new.parked(rejection.clone())),
            KeyOutcome::Stored | KeyOutcome::Duplicate(_) => None,
        });
        let parked: Vec<_> = self.batch.parked.iter().cloned().chain(found).collect();
        quarantine::park(&self.tx, self.mode, &parked).await
    }
}
