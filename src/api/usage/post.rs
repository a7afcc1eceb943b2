use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::ApiState;
use crate::api::body::JsonBytes;
use crate::api::caller::{Allowed, Caller, WriteUsage};
use crate::api::error::ApiError;
use crate::api::idempotency::{IdempotencyHeader, IdempotencyKey};
use crate::domain::moment;
use crate::ingest::queue::RecordStatus;
use crate::payload::{self, Decoded};

use super::hand_over::{envelope, hand_over, refusal};
use super::schema::UsageRecordBody;

/// What became of a record.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Accepted {
    #[schema(example = "r-1")]
    record_id: String,
    status: Acceptance,
    /// When it was stored; of a duplicate, when the first one was.
    #[schema(example = "2026-11-21T02:00:01Z")]
    #[serde(serialize_with = "moment::to_the_second")]
    processed_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Acceptance {
    Accepted,
    Duplicate,
}

/// Stores one usage record
///
/// Answered after COMMIT. The same record may be sent any number of times: it counts once, and every answer is 202. After a
/// 503 send it again: a record that was taken over before the outage may be stored by then, and is a DUPLICATE.
#[utoipa::path(
    post, path = "/api/v1/usage", tag = "Ingestion",
    security(("bearer" = ["usage:write"]), ("apiKey" = ["usage:write"])),
    params(IdempotencyHeader),
    request_body = UsageRecordBody,
    responses(
        (status = 202, description = "Stored, now or before", body = Accepted,
         example = json!({"recordId": "r-1", "status": "ACCEPTED", "processedAt": "2026-11-21T02:00:01Z"})),
        (status = 409, description = "Another record with this ICCID and recordId was stored before (USAGE_RECORD_DUPLICATE); \
                                      this one is kept in the quarantine"),
        (status = 422, description = "The Idempotency-Key came with another request before"),
    ),
)]
pub(super) async fn post_usage(
    Allowed(caller, ..): Allowed<WriteUsage>,
    State(state): State<ApiState>,
    key: IdempotencyKey,
    JsonBytes(body): JsonBytes,
) -> Result<impl IntoResponse, ApiError> {
    let now = state.clock.now();
    check(&state, &caller, &body, now)?;
    key.claim(&state, &caller, &body).await?;
    let mut receipt = hand_over(&state, &caller, body, now).await?;
    let decided = receipt.records.pop().ok_or(ApiError::Internal)?;
    let (status, processed_at) = match decided.status {
        RecordStatus::Stored { processed_at } => (Acceptance::Accepted, processed_at),
        RecordStatus::Duplicate { processed_at } => (Acceptance::Duplicate, processed_at),
        RecordStatus::Parked(rejection) => return Err(refusal(&rejection)),
    };
    let record_id = decided.record_id.ok_or(ApiError::Internal)?;
    Ok((StatusCode::ACCEPTED, key, Json(Accepted { record_id, status, processed_at })))
}

/// A record that is no record is told to its sender, who is still there to mend it: it is not taken over, so it is neither
/// counted nor put into the quarantine, which is for what nobody else knows of. What only the database finds, such as a
/// conflict, is parked like everything that the pipeline has taken over.
fn check(state: &ApiState, caller: &Caller, body: &Bytes, now: DateTime<Utc>) -> Result<(), ApiError> {
    const ONE: &str = "must be one usage record; /api/v1/usage/batch takes many";
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(ApiError::invalid("", ONE));
    }
    let Decoded { batch_id, mut elements } =
        payload::decode(body, envelope(caller, now), &state.usage.payload);
    match elements.pop() {
        // The record is the whole body; one of a batch is a part of it.
        Some(one) if elements.is_empty() && batch_id.is_none() && one.raw.len() == body.len() => {
            one.result.map(drop).map_err(|bad| refusal(&bad.rejection))
        }
        _ => Err(ApiError::invalid("", ONE)),
    }
}
