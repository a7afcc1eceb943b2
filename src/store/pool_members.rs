//! Members of pools: who joined and left when, and what each used (migration V29).

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::domain::{Iccid, TenantId};

use super::pools::PoolPeriod;
use super::{Statement, Store, StoreError, statement};

static JOIN: Statement =
    statement!("join_pool", INT4, INT4, TEXT_ARRAY, DATE_ARRAY, INT8_ARRAY, BOOL_ARRAY, TIMESTAMPTZ);
static LEAVE: Statement = statement!("leave_pool", INT4, INT4, TEXT_ARRAY, TIMESTAMPTZ);
static SET_LIMIT: Statement = statement!("set_pool_member_limit", INT4, INT4, TEXT, INT8);
static ICCIDS: Statement = statement!("iccids_of_sims", INT4, TEXT_ARRAY);
static MEMBER: Statement = statement!("pool_member", INT4, INT4, TEXT);
static COUNT: Statement = statement!("count_pool_members", INT4, INT4, DATE, DATE);
static BY_ICCID: Statement = statement!("pool_members_by_iccid", INT4, INT4, DATE, DATE, INT8, INT8);
static BY_USAGE: Statement = statement!("pool_members_by_usage", INT4, INT4, DATE, DATE, INT8, INT8);
static OF_PAGE: Statement = statement!("pool_members_of_page", INT4, INT4, DATE, DATE, TEXT_ARRAY);

/// SIMs that join or leave in one transaction, which keeps rollups waiting.
pub(crate) const MEMBERS_AT_ONCE: usize = 1_000;

/// A SIM that is to be a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joining {
    pub(crate) iccid: Iccid,
    /// The first day that counts, in the tenant's time zone; `None` for today. Of no effect for those that are members.
    pub(crate) from: Option<NaiveDate>,
    /// `None` leaves the limit of a member as it is, `Some(None)` takes it away.
    pub(crate) limit_bytes: Option<Option<i64>>,
}

/// What became of a SIM that was to be a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    Added,
    /// It was one, and has another limit now.
    Changed,
    /// It was one, and has this limit.
    Kept,
    /// The tenant has no such SIM.
    Unknown,
    /// The day on which it is to join has not come.
    Future,
    /// Days that were to count do so in another pool, or in this one; until when, if it is not a member any more.
    Taken {
        pool: String,
        until: Option<NaiveDate>,
    },
}

/// A member in a list, in one period.
#[derive(Clone, Debug)]
pub(crate) struct PoolMember {
    /// `None` when the tenant does not have the SIM any more.
    pub(crate) sim_id: Option<String>,
    pub(crate) iccid: String,
    pub(crate) msisdn: Option<String>,
    pub(crate) device_name: Option<String>,
    pub(crate) joined_on: NaiveDate,
    /// The first day that does not count any more.
    pub(crate) left_on: Option<NaiveDate>,
    pub(crate) limit_bytes: Option<i64>,
    /// On its days in this period, decimal text.
    pub(crate) used: String,
    /// Of what the pool used, two decimals.
    pub(crate) share: String,
    /// Of its own limit.
    pub(crate) percent: Option<String>,
}

/// Members that are sorted by what they used: the days of all of them are read for that, about a millisecond each when they
/// are not in memory.
pub(crate) const SORTED_BY_USAGE_AT_MOST: i64 = 1_000;

/// By what members are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberOrder {
    Iccid,
    /// Those that used most first; for [`SORTED_BY_USAGE_AT_MOST`].
    Usage,
}

impl Store {
    /// Makes SIMs members of a pool, or changes the limits of those that are, all or none; no SIM twice. What became of each,
    /// by its place, or with a fault of those alone that are at fault; `None` without such a pool.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub(crate) async fn join_pool(
        &self,
        tenant: TenantId,
        pool: i32,
        sims: &[Joining],
        at: DateTime<Utc>,
    ) -> Result<Option<Vec<(usize, Joined)>>, StoreError> {
        let iccids: Vec<&str> = sims.iter().map(|sim| sim.iccid.as_str()).collect();
        let days: Vec<Option<NaiveDate>> = sims.iter().map(|sim| sim.from).collect();
        let limits: Vec<Option<i64>> = sims.iter().map(|sim| sim.limit_bytes.flatten()).collect();
        let stated: Vec<bool> = sims.iter().map(|sim| sim.limit_bytes.is_some()).collect();
        let mode = self.mode;
        self.in_time(async |client| {
            let params: [&(dyn ToSql + Sync); 7] = [&tenant.0, &pool, &iccids, &days, &limits, &stated, &at];
            let rows = JOIN.rows(&*client, mode, &params).await?;
            Ok((!rows.is_empty() || sims.is_empty()).then(|| rows.iter().map(joined).collect()))
        })
        .await
    }

    /// Ends the membership of SIMs with the end of yesterday; how many were members, `None` without such a pool.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub(crate) async fn leave_pool(
        &self,
        tenant: TenantId,
        pool: i32,
        iccids: &[String],
        at: DateTime<Utc>,
    ) -> Result<Option<i32>, StoreError> {
        let mode = self.mode;
        self.in_time(async |client| {
            let rows = LEAVE.rows(&*client, mode, &[&tenant.0, &pool, &iccids, &at]).await?;
            Ok(rows.first().and_then(|row| row.get("gone")))
        })
        .await
    }

    /// Sets or takes away the limit of a member; false when it is none.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub(crate) async fn set_pool_member_limit(
        &self,
        tenant: TenantId,
        pool: i32,
        iccid: &str,
        limit_bytes: Option<i64>,
    ) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let changed =
            SET_LIMIT.execute(&client, self.mode, &[&tenant.0, &pool, &iccid, &limit_bytes]).await?;
        Ok(changed > 0)
    }

    /// The SIMs for which names stand: ids of SIMs, or whatever [`Store::resolve_accounts`] knows. One that stands for none is
    /// left out.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn resolve_sims(
        &self,
        tenant: TenantId,
        source: &str,
        names: &[&str],
    ) -> Result<HashMap<String, Iccid>, StoreError> {
        let mut found = self.resolve_accounts(tenant, source, names).await?;
        let ids: Vec<&str> = names.iter().copied().filter(|name| !found.contains_key(*name)).collect();
        if !ids.is_empty() {
            let client = self.client().await?;
            let rows = ICCIDS.rows(&client, self.mode, &[&tenant.0, &ids]).await?;
            found.extend(
                rows.iter().filter_map(|row| Some((row.get("sim_id"), Iccid::parse(row.get("iccid"))?))),
            );
        }
        Ok(found)
    }

    /// The ICCID of a member by it or by the id of the SIM.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn pool_member(
        &self,
        tenant: TenantId,
        pool: i32,
        sim: &str,
    ) -> Result<Option<String>, StoreError> {
        let client = self.client().await?;
        let rows = MEMBER.rows(&client, self.mode, &[&tenant.0, &pool, &sim]).await?;
        Ok(rows.first().map(|row| row.get("iccid")))
    }

    /// How many SIMs were members at some time of a period.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn count_pool_members(
        &self,
        tenant: TenantId,
        (pool, period): (i32, &PoolPeriod),
    ) -> Result<i64, StoreError> {
        let client = self.client().await?;
        let (first, next) = (&period.first_day, &period.next_day);
        let rows = COUNT.rows(&client, self.mode, &[&tenant.0, &pool, first, next]).await?;
        Ok(rows.first().map_or(0, |row| row.get("total")))
    }

    /// A page of them.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn pool_members(
        &self,
        tenant: TenantId,
        (pool, period): (i32, &PoolPeriod),
        order: MemberOrder,
        (limit, offset): (i64, i64),
    ) -> Result<Vec<PoolMember>, StoreError> {
        let client = self.client().await?;
        let (first, next) = (&period.first_day, &period.next_day);
        let chosen = match order {
            MemberOrder::Iccid => &BY_ICCID,
            MemberOrder::Usage => &BY_USAGE,
        };
        let params: [&(dyn ToSql + Sync); 6] = [&tenant.0, &pool, first, next, &limit, &offset];
        let chosen = chosen.rows(&client, self.mode, &params).await?;
        let iccids: Vec<String> = chosen.iter().map(|row| row.get("iccid")).collect();
        let rows = OF_PAGE.rows(&client, self.mode, &[&tenant.0, &pool, first, next, &iccids]).await?;
        Ok(rows.iter().map(member).collect())
    }

    /// One of them.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn pool_member_usage(
        &self,
        tenant: TenantId,
        (pool, period): (i32, &PoolPeriod),
        iccid: &str,
    ) -> Result<Option<PoolMember>, StoreError> {
        let client = self.client().await?;
        let (first, next, iccids) = (&period.first_day, &period.next_day, vec![iccid]);
        let rows = OF_PAGE.rows(&client, self.mode, &[&tenant.0, &pool, first, next, &iccids]).await?;
        Ok(rows.first().map(member))
    }
}

fn joined(row: &Row) -> (usize, Joined) {
    let place: i32 = row.get("place");
    let outcome = match row.get("outcome") {
        "added" => Joined::Added,
        "changed" => Joined::Changed,
        "kept" => Joined::Kept,
        "unknown" => Joined::Unknown,
        "future" => Joined::Future,
        _ => Joined::Taken {
            pool: row.get::<_, Option<String>>("other_pool").unwrap_or_default(),
            until: row.get("other_until"),
        },
    };
    // PostgreSQL counts from 1.
    (usize::try_from(place - 1).unwrap_or(0), outcome)
}

fn member(row: &Row) -> PoolMember {
    PoolMember {
        sim_id: row.get("sim_id"),
        iccid: row.get("iccid"),
        msisdn: row.get("msisdn"),
        device_name: row.get("device_name"),
        joined_on: row.get("joined_on"),
        left_on: row.get("left_on"),
        limit_bytes: row.get("limit_bytes"),
        used: row.get("used"),
        share: row.get("share"),
        percent: row.get("percent"),
    }
}
