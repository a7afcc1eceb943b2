//! Pools: SIMs that share a limit (ADR 0021).

mod fields;
mod figures;
mod joining;
mod members;
mod resource;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::error::ApiError;
use super::query::Query;

/// Rows of a page, and how many there are without a word about it.
const LIMIT_AT_MOST: i64 = 200;
const DEFAULT_LIMIT: i64 = 50;
const PAGES_AT_MOST: i64 = 1_000_000;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(resource::list, resource::create))
        .routes(routes!(resource::show, resource::change, resource::delete))
        .routes(routes!(members::list, members::add))
        .routes(routes!(members::set, members::remove))
}

/// The id of a pool in a path; anything else is no pool.
fn pool_id(text: &str) -> Result<i32, ApiError> {
    text.parse().map_err(|_| ApiError::NotFound("pool"))
}

/// `page` and `limit`.
fn page(query: &mut Query) -> (i64, i64) {
    let page = query.number("page", 1, PAGES_AT_MOST).unwrap_or(1);
    (page, query.number("limit", 1, LIMIT_AT_MOST).unwrap_or(DEFAULT_LIMIT))
}

#[cfg(fuzzing)]
pub(super) fn read_bodies(body: &serde_json::Value) {
    fields::new_pool(body).err();
    fields::patch(body).err();
    joining::named(body).err();
}
