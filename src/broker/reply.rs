//! What a sender of usage hears: the reason in PUBACK or PUBREC, and the outcome on the Response Topic.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::domain::RejectionCode;
use crate::ingest::queue::{Receipt, RecordReceipt, RecordStatus};

/// Longest Reason String. It must fit a PUBACK that a small device can take.
const MAX_REASON_BYTES: usize = 500;

const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
const IMPLEMENTATION_SPECIFIC: u8 = 0x83;

/// What PUBACK or PUBREC says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Every record is stored, now or earlier.
    Accepted,
    /// At least one record was parked; the sender must not send it again.
    Refused { reason: u8, text: Box<str> },
}

impl Verdict {
    pub(super) fn of(receipt: &Receipt) -> Self {
        let mut parked = receipt.records.iter().filter_map(|record| match &record.status {
            RecordStatus::Parked(rejection) => Some((record, rejection)),
            RecordStatus::Stored { .. } | RecordStatus::Duplicate { .. } => None,
        });
        let Some((record, rejection)) = parked.next() else { return Self::Accepted };
        let others = parked.count();
        let mut text = match &record.record_id {
            Some(id) if receipt.records.len() > 1 => format!("{id}: {rejection}"),
            _ => rejection.to_string(),
        };
        truncate(&mut text, MAX_REASON_BYTES - 40);
        if others > 0 {
            text.push_str(&format!(" (and {others} more refused)"));
        }
        Self::Refused { reason: reason_code(rejection.code), text: text.into() }
    }
}

fn reason_code(code: RejectionCode) -> u8 {
    match code {
        RejectionCode::Malformed
        | RejectionCode::Invalid
        | RejectionCode::IccidMismatch
        | RejectionCode::TooManyRecords => PAYLOAD_FORMAT_INVALID,
        RejectionCode::Conflict
        | RejectionCode::NotPermitted
        | RejectionCode::BadCorrection
        | RejectionCode::TooOld
        | RejectionCode::UnknownAccount
        | RejectionCode::RefusedByDatabase => IMPLEMENTATION_SPECIFIC,
    }
}

/// Cuts `text` to at most `max` bytes at a character, and takes out NUL, which an MQTT string cannot hold.
fn truncate(text: &mut String, max: usize) {
    text.retain(|c| c != '\0');
    if text.len() > max {
        let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

/// The JSON that goes to the Response Topic.
pub(super) fn outcome_json(receipt: &Receipt) -> Bytes {
    let json = match receipt.records.as_slice() {
        [only] if receipt.batch_id.is_none() => single(only),
        records => several(receipt.batch_id.as_deref(), records),
    };
    Bytes::from(json.to_string())
}

fn single(record: &RecordReceipt) -> Value {
    let status = match &record.status {
        RecordStatus::Stored { .. } => "ACCEPTED",
        RecordStatus::Duplicate { .. } => "DUPLICATE",
        RecordStatus::Parked(_) => "REJECTED",
    };
    let mut json = json!({ "recordId": record.record_id, "status": status });
    if let RecordStatus::Parked(rejection) = &record.status {
        let errors = rejection.faults.iter().map(|fault| match fault.field {
            "" => fault.message.clone(),
            field => format!("{field}: {}", fault.message),
        });
        json["errors"] = errors.collect();
    }
    json
}

fn several(batch_id: Option<&str>, records: &[RecordReceipt]) -> Value {
    let errors: Vec<Value> = records
        .iter()
        .filter_map(|record| match &record.status {
            RecordStatus::Parked(rejection) => {
                Some(json!({ "recordId": record.record_id, "error": rejection.to_string() }))
            }
            RecordStatus::Stored { .. } | RecordStatus::Duplicate { .. } => None,
        })
        .collect();
    let mut json = json!({
        "recordsReceived": records.len(),
        "recordsProcessed": records.len() - errors.len(),
        "recordsFailed": errors.len(),
        "errors": errors,
    });
    if let Some(batch_id) = batch_id {
        json["batchId"] = batch_id.into();
    }
    json
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::domain::Rejection;

    fn record(id: &str, status: RecordStatus) -> RecordReceipt {
        RecordReceipt { record_id: Some(id.into()), status }
    }

    fn stored() -> RecordStatus {
        RecordStatus::Stored { processed_at: DateTime::<Utc>::UNIX_EPOCH }
    }

    fn parked(code: RejectionCode, message: &str) -> RecordStatus {
        RecordStatus::Parked(Rejection::new(code, "usage", message))
    }

    fn receipt(records: Vec<RecordReceipt>) -> Receipt {
        Receipt { batch_id: None, records }
    }

    fn json_of(receipt: &Receipt) -> Value {
        serde_json::from_slice(&outcome_json(receipt)).unwrap()
    }

    #[test]
    fn stored_and_duplicate_records_are_a_success() {
        let duplicate = RecordStatus::Duplicate { processed_at: DateTime::<Utc>::UNIX_EPOCH };
        assert_eq!(
            Verdict::of(&receipt(vec![record("a", stored()), record("b", duplicate)])),
            Verdict::Accepted
        );
    }

    #[test]
    fn the_reason_code_tells_a_broken_payload_from_a_refused_one() {
        let of = |code| match Verdict::of(&receipt(vec![record("a", parked(code, "no"))])) {
            Verdict::Refused { reason, text } => (reason, text.into_string()),
            Verdict::Accepted => panic!("accepted"),
        };
        assert_eq!(of(RejectionCode::Invalid), (0x99, "usage: no".into()));
        assert_eq!(of(RejectionCode::Conflict).0, 0x83);
        assert_eq!(of(RejectionCode::RefusedByDatabase).0, 0x83);
    }

    #[test]
    fn a_reason_is_bounded_and_cut_at_a_character() {
        let long = "é\0".repeat(2000);
        let records = vec![
            record("a", parked(RejectionCode::Invalid, &long)),
            record("b", parked(RejectionCode::Invalid, "x")),
        ];
        let Verdict::Refused { text, .. } = Verdict::of(&receipt(records)) else { panic!("accepted") };
        assert!(text.len() <= MAX_REASON_BYTES, "{}", text.len());
        assert!(text.starts_with("a: usage: é") && text.ends_with("(and 1 more refused)"), "{text}");
        assert!(!text.contains('\0'));
    }

    #[test]
    fn the_outcome_of_one_record_names_it_and_its_faults() {
        assert_eq!(
            json_of(&receipt(vec![record("r", stored())])),
            json!({"recordId": "r", "status": "ACCEPTED"})
        );
        assert_eq!(
            json_of(&receipt(vec![record("r", parked(RejectionCode::Invalid, "no"))])),
            json!({"recordId": "r", "status": "REJECTED", "errors": ["usage: no"]})
        );
    }

    #[test]
    fn the_outcome_of_several_records_counts_them() {
        let mut batch =
            receipt(vec![record("a", stored()), record("b", parked(RejectionCode::Invalid, "no"))]);
        batch.batch_id = Some("B".into());
        assert_eq!(
            json_of(&batch),
            json!({
                "batchId": "B", "recordsReceived": 2, "recordsProcessed": 1, "recordsFailed": 1,
                "errors": [{"recordId": "b", "error": "usage: no"}]
            })
        );
    }
}
