//! What the sums of a chart are made of, with the sums themselves: from one snapshot, so that both agree.

use chrono::{DateTime, NaiveDate, Utc};
use deadpool_postgres::{Object, Transaction};
use tokio_postgres::{IsolationLevel, Row};

use crate::domain::TenantId;

use super::consumption::UsageFilter;
use super::consumption_trend::{DAYS, HOURS, Point, SIM_HOURS, point};
use super::{Statement, Store, StoreError, statement};

static DAY_PARTS: Statement =
    statement!("trend_day_parts", INT4, DATE_ARRAY, DATE_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT);
static HOUR_PARTS: Statement = statement!("trend_hour_parts", INT4, TIMESTAMPTZ, INT4, TEXT_ARRAY, TEXT);
static SIM_HOUR_PARTS: Statement =
    statement!("trend_sim_hour_parts", INT4, TIMESTAMPTZ, INT4, TEXT_ARRAY, TEXT_ARRAY, TEXT);

/// What a sum is split by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Split {
    /// That issued the SIM.
    Carrier,
    /// That served it.
    Network,
    /// Upload and download.
    Direction,
}

impl Split {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Carrier => "carrier",
            Self::Network => "network",
            Self::Direction => "direction",
        }
    }
}

/// A part of a period, or all of it where it is not split by carrier or network. Amounts are decimal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Place of the period among those that were asked for, from 0.
    pub(crate) period: usize,
    /// 0 without one.
    pub(crate) carrier_id: i32,
    pub(crate) carrier: String,
    /// Empty where unknown.
    pub(crate) network: String,
    pub(crate) upload: String,
    pub(crate) download: String,
    pub(crate) total: String,
}

impl Store {
    /// One point for each range of days, in their order, and their parts.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn split_by_days(
        &self,
        tenant: TenantId,
        ranges: &[(NaiveDate, NaiveDate)],
        filter: &UsageFilter,
        split: Split,
    ) -> Result<(Vec<Point>, Vec<Part>), StoreError> {
        let (firsts, lasts): (Vec<NaiveDate>, Vec<NaiveDate>) = ranges.iter().copied().unzip();
        let UsageFilter { iccids, networks } = filter;
        let mut client = self.client().await?;
        let tx = snapshot(&mut client).await?;
        let points = DAYS.rows(&tx, self.mode, &[&tenant.0, &firsts, &lasts, iccids, networks]).await?;
        let parts = DAY_PARTS
            .rows(&tx, self.mode, &[&tenant.0, &firsts, &lasts, iccids, networks, &split.as_str()])
            .await?;
        tx.commit().await?;
        Ok((points.iter().map(point).collect(), parts.iter().map(part).collect()))
    }

    /// One point for each of `hours` UTC hours, and their parts. Of named SIMs it reads their records, so ask for few.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn split_by_hours(
        &self,
        tenant: TenantId,
        from: DateTime<Utc>,
        hours: i32,
        filter: &UsageFilter,
        split: Split,
    ) -> Result<(Vec<Point>, Vec<Part>), StoreError> {
        let (tenant, split, networks) = (tenant.0, split.as_str(), &filter.networks);
        let mut client = self.client().await?;
        let tx = snapshot(&mut client).await?;
        let (points, parts) = match &filter.iccids {
            Some(iccids) => (
                SIM_HOURS.rows(&tx, self.mode, &[&tenant, &from, &hours, iccids, networks]).await?,
                SIM_HOUR_PARTS
                    .rows(&tx, self.mode, &[&tenant, &from, &hours, iccids, networks, &split])
                    .await?,
            ),
            None => (
                HOURS.rows(&tx, self.mode, &[&tenant, &from, &hours, networks]).await?,
                HOUR_PARTS.rows(&tx, self.mode, &[&tenant, &from, &hours, networks, &split]).await?,
            ),
        };
        tx.commit().await?;
        Ok((points.iter().map(point).collect(), parts.iter().map(part).collect()))
    }
}

async fn snapshot(client: &mut Object) -> Result<Transaction<'_>, StoreError> {
    let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    Ok(snapshot.read_only(true).start().await?)
}

fn part(row: &Row) -> Part {
    Part {
        period: usize::try_from(row.get::<_, i32>("period")).expect("periods are counted from 0"),
        carrier_id: row.get("carrier_id"),
        carrier: row.get("carrier"),
        network: row.get("network"),
        upload: row.get("upload"),
        download: row.get("download"),
        total: row.get("total"),
    }
}
