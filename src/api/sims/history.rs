//! What a SIM used hour by hour, day by day, month by month.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Datelike, Months, NaiveDate, TimeDelta, Utc};
use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

use crate::domain::TenantId;
use crate::store::sim_usage::{Edge, HistoryDays, HistoryPoint, HistorySpan};

use super::super::ApiState;
use super::super::caller::{Allowed, ReadUsage};
use super::super::error::ApiError;
use super::super::query::Query;
use super::{SimId, number};

const HOURS_AT_MOST: i64 = 31 * 24;
const DAYS_AT_MOST: i64 = 400;
const MONTHS_AT_MOST: i64 = 60;
/// Without `start`.
const DEFAULT_HOURS: i64 = 24;
const DEFAULT_DAYS: i64 = 30;
const DEFAULT_MONTHS: u32 = 12;

const EDGE_FAULT: &str =
    "must be a date such as 2026-11-21, or a time such as 2026-11-21T12:00:00Z, from 2000 to 2199";

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct History {
    #[schema(example = "sim_0f1e2d3c4b5a69788796a5b4")]
    sim_id: String,
    #[schema(example = "8941000000000000009")]
    iccid: String,
    #[schema(example = "daily")]
    granularity: &'static str,
    /// In which days and months are counted.
    #[schema(example = "Europe/Zurich")]
    time_zone: String,
    /// Oldest first, none left out.
    data: Vec<Point>,
}

/// Sums beyond 2^53 stand beside as text too, in fields such as `totalBytesExact`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Point {
    /// A UTC hour such as 2026-11-21T12:00:00Z, a day such as 2026-11-21, or the first day of a month.
    #[schema(example = "2026-11-21")]
    period: String,
    start: DateTime<Utc>,
    /// First moment of the next period.
    end: DateTime<Utc>,
    #[schema(value_type = i64, example = 1024)]
    data_upload_bytes: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_upload_bytes_exact: Option<String>,
    #[schema(value_type = i64, example = 3072)]
    data_download_bytes: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_download_bytes_exact: Option<String>,
    #[schema(value_type = i64, example = 4096)]
    total_bytes: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes_exact: Option<String>,
    #[schema(value_type = i64, example = 2)]
    sms_count: Number,
    #[schema(value_type = i64, example = 60)]
    voice_seconds: Number,
}

impl From<HistoryPoint> for Point {
    fn from(held: HistoryPoint) -> Self {
        let (data_upload_bytes, data_upload_bytes_exact) = number::of_text(&held.upload);
        let (data_download_bytes, data_download_bytes_exact) = number::of_text(&held.download);
        let (total_bytes, total_bytes_exact) = number::of_text(&held.total);
        Self {
            period: held.period,
            start: held.start,
            end: held.end,
            data_upload_bytes,
            data_upload_bytes_exact,
            data_download_bytes,
            data_download_bytes_exact,
            total_bytes,
            total_bytes_exact,
            sms_count: number::of_text(&held.sms).0,
            voice_seconds: number::of_text(&held.voice).0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Granularity {
    Hourly,
    Daily,
    Monthly,
}

/// Usage of a SIM by hours, days or months, as far as it is rolled up
#[utoipa::path(get, path = "/api/v1/sims/{id}/usage/history", tag = "SIMs", security(("bearer" = ["usage:read"]), ("apiKey" = ["usage:read"])),
    params(("id" = String, Path, description = "simId or ICCID"),
           ("granularity" = Option<String>, Query, description = "hourly (31 days at most), daily (400 days, the default) or monthly (60 months)"),
           ("start" = Option<String>, Query, description = "A date, which counts whole, or a time; without it, 24 hours, 30 days or 12 months up to the end"),
           ("end" = Option<String>, Query, description = "A date, which counts whole, or the first moment left out; without it, now")),
    responses((status = 200, body = History, description = "Oldest first, zeros where nothing was used")))]
pub(super) async fn show(
    Allowed(caller, ..): Allowed<ReadUsage>,
    SimId(id): SimId,
    State(state): State<ApiState>,
    mut query: Query,
) -> Result<Json<History>, ApiError> {
    let words =
        [("hourly", Granularity::Hourly), ("daily", Granularity::Daily), ("monthly", Granularity::Monthly)];
    let granularity = query.choice("granularity", &words).unwrap_or(Granularity::Daily);
    let (start, end) = (edge(&mut query, "start"), edge(&mut query, "end"));
    query.finish()?;
    let now = state.clock.now();
    let span = state.store.sim_history_span(caller.tenant, &id, start, end, now).await?;
    let span = span.ok_or(ApiError::SimNotFound)?;
    let points = match granularity {
        Granularity::Hourly => hours(&state, caller.tenant, &span, now).await?,
        Granularity::Daily => days(&state, caller.tenant, &span).await?,
        Granularity::Monthly => months(&state, caller.tenant, &span).await?,
    };
    let (granularity, _) = words[granularity as usize];
    let data = points.into_iter().map(Point::from).collect();
    Ok(Json(History { sim_id: span.sim_id, iccid: span.iccid, granularity, time_zone: span.zone, data }))
}

fn edge(query: &mut Query, name: &'static str) -> Option<Edge> {
    let text = query.text(name)?;
    let edge = if text.contains(['T', 't', ' ']) {
        // A + that was not encoded has become a space.
        let time = DateTime::parse_from_rfc3339(&text.replace(' ', "+")).ok();
        time.map(|time| Edge::Moment(time.with_timezone(&Utc)))
    } else {
        let form = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        form.then(|| text.parse().ok()).flatten().map(Edge::Day)
    };
    let year = |edge: &Edge| match edge {
        Edge::Day(day) => day.year(),
        Edge::Moment(moment) => moment.year(),
    };
    let edge = edge.filter(|edge| (2000..2200).contains(&year(edge)));
    if edge.is_none() {
        query.fault(name, EDGE_FAULT);
    }
    edge
}

async fn hours(
    state: &ApiState,
    tenant: TenantId,
    span: &HistorySpan,
    now: DateTime<Utc>,
) -> Result<Vec<HistoryPoint>, ApiError> {
    let last = hour(span.last_moment.unwrap_or(now));
    let first = span.first_moment.map_or(last - TimeDelta::hours(DEFAULT_HOURS - 1), hour);
    in_order(first, last)?;
    at_most((last - first).num_hours() + 1, HOURS_AT_MOST, "hours")?;
    if let Some(floor) = span.raw_floor.filter(|floor| first < *floor) {
        let message = format!("hours are kept from {} on; ask for days", floor.format("%Y-%m-%dT%H:%M:%SZ"));
        return Err(ApiError::invalid("start", message));
    }
    Ok(state.store.sim_hours(tenant, &span.iccid, first, last).await?)
}

async fn days(state: &ApiState, tenant: TenantId, span: &HistorySpan) -> Result<Vec<HistoryPoint>, ApiError> {
    let last = span.last_day.unwrap_or(span.today);
    let first = span.first_day.unwrap_or(last - TimeDelta::days(DEFAULT_DAYS - 1));
    in_order(first, last)?;
    at_most((last - first).num_days() + 1, DAYS_AT_MOST, "days")?;
    let by = HistoryDays::Daily;
    Ok(state.store.sim_days(tenant, &span.iccid, (first, last), by, &span.zone).await?)
}

async fn months(
    state: &ApiState,
    tenant: TenantId,
    span: &HistorySpan,
) -> Result<Vec<HistoryPoint>, ApiError> {
    let last = span.last_day.unwrap_or(span.today);
    let first = span.first_day.unwrap_or_else(|| {
        let month = last.with_day(1).expect("every month has a first day");
        month - Months::new(DEFAULT_MONTHS - 1)
    });
    in_order(first, last)?;
    let number = |day: NaiveDate| i64::from(day.year()) * 12 + i64::from(day.month());
    at_most(number(last) - number(first) + 1, MONTHS_AT_MOST, "months")?;
    let by = HistoryDays::Monthly;
    Ok(state.store.sim_days(tenant, &span.iccid, (first, last), by, &span.zone).await?)
}

/// The UTC hour that holds a moment.
fn hour(moment: DateTime<Utc>) -> DateTime<Utc> {
    let seconds = moment.timestamp();
    DateTime::from_timestamp(seconds - seconds.rem_euclid(3_600), 0).expect("within the years that are taken")
}

fn in_order<T: PartialOrd>(first: T, last: T) -> Result<(), ApiError> {
    if first > last { Err(ApiError::invalid("end", "must not be before start")) } else { Ok(()) }
}

fn at_most(points: i64, most: i64, what: &str) -> Result<(), ApiError> {
    if points <= most {
        return Ok(());
    }
    Err(ApiError::invalid("start", format!("the range has {points} {what}, and at most {most} are answered")))
}
