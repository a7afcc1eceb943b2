//! Pools of a tenant: all of them, one to look at, a new one, a changed one.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::domain::TenantId;
use crate::store::pools::{POOLS_AT_MOST, PoolAdded, PoolChanged, PoolField, PoolPage};

use super::super::ApiState;
use super::super::body::JsonBody;
use super::super::caller::{Allowed, ReadSims, WriteSims};
use super::super::error::{ApiError, CONFLICT};
use super::super::query::Query;
use super::fields::{self, PoolFields};
use super::figures::{PoolDay, PoolDetails, PoolEntry, PoolPagination, PoolTable};
use super::{page, pool_id};

const SORTS: [(&str, (PoolField, bool)); 6] = [
    ("name", (PoolField::Name, false)),
    ("-name", (PoolField::Name, true)),
    ("usedBytes", (PoolField::UsedBytes, false)),
    ("-usedBytes", (PoolField::UsedBytes, true)),
    ("percentOfLimit", (PoolField::PercentOfLimit, false)),
    ("-percentOfLimit", (PoolField::PercentOfLimit, true)),
];

/// Pools with what they used of their limits in a period
///
/// What a pool used is the sum of what its members used on the days on which they were members, in the tenant's time zone. A new
/// period begins with the pool's cycle day by itself; past ones can be asked for at any time.
#[utoipa::path(get, path = "/api/v1/pools", tag = "Pools", operation_id = "listPools",
    security(("bearer" = ["sims:read"]), ("apiKey" = ["sims:read"])),
    params(("period" = Option<String>, Query, description = "current (the default), or the month in which the period begins, such as 2026-11"),
           ("sort" = Option<String>, Query, description = "name (the default), usedBytes or percentOfLimit; with - before it from the last to the first"),
           ("page" = Option<i64>, Query, minimum = 1, description = "From 1"),
           ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "Pools of a page, 50 by default")),
    responses((status = 200, body = PoolTable, description = "A page that does not exist is empty")))]
pub(super) async fn list(
    Allowed(caller, ..): Allowed<ReadSims>,
    State(state): State<ApiState>,
    mut query: Query,
) -> Result<Json<PoolTable>, ApiError> {
    let month = query.month("period");
    let (by, descending) = query.choice("sort", &SORTS).unwrap_or((PoolField::Name, false));
    let (page, limit) = page(&mut query);
    query.finish()?;
    let asked = PoolPage { by, descending, limit, offset: (page - 1) * limit };
    let (pools, total) = state.store.pools(caller.tenant, month, asked, state.clock.now()).await?;
    let pools = pools.into_iter().map(PoolEntry::from).collect();
    Ok(Json(PoolTable { pools, pagination: PoolPagination::new((page, limit), total) }))
}

/// A pool with what it used in a period, day by day
#[utoipa::path(get, path = "/api/v1/pools/{id}", tag = "Pools", operation_id = "getPool",
    security(("bearer" = ["sims:read"]), ("apiKey" = ["sims:read"])),
    params(("id" = i32, Path, description = "Id of the pool"),
           ("period" = Option<String>, Query, description = "current (the default), or the month in which the period begins, such as 2026-11")),
    responses((status = 200, body = PoolDetails, description = "The pool; its limit is the one of now, also for past periods")))]
pub(super) async fn show(
    Allowed(caller, ..): Allowed<ReadSims>,
    State(state): State<ApiState>,
    Path(pool): Path<String>,
    mut query: Query,
) -> Result<Json<PoolDetails>, ApiError> {
    let month = query.month("period");
    query.finish()?;
    let pool = pool_id(&pool)?;
    let pool = state.store.pool(caller.tenant, pool, month, state.clock.now()).await?;
    let pool = pool.ok_or(ApiError::NotFound("pool"))?;
    let days = state.store.pool_days(caller.tenant, pool.id, &pool.period).await?;
    let days = days.into_iter().map(PoolDay::from).collect();
    Ok(Json(PoolDetails { pool: pool.into(), days }))
}

/// Make a pool, without members
#[utoipa::path(post, path = "/api/v1/pools", tag = "Pools", operation_id = "createPool",
    security(("bearer" = ["sims:write"]), ("apiKey" = ["sims:write"])),
    request_body(content = PoolFields, description = "name and limitBytes are required"),
    responses((status = 201, body = PoolEntry, description = "Made", headers(("Location" = String, description = "Path of the pool"))),
              (status = 409, description = "There is a pool of this name, or there are 1000; code CONFLICT")))]
pub(super) async fn create(
    Allowed(caller, ..): Allowed<WriteSims>,
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<Value>,
) -> Result<Response, ApiError> {
    let new = fields::new_pool(&body).map_err(ApiError::Validation)?;
    let id = match state.store.add_pool(caller.tenant, &new, state.clock.now()).await? {
        PoolAdded::Id(id) => id,
        PoolAdded::NameTaken => return Err(name_taken()),
        PoolAdded::Full => return Err(conflict(format!("there are {POOLS_AT_MOST} pools already"))),
    };
    let pool = one(&state, caller.tenant, id).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("/api/v1/pools/{id}"))], Json(pool)).into_response())
}

/// Change a pool: what is missing stays
///
/// Another limit counts at once and arms its thresholds anew. Another cycle day moves the bounds of all periods, also of past ones.
#[utoipa::path(patch, path = "/api/v1/pools/{id}", tag = "Pools", operation_id = "changePool",
    security(("bearer" = ["sims:write"]), ("apiKey" = ["sims:write"])),
    params(("id" = i32, Path, description = "Id of the pool")),
    request_body = PoolFields,
    responses((status = 200, body = PoolEntry, description = "The pool as it is now"),
              (status = 409, description = "Another pool has this name; code CONFLICT")))]
pub(super) async fn change(
    Allowed(caller, ..): Allowed<WriteSims>,
    State(state): State<ApiState>,
    Path(pool): Path<String>,
    JsonBody(body): JsonBody<Value>,
) -> Result<Json<PoolEntry>, ApiError> {
    let pool = pool_id(&pool)?;
    let patch = fields::patch(&body).map_err(ApiError::Validation)?;
    match state.store.change_pool(caller.tenant, pool, &patch, state.clock.now()).await? {
        PoolChanged::Done => Ok(Json(one(&state, caller.tenant, pool).await?)),
        PoolChanged::Unknown => Err(ApiError::NotFound("pool")),
        PoolChanged::NameTaken => Err(name_taken()),
    }
}

/// Delete a pool, with what is known of its members and days; what the SIMs used stays theirs
#[utoipa::path(delete, path = "/api/v1/pools/{id}", tag = "Pools", operation_id = "deletePool",
    security(("bearer" = ["sims:write"]), ("apiKey" = ["sims:write"])),
    params(("id" = i32, Path, description = "Id of the pool")),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete(
    Allowed(caller, ..): Allowed<WriteSims>,
    State(state): State<ApiState>,
    Path(pool): Path<String>,
) -> Result<StatusCode, ApiError> {
    match state.store.delete_pool(caller.tenant, pool_id(&pool)?).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::NotFound("pool")),
    }
}

async fn one(state: &ApiState, tenant: TenantId, id: i32) -> Result<PoolEntry, ApiError> {
    let pool = state.store.pool(tenant, id, None, state.clock.now()).await?;
    pool.map(PoolEntry::from).ok_or(ApiError::NotFound("pool"))
}

fn name_taken() -> ApiError {
    conflict("there is a pool of this name already".into())
}

fn conflict(message: String) -> ApiError {
    ApiError::Conflict { code: CONFLICT, message }
}
