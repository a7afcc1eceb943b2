//! Parked records: looked at, mended and replayed, or discarded.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tracing::info;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{Permission, RejectionCode, moment};
use crate::ingest::queue::{RecordReceipt, RecordStatus};
use crate::replay::{Replay, ReplayError};
use crate::store::quarantine::{QuarantineEntry, QuarantineFilter, QuarantineLine, Resolution};

use super::ApiState;
use super::body::JsonBody;
use super::caller::{Allowed, Caller, MendParked, ReadUsage};
use super::error::{ApiError, CONFLICT};
use super::query::Query;

/// Rows of a page, and how many there are without a word about it.
const PAGE_AT_MOST: i64 = 500;
const PAGE: i64 = 50;
/// Records of one reason that are counted; more are so many "or more".
const COUNT_AT_MOST: i64 = 10_000;
/// Code of a record that cannot be stored as it is.
const STILL_REFUSED: &str = "STILL_REFUSED";

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show, discard)).routes(routes!(replay))
}

/// A page of parked records.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ParkedPage {
    /// Of all that are parked, whatever the filters say; most first.
    reasons: Vec<ParkedReason>,
    records: Vec<ParkedRecord>,
    /// Gives the next page as `cursor`; `null` on the last one.
    #[schema(example = "4711")]
    next_cursor: Option<String>,
}

/// How many records are parked for a reason.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ParkedReason {
    #[schema(example = "invalid")]
    reason: String,
    /// Counted up to 10,000.
    #[schema(example = 12)]
    parked: i64,
    /// There may be more than `parked`.
    or_more: bool,
}

/// A parked record.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ParkedRecord {
    id: i64,
    /// `malformed`, `invalid`, `iccid_mismatch`, `conflict`, `not_permitted`, `bad_correction`, `too_old`, `too_many_records`,
    /// `unknown_account` or `refused_by_database`
    #[schema(example = "invalid")]
    reason: String,
    /// Every fault in words.
    #[schema(example = "usage.totalBytes: must not be negative")]
    problem: String,
    /// Null where the payload does not say.
    iccid: Option<String>,
    record_id: Option<String>,
    /// `mqtt`, `source`, `http` or `file`
    #[schema(example = "mqtt")]
    via: String,
    /// MQTT client id or name of the API key.
    sender: String,
    topic: String,
    payload_bytes: i64,
    #[serde(serialize_with = "moment::to_the_second")]
    first_seen_at: DateTime<Utc>,
    #[serde(serialize_with = "moment::to_the_second")]
    last_seen_at: DateTime<Utc>,
    /// The same fault sent again only counts up.
    #[schema(example = 1)]
    seen_count: i64,
    /// `parked`, `replayed` or `discarded`
    #[schema(example = "parked")]
    state: String,
    #[serde(serialize_with = "moment::if_any")]
    resolved_at: Option<DateTime<Utc>>,
}

/// A parked record with its payload.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ParkedPayload {
    #[serde(flatten)]
    record: ParkedRecord,
    /// As it was sent; null when it is no text.
    payload: Option<String>,
    /// The same in base64, when it is no text.
    payload_base64: Option<String>,
}

/// What to replay.
#[derive(Debug, Deserialize, ToSchema)]
struct Mended {
    /// In place of the payload that was sent; without it, that one is tried again.
    #[schema(nullable = false)]
    payload: Option<String>,
}

/// What came of a replay.
#[derive(Debug, Serialize, ToSchema)]
struct Replayed {
    id: i64,
    #[schema(example = "replayed")]
    state: &'static str,
    /// In the order of the payload.
    records: Vec<ReplayedRecord>,
}

/// A record of a replayed payload.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReplayedRecord {
    record_id: Option<String>,
    /// `ACCEPTED`, or `DUPLICATE` when it was stored before.
    #[schema(example = "ACCEPTED")]
    status: &'static str,
    #[serde(serialize_with = "moment::if_any")]
    processed_at: Option<DateTime<Utc>>,
}

/// Parked records, newest first
///
/// Records that could not be stored, each with its reason. The payload is in the single record.
#[utoipa::path(get, path = "/api/v1/quarantine", tag = "Quarantine", operation_id = "listQuarantine",
    security(("bearer" = ["usage:read"]), ("apiKey" = ["usage:read"])),
    params(
        ("state" = Option<String>, Query, description = "`parked` if left out, or `replayed`, `discarded`, `all`"),
        ("reason" = Option<String>, Query, description = "Of this reason, such as `invalid` or `conflict`"),
        ("iccid" = Option<String>, Query, description = "Of this SIM"),
        ("limit" = Option<i64>, Query, description = "Records of a page, from 1 to 500, 50 if left out"),
        ("cursor" = Option<String>, Query, description = "nextCursor of the page before")),
    responses((status = 200, description = "A page of parked records", body = ParkedPage)))]
async fn list(
    Allowed(caller, _): Allowed<ReadUsage>,
    State(state): State<ApiState>,
    mut query: Query,
) -> Result<Json<ParkedPage>, ApiError> {
    let states = [("parked", "parked"), ("replayed", "replayed"), ("discarded", "discarded"), ("all", "")];
    let of_state = query.choice("state", &states).unwrap_or("parked");
    let codes = RejectionCode::ALL.map(RejectionCode::as_str);
    let reason = query.choice("reason", &codes.map(|code| (code, code))).unwrap_or("").to_owned();
    let iccid = query.text("iccid").unwrap_or("").to_owned();
    let limit = query.number("limit", 1, PAGE_AT_MOST).unwrap_or(PAGE);
    let before = query.number("cursor", 1, i64::MAX);
    query.finish()?;
    let filter = QuarantineFilter { state: of_state, reason, iccid, before };
    let mut records = state.store.own_quarantine(caller.tenant, &filter, limit + 1).await?;
    let more = records.len() as i64 > limit;
    records.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_cursor = records.last().filter(|_| more).map(|last| last.id.to_string());
    let reasons = state.store.quarantine_reasons(caller.tenant, &codes, COUNT_AT_MOST).await?;
    let counted = |(reason, parked)| ParkedReason { reason, parked, or_more: parked >= COUNT_AT_MOST };
    Ok(Json(ParkedPage {
        reasons: reasons.into_iter().map(counted).collect(),
        records: records.into_iter().map(ParkedRecord::from).collect(),
        next_cursor,
    }))
}

/// A parked record with its payload
#[utoipa::path(get, path = "/api/v1/quarantine/{id}", tag = "Quarantine", operation_id = "showQuarantine",
    security(("bearer" = ["usage:read"]), ("apiKey" = ["usage:read"])),
    params(("id" = String, Path, description = "Of the list")),
    responses((status = 200, description = "The record and its payload", body = ParkedPayload)))]
async fn show(
    Allowed(caller, _): Allowed<ReadUsage>,
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Json<ParkedPayload>, ApiError> {
    let (line, entry) = find(&state, &caller, &id).await?;
    let payload = String::from_utf8(entry.payload.to_vec()).ok();
    let payload_base64 = payload.is_none().then(|| STANDARD.encode(&entry.payload));
    Ok(Json(ParkedPayload { record: line.into(), payload, payload_base64 }))
}

/// Decodes a parked record again and stores it
///
/// All records of the payload are stored or none. A record that still cannot be stored stays parked, and the answer says why; a correction
/// needs the permission `usage:correct` too.
#[utoipa::path(post, path = "/api/v1/quarantine/{id}/replay", tag = "Quarantine", operation_id = "replayQuarantine",
    security(("bearer" = ["admin:quarantine"]), ("apiKey" = ["admin:quarantine"])),
    params(("id" = String, Path, description = "Of the list")),
    request_body = Mended,
    responses((status = 200, description = "It is stored", body = Replayed),
              (status = 409, description = "It still cannot be stored (`STILL_REFUSED`, with the reason), or is not parked any more")))]
async fn replay(
    Allowed(caller, _): Allowed<MendParked>,
    State(state): State<ApiState>,
    Path(id): Path<String>,
    JsonBody(mended): JsonBody<Mended>,
) -> Result<Json<Replayed>, ApiError> {
    let (_, entry) = find(&state, &caller, &id).await?;
    let replay = Replay {
        store: &state.store,
        rules: &state.replay,
        clock: state.clock,
        allow_corrections: caller.may(Permission::UsageCorrect),
    };
    let edited = mended.payload.is_some();
    let receipts = replay.run(&entry, mended.payload.map(Bytes::from)).await.map_err(refused)?;
    info!(id = entry.id, edited, by = caller.name(), "a parked record was replayed");
    Ok(Json(Replayed {
        id: entry.id,
        state: "replayed",
        records: receipts.into_iter().map(ReplayedRecord::from).collect(),
    }))
}

/// Takes a parked record out of the list without storing it
///
/// It stays in the table, as discarded, for as long as the quarantine is kept.
#[utoipa::path(delete, path = "/api/v1/quarantine/{id}", tag = "Quarantine", operation_id = "discardQuarantine",
    security(("bearer" = ["admin:quarantine"]), ("apiKey" = ["admin:quarantine"])),
    params(("id" = String, Path, description = "Of the list")),
    responses((status = 204, description = "It is discarded"),
              (status = 409, description = "It is not parked any more")))]
async fn discard(
    Allowed(caller, _): Allowed<MendParked>,
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (_, entry) = find(&state, &caller, &id).await?;
    if !state.store.resolve_quarantine(entry.id, Resolution::Discarded).await? {
        return Err(refused(ReplayError::NotParked(entry.state)));
    }
    info!(id = entry.id, by = caller.name(), "a parked record was discarded");
    Ok(StatusCode::NO_CONTENT)
}

/// Of the caller's tenant: those of others are as unknown as those that never were.
async fn find(
    state: &ApiState,
    caller: &Caller,
    id: &str,
) -> Result<(QuarantineLine, QuarantineEntry), ApiError> {
    const NONE: ApiError = ApiError::NotFound("parked record");
    let id = id.parse().map_err(|_| NONE)?;
    state.store.own_quarantine_entry(caller.tenant, id).await?.ok_or(NONE)
}

fn refused(error: ReplayError) -> ApiError {
    match error {
        ReplayError::Store(error) => error.into(),
        ReplayError::NotParked(_) => ApiError::Conflict { code: CONFLICT, message: error.to_string() },
        ReplayError::StillRefused(_) => {
            ApiError::Conflict { code: STILL_REFUSED, message: error.to_string() }
        }
    }
}

impl From<QuarantineLine> for ParkedRecord {
    fn from(line: QuarantineLine) -> Self {
        Self {
            id: line.id,
            reason: line.reason,
            problem: line.detail,
            iccid: line.iccid,
            record_id: line.record_id,
            via: line.via,
            sender: line.sender,
            topic: line.topic,
            payload_bytes: line.payload_bytes,
            first_seen_at: line.first_seen_at,
            last_seen_at: line.last_seen_at,
            seen_count: line.seen_count,
            state: line.state,
            resolved_at: line.resolved_at,
        }
    }
}

impl From<RecordReceipt> for ReplayedRecord {
    fn from(receipt: RecordReceipt) -> Self {
        let (status, processed_at) = match receipt.status {
            RecordStatus::Stored { processed_at } => ("ACCEPTED", Some(processed_at)),
            RecordStatus::Duplicate { processed_at } => ("DUPLICATE", Some(processed_at)),
            // A replay parks nothing.
            RecordStatus::Parked(_) => ("REFUSED", None),
        };
        Self { record_id: receipt.record_id, status, processed_at }
    }
}
