//! Sign-in at the dashboard: an API key for a cookie that no script can read.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{Permission, TenantId, moment};

use super::ApiState;
use super::body::JsonBody;
use super::caller::{Address, Who};
use super::error::ApiError;
use super::origin::{Sender, sender};
use super::session_ring::{self, Session};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(show, sign_in, sign_out))
}

/// What somebody shows to be let in.
#[derive(Debug, Deserialize, ToSchema)]
struct SignIn {
    /// An API key.
    #[schema(example = "mqs_…")]
    key: String,
}

/// Who is signed in, in its envelope
#[derive(Debug, Serialize, ToSchema)]
struct SessionBody {
    #[schema(example = true)]
    success: bool,
    data: SessionData,
}

/// Who is signed in
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SessionData {
    /// `open` in demo mode, where everybody may look, change settings and mend parked records; else `keys`.
    #[schema(example = "keys")]
    mode: &'static str,
    signed_in: bool,
    /// Whose figures are shown; null for who has to sign in.
    tenant: Option<SessionTenant>,
    /// What requests with this session may do.
    #[schema(example = json!(["consumption:read"]))]
    permissions: Vec<&'static str>,
    /// Of the API key behind the session.
    key_name: Option<String>,
    #[serde(serialize_with = "moment::if_any")]
    expires_at: Option<DateTime<Utc>>,
}

/// A tenant
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SessionTenant {
    id: i32,
    #[schema(example = "default")]
    name: String,
    /// Of days, months and cycles.
    #[schema(example = "Europe/Zurich")]
    time_zone: String,
    /// Of all amounts.
    #[schema(example = "CHF")]
    currency: String,
}

/// Tells who is signed in at the dashboard
///
/// By the cookie alone; needs no key. Without a session that counts, nobody is.
#[utoipa::path(
    get, path = "/api/session", tag = "Dashboard",
    responses((status = 200, description = "Who is signed in, and what they may do", body = SessionBody),
              (status = 429, description = "Too many unknown cookies from one address")),
)]
async fn show(
    State(state): State<ApiState>,
    Address(address): Address,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let session = match session_ring::token(&headers) {
        None => None,
        Some(token) => match state.sessions.verify(token, address).await {
            Ok(session) => Some(session),
            Err(ApiError::Unauthorized) => None,
            Err(error) => return Err(error),
        },
    };
    let who = match &session {
        Some(session) => Some((session.key.tenant, Who::Key(session.key.clone()))),
        None if state.demo => Some(state.keys.nobody(address)).map(|nobody| (nobody.tenant, nobody.who)),
        None => None,
    };
    Ok((NO_STORE, Json(body(&state, who, session.as_ref()).await?)).into_response())
}

/// Signs in at the dashboard
///
/// The answer sets the cookie `simbridge_session`, which counts wherever an API key does until it expires, the key is revoked or somebody
/// signs out. Requests that change something by cookie must come from the dashboard's own pages (`Sec-Fetch-Site`, `Origin`). The
/// demo's well-known key gets no session: everything is open there.
#[utoipa::path(
    post, path = "/api/session", tag = "Dashboard",
    request_body = SignIn,
    responses((status = 200, description = "Who is signed in now", body = SessionBody,
               headers(("set-cookie" = String, description = "The session"))),
              (status = 401, description = "The key is unknown"),
              (status = 403, description = "The key was revoked, or a page of another origin asks"),
              (status = 429, description = "Too many unknown keys from one address")),
)]
async fn sign_in(
    State(state): State<ApiState>,
    Address(address): Address,
    headers: HeaderMap,
    JsonBody(shown): JsonBody<SignIn>,
) -> Result<Response, ApiError> {
    refuse_other_origin(&headers)?;
    let key = shown.key.trim();
    if key.is_empty() {
        return Err(ApiError::invalid("key", "must not be empty"));
    }
    let caller = state.keys.verify(key, address).await?;
    let Who::Key(key) = caller.who.clone() else {
        let body = body(&state, Some((caller.tenant, caller.who)), None).await?;
        return Ok((NO_STORE, Json(body)).into_response());
    };
    let (session, cookie) = state.sessions.open(key).await?;
    let body = body(&state, Some((caller.tenant, caller.who)), Some(&session)).await?;
    // Whoever signs in anew leaves no session behind.
    if let Some(former) = session_ring::token(&headers) {
        state.sessions.close(former).await?;
    }
    Ok((NO_STORE, [(header::SET_COOKIE, cookie)], Json(body)).into_response())
}

/// Signs out from the dashboard
///
/// The session ends and the cookie goes; without a session nothing happens.
#[utoipa::path(
    delete, path = "/api/session", tag = "Dashboard",
    responses((status = 204, description = "Nobody is signed in now"),
              (status = 403, description = "A page of another origin asks")),
)]
async fn sign_out(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, ApiError> {
    let Some(token) = session_ring::token(&headers) else {
        return Ok((StatusCode::NO_CONTENT, NO_STORE).into_response());
    };
    if sender(&headers) != Sender::Own {
        return Err(ApiError::OtherOrigin);
    }
    let cookie = state.sessions.close(token).await?;
    Ok((StatusCode::NO_CONTENT, NO_STORE, [(header::SET_COOKIE, cookie)]).into_response())
}

const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// A page of others that signs its visitors in as somebody else would see what they do then.
fn refuse_other_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    if sender(headers) == Sender::Other { Err(ApiError::OtherOrigin) } else { Ok(()) }
}

async fn body(
    state: &ApiState,
    who: Option<(TenantId, Who)>,
    session: Option<&Session>,
) -> Result<SessionBody, ApiError> {
    let tenant = match &who {
        None => None,
        Some((id, _)) => {
            let standing = state.store.consumption_standing(*id, state.clock.now()).await?;
            let (name, time_zone, currency) = (standing.tenant, standing.time_zone, standing.currency);
            Some(SessionTenant { id: id.0, name, time_zone, currency })
        }
    };
    let may = |permission: &Permission| who.as_ref().is_some_and(|(_, who)| who.may(*permission));
    let data = SessionData {
        mode: if state.demo { "open" } else { "keys" },
        signed_in: session.is_some(),
        tenant,
        permissions: Permission::ALL.into_iter().filter(may).map(Permission::as_str).collect(),
        key_name: session.map(|session| session.key.name.clone()),
        expires_at: session.map(|session| session.expires_at),
    };
    Ok(SessionBody { success: true, data })
}
