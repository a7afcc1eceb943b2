//! Amounts and readings.

use super::*;
use crate::domain::{CounterPlace, CounterSample};

fn amounts(usage: &str) -> Amounts {
    match good(&[("usage", usage)]).usage {
        Usage::Amounts(amounts) => amounts,
        Usage::Counters(_) => panic!("{usage} gives amounts"),
    }
}

fn total(number: &str) -> Result<i64, String> {
    let record = decode_in(envelope(), json(&[("usage", &format!(r#"{{"totalBytes":{number}}}"#))]))
        .map_err(|bad| {
            assert_eq!(bad.rejection.code, RejectionCode::Invalid, "{number}");
            bad.to_string()
        })?;
    let Usage::Amounts(amounts) = record.usage else { panic!("usage gives amounts") };
    Ok(amounts.total_bytes)
}

#[test]
fn an_amount_is_an_integer_from_0_to_2_to_the_45th() {
    for (number, value) in [("0", 0), ("-0", 0), ("35184372088832", 1 << 45)] {
        assert_eq!(total(number), Ok(value));
    }
    let too_large = "usage.totalBytes: must be at most 2^45 (35184372088832)";
    let huge = "9".repeat(5_000);
    for number in ["35184372088833", "9223372036854775808", &huge] {
        assert_eq!(total(number), Err(too_large.into()));
    }
    for number in ["-1", "-9223372036854775809", &format!("-{huge}")] {
        assert_eq!(total(number), Err("usage.totalBytes: must not be negative".into()));
    }
}

/// Catches reading amounts through a float: 1.0 and 1e3 would pass, and large ones would be rounded.
#[test]
fn an_amount_is_no_fraction_and_no_text() {
    for number in ["1.0", "0.5", "1e3", "1E3", "1e400", "-1.0", "1e-1"] {
        let message = "usage.totalBytes: must be an integer, not a fraction or exponent";
        assert_eq!(total(number), Err(message.into()), "{number}");
    }
    for (value, kind) in [("\"3\"", "text"), ("true", "a boolean"), ("[3]", "an array"), ("{}", "an object")]
    {
        assert_eq!(total(value), Err(format!("usage.totalBytes: must be an integer, not {kind}")));
    }
    let (code, _) = refused(envelope(), json(&[("usage", r#"{"totalBytes":NaN}"#)]));
    assert_eq!(code, RejectionCode::Malformed, "NaN is no JSON");
    assert_eq!(
        total("null"),
        Err("usage.totalBytes: is required unless both parts are given".into()),
        "null states nothing"
    );
}

/// Catches inventing a total from one part.
#[test]
fn the_total_is_required_unless_both_parts_are_given() {
    let both = amounts(r#"{"dataUploadBytes":1,"dataDownloadBytes":2}"#);
    assert_eq!((both.upload_bytes, both.download_bytes, both.total_bytes), (1, 2, 3));
    let missing = "usage.totalBytes: is required unless both parts are given";
    for usage in [
        "{}",
        r#"{"dataUploadBytes":1}"#,
        r#"{"dataDownloadBytes":1,"smsCount":1}"#,
        r#"{"dataUploadBytes":1,"dataDownloadBytes":null}"#,
    ] {
        assert_eq!(faults(&[("usage", usage)]), missing, "{usage}");
    }
    let over = r#"{"dataUploadBytes":35184372088832,"dataDownloadBytes":1}"#;
    assert_eq!(
        faults(&[("usage", over)]),
        "usage.totalBytes: upload and download together must be at most 2^45"
    );
}

#[test]
fn messages_and_calls_need_no_data() {
    assert_eq!(amounts(r#"{"smsCount":4}"#), Amounts { sms_count: 4, ..Amounts::default() });
    assert_eq!(amounts(r#"{"voiceSeconds":0}"#), Amounts::default());
    let all = amounts(r#"{"totalBytes":1,"smsCount":2,"voiceSeconds":3}"#);
    assert_eq!((all.total_bytes, all.sms_count, all.voice_seconds), (1, 2, 3));
}

/// Catches mending the total: it is kept as sent.
#[test]
fn a_total_that_differs_from_its_parts_is_kept_and_noted() {
    let mismatched = |usage: &str| good(&[("usage", usage)]).total_mismatch;
    let differs = r#"{"totalBytes":9,"dataUploadBytes":1,"dataDownloadBytes":2}"#;
    assert!(mismatched(differs));
    assert_eq!(amounts(differs).total_bytes, 9);
    assert!(!mismatched(r#"{"totalBytes":3,"dataUploadBytes":1,"dataDownloadBytes":2}"#));
    assert!(!mismatched(r#"{"totalBytes":3,"dataUploadBytes":1}"#), "one part says nothing");
}

#[test]
fn usage_is_an_object() {
    assert_eq!(faults(&[("usage", "[]")]), "usage: must be an object");
    assert_eq!(faults(&[("usage", "3")]), "usage: must be an object");
}

fn counters(counters: &str) -> Result<CounterSample, String> {
    let json = json(&[("usage", ""), ("counters", counters)]);
    match decode_in(envelope(), json).map_err(|bad| bad.to_string())?.usage {
        Usage::Counters(sample) => Ok(sample),
        Usage::Amounts(_) => panic!("{counters} gives readings"),
    }
}

#[test]
fn readings_stand_in_place_of_amounts() {
    let sample = counters(r#"{"sessionId":"s-1","uploadBytes":5,"downloadBytes":35184372088827}"#).unwrap();
    let expected = CounterSample {
        session_id: "s-1".into(),
        upload_bytes: 5,
        download_bytes: (1 << 45) - 5,
        from: None,
    };
    assert_eq!(sample, expected);
    let from =
        r#"{"sessionId":"s","uploadBytes":5,"downloadBytes":6,"from":{"uploadBytes":3,"downloadBytes":4}}"#;
    assert_eq!(counters(from).unwrap().from, Some(CounterPlace { upload_bytes: 3, download_bytes: 4 }));
    let both = [("counters", r#"{"sessionId":"s","uploadBytes":1,"downloadBytes":1}"#)];
    assert_eq!(faults(&both), "counters: cannot stand beside usage: give amounts or readings");
}

#[test]
fn readings_need_their_session_and_both_directions() {
    let message = |json: &str| counters(json).unwrap_err();
    assert_eq!(
        message("{}"),
        "counters.sessionId: is required; counters.uploadBytes: is required; counters.downloadBytes: is required"
    );
    assert_eq!(message("7"), "counters: must be an object");
    let half = r#"{"sessionId":"s","uploadBytes":5,"downloadBytes":6,"from":{"uploadBytes":"3"}}"#;
    assert_eq!(
        message(half),
        "counters.from.uploadBytes: must be an integer, not text; counters.from.downloadBytes: is required"
    );
    assert_eq!(
        message(r#"{"sessionId":"","uploadBytes":-1,"downloadBytes":1.5}"#),
        "counters.sessionId: must not be empty; counters.uploadBytes: must not be negative; \
         counters.downloadBytes: must be an integer, not a fraction or exponent"
    );
    assert_eq!(
        message(r#"{"sessionId":"s","uploadBytes":1,"downloadBytes":35184372088832}"#),
        "counters: upload and download together must be at most 2^45"
    );
}
