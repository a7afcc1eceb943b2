//! HTTP: health, metrics and a start page.

mod health;
mod start_page;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::metrics::Metrics;

pub use health::Readiness;

/// What handlers see.
#[derive(Clone)]
pub(crate) struct ApiState {
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Arc<Metrics>,
    /// Where the broker listens, for the start page.
    pub(crate) mqtt_addr: Option<SocketAddr>,
}

/// Serves until `stop`; requests that run then are finished.
pub(crate) async fn serve(listener: TcpListener, state: ApiState, stop: CancellationToken) {
    let served = axum::serve(listener, router(state)).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        error!(%error, "HTTP server failed");
    }
}

fn router(state: ApiState) -> Router {
    Router::new()
        .route("/", get(start_page::show))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .with_state(state)
}

async fn metrics(State(state): State<ApiState>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], state.metrics.text()).into_response()
}

async fn not_found() -> Response {
    let body = serde_json::json!({"error": {"code": "NOT_FOUND", "message": "there is nothing here"}, "message": "there is nothing here"});
    (StatusCode::NOT_FOUND, axum::Json(body)).into_response()
}
