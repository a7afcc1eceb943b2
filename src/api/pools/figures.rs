//! A pool as it is shown.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

use crate::domain::moment;
use crate::store::pools::{Pool, PoolPeriod};

use super::super::number;

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PoolEntry {
    #[schema(example = 3)]
    id: i32,
    #[schema(example = "Trucks north")]
    name: String,
    /// Of all members together, in one period.
    #[schema(example = 107_374_182_400_i64)]
    limit_bytes: i64,
    #[schema(example = 1)]
    cycle_day: i16,
    /// SIMs that are members now.
    #[schema(example = 120)]
    member_count: i64,
    period: Period,
    usage: PoolUsage,
    #[serde(serialize_with = "moment::to_the_second")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "moment::to_the_second")]
    updated_at: DateTime<Utc>,
}

/// Whole days in the tenant's time zone.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Period {
    /// The month in which it begins.
    #[schema(example = "2026-11")]
    id: String,
    start: DateTime<Utc>,
    /// First moment of the next period.
    end: DateTime<Utc>,
    #[schema(example = "2026-11-01")]
    first_day: NaiveDate,
    #[schema(example = "2026-11-30")]
    last_day: NaiveDate,
}

/// Of all members on their days in the period. As fresh as rollups: seconds after a record was acknowledged.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PoolUsage {
    #[schema(value_type = i64, example = 48_318_382_080_i64)]
    used_bytes: Number,
    /// Beyond 2^53 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_bytes_exact: Option<String>,
    /// 0 when the limit is exceeded.
    #[schema(value_type = i64, example = 59_055_800_320_i64)]
    remaining_bytes: Number,
    /// Two decimals.
    #[schema(value_type = f64, example = 45.0)]
    percent_of_limit: Number,
    /// At the end of the period, if usage goes on as in the period so far; null while less than 2 percent of it are over.
    #[schema(value_type = Option<i64>, example = 72_477_573_120_i64)]
    projected_bytes: Option<Number>,
    /// Day on which the limit is reached by the same rule, or was found to be; null if that is not in this period.
    #[schema(example = "2026-11-28")]
    exhausted_on: Option<NaiveDate>,
}

/// A pool and its days.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PoolDetails {
    #[serde(flatten)]
    pub(super) pool: PoolEntry,
    /// Each day of the period, oldest first.
    pub(super) days: Vec<PoolDay>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PoolDay {
    #[schema(example = "2026-11-01")]
    date: NaiveDate,
    #[schema(value_type = i64, example = 1_610_612_736)]
    used_bytes: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_bytes_exact: Option<String>,
}

/// A page of pools.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PoolTable {
    pub(super) pools: Vec<PoolEntry>,
    pub(super) pagination: PoolPagination,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PoolPagination {
    #[schema(example = 1)]
    page: i64,
    #[schema(example = 50)]
    limit: i64,
    /// On all pages.
    #[schema(example = 2)]
    total: i64,
    #[schema(example = 1)]
    total_pages: i64,
}

impl PoolPagination {
    pub(super) fn new((page, limit): (i64, i64), total: i64) -> Self {
        Self { page, limit, total, total_pages: total.div_euclid(limit) + i64::from(total % limit > 0) }
    }
}

impl From<Pool> for PoolEntry {
    fn from(held: Pool) -> Self {
        let (used_bytes, used_bytes_exact) = number::of_text(&held.used);
        Self {
            id: held.id,
            name: held.name,
            limit_bytes: held.limit_bytes,
            cycle_day: held.cycle_day,
            member_count: held.members,
            period: held.period.into(),
            usage: PoolUsage {
                used_bytes,
                used_bytes_exact,
                remaining_bytes: number::of_text(&held.remaining).0,
                percent_of_limit: number::of_decimal(&held.percent),
                projected_bytes: held.projected.map(|bytes| number::of_text(&bytes).0),
                exhausted_on: held.exhausted_on,
            },
            created_at: held.created_at,
            updated_at: held.updated_at,
        }
    }
}

impl From<PoolPeriod> for Period {
    fn from(held: PoolPeriod) -> Self {
        let PoolPeriod { id, first_day, next_day, starts, ends } = held;
        // Periods are of the years 1000 to 9999, far from where days end.
        let last_day = next_day.pred_opt().unwrap_or(next_day);
        Self { id, start: starts, end: ends, first_day, last_day }
    }
}

impl From<(NaiveDate, String)> for PoolDay {
    fn from((date, used): (NaiveDate, String)) -> Self {
        let (used_bytes, used_bytes_exact) = number::of_text(&used);
        Self { date, used_bytes, used_bytes_exact }
    }
}
