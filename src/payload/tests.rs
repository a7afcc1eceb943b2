//! The rules of contract §1, one by one.

mod containers;
mod numbers;
mod properties;

use chrono::SecondsFormat;

use super::*;
use crate::domain::{Amounts, Usage};

const ICCID: &str = "8941000000000000001";
const BASE: [(&str, &str); 4] = [
    ("recordId", r#""r-1""#),
    ("periodStart", r#""2026-11-21T10:00:00Z""#),
    ("periodEnd", r#""2026-11-21T10:05:00Z""#),
    ("usage", r#"{"totalBytes":3}"#),
];

fn limits() -> PayloadLimits {
    PayloadLimits { max_records: 1_000, max_future: TimeDelta::hours(24), max_age: TimeDelta::days(400) }
}

fn envelope() -> Envelope<'static> {
    let now = "2026-11-21T12:00:00Z".parse().unwrap();
    Envelope { tenant: TenantId(7), topic_iccid: Some(ICCID), own_iccid: None, may_correct: false, now }
}

/// A good record with fields put in place of its own or added, as raw JSON; an empty text leaves the field out.
fn json(changes: &[(&str, &str)]) -> String {
    let mut fields = BASE.to_vec();
    for (name, value) in changes {
        fields.retain(|(held, _)| held != name);
        if !value.is_empty() {
            fields.push((name, value));
        }
    }
    let members: Vec<String> = fields.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
    format!("{{{}}}", members.join(","))
}

fn decode_in(envelope: Envelope<'_>, payload: impl Into<Bytes>) -> Result<UsageRecord, BadRecord> {
    let mut decoded = decode(&payload.into(), envelope, &limits());
    assert_eq!(decoded.elements.len(), 1);
    decoded.elements.remove(0).result
}

fn good(changes: &[(&str, &str)]) -> UsageRecord {
    decode_in(envelope(), json(changes)).unwrap_or_else(|bad| panic!("{changes:?}: {bad}"))
}

/// Code and faults of a bad record, in the order in which they were found.
fn refused(envelope: Envelope<'_>, payload: impl Into<Bytes>) -> (RejectionCode, String) {
    let bad = decode_in(envelope, payload).expect_err("is refused");
    (bad.rejection.code, bad.to_string())
}

fn faults(changes: &[(&str, &str)]) -> String {
    let (code, faults) = refused(envelope(), json(changes));
    assert_eq!(code, RejectionCode::Invalid, "{changes:?}");
    faults
}

fn start_of(text: &str) -> String {
    let end = format!("\"{text}\"");
    let record = good(&[("periodStart", &end), ("periodEnd", &end)]);
    record.period_start.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[test]
fn a_record_needs_an_id_a_period_and_usage_and_nothing_else() {
    let record = good(&[]);
    assert_eq!((record.key.tenant, record.key.iccid.as_str()), (TenantId(7), ICCID));
    assert_eq!(record.key.record_id, "r-1");
    let none = (record.source, record.mccmnc, record.corrects, record.batch_id, record.total_mismatch);
    assert_eq!(none, (None, None, None, None, false));
    for (field, message) in [
        ("recordId", "recordId: is required"),
        ("periodStart", "periodStart: is required"),
        ("periodEnd", "periodEnd: is required"),
        ("usage", "usage: is required (or counters instead)"),
    ] {
        assert_eq!(faults(&[(field, "")]), message);
        assert_eq!(faults(&[(field, "null")]), message, "null states nothing");
    }
}

/// Catches returning at the first fault.
#[test]
fn all_faults_of_a_record_are_reported_at_once() {
    let everything = [
        ("recordId", "7"),
        ("iccid", r#""12""#),
        ("periodStart", r#""yesterday""#),
        ("periodEnd", "[]"),
        ("usage", r#"{"totalBytes":-1,"smsCount":1.5,"voiceSeconds":"3"}"#),
        ("source", r#""""#),
        ("mccmnc", "22801"),
    ];
    let (_, found) = refused(Envelope { topic_iccid: None, ..envelope() }, json(&everything));
    let expected = [
        "recordId: must be text, not a number",
        "iccid: must be 10 to 20 digits",
        "periodStart: must be an RFC 3339 time with a zone, such as 2026-11-21T10:00:00Z",
        "periodEnd: must be text, not an array",
        "usage.totalBytes: must not be negative",
        "usage.smsCount: must be an integer, not a fraction or exponent",
        "usage.voiceSeconds: must be an integer, not text",
        "source: must not be empty",
        "mccmnc: must be text, not a number",
    ];
    assert_eq!(found.split("; ").collect::<Vec<_>>(), expected);
}

#[test]
fn a_record_id_has_1_to_100_characters() {
    let of = |id: &str| decode_in(envelope(), json(&[("recordId", id)]));
    let long = "é".repeat(100);
    assert_eq!(of(&format!("\"{long}\"")).unwrap().key.record_id, long);
    assert_eq!(of(r#""a\"\u00e9\n""#).unwrap().key.record_id, "a\"é\n");
    let message = |id: &str| of(id).unwrap_err().to_string();
    assert_eq!(message(&format!("\"{long}é\"")), "recordId: must have at most 100 characters");
    assert_eq!(message(r#""""#), "recordId: must not be empty");
    assert_eq!(message(r#""a\u0000b""#), "recordId: must not contain U+0000");
    assert_eq!(message(r#""\ud800""#), "recordId: is not a valid JSON string");
    assert_eq!(message("true"), "recordId: must be text, not a boolean");
    assert_eq!(message("{}"), "recordId: must be text, not an object");
}

/// Catches trusting the payload over the topic, and the other way round.
#[test]
fn the_iccid_is_that_of_the_topic_and_may_not_be_another_one() {
    assert_eq!(good(&[("iccid", "\"8941000000000000001\"")]).key.iccid.as_str(), ICCID);
    let (code, message) = refused(envelope(), json(&[("iccid", "\"8941000000000000002\"")]));
    assert_eq!(code, RejectionCode::IccidMismatch);
    assert_eq!(message, "iccid: differs from the ICCID of the topic");

    let no_topic = Envelope { topic_iccid: None, ..envelope() };
    let stated = decode_in(no_topic, json(&[("iccid", "\"8941000000\"")])).unwrap();
    assert_eq!(stated.key.iccid.as_str(), "8941000000");
    assert_eq!(refused(no_topic, json(&[])).1, "iccid: is required where no topic names it");

    let bad_topic = Envelope { topic_iccid: Some("usage"), ..envelope() };
    assert_eq!(refused(bad_topic, json(&[])).1, "iccid: must be 10 to 20 digits");
}

#[test]
fn what_is_known_of_a_bad_record_is_kept_with_it() {
    let bad = decode_in(envelope(), json(&[("usage", "")])).unwrap_err();
    assert_eq!((bad.iccid.as_deref(), bad.record_id.as_deref()), (Some(ICCID), Some("r-1")));
    let bad = decode_in(envelope(), "{").unwrap_err();
    assert_eq!((bad.iccid.as_deref(), bad.record_id), (Some(ICCID), None));
}

#[test]
fn a_period_ends_after_it_starts_and_within_31_days() {
    let period =
        |start: &str, end: &str| decode_in(envelope(), json(&[("periodStart", start), ("periodEnd", end)]));
    let start = r#""2026-10-01T00:00:00Z""#;
    assert!(period(start, start).is_ok(), "a period may be a moment");
    assert!(period(start, r#""2026-11-01T00:00:00Z""#).is_ok());
    let message = |end: &str| period(start, end).unwrap_err().to_string();
    assert_eq!(
        message(r#""2026-11-01T00:00:00.000001Z""#),
        "periodEnd: lies more than 31 days after periodStart"
    );
    assert_eq!(message(r#""2026-09-30T23:59:59.999999Z""#), "periodEnd: lies before periodStart");
}

#[test]
fn a_period_may_start_24_hours_ahead_and_400_days_ago_and_no_farther() {
    assert_eq!(start_of("2026-11-22T12:00:00Z"), "2026-11-22T12:00:00Z");
    assert_eq!(start_of("2025-10-17T12:00:00Z"), "2025-10-17T12:00:00Z");
    let message = |at: &str| faults(&[("periodStart", &format!("\"{at}\"")), ("periodEnd", "")]);
    let ahead = "periodStart: lies more than 24 hours ahead of now; periodEnd: is required";
    let old = "periodStart: is more than 400 days old; periodEnd: is required";
    let sorted = |message: String| {
        let mut faults: Vec<&str> = message.split("; ").collect();
        faults.sort_unstable_by(|a, b| b.cmp(a));
        faults.join("; ")
    };
    for at in ["2026-11-22T12:00:00.000001Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59"] {
        assert_eq!(sorted(message(at)), ahead, "{at}");
    }
    for at in ["2025-10-17T11:59:59Z", "0001-01-01T00:00:00Z", "0000-01-01T00:00:00+23:59"] {
        assert_eq!(sorted(message(at)), old, "{at}");
    }
}

#[test]
fn a_time_needs_its_zone() {
    for at in ["2026-11-21T10:00:00", "2026-11-21", "1763719200", "", "2026-13-01T00:00:00Z", "infinity"] {
        let message = faults(&[("periodStart", &format!("\"{at}\""))]);
        assert!(message.starts_with("periodStart: must "), "{message}");
    }
    assert_eq!(start_of("2026-11-21T15:45:00+05:45"), "2026-11-21T10:00:00Z");
    assert_eq!(start_of("2026-11-20T22:00:00-12:00"), "2026-11-21T10:00:00Z");
}

#[test]
fn times_count_in_whole_microseconds() {
    assert_eq!(start_of("2026-11-21T10:00:00.123456999Z"), "2026-11-21T10:00:00.123456Z");
}

/// Catches keeping chrono's 23:59:60, which sorts before the midnight as which PostgreSQL stores it: such a record would
/// count in another cycle than the one that holds it.
#[test]
fn a_leap_second_is_the_first_second_of_the_next_minute() {
    assert_eq!(start_of("2026-10-31T23:59:60Z"), "2026-11-01T00:00:00Z");
    assert_eq!(start_of("2026-10-31T23:59:60.5Z"), "2026-11-01T00:00:00.500Z");
}

#[test]
fn the_serving_network_is_5_or_6_digits() {
    assert_eq!(good(&[("mccmnc", "\"22801\"")]).mccmnc.as_deref(), Some("22801"));
    assert_eq!(good(&[("mccmnc", "\"310260\"")]).mccmnc.as_deref(), Some("310260"));
    for bad in ["\"2280\"", "\"22801a\"", "\"٢٢٨٠١\""] {
        assert_eq!(faults(&[("mccmnc", bad)]), "mccmnc: must be 5 or 6 digits");
    }
    assert_eq!(faults(&[("mccmnc", "\"3102601\"")]), "mccmnc: must have at most 6 characters");
}

#[test]
fn a_source_has_at_most_100_characters() {
    assert_eq!(good(&[("source", "\"gateway 7\"")]).source.as_deref(), Some("gateway 7"));
    let long = format!("\"{}\"", "s".repeat(101));
    assert_eq!(faults(&[("source", &long)]), "source: must have at most 100 characters");
}

/// Catches negative amounts from just anybody, and corrections from just anybody.
#[test]
fn only_a_permitted_correction_may_be_negative() {
    let correction = json(&[("corrects", "\"r-0\""), ("usage", r#"{"totalBytes":-3}"#)]);
    let permitted = Envelope { may_correct: true, ..envelope() };
    let record = decode_in(permitted, correction.clone()).unwrap();
    assert_eq!(record.corrects.as_deref(), Some("r-0"));
    assert_eq!(record.usage, Usage::Amounts(Amounts { total_bytes: -3, ..Amounts::default() }));

    let (code, message) = refused(envelope(), correction);
    assert_eq!(code, RejectionCode::NotPermitted);
    assert!(message.contains("corrects: needs the permission usage:correct"), "{message}");

    let (code, message) = refused(permitted, json(&[("usage", r#"{"totalBytes":-3}"#)]));
    assert_eq!((code, &*message), (RejectionCode::Invalid, "usage.totalBytes: must not be negative"));
    let (code, _) = refused(envelope(), json(&[("corrects", "\"r-0\"")]));
    assert_eq!(code, RejectionCode::NotPermitted, "a positive correction is one too");
}

#[test]
fn unknown_fields_are_ignored() {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let more = [("future", r#"{"a":[1,{"b":null}]}"#), ("deep", &*deep), ("tenant", "99")];
    assert_eq!(good(&more), good(&[]));
}

#[test]
fn a_field_that_stands_twice_is_a_fault() {
    let twice = json(&[]).replacen('{', r#"{"recordId":"r-0","#, 1);
    let (code, message) = refused(envelope(), twice);
    assert_eq!(code, RejectionCode::Invalid);
    assert!(message.starts_with("cannot be read: duplicate field `recordId`"), "{message}");
    let message = faults(&[("usage", r#"{"totalBytes":1,"totalBytes":2}"#)]);
    assert!(message.starts_with("usage: cannot be read: duplicate field `totalBytes`"), "{message}");
}
