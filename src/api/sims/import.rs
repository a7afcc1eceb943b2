//! Files of SIMs: read, checked and stored chunk by chunk while they arrive.

mod rows;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use crate::domain::TenantId;
use crate::inventory::RowFault;
use crate::store::sims::SimRow;

use super::super::ApiState;
use super::super::caller::{Allowed, WriteSims};
use super::super::error::ApiError;
use super::resource::IN_USE;
use rows::{BodyReader, Chunk, Format, Unreadable};

/// Rows at fault that are listed; all are counted.
const ERRORS_AT_MOST: usize = 10_000;
/// Chunks that wait for the database while the next one is read.
const CHUNKS_AHEAD: usize = 2;

/// What became of a file.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImportReport {
    #[schema(example = 3)]
    rows_received: u64,
    #[schema(example = 1)]
    created: u64,
    /// SIMs that were there already, or stood in the file before.
    #[schema(example = 1)]
    updated: u64,
    #[schema(example = 1)]
    failed: u64,
    /// Records that came before their SIM and count now.
    records_attached: u64,
    /// The first 10,000 rows at fault.
    errors: Vec<RowError>,
    /// False when the time of a request was over: send the lines after `lastLine` again.
    #[schema(example = true)]
    complete: bool,
    /// Up to here rows were stored or are listed as errors.
    #[schema(example = 4)]
    last_line: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RowError {
    #[schema(example = 3)]
    line: u64,
    #[schema(example = "iccid must be 10 to 20 digits")]
    error: String,
}

/// Add or change SIMs from a file; rows at fault are listed, the others count
///
/// CSV with a header of snake_case or camelCase names, or one JSON object a line. What is missing, empty or null leaves what
/// is stored. A file that is too large, or breaks off, may have been stored in part: it can be sent again.
#[utoipa::path(post, path = "/api/v1/sims/import", tag = "SIMs", security(("bearer" = ["sims:write"]), ("apiKey" = ["sims:write"])),
    request_body(content((String = "text/csv"), (String = "application/x-ndjson"))),
    responses((status = 200, body = ImportReport, description = "The file was read")))]
pub(super) async fn import(
    Allowed(caller, ..): Allowed<WriteSims>,
    State(state): State<ApiState>,
    request: Request,
) -> Result<Json<ImportReport>, ApiError> {
    let deadline = Instant::now() + state.limits.import_within;
    let format = format(request.headers()).ok_or(ApiError::FileType)?;
    let max_bytes = state.limits.import_max_bytes;
    // Before anything is stored, where the client says it.
    if declared_length(request.headers()).is_some_and(|length| length > max_bytes) {
        return Err(ApiError::TooLarge { max_bytes });
    }
    let currency = state.store.tenant_currency(caller.tenant).await?.unwrap_or_default();
    let (chunks, mut received) = mpsc::channel(CHUNKS_AHEAD);
    let body = BodyReader::new(request.into_body(), max_bytes);
    // Ends with the body, or when nobody takes its chunks any more.
    let reading = tokio::task::spawn_blocking(move || rows::read(format, body, &currency, &chunks));
    let mut report = ImportReport { complete: true, ..ImportReport::default() };
    loop {
        match timeout_at(deadline, received.recv()).await {
            Ok(Some(chunk)) => store(&state, caller.tenant, chunk, &mut report).await?,
            Ok(None) => break,
            Err(_) => {
                report.complete = false;
                return Ok(Json(report));
            }
        }
    }
    match reading.await {
        Ok(Ok(())) => Ok(Json(report)),
        Ok(Err(Unreadable::TooLarge)) => Err(ApiError::TooLarge { max_bytes }),
        Ok(Err(Unreadable::File(why))) => Err(ApiError::invalid("", why)),
        Err(_) => Err(ApiError::Internal),
    }
}

fn format(headers: &HeaderMap) -> Option<Format> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    match kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase().as_str() {
        "text/csv" => Some(Format::Csv),
        "application/x-ndjson" | "application/ndjson" => Some(Format::Ndjson),
        _ => None,
    }
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn store(
    state: &ApiState,
    tenant: TenantId,
    chunk: Chunk,
    report: &mut ImportReport,
) -> Result<(), ApiError> {
    let Chunk { rows, mut faults, repeated, last_line } = chunk;
    let (lines, rows): (Vec<u64>, Vec<SimRow>) = rows.into_iter().unzip();
    report.rows_received += (rows.len() + faults.len()) as u64 + repeated;
    if !rows.is_empty() {
        let now = state.clock.now();
        let (imported, foreign) = state.store.import_own_sims(tenant, &rows, now).await?;
        report.created += imported.created;
        report.updated += imported.updated + repeated;
        report.records_attached += imported.stamped;
        for iccid in foreign {
            let at = rows.iter().position(|row| row.iccid == iccid);
            let line = at.map_or(0, |at| lines[at]);
            faults.push(RowFault { line, problem: IN_USE.into() });
        }
        faults.sort_by_key(|fault| fault.line);
    }
    report.failed += faults.len() as u64;
    report.last_line = last_line;
    let room = ERRORS_AT_MOST - report.errors.len();
    let errors =
        faults.into_iter().take(room).map(|fault| RowError { line: fault.line, error: fault.problem });
    report.errors.extend(errors);
    Ok(())
}
