//! Usage over time.

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::TenantId;
use crate::store::consumption::{Part, Point, Split, Standing, UsageFilter};

use super::super::ApiState;
use super::super::caller::{Allowed, ReadConsumption};
use super::super::csv;
use super::super::error::ApiError;
use super::super::query::Query;
use super::answers::{AcceptsGzip, Answer};
use super::number::Whole;
use super::question::{self, Chart, Granularity};
use super::split::{self, PointPart, Series};

/// Points of a chart, oldest first, without gaps.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Trends {
    #[schema(example = true)]
    success: bool,
    /// As it was asked for.
    #[schema(example = "weekly")]
    granularity: &'static str,
    /// ISO 4217 code of every cost.
    #[schema(example = "CHF")]
    currency: String,
    /// What points are made of, the largest first; only with `split`.
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<Vec<Series>>,
    data: Vec<TrendPoint>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TrendPoint {
    /// `HH:00` (a UTC hour), `YYYY-MM-DD`, `YYYY-Www` (ISO 8601) or `YYYY-MM-01`.
    #[schema(example = "2026-W47")]
    period: String,
    /// First moment; days begin at the tenant's midnight.
    #[schema(example = "2026-11-16T00:00:00Z")]
    start: String,
    /// First moment that belongs to the next point.
    #[schema(example = "2026-11-23T00:00:00Z")]
    end: String,
    #[schema(value_type = i64, example = 6_710_886_400_i64)]
    bytes: Whole,
    /// Digits of `bytes` where they are more than a JSON reader keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_exact: Option<String>,
    /// GB of 2^30 bytes.
    #[serde(rename = "dataUsageGB")]
    #[schema(example = 6.25)]
    data_usage_gb: f64,
    #[schema(example = 12.5)]
    cost: f64,
    /// Distinct SIMs with usage.
    #[schema(example = 7)]
    sim_count: i64,
    /// Of the series; parts without usage are left out. Only with `split`.
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<Vec<PointPart>>,
}

/// Usage over time
///
/// One point for each period, oldest first, also where nothing was used. Without dates: the 24 hours, 7 days, 5 weeks or 6
/// months up to now. With dates, the first and the last week or month hold the days of the range only, so that all panels
/// agree; hours are those of the tenant's days. In a zone whose midnight is not on the hour, the UTC hours at both ends are
/// whole, so hours may add up to more than the days. What an hour costs is its share, by volume, of what its day costs.
/// Hours of named SIMs are read from their records. While a tenant's time zone is being changed, SIMs whose days have not
/// moved yet count by their former days, in all panels alike.
#[utoipa::path(
    get, path = "/api/consumption/trends", tag = "Consumption", security(("bearer" = ["consumption:read"]), ("apiKey" = ["consumption:read"])),
    params(
        ("granularity" = Option<String>, Query, description = "hourly, 24h (the same), daily, weekly or monthly (default)"),
        ("start_date" = Option<String>, Query, description = "First day, YYYY-MM-DD in the tenant's zone; at most 31 days by hour, 366 by day, 106 weeks, 5 years"),
        ("end_date" = Option<String>, Query, description = "Last day, inclusive"),
        ("imsi" = Option<Vec<String>>, Query, description = "ICCIDs, repeated; by hour at most 20"),
        ("mccmnc" = Option<Vec<String>>, Query, description = "Serving networks, repeated"),
        ("split" = Option<String>, Query, description = "carrier (that issued the SIM), network (that served it) or direction: also tells what each point is made of"),
    ),
    responses((status = 200, body = Trends))
)]
pub(super) async fn show(
    caller: Allowed<ReadConsumption>,
    State(state): State<ApiState>,
    gzip: AcceptsGzip,
    query: Query,
) -> Result<Response, ApiError> {
    Ok(answer(&state, caller.0.tenant, query).await?.respond(gzip))
}

/// Usage over time as CSV
///
/// The rows of `/api/consumption/trends` for the same query.
#[utoipa::path(
    get, path = "/api/consumption/trends.csv", tag = "Consumption", security(("bearer" = ["consumption:read"]), ("apiKey" = ["consumption:read"])),
    params(
        ("granularity" = Option<String>, Query, description = "As for trends"),
        ("start_date" = Option<String>, Query), ("end_date" = Option<String>, Query),
        ("imsi" = Option<Vec<String>>, Query), ("mccmnc" = Option<Vec<String>>, Query),
    ),
    responses((status = 200, content_type = "text/csv", body = String,
        example = "period,start,end,bytes,dataUsageGB,cost,simCount\r\n2026-W47,2026-11-16T00:00:00Z,2026-11-23T00:00:00Z,6710886400,6.25,12.5,7\r\n"))
)]
pub(super) async fn export(
    caller: Allowed<ReadConsumption>,
    State(state): State<ApiState>,
    query: Query,
) -> Result<Response, ApiError> {
    let body = answer(&state, caller.0.tenant, query).await?;
    csv::of_answer("trends.csv", &csv::TRENDS, &body.plain)
}

async fn answer(state: &ApiState, tenant: TenantId, mut query: Query) -> Result<Answer, ApiError> {
    let now = state.clock.now();
    let standing = state.store.consumption_standing(tenant, now).await?;
    let chosen = query.choice("granularity", &question::TREND_GRANULARITIES);
    let (granularity, name) = chosen.unwrap_or((Granularity::Monthly, "monthly"));
    let filter = question::filter(&mut query);
    let chart = question::chart(&mut query, granularity, &filter, &standing, now);
    let by = query.choice("split", &split::SPLITS);
    query.finish()?;
    let asked = (name, &chart, &filter, by);
    let made = state.answers.get((tenant, &standing), "trends", asked, || async {
        let question =
            Question { tenant, standing: &standing, granularity, chart: &chart, filter: &filter, by };
        let (series, data) = points(state, question).await?;
        let currency = standing.currency.clone();
        body(&Trends { success: true, granularity: name, currency, series, data })
    });
    Ok(made.await?.0)
}

pub(super) fn body(answer: &impl Serialize) -> Result<Bytes, ApiError> {
    serde_json::to_vec(answer).map(Bytes::from).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written");
        ApiError::Internal
    })
}

struct Question<'q> {
    tenant: TenantId,
    standing: &'q Standing,
    granularity: Granularity,
    chart: &'q Chart,
    filter: &'q UsageFilter,
    by: Option<Split>,
}

async fn points(
    state: &ApiState,
    question: Question<'_>,
) -> Result<(Option<Vec<Series>>, Vec<TrendPoint>), ApiError> {
    let Question { tenant, standing, granularity, chart, filter, by } = question;
    let charts = &state.charts;
    let (from, hours) = match chart {
        Chart::Days(periods) => {
            let ranges: Vec<_> = periods.iter().map(|period| (period.first, period.last)).collect();
            let (points, parts) = match by {
                Some(by) => {
                    charts
                        .read(tenant, standing, async |store| {
                            store.split_by_days(tenant, &ranges, filter, by).await
                        })
                        .await?
                }
                None => {
                    let points = charts.read(tenant, standing, async |store| {
                        store.usage_by_days(tenant, &ranges, filter).await
                    });
                    (points.await?, Vec::new())
                }
            };
            let label = |of: chrono::NaiveDate| match granularity {
                Granularity::Weekly => of.format("%G-W%V").to_string(),
                _ => of.to_string(),
            };
            let shown = periods.iter().zip(points).map(|(period, at)| point(label(period.of), at)).collect();
            return Ok(with_parts(shown, &parts, by));
        }
        Chart::Hours(from, hours) => (*from, *hours),
        Chart::HoursOf(first, last) => state.store.hours_of_days(tenant, *first, *last).await?,
    };
    if let Some(floor) = standing.raw_floor.filter(|floor| filter.iccids.is_some() && from < *floor) {
        let message = format!("hours of single SIMs are kept from {} on; ask by day", time(floor));
        return Err(ApiError::invalid("start_date", message));
    }
    let (points, parts) = match by {
        Some(by) => {
            charts
                .read(tenant, standing, async |store| {
                    store.split_by_hours(tenant, from, hours, filter, by).await
                })
                .await?
        }
        None => {
            let points = charts.read(tenant, standing, async |store| {
                store.usage_by_hours(tenant, from, hours, filter).await
            });
            (points.await?, Vec::new())
        }
    };
    let shown = points.into_iter().map(|at| point(at.starts.format("%H:00").to_string(), at)).collect();
    Ok(with_parts(shown, &parts, by))
}

fn with_parts(
    mut points: Vec<TrendPoint>,
    parts: &[Part],
    by: Option<Split>,
) -> (Option<Vec<Series>>, Vec<TrendPoint>) {
    let Some(by) = by else { return (None, points) };
    let (series, of_points) = split::split(points.len(), parts, by);
    for (point, parts) in points.iter_mut().zip(of_points) {
        point.parts = Some(parts);
    }
    (Some(series), points)
}

fn point(period: String, point: Point) -> TrendPoint {
    let bytes = Whole(point.volume.bytes);
    TrendPoint {
        period,
        start: time(point.starts),
        end: time(point.ends),
        bytes_exact: bytes.exact(),
        bytes,
        data_usage_gb: point.volume.gigabytes,
        cost: point.volume.cost,
        sim_count: point.volume.sims,
        parts: None,
    }
}

pub(super) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
