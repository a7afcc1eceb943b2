use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::domain::moment::in_seconds;

use super::ApiState;
use super::health::Check;

/// Rollups are behind when a batch waits for longer (invariant I9).
const ROLLUP_LAG_MAX: Duration = Duration::from_secs(300);
/// A source is behind when a message waits for its commit for longer.
const SOURCE_LAG_MAX_SECONDS: f64 = 60.0;

/// How everything stands, for people and `simbridge status`. Like `/metrics` it needs no key: names and figures, no
/// addresses and no credentials. Always 200; `problems` says what is not well.
pub(super) async fn statusz(State(state): State<ApiState>) -> Json<Value> {
    let checks = state.readiness.checks().await;
    let lag = state.metrics.rollup.lag();
    let mut problems = not_ready(&checks);
    if lag > ROLLUP_LAG_MAX {
        problems.push(format!("rollups are {} s behind", lag.as_secs()));
    }
    let mut sources = Vec::new();
    for source in state.metrics.sources.snapshots() {
        let (name, phase) = (&source.name, source.phase.as_str());
        if source.subscribed_since.is_none() {
            let error = source.last_error.as_deref().unwrap_or("no answer yet");
            problems.push(format!("source `{name}` is not subscribed: {error}"));
        } else if source.oldest_unacknowledged_seconds > SOURCE_LAG_MAX_SECONDS {
            let lag = source.oldest_unacknowledged_seconds;
            problems.push(format!("source `{name}`: a message has waited for {lag:.0} s"));
        }
        sources.push(json!({
            "name": name,
            "state": phase,
            "subscribedSince": source.subscribed_since.map(in_seconds),
            "lastMessageAt": source.last_message_at.map(in_seconds),
            "received": source.received,
            "acknowledged": source.acknowledged,
            "unacknowledged": source.unacknowledged,
            "oldestUnacknowledgedSeconds": source.oldest_unacknowledged_seconds,
            "reconnects": source.reconnects,
            "failures": source.failures,
            "lastError": source.last_error,
        }));
    }
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "status": if problems.is_empty() { "well" } else { "not well" },
        "problems": problems,
        "ready": checks.iter().all(|(_, result)| result.is_ok()),
        "queue": {"messages": state.metrics.queue_depth()},
        "broker": state.readiness.broker_wanted().then(|| json!({"connections": state.metrics.broker.open_connections()})),
        "rollup": {"lagSeconds": lag.as_secs_f64()},
        "sources": sources,
    }))
}

fn not_ready(checks: &[Check]) -> Vec<String> {
    checks.iter().filter_map(|(name, result)| Some(format!("{name}: {}", result.err()?))).collect()
}
