//! Arrays, batches and what is neither.

use super::*;

/// For each element its recordId, or its code.
fn outcomes(decoded: &Decoded) -> Vec<String> {
    let outcome = |element: &Element| match &element.result {
        Ok(record) => record.key.record_id.clone(),
        Err(bad) => bad.rejection.code.as_str().into(),
    };
    decoded.elements.iter().map(outcome).collect()
}

fn decoded(payload: impl Into<Bytes>) -> Decoded {
    decode(&payload.into(), envelope(), &limits())
}

fn named(id: &str) -> String {
    json(&[("recordId", &format!("\"{id}\""))])
}

/// Elements that are no record, and the code that each is refused with.
fn bad_elements() -> Vec<(Vec<u8>, &'static str)> {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    vec![
        (b"NaN".to_vec(), "malformed"),
        (b"{\"recordId\":\"\xff\xfe\"}".to_vec(), "malformed"),
        (json(&[("usage", r#"{"totalBytes":-Infinity}"#)]).into_bytes(), "malformed"),
        (b"{\"recordId\" \"r\"}".to_vec(), "malformed"),
        (Vec::new(), "malformed"),
        (deep.into_bytes(), "invalid"),
        (json(&[("usage", r#"{"totalBytes":1e400}"#)]).into_bytes(), "invalid"),
        (b"null".to_vec(), "invalid"),
        (b"\"text, with ] and } in it\"".to_vec(), "invalid"),
        (b"{}".to_vec(), "invalid"),
    ]
}

fn surrounded(before: &str, element: &[u8], after: &str) -> Vec<u8> {
    [
        before.as_bytes(),
        named("left").as_bytes(),
        b" , ",
        element,
        b",",
        named("right").as_bytes(),
        after.as_bytes(),
    ]
    .concat()
}

#[test]
fn an_array_is_taken_apart_in_its_order() {
    let decoded = decoded(format!(" [{},{}\n,{}] ", named("a"), named("b"), named("c")));
    assert_eq!(outcomes(&decoded), ["a", "b", "c"]);
    assert_eq!(decoded.elements[1].raw, named("b"), "each has its own bytes");
}

/// Catches giving up on an array, or on what follows the bad element.
#[test]
fn neighbours_of_a_bad_element_survive() {
    for (element, code) in bad_elements() {
        let decoded = decoded(surrounded("[", &element, "]"));
        let shown = String::from_utf8_lossy(&element[..element.len().min(60)]).into_owned();
        assert_eq!(outcomes(&decoded), ["left", code, "right"], "{shown}");
        assert_eq!(decoded.elements[1].raw, element, "what is parked is the element alone");
    }
}

/// Catches refusing a whole batch for one record that is no JSON.
#[test]
fn neighbours_of_a_bad_record_in_a_batch_survive() {
    for (element, code) in bad_elements() {
        let before = r#"{"batchId":"b-1", "note":"\"records\":[", "records" : ["#;
        let decoded = decoded(surrounded(before, &element, r#"] , "source":"gw" }"#));
        assert_eq!(outcomes(&decoded), ["left", code, "right"]);
        assert_eq!(decoded.batch_id.as_deref(), Some("b-1"));
        assert_eq!(decoded.elements[1].raw, element);
        let record = decoded.elements[2].result.as_ref().unwrap();
        assert_eq!((record.batch_id.as_deref(), record.source.as_deref()), (Some("b-1"), Some("gw")));
    }
}

#[test]
fn a_batch_gives_its_records_its_id_and_its_source() {
    let own = json(&[("source", "\"own\""), ("recordId", "\"b\"")]);
    let decoded =
        decoded(format!(r#"{{"source":"gw","records":[{},{own}],"batchId":"b-1","x":1}}"#, named("a")));
    assert_eq!(outcomes(&decoded), ["a", "b"]);
    let sources: Vec<_> =
        decoded.elements.iter().map(|e| e.result.as_ref().unwrap().source.clone()).collect();
    assert_eq!(sources, [Some("gw".into()), Some("own".into())], "a record's own source goes before");
    assert_eq!(decoded.elements[0].result.as_ref().unwrap().batch_id.as_deref(), Some("b-1"));
}

/// The code and words with which a payload is refused as a whole.
fn whole(payload: impl Into<Bytes>) -> (RejectionCode, String) {
    let payload = payload.into();
    let decoded = decode(&payload, envelope(), &limits());
    assert_eq!(decoded.elements[0].raw, payload, "the whole payload is parked");
    refused(envelope(), payload)
}

#[test]
fn a_batch_whose_frame_is_at_fault_is_refused_as_a_whole() {
    let of = |rest: &str| whole(format!("{{{rest}}}"));
    let invalid = |message: &str| (RejectionCode::Invalid, message.to_owned());
    assert_eq!(of(r#""batchId":"b","records":[]"#), invalid("records: must hold at least one record"));
    assert_eq!(of(r#""batchId":"b","records":7"#), invalid("records: must be an array of records"));
    assert_eq!(of(r#""batchId":"b","records":{"0":{}}"#), invalid("records: must be an array of records"));
    assert_eq!(
        of(&format!(r#""batchId":7,"source":"","records":[{}]"#, named("a"))),
        invalid("batchId: must be text, not a number; source: must not be empty"),
    );
    let (code, message) = of(r#""records":[],"records":[]"#);
    assert_eq!(code, RejectionCode::Invalid);
    assert!(message.starts_with("cannot be read: duplicate field `records`"), "{message}");
}

#[test]
fn the_word_records_makes_no_batch_of_a_record() {
    assert_eq!(
        good(&[("source", r#""my \"records\" of today""#)]).source.as_deref(),
        Some("my \"records\" of today")
    );
    assert_eq!(good(&[("source", r#""records""#)]).source.as_deref(), Some("records"));
    assert_eq!(good(&[("records", "7")]), good(&[]), "an unknown field of a record");
    assert_eq!(good(&[("more", r#"{"records":[1]}"#)]), good(&[]));
}

/// Catches a limit that is off by one, and one that cuts instead of refusing.
#[test]
fn an_array_holds_1_to_1000_records() {
    let array = |n: usize| format!("[{}]", vec![named("a"); n].join(","));
    assert_eq!(decoded(array(1_000)).elements.len(), 1_000);
    let too_many =
        (RejectionCode::TooManyRecords, "records: 1001 records, at most 1000 are accepted".to_owned());
    assert_eq!(whole(array(1_001)), too_many);
    assert_eq!(whole(format!(r#"{{"records":{}}}"#, array(1_001))), too_many);
    let empty = (RejectionCode::Invalid, "records: must hold at least one record".to_owned());
    assert_eq!(whole("[]"), empty);
    assert_eq!(whole(" [ ] "), empty);
}

#[test]
fn what_is_neither_object_nor_array_is_malformed() {
    for payload in [&b""[..], b" \n\t", b"7", b"\"text\"", b"null", b"\xff\xfe", b"NaN", b"\0"] {
        assert_eq!(whole(payload).0, RejectionCode::Malformed, "{payload:?}");
    }
    assert_eq!(whole("").1, "the payload is empty");
    assert_eq!(whole(" ").1, "the payload is empty");
    assert_eq!(whole("7").1, "a usage payload is a JSON object or array");
}

#[test]
fn brackets_that_do_not_pair_up_are_malformed() {
    for payload in
        ["{", "[", "[{}", "{\"records\":[", "[1]]", "{} x", "{\"records\":[{}]", "[{\"recordId\":\"}]"]
    {
        let (code, message) = whole(payload);
        assert_eq!(code, RejectionCode::Malformed, "{payload}");
        assert!(message.starts_with("not JSON: "), "{message}");
    }
}

#[test]
fn bad_utf_8_in_a_field_that_counts_is_malformed() {
    for (field, bytes) in
        [("recordId", &b"\"\xc3\x28\""[..]), ("source", b"\"\xff\""), ("periodEnd", b"\"\xed\xa0\x80\"")]
    {
        let json = json(&[(field, "\"@\"")]).into_bytes();
        let at = json.windows(3).position(|w| w == b"\"@\"").unwrap();
        let payload = [&json[..at], bytes, &json[at + 3..]].concat();
        assert_eq!(whole(payload).0, RejectionCode::Malformed, "{field}");
    }
}

/// Catches a parser that recurses: it would overflow the stack and end the program.
#[test]
fn a_payload_nested_10_000_deep_is_refused_and_ends_nothing() {
    for (open, close) in [("[", "]"), (r#"{"records":["#, "]}"), (r#"{"usage":"#, "}")] {
        let payload = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        assert!(decoded(payload).elements.iter().all(|element| element.result.is_err()), "{open}");
        let unclosed = open.repeat(10_000);
        assert_eq!(whole(unclosed).0, RejectionCode::Malformed, "{open}");
    }
}

#[test]
fn junk_of_300_kilobytes_is_refused_as_one() {
    for byte in [0u8, b'[', b'{', b'"', b'\\', b'9', b',', 0xff] {
        assert_eq!(whole(vec![byte; 300 << 10]).0, RejectionCode::Malformed, "{byte}");
    }
    let huge = json(&[("recordId", &format!("\"{}\"", "r".repeat(300 << 10)))]);
    assert_eq!(whole(huge), (RejectionCode::Invalid, "recordId: must have at most 100 characters".into()));
}
