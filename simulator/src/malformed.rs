use rand::{Rng, RngExt};
use serde_json::{Value, json};

use crate::record::{MAX_AMOUNT, MAX_RECORD_ID, UsageRecord};

type Spoiler = fn(&UsageRecord) -> Vec<u8>;

/// Payloads that are no JSON at all: they spoil the whole message.
const BROKEN: [Spoiler; 4] = [
    |record| {
        let mut json = record.to_json();
        json.truncate(json.len() / 2);
        json
    },
    |_| Vec::new(),
    |_| vec![0xff, 0xfe, 0x00, 0x80],
    |_| b"hello".to_vec(),
];

/// JSON values that break a rule of the contract (§1): in a batch they spoil one record and not its neighbours.
const INVALID: [Spoiler; 10] = [
    |record| edited(record, |json| drop(json.as_object_mut().and_then(|fields| fields.remove("recordId")))),
    |record| edited(record, |json| json["recordId"] = json!("x".repeat(MAX_RECORD_ID + 1))),
    |record| edited(record, |json| json["usage"]["totalBytes"] = json!(-1)),
    |record| edited(record, |json| json["usage"]["totalBytes"] = json!(0.5)),
    |record| edited(record, |json| json["usage"]["totalBytes"] = json!("12 MB")),
    |record| edited(record, |json| json["usage"]["totalBytes"] = json!(MAX_AMOUNT + 1)),
    |record| edited(record, |json| json["periodStart"] = json!("yesterday")),
    |record| edited(record, |json| json["periodEnd"] = json!("2001-01-01T00:00:00Z")),
    |record| edited(record, |json| json["iccid"] = json!("89-not-a-card")),
    |record| edited(record, |json| json["usage"] = Value::Null),
];

/// A payload in place of `record` that no reader may accept.
pub(crate) fn spoil(record: &UsageRecord, rng: &mut impl Rng) -> Vec<u8> {
    let choice = rng.random_range(0..BROKEN.len() + INVALID.len());
    BROKEN.iter().chain(&INVALID).nth(choice).expect("the choice is below the number of spoilers")(record)
}

/// Like [`spoil`], but still JSON, so that it can be an element of a batch.
pub(crate) fn spoil_element(record: &UsageRecord, rng: &mut impl Rng) -> Vec<u8> {
    INVALID[rng.random_range(0..INVALID.len())](record)
}

fn edited(record: &UsageRecord, edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut json = serde_json::to_value(record).expect("a struct of strings and integers always serializes");
    edit(&mut json);
    serde_json::to_vec(&json).expect("a JSON value always serializes")
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, TimeZone, Utc};

    use super::*;
    use crate::record::Usage;

    fn record() -> UsageRecord {
        let start = Utc.with_ymd_and_hms(2026, 11, 20, 12, 0, 0).unwrap();
        UsageRecord {
            record_id: "r-1".to_owned(),
            iccid: "8941010000000000014".to_owned(),
            period_start: start,
            period_end: start + TimeDelta::minutes(15),
            usage: Usage { total_bytes: 3, data_upload_bytes: 1, data_download_bytes: 2, ..Usage::default() },
            source: "simulator",
            mccmnc: "22801",
        }
    }

    /// The rules of the contract (§1) once more, in their own words.
    fn is_valid(payload: &[u8]) -> bool {
        let Ok(json) = serde_json::from_slice::<Value>(payload) else { return false };
        let time = |name: &str| DateTime::parse_from_rfc3339(json[name].as_str()?).ok();
        let id = json["recordId"].as_str().is_some_and(|id| (1..=MAX_RECORD_ID).contains(&id.len()));
        let iccid = json["iccid"].as_str() == Some(&record().iccid);
        let period = time("periodStart").zip(time("periodEnd")).is_some_and(|(start, end)| start <= end);
        let total = json["usage"]["totalBytes"].as_u64().is_some_and(|total| total <= MAX_AMOUNT);
        id && iccid && period && total
    }

    #[test]
    fn no_spoiled_record_is_valid_and_an_unspoiled_one_is() {
        assert!(is_valid(&record().to_json()));
        for (place, spoiler) in BROKEN.iter().chain(&INVALID).enumerate() {
            assert!(!is_valid(&spoiler(&record())), "spoiler {place}");
        }
    }

    #[test]
    fn a_spoiled_element_of_a_batch_is_still_json() {
        for spoiler in INVALID {
            assert!(serde_json::from_slice::<Value>(&spoiler(&record())).is_ok());
        }
    }
}
