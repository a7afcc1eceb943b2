use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::api::ApiState;
use crate::api::body::JsonBody;
use crate::api::caller::{Allowed, Caller, ChangeAlerts};
use crate::api::error::ApiError;

use super::id;
use super::thresholds::{DEFAULT_PERCENTS, NewThresholds, Thresholds, checked, listed};

/// Thresholds of a pool
///
/// Percents are of the pool's limit, and for a member that has a limit of its own of that one; bytes are of the pool as a whole.
/// Without thresholds of its own, the percents of the tenant hold.
#[utoipa::path(get, path = "/api/v1/alerts/thresholds/pools/{id}", tag = "Alerts", operation_id = "getPoolThresholds",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    params(("id" = i32, Path, description = "Id of the pool")),
    responses((status = 200, description = "The thresholds that hold", body = Thresholds)))]
pub(super) async fn show(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
    Path(pool): Path<String>,
) -> Result<Json<Thresholds>, ApiError> {
    shown(&state, &caller, id(&pool, "pool")?).await
}

/// State the thresholds of a pool
///
/// A change arms them anew, for its members too.
#[utoipa::path(put, path = "/api/v1/alerts/thresholds/pools/{id}", tag = "Alerts", operation_id = "setPoolThresholds",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    params(("id" = i32, Path, description = "Id of the pool")),
    request_body(content = NewThresholds, example = json!({"thresholds": [{"percent": 60}, {"percent": 90}]})),
    responses((status = 200, description = "The thresholds that hold now", body = Thresholds)))]
pub(super) async fn set(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
    Path(pool): Path<String>,
    JsonBody(new): JsonBody<NewThresholds>,
) -> Result<Json<Thresholds>, ApiError> {
    let pool = id(&pool, "pool")?;
    let (percents, bytes) = checked(&new.thresholds).map_err(ApiError::Validation)?;
    let now = state.clock.now();
    match state.store.set_pool_thresholds(caller.tenant, pool, &percents, &bytes, now).await? {
        true => shown(&state, &caller, pool).await,
        false => Err(ApiError::NotFound("pool")),
    }
}

/// Forget the thresholds of a pool
#[utoipa::path(delete, path = "/api/v1/alerts/thresholds/pools/{id}", tag = "Alerts", operation_id = "deletePoolThresholds",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    params(("id" = i32, Path, description = "Id of the pool")),
    responses((status = 204, description = "They are forgotten")))]
pub(super) async fn delete(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
    Path(pool): Path<String>,
) -> Result<StatusCode, ApiError> {
    let pool = id(&pool, "pool")?;
    match state.store.delete_pool_thresholds(caller.tenant, pool, state.clock.now()).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::NotFound("threshold")),
    }
}

async fn shown(state: &ApiState, caller: &Caller, pool: i32) -> Result<Json<Thresholds>, ApiError> {
    let held = state.store.pool_thresholds(caller.tenant, pool).await?;
    let (rule, stated) = held.ok_or(ApiError::NotFound("pool"))?;
    let percents = if stated { rule.percents } else { DEFAULT_PERCENTS.to_vec() };
    Ok(Json(listed(percents, rule.bytes, rule.stated_for)))
}
