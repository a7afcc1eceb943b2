//! Pools: SIMs that share a limit, and what they used of it (migration V29). Sums are decimal text.

use chrono::{DateTime, NaiveDate, Utc};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::domain::TenantId;

use super::alerts::Rule;
use super::{Statement, Store, StoreError, statement};

static LIST: Statement = statement!("pools", INT4, DATE, TIMESTAMPTZ, INT4, TEXT, BOOL, INT8, INT8);
static COUNT: Statement = statement!("count_pools", INT4);
static BY_NAME: Statement = statement!("pool_by_name", INT4, TEXT);
static DAYS: Statement = statement!("pool_days", INT4, INT4, DATE, DATE);
static ADD: Statement = statement!("add_pool", INT4, TEXT, INT8, INT2, TIMESTAMPTZ, INT8);
static CHANGE: Statement = statement!("change_pool", INT4, INT4, TEXT, INT8, INT2, TIMESTAMPTZ);
static DELETE: Statement = statement!("delete_pool", INT4, INT4);
static LOCKS: Statement = statement!("pool_locks");
static THRESHOLDS: Statement = statement!("pool_thresholds", INT4, INT4);
static SET_THRESHOLDS: Statement =
    statement!("set_pool_thresholds", INT4, INT4, INT4_ARRAY, INT8_ARRAY, TIMESTAMPTZ);
static DELETE_THRESHOLDS: Statement = statement!("delete_pool_thresholds", INT4, INT4, TIMESTAMPTZ);
static RAISE: Statement = statement!("raise_pool_alerts", INT4, TEXT, INT4, TIMESTAMPTZ, INT4);

/// Of the name of a pool, as the table has it.
pub(crate) const NAME_MAX_CHARS: usize = 100;
/// Of a tenant: a list of them is read whole to be sorted by what they used, which takes a few milliseconds.
pub(crate) const POOLS_AT_MOST: i64 = 1_000;

/// A pool and what its members used in a period.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) limit_bytes: i64,
    pub(crate) cycle_day: i16,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    /// SIMs that are members now.
    pub(crate) members: i64,
    pub(crate) period: PoolPeriod,
    pub(crate) used: String,
    /// 0 when the limit is exceeded.
    pub(crate) remaining: String,
    /// Of the limit, two decimals.
    pub(crate) percent: String,
    /// At the end of the period, if usage goes on as in the period so far; `None` when that is too little to tell.
    pub(crate) projected: Option<String>,
    /// Day on which the limit is reached by the same rule; `None` when that is not in this period.
    pub(crate) exhausted_on: Option<NaiveDate>,
}

/// A month of a pool, made of whole days in its tenant's time zone.
#[derive(Clone, Debug)]
pub(crate) struct PoolPeriod {
    /// `YYYY-MM`, the month in which it begins.
    pub(crate) id: String,
    pub(crate) first_day: NaiveDate,
    /// The first day of the next one.
    pub(crate) next_day: NaiveDate,
    pub(crate) starts: DateTime<Utc>,
    pub(crate) ends: DateTime<Utc>,
}

/// By what pools are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PoolField {
    Name,
    UsedBytes,
    PercentOfLimit,
}

impl PoolField {
    fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::UsedBytes => "usedBytes",
            Self::PercentOfLimit => "percentOfLimit",
        }
    }
}

/// An order and a part of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolPage {
    pub(crate) by: PoolField,
    pub(crate) descending: bool,
    pub(crate) limit: i64,
    pub(crate) offset: i64,
}

/// What is stated of a new pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewPool {
    pub(crate) name: String,
    pub(crate) limit_bytes: i64,
    pub(crate) cycle_day: i16,
}

/// What is changed of a pool; `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PoolPatch {
    pub(crate) name: Option<String>,
    pub(crate) limit_bytes: Option<i64>,
    pub(crate) cycle_day: Option<i16>,
}

/// What became of a pool that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PoolAdded {
    Id(i32),
    /// There is one of this name.
    NameTaken,
    /// There are [`POOLS_AT_MOST`].
    Full,
}

/// What became of a pool that was to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PoolChanged {
    Done,
    Unknown,
    /// Another one has this name.
    NameTaken,
}

/// A pool, or a member of it that has a limit of its own; the empty ICCID comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolPlace {
    pub pool: i32,
    pub iccid: String,
}

/// What one look at some pools did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolsRaised {
    /// Pools and members with limits that were looked at.
    pub subjects: i32,
    /// The last of them; `None` without any.
    pub last: Option<PoolPlace>,
    pub raised: i32,
}

impl Store {
    /// A page of a tenant's pools with what they used in the period that begins in a month, or in the present one, and how
    /// many there are in all.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn pools(
        &self,
        tenant: TenantId,
        month: Option<NaiveDate>,
        page: PoolPage,
        now: DateTime<Utc>,
    ) -> Result<(Vec<Pool>, i64), StoreError> {
        let client = self.client().await?;
        let PoolPage { by, descending, limit, offset } = page;
        let params: [&(dyn ToSql + Sync); 8] =
            [&tenant.0, &month, &now, &None::<i32>, &by.word(), &descending, &limit, &offset];
        let rows = LIST.rows(&client, self.mode, &params).await?;
        let total = COUNT.rows(&client, self.mode, &[&tenant.0]).await?;
        Ok((rows.iter().map(pool).collect(), total.first().map_or(0, |row| row.get("total"))))
    }

    /// One of them.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn pool(
        &self,
        tenant: TenantId,
        id: i32,
        month: Option<NaiveDate>,
        now: DateTime<Utc>,
    ) -> Result<Option<Pool>, StoreError> {
        let client = self.client().await?;
        let params: [&(dyn ToSql + Sync); 8] =
            [&tenant.0, &month, &now, &Some(id), &PoolField::Name.word(), &false, &1_i64, &0_i64];
        Ok(LIST.rows(&client, self.mode, &params).await?.first().map(pool))
    }

    /// The id of a pool.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn pool_by_name(&self, tenant: TenantId, name: &str) -> Result<Option<i32>, StoreError> {
        let client = self.client().await?;
        let rows = BY_NAME.rows(&client, self.mode, &[&tenant.0, &name]).await?;
        Ok(rows.first().map(|row| row.get("id")))
    }

    /// What a pool used on each day of a period.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn pool_days(
        &self,
        tenant: TenantId,
        pool: i32,
        period: &PoolPeriod,
    ) -> Result<Vec<(NaiveDate, String)>, StoreError> {
        let client = self.client().await?;
        let params: [&(dyn ToSql + Sync); 4] = [&tenant.0, &pool, &period.first_day, &period.next_day];
        let rows = DAYS.rows(&client, self.mode, &params).await?;
        Ok(rows.iter().map(|row| (row.get("day"), row.get("used"))).collect())
    }

    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub(crate) async fn add_pool(
        &self,
        tenant: TenantId,
        new: &NewPool,
        at: DateTime<Utc>,
    ) -> Result<PoolAdded, StoreError> {
        let client = self.client().await?;
        let params: [&(dyn ToSql + Sync); 6] =
            [&tenant.0, &new.name, &new.limit_bytes, &new.cycle_day, &at, &POOLS_AT_MOST];
        let rows = ADD.rows(&client, self.mode, &params).await?;
        let id: Option<i32> = rows.first().and_then(|row| row.get("id"));
        let full = rows.first().is_some_and(|row| row.get("full"));
        Ok(match id {
            Some(id) => PoolAdded::Id(id),
            None if full => PoolAdded::Full,
            None => PoolAdded::NameTaken,
        })
    }

    /// Another limit counts from now on; another cycle day moves the bounds of all periods, also of past ones.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub(crate) async fn change_pool(
        &self,
        tenant: TenantId,
        id: i32,
        patch: &PoolPatch,
        at: DateTime<Utc>,
    ) -> Result<PoolChanged, StoreError> {
        let client = self.client().await?;
        let params: [&(dyn ToSql + Sync); 6] =
            [&tenant.0, &id, &patch.name, &patch.limit_bytes, &patch.cycle_day, &at];
        match CHANGE.execute(&client, self.mode, &params).await {
            Ok(0) => Ok(PoolChanged::Unknown),
            Ok(_) => Ok(PoolChanged::Done),
            Err(error) if error.code() == Some("23505") => Ok(PoolChanged::NameTaken),
            Err(error) => Err(error),
        }
    }

    /// Its members are free for other pools; what they used stays theirs. False without such a pool.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub(crate) async fn delete_pool(&self, tenant: TenantId, id: i32) -> Result<bool, StoreError> {
        self.in_time(async |client| {
            let tx = client.transaction().await?;
            self.limit_duty(&tx).await?;
            // Both would find their pool gone in the middle of what they do.
            LOCKS.rows(&tx, self.mode, &[]).await?;
            let deleted = DELETE.execute(&tx, self.mode, &[&tenant.0, &id]).await?;
            tx.commit().await?;
            Ok(deleted > 0)
        })
        .await
    }

    /// The thresholds that hold for a pool, without `percents` those that hold without any rule; `None` without such a pool.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn pool_thresholds(
        &self,
        tenant: TenantId,
        id: i32,
    ) -> Result<Option<(Rule, bool)>, StoreError> {
        let client = self.client().await?;
        let rows = THRESHOLDS.rows(&client, self.mode, &[&tenant.0, &id]).await?;
        Ok(rows.first().map(|row| {
            let percents: Option<Vec<i32>> = row.get("percents");
            let stated = percents.is_some();
            let (bytes, stated_for) = (row.get("bytes"), row.get("stated_for"));
            (Rule { percents: percents.unwrap_or_default(), bytes, stated_for }, stated)
        }))
    }

    /// States the thresholds of a pool; false without such a pool.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub(crate) async fn set_pool_thresholds(
        &self,
        tenant: TenantId,
        id: i32,
        percents: &[i32],
        bytes: &[i64],
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let params: [&(dyn ToSql + Sync); 5] = [&tenant.0, &id, &percents, &bytes, &at];
        let rows = SET_THRESHOLDS.rows(&client, self.mode, &params).await?;
        Ok(rows.first().is_some_and(|row| row.get("found")))
    }

    /// False when the pool has no thresholds of its own.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub(crate) async fn delete_pool_thresholds(
        &self,
        tenant: TenantId,
        id: i32,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(DELETE_THRESHOLDS.execute(&client, self.mode, &[&tenant.0, &id, &at]).await? > 0)
    }

    /// Raises what is due for at most `at_most` pools and members with limits after a place. `None` while another instance is
    /// at it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn raise_pool_alerts(
        &self,
        after: &PoolPlace,
        at_most: i32,
        at: DateTime<Utc>,
        tries: i32,
    ) -> Result<Option<PoolsRaised>, StoreError> {
        let mode = self.mode;
        self.in_time(async |client| {
            let params: [&(dyn ToSql + Sync); 5] = [&after.pool, &after.iccid, &at_most, &at, &tries];
            let rows = RAISE.rows(&*client, mode, &params).await?;
            let row = &rows[0];
            let subjects: Option<i32> = row.get("subjects");
            let last = row
                .get::<_, Option<i32>>("last_pool")
                .map(|pool| PoolPlace { pool, iccid: row.get("last_iccid") });
            Ok(subjects.map(|subjects| PoolsRaised { subjects, last, raised: row.get("raised") }))
        })
        .await
    }
}

fn pool(row: &Row) -> Pool {
    Pool {
        id: row.get("id"),
        name: row.get("name"),
        limit_bytes: row.get("limit_bytes"),
        cycle_day: row.get("cycle_day"),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
        members: row.get("members"),
        period: PoolPeriod {
            id: row.get("period"),
            first_day: row.get("first_day"),
            next_day: row.get("next_day"),
            starts: row.get("starts"),
            ends: row.get("ends"),
        },
        used: row.get("used"),
        remaining: row.get("remaining"),
        percent: row.get("percent"),
        projected: row.get("projected"),
        exhausted_on: row.get("exhausted_on"),
    }
}
