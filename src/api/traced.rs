//! Requests as spans, in the trace of whoever asks.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::middleware::{self, Next};
use axum::response::Response;

use crate::traces::{Incoming, Span, Traces};

use super::ApiState;
use super::envelope::X_REQUEST_ID;

/// Asked every few seconds by what watches the program; they would hide the rest.
const UNTRACED: [&str; 4] = ["/healthz", "/readyz", "/statusz", "/metrics"];

/// Names of methods that the conventions of OpenTelemetry know; whatever else a client writes there is no name.
const METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// The same routes; without traces nothing stands before them.
pub(super) fn with_spans(routes: Router<ApiState>, traces: &Traces) -> Router<ApiState> {
    if !traces.are_on() {
        return routes;
    }
    routes.layer(middleware::from_fn_with_state(traces.clone(), answer))
}

/// The path and the query stay out of the span: they name SIMs, and may hold keys.
async fn answer(State(traces): State<Traces>, request: Request, next: Next) -> Response {
    if UNTRACED.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let method = METHODS.into_iter().find(|known| *known == request.method().as_str());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let name = match &route {
        Some(route) => format!("{} {route}", method.unwrap_or("HTTP")),
        None => method.unwrap_or("HTTP").to_owned(),
    };
    let span = traces.request(name, incoming(request.headers()));
    span.note("http.request.method", method.unwrap_or("_OTHER"));
    span.note("url.scheme", "http");
    if let Some(route) = route {
        span.note("http.route", route);
    }
    let response = span.around(next.run(request)).await;
    tell(&span, &response);
    response
}

fn incoming(headers: &HeaderMap) -> Incoming<'_> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Incoming { traceparent: text("traceparent"), tracestate: text("tracestate") }
}

fn tell(span: &Span, response: &Response) {
    let status = response.status();
    span.note("http.response.status_code", u32::from(status.as_u16()));
    let id = response.headers().get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
    if let Some(id) = id.filter(|_| span.is_recorded()) {
        span.note("simbridge.request_id", id.to_owned());
    }
    if status.is_server_error() {
        span.fail(status.as_u16().to_string());
    }
}
