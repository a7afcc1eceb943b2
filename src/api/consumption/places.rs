//! Where SIMs are.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::consumption::{Place, Region};

use super::super::ApiState;
use super::super::caller::{Allowed, ReadConsumption};
use super::super::error::ApiError;
use super::super::query::Query;
use super::answers::AcceptsGzip;
use super::number::Whole;
use super::question;
use super::trends::body;

/// Points of a map at most.
const PLACES_AT_MOST: usize = 10_000;
const REGIONS_AT_MOST: usize = 1_000;

#[derive(Debug, Serialize, ToSchema)]
struct SimPlaces {
    #[schema(example = true)]
    success: bool,
    /// More than 10,000 SIMs match; these are the first by ICCID.
    #[schema(example = false)]
    truncated: bool,
    data: Vec<SimPlace>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SimPlace {
    #[schema(example = "sim_0123456789abcdef01234567")]
    id: String,
    /// Of the device, or else the ICCID.
    #[schema(example = "Gate 4")]
    name: String,
    #[schema(example = 47.3769)]
    latitude: f64,
    #[schema(example = 8.5417)]
    longitude: f64,
    /// A name of `/api/consumption/carriers` for the same query.
    #[schema(example = "Salt")]
    carrier: String,
    #[schema(example = "8941000000000000009")]
    iccid: String,
    #[schema(example = "Active")]
    sim_status: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Regions {
    #[schema(example = true)]
    success: bool,
    /// There are more than 1,000 places; these are the largest.
    #[schema(example = false)]
    truncated: bool,
    data: Vec<RegionUsage>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RegionUsage {
    #[schema(example = "place_0123456789abcdef")]
    id: String,
    #[schema(example = "Zurich")]
    name: String,
    /// In the middle of its SIMs.
    #[schema(example = 47.3769)]
    latitude: f64,
    #[schema(example = 8.5417)]
    longitude: f64,
    #[schema(value_type = i64, example = 6_710_886_400_i64)]
    bytes: Whole,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_exact: Option<String>,
    /// MB of 2^20 bytes.
    #[serde(rename = "dataUsageMB")]
    #[schema(example = 6400.0)]
    data_usage_mb: f64,
    #[serde(rename = "dataUsageGB")]
    #[schema(example = 6.25)]
    data_usage_gb: f64,
    /// SIMs with usage.
    #[schema(example = 7)]
    device_count: i64,
    #[schema(example = "Zurich")]
    location_name: String,
}

/// SIMs on a map
///
/// SIMs with usage in the range whose place is known. The current month up to today unless dates are given.
#[utoipa::path(
    get, path = "/api/consumption/carrier-locations", tag = "Consumption", security(("bearer" = ["consumption:read"]), ("apiKey" = ["consumption:read"])),
    params(
        ("start_date" = Option<String>, Query, description = "First day, YYYY-MM-DD in the tenant's zone; at most 1830 days"),
        ("end_date" = Option<String>, Query, description = "Last day, inclusive"),
        ("imsi" = Option<Vec<String>>, Query, description = "ICCIDs, repeated"),
        ("mccmnc" = Option<Vec<String>>, Query, description = "Serving networks, repeated"),
    ),
    responses((status = 200, body = SimPlaces))
)]
pub(super) async fn show_sims(
    caller: Allowed<ReadConsumption>,
    State(state): State<ApiState>,
    gzip: AcceptsGzip,
    mut query: Query,
) -> Result<Response, ApiError> {
    let tenant = caller.0.tenant;
    let standing = state.store.consumption_standing(tenant, state.clock.now()).await?;
    let (scope, _) = question::scope(&mut query, &standing);
    query.finish()?;
    let made = state.answers.get((tenant, &standing), "carrier-locations", &scope, || async {
        let at_most = PLACES_AT_MOST as i64 + 1;
        let found = state
            .charts
            .read(tenant, &standing, async |store| store.sim_places(tenant, &scope, at_most).await);
        let mut places = found.await?;
        let truncated = places.len() > PLACES_AT_MOST;
        places.truncate(PLACES_AT_MOST);
        body(&SimPlaces { success: true, truncated, data: places.into_iter().map(sim_place).collect() })
    });
    Ok(made.await?.0.respond(gzip))
}

/// Usage by place
///
/// Of the current month up to today unless dates are given. SIMs of one location name are one place; those that name none are
/// put together by their coordinates, rounded to hundredths of a degree. SIMs without coordinates are on no map.
#[utoipa::path(
    get, path = "/api/consumption/regional", tag = "Consumption", security(("bearer" = ["consumption:read"]), ("apiKey" = ["consumption:read"])),
    params(
        ("start_date" = Option<String>, Query, description = "First day, YYYY-MM-DD in the tenant's zone; at most 1830 days"),
        ("end_date" = Option<String>, Query, description = "Last day, inclusive"),
        ("imsi" = Option<Vec<String>>, Query, description = "ICCIDs, repeated"),
        ("mccmnc" = Option<Vec<String>>, Query, description = "Serving networks, repeated"),
    ),
    responses((status = 200, body = Regions))
)]
pub(super) async fn show_regions(
    caller: Allowed<ReadConsumption>,
    State(state): State<ApiState>,
    gzip: AcceptsGzip,
    mut query: Query,
) -> Result<Response, ApiError> {
    let tenant = caller.0.tenant;
    let standing = state.store.consumption_standing(tenant, state.clock.now()).await?;
    let (scope, _) = question::scope(&mut query, &standing);
    query.finish()?;
    let made = state.answers.get((tenant, &standing), "regional", &scope, || async {
        let at_most = REGIONS_AT_MOST as i64 + 1;
        let found = state
            .charts
            .read(tenant, &standing, async |store| store.usage_by_places(tenant, &scope, at_most).await);
        let mut regions = found.await?;
        let truncated = regions.len() > REGIONS_AT_MOST;
        regions.truncate(REGIONS_AT_MOST);
        body(&Regions { success: true, truncated, data: regions.into_iter().map(region).collect() })
    });
    Ok(made.await?.0.respond(gzip))
}

fn sim_place(place: Place) -> SimPlace {
    SimPlace {
        id: place.sim_id,
        name: place.name,
        latitude: place.latitude,
        longitude: place.longitude,
        carrier: place.carrier,
        iccid: place.iccid,
        sim_status: place.status,
    }
}

fn region(region: Region) -> RegionUsage {
    let bytes = Whole(region.bytes);
    RegionUsage {
        id: region.id,
        name: region.place.clone(),
        latitude: region.latitude,
        longitude: region.longitude,
        bytes_exact: bytes.exact(),
        bytes,
        data_usage_mb: region.megabytes,
        data_usage_gb: region.gigabytes,
        device_count: region.sims,
        location_name: region.place,
    }
}
