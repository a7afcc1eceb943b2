//! What is given up when it is old: raw records by whole months, then their keys, and entries of the quarantine.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::sims::INVENTORY_EXCLUSIVE;
use super::{Statement, Store, StoreError, statement};

static RAW_FLOOR: Statement = statement!("raw_floor", TIMESTAMPTZ, INT4);
pub(super) static LIMIT_LOCK_WAIT: Statement = statement!("limit_lock_wait", TEXT);
static ADVANCE_RAW_FLOOR: Statement = statement!("advance_raw_floor", TIMESTAMPTZ, INT4);
static DELETE_OLD_KEYS: Statement = statement!("delete_old_keys", TIMESTAMPTZ, INT4);
static DELETE_EXPIRED_SESSIONS: Statement = statement!("delete_expired_sessions", TIMESTAMPTZ, INT4);
static DELETE_OLD_QUARANTINE: Statement = statement!("delete_old_quarantine", TIMESTAMPTZ, INT4);

/// Writers wait behind whoever waits for a lock, so nobody waits for longer than this.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Rows that one transaction deletes.
pub const RETENTION_CHUNK: i32 = 10_000;

/// What became of an attempt to give up raw records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloorAdvance {
    /// Everything below the floor is gone already.
    NothingDue,
    /// Records that would go are not rolled up yet.
    WaitsForRollup,
    /// Records that would go are in no archive yet, and the setting `retention.archive_first` leaves them to `simbridge archive`.
    WaitsForArchive,
    /// Somebody reads the records, or changes the inventory or rollups, for longer than writers may be kept waiting.
    Busy,
    /// Records are kept from `floor` on; so many partitions were dropped.
    Done { floor: DateTime<Utc>, dropped: i32 },
}

impl Store {
    /// First moment of which raw records are kept; `None` while all are.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn raw_floor(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let client = self.client().await?;
        let rows = RAW_FLOOR.rows(&client, self.mode, &[&DateTime::UNIX_EPOCH, &0]).await?;
        Ok(rows[0].get("raw_floor"))
    }

    /// Gives up raw records of months that began at least `raw_days` ago, in one transaction: the floor rises and the
    /// partitions below it go. Writers wait for its end and park what is too old by then.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then. Fewer days than an open month needs are refused (22023).
    pub async fn advance_raw_floor(
        &self,
        now: DateTime<Utc>,
        raw_days: i32,
    ) -> Result<FloorAdvance, StoreError> {
        let advanced = self.in_time(async |client| {
            // Without any lock: most of the time nothing is to be done.
            let rows = RAW_FLOOR.rows(&*client, self.mode, &[&now, &raw_days]).await?;
            if !rows[0].get::<_, bool>("due") {
                return Ok(FloorAdvance::NothingDue);
            }
            if rows[0].get("unarchived") {
                return Ok(FloorAdvance::WaitsForArchive);
            }
            if rows[0].get("waiting") {
                return Ok(FloorAdvance::WaitsForRollup);
            }
            let tx = client.transaction().await?;
            self.limit_duty(&tx).await?;
            LIMIT_LOCK_WAIT.rows(&tx, self.mode, &[&LOCK_WAIT.as_millis().to_string()]).await?;
            // Alone: what the next statement sees must be younger than the lock.
            INVENTORY_EXCLUSIVE.rows(&tx, self.mode, &[]).await?;
            let rows = ADVANCE_RAW_FLOOR.rows(&tx, self.mode, &[&now, &raw_days]).await?;
            if rows[0].get("waiting") {
                return Ok(FloorAdvance::WaitsForRollup);
            }
            let done =
                FloorAdvance::Done { floor: rows[0].get("kept_from"), dropped: rows[0].get("dropped") };
            tx.commit().await?;
            Ok(done)
        });
        match advanced.await {
            Err(error) if error.lock_not_available() => Ok(FloorAdvance::Busy),
            other => other,
        }
    }

    /// Forgets at most [`RETENTION_CHUNK`] keys of records of before `before`, none of a record that is kept. `None` while
    /// another instance is at it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn delete_old_keys(&self, before: DateTime<Utc>) -> Result<Option<i32>, StoreError> {
        self.delete_chunk(&DELETE_OLD_KEYS, before).await
    }

    /// Deletes at most [`RETENTION_CHUNK`] entries of the quarantine that were resolved, or if they are parked last seen,
    /// before `before`. `None` while another instance is at it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn delete_old_quarantine(&self, before: DateTime<Utc>) -> Result<Option<i32>, StoreError> {
        self.delete_chunk(&DELETE_OLD_QUARANTINE, before).await
    }

    /// Deletes at most [`RETENTION_CHUNK`] sessions of the dashboard that expired before `before`.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn delete_expired_sessions(&self, before: DateTime<Utc>) -> Result<Option<i32>, StoreError> {
        self.delete_chunk(&DELETE_EXPIRED_SESSIONS, before).await
    }

    async fn delete_chunk(
        &self,
        statement: &Statement,
        before: DateTime<Utc>,
    ) -> Result<Option<i32>, StoreError> {
        self.in_time(async |client| {
            let rows = statement.rows(&*client, self.mode, &[&before, &RETENTION_CHUNK]).await?;
            Ok(rows[0].get("deleted"))
        })
        .await
    }
}
