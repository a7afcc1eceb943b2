//! Single SIMs: one to look at, a new one, a changed one.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::moment;
use crate::store::sim_changes::InventorySim;

use super::super::ApiState;
use super::super::body::JsonBody;
use super::super::caller::{Allowed, ReadSims, WriteSims};
use super::super::error::{ApiError, CONFLICT};
use super::super::exact::EXACT_UP_TO;
use super::fields::SimFields;
use super::{SimId, fields};

/// Told whoever has it: an ICCID belongs to one tenant, so a new SIM cannot be had; whose the other one is, its holder knows
/// from its own list, and others need not know.
pub(super) const IN_USE: &str = "this ICCID is in use already";

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sim {
    #[schema(example = "sim_0f1e2d3c4b5a69788796a5b4")]
    sim_id: String,
    #[schema(example = "8941000000000000009")]
    iccid: String,
    #[schema(example = "228010000000009")]
    imsi: Option<String>,
    #[schema(example = "+41790000009")]
    msisdn: Option<String>,
    #[schema(example = "Swisscom")]
    carrier: Option<String>,
    #[schema(example = "IoT 1 GB")]
    rate_plan: Option<String>,
    /// Of a billing cycle; null without a limit.
    #[schema(example = 1_073_741_824)]
    data_limit_bytes: Option<i64>,
    /// Beyond 2^53 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_limit_bytes_exact: Option<String>,
    customer_id: Option<String>,
    #[schema(example = "Active")]
    status: String,
    #[schema(example = "pump 9")]
    device_name: Option<String>,
    #[schema(example = 47.37)]
    latitude: Option<f64>,
    #[schema(example = 8.54)]
    longitude: Option<f64>,
    #[schema(example = "Zürich")]
    location_name: Option<String>,
    #[schema(example = 1)]
    cycle_day: i16,
    #[serde(serialize_with = "moment::to_the_second")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "moment::to_the_second")]
    updated_at: DateTime<Utc>,
}

impl From<InventorySim> for Sim {
    fn from(held: InventorySim) -> Self {
        let beyond = held.data_limit_bytes.filter(|limit| limit.unsigned_abs() > EXACT_UP_TO);
        Self {
            sim_id: held.sim_id,
            iccid: held.iccid,
            imsi: held.imsi,
            msisdn: held.msisdn,
            carrier: held.carrier,
            rate_plan: held.rate_plan,
            data_limit_bytes: held.data_limit_bytes,
            data_limit_bytes_exact: beyond.map(|limit| limit.to_string()),
            customer_id: held.customer_id,
            status: held.status,
            device_name: held.device_name,
            latitude: held.latitude,
            longitude: held.longitude,
            location_name: held.location_name,
            cycle_day: held.cycle_day,
            created_at: held.created_at,
            updated_at: held.updated_at,
        }
    }
}

/// A SIM of the inventory
#[utoipa::path(get, path = "/api/v1/sims/{id}", tag = "SIMs", security(("bearer" = ["sims:read"]), ("apiKey" = ["sims:read"])),
    params(("id" = String, Path, description = "simId or ICCID")),
    responses((status = 200, body = Sim, description = "The SIM as it is now")))]
pub(super) async fn show(
    Allowed(caller, ..): Allowed<ReadSims>,
    SimId(id): SimId,
    State(state): State<ApiState>,
) -> Result<Json<Sim>, ApiError> {
    let sim = state.store.sim(caller.tenant, &id).await?;
    sim.map(|sim| Json(sim.into())).ok_or(ApiError::SimNotFound)
}

/// Add a SIM; records that came before it count in its cycles from then on
#[utoipa::path(post, path = "/api/v1/sims", tag = "SIMs", security(("bearer" = ["sims:write"]), ("apiKey" = ["sims:write"])),
    request_body(content = SimFields, description = "iccid is required"),
    responses((status = 201, body = Sim, description = "Added", headers(("Location" = String, description = "Path of the SIM"))),
              (status = 409, description = "The ICCID is in use already; code CONFLICT")))]
pub(super) async fn create(
    Allowed(caller, ..): Allowed<WriteSims>,
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<Value>,
) -> Result<Response, ApiError> {
    let row = fields::whole_sim(&body).map_err(ApiError::Validation)?;
    let Some(sim) = state.store.create_sim(caller.tenant, &row, state.clock.now()).await? else {
        return Err(ApiError::Conflict { code: CONFLICT, message: IN_USE.into() });
    };
    let location = format!("/api/v1/sims/{}", sim.sim_id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(Sim::from(sim))).into_response())
}

/// Change a SIM: what is missing stays, null clears
///
/// Another carrier or plan counts for usage from now on, another cycle day from the end of the newest cycle on.
#[utoipa::path(patch, path = "/api/v1/sims/{id}", tag = "SIMs", security(("bearer" = ["sims:write"]), ("apiKey" = ["sims:write"])),
    params(("id" = String, Path, description = "simId or ICCID")),
    request_body = SimFields,
    responses((status = 200, body = Sim, description = "The SIM as it is now")))]
pub(super) async fn change(
    Allowed(caller, ..): Allowed<WriteSims>,
    SimId(id): SimId,
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<Value>,
) -> Result<Json<Sim>, ApiError> {
    let held = state.store.sim(caller.tenant, &id).await?.ok_or(ApiError::SimNotFound)?;
    let patch = fields::patch(&body, &held.iccid).map_err(ApiError::Validation)?;
    let sim = state.store.change_sim(caller.tenant, &id, &patch, state.clock.now()).await?;
    sim.map(|sim| Json(sim.into())).ok_or(ApiError::SimNotFound)
}
