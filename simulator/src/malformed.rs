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
