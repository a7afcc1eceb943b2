//! One field at a time, from its raw JSON text: a bad field never hides what else is wrong with the record.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use crate::domain::{FieldFault, MAX_AMOUNT};

pub(super) fn fault(field: &'static str, message: impl Into<String>) -> FieldFault {
    FieldFault { field, message: message.into() }
}

/// A JSON string of 1 to `max_chars` characters.
pub(super) fn text(raw: &RawValue, field: &'static str, max_chars: usize) -> Result<String, FieldFault> {
    if !raw.get().starts_with('"') {
        return Err(fault(field, format!("must be text, not {}", kind(raw))));
    }
    let text: Cow<'_, str> =
        serde_json::from_str(raw.get()).map_err(|_| fault(field, "is not a valid JSON string"))?;
    if text.is_empty() {
        return Err(fault(field, "must not be empty"));
    }
    if text.len() > max_chars && text.chars().count() > max_chars {
        return Err(fault(field, format!("must have at most {max_chars} characters")));
    }
    if text.contains('\0') {
        return Err(fault(field, "must not contain U+0000"));
    }
    Ok(text.into_owned())
}

/// A JSON integer within `least..=2^45`. A fraction, an exponent or text is refused even where its value would fit.
pub(super) fn amount(raw: &RawValue, field: &'static str, least: i64) -> Result<i64, FieldFault> {
    let digits = raw.get();
    let body = digits.strip_prefix('-').unwrap_or(digits);
    if body.is_empty() || !body.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault(field, format!("must be an integer, not {}", kind(raw))));
    }
    // What does not even fit 64 bits is out of range too.
    match digits.parse::<i64>() {
        Ok(amount) if amount < least && least == 0 => Err(fault(field, "must not be negative")),
        Ok(amount) if (least..=MAX_AMOUNT).contains(&amount) => Ok(amount),
        _ if digits.starts_with('-') && least == 0 => Err(fault(field, "must not be negative")),
        _ => Err(fault(field, format!("must be at most 2^45 ({MAX_AMOUNT})"))),
    }
}

/// An RFC 3339 time with its zone, to the microsecond. A leap second is the first one of the next minute, as it is to
/// PostgreSQL: both must find the same cycle for it.
pub(super) fn time(raw: &RawValue, field: &'static str) -> Result<DateTime<Utc>, FieldFault> {
    let text = text(raw, field, 64)?;
    let parsed = DateTime::parse_from_rfc3339(&text).ok();
    match parsed.and_then(|time| DateTime::from_timestamp_micros(time.timestamp_micros())) {
        Some(time) => Ok(time),
        None => Err(fault(field, "must be an RFC 3339 time with a zone, such as 2026-11-21T10:00:00Z")),
    }
}

/// Names the JSON type for a message.
fn kind(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'"') => "text",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ if raw.get().contains(['.', 'e', 'E']) => "a fraction or exponent",
        _ => "a number",
    }
}
