//! Raw records of a SIM.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::moment;
use crate::store::sim_usage::{RecordPlace, StoredRecord};

use super::super::ApiState;
use super::super::caller::{Allowed, ReadUsage};
use super::super::error::ApiError;
use super::super::query::Query;
use super::{SimId, cursor};

const DEFAULT_LIMIT: i64 = 100;
const LIMIT_AT_MOST: i64 = 1_000;

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecordPage {
    #[schema(example = "sim_0f1e2d3c4b5a69788796a5b4")]
    sim_id: String,
    #[schema(example = "8941000000000000009")]
    iccid: String,
    /// Newest `periodStart` first.
    records: Vec<Record>,
    /// Null after the last page.
    next_cursor: Option<String>,
}

/// As it was sent, with what became of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    #[schema(example = "r-1")]
    record_id: String,
    period_start: DateTime<Utc>,
    period_end: DateTime<Utc>,
    usage: RecordUsage,
    source: Option<String>,
    #[schema(example = "22801")]
    mccmnc: Option<String>,
    /// The `recordId` that this one corrects by its signed amounts.
    corrects: Option<String>,
    batch_id: Option<String>,
    #[schema(example = "2026-11")]
    billing_cycle_id: Option<String>,
    #[schema(example = "PROCESSED")]
    status: String,
    #[serde(serialize_with = "moment::to_the_second")]
    processed_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecordUsage {
    #[schema(example = 4096)]
    total_bytes: i64,
    #[schema(example = 1024)]
    data_upload_bytes: i64,
    #[schema(example = 3072)]
    data_download_bytes: i64,
    sms_count: i64,
    voice_seconds: i64,
}

impl From<StoredRecord> for Record {
    fn from(held: StoredRecord) -> Self {
        Self {
            record_id: held.record_id,
            period_start: held.period_start,
            period_end: held.period_end,
            usage: RecordUsage {
                total_bytes: held.total,
                data_upload_bytes: held.upload,
                data_download_bytes: held.download,
                sms_count: held.sms,
                voice_seconds: held.voice,
            },
            source: held.source,
            mccmnc: held.mccmnc,
            corrects: held.corrects,
            batch_id: held.batch_id,
            billing_cycle_id: held.cycle_id,
            status: held.status,
            processed_at: held.processed_at,
        }
    }
}

/// Records of a SIM, newest first, page by page; a page shows nothing twice and leaves nothing out, whatever comes in meanwhile
#[utoipa::path(get, path = "/api/v1/sims/{id}/usage/records", tag = "SIMs", security(("bearer" = ["usage:read"]), ("apiKey" = ["usage:read"])),
    params(("id" = String, Path, description = "simId or ICCID"),
           ("limit" = Option<i64>, Query, minimum = 1, maximum = 1_000, description = "Records at most, 100 by default"),
           ("cursor" = Option<String>, Query, description = "nextCursor of the page before")),
    responses((status = 200, body = RecordPage, description = "Records whose raw form is still kept")))]
pub(super) async fn list(
    Allowed(caller, ..): Allowed<ReadUsage>,
    SimId(id): SimId,
    State(state): State<ApiState>,
    mut query: Query,
) -> Result<Json<RecordPage>, ApiError> {
    let limit = query.number("limit", 1, LIMIT_AT_MOST).unwrap_or(DEFAULT_LIMIT);
    let after = query.text("cursor").map(cursor::record);
    if after == Some(None) {
        query.fault("cursor", cursor::FAULT);
    }
    query.finish()?;
    let after = after.flatten().unwrap_or(RecordPlace::NEWEST);
    let sim = state.store.sim(caller.tenant, &id).await?.ok_or(ApiError::SimNotFound)?;
    let mut held = state.store.sim_usage_records(caller.tenant, &sim.iccid, after, limit + 1).await?;
    let more = held.len() as i64 > limit;
    held.truncate(limit as usize);
    let next = held.last().filter(|_| more);
    let next_cursor =
        next.map(|last| cursor::of_record(RecordPlace { period_start: last.period_start, id: last.id }));
    let records = held.into_iter().map(Record::from).collect();
    Ok(Json(RecordPage { sim_id: sim.sim_id, iccid: sim.iccid, records, next_cursor }))
}
