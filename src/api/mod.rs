//! HTTP (contract §3 to §5): every answer goes through `envelope`, every route that shows or changes rows through
//! `caller`.

mod alerts;
mod body;
mod caller;
mod consumption;
mod csv;
mod docs;
mod envelope;
mod error;
mod exact;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod health;
mod idempotency;
mod key_ring;
mod key_uses;
pub(crate) mod live;
mod mobile_countries;
mod number;
mod openapi;
mod operations;
mod origin;
mod pools;
mod portal;
mod posts;
mod quarantine;
mod query;
mod rate_limit;
mod remembered;
mod server;
mod session_ring;
mod sessions;
mod sign_in;
mod sims;
mod status;
mod strangers;
#[cfg(feature = "opentelemetry")]
mod traced;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::decompression::RequestDecompressionLayer;
use tower_http::timeout::TimeoutLayer;
use tracing::error;

use crate::config::{AlertsConfig, HttpConfig};
use crate::dashboard;
use crate::domain::{Clock, TenantId};
use crate::ingest::DatabaseState;
use crate::metrics::Metrics;
use crate::replay::ReplayRules;
use crate::store::Store;
use crate::store::chart_reads::ChartReads;

use error::ApiError;
use key_ring::KeyRing;
use session_ring::SessionRing;
use usage::UsageRules;

pub(crate) use key_uses::KeyUses;
pub(crate) use posts::Posts;

pub use health::Readiness;
pub use key_ring::{DEMO_KEY, hash_key, make_key};
pub use rate_limit::LimitClass;

/// What handlers see.
#[derive(Clone)]
pub(crate) struct ApiState {
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Arc<Metrics>,
    /// Where the broker listens.
    pub(crate) store: Store,
    /// Of what the consumption page shows.
    pub(crate) charts: ChartReads,
    /// Posted records go the way of those over MQTT.
    pub(crate) posts: Posts,
    pub(crate) database: DatabaseState,
    pub(crate) clock: Clock,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) sessions: Arc<SessionRing>,
    /// Everybody may read, and the demo key exists.
    pub(crate) demo: bool,
    pub(crate) limits: BodyLimits,
    pub(crate) usage: Arc<UsageRules>,
    /// Of parked records that are tried again.
    pub(crate) replay: Arc<ReplayRules>,
    pub(crate) feeds: Arc<live::Feeds>,
    /// Of the consumption page.
    pub(crate) answers: Arc<consumption::Answers>,
    pub(crate) alerts: AlertLimits,
}

/// Bounds of bodies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    pub(crate) body_max_bytes: usize,
    pub(crate) import_max_bytes: usize,
    /// For how long an import may go on before it tells how far it came.
    pub(crate) import_within: Duration,
}

/// What webhooks of alerts are held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AlertLimits {
    pub(crate) webhooks_per_tenant: usize,
    /// Attempts before a delivery is given up.
    pub(crate) webhook_attempts: i32,
    pub(crate) webhook_allow_private: bool,
}

impl AlertLimits {
    pub(crate) fn new(config: &AlertsConfig, demo: bool) -> Self {
        let webhook = config.options(demo).webhook;
        Self {
            webhooks_per_tenant: config.webhooks_per_tenant,
            webhook_attempts: webhook.attempts,
            webhook_allow_private: webhook.allow_private,
        }
    }
}

/// What [`ApiState`] is made of beside what runs already.
pub(crate) struct ApiOptions<'c> {
    pub(crate) config: &'c HttpConfig,
    pub(crate) replay: ReplayRules,
    pub(crate) clock: Clock,
    /// In demo mode: the tenant of everybody.
    pub(crate) demo: Option<TenantId>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) store: Store,
    /// A standby of the database, for charts.
    pub(crate) standby: Option<Store>,
    pub(crate) posts: Posts,
    pub(crate) database: DatabaseState,
    pub(crate) key_uses: KeyUses,
    /// Ends what would not end by itself, such as pushes.
    pub(crate) stop: CancellationToken,
    pub(crate) alerts: AlertLimits,
}

impl ApiState {
    pub(crate) fn new(options: ApiOptions<'_>) -> Self {
        let ApiOptions {
            config,
            replay,
            clock,
            demo,
            readiness,
            metrics,
            store,
            standby,
            posts,
            database,
            key_uses,
            stop,
            alerts,
        } = options;
        let feeds = live::Feeds::new(live::FeedsOptions {
            store: store.clone(),
            clock,
            session_idle_minutes: i32::try_from(config.session_idle_minutes).unwrap_or(i32::MAX),
            max_watchers: config.live_max_watchers,
            stop,
        });
        let keys = Arc::new(KeyRing::new(store.clone(), demo, &config.rate_limit, key_uses));
        let charts = ChartReads::new(store.clone(), standby, clock, metrics.chart_reads.clone());
        let sessions = Arc::new(SessionRing::new(store.clone(), clock, demo.is_some(), config));
        Self {
            readiness,
            metrics,
            store,
            charts,
            posts,
            database,
            clock,
            keys,
            sessions,
            demo: demo.is_some(),
            limits: BodyLimits {
                body_max_bytes: config.body_max_bytes,
                import_max_bytes: config.import_max_bytes,
                import_within: sims::import_time(Duration::from_millis(config.request_timeout_ms)),
            },
            usage: Arc::new(UsageRules::new(config, replay.limits.clone())),
            replay: Arc::new(replay),
            feeds: Arc::new(feeds),
            answers: Arc::new(consumption::Answers::new(config.consumption_cache_max_bytes)),
            alerts,
        }
    }
}

/// Serves until `stop`; requests that run then may end.
pub(crate) async fn serve(
    listener: TcpListener,
    config: HttpConfig,
    state: ApiState,
    stop: CancellationToken,
) {
    let limits = server::ConnectionLimits {
        max_connections: config.max_connections,
        head_timeout: Duration::from_millis(config.head_timeout_ms),
    };
    server::serve(listener, router(&config, state), limits, stop).await;
}

fn router(config: &HttpConfig, state: ApiState) -> Router {
    let (routes, document) = openapi::documented().split_for_parts();
    let document = openapi::finish(document);
    let page = docs::page(&document);
    let routes = routes
        .merge(dashboard::routes())
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/statusz", get(status::statusz))
        .route("/metrics", get(metrics))
        .route("/docs", get(move || std::future::ready(docs::show(&page))))
        .route("/openapi.json", get(move || std::future::ready(openapi::show(&document))))
        .fallback(async || ApiError::NotFound("resource"))
        .layer(DefaultBodyLimit::max(config.body_max_bytes))
        .layer(RequestDecompressionLayer::new())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            Duration::from_millis(config.request_timeout_ms),
        ))
        .layer(middleware::from_fn_with_state(state.clone(), envelope::answer))
        .layer(CompressionLayer::new())
        .layer(cors(config, state.demo));
    #[cfg(feature = "opentelemetry")]
    let routes = traced::with_spans(routes, state.store.traces());
    routes.with_state(state)
}

/// Which pages of other origins may call the API (contract §3).
fn cors(config: &HttpConfig, demo: bool) -> CorsLayer {
    let all = demo || config.cors_origins.iter().any(|origin| origin == "*");
    let origins = || config.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let allowed = if all { AllowOrigin::any() } else { AllowOrigin::list(origins()) };
    let [request_id, api_key, limit, remaining, reset] = [
        envelope::X_REQUEST_ID,
        "x-api-key",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
    ]
    .map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ])
        .allow_headers([
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
            request_id.clone(),
            api_key,
            HeaderName::from_static("idempotency-key"),
        ])
        .expose_headers([request_id, limit, remaining, reset, header::RETRY_AFTER])
        .max_age(Duration::from_secs(3_600))
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    error!(panic = message, "a request ended in a panic");
    ApiError::Internal.into_response()
}

async fn metrics(State(state): State<ApiState>) -> Response {
    for (check, result) in state.readiness.checks().await {
        state.metrics.check(check, result.is_ok());
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], state.metrics.text()).into_response()
}
