//! Usage by SIM, and which SIMs there are.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use chrono::{Datelike, NaiveDate};
use futures_util::stream;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::TenantId;
use crate::store::consumption::{DetailsFrom, UsageDetail, UsageFilter};

use super::super::ApiState;
use super::super::caller::{Allowed, ReadConsumption};
use super::super::csv;
use super::super::error::ApiError;
use super::super::query::Query;
use super::answers::AcceptsGzip;
use super::number::Whole;
use super::question::{self, Granularity, Period};
use super::trends::{body, time};

/// Rows of an answer; an export has no end but that of its range.
const ROWS_AT_MOST: i64 = 10_000;
const OFFSET_AT_MOST: i64 = 1_000_000;
/// Rows of an export that are in memory at once.
const EXPORT_PAGE_ROWS: i64 = 2_000;
/// SIMs of a list unless more are asked for.
const SIMS_BY_DEFAULT: i64 = 10_000;
const SIMS_AT_MOST: i64 = 100_000;

#[derive(Debug, Serialize, ToSchema)]
struct Details {
    #[schema(example = true)]
    success: bool,
    /// More rows match; ask for them with `offset`, or for the CSV file.
    #[schema(example = false)]
    truncated: bool,
    /// By period, network and SIM.
    data: Vec<Detail>,
}

/// Exactly one of `day`, `month` and `year` is there.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Detail {
    /// The ICCID.
    #[schema(example = "8941000000000000009")]
    imsi: String,
    /// Serving network; empty where unknown.
    #[schema(example = "22803")]
    mccmnc: String,
    #[schema(value_type = i64, example = 4096)]
    bytes: Whole,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_exact: Option<String>,
    /// By day; of a week, its Monday.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "2026-11-21")]
    day: Option<NaiveDate>,
    /// By month.
    #[serde(skip_serializing_if = "Option::is_none")]
    month: Option<String>,
    /// End of the latest record of the day.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "2026-11-21T02:00:00Z")]
    latest_event_at: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct SimList {
    #[schema(example = true)]
    success: bool,
    /// Whether the answer was made for somebody before; it is the same as a new one.
    #[schema(example = false)]
    cached: bool,
    data: Vec<SimWithUsage>,
    /// There are more; ask for them with `limit` and `offset`.
    #[schema(example = false)]
    truncated: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct SimWithUsage {
    /// The ICCID.
    #[schema(example = "8941000000000000009")]
    imsi: String,
}

/// A question about details.
#[derive(Clone, Debug)]
struct Asked {
    granularity: Granularity,
    periods: Vec<Period>,
    filter: UsageFilter,
}

impl Asked {
    fn read(query: &mut Query, today: NaiveDate) -> Self {
        let granularity = query.choice("granularity", &question::DETAIL_GRANULARITIES);
        let granularity = granularity.unwrap_or(Granularity::Daily);
        let filter = question::filter(query);
        Self { granularity, periods: question::detail_periods(query, granularity, today), filter }
    }

    fn ranges(&self) -> Vec<(NaiveDate, NaiveDate)> {
        self.periods.iter().map(|period| (period.first, period.last)).collect()
    }

    fn row(&self, detail: UsageDetail) -> Detail {
        let of = self.periods.get(detail.period).map(|period| period.of);
        let monthly = self.granularity == Granularity::Monthly;
        let bytes = Whole(detail.bytes);
        Detail {
            imsi: detail.iccid,
            mccmnc: detail.network,
            bytes_exact: bytes.exact(),
            bytes,
            day: of.filter(|_| !monthly),
            month: of.filter(|_| monthly).map(|of| format!("{}-{:02}", of.year(), of.month())),
            latest_event_at: detail.latest_event_at.map(time),
        }
    }
}

/// Usage by SIM, serving network and period
///
/// At most 10,000 rows at once. With `24h` and `daily` a row is a day, with `weekly` an ISO week, named by its Monday, with
/// `monthly` a month; the first and the last one hold the days of the range only.
#[utoipa::path(
    get, path = "/api/consumption/usage-details", tag = "Consumption", security(("bearer" = ["consumption:read"]), ("apiKey" = ["consumption:read"])),
    params(
        ("start_date" = String, Query, description = "First day, YYYY-MM-DD in the tenant's zone; at most 366 days by day, 106 weeks, 5 years"),
        ("end_date" = String, Query, description = "Last day, inclusive"),
        ("granularity" = Option<String>, Query, description = "24h, daily (default), weekly or monthly"),
        ("imsi" = Option<Vec<String>>, Query, description = "ICCIDs, repeated"),
        ("mccmnc" = Option<Vec<String>>, Query, description = "Serving networks, repeated"),
        ("limit" = Option<i64>, Query, description = "Rows, 1 to 10000 (default)"),
        ("offset" = Option<i64>, Query, description = "Rows to leave out, up to 1000000"),
    ),
    responses((status = 200, body = Details))
)]
pub(super) async fn show(
    caller: Allowed<ReadConsumption>,
    State(state): State<ApiState>,
    gzip: AcceptsGzip,
    mut query: Query,
) -> Result<Response, ApiError> {
    let tenant = caller.0.tenant;
    let standing = state.store.consumption_standing(tenant, state.clock.now()).await?;
    let asked = Asked::read(&mut query, standing.today);
    let limit = query.number("limit", 1, ROWS_AT_MOST).unwrap_or(ROWS_AT_MOST);
    let offset = query.number("offset", 0, OFFSET_AT_MOST).unwrap_or(0);
    query.finish()?;
    let made = state.answers.get((tenant, &standing), "usage-details", (&asked, limit, offset), || async {
        let from = DetailsFrom { offset, ..DetailsFrom::default() };
        let filter = &asked.filter;
        let ranges = asked.ranges();
        let found = state.charts.read(tenant, &standing, async |store| {
            store.usage_details(tenant, &ranges, filter, &from, limit + 1).await
        });
        let mut rows = found.await?;
        let truncated = rows.len() as i64 > limit;
        rows.truncate(limit as usize);
        let data = rows.into_iter().map(|row| asked.row(row)).collect();
        body(&Details { success: true, truncated, data })
    });
    Ok(made.await?.0.respond(gzip))
}

/// Usage by SIM, serving network and period as CSV
///
/// All rows of `/api/consumption/usage-details` for the same query, however many. Records that arrive while it is read may
/// count in the rows that are not written yet.
#[utoipa::path(
    get, path = "/api/consumption/usage-details.csv", tag = "Consumption", security(("bearer" = ["consumption:read"]), ("apiKey" = ["consumption:read"])),
    params(
        ("start_date" = String, Query), ("end_date" = String, Query),
        ("granularity" = Option<String>, Query, description = "As for usage-details"),
        ("imsi" = Option<Vec<String>>, Query), ("mccmnc" = Option<Vec<String>>, Query),
    ),
    responses((status = 200, content_type = "text/csv", body = String,
        example = "imsi,mccmnc,bytes,day,latestEventAt\r\n8941000000000000009,22803,4096,2026-11-21,2026-11-21T02:00:00Z\r\n"))
)]
pub(super) async fn export(
    caller: Allowed<ReadConsumption>,
    State(state): State<ApiState>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let tenant = caller.0.tenant;
    let standing = state.store.consumption_standing(tenant, state.clock.now()).await?;
    let asked = Asked::read(&mut query, standing.today);
    query.finish()?;
    let mut export = Export { state, tenant, asked, from: Some(DetailsFrom::default()) };
    // What fails at once is answered as an error; later the connection breaks off.
    let mut first = csv::header_line(&export.columns())?;
    first.extend(export.page().await?);
    let pages = stream::try_unfold((export, Some(Bytes::from(first))), async |(mut export, ready)| {
        let page = match ready {
            Some(page) => page,
            None if export.from.is_none() => return Ok(None),
            None => Bytes::from(export.page().await.map_err(|error| std::io::Error::other(error.message()))?),
        };
        Ok::<_, std::io::Error>(Some((page, (export, None))))
    });
    Ok(csv::file("usage-details.csv", Body::from_stream(pages)))
}

/// An export under way. Each page is a query of its own that goes on after the last row, so a slow reader holds no
/// connection to the database.
struct Export {
    state: ApiState,
    tenant: TenantId,
    asked: Asked,
    /// `None` after the last page.
    from: Option<DetailsFrom>,
}

impl Export {
    fn columns(&self) -> [&'static str; 5] {
        let period = if self.asked.granularity == Granularity::Monthly { "month" } else { "day" };
        ["imsi", "mccmnc", "bytes", period, "latestEventAt"]
    }

    async fn page(&mut self) -> Result<Vec<u8>, ApiError> {
        let Some(from) = self.from.take() else { return Ok(Vec::new()) };
        let (ranges, filter) = (self.asked.ranges(), &self.asked.filter);
        let rows =
            self.state.store.usage_details(self.tenant, &ranges, filter, &from, EXPORT_PAGE_ROWS).await?;
        let next = rows.last().filter(|_| rows.len() as i64 == EXPORT_PAGE_ROWS).map(|last| {
            let from = DetailsFrom { network: last.network.clone(), iccid: last.iccid.clone(), offset: 0 };
            (last.period, from)
        });
        let rows = rows.into_iter().map(|row| serde_json::to_value(self.asked.row(row)));
        let rows = rows.collect::<Result<Vec<_>, _>>().map_err(|_| ApiError::Internal)?;
        let lines = csv::lines(&self.columns(), &rows)?;
        if let Some((done, from)) = next {
            self.asked.periods.drain(..done);
            self.from = Some(from);
        }
        Ok(lines)
    }
}

/// SIMs that ever had usage
///
/// What `imsi` can be filtered by.
#[utoipa::path(
    get, path = "/api/consumption/unique-imsis", tag = "Consumption", security(("bearer" = ["consumption:read"]), ("apiKey" = ["consumption:read"])),
    params(
        ("limit" = Option<i64>, Query, description = "SIMs, 1 to 100000; 10000 by default"),
        ("offset" = Option<i64>, Query, description = "SIMs to leave out, up to 10000000"),
    ),
    responses((status = 200, body = SimList))
)]
pub(super) async fn list_sims(
    caller: Allowed<ReadConsumption>,
    State(state): State<ApiState>,
    gzip: AcceptsGzip,
    mut query: Query,
) -> Result<Response, ApiError> {
    let tenant = caller.0.tenant;
    let limit = query.number("limit", 1, SIMS_AT_MOST).unwrap_or(SIMS_BY_DEFAULT);
    let offset = query.number("offset", 0, 10 * OFFSET_AT_MOST).unwrap_or(0);
    query.finish()?;
    let standing = state.store.consumption_standing(tenant, state.clock.now()).await?;
    let made = state.answers.get((tenant, &standing), "unique-imsis", (limit, offset), || async {
        let found = state
            .charts
            .read(tenant, &standing, async |store| store.iccids_with_usage(tenant, limit + 1, offset).await);
        let mut iccids = found.await?;
        let truncated = iccids.len() as i64 > limit;
        iccids.truncate(limit as usize);
        let data = iccids.into_iter().map(|imsi| SimWithUsage { imsi }).collect();
        body(&SimList { success: true, cached: false, data, truncated })
    });
    let (made, known) = made.await?;
    if !known {
        return Ok(made.respond(gzip));
    }
    let made = state.answers.get((tenant, &standing), "unique-imsis, known", (limit, offset), || async {
        Ok(told_as_known(&made.plain))
    });
    Ok(made.await?.0.respond(gzip))
}

/// The same answer, which says that it was made before.
fn told_as_known(body: &[u8]) -> Bytes {
    const NEW: &[u8] = br#"{"success":true,"cached":false,"#;
    const KNOWN: &[u8] = br#"{"success":true,"cached":true,"#;
    Bytes::from([KNOWN, body.strip_prefix(NEW).unwrap_or(body)].concat())
}
