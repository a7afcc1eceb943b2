use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::alerts::AlertDocument;
use crate::api::ApiState;
use crate::api::caller::{Allowed, ReadUsage};
use crate::api::error::ApiError;
use crate::api::query::Query;
use crate::store::alerts::AlertFilter;

use super::{cut, page};

/// A page of alerts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AlertPage {
    alerts: Vec<AlertDocument>,
    /// Gives the next page as `cursor`; `null` on the last one.
    #[schema(example = "4711")]
    next_cursor: Option<String>,
}

/// Alerts, newest first
///
/// A SIM crosses a threshold when the total of its current billing cycle reaches it. Of the thresholds that were newly crossed
/// the highest one is told, once in a cycle; again only after the limit or the thresholds were changed. Cycles that have ended
/// raise nothing, however late their records are; a correction that takes usage back takes no alert back and does not let it be
/// told a second time. A pool, and a member that has a limit of its own in it, are told of by the same rules, once in a period.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "Alerts", operation_id = "listAlerts",
    security(("bearer" = ["usage:read"]), ("apiKey" = ["usage:read"])),
    params(
        ("iccid" = Option<String>, Query, description = "Of this SIM, also as a member of a pool"),
        ("pool" = Option<i64>, Query, minimum = 1, maximum = 2147483647, description = "Of the pool with this id, members with limits of their own included"),
        ("cycle" = Option<String>, Query, description = "Of this billing cycle or period of a pool, such as 2026-11"),
        ("since" = Option<String>, Query, description = "Raised at this moment or later, RFC 3339"),
        ("until" = Option<String>, Query, description = "Raised before this moment, RFC 3339"),
        ("limit" = Option<i64>, Query, description = "Alerts of a page, from 1 to 500, 50 if left out"),
        ("cursor" = Option<String>, Query, description = "nextCursor of the page before")),
    responses((status = 200, description = "A page of alerts", body = AlertPage)))]
pub(super) async fn list(
    Allowed(caller, _): Allowed<ReadUsage>,
    State(state): State<ApiState>,
    mut query: Query,
) -> Result<Json<AlertPage>, ApiError> {
    let text = |name| query.text(name).unwrap_or("").to_owned();
    let (iccid, cycle_id) = (text("iccid"), text("cycle"));
    if !cycle_id.is_empty() && !is_cycle(&cycle_id) {
        query.fault("cycle", "must be a month such as 2026-11");
    }
    let (since, until) = (query.time("since"), query.time("until"));
    let pool = query.number("pool", 1, i32::MAX.into()).and_then(|id| i32::try_from(id).ok());
    let (limit, before) = page(&mut query);
    query.finish()?;
    let filter = AlertFilter { iccid, cycle_id, since, until, pool, before };
    let mut alerts = state.store.alerts(caller.tenant, &filter, limit + 1).await?;
    let next_cursor = cut(&mut alerts, limit, |alert| alert.id);
    Ok(Json(AlertPage { alerts: alerts.into_iter().map(AlertDocument::from).collect(), next_cursor }))
}

fn is_cycle(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    bytes.len() == 7 && bytes[4] == b'-' && digits(&bytes[..4]) && digits(&bytes[5..])
}
