//! From bytes to validated usage records (contract §1).
//!
//! A payload is one record, an array of records, or a batch object `{batchId, source, records[]}`; which one it is shows
//! in the payload itself. Each element is decoded on its own, so that a bad one costs its neighbours nothing.

mod fields;
mod record;
mod split;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::{Rejection, RejectionCode, TenantId, UsageRecord};

use record::RecordContext;

/// What the decoder accepts beyond the form.
#[derive(Clone, Debug)]
pub struct PayloadLimits {
    /// Records of an array or batch.
    pub max_records: usize,
    /// How far `periodStart` may lie ahead of now.
    pub max_future: TimeDelta,
    /// How old `periodStart` may be.
    pub max_age: TimeDelta,
}

/// What the carrier of a payload says about it.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'m> {
    pub tenant: TenantId,
    /// The ICCID that the topic names.
    pub topic_iccid: Option<&'m str>,
    /// The one SIM that the sender may speak for, if it is a device.
    pub own_iccid: Option<&'m str>,
    /// The sender has the permission `usage:correct`.
    pub may_correct: bool,
    pub now: DateTime<Utc>,
}

/// A payload taken apart: one entry for each record, in the payload's order; never empty.
#[derive(Debug)]
pub struct Decoded {
    pub batch_id: Option<String>,
    pub elements: Vec<Element>,
}

/// One record of a payload, good or bad.
#[derive(Debug)]
pub struct Element {
    /// The bytes of this record within the payload; for a bad record what is parked.
    pub raw: Bytes,
    pub result: Result<UsageRecord, BadRecord>,
}

/// A record that cannot be stored, with what is known of its identity.
#[derive(Debug)]
pub struct BadRecord {
    pub iccid: Option<String>,
    pub record_id: Option<String>,
    pub rejection: Rejection,
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rejection.fmt(f)
    }
}

#[derive(Deserialize)]
struct BatchObject<'p> {
    #[serde(borrow, default, rename = "batchId")]
    batch_id: Option<&'p RawValue>,
    #[serde(borrow, default)]
    source: Option<&'p RawValue>,
    #[serde(borrow, default)]
    records: Option<&'p RawValue>,
}

/// A batch taken apart; `records` are places in the payload.
struct Batch<'p> {
    batch_id: Option<&'p RawValue>,
    source: Option<&'p RawValue>,
    records: Vec<Range<usize>>,
}

/// Takes a payload apart and validates each record.
pub fn decode(payload: &Bytes, envelope: Envelope<'_>, limits: &PayloadLimits) -> Decoded {
    let context = RecordContext { envelope, limits, batch_id: None, source: None };
    match payload.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => decode_array(payload, &context),
        Some(b'{') => decode_object(payload, &context),
        Some(_) => whole(payload, &context, malformed("a usage payload is a JSON object or array")),
        None => whole(payload, &context, malformed("the payload is empty")),
    }
}

fn decode_object(payload: &Bytes, context: &RecordContext<'_>) -> Decoded {
    let single = || Decoded { batch_id: None, elements: vec![element(payload, 0..payload.len(), context)] };
    // Only a batch has `records`; a single record does not pay for a second look.
    if !split::mentions(payload, b"\"records\"") {
        return single();
    }
    match serde_json::from_slice::<BatchObject<'_>>(payload) {
        Ok(BatchObject { batch_id, source, records: Some(records) }) if records.get().starts_with('[') => {
            match array_ranges(payload, records.get().as_bytes()) {
                Ok(records) => decode_batch(payload, &Batch { batch_id, source, records }, context),
                Err(error) => whole(payload, context, malformed(&syntax(&error))),
            }
        }
        Ok(BatchObject { batch_id: Some(_), records: Some(_), .. }) => {
            let rejection = Rejection::new(RejectionCode::Invalid, "records", "must be an array of records");
            whole(payload, context, rejection)
        }
        // `records` was a word inside a single record, or a field of it that means nothing.
        Ok(_) => single(),
        Err(error) if error.is_data() => {
            let message = format!("cannot be read: {error}");
            whole(payload, context, Rejection::new(RejectionCode::Invalid, "", message))
        }
        Err(error) => match split_batch(payload) {
            Some(batch) => decode_batch(payload, &batch, context),
            None => whole(payload, context, malformed(&syntax(&error))),
        },
    }
}

/// What is wrong with a batch object as such, all at once; its records are for [`decode`] to judge. A payload without such a
/// fault is decoded into as many elements as it has records.
///
/// # Errors
/// [`Rejection`] of the whole payload.
pub fn check_batch(payload: &Bytes, limits: &PayloadLimits) -> Result<(), Rejection> {
    if payload.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(malformed("a batch is a JSON object with batchId and records"));
    }
    let (batch_id, source, records) = match serde_json::from_slice::<BatchObject<'_>>(payload) {
        Ok(BatchObject { batch_id, source, records }) => (batch_id, source, records.map(array_length)),
        Err(error) if error.is_data() => {
            return Err(Rejection::new(RejectionCode::Invalid, "", format!("cannot be read: {error}")));
        }
        Err(error) => match split_batch(payload) {
            Some(Batch { batch_id, source, records }) => (batch_id, source, Some(Some(records.len()))),
            None => return Err(malformed(&syntax(&error))),
        },
    };
    // As `decode_object` looks for it.
    let records = records.filter(|_| split::mentions(payload, b"\"records\""));
    let mut faults = Vec::new();
    match batch_id {
        Some(raw) => faults.extend(fields::text(raw, "batchId", 100).err()),
        None => faults.push(fields::fault("batchId", "is required")),
    }
    faults.extend(source.and_then(|raw| fields::text(raw, "source", 100).err()));
    let fault = match records {
        None => Some("is required".to_owned()),
        Some(None) => Some("must be an array of records".to_owned()),
        Some(Some(0)) => Some("must hold at least one record".to_owned()),
        Some(Some(count)) if count > limits.max_records => {
            Some(format!("{count} records, at most {} are accepted", limits.max_records))
        }
        Some(Some(_)) => None,
    };
    faults.extend(fault.map(|message| fields::fault("records", message)));
    if faults.is_empty() { Ok(()) } else { Err(Rejection { code: RejectionCode::Invalid, faults }) }
}

/// How many elements an array has; `None` for anything else.
fn array_length(raw: &RawValue) -> Option<usize> {
    serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok().map(|elements| elements.len())
}

/// NaN or broken UTF-8 in one record makes the batch no JSON; where its records begin and end still shows.
fn split_batch(payload: &Bytes) -> Option<Batch<'_>> {
    let mut batch = Batch { batch_id: None, source: None, records: Vec::new() };
    let mut found = false;
    for (name, value) in split::object_members(payload)? {
        let raw = || serde_json::from_slice::<&RawValue>(&payload[value.clone()]).ok();
        match &payload[name] {
            b"\"batchId\"" => batch.batch_id = Some(raw()?),
            b"\"source\"" => batch.source = Some(raw()?),
            b"\"records\"" => {
                let elements = split::array_elements(&payload[value.clone()])?;
                let within = |range: Range<usize>| value.start + range.start..value.start + range.end;
                batch.records = elements.into_iter().map(within).collect();
                found = true;
            }
            _ => {}
        }
    }
    found.then_some(batch)
}

fn decode_batch(payload: &Bytes, batch: &Batch<'_>, context: &RecordContext<'_>) -> Decoded {
    let text = |raw: Option<&RawValue>, field| raw.map(|raw| fields::text(raw, field, 100)).transpose();
    let (batch_id, source) = match (text(batch.batch_id, "batchId"), text(batch.source, "source")) {
        (Ok(batch_id), Ok(source)) => (batch_id, source),
        (batch_id, source) => {
            let faults = batch_id.err().into_iter().chain(source.err()).collect();
            return whole(payload, context, Rejection { code: RejectionCode::Invalid, faults });
        }
    };
    let context = RecordContext { batch_id: batch_id.as_deref(), source: source.as_deref(), ..*context };
    let elements = elements(payload, &batch.records, &context);
    Decoded { batch_id, elements }
}

fn decode_array(payload: &Bytes, context: &RecordContext<'_>) -> Decoded {
    let ranges = match array_ranges(payload, payload) {
        Ok(ranges) => ranges,
        // As in `split_batch`.
        Err(error) => match split::array_elements(payload) {
            Some(ranges) => ranges,
            None => return whole(payload, context, malformed(&syntax(&error))),
        },
    };
    Decoded { batch_id: None, elements: elements(payload, &ranges, context) }
}

/// The elements of `array`, a part of `payload`, as places in the payload.
fn array_ranges(payload: &Bytes, array: &[u8]) -> Result<Vec<Range<usize>>, serde_json::Error> {
    let raws = serde_json::from_slice::<Vec<&RawValue>>(array)?;
    Ok(raws.iter().map(|raw| range_of(payload, raw.get().as_bytes())).collect())
}

fn elements(payload: &Bytes, ranges: &[Range<usize>], context: &RecordContext<'_>) -> Vec<Element> {
    let refused = if ranges.is_empty() {
        Some(Rejection::new(RejectionCode::Invalid, "records", "must hold at least one record"))
    } else if ranges.len() > context.limits.max_records {
        let message =
            format!("{} records, at most {} are accepted", ranges.len(), context.limits.max_records);
        Some(Rejection::new(RejectionCode::TooManyRecords, "records", message))
    } else {
        None
    };
    match refused {
        Some(rejection) => whole(payload, context, rejection).elements,
        None => ranges.iter().map(|range| element(payload, range.clone(), context)).collect(),
    }
}

fn element(payload: &Bytes, range: Range<usize>, context: &RecordContext<'_>) -> Element {
    let raw = payload.slice(range);
    let result = record::decode(&raw, context);
    Element { raw, result }
}

/// A payload that is refused as a whole counts as one record.
pub fn refused(payload: &Bytes, envelope: Envelope<'_>, rejection: Rejection) -> Decoded {
    let bad = BadRecord { iccid: envelope.topic_iccid.map(str::to_owned), record_id: None, rejection };
    Decoded { batch_id: None, elements: vec![Element { raw: payload.clone(), result: Err(bad) }] }
}

fn whole(payload: &Bytes, context: &RecordContext<'_>, rejection: Rejection) -> Decoded {
    refused(payload, context.envelope, rejection)
}

fn malformed(message: &str) -> Rejection {
    Rejection::new(RejectionCode::Malformed, "", message)
}

/// What the parser found, in its own words and with the place.
fn syntax(error: &serde_json::Error) -> String {
    format!("not JSON: {error}")
}

/// Where `part`, borrowed from `payload`, lies in it.
fn range_of(payload: &Bytes, part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - payload.as_ptr() as usize;
    start..start + part.len()
}
