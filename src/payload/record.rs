//! One usage record.

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::{
    Amounts, CounterPlace, CounterSample, FieldFault, Iccid, MAX_AMOUNT, RecordKey, Rejection, RejectionCode,
    Usage, UsageRecord,
};

use super::fields::{amount, fault, text, time};
use super::{BadRecord, Envelope, PayloadLimits, malformed, syntax};

/// Longest period of one record.
const MAX_PERIOD: TimeDelta = TimeDelta::days(31);

/// What surrounds a record.
#[derive(Clone, Copy)]
pub(super) struct RecordContext<'m> {
    pub(super) envelope: Envelope<'m>,
    pub(super) limits: &'m PayloadLimits,
    pub(super) batch_id: Option<&'m str>,
    /// `source` of the batch; a record's own goes before it.
    pub(super) source: Option<&'m str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawRecord<'p> {
    #[serde(borrow)]
    record_id: Option<&'p RawValue>,
    #[serde(borrow)]
    iccid: Option<&'p RawValue>,
    #[serde(borrow)]
    period_start: Option<&'p RawValue>,
    #[serde(borrow)]
    period_end: Option<&'p RawValue>,
    #[serde(borrow)]
    usage: Option<&'p RawValue>,
    #[serde(borrow)]
    counters: Option<&'p RawValue>,
    #[serde(borrow)]
    source: Option<&'p RawValue>,
    #[serde(borrow)]
    mccmnc: Option<&'p RawValue>,
    #[serde(borrow)]
    corrects: Option<&'p RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawUsage<'p> {
    #[serde(borrow)]
    total_bytes: Option<&'p RawValue>,
    #[serde(borrow)]
    data_upload_bytes: Option<&'p RawValue>,
    #[serde(borrow)]
    data_download_bytes: Option<&'p RawValue>,
    #[serde(borrow)]
    sms_count: Option<&'p RawValue>,
    #[serde(borrow)]
    voice_seconds: Option<&'p RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawCounters<'p> {
    #[serde(borrow)]
    session_id: Option<&'p RawValue>,
    #[serde(borrow)]
    upload_bytes: Option<&'p RawValue>,
    #[serde(borrow)]
    download_bytes: Option<&'p RawValue>,
    #[serde(borrow)]
    from: Option<&'p RawValue>,
}

/// Collects faults while fields are taken; a missing value stands for "a fault was noted".
#[derive(Default)]
struct Faults {
    found: Vec<FieldFault>,
    /// The code, when it says more than [`RejectionCode::Invalid`].
    code: Option<RejectionCode>,
    /// Not a fault: total, upload and download are all given and disagree.
    total_mismatch: bool,
}

impl Faults {
    fn note<T>(&mut self, result: Result<T, FieldFault>) -> Option<T> {
        result.map_err(|fault| self.found.push(fault)).ok()
    }

    fn add(&mut self, field: &'static str, message: impl Into<String>) {
        self.found.push(fault(field, message));
    }

    fn required<T>(
        &mut self,
        raw: Option<&RawValue>,
        field: &'static str,
        take: impl FnOnce(&RawValue, &'static str) -> Result<T, FieldFault>,
    ) -> Option<T> {
        match raw {
            Some(raw) => self.note(take(raw, field)),
            None => {
                self.add(field, "is required");
                None
            }
        }
    }

    /// `Some(None)` when absent, `None` when at fault.
    fn optional<T>(
        &mut self,
        raw: Option<&RawValue>,
        field: &'static str,
        take: impl FnOnce(&RawValue, &'static str) -> Result<T, FieldFault>,
    ) -> Option<Option<T>> {
        match raw {
            Some(raw) => self.note(take(raw, field)).map(Some),
            None => Some(None),
        }
    }
}

/// Decodes and validates one record; all its faults are reported together.
pub(super) fn decode(raw: &Bytes, context: &RecordContext<'_>) -> Result<UsageRecord, BadRecord> {
    let fields = match object::<RawRecord<'_>>(raw) {
        Ok(fields) => fields,
        Err(error) => {
            let rejection = match error {
                Some(error) if !error.is_data() => malformed(&syntax(&error)),
                error => Rejection::new(RejectionCode::Invalid, "", not_an_object(error)),
            };
            let iccid = context.envelope.topic_iccid.map(str::to_owned);
            return Err(BadRecord { iccid, record_id: None, rejection });
        }
    };
    let mut faults = Faults::default();
    let record_id = faults.required(fields.record_id, "recordId", |raw, field| text(raw, field, 100));
    let iccid = take_iccid(&fields, context, &mut faults);
    let period = take_period(&fields, context, &mut faults);
    let corrects = take_corrects(&fields, context, &mut faults);
    let least = if matches!(corrects, Some(Some(_))) { -MAX_AMOUNT } else { 0 };
    let usage = take_usage(&fields, least, &mut faults);
    let total_mismatch = faults.total_mismatch;
    let source = faults.optional(fields.source, "source", |raw, field| text(raw, field, 100));
    let mccmnc = faults.optional(fields.mccmnc, "mccmnc", take_mccmnc);

    match (record_id, iccid, period, usage, source, mccmnc, corrects) {
        (
            Some(record_id),
            Some(iccid),
            Some((period_start, period_end)),
            Some(usage),
            Some(source),
            Some(mccmnc),
            Some(corrects),
        ) if faults.found.is_empty() => Ok(UsageRecord {
            key: RecordKey { tenant: context.envelope.tenant, iccid, record_id },
            period_start,
            period_end,
            usage,
            total_mismatch,
            mccmnc,
            corrects,
            source: source.or_else(|| context.source.map(str::to_owned)),
            batch_id: context.batch_id.map(str::to_owned),
        }),
        (record_id, iccid, ..) => Err(BadRecord {
            iccid: iccid.map(|i| i.to_string()).or_else(|| context.envelope.topic_iccid.map(str::to_owned)),
            record_id,
            rejection: Rejection {
                code: faults.code.unwrap_or(RejectionCode::Invalid),
                faults: faults.found,
            },
        }),
    }
}

/// A JSON object's fields; `Err(None)` when it is JSON of another kind (serde would take an array for a struct).
fn object<'p, T: Deserialize<'p>>(raw: &'p [u8]) -> Result<T, Option<serde_json::Error>> {
    match raw.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice(raw).map_err(Some),
        _ => Err(serde_json::from_slice::<&RawValue>(raw).err()),
    }
}

fn not_an_object(error: Option<serde_json::Error>) -> String {
    match error {
        // For example a field that stands twice.
        Some(error) => format!("cannot be read: {error}"),
        None => "must be an object".into(),
    }
}

fn take_iccid(fields: &RawRecord<'_>, context: &RecordContext<'_>, faults: &mut Faults) -> Option<Iccid> {
    const FORM: &str = "must be 10 to 20 digits";
    let stated = match fields.iccid {
        Some(raw) => Some(faults.note(text(raw, "iccid", 40))?),
        None => None,
    };
    let text = match (stated.as_deref(), context.envelope.topic_iccid) {
        (Some(stated), Some(topic)) if stated != topic => {
            faults.code = Some(RejectionCode::IccidMismatch);
            faults.add("iccid", "differs from the ICCID of the topic");
            return None;
        }
        (Some(stated), _) => stated,
        (None, Some(topic)) => topic,
        (None, None) => {
            faults.add("iccid", "is required where no topic names it");
            return None;
        }
    };
    let Some(iccid) = Iccid::parse(text) else {
        faults.add("iccid", FORM);
        return None;
    };
    if context.envelope.own_iccid.is_some_and(|own| own != iccid.as_str()) {
        faults.code = Some(RejectionCode::NotPermitted);
        faults.add("iccid", "is another SIM's: this device may send usage of its own only");
    }
    Some(iccid)
}

fn take_period(
    fields: &RawRecord<'_>,
    context: &RecordContext<'_>,
    faults: &mut Faults,
) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let start = faults.required(fields.period_start, "periodStart", time);
    let end = faults.required(fields.period_end, "periodEnd", time);
    let now = context.envelope.now;
    if let Some(start) = start {
        if start.signed_duration_since(now) > context.limits.max_future {
            let hours = context.limits.max_future.num_hours();
            faults.add("periodStart", format!("lies more than {hours} hours ahead of now"));
        }
        if now.signed_duration_since(start) > context.limits.max_age {
            let days = context.limits.max_age.num_days();
            faults.add("periodStart", format!("is more than {days} days old"));
        }
    }
    let (start, end) = (start?, end?);
    if end < start {
        faults.add("periodEnd", "lies before periodStart");
    } else if end.signed_duration_since(start) > MAX_PERIOD {
        faults.add("periodEnd", "lies more than 31 days after periodStart");
    }
    Some((start, end))
}

fn take_corrects(
    fields: &RawRecord<'_>,
    context: &RecordContext<'_>,
    faults: &mut Faults,
) -> Option<Option<String>> {
    let corrects = faults.optional(fields.corrects, "corrects", |raw, field| text(raw, field, 100))?;
    if corrects.is_some() && !context.envelope.may_correct {
        faults.code = Some(RejectionCode::NotPermitted);
        faults.add("corrects", "needs the permission usage:correct");
        return None;
    }
    Some(corrects)
}

fn take_mccmnc(raw: &RawValue, field: &'static str) -> Result<String, FieldFault> {
    let code = text(raw, field, 6)?;
    let valid = (5..=6).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_digit());
    if valid { Ok(code) } else { Err(fault(field, "must be 5 or 6 digits")) }
}

fn take_usage(fields: &RawRecord<'_>, least: i64, faults: &mut Faults) -> Option<Usage> {
    match (fields.usage, fields.counters) {
        (Some(raw), None) => take_amounts(raw, least, faults).map(Usage::Amounts),
        (None, Some(raw)) => take_counters(raw, faults).map(Usage::Counters),
        (Some(_), Some(_)) => {
            faults.add("counters", "cannot stand beside usage: give amounts or readings");
            None
        }
        (None, None) => {
            faults.add("usage", "is required (or counters instead)");
            None
        }
    }
}

fn take_amounts(raw: &RawValue, least: i64, faults: &mut Faults) -> Option<Amounts> {
    let usage = match object::<RawUsage<'_>>(raw.get().as_bytes()) {
        Ok(usage) => usage,
        Err(error) => {
            faults.add("usage", not_an_object(error));
            return None;
        }
    };
    let mut take =
        |raw, field| faults.optional(raw, field, |raw: &RawValue, field| amount(raw, field, least));
    let upload = take(usage.data_upload_bytes, "usage.dataUploadBytes");
    let download = take(usage.data_download_bytes, "usage.dataDownloadBytes");
    let total = take(usage.total_bytes, "usage.totalBytes");
    let sms_count = take(usage.sms_count, "usage.smsCount");
    let voice_seconds = take(usage.voice_seconds, "usage.voiceSeconds");
    let (upload, download, sms_count, voice_seconds) = (upload?, download?, sms_count?, voice_seconds?);
    let total_bytes = match (total?, upload, download) {
        (Some(total), ..) => total,
        (None, Some(upload), Some(download)) => upload + download,
        // A record of messages or calls alone says nothing about data.
        (None, None, None) if sms_count.is_some() || voice_seconds.is_some() => 0,
        _ => {
            faults.add("usage.totalBytes", "is required unless both parts are given");
            return None;
        }
    };
    if total_bytes.abs() > MAX_AMOUNT {
        faults.add("usage.totalBytes", "upload and download together must be at most 2^45");
        return None;
    }
    faults.total_mismatch =
        upload.zip(download).is_some_and(|(upload, download)| upload + download != total_bytes);
    Some(Amounts {
        upload_bytes: upload.unwrap_or(0),
        download_bytes: download.unwrap_or(0),
        total_bytes,
        sms_count: sms_count.unwrap_or(0),
        voice_seconds: voice_seconds.unwrap_or(0),
    })
}

fn take_counters(raw: &RawValue, faults: &mut Faults) -> Option<CounterSample> {
    let counters = match object::<RawCounters<'_>>(raw.get().as_bytes()) {
        Ok(counters) => counters,
        Err(error) => {
            faults.add("counters", not_an_object(error));
            return None;
        }
    };
    let session_id =
        faults.required(counters.session_id, "counters.sessionId", |raw, field| text(raw, field, 100));
    let reading = |raw: &RawValue, field| amount(raw, field, 0);
    let upload = faults.required(counters.upload_bytes, "counters.uploadBytes", reading);
    let download = faults.required(counters.download_bytes, "counters.downloadBytes", reading);
    let from = match counters.from {
        Some(raw) => Some(take_place(raw, faults)?),
        None => None,
    };
    let sample =
        CounterSample { session_id: session_id?, upload_bytes: upload?, download_bytes: download?, from };
    if sample.upload_bytes + sample.download_bytes > MAX_AMOUNT {
        faults.add("counters", "upload and download together must be at most 2^45");
        return None;
    }
    Some(sample)
}

/// `counters.from`: where the session stood when it was read.
fn take_place(raw: &RawValue, faults: &mut Faults) -> Option<CounterPlace> {
    let place = match object::<RawCounters<'_>>(raw.get().as_bytes()) {
        Ok(place) => place,
        Err(error) => {
            faults.add("counters.from", not_an_object(error));
            return None;
        }
    };
    let reading = |raw: &RawValue, field| amount(raw, field, 0);
    let upload = faults.required(place.upload_bytes, "counters.from.uploadBytes", reading);
    let download = faults.required(place.download_bytes, "counters.from.downloadBytes", reading);
    Some(CounterPlace { upload_bytes: upload?, download_bytes: download? })
}
