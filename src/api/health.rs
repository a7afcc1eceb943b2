use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::moment;
use crate::ingest::DatabaseState;
use crate::store::Store;

use super::ApiState;

/// Readiness must answer quickly, above all when the database does not.
const PATIENCE: Duration = Duration::from_secs(2);
/// What the database answered holds for so long: however many ask, it is asked once.
const HOLDS_FOR: Duration = Duration::from_millis(500);

/// What decides whether new traffic is welcome.
pub struct Readiness {
    store: Store,
    database: DatabaseState,
    /// False when the configuration switches it off.
    broker_wanted: bool,
    pub(crate) broker_runs: AtomicBool,
    pub(crate) stopping: AtomicBool,
    /// When the database was asked last, and what came of it.
    asked: Mutex<Option<(Instant, Result<(), &'static str>)>>,
}

impl Readiness {
    pub(crate) fn new(store: Store, database: DatabaseState, broker_wanted: bool) -> Self {
        let broker_runs = AtomicBool::new(broker_wanted);
        let (stopping, asked) = (AtomicBool::new(false), Mutex::default());
        Self { store, database, broker_wanted, broker_runs, stopping, asked }
    }

    /// Whether the configuration wants a broker, on whatever ports.
    pub(super) fn broker_wanted(&self) -> bool {
        self.broker_wanted
    }

    /// Traffic is welcome when all of them hold.
    pub(super) async fn checks(&self) -> [Check; 4] {
        let stopping = self.stopping.load(Ordering::Relaxed);
        let broker = !self.broker_wanted || self.broker_runs.load(Ordering::Relaxed);
        let holds = |holds: bool, problem| if holds { Ok(()) } else { Err(problem) };
        [
            ("broker", holds(broker, "the embedded broker does not run")),
            ("database", self.database_answers().await),
            // The program does not start with any other schema than its own.
            ("migrations", Ok(())),
            ("running", holds(!stopping, "the program is stopping")),
        ]
    }

    async fn database_answers(&self) -> Result<(), &'static str> {
        if !self.database.is_working() {
            return Err("batches cannot be committed; messages wait and are not acknowledged");
        }
        // Who comes while it is being asked waits for the same answer.
        let mut asked = self.asked.lock().await;
        if let Some((at, answer)) = *asked
            && at.elapsed() < HOLDS_FOR
        {
            return answer;
        }
        let answer = match tokio::time::timeout(PATIENCE, self.store.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("the database does not answer"),
            Err(_) => Err("the database does not answer in time"),
        };
        *asked = Some((Instant::now(), answer));
        answer
    }
}

/// A check by its name, with what is wrong.
pub(super) type Check = (&'static str, Result<(), &'static str>);

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(api_health)).routes(routes!(health))
}

/// Whether usage can be stored and read
#[derive(Serialize, ToSchema)]
struct ApiHealth {
    /// `healthy` or `unhealthy`
    #[schema(example = "healthy")]
    status: &'static str,
    #[serde(serialize_with = "moment::to_the_second")]
    timestamp: DateTime<Utc>,
}

/// Whether the database answers
#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok` or `error`
    #[schema(example = "ok")]
    status: &'static str,
    /// `connected` or `disconnected`
    #[schema(example = "connected")]
    database: &'static str,
}

/// Tells whether usage can be stored and read
///
/// Needs no key. For a load balancer `/readyz` is better: it also says when the program is stopping.
#[utoipa::path(
    get, path = "/api/v1/health", tag = "Health",
    responses(
        (status = 200, description = "It can", body = ApiHealth,
         example = json!({"status": "healthy", "timestamp": "2026-11-21T02:00:01Z"})),
        (status = 503, description = "The database does not answer", body = ApiHealth,
         example = json!({"status": "unhealthy", "timestamp": "2026-11-21T02:00:01Z"})),
    ),
)]
async fn api_health(State(state): State<ApiState>) -> (StatusCode, Json<ApiHealth>) {
    let (code, status) = match state.readiness.database_answers().await {
        Ok(()) => (StatusCode::OK, "healthy"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
    };
    (code, Json(ApiHealth { status, timestamp: state.clock.now() }))
}

/// Tells whether the database answers
///
/// Needs no key.
#[utoipa::path(
    get, path = "/api/health", tag = "Health",
    responses(
        (status = 200, description = "It does", body = Health,
         example = json!({"status": "ok", "database": "connected"})),
        (status = 500, description = "It does not", body = Health,
         example = json!({"status": "error", "database": "disconnected"})),
    ),
)]
async fn health(State(state): State<ApiState>) -> (StatusCode, Json<Health>) {
    match state.readiness.database_answers().await {
        Ok(()) => (StatusCode::OK, Json(Health { status: "ok", database: "connected" })),
        Err(_) => {
            let body = Health { status: "error", database: "disconnected" };
            (StatusCode::INTERNAL_SERVER_ERROR, Json(body))
        }
    }
}

/// The process lives and serves requests; says nothing about what it depends on.
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// 200 when new traffic is welcome, else 503; each check by its name.
pub(super) async fn readyz(State(state): State<ApiState>) -> (StatusCode, Json<Value>) {
    let checks = state.readiness.checks().await;
    let ready = checks.iter().all(|(_, result)| result.is_ok());
    let body = json!({
        "status": if ready { "ready" } else { "not ready" },
        "checks": checks.into_iter().map(|(name, result)| (name.to_owned(), shown(result))).collect::<Map<_, _>>(),
    });
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

fn shown(result: Result<(), &'static str>) -> Value {
    match result {
        Ok(()) => json!({"ok": true}),
        Err(problem) => json!({"ok": false, "problem": problem}),
    }
}
