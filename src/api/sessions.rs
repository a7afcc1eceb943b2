//! Sessions of VPN and hotspot users, as their cumulative counters tell them (contract §4).

use axum::Json;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::moment::in_seconds;
use crate::store::sessions::SessionUsage;

use super::ApiState;
use super::caller::{Allowed, Caller, ReadUsage};
use super::error::ApiError;
use super::exact::put_sum;

/// Longer ones are accepted from nobody.
const SESSION_ID_MAX_CHARS: usize = 100;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(session_usage)).routes(routes!(session_info))
}

/// What a session used
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "only described")]
struct SessionUsageBody {
    #[schema(example = 72_405_504_000i64)]
    data_used_bytes: i64,
    /// The same as text, beyond 2^53.
    data_used_bytes_exact: Option<String>,
}

/// A session
#[derive(ToSchema)]
#[allow(dead_code, reason = "only described")]
struct SessionInfoBody {
    session_id: String,
    iccid: String,
    data_used_bytes: i64,
    data_upload_bytes: i64,
    data_download_bytes: i64,
    /// When its first reading was stored.
    created_at: DateTime<Utc>,
    /// When it counts as over unless another reading comes, or when it ended.
    expires_at: DateTime<Utc>,
    /// `active`, or `expired` when it ended or no reading came for so long as is configured.
    #[schema(example = "active")]
    status: String,
}

/// Shows what a session used
///
/// The sum of its readings, with wraps and restarts of its counters taken into account.
#[utoipa::path(
    get, path = "/session/{sessionId}/usage", tag = "Sessions",
    security(("bearer" = ["usage:read"]), ("apiKey" = ["usage:read"])),
    params(("sessionId" = String, Path, description = "As the `counters` of its records name it")),
    responses((status = 200, description = "Bytes in both directions", body = SessionUsageBody,
               example = json!({"dataUsedBytes": 72_405_504_000i64}))),
)]
async fn session_usage(
    Allowed(caller, ..): Allowed<ReadUsage>,
    State(state): State<ApiState>,
    Path(session_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let session = find(&state, &caller, &session_id).await?;
    let mut body = Map::new();
    put_sum(&mut body, "dataUsedBytes", "Exact", &session.total_bytes);
    Ok(Json(body.into()))
}

/// Shows a session
///
/// Where nobody tells when a session ends, it expires some time after its newest reading, and lives again with the next one.
/// Sources of RADIUS tell: it has expired then.
#[utoipa::path(
    get, path = "/session/{sessionId}/info", tag = "Sessions",
    security(("bearer" = ["usage:read"]), ("apiKey" = ["usage:read"])),
    params(("sessionId" = String, Path, description = "As the `counters` of its records name it")),
    responses((status = 200, description = "What is known of it", body = SessionInfoBody,
               example = json!({"session_id": "s-1", "iccid": "8941000000000000001", "data_used_bytes": 3_000,
                                "data_upload_bytes": 1_000, "data_download_bytes": 2_000,
                                "created_at": "2026-11-21T01:00:00Z", "expires_at": "2026-11-21T02:30:00Z",
                                "status": "active"}))),
)]
async fn session_info(
    Allowed(caller, ..): Allowed<ReadUsage>,
    State(state): State<ApiState>,
    Path(session_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let session = find(&state, &caller, &session_id).await?;
    let status = if state.clock.now() < session.expires_at { "active" } else { "expired" };
    let mut body = Map::new();
    body.insert("session_id".into(), session_id.into());
    body.insert("iccid".into(), session.iccid.into());
    put_sum(&mut body, "data_used_bytes", "_exact", &session.total_bytes);
    put_sum(&mut body, "data_upload_bytes", "_exact", &session.upload_bytes);
    put_sum(&mut body, "data_download_bytes", "_exact", &session.download_bytes);
    body.insert("created_at".into(), in_seconds(session.created_at).into());
    body.insert("expires_at".into(), in_seconds(session.expires_at).into());
    body.insert("status".into(), status.into());
    Ok(Json(body.into()))
}

async fn find(state: &ApiState, caller: &Caller, session_id: &str) -> Result<SessionUsage, ApiError> {
    const NONE: ApiError = ApiError::NotFound("session");
    // PostgreSQL has no text with a zero in it.
    if session_id.chars().count() > SESSION_ID_MAX_CHARS || session_id.contains('\0') {
        return Err(NONE);
    }
    let found = state.store.session(caller.tenant, session_id, state.usage.session_idle).await?;
    found.ok_or(NONE)
}
