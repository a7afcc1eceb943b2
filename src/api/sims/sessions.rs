//! Sessions of a SIM, as their cumulative counters tell them.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

use crate::domain::moment;
use crate::store::sessions::{SessionPlace, SimSession};

use super::super::ApiState;
use super::super::caller::{Allowed, ReadUsage};
use super::super::error::ApiError;
use super::super::query::Query;
use super::{SimId, cursor, number};

const DEFAULT_LIMIT: i64 = 50;
const LIMIT_AT_MOST: i64 = 500;

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionList {
    #[schema(example = "sim_0f1e2d3c4b5a69788796a5b4")]
    sim_id: String,
    #[schema(example = "8941000000000000009")]
    iccid: String,
    /// The one that was read last first.
    sessions: Vec<ListedSession>,
    /// Null after the last page.
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ListedSession {
    #[schema(example = "s-1")]
    session_id: String,
    /// `active`, or `expired` when no reading came for so long as is configured.
    #[schema(example = "active")]
    status: &'static str,
    #[schema(value_type = i64, example = 1_000)]
    data_upload_bytes: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_upload_bytes_exact: Option<String>,
    #[schema(value_type = i64, example = 2_000)]
    data_download_bytes: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_download_bytes_exact: Option<String>,
    #[schema(value_type = i64, example = 3_000)]
    total_bytes: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes_exact: Option<String>,
    /// When its first reading was stored.
    #[serde(serialize_with = "moment::to_the_second")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "moment::to_the_second")]
    last_reading_at: DateTime<Utc>,
    /// When it counts as over unless another reading comes.
    #[serde(serialize_with = "moment::to_the_second")]
    expires_at: DateTime<Utc>,
}

impl ListedSession {
    fn new(held: SimSession, now: DateTime<Utc>) -> Self {
        let (data_upload_bytes, data_upload_bytes_exact) = number::of_text(&held.upload_bytes);
        let (data_download_bytes, data_download_bytes_exact) = number::of_text(&held.download_bytes);
        let (total_bytes, total_bytes_exact) = number::of_text(&held.total_bytes);
        Self {
            session_id: held.session_id,
            status: if now < held.expires_at { "active" } else { "expired" },
            data_upload_bytes,
            data_upload_bytes_exact,
            data_download_bytes,
            data_download_bytes_exact,
            total_bytes,
            total_bytes_exact,
            created_at: held.created_at,
            last_reading_at: held.last_reading_at,
            expires_at: held.expires_at,
        }
    }
}

/// Sessions of a SIM, the one that was read last first, page by page
#[utoipa::path(get, path = "/api/v1/sims/{id}/sessions", tag = "SIMs", security(("bearer" = ["usage:read"]), ("apiKey" = ["usage:read"])),
    params(("id" = String, Path, description = "simId or ICCID"),
           ("limit" = Option<i64>, Query, minimum = 1, maximum = 500, description = "Sessions at most, 50 by default"),
           ("cursor" = Option<String>, Query, description = "nextCursor of the page before")),
    responses((status = 200, body = SessionList, description = "A session that is read meanwhile moves to the first page")))]
pub(super) async fn list(
    Allowed(caller, ..): Allowed<ReadUsage>,
    SimId(id): SimId,
    State(state): State<ApiState>,
    mut query: Query,
) -> Result<Json<SessionList>, ApiError> {
    let limit = query.number("limit", 1, LIMIT_AT_MOST).unwrap_or(DEFAULT_LIMIT);
    let after = query.text("cursor").map(cursor::session);
    if after == Some(None) {
        query.fault("cursor", cursor::FAULT);
    }
    query.finish()?;
    let after = after.flatten().unwrap_or_else(SessionPlace::newest);
    let sim = state.store.sim(caller.tenant, &id).await?.ok_or(ApiError::SimNotFound)?;
    let idle = state.usage.session_idle;
    let mut held = state.store.sim_sessions(caller.tenant, &sim.iccid, idle, &after, limit + 1).await?;
    let more = held.len() as i64 > limit;
    held.truncate(limit as usize);
    let next_cursor = held.last().filter(|_| more).map(cursor::of_session);
    let now = state.clock.now();
    let sessions = held.into_iter().map(|session| ListedSession::new(session, now)).collect();
    Ok(Json(SessionList { sim_id: sim.sim_id, iccid: sim.iccid, sessions, next_cursor }))
}
