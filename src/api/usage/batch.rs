use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::ApiState;
use crate::api::body::JsonBytes;
use crate::api::caller::{Allowed, WriteUsageBatch};
use crate::api::error::ApiError;
use crate::api::idempotency::{IdempotencyHeader, IdempotencyKey};
use crate::domain::moment;
use crate::ingest::queue::{Receipt, RecordStatus};
use crate::payload;

use super::hand_over::{hand_over, in_words, refusal};
use super::schema::UsageBatchBody;

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchAnswer {
    #[schema(example = "b-1")]
    batch_id: String,
    records_received: usize,
    /// Stored now or before.
    records_processed: usize,
    records_failed: usize,
    /// Every record that failed, in the order of the batch; left out when none did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<RecordError>,
    #[schema(example = "2026-11-21T02:00:01Z")]
    #[serde(serialize_with = "moment::to_the_second")]
    processed_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RecordError {
    /// Null when the record does not say.
    record_id: Option<String>,
    error: String,
}

/// Stores up to 1000 usage records
///
/// Each record on its own: good ones are stored, bad ones are listed and kept in the quarantine. Duplicates, of stored records
/// or within the batch, count as processed. Answered after COMMIT; after a 503 send the batch again.
#[utoipa::path(
    post, path = "/api/v1/usage/batch", tag = "Ingestion",
    security(("bearer" = ["usage:write"]), ("apiKey" = ["usage:write"])),
    params(IdempotencyHeader),
    request_body = UsageBatchBody,
    responses(
        (status = 202, description = "Every record was judged on its own", body = BatchAnswer,
         example = json!({"batchId": "b-1", "recordsReceived": 3, "recordsProcessed": 2, "recordsFailed": 1,
                          "errors": [{"recordId": "r-2", "error": "usage.totalBytes: must not be negative"}],
                          "processedAt": "2026-11-21T02:00:01Z"})),
        (status = 422, description = "The Idempotency-Key came with another request before"),
    ),
)]
pub(super) async fn post_batch(
    Allowed(caller, ..): Allowed<WriteUsageBatch>,
    State(state): State<ApiState>,
    key: IdempotencyKey,
    JsonBytes(body): JsonBytes,
) -> Result<impl IntoResponse, ApiError> {
    payload::check_batch(&body, &state.usage.payload).map_err(|rejection| refusal(&rejection))?;
    key.claim(&state, &caller, &body).await?;
    let receipt = hand_over(&state, &caller, body, state.clock.now()).await?;
    Ok((StatusCode::ACCEPTED, key, Json(answer(receipt, state.clock.now()))))
}

fn answer(receipt: Receipt, processed_at: DateTime<Utc>) -> BatchAnswer {
    let records_received = receipt.records.len();
    let failed = receipt.records.into_iter().filter_map(|record| match record.status {
        RecordStatus::Stored { .. } | RecordStatus::Duplicate { .. } => None,
        RecordStatus::Parked(rejection) => {
            Some(RecordError { record_id: record.record_id, error: in_words(&rejection) })
        }
    });
    let errors: Vec<RecordError> = failed.collect();
    BatchAnswer {
        batch_id: receipt.batch_id.unwrap_or_default(),
        records_received,
        records_processed: records_received - errors.len(),
        records_failed: errors.len(),
        errors,
        processed_at,
    }
}
