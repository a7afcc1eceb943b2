//! Sums over ranges of days and over hours.

use chrono::{DateTime, NaiveDate, Utc};
use tokio_postgres::Row;

use crate::domain::TenantId;

use super::consumption::{Scope, UsageFilter};
use super::{Statement, Store, StoreError, statement};

pub(super) static DAYS: Statement =
    statement!("trend_days", INT4, DATE_ARRAY, DATE_ARRAY, TEXT_ARRAY, TEXT_ARRAY);
pub(super) static HOURS: Statement = statement!("trend_hours", INT4, TIMESTAMPTZ, INT4, TEXT_ARRAY);
static HOURS_OF_DAYS: Statement = statement!("hours_of_days", INT4, DATE, DATE);
pub(super) static SIM_HOURS: Statement =
    statement!("trend_sim_hours", INT4, TIMESTAMPTZ, INT4, TEXT_ARRAY, TEXT_ARRAY);
static KPIS: Statement = statement!("kpis", INT4, DATE, DATE, DATE, DATE, TEXT_ARRAY, TEXT_ARRAY);

/// Bytes and money; computed and rounded by PostgreSQL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Volume {
    /// Decimal text: a sum may be larger than any integer of a JSON reader.
    pub(crate) bytes: String,
    pub(crate) gigabytes: f64,
    pub(crate) cost: f64,
    /// Distinct SIMs with usage.
    pub(crate) sims: i64,
}

/// A period of a chart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) starts: DateTime<Utc>,
    pub(crate) ends: DateTime<Utc>,
    pub(crate) volume: Volume,
}

/// Days of a question about figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KpiDays {
    /// Last day to which the cost is projected.
    pub(crate) ends: NaiveDate,
    pub(crate) today: NaiveDate,
}

/// Figures of a range, each with its change in percent against the range before it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figures {
    pub(crate) volume: Volume,
    /// Bytes for each SIM with usage, decimal text.
    pub(crate) average: String,
    pub(crate) average_gigabytes: f64,
    pub(crate) estimate: f64,
    pub(crate) bytes_trend: f64,
    pub(crate) cost_trend: f64,
    pub(crate) sims_trend: f64,
    pub(crate) average_trend: f64,
    pub(crate) estimate_trend: f64,
}

impl Store {
    /// One point for each range of days, in their order.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn usage_by_days(
        &self,
        tenant: TenantId,
        ranges: &[(NaiveDate, NaiveDate)],
        filter: &UsageFilter,
    ) -> Result<Vec<Point>, StoreError> {
        let (firsts, lasts): (Vec<NaiveDate>, Vec<NaiveDate>) = ranges.iter().copied().unzip();
        let client = self.client().await?;
        let rows = DAYS
            .rows(&client, self.mode, &[&tenant.0, &firsts, &lasts, &filter.iccids, &filter.networks])
            .await?;
        Ok(rows.iter().map(point).collect())
    }

    /// UTC hours that hold some days of a tenant: the first one, and how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn hours_of_days(
        &self,
        tenant: TenantId,
        first: NaiveDate,
        last: NaiveDate,
    ) -> Result<(DateTime<Utc>, i32), StoreError> {
        let client = self.client().await?;
        let rows = HOURS_OF_DAYS.rows(&client, self.mode, &[&tenant.0, &first, &last]).await?;
        Ok((rows[0].get("earliest"), rows[0].get("hours")))
    }

    /// One point for each of `hours` UTC hours. Of named SIMs it reads their records, so ask for few.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn usage_by_hours(
        &self,
        tenant: TenantId,
        from: DateTime<Utc>,
        hours: i32,
        filter: &UsageFilter,
    ) -> Result<Vec<Point>, StoreError> {
        let client = self.client().await?;
        let rows = match &filter.iccids {
            Some(iccids) => {
                SIM_HOURS
                    .rows(&client, self.mode, &[&tenant.0, &from, &hours, iccids, &filter.networks])
                    .await?
            }
            None => HOURS.rows(&client, self.mode, &[&tenant.0, &from, &hours, &filter.networks]).await?,
        };
        Ok(rows.iter().map(point).collect())
    }

    /// Figures of a range.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn kpis(
        &self,
        tenant: TenantId,
        scope: &Scope,
        days: KpiDays,
    ) -> Result<Figures, StoreError> {
        let client = self.client().await?;
        let Scope { first, last, filter } = scope;
        let rows = KPIS
            .rows(
                &client,
                self.mode,
                &[&tenant.0, first, last, &days.ends, &days.today, &filter.iccids, &filter.networks],
            )
            .await?;
        let row = &rows[0];
        Ok(Figures {
            volume: volume(row),
            average: row.get("average"),
            average_gigabytes: row.get("average_gigabytes"),
            estimate: row.get("estimate"),
            bytes_trend: row.get("bytes_trend"),
            cost_trend: row.get("cost_trend"),
            sims_trend: row.get("sims_trend"),
            average_trend: row.get("average_trend"),
            estimate_trend: row.get("estimate_trend"),
        })
    }
}

pub(super) fn point(row: &Row) -> Point {
    Point { starts: row.get("starts"), ends: row.get("ends"), volume: volume(row) }
}

pub(super) fn volume(row: &Row) -> Volume {
    Volume {
        bytes: row.get("bytes"),
        gigabytes: row.get("gigabytes"),
        cost: row.get("cost"),
        sims: row.get("sims"),
    }
}
