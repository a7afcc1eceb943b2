//! Usage by the carrier that issued the SIM.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::TenantId;
use crate::store::consumption::CarrierShare;

use super::super::ApiState;
use super::super::caller::{Allowed, ReadConsumption};
use super::super::csv;
use super::super::error::ApiError;
use super::super::query::Query;
use super::answers::{AcceptsGzip, Answer};
use super::number::Whole;
use super::question;
use super::trends::body;

#[derive(Debug, Serialize, ToSchema)]
struct Carriers {
    #[schema(example = true)]
    success: bool,
    #[schema(example = "CHF")]
    currency: String,
    /// The largest volume first.
    data: Vec<Carrier>,
}

/// Percentages are of the whole that was asked for. A SIM that used two carriers counts for both.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Carrier {
    /// 0 for SIMs without a carrier, under the name `Unknown`.
    #[schema(example = 1)]
    id: i32,
    #[schema(example = "Salt")]
    name: String,
    /// Home network; empty where none is known.
    #[schema(example = "22803")]
    mccmnc: String,
    #[schema(example = 7)]
    sim_count: i64,
    #[schema(example = 70.0)]
    sim_percentage: f64,
    #[schema(value_type = i64, example = 6_710_886_400_i64)]
    bytes: Whole,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_exact: Option<String>,
    #[serde(rename = "dataUsageGB")]
    #[schema(example = 6.25)]
    data_usage_gb: f64,
    #[schema(example = 12.5)]
    cost: f64,
    #[schema(example = 60.0)]
    cost_percentage: f64,
    #[schema(example = 55.5)]
    data_percentage: f64,
    /// The same as `dataPercentage`.
    #[schema(example = 55.5)]
    percentage: f64,
}

/// Usage by carrier
///
/// The current month up to today unless dates are given.
#[utoipa::path(
    get, path = "/api/consumption/carriers", tag = "Consumption", security(("bearer" = ["consumption:read"]), ("apiKey" = ["consumption:read"])),
    params(
        ("start_date" = Option<String>, Query, description = "First day, YYYY-MM-DD in the tenant's zone; at most 1830 days"),
        ("end_date" = Option<String>, Query, description = "Last day, inclusive"),
        ("imsi" = Option<Vec<String>>, Query, description = "ICCIDs, repeated"),
        ("mccmnc" = Option<Vec<String>>, Query, description = "Serving networks, repeated"),
    ),
    responses((status = 200, body = Carriers))
)]
pub(super) async fn show(
    caller: Allowed<ReadConsumption>,
    State(state): State<ApiState>,
    gzip: AcceptsGzip,
    query: Query,
) -> Result<Response, ApiError> {
    Ok(answer(&state, caller.0.tenant, query).await?.respond(gzip))
}

/// Usage by carrier as CSV
///
/// The rows of `/api/consumption/carriers` for the same query.
#[utoipa::path(
    get, path = "/api/consumption/carriers.csv", tag = "Consumption", security(("bearer" = ["consumption:read"]), ("apiKey" = ["consumption:read"])),
    params(
        ("start_date" = Option<String>, Query), ("end_date" = Option<String>, Query),
        ("imsi" = Option<Vec<String>>, Query), ("mccmnc" = Option<Vec<String>>, Query),
    ),
    responses((status = 200, content_type = "text/csv", body = String,
        example = "id,name,mccmnc,simCount,simPercentage,bytes,dataUsageGB,cost,costPercentage,dataPercentage\r\n1,Salt,22803,7,70.0,6710886400,6.25,12.5,60.0,55.5\r\n"))
)]
pub(super) async fn export(
    caller: Allowed<ReadConsumption>,
    State(state): State<ApiState>,
    query: Query,
) -> Result<Response, ApiError> {
    let body = answer(&state, caller.0.tenant, query).await?;
    csv::of_answer("carriers.csv", &csv::CARRIERS, &body.plain)
}

async fn answer(state: &ApiState, tenant: TenantId, mut query: Query) -> Result<Answer, ApiError> {
    let standing = state.store.consumption_standing(tenant, state.clock.now()).await?;
    let (scope, _) = question::scope(&mut query, &standing);
    query.finish()?;
    let made = state.answers.get((tenant, &standing), "carriers", &scope, || async {
        let shares =
            state.charts.read(tenant, &standing, async |store| store.usage_by_carriers(tenant, &scope).await);
        let data = shares.await?.into_iter().map(shown).collect();
        body(&Carriers { success: true, currency: standing.currency.clone(), data })
    });
    Ok(made.await?.0)
}

fn shown(share: CarrierShare) -> Carrier {
    let bytes = Whole(share.volume.bytes);
    Carrier {
        id: share.carrier_id,
        name: share.name,
        mccmnc: share.mccmnc,
        sim_count: share.volume.sims,
        sim_percentage: share.sim_percentage,
        bytes_exact: bytes.exact(),
        bytes,
        data_usage_gb: share.volume.gigabytes,
        cost: share.volume.cost,
        cost_percentage: share.cost_percentage,
        data_percentage: share.data_percentage,
        percentage: share.data_percentage,
    }
}
