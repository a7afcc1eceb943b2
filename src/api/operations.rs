//! How this instance runs, for the page of operations.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::moment;

use super::ApiState;
use super::caller::{Allowed, ReadUsage};
use super::status::{self, SourceStatus};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(show))
}

/// How this instance runs
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Operations {
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// When this was looked at.
    #[serde(serialize_with = "moment::to_the_second")]
    observed_at: DateTime<Utc>,
    /// `well` or `not well`
    #[schema(example = "well")]
    status: &'static str,
    /// What is not well, in words.
    problems: Vec<String>,
    ingest: IngestStatus,
    /// BEGIN to COMMIT of a batch; null when there was none lately.
    commit: Option<Latency>,
    /// A PUBLISH with usage to its acknowledgement; null when there was none lately.
    puback: Option<Latency>,
    queue: QueueStatus,
    rollup: RollupStatus,
    /// Null without the embedded broker.
    broker: Option<BrokerStatus>,
    /// In the order of the configuration.
    sources: Vec<SourceStatus>,
    reconcile: ReconcileStatus,
    partitions: PartitionStatus,
}

/// Records since the start of this instance; received = stored + duplicate + parked + inFlight
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct IngestStatus {
    /// Committed in a second, over the last 10 to 20 seconds.
    #[schema(example = 199.8)]
    records_per_second: f64,
    received: u64,
    stored: u64,
    duplicate: u64,
    parked: u64,
    in_flight: u64,
}

/// Quantiles over the last 10 to 20 seconds
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Latency {
    #[schema(example = 4.1)]
    p50_milliseconds: f64,
    #[schema(example = 12.7)]
    p99_milliseconds: f64,
}

/// Messages that wait for a writer
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct QueueStatus {
    messages: usize,
    max_messages: usize,
}

/// What no chart shows yet
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RollupStatus {
    /// Age of the oldest batch that waits.
    lag_seconds: f64,
    pending_records: i64,
    pending_batches: i64,
}

/// Connections to the embedded broker
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BrokerStatus {
    connections: i64,
    /// Not read because too much of theirs waits for the database.
    paused: i64,
}

/// The invariants, as last checked in the background
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReconcileStatus {
    /// Passes over everything since the start.
    passes: u64,
    /// When the last one ended; null before the first.
    #[serde(serialize_with = "moment::if_any")]
    last_pass_at: Option<DateTime<Utc>>,
    /// Each invariant that was looked at.
    invariants: Vec<InvariantStatus>,
}

/// An invariant
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct InvariantStatus {
    #[schema(example = "I1")]
    name: &'static str,
    violations: i64,
}

/// Partitions of raw records
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PartitionStatus {
    /// Days ahead for which there are some.
    #[schema(example = 71.0)]
    runway_days: f64,
}

/// Shows how this instance runs
///
/// Of all tenants together, as `/metrics` and `/statusz`: names and figures, no addresses and no credentials.
#[utoipa::path(get, path = "/api/v1/operations", tag = "Operations", operation_id = "showOperations",
    security(("bearer" = ["usage:read"]), ("apiKey" = ["usage:read"])),
    responses((status = 200, description = "Figures of this moment", body = Operations)))]
async fn show(_caller: Allowed<ReadUsage>, State(state): State<ApiState>) -> Json<Operations> {
    let metrics = &state.metrics;
    let standing = status::standing(&state).await;
    let balance = metrics.ingest.balance();
    let (pending_records, pending_batches) = metrics.rollup.pending();
    let quantiles = [0.5, 0.99];
    let invariants = metrics.reconcile.found().into_iter();
    let last_pass_at = metrics.reconcile.last_pass().and_then(|at| DateTime::from_timestamp(at, 0));
    Json(Operations {
        version: env!("CARGO_PKG_VERSION"),
        observed_at: state.clock.now(),
        status: standing.word(),
        problems: standing.problems,
        ingest: IngestStatus {
            records_per_second: tenths(metrics.ingest.records_per_second()),
            received: balance.received,
            stored: balance.stored,
            duplicate: balance.duplicate,
            parked: balance.parked,
            in_flight: balance.in_flight,
        },
        commit: metrics.ingest.commit_quantiles(quantiles).map(Latency::new),
        puback: metrics.broker.puback_quantiles(quantiles).map(Latency::new),
        queue: QueueStatus { messages: metrics.queue_depth(), max_messages: metrics.queue_room() },
        rollup: RollupStatus {
            lag_seconds: tenths(metrics.rollup.lag().as_secs_f64()),
            pending_records,
            pending_batches,
        },
        broker: state.readiness.broker_wanted().then(|| BrokerStatus {
            connections: metrics.broker.open_connections(),
            paused: metrics.broker.paused_readers(),
        }),
        sources: standing.sources,
        reconcile: ReconcileStatus {
            passes: metrics.reconcile.passes(),
            last_pass_at,
            invariants: invariants.map(|(name, violations)| InvariantStatus { name, violations }).collect(),
        },
        partitions: PartitionStatus { runway_days: metrics.upkeep.runway_days() },
    })
}

impl Latency {
    fn new([p50, p99]: [Duration; 2]) -> Self {
        let milliseconds = |time: Duration| (time.as_secs_f64() * 100_000.0).round() / 100.0;
        Self { p50_milliseconds: milliseconds(p50), p99_milliseconds: milliseconds(p99) }
    }
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
