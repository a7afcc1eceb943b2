use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use chrono::{DateTime, Datelike, Months, NaiveDate, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::api::ApiState;
use crate::api::body::JsonBytes;
use crate::api::caller::{Allowed, WriteUsage};
use crate::api::error::{ApiError, Fault};
use crate::api::exact::put_sum;
use crate::api::idempotency::{IdempotencyHeader, IdempotencyKey};
use crate::domain::{Iccid, TenantId};
use crate::store::cycle_resets::{ArchivedCycle, CycleReset, CycleResetOutcome};

/// So far ahead a cycle may begin that is to be the current one already.
const AHEAD_AT_MOST: TimeDelta = TimeDelta::days(31);
/// Longer than any two months; what is priced looks for the other days of its cycle within 70 (migration V6).
const CYCLE_AT_MOST: TimeDelta = TimeDelta::days(62);
/// The names of amounts, here and in `usage_cycles.final_usage`.
const AMOUNTS: [&str; 5] = ["dataUploadBytes", "dataDownloadBytes", "totalBytes", "smsCount", "voiceSeconds"];
/// The largest whole number that every JSON reader has.
const AMOUNT_AT_MOST: u64 = 1 << 53;

/// Which cycle is to be the current one
#[derive(ToSchema)]
#[schema(rename_all = "camelCase", title = "CycleReset", example = json!({
    "iccid": "8941000000000000001", "billingCycleId": "2026-12", "cycleStart": "2026-12-01T00:00:00Z",
    "cycleEnd": "2027-01-01T00:00:00Z"}))]
#[allow(dead_code, reason = "only described")]
struct CycleResetBody {
    #[schema(pattern = "^[0-9]{10,20}$")]
    iccid: String,
    /// The month in which the cycle starts.
    #[schema(pattern = "^20[0-9]{2}-(0[1-9]|1[0-2])$")]
    billing_cycle_id: String,
    cycle_start: DateTime<Utc>,
    /// First moment of the next cycle; not in the past, and at most 62 days after `cycleStart`.
    cycle_end: DateTime<Utc>,
    /// Amounts of the cycle that ends, where they are not to be those of its records.
    final_usage: Option<ArchivedUsage>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "only described")]
struct ArchivedUsage {
    #[schema(minimum = 0)]
    data_upload_bytes: Option<i64>,
    #[schema(minimum = 0)]
    data_download_bytes: Option<i64>,
    #[schema(minimum = 0)]
    total_bytes: Option<i64>,
    #[schema(minimum = 0)]
    sms_count: Option<i64>,
    #[schema(minimum = 0)]
    voice_seconds: Option<i64>,
}

/// The cycles before and after a reset
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "only described")]
struct CycleResetAnswer {
    iccid: String,
    /// Left out when there was none.
    previous_cycle: Option<PreviousCycle>,
    new_cycle: NewCycle,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "only described")]
struct PreviousCycle {
    id: String,
    /// `finalUsage` where it was stated, else the sum of the records. Beyond 2^53 also as text in a field …Exact.
    archived_usage: ArchivedUsage,
}

#[derive(ToSchema)]
#[allow(dead_code, reason = "only described")]
struct NewCycle {
    id: String,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

/// Ends the current billing cycle of a SIM
///
/// Archives the current cycle and makes the named one current. Its neighbours give or take time, so that there is neither gap
/// nor overlap, and records count in the cycle that holds their `periodStart` now. Repeated, it changes nothing and gives the
/// same answer.
#[utoipa::path(
    post, path = "/api/v1/usage/reset", tag = "Ingestion",
    security(("bearer" = ["usage:write"]), ("apiKey" = ["usage:write"])),
    params(IdempotencyHeader),
    request_body = CycleResetBody,
    responses(
        (status = 200, description = "The named cycle is the current one", body = CycleResetAnswer,
         example = json!({"iccid": "8941000000000000001",
                          "previousCycle": {"id": "2026-11", "archivedUsage": {"dataUploadBytes": 1_024, "dataDownloadBytes": 3_072,
                                            "totalBytes": 4_096, "smsCount": 0, "voiceSeconds": 0}},
                          "newCycle": {"id": "2026-12", "start": "2026-12-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}})),
        (status = 404, description = "No SIM of the tenant has this ICCID (SIM_NOT_FOUND)"),
        (status = 422, description = "The Idempotency-Key came with another request before"),
    ),
)]
pub(super) async fn reset_cycle(
    Allowed(caller, ..): Allowed<WriteUsage>,
    State(state): State<ApiState>,
    key: IdempotencyKey,
    JsonBytes(body): JsonBytes,
) -> Result<impl IntoResponse, ApiError> {
    let now = state.clock.now();
    let reset = read(&body, caller.tenant, now)?;
    key.claim(&state, &caller, &body).await?;
    match state.store.reset_cycle(&reset, now).await? {
        CycleResetOutcome::Done { former } => Ok((key, Json(answer(&reset, former)))),
        CycleResetOutcome::UnknownSim => Err(ApiError::SimNotFound),
        CycleResetOutcome::Refused(faults) => {
            let faults = faults.into_iter().map(|(field, message)| Fault::new(field, message));
            Err(ApiError::Validation(faults.collect()))
        }
    }
}

fn answer(reset: &CycleReset, former: Option<ArchivedCycle>) -> Value {
    let mut body = json!({
        "iccid": reset.iccid.as_str(),
        "newCycle": {"id": reset.cycle_id, "start": reset.starts, "end": reset.ends},
    });
    if let Some(former) = former {
        let sums = [
            &former.upload_bytes,
            &former.download_bytes,
            &former.total_bytes,
            &former.sms_count,
            &former.voice_seconds,
        ];
        let mut usage = Map::new();
        for (name, sum) in AMOUNTS.into_iter().zip(sums) {
            put_sum(&mut usage, name, "Exact", sum);
        }
        body["previousCycle"] = json!({"id": former.id, "archivedUsage": usage});
    }
    body
}

/// Fields of any kind, so that one of a wrong kind does not hide the faults of the others.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawReset {
    iccid: Value,
    billing_cycle_id: Value,
    cycle_start: Value,
    cycle_end: Value,
    final_usage: Value,
}

pub(super) fn read(body: &[u8], tenant: TenantId, now: DateTime<Utc>) -> Result<CycleReset, ApiError> {
    let object: Value =
        serde_json::from_slice(body).map_err(|error| ApiError::invalid("", format!("not JSON: {error}")))?;
    if !object.is_object() {
        return Err(ApiError::invalid("", "must be an object"));
    }
    let raw: RawReset =
        serde_json::from_value(object).map_err(|error| ApiError::invalid("", error.to_string()))?;
    let mut faults = Vec::new();
    let iccid = take(&mut faults, "iccid", "must be 10 to 20 digits", &raw.iccid, Iccid::parse);
    let form = "must be a month such as 2026-11";
    let month = take(&mut faults, "billingCycleId", form, &raw.billing_cycle_id, month);
    let starts = take_time(&mut faults, "cycleStart", &raw.cycle_start);
    let ends = take_time(&mut faults, "cycleEnd", &raw.cycle_end);
    let final_usage = take_amounts(&mut faults, &raw.final_usage);
    if let (Some(month), Some(starts)) = (month, starts) {
        faults.extend(start_fault(month, starts, now));
    }
    if let (Some(starts), Some(ends)) = (starts, ends) {
        faults.extend(end_fault(starts, ends));
    }
    match (iccid, month, starts, ends) {
        (Some(iccid), Some(month), Some(starts), Some(ends)) if faults.is_empty() => {
            let cycle_id = month.format("%Y-%m").to_string();
            Ok(CycleReset { tenant, iccid, cycle_id, starts, ends, final_usage })
        }
        _ => Err(ApiError::Validation(faults)),
    }
}

fn take<T>(
    faults: &mut Vec<Fault>,
    field: &'static str,
    form: &str,
    value: &Value,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let parsed = value.as_str().and_then(parse);
    if parsed.is_none() {
        faults.push(Fault::new(field, if value.is_null() { "is required" } else { form }));
    }
    parsed
}

fn take_time(faults: &mut Vec<Fault>, field: &'static str, value: &Value) -> Option<DateTime<Utc>> {
    let form = "must be an RFC 3339 time with a zone, such as 2026-11-21T10:00:00Z";
    take(faults, field, form, value, |text| {
        let time = DateTime::parse_from_rfc3339(text).ok()?;
        // To the microsecond, as PostgreSQL keeps it, and within its years.
        let time = DateTime::from_timestamp_micros(time.timestamp_micros())?;
        (1_970..=9_999).contains(&time.year()).then_some(time)
    })
}

/// The first day of `YYYY-MM`.
fn month(text: &str) -> Option<NaiveDate> {
    let form = text.len() == 7 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let date = form.then(|| format!("{text}-01").parse::<NaiveDate>().ok()).flatten()?;
    (1_970..=9_999).contains(&date.year()).then_some(date)
}

/// The id names the month in which the cycle starts in the tenant's time zone: a day off at most, seen from UTC.
fn start_fault(month: NaiveDate, starts: DateTime<Utc>, now: DateTime<Utc>) -> Option<Fault> {
    let next = month.checked_add_months(Months::new(1))?;
    let (from, to) = (month - TimeDelta::days(1), next + TimeDelta::days(1));
    if !(from..to).contains(&starts.date_naive()) {
        return Some(Fault::new("cycleStart", "must lie in the month that billingCycleId names"));
    }
    (starts - now > AHEAD_AT_MOST).then(|| Fault::new("cycleStart", "lies more than 31 days ahead of now"))
}

fn end_fault(starts: DateTime<Utc>, ends: DateTime<Utc>) -> Option<Fault> {
    if ends <= starts {
        return Some(Fault::new("cycleEnd", "must lie after cycleStart"));
    }
    (ends - starts > CYCLE_AT_MOST).then(|| Fault::new("cycleEnd", "lies more than 62 days after cycleStart"))
}

/// The amounts that are stated, if any are.
fn take_amounts(faults: &mut Vec<Fault>, value: &Value) -> Option<Value> {
    if value.is_null() {
        return None;
    }
    let Some(object) = value.as_object() else {
        faults.push(Fault::new("finalUsage", "must be an object"));
        return None;
    };
    let mut stated = Map::new();
    for name in AMOUNTS {
        match object.get(name).filter(|amount| !amount.is_null()) {
            None => {}
            Some(amount) if amount.as_u64().is_some_and(|amount| amount <= AMOUNT_AT_MOST) => {
                stated.insert(name.into(), amount.clone());
            }
            Some(_) => {
                let form = format!("must be a whole number from 0 to {AMOUNT_AT_MOST}");
                faults.push(Fault::new(format!("finalUsage.{name}"), form));
            }
        }
    }
    Some(Value::Object(stated))
}
