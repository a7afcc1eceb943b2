//! What one SIM used: in a cycle, over time, record by record. Sums are decimal text, because they may exceed any integer.

use chrono::{DateTime, NaiveDate, Utc};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::domain::TenantId;

use super::{Statement, Store, StoreError, statement};

static CYCLE_USAGE: Statement = statement!("sim_cycle_usage", INT4, TEXT, DATE, TIMESTAMPTZ);
static HISTORY_SPAN: Statement =
    statement!("sim_history_span", INT4, TEXT, DATE, TIMESTAMPTZ, DATE, TIMESTAMPTZ, TIMESTAMPTZ);
static HISTORY_HOURS: Statement = statement!("sim_history_hours", INT4, TEXT, TIMESTAMPTZ, TIMESTAMPTZ);
static HISTORY_DAYS: Statement = statement!("sim_history_days", INT4, TEXT, DATE, DATE, TEXT, TEXT);
static USAGE_RECORDS: Statement = statement!("sim_usage_records", INT4, TEXT, TIMESTAMPTZ, INT8, INT8);

/// Usage of a cycle.
#[derive(Clone, Debug)]
pub(crate) struct CycleUsage {
    pub(crate) sim_id: String,
    pub(crate) iccid: String,
    pub(crate) cycle_id: String,
    pub(crate) cycle_start: DateTime<Utc>,
    pub(crate) cycle_end: DateTime<Utc>,
    pub(crate) last_updated: DateTime<Utc>,
    pub(crate) upload: String,
    pub(crate) download: String,
    pub(crate) total: String,
    pub(crate) total_formatted: String,
    /// 0 without a limit.
    pub(crate) limit: String,
    pub(crate) limit_formatted: String,
    /// Two decimals; 0 without a limit.
    pub(crate) percent: String,
}

/// One end of a range, as a client states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// In the tenant's time zone, whole.
    Day(NaiveDate),
    Moment(DateTime<Utc>),
}

impl Edge {
    fn day(edge: Option<Self>) -> Option<NaiveDate> {
        if let Some(Self::Day(day)) = edge { Some(day) } else { None }
    }

    fn moment(edge: Option<Self>) -> Option<DateTime<Utc>> {
        if let Some(Self::Moment(moment)) = edge { Some(moment) } else { None }
    }
}

/// A SIM and what a range means in its time zone.
#[derive(Clone, Debug)]
pub(crate) struct HistorySpan {
    pub(crate) sim_id: String,
    pub(crate) iccid: String,
    pub(crate) zone: String,
    pub(crate) today: NaiveDate,
    /// Days that hold the first and the last moment; `None` where no edge was given.
    pub(crate) first_day: Option<NaiveDate>,
    pub(crate) last_day: Option<NaiveDate>,
    pub(crate) first_moment: Option<DateTime<Utc>>,
    /// Inclusive.
    pub(crate) last_moment: Option<DateTime<Utc>>,
    /// Raw records are kept from here on; `None` when all are.
    pub(crate) raw_floor: Option<DateTime<Utc>>,
}

/// Which sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HistoryDays {
    Daily,
    Monthly,
}

/// Usage of an hour, day or month.
#[derive(Clone, Debug)]
pub(crate) struct HistoryPoint {
    pub(crate) period: String,
    pub(crate) start: DateTime<Utc>,
    pub(crate) end: DateTime<Utc>,
    pub(crate) upload: String,
    pub(crate) download: String,
    pub(crate) total: String,
    pub(crate) sms: String,
    pub(crate) voice: String,
}

/// A record as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredRecord {
    pub(crate) id: i64,
    pub(crate) record_id: String,
    pub(crate) period_start: DateTime<Utc>,
    pub(crate) period_end: DateTime<Utc>,
    pub(crate) upload: i64,
    pub(crate) download: i64,
    pub(crate) total: i64,
    pub(crate) sms: i64,
    pub(crate) voice: i64,
    pub(crate) source: Option<String>,
    pub(crate) mccmnc: Option<String>,
    pub(crate) corrects: Option<String>,
    pub(crate) batch_id: Option<String>,
    pub(crate) cycle_id: Option<String>,
    pub(crate) status: String,
    pub(crate) processed_at: DateTime<Utc>,
}

/// A place in the order of records, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordPlace {
    pub(crate) period_start: DateTime<Utc>,
    pub(crate) id: i64,
}

impl RecordPlace {
    /// Before every record.
    pub(crate) const NEWEST: Self = Self { period_start: DateTime::<Utc>::MAX_UTC, id: i64::MAX };
}

impl Store {
    /// Usage of a SIM, by its id or ICCID, in the cycle that begins in a month, or in the current one. `None` for an unknown SIM.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn sim_cycle_usage(
        &self,
        tenant: TenantId,
        sim: &str,
        month: Option<NaiveDate>,
        now: DateTime<Utc>,
    ) -> Result<Option<CycleUsage>, StoreError> {
        let client = self.client().await?;
        let rows = CYCLE_USAGE.rows(&client, self.mode, &[&tenant.0, &sim, &month, &now]).await?;
        Ok(rows.first().map(|row| CycleUsage {
            sim_id: row.get("sim_id"),
            iccid: row.get("iccid"),
            cycle_id: row.get("cycle_id"),
            cycle_start: row.get("cycle_start"),
            cycle_end: row.get("cycle_end"),
            last_updated: row.get("last_updated"),
            upload: row.get("upload"),
            download: row.get("download"),
            total: row.get("total"),
            total_formatted: row.get("total_formatted"),
            limit: row.get("limit_bytes"),
            limit_formatted: row.get("limit_formatted"),
            percent: row.get("percent"),
        }))
    }

    /// Finds a SIM by its id or ICCID and places a range in its time zone. `None` for an unknown SIM.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn sim_history_span(
        &self,
        tenant: TenantId,
        sim: &str,
        start: Option<Edge>,
        end: Option<Edge>,
        now: DateTime<Utc>,
    ) -> Result<Option<HistorySpan>, StoreError> {
        let client = self.client().await?;
        let (start_day, start_time) = (Edge::day(start), Edge::moment(start));
        let (end_day, end_time) = (Edge::day(end), Edge::moment(end));
        let params: [&(dyn ToSql + Sync); 7] =
            [&tenant.0, &sim, &start_day, &start_time, &end_day, &end_time, &now];
        let rows = HISTORY_SPAN.rows(&client, self.mode, &params).await?;
        Ok(rows.first().map(|row| HistorySpan {
            sim_id: row.get("sim_id"),
            iccid: row.get("iccid"),
            zone: row.get("zone"),
            today: row.get("today"),
            first_day: row.get("first_day"),
            last_day: row.get("last_day"),
            first_moment: row.get("first_moment"),
            last_moment: row.get("last_moment"),
            raw_floor: row.get("raw_floor"),
        }))
    }

    /// UTC hours from the one that begins at `first` to the one that begins at `last`, from the SIM's records.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn sim_hours(
        &self,
        tenant: TenantId,
        iccid: &str,
        first: DateTime<Utc>,
        last: DateTime<Utc>,
    ) -> Result<Vec<HistoryPoint>, StoreError> {
        let client = self.client().await?;
        let rows = HISTORY_HOURS.rows(&client, self.mode, &[&tenant.0, &iccid, &first, &last]).await?;
        Ok(rows.iter().map(point).collect())
    }

    /// Days of a time zone, both inclusive, one by one or by months.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn sim_days(
        &self,
        tenant: TenantId,
        iccid: &str,
        (first, last): (NaiveDate, NaiveDate),
        by: HistoryDays,
        zone: &str,
    ) -> Result<Vec<HistoryPoint>, StoreError> {
        let client = self.client().await?;
        let step = match by {
            HistoryDays::Daily => "day",
            HistoryDays::Monthly => "month",
        };
        let params: [&(dyn ToSql + Sync); 6] = [&tenant.0, &iccid, &first, &last, &step, &zone];
        let rows = HISTORY_DAYS.rows(&client, self.mode, &params).await?;
        Ok(rows.iter().map(point).collect())
    }

    /// Records of a SIM that belong to a tenant, newest first, after a place.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub(crate) async fn sim_usage_records(
        &self,
        tenant: TenantId,
        iccid: &str,
        after: RecordPlace,
        limit: i64,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let client = self.client().await?;
        let params: [&(dyn ToSql + Sync); 5] = [&tenant.0, &iccid, &after.period_start, &after.id, &limit];
        let rows = USAGE_RECORDS.rows(&client, self.mode, &params).await?;
        let records = rows.iter().map(|row| StoredRecord {
            id: row.get("id"),
            record_id: row.get("record_id"),
            period_start: row.get("period_start"),
            period_end: row.get("period_end"),
            upload: row.get("data_upload_bytes"),
            download: row.get("data_download_bytes"),
            total: row.get("total_bytes"),
            sms: row.get("sms_count"),
            voice: row.get("voice_seconds"),
            source: row.get("source"),
            mccmnc: row.get("mccmnc"),
            corrects: row.get("corrects"),
            batch_id: row.get("batch_id"),
            cycle_id: row.get("cycle_id"),
            status: row.get("status"),
            processed_at: row.get("processed_at"),
        });
        Ok(records.collect())
    }
}

fn point(row: &Row) -> HistoryPoint {
    HistoryPoint {
        period: row.get("period"),
        start: row.get("starts"),
        end: row.get("ends"),
        upload: row.get("upload"),
        download: row.get("download"),
        total: row.get("total"),
        sms: row.get("sms"),
        voice: row.get("voice"),
    }
}
