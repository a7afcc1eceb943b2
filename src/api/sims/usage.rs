//! What a SIM used in a billing cycle.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

use crate::domain::moment;
use crate::store::sim_usage::CycleUsage;

use super::super::ApiState;
use super::super::caller::{Allowed, ReadUsage};
use super::super::error::ApiError;
use super::super::query::Query;
use super::{SimId, number};

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SimUsage {
    #[schema(example = "sim_0f1e2d3c4b5a69788796a5b4")]
    sim_id: String,
    #[schema(example = "8941000000000000009")]
    iccid: String,
    billing_cycle: BillingCycle,
    usage: UsageOfCycle,
    limit: Limit,
    #[serde(serialize_with = "moment::to_the_second")]
    last_updated: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BillingCycle {
    #[schema(example = "2026-11")]
    id: String,
    start: DateTime<Utc>,
    /// First moment of the next cycle.
    end: DateTime<Utc>,
}

/// Bytes. Beyond 2^53 the exact number stands beside it as text.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct UsageOfCycle {
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
    #[schema(example = "4 KB")]
    total_formatted: String,
    /// Two decimals; 0 without a limit.
    #[schema(value_type = f64, example = 0.01)]
    percent_of_limit: Number,
}

/// 0 without a limit.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Limit {
    #[schema(value_type = i64, example = 1_073_741_824)]
    total_bytes: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes_exact: Option<String>,
    #[schema(example = "1 GB")]
    total_formatted: String,
}

impl From<CycleUsage> for SimUsage {
    fn from(held: CycleUsage) -> Self {
        let (data_upload_bytes, data_upload_bytes_exact) = number::of_text(&held.upload);
        let (data_download_bytes, data_download_bytes_exact) = number::of_text(&held.download);
        let (total_bytes, total_bytes_exact) = number::of_text(&held.total);
        let usage = UsageOfCycle {
            data_upload_bytes,
            data_upload_bytes_exact,
            data_download_bytes,
            data_download_bytes_exact,
            total_bytes,
            total_bytes_exact,
            total_formatted: held.total_formatted,
            percent_of_limit: number::of_decimal(&held.percent),
        };
        let (total_bytes, total_bytes_exact) = number::of_text(&held.limit);
        Self {
            sim_id: held.sim_id,
            iccid: held.iccid,
            billing_cycle: BillingCycle { id: held.cycle_id, start: held.cycle_start, end: held.cycle_end },
            usage,
            limit: Limit { total_bytes, total_bytes_exact, total_formatted: held.limit_formatted },
            last_updated: held.last_updated,
        }
    }
}

/// Usage of a SIM in a billing cycle; zeros and the bounds of the cycle where nothing was used
#[utoipa::path(get, path = "/api/v1/sims/{id}/usage", tag = "SIMs", security(("bearer" = ["usage:read"]), ("apiKey" = ["usage:read"])),
    params(("id" = String, Path, description = "simId or ICCID"),
           ("cycle" = Option<String>, Query, description = "current (the default), or the month in which the cycle begins, such as 2026-11")),
    responses((status = 200, body = SimUsage, description = "Every record that was acknowledged counts")))]
pub(super) async fn show(
    Allowed(caller, ..): Allowed<ReadUsage>,
    SimId(id): SimId,
    State(state): State<ApiState>,
    mut query: Query,
) -> Result<Json<SimUsage>, ApiError> {
    let month = query.month("cycle");
    query.finish()?;
    let now = state.clock.now();
    let usage = state.store.sim_cycle_usage(caller.tenant, &id, month, now).await?;
    usage.map(|usage| Json(usage.into())).ok_or(ApiError::SimNotFound)
}
