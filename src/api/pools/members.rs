//! Members of a pool.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use chrono::NaiveDate;
use serde::Serialize;
use serde_json::{Number, Value};
use utoipa::ToSchema;

use crate::store::pool_members::{Joined, MemberOrder, PoolMember, SORTED_BY_USAGE_AT_MOST};

use super::super::body::JsonBody;
use super::super::caller::{Allowed, Caller, ReadSims, WriteSims};
use super::super::error::ApiError;
use super::super::query::Query;
use super::super::{ApiState, number};
use super::figures::PoolPagination;
use super::joining::{self, NewMembers};
use super::{fields, page, pool_id};

const SORTS: [(&str, MemberOrder); 2] = [("iccid", MemberOrder::Iccid), ("-usedBytes", MemberOrder::Usage)];

/// A page of members.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemberTable {
    members: Vec<MemberEntry>,
    pagination: PoolPagination,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MemberEntry {
    /// null when the SIM belongs to the tenant no more.
    #[schema(example = "sim_0f1e2d3c4b5a69788796a5b4")]
    sim_id: Option<String>,
    #[schema(example = "8941000000000000009")]
    iccid: String,
    #[schema(example = "+41790000009")]
    msisdn: Option<String>,
    #[schema(example = "truck 9")]
    device_name: Option<String>,
    /// The first day that counts.
    #[schema(example = "2026-11-01")]
    joined_on: NaiveDate,
    /// The first day that does not count any more; null while it is a member.
    left_on: Option<NaiveDate>,
    /// What this member alone may use of the pool; null without such a limit.
    #[schema(example = 1_073_741_824)]
    limit_bytes: Option<i64>,
    /// On its days in this period.
    #[schema(value_type = i64, example = 805_306_368)]
    used_bytes: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_bytes_exact: Option<String>,
    /// Of what the pool used, two decimals.
    #[schema(value_type = f64, example = 1.67)]
    percent_of_pool: Number,
    /// Of its own limit, two decimals; null without one.
    #[schema(value_type = Option<f64>, example = 75.0)]
    percent_of_limit: Option<Number>,
}

/// What became of SIMs that were to be members.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct JoinedMembers {
    #[schema(example = 2)]
    added: u64,
    /// They were members and have another limit now.
    #[schema(example = 0)]
    changed: u64,
    /// They were members as they are now.
    #[schema(example = 0)]
    kept: u64,
}

/// The limit of a member.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase", example = json!({"limitBytes": 1_073_741_824_i64}))]
#[allow(dead_code, reason = "only described")]
pub(super) struct MemberLimit {
    /// What this member alone may use of the pool in a period; null takes such a limit away.
    #[schema(required = true, minimum = 1, maximum = 9_007_199_254_740_992_i64)]
    limit_bytes: Option<i64>,
}

impl From<PoolMember> for MemberEntry {
    fn from(held: PoolMember) -> Self {
        let (used_bytes, used_bytes_exact) = number::of_text(&held.used);
        Self {
            sim_id: held.sim_id,
            iccid: held.iccid,
            msisdn: held.msisdn,
            device_name: held.device_name,
            joined_on: held.joined_on,
            left_on: held.left_on,
            limit_bytes: held.limit_bytes,
            used_bytes,
            used_bytes_exact,
            percent_of_pool: number::of_decimal(&held.share),
            percent_of_limit: held.percent.as_deref().map(number::of_decimal),
        }
    }
}

/// Members of a pool with what each used of it in a period
///
/// Also those that left in it: what they used until then counts.
#[utoipa::path(get, path = "/api/v1/pools/{id}/members", tag = "Pools", operation_id = "listPoolMembers",
    security(("bearer" = ["sims:read"]), ("apiKey" = ["sims:read"])),
    params(("id" = i32, Path, description = "Id of the pool"),
           ("period" = Option<String>, Query, description = "current (the default), or the month in which the period begins, such as 2026-11"),
           ("sort" = Option<String>, Query, description = "iccid (the default), or -usedBytes: those that used most first, of 1000 members at most"),
           ("page" = Option<i64>, Query, minimum = 1, description = "From 1"),
           ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "Members of a page, 50 by default")),
    responses((status = 200, body = MemberTable, description = "A page that does not exist is empty")))]
pub(super) async fn list(
    Allowed(caller, ..): Allowed<ReadSims>,
    State(state): State<ApiState>,
    Path(pool): Path<String>,
    mut query: Query,
) -> Result<Json<MemberTable>, ApiError> {
    let month = query.month("period");
    let order = query.choice("sort", &SORTS).unwrap_or(MemberOrder::Iccid);
    let (page, limit) = page(&mut query);
    query.finish()?;
    let pool = state.store.pool(caller.tenant, pool_id(&pool)?, month, state.clock.now()).await?;
    let pool = pool.ok_or(ApiError::NotFound("pool"))?;
    let part = (limit, (page - 1) * limit);
    let of = (pool.id, &pool.period);
    let total = state.store.count_pool_members(caller.tenant, of).await?;
    if order == MemberOrder::Usage && total > SORTED_BY_USAGE_AT_MOST {
        let message = format!("must be iccid for more than {SORTED_BY_USAGE_AT_MOST} members");
        return Err(ApiError::invalid("sort", message));
    }
    let members = state.store.pool_members(caller.tenant, of, order, part).await?;
    let members = members.into_iter().map(MemberEntry::from).collect();
    Ok(Json(MemberTable { members, pagination: PoolPagination::new((page, limit), total) }))
}

/// Add members, or change the limits of those that are
///
/// All of them or, with any fault, none. A SIM is in one pool at a time, and each of its days counts in the pool in which it is at
/// the end of that day. Sending the same again changes nothing.
#[utoipa::path(post, path = "/api/v1/pools/{id}/members", tag = "Pools", operation_id = "addPoolMembers",
    security(("bearer" = ["sims:write"]), ("apiKey" = ["sims:write"])),
    params(("id" = i32, Path, description = "Id of the pool")),
    request_body = NewMembers,
    responses((status = 200, body = JoinedMembers, description = "How many there are of each kind"),
              (status = 409, description = "A SIM is in another pool; code CONFLICT")))]
pub(super) async fn add(
    Allowed(caller, ..): Allowed<WriteSims>,
    State(state): State<ApiState>,
    Path(pool): Path<String>,
    JsonBody(body): JsonBody<Value>,
) -> Result<Json<JoinedMembers>, ApiError> {
    let pool = pool_id(&pool)?;
    let (named, source) = joining::named(&body)?;
    let names: Vec<&str> = named.iter().map(|named| named.sim.as_str()).collect();
    let found = state.store.resolve_sims(caller.tenant, &source, &names).await?;
    let sims = joining::joining(&named, &found)?;
    let outcomes = state.store.join_pool(caller.tenant, pool, &sims, state.clock.now()).await?;
    let outcomes = outcomes.ok_or(ApiError::NotFound("pool"))?;
    if let Some(refusal) = joining::refusal(&outcomes) {
        return Err(refusal);
    }
    let mut done = JoinedMembers::default();
    for (_, outcome) in &outcomes {
        match outcome {
            Joined::Added => done.added += 1,
            Joined::Changed => done.changed += 1,
            _ => done.kept += 1,
        }
    }
    Ok(Json(done))
}

/// Set the limit of a member
#[utoipa::path(put, path = "/api/v1/pools/{id}/members/{sim}", tag = "Pools", operation_id = "setPoolMember",
    security(("bearer" = ["sims:write"]), ("apiKey" = ["sims:write"])),
    params(("id" = i32, Path, description = "Id of the pool"), ("sim" = String, Path, description = "simId or ICCID of a member")),
    request_body = MemberLimit,
    responses((status = 200, body = MemberEntry, description = "The member as it is now")))]
pub(super) async fn set(
    Allowed(caller, ..): Allowed<WriteSims>,
    State(state): State<ApiState>,
    Path((pool, sim)): Path<(String, String)>,
    JsonBody(body): JsonBody<Value>,
) -> Result<Json<MemberEntry>, ApiError> {
    let pool = pool_id(&pool)?;
    let stated = body.as_object().and_then(joining::stated_limit);
    let Some(Some(limit)) = stated else {
        return Err(ApiError::invalid("limitBytes", format!("{}, or null", fields::limit_message())));
    };
    let iccid = member(&state, &caller, pool, &sim).await?;
    if !state.store.set_pool_member_limit(caller.tenant, pool, &iccid, limit).await? {
        return Err(ApiError::NotFound("member"));
    }
    let held = state.store.pool(caller.tenant, pool, None, state.clock.now()).await?;
    let held = held.ok_or(ApiError::NotFound("pool"))?;
    let shown = state.store.pool_member_usage(caller.tenant, (pool, &held.period), &iccid).await?;
    shown.map(|member| Json(member.into())).ok_or(ApiError::NotFound("member"))
}

/// Remove a member: today and what follows do not count in the pool any more
#[utoipa::path(delete, path = "/api/v1/pools/{id}/members/{sim}", tag = "Pools", operation_id = "removePoolMember",
    security(("bearer" = ["sims:write"]), ("apiKey" = ["sims:write"])),
    params(("id" = i32, Path, description = "Id of the pool"), ("sim" = String, Path, description = "simId or ICCID of a member")),
    responses((status = 204, description = "It is a member no more")))]
pub(super) async fn remove(
    Allowed(caller, ..): Allowed<WriteSims>,
    State(state): State<ApiState>,
    Path((pool, sim)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let pool = pool_id(&pool)?;
    let iccid = member(&state, &caller, pool, &sim).await?;
    match state.store.leave_pool(caller.tenant, pool, &[iccid], state.clock.now()).await? {
        Some(gone) if gone > 0 => Ok(StatusCode::NO_CONTENT),
        _ => Err(ApiError::NotFound("member")),
    }
}

async fn member(state: &ApiState, caller: &Caller, pool: i32, sim: &str) -> Result<String, ApiError> {
    // PostgreSQL has no text with a zero in it.
    let found = match sim.contains('\0') {
        true => None,
        false => state.store.pool_member(caller.tenant, pool, sim).await?,
    };
    found.ok_or(ApiError::NotFound("member"))
}
