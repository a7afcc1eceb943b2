use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::ApiState;
use crate::api::body::JsonBody;
use crate::api::caller::{Allowed, Caller, ChangeAlerts};
use crate::api::error::{ApiError, Fault};
use crate::store::alerts::RuleScope;

/// Of one scope.
const THRESHOLDS_AT_MOST: usize = 20;
const PERCENT_AT_MOST: i32 = 1_000;
/// Beyond this a JSON number is not exact.
const BYTES_AT_MOST: i64 = 1 << 53;
/// What holds where nothing is stated.
pub(super) const DEFAULT_PERCENTS: [i32; 3] = [80, 90, 100];

/// Exactly one of `percent` and `bytes`.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Threshold {
    /// Of the SIM's data limit, a whole number from 1 to 1000. Without a limit it is never crossed.
    #[schema(example = 80, minimum = 1, maximum = 1000)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) percent: Option<i32>,
    /// In a billing cycle, from 1 to 2^53, with a limit or without.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_992_i64)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<i64>,
}

/// Thresholds to be stated.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewThresholds {
    /// At most 20, in any order; none at all means that nothing is told.
    pub(super) thresholds: Vec<Threshold>,
}

/// Thresholds that hold.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Thresholds {
    /// Percents first, each kind in rising order.
    thresholds: Vec<Threshold>,
    /// Where they are stated: `sim`, `pool`, `ratePlan`, `tenant`, or `default` when nowhere.
    #[schema(example = "tenant")]
    stated_for: String,
}

/// Thresholds of the tenant
///
/// They hold for every SIM for which neither it nor its rate plan has thresholds of its own. Without any, 80, 90 and 100 percent
/// of the SIM's data limit hold.
#[utoipa::path(get, path = "/api/v1/alerts/thresholds", tag = "Alerts", operation_id = "getThresholds",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    responses((status = 200, description = "The thresholds that hold", body = Thresholds)))]
pub(super) async fn of_tenant(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
) -> Result<Json<Thresholds>, ApiError> {
    show(&state, &caller, &RuleScope::default()).await
}

/// State the thresholds of the tenant
///
/// A change arms them anew: a SIM that is beyond one of them already is told at once. The same thresholds again change nothing.
#[utoipa::path(put, path = "/api/v1/alerts/thresholds", tag = "Alerts", operation_id = "setThresholds",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    request_body(content = NewThresholds, example = json!({"thresholds": [{"percent": 75}, {"bytes": 5368709120_i64}]})),
    responses((status = 200, description = "The thresholds that hold now", body = Thresholds)))]
pub(super) async fn set_of_tenant(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
    JsonBody(new): JsonBody<NewThresholds>,
) -> Result<Json<Thresholds>, ApiError> {
    set(&state, &caller, &RuleScope::default(), &new).await
}

/// Forget the thresholds of the tenant
///
/// 80, 90 and 100 percent hold again.
#[utoipa::path(delete, path = "/api/v1/alerts/thresholds", tag = "Alerts", operation_id = "deleteThresholds",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    responses((status = 204, description = "They are forgotten")))]
pub(super) async fn delete_of_tenant(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
) -> Result<StatusCode, ApiError> {
    forget(&state, &caller, &RuleScope::default()).await
}

/// Thresholds of a rate plan
#[utoipa::path(get, path = "/api/v1/alerts/thresholds/plans/{plan}", tag = "Alerts", operation_id = "getPlanThresholds",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    params(("plan" = String, Path, description = "Name of the rate plan")),
    responses((status = 200, description = "The thresholds that hold for the plan", body = Thresholds)))]
pub(super) async fn of_plan(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
    Path(plan): Path<String>,
) -> Result<Json<Thresholds>, ApiError> {
    show(&state, &caller, &plan_scope(&state, &caller, &plan).await?).await
}

/// State the thresholds of a rate plan
///
/// They hold for the SIMs that are on the plan now and have none of their own, and are armed anew by a change.
#[utoipa::path(put, path = "/api/v1/alerts/thresholds/plans/{plan}", tag = "Alerts", operation_id = "setPlanThresholds",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    params(("plan" = String, Path, description = "Name of the rate plan")),
    request_body(content = NewThresholds, example = json!({"thresholds": [{"percent": 50}, {"percent": 100}]})),
    responses((status = 200, description = "The thresholds that hold now", body = Thresholds)))]
pub(super) async fn set_of_plan(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
    Path(plan): Path<String>,
    JsonBody(new): JsonBody<NewThresholds>,
) -> Result<Json<Thresholds>, ApiError> {
    set(&state, &caller, &plan_scope(&state, &caller, &plan).await?, &new).await
}

/// Forget the thresholds of a rate plan
#[utoipa::path(delete, path = "/api/v1/alerts/thresholds/plans/{plan}", tag = "Alerts", operation_id = "deletePlanThresholds",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    params(("plan" = String, Path, description = "Name of the rate plan")),
    responses((status = 204, description = "They are forgotten")))]
pub(super) async fn delete_of_plan(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
    Path(plan): Path<String>,
) -> Result<StatusCode, ApiError> {
    forget(&state, &caller, &plan_scope(&state, &caller, &plan).await?).await
}

/// Thresholds of a SIM
#[utoipa::path(get, path = "/api/v1/alerts/thresholds/sims/{sim}", tag = "Alerts", operation_id = "getSimThresholds",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    params(("sim" = String, Path, description = "ICCID or SIM id")),
    responses((status = 200, description = "The thresholds that hold for the SIM", body = Thresholds)))]
pub(super) async fn of_sim(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
    Path(sim): Path<String>,
) -> Result<Json<Thresholds>, ApiError> {
    show(&state, &caller, &sim_scope(&state, &caller, &sim).await?).await
}

/// State the thresholds of a SIM
#[utoipa::path(put, path = "/api/v1/alerts/thresholds/sims/{sim}", tag = "Alerts", operation_id = "setSimThresholds",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    params(("sim" = String, Path, description = "ICCID or SIM id")),
    request_body(content = NewThresholds, example = json!({"thresholds": [{"bytes": 1073741824}]})),
    responses((status = 200, description = "The thresholds that hold now", body = Thresholds)))]
pub(super) async fn set_of_sim(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
    Path(sim): Path<String>,
    JsonBody(new): JsonBody<NewThresholds>,
) -> Result<Json<Thresholds>, ApiError> {
    set(&state, &caller, &sim_scope(&state, &caller, &sim).await?, &new).await
}

/// Forget the thresholds of a SIM
#[utoipa::path(delete, path = "/api/v1/alerts/thresholds/sims/{sim}", tag = "Alerts", operation_id = "deleteSimThresholds",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    params(("sim" = String, Path, description = "ICCID or SIM id")),
    responses((status = 204, description = "They are forgotten")))]
pub(super) async fn delete_of_sim(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
    Path(sim): Path<String>,
) -> Result<StatusCode, ApiError> {
    forget(&state, &caller, &sim_scope(&state, &caller, &sim).await?).await
}

async fn plan_scope(state: &ApiState, caller: &Caller, plan: &str) -> Result<RuleScope, ApiError> {
    // PostgreSQL has no text with a zero in it.
    let found = match plan.contains('\0') {
        true => None,
        false => state.store.alert_scope_of_plan(caller.tenant, plan).await?,
    };
    found.ok_or(ApiError::NotFound("rate plan"))
}

async fn sim_scope(state: &ApiState, caller: &Caller, sim: &str) -> Result<RuleScope, ApiError> {
    let found = match sim.contains('\0') {
        true => None,
        false => state.store.alert_scope_of_sim(caller.tenant, sim).await?,
    };
    found.ok_or(ApiError::SimNotFound)
}

async fn show(state: &ApiState, caller: &Caller, scope: &RuleScope) -> Result<Json<Thresholds>, ApiError> {
    let rule = state.store.alert_rule(caller.tenant, scope).await?;
    let (percents, bytes, stated_for) = match rule {
        Some(rule) => (rule.percents, rule.bytes, rule.stated_for),
        None => (DEFAULT_PERCENTS.to_vec(), Vec::new(), "default".to_owned()),
    };
    Ok(Json(listed(percents, bytes, stated_for)))
}

pub(super) fn listed(percents: Vec<i32>, bytes: Vec<i64>, stated_for: String) -> Thresholds {
    let percents = percents.into_iter().map(|percent| Threshold { percent: Some(percent), bytes: None });
    let bytes = bytes.into_iter().map(|bytes| Threshold { percent: None, bytes: Some(bytes) });
    Thresholds { thresholds: percents.chain(bytes).collect(), stated_for }
}

async fn set(
    state: &ApiState,
    caller: &Caller,
    scope: &RuleScope,
    new: &NewThresholds,
) -> Result<Json<Thresholds>, ApiError> {
    let (percents, bytes) = checked(&new.thresholds).map_err(ApiError::Validation)?;
    state.store.set_alert_rule(caller.tenant, scope, &percents, &bytes, state.clock.now()).await?;
    show(state, caller, scope).await
}

async fn forget(state: &ApiState, caller: &Caller, scope: &RuleScope) -> Result<StatusCode, ApiError> {
    match state.store.delete_alert_rule(caller.tenant, scope).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::NotFound("threshold")),
    }
}

/// Percents and bytes, sorted and without repetitions.
pub(super) fn checked(given: &[Threshold]) -> Result<(Vec<i32>, Vec<i64>), Vec<Fault>> {
    let (mut percents, mut bytes, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    if given.len() > THRESHOLDS_AT_MOST {
        return Err(vec![Fault::new("thresholds", format!("must be at most {THRESHOLDS_AT_MOST}"))]);
    }
    for (n, threshold) in given.iter().enumerate() {
        match (threshold.percent, threshold.bytes) {
            (Some(percent), None) if (1..=PERCENT_AT_MOST).contains(&percent) => percents.push(percent),
            (None, Some(amount)) if (1..=BYTES_AT_MOST).contains(&amount) => bytes.push(amount),
            (Some(_), None) => faults.push(Fault::new(
                format!("thresholds[{n}].percent"),
                format!("must be a whole number from 1 to {PERCENT_AT_MOST}"),
            )),
            (None, Some(_)) => faults.push(Fault::new(
                format!("thresholds[{n}].bytes"),
                format!("must be a whole number from 1 to {BYTES_AT_MOST}"),
            )),
            _ => faults.push(Fault::new(format!("thresholds[{n}]"), "must have either percent or bytes")),
        }
    }
    percents.sort_unstable();
    percents.dedup();
    bytes.sort_unstable();
    bytes.dedup();
    if faults.is_empty() { Ok((percents, bytes)) } else { Err(faults) }
}
