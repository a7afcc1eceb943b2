use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::domain::moment::in_seconds;

use super::ApiState;
use super::health::Check;

/// Rollups are behind when a batch waits for longer (invariant I9).
const ROLLUP_LAG_MAX: Duration = Duration::from_secs(300);
/// A source is behind when a message waits for its commit for longer.
const SOURCE_LAG_MAX_SECONDS: f64 = 60.0;

/// What is well and what is not.
pub(super) struct Standing {
    pub(super) ready: bool,
    pub(super) problems: Vec<String>,
    pub(super) sources: Vec<SourceStatus>,
}

impl Standing {
    pub(super) fn word(&self) -> &'static str {
        if self.problems.is_empty() { "well" } else { "not well" }
    }
}

/// A source of records beside the embedded broker and HTTP
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SourceStatus {
    #[schema(example = "carrier")]
    name: String,
    /// `mqtt`: a broker of others; `openvpn`: a server whose clients are metered; `panel`: a remote panel; `radius`: accounting of
    /// others; `files`: a directory
    #[schema(example = "mqtt")]
    kind: &'static str,
    /// `connecting`, `subscribed` at a broker or `reading` what else is read, `waiting` to try again, or `stopped`
    #[schema(example = "subscribed")]
    state: &'static str,
    /// Since when it is subscribed or reads without a failure.
    working_since: Option<String>,
    last_message_at: Option<String>,
    received: u64,
    acknowledged: u64,
    unacknowledged: i64,
    oldest_unacknowledged_seconds: f64,
    reconnects: u64,
    failures: u64,
    last_error: Option<String>,
    /// Of a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<FilesStatus>,
}

/// Files of a directory, since the start of this instance
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FilesStatus {
    done: u64,
    failed: u64,
    waiting: i64,
    oldest_waiting_seconds: f64,
    rows_stored: u64,
    rows_duplicate: u64,
    rows_parked: u64,
    /// The file that this instance imports now.
    reading: Option<String>,
}

/// Looks at everything.
pub(super) async fn standing(state: &ApiState) -> Standing {
    let checks = state.readiness.checks().await;
    let lag = state.metrics.rollup.lag();
    let mut problems = not_ready(&checks);
    if lag > ROLLUP_LAG_MAX {
        problems.push(format!("rollups are {} s behind", lag.as_secs()));
    }
    let mut sources = Vec::new();
    for source in state.metrics.sources.snapshots() {
        let name = &source.name;
        if source.working_since.is_none() {
            let (error, working) =
                (source.last_error.as_deref().unwrap_or("no answer yet"), source.kind.working());
            problems.push(format!("source `{name}` is not {working}: {error}"));
        } else if source.oldest_unacknowledged_seconds > SOURCE_LAG_MAX_SECONDS {
            let lag = source.oldest_unacknowledged_seconds;
            problems.push(format!("source `{name}`: a message has waited for {lag:.0} s"));
        }
        sources.push(SourceStatus {
            kind: source.kind.as_str(),
            state: source.phase.as_str(source.kind),
            name: source.name,
            working_since: source.working_since.map(in_seconds),
            last_message_at: source.last_message_at.map(in_seconds),
            received: source.received,
            acknowledged: source.acknowledged,
            unacknowledged: source.unacknowledged,
            oldest_unacknowledged_seconds: source.oldest_unacknowledged_seconds,
            reconnects: source.reconnects,
            failures: source.failures,
            last_error: source.last_error,
            files: source.files.map(|files| FilesStatus {
                done: files.done,
                failed: files.failed,
                waiting: files.waiting,
                oldest_waiting_seconds: files.oldest_waiting_seconds,
                rows_stored: files.rows_stored,
                rows_duplicate: files.rows_duplicate,
                rows_parked: files.rows_parked,
                reading: files.reading,
            }),
        });
    }
    Standing { ready: checks.iter().all(|(_, result)| result.is_ok()), problems, sources }
}

/// How everything stands, for people and `simbridge status`. Like `/metrics` it needs no key: names and figures, no
/// addresses and no credentials. Always 200; `problems` says what is not well.
pub(super) async fn statusz(State(state): State<ApiState>) -> Json<Value> {
    let standing = standing(&state).await;
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "status": standing.word(),
        "problems": standing.problems,
        "ready": standing.ready,
        "queue": {"messages": state.metrics.queue_depth()},
        "broker": state.readiness.broker_wanted().then(|| json!({"connections": state.metrics.broker.open_connections()})),
        "rollup": {"lagSeconds": state.metrics.rollup.lag().as_secs_f64()},
        "sources": standing.sources,
    }))
}

fn not_ready(checks: &[Check]) -> Vec<String> {
    checks.iter().filter_map(|(name, result)| Some(format!("{name}: {}", result.err()?))).collect()
}
