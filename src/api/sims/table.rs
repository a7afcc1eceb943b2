//! SIMs as a table that searches, filters, sorts and turns pages, and the same as a file.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use futures_util::stream;
use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

use crate::domain::TenantId;
use crate::store::sim_table::{ListedSim, SimField, SimFilter, SimPage};

use super::super::ApiState;
use super::super::caller::{Allowed, ReadSims};
use super::super::csv;
use super::super::error::ApiError;
use super::super::exact::EXACT_UP_TO;
use super::super::query::Query;
use super::number;

const DEFAULT_LIMIT: i64 = 50;
const LIMIT_AT_MOST: i64 = 200;
const PAGES_AT_MOST: i64 = 1_000_000;
const SEARCH_MAX_CHARS: usize = 100;
/// Statuses or carriers that one question names.
const NAMES_AT_MOST: usize = 100;
/// Of each kind.
const CHOICES_AT_MOST: i64 = 500;
/// SIMs of a file that are read at once.
const EXPORT_PAGE: i64 = 1_000;

const COLUMNS: [&str; 13] = [
    "iccid",
    "imsi",
    "msisdn",
    "deviceName",
    "locationName",
    "status",
    "carrier",
    "ratePlan",
    "billingCycleId",
    "usedBytes",
    "dataLimitBytes",
    "percentOfLimit",
    "lastRecordAt",
];

/// What `sort` may say; a minus before it turns it round.
const SORTS: [(&str, (SimField, bool)); 16] = [
    ("iccid", (SimField::Iccid, false)),
    ("-iccid", (SimField::Iccid, true)),
    ("msisdn", (SimField::Msisdn, false)),
    ("-msisdn", (SimField::Msisdn, true)),
    ("deviceName", (SimField::DeviceName, false)),
    ("-deviceName", (SimField::DeviceName, true)),
    ("status", (SimField::Status, false)),
    ("-status", (SimField::Status, true)),
    ("carrier", (SimField::Carrier, false)),
    ("-carrier", (SimField::Carrier, true)),
    ("ratePlan", (SimField::RatePlan, false)),
    ("-ratePlan", (SimField::RatePlan, true)),
    ("usedBytes", (SimField::UsedBytes, false)),
    ("-usedBytes", (SimField::UsedBytes, true)),
    ("percentOfLimit", (SimField::PercentOfLimit, false)),
    ("-percentOfLimit", (SimField::PercentOfLimit, true)),
];

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SimTable {
    sims: Vec<TableSim>,
    pagination: Pagination,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TableSim {
    #[schema(example = "sim_0f1e2d3c4b5a69788796a5b4")]
    sim_id: String,
    #[schema(example = "8941000000000000009")]
    iccid: String,
    #[schema(example = "228010000000009")]
    imsi: Option<String>,
    #[schema(example = "+41790000009")]
    msisdn: Option<String>,
    #[schema(example = "Active")]
    status: String,
    #[schema(example = "pump 9")]
    device_name: Option<String>,
    #[schema(example = "Zürich")]
    location_name: Option<String>,
    #[schema(example = "Swisscom")]
    carrier: Option<String>,
    #[schema(example = "IoT 1 GB")]
    rate_plan: Option<String>,
    /// The current cycle; null while nothing was ever used.
    #[schema(example = "2026-11")]
    billing_cycle_id: Option<String>,
    /// In the current cycle.
    #[schema(value_type = i64, example = 805_306_368)]
    used_bytes: Number,
    /// Digits, beyond 2^53 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_bytes_exact: Option<String>,
    /// Of a billing cycle; null without a limit.
    #[schema(example = 1_073_741_824)]
    data_limit_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_limit_bytes_exact: Option<String>,
    /// Two decimals; null without a limit.
    #[schema(value_type = Option<f64>, example = 75.0)]
    percent_of_limit: Option<Number>,
    /// End of the newest record; null where none is kept.
    last_record_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    #[schema(example = 1)]
    page: i64,
    #[schema(example = 50)]
    limit: i64,
    /// SIMs on all pages.
    #[schema(example = 120)]
    total: i64,
    #[schema(example = 3)]
    total_pages: i64,
}

impl From<ListedSim> for TableSim {
    fn from(held: ListedSim) -> Self {
        let beyond = held.data_limit_bytes.filter(|limit| limit.unsigned_abs() > EXACT_UP_TO);
        let (used_bytes, used_bytes_exact) = number::of_text(&held.used_bytes);
        Self {
            sim_id: held.sim_id,
            iccid: held.iccid,
            imsi: held.imsi,
            msisdn: held.msisdn,
            status: held.status,
            device_name: held.device_name,
            location_name: held.location_name,
            carrier: held.carrier,
            rate_plan: held.rate_plan,
            billing_cycle_id: held.cycle_id,
            used_bytes,
            used_bytes_exact,
            data_limit_bytes: held.data_limit_bytes,
            data_limit_bytes_exact: beyond.map(|limit| limit.to_string()),
            percent_of_limit: held.percent.as_deref().map(number::of_decimal),
            last_record_at: held.last_record_at,
        }
    }
}

#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct SimChoices {
    /// The most frequent first, 500 at most.
    statuses: Vec<NamedCount>,
    /// The same; SIMs without a carrier are not counted.
    carriers: Vec<NamedCount>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NamedCount {
    #[schema(example = "Active")]
    name: String,
    #[schema(example = 118)]
    sim_count: i64,
}

/// SIMs with what they used of their limit in the current cycle: searched, filtered, sorted, page by page
#[utoipa::path(get, path = "/api/v1/sims", tag = "SIMs", security(("bearer" = ["sims:read"]), ("apiKey" = ["sims:read"])),
    params(("search" = Option<String>, Query, description = "Occurs in the ICCID, IMSI, MSISDN or device name, a to z in any case; 100 characters at most"),
           ("status" = Option<Vec<String>>, Query, description = "One of these, repeated"),
           ("carrier" = Option<Vec<String>>, Query, description = "Names, repeated"),
           ("sort" = Option<String>, Query, description = "iccid (the default), msisdn, deviceName, status, carrier, ratePlan, usedBytes or percentOfLimit; with - before it from the last to the first. SIMs without a value come last"),
           ("page" = Option<i64>, Query, minimum = 1, description = "From 1"),
           ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "SIMs of a page, 50 by default")),
    responses((status = 200, body = SimTable, description = "A page that does not exist is empty")))]
pub(super) async fn list(
    Allowed(caller, ..): Allowed<ReadSims>,
    State(state): State<ApiState>,
    mut query: Query,
) -> Result<Json<SimTable>, ApiError> {
    let filter = filter(&mut query);
    let (by, descending) = query.choice("sort", &SORTS).unwrap_or((SimField::Iccid, false));
    let page = query.number("page", 1, PAGES_AT_MOST).unwrap_or(1);
    let limit = query.number("limit", 1, LIMIT_AT_MOST).unwrap_or(DEFAULT_LIMIT);
    query.finish()?;
    let asked = SimPage { by, descending, limit, offset: (page - 1) * limit };
    let (sims, total) = state.store.page_of_sims(caller.tenant, &filter, asked, state.clock.now()).await?;
    let total_pages = total.div_euclid(limit) + i64::from(total % limit > 0);
    let sims = sims.into_iter().map(TableSim::from).collect();
    Ok(Json(SimTable { sims, pagination: Pagination { page, limit, total, total_pages } }))
}

fn filter(query: &mut Query) -> SimFilter {
    let search = query.text("search").unwrap_or("").trim().to_owned();
    if search.chars().count() > SEARCH_MAX_CHARS {
        query.fault("search", format!("must have {SEARCH_MAX_CHARS} characters at most"));
    }
    let (statuses, carriers) = (query.all("status"), query.all("carrier"));
    for (name, values) in [("status", &statuses), ("carrier", &carriers)] {
        if values.len() > NAMES_AT_MOST {
            query.fault(name, format!("must not be repeated more than {NAMES_AT_MOST} times"));
        }
    }
    SimFilter { search, statuses, carriers }
}

/// Statuses and carriers that SIMs can be filtered by
#[utoipa::path(get, path = "/api/v1/sims/filters", tag = "SIMs", security(("bearer" = ["sims:read"]), ("apiKey" = ["sims:read"])),
    responses((status = 200, body = SimChoices, description = "With how many SIMs have them")))]
pub(super) async fn choices(
    Allowed(caller, ..): Allowed<ReadSims>,
    State(state): State<ApiState>,
) -> Result<Json<SimChoices>, ApiError> {
    let mut choices = SimChoices::default();
    for choice in state.store.sim_choices(caller.tenant, CHOICES_AT_MOST).await? {
        let kind = if choice.is_status { &mut choices.statuses } else { &mut choices.carriers };
        kind.push(NamedCount { name: choice.name, sim_count: choice.sims });
    }
    Ok(Json(choices))
}

/// The SIMs of the table as CSV: all that match, however many, in the order of their ICCIDs
#[utoipa::path(get, path = "/api/v1/sims.csv", tag = "SIMs", security(("bearer" = ["sims:read"]), ("apiKey" = ["sims:read"])),
    params(("search" = Option<String>, Query, description = "As for /api/v1/sims"),
           ("status" = Option<Vec<String>>, Query), ("carrier" = Option<Vec<String>>, Query)),
    responses((status = 200, content_type = "text/csv", body = String, description = "A line for each SIM")))]
pub(super) async fn export(
    Allowed(caller, ..): Allowed<ReadSims>,
    State(state): State<ApiState>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let filter = filter(&mut query);
    query.finish()?;
    let now = state.clock.now();
    let mut export = Export { state, tenant: caller.tenant, filter, now, after: Some(String::new()) };
    // What fails at once is answered as an error; later the connection breaks off.
    let mut first = csv::header_line(&COLUMNS)?;
    first.extend(export.page().await?);
    let pages = stream::try_unfold((export, Some(Bytes::from(first))), async |(mut export, ready)| {
        let page = match ready {
            Some(page) => page,
            None if export.after.is_none() => return Ok(None),
            None => Bytes::from(export.page().await.map_err(|error| std::io::Error::other(error.message()))?),
        };
        Ok::<_, std::io::Error>(Some((page, (export, None))))
    });
    Ok(csv::file("sims.csv", Body::from_stream(pages)))
}

/// A file under way. Each page is a query of its own, so a slow reader holds no connection to the database.
struct Export {
    state: ApiState,
    tenant: TenantId,
    filter: SimFilter,
    now: DateTime<Utc>,
    /// The last ICCID that was written; `None` after the last page.
    after: Option<String>,
}

impl Export {
    async fn page(&mut self) -> Result<Vec<u8>, ApiError> {
        let Some(after) = self.after.take() else { return Ok(Vec::new()) };
        let from = (after.as_str(), EXPORT_PAGE);
        let sims = self.state.store.sims_after(self.tenant, &self.filter, from, self.now).await?;
        self.after = sims.last().filter(|_| sims.len() as i64 == EXPORT_PAGE).map(|last| last.iccid.clone());
        let rows = sims.into_iter().map(|sim| serde_json::to_value(TableSim::from(sim)));
        let rows = rows.collect::<Result<Vec<_>, _>>().map_err(|_| ApiError::Internal)?;
        csv::lines(&COLUMNS, &rows)
    }
}
