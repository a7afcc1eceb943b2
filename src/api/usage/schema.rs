//! Bodies as the document describes them. They are read field by field by `payload`, so that all faults of a record are told
//! at once.
#![allow(dead_code, reason = "only described")]

use chrono::{DateTime, Utc};
use utoipa::ToSchema;

/// A usage record: `usage`, or cumulative `counters` instead
#[derive(ToSchema)]
#[schema(rename_all = "camelCase", title = "UsageRecord", example = json!({
    "recordId": "r-1", "iccid": "8941000000000000001", "periodStart": "2026-11-21T01:00:00Z",
    "periodEnd": "2026-11-21T02:00:00Z", "usage": {"totalBytes": 4096, "dataUploadBytes": 1024, "dataDownloadBytes": 3072}}))]
pub(super) struct UsageRecordBody {
    /// With the ICCID it identifies the record.
    #[schema(min_length = 1, max_length = 100)]
    record_id: String,
    #[schema(pattern = "^[0-9]{10,20}$")]
    iccid: String,
    period_start: DateTime<Utc>,
    /// Not before `periodStart`, and at most 31 days after it.
    period_end: DateTime<Utc>,
    usage: Option<UsageAmounts>,
    counters: Option<UsageCounters>,
    #[schema(min_length = 1, max_length = 100)]
    source: Option<String>,
    /// Serving network.
    #[schema(pattern = "^[0-9]{5,6}$")]
    mccmnc: Option<String>,
    /// `recordId` of the record that this one corrects; needs `usage:correct`. Only then amounts may be negative.
    #[schema(min_length = 1, max_length = 100)]
    corrects: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct UsageAmounts {
    /// Required unless both parts are given, or messages or calls alone are meant.
    #[schema(maximum = 35184372088832i64)]
    total_bytes: Option<i64>,
    #[schema(maximum = 35184372088832i64)]
    data_upload_bytes: Option<i64>,
    #[schema(maximum = 35184372088832i64)]
    data_download_bytes: Option<i64>,
    #[schema(maximum = 35184372088832i64)]
    sms_count: Option<i64>,
    #[schema(maximum = 35184372088832i64)]
    voice_seconds: Option<i64>,
}

/// Readings since the session began
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct UsageCounters {
    #[schema(min_length = 1, max_length = 100)]
    session_id: String,
    #[schema(minimum = 0, maximum = 35184372088832i64)]
    upload_bytes: i64,
    #[schema(minimum = 0, maximum = 35184372088832i64)]
    download_bytes: i64,
}

/// Usage records that are sent together
#[derive(ToSchema)]
#[schema(rename_all = "camelCase", title = "UsageBatch", example = json!({
    "batchId": "b-1", "records": [{"recordId": "r-1", "iccid": "8941000000000000001", "periodStart": "2026-11-21T01:00:00Z",
    "periodEnd": "2026-11-21T02:00:00Z", "usage": {"totalBytes": 4096}}]}))]
pub(super) struct UsageBatchBody {
    #[schema(min_length = 1, max_length = 100)]
    batch_id: String,
    /// Of records that state none.
    #[schema(min_length = 1, max_length = 100)]
    source: Option<String>,
    /// Each as the body of `POST /api/v1/usage`. One at fault, whatever it is, is told in `errors`; the others are stored.
    #[schema(min_items = 1, max_items = 1000)]
    records: Vec<serde_json::Value>,
}
