//! Alerts: what was raised, from when on, and where it is sent.

mod list;
mod pool_thresholds;
mod thresholds;
mod webhooks;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::error::ApiError;
use super::query::Query;

/// Rows of a page, and how many there are without a word about it.
const PAGE_AT_MOST: i64 = 500;
const PAGE: i64 = 50;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(thresholds::of_tenant, thresholds::set_of_tenant, thresholds::delete_of_tenant))
        .routes(routes!(thresholds::of_plan, thresholds::set_of_plan, thresholds::delete_of_plan))
        .routes(routes!(thresholds::of_sim, thresholds::set_of_sim, thresholds::delete_of_sim))
        .routes(routes!(pool_thresholds::show, pool_thresholds::set, pool_thresholds::delete))
        .routes(routes!(webhooks::list, webhooks::add))
        .routes(routes!(webhooks::delete))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::replay))
}

/// `limit` and `cursor`. A cursor is the id of the last row of the page before, which clients need not know.
fn page(query: &mut Query) -> (i64, Option<i64>) {
    let limit = query.number("limit", 1, PAGE_AT_MOST).unwrap_or(PAGE);
    (limit, query.number("cursor", 1, i64::MAX))
}

/// Takes the row off that was asked for beyond the page; the cursor of the next page if there was one.
fn cut<T>(rows: &mut Vec<T>, limit: i64, id: impl Fn(&T) -> i64) -> Option<String> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if rows.len() <= limit {
        return None;
    }
    rows.truncate(limit);
    rows.last().map(|last| id(last).to_string())
}

/// A number in a path.
fn id<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::NotFound(what))
}

#[cfg(fuzzing)]
pub(super) fn read_thresholds(body: serde_json::Value) {
    if let Ok(new) = serde_json::from_value::<thresholds::NewThresholds>(body) {
        thresholds::checked(&new.thresholds).err();
    }
}
