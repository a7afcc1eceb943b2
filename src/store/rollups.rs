//! Rollups: the functions of migrations V6 and V7, each call one transaction under the rollup lock (ADR 0007).

use std::time::Duration;

use chrono::NaiveDate;
use deadpool_postgres::{Object, Transaction};

use crate::domain::TenantId;

use super::{Statement, Store, StoreError, statement};

static TRY_ROLLUP_LOCK: Statement = statement!("try_rollup_lock");
static LIMIT_TRANSACTION: Statement = statement!("limit_transaction", TEXT, TEXT);
static ROLL_UP_CHUNK: Statement = statement!("roll_up_chunk", INT8);
static ROLLUP_BACKLOG: Statement = statement!("rollup_backlog");
static MOVE_ZONE_CHUNK: Statement = statement!("move_zone_chunk", INT4);
static REBUILD_DAYS: Statement = statement!("rebuild_days", INT4, DATE, DATE);
static LATEST_DAYS: Statement = statement!("latest_days", INT4, INT8);
static REBUILD_SPAN: Statement = statement!("rebuild_span", INT4);

/// What waits to be added to rollups.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Backlog {
    pub markers: i64,
    pub records: i64,
    /// For how long the oldest of them has waited.
    pub oldest_age: Option<Duration>,
    /// Tenants whose days are on their way to another time zone.
    pub zone_changes: i64,
}

/// What one chunk did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RolledUp {
    pub markers: i32,
    pub records: i64,
    /// Rows of `daily_usage` that were stored.
    pub days: i32,
}

/// What one chunk of a change of time zone did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneMoved {
    /// `None` when no tenant's zone changed.
    pub tenant: Option<TenantId>,
    pub sims: i32,
    pub finished: bool,
}

/// A day of a tenant over all carriers, as `daily_usage` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    pub date: NaiveDate,
    pub carriers: i64,
    pub records: i64,
    /// Decimal text.
    pub data_bytes: String,
    /// Decimal text with two decimals.
    pub cost: String,
    pub currency: String,
    /// Distinct SIMs with usage.
    pub sims: i64,
}

/// How a chunk comes by the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Waits until other instances are done with theirs.
    Wait,
    /// Leaves the work to whoever holds it.
    Skip,
}

impl Store {
    /// Adds the records of the oldest markers, about `at_most` and one marker in any case, to every rollup. `None` when
    /// another instance is at it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn roll_up(
        &self,
        at_most: i64,
        limit: Duration,
        lock: Lock,
    ) -> Result<Option<RolledUp>, StoreError> {
        self.under_rollup_lock(limit, lock, async |tx, mode| {
            let rows = ROLL_UP_CHUNK.rows(tx, mode, &[&at_most]).await?;
            let row = &rows[0];
            Ok(RolledUp { markers: row.get("markers"), records: row.get("records"), days: row.get("days") })
        })
        .await
    }

    /// Moves the days of at most `at_most` SIMs of a tenant whose time zone changed.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn move_zone(
        &self,
        at_most: i32,
        limit: Duration,
        lock: Lock,
    ) -> Result<Option<ZoneMoved>, StoreError> {
        self.under_rollup_lock(limit, lock, async |tx, mode| {
            let rows = MOVE_ZONE_CHUNK.rows(tx, mode, &[&at_most]).await?;
            let row = &rows[0];
            let tenant: Option<i32> = row.get("tenant");
            Ok(ZoneMoved {
                tenant: tenant.map(TenantId),
                sims: row.get("sims"),
                finished: row.get("finished"),
            })
        })
        .await
    }

    /// Makes every rollup of the days `first` to `last` of a tenant anew from its records; returns how many it read.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then. Days of which raw records are gone are refused (55000).
    pub async fn rebuild_days(
        &self,
        tenant: TenantId,
        first: NaiveDate,
        last: NaiveDate,
        limit: Duration,
    ) -> Result<i64, StoreError> {
        let rebuilt = self
            .under_rollup_lock(limit, Lock::Wait, async |tx, mode| {
                Ok(REBUILD_DAYS.rows(tx, mode, &[&tenant.0, &first, &last]).await?[0].get("records"))
            })
            .await?;
        Ok(rebuilt.expect("whoever waits for the lock gets it"))
    }

    /// First and last day of which a tenant has rollups or raw records; `None` without any. Days whose raw records are gone
    /// are left out.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn rebuild_span(&self, tenant: TenantId) -> Result<Option<(NaiveDate, NaiveDate)>, StoreError> {
        let client = self.client().await?;
        let rows = REBUILD_SPAN.rows(&client, self.mode, &[&tenant.0]).await?;
        let (first, last): (Option<_>, Option<_>) = (rows[0].get("first"), rows[0].get("last"));
        Ok(first.zip(last))
    }

    /// The newest `limit` days of which a tenant has rollups, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn latest_days(&self, tenant: TenantId, limit: i64) -> Result<Vec<Day>, StoreError> {
        let client = self.client().await?;
        let rows = LATEST_DAYS.rows(&client, self.mode, &[&tenant.0, &limit]).await?;
        Ok(rows
            .iter()
            .map(|row| Day {
                date: row.get("usage_date"),
                carriers: row.get("carriers"),
                records: row.get("records"),
                data_bytes: row.get("data_bytes"),
                cost: row.get("cost"),
                currency: row.get("currency"),
                sims: row.get("sims"),
            })
            .collect())
    }

    /// What waits.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn rollup_backlog(&self) -> Result<Backlog, StoreError> {
        let client = self.client().await?;
        let rows = ROLLUP_BACKLOG.rows(&client, self.mode, &[]).await?;
        let row = &rows[0];
        let age: Option<f64> = row.get("oldest_age_seconds");
        Ok(Backlog {
            markers: row.get("markers"),
            records: row.get("records"),
            oldest_age: age.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))),
            zone_changes: row.get("zone_changes"),
        })
    }

    pub(super) async fn under_rollup_lock<T>(
        &self,
        limit: Duration,
        lock: Lock,
        work: impl AsyncFnOnce(&Transaction<'_>, super::StatementMode) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.within(limit, async |client: &mut Object| {
            let tx = client.transaction().await?;
            // As of every connection; a pooler may have handed out one that does not have it.
            let (limit, idle) = (limit.as_millis().to_string(), self.duty_idle.as_millis().to_string());
            LIMIT_TRANSACTION.rows(&tx, self.mode, &[&limit, &idle]).await?;
            if lock == Lock::Skip && !TRY_ROLLUP_LOCK.rows(&tx, self.mode, &[]).await?[0].get::<_, bool>(0) {
                return Ok(None);
            }
            let done = work(&tx, self.mode).await?;
            tx.commit().await?;
            Ok(Some(done))
        })
        .await
    }
}
