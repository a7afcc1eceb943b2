//! Request ids, and errors in the envelope of their path (contract §3): around every answer.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rand::distr::{Alphanumeric, SampleString};
use serde_json::{Value, json};
use tracing::error;

use super::ApiState;
use super::error::{ApiError, Fault};
use super::rate_limit::Standing;

pub(crate) const X_REQUEST_ID: &str = "x-request-id";
/// Longer ones are not repeated.
const REQUEST_ID_MAX_CHARS: usize = 128;

/// The client's id for its request, or ours.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

/// How a path says what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// `{"success": false, "error": "…"}`
    Portal,
    /// `{"error": {"code", "message", "details", "requestId"}, "message"}`
    Resource,
    /// RFC 9457
    Problem,
}

impl Envelope {
    pub(crate) fn of(path: &str) -> Self {
        const PORTAL: [&str; 7] = [
            "/api/consumption/",
            "/api/settings/",
            "/api/dashboard/",
            "/api/mccmnc/",
            "/api/v1/provisioned-sims",
            "/api/simcards",
            "/api/session",
        ];
        if PORTAL.iter().any(|start| path.starts_with(start)) {
            Self::Portal
        } else if path.starts_with("/api/v1/") {
            Self::Resource
        } else {
            Self::Problem
        }
    }

    fn body(self, error: &ApiError, id: &RequestId) -> Value {
        let (code, message) = (error.code(), error.message());
        let faults: &[Fault] = if let ApiError::Validation(faults) = error { faults } else { &[] };
        let details =
            || faults.iter().map(|f| json!({"field": f.field, "message": f.message})).collect::<Vec<_>>();
        match self {
            Self::Portal => json!({"success": false, "error": message}),
            Self::Resource if faults.is_empty() => {
                json!({"error": {"code": code, "message": message, "requestId": id.0}, "message": message})
            }
            Self::Resource => json!({
                "error": {"code": code, "message": message, "details": details(), "requestId": id.0},
                "message": message,
            }),
            Self::Problem => {
                let status = error.status();
                let title = status.canonical_reason().unwrap_or("Error");
                let mut body = json!({
                    "type": "about:blank", "title": title, "status": status.as_u16(), "detail": message,
                    "code": code, "requestId": id.0,
                });
                if !faults.is_empty() {
                    body["errors"] = details().into();
                }
                body
            }
        }
    }
}

/// Gives every request an id, and every error a body.
pub(super) async fn answer(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let envelope = Envelope::of(request.uri().path());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let standing = Standing::default();
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(standing.clone());
    let mut response = next.run(request).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let known = response.extensions_mut().remove::<ApiError>();
        if known.is_some() || !is_json(&response) {
            let error = known.unwrap_or_else(|| ApiError::of_status(status, state.limits.body_max_bytes));
            if let ApiError::Store(cause) = &error {
                error!(request_id = id.0, %method, path, %cause, "request failed");
            }
            response = with_body(response, envelope, &error, &id);
        }
    }
    standing.write(response.headers_mut());
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}

/// A visible ASCII id of the client, or a new one.
fn request_id(request: &Request) -> RequestId {
    let given = request.headers().get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    let fits = |id: &&str| (1..=REQUEST_ID_MAX_CHARS).contains(&id.len());
    RequestId(match given.filter(fits) {
        Some(id) => id.to_owned(),
        None => Alphanumeric.sample_string(&mut rand::rng(), 20),
    })
}

fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/json"))
}

/// The same answer with a body that says what is wrong; headers such as Allow stay.
fn with_body(response: Response, envelope: Envelope, error: &ApiError, id: &RequestId) -> Response {
    let (mut parts, _) = response.into_parts();
    let (body_parts, body) = Json(envelope.body(error, id)).into_response().into_parts();
    parts.status = error.status();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.extend(body_parts.headers);
    if envelope == Envelope::Problem {
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    }
    if let Some(seconds) = error.retry_after() {
        parts.headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if error.status() == StatusCode::UNAUTHORIZED {
        parts.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    Response::from_parts(parts, Body::new(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_decides_the_envelope() {
        for (path, envelope) in [
            ("/api/consumption/kpis", Envelope::Portal),
            ("/api/v1/provisioned-sims", Envelope::Portal),
            ("/api/v1/usage", Envelope::Resource),
            ("/api/v1/nothing", Envelope::Resource),
            ("/session/a/usage", Envelope::Problem),
            ("/nothing", Envelope::Problem),
        ] {
            assert_eq!(Envelope::of(path), envelope, "{path}");
        }
    }
}
