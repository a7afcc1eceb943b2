use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::ingest::DatabaseState;
use crate::store::Store;

use super::ApiState;

/// Readiness must answer quickly, above all when the database does not.
const PATIENCE: Duration = Duration::from_secs(2);

/// What decides whether new traffic is welcome.
pub struct Readiness {
    store: Store,
    database: DatabaseState,
    /// False when the configuration switches it off.
    broker_wanted: bool,
    pub(crate) broker_runs: AtomicBool,
    pub(crate) stopping: AtomicBool,
}

impl Readiness {
    pub(crate) fn new(store: Store, database: DatabaseState, broker_wanted: bool) -> Self {
        let broker_runs = AtomicBool::new(broker_wanted);
        Self { store, database, broker_wanted, broker_runs, stopping: AtomicBool::new(false) }
    }

    async fn database_answers(&self) -> Result<(), &'static str> {
        if !self.database.is_working() {
            return Err("batches cannot be committed; messages wait and are not acknowledged");
        }
        match tokio::time::timeout(PATIENCE, self.store.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("the database does not answer"),
            Err(_) => Err("the database does not answer in time"),
        }
    }
}

/// The process lives and serves requests; says nothing about what it depends on.
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// 200 when new traffic is welcome, else 503; each check by its name.
pub(super) async fn readyz(State(state): State<ApiState>) -> (StatusCode, Json<Value>) {
    let readiness = &state.readiness;
    let stopping = readiness.stopping.load(Ordering::Relaxed);
    let broker = !readiness.broker_wanted || readiness.broker_runs.load(Ordering::Relaxed);
    let database = readiness.database_answers().await;
    let ready = !stopping && broker && database.is_ok();
    let check = |result: Result<(), &str>| match result {
        Ok(()) => json!({"ok": true}),
        Err(problem) => json!({"ok": false, "problem": problem}),
    };
    let body = json!({
        "status": if ready { "ready" } else { "not ready" },
        "checks": {
            "broker": check(if broker { Ok(()) } else { Err("the embedded broker does not run") }),
            "database": check(database),
            // The program does not start with any other schema than its own.
            "migrations": check(Ok(())),
            "running": check(if stopping { Err("the program is stopping") } else { Ok(()) }),
        },
    });
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}
