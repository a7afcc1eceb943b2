//! What holds for every payload.

use proptest::prelude::*;

use super::*;
use crate::domain::{CounterPlace, CounterSample, Fingerprint, Iccid, MAX_AMOUNT, RecordKey};

fn usage() -> impl Strategy<Value = Usage> {
    let part = 0..=MAX_AMOUNT / 2;
    let amounts = (part.clone(), part.clone(), part.clone(), 0..=MAX_AMOUNT, any::<bool>()).prop_map(
        |(upload_bytes, download_bytes, sms_count, voice_seconds, differs)| {
            let total_bytes = upload_bytes + download_bytes - i64::from(differs && upload_bytes > 0);
            Usage::Amounts(Amounts { upload_bytes, download_bytes, total_bytes, sms_count, voice_seconds })
        },
    );
    let place = (part.clone(), part.clone())
        .prop_map(|(upload_bytes, download_bytes)| CounterPlace { upload_bytes, download_bytes });
    let counters = (part.clone(), part, ".{1,100}", prop::option::of(place)).prop_map(
        |(upload_bytes, download_bytes, session_id, from)| {
            let session_id = session_id.replace('\0', "-");
            Usage::Counters(CounterSample { session_id, upload_bytes, download_bytes, from })
        },
    );
    prop_oneof![amounts, counters]
}

prop_compose! {
    fn record()(
        (iccid, record_id) in ("[0-9]{10,20}", "[^\0]{1,100}"),
        // Microseconds before now, and how long.
        ago in -86_400_000_000i64..400 * 86_400_000_000,
        length in 0i64..=31 * 86_400_000_000,
        usage in usage(),
        mccmnc in prop::option::of("[0-9]{5,6}"),
        corrects in prop::option::of("[^\0]{1,100}"),
        (source, batch_id) in (prop::option::of("[^\0]{1,100}"), prop::option::of("[^\0]{1,100}")),
    ) -> UsageRecord {
        let period_start = envelope().now - TimeDelta::microseconds(ago);
        let total_mismatch = matches!(
            &usage,
            Usage::Amounts(a) if a.upload_bytes + a.download_bytes != a.total_bytes
        );
        UsageRecord {
            key: RecordKey { tenant: TenantId(7), iccid: Iccid::parse(&iccid).unwrap(), record_id },
            period_start,
            period_end: period_start + TimeDelta::microseconds(length),
            usage, total_mismatch, mccmnc, corrects, source, batch_id,
        }
    }
}

fn text_of(record: &UsageRecord) -> String {
    let mut json = serde_json::json!({
        "recordId": record.key.record_id,
        "iccid": record.key.iccid.as_str(),
        "periodStart": record.period_start.to_rfc3339(),
        "periodEnd": record.period_end.to_rfc3339(),
        "mccmnc": record.mccmnc,
        "corrects": record.corrects,
        "source": record.source,
    });
    match &record.usage {
        Usage::Amounts(a) => {
            json["usage"] = serde_json::json!({
                "totalBytes": a.total_bytes, "dataUploadBytes": a.upload_bytes,
                "dataDownloadBytes": a.download_bytes, "smsCount": a.sms_count, "voiceSeconds": a.voice_seconds,
            });
        }
        Usage::Counters(c) => {
            json["counters"] = serde_json::json!({
                "sessionId": c.session_id, "uploadBytes": c.upload_bytes, "downloadBytes": c.download_bytes,
            });
            if let Some(from) = c.from {
                json["counters"]["from"] = serde_json::json!({ "uploadBytes": from.upload_bytes, "downloadBytes": from.download_bytes });
            }
        }
    }
    match &record.batch_id {
        Some(id) => serde_json::json!({ "batchId": id, "records": [json] }).to_string(),
        None => json.to_string(),
    }
}

/// The record with one thing changed that says something about usage.
fn changed(record: &UsageRecord, which: usize) -> UsageRecord {
    let mut other = record.clone();
    let microsecond = TimeDelta::microseconds(1);
    match (which, &mut other.usage) {
        (0, _) => other.period_start += microsecond,
        (1, _) => other.period_end += microsecond,
        (2, _) => other.mccmnc = Some(other.mccmnc.map_or("00000".into(), |code| code + "1")),
        (3, _) => other.corrects = Some(other.corrects.map_or(String::new(), |id| id + "1")),
        (4, Usage::Amounts(a)) => a.upload_bytes += 1,
        (5, Usage::Amounts(a)) => a.download_bytes += 1,
        (6, Usage::Amounts(a)) => a.total_bytes += 1,
        (7, Usage::Amounts(a)) => a.sms_count += 1,
        (_, Usage::Amounts(a)) => a.voice_seconds += 1,
        (4 | 5, Usage::Counters(c)) => c.upload_bytes += 1,
        (6, Usage::Counters(c)) => c.download_bytes += 1,
        (7, Usage::Counters(CounterSample { from: Some(from), .. })) => from.upload_bytes += 1,
        (7, Usage::Counters(c)) => c.from = Some(CounterPlace::default()),
        (_, Usage::Counters(c)) => c.session_id.push('1'),
    }
    other
}

fn fingerprint(record: &UsageRecord) -> Fingerprint {
    record.fingerprint()
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(payload: Vec<u8>, topic in any::<bool>()) {
        let envelope = Envelope { topic_iccid: topic.then_some(ICCID), ..envelope() };
        prop_assert!(!decode(&payload.into(), envelope, &limits()).elements.is_empty());
    }

    /// Bytes that look like JSON come farther than any bytes.
    #[test]
    fn no_text_like_json_makes_the_decoder_panic(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\\", "\"records\"", "\"batchId\"", "\"recordId\"", "\"usage\"", "1",
            "-", ".5", "null", "NaN", " ", "\"a\"", "\u{fffd}",
        ]), 0..40),
    ) {
        let payload = Bytes::from(tokens.concat());
        let decoded = decode(&payload, envelope(), &limits());
        prop_assert!(!decoded.elements.is_empty());
        prop_assert!(decoded.elements.iter().all(|element| element.result.is_err()));
    }

    #[test]
    fn a_valid_record_comes_out_as_it_went_in(record in record()) {
        let envelope = Envelope { topic_iccid: None, may_correct: true, ..envelope() };
        let decoded = decode_in(envelope, text_of(&record));
        prop_assert_eq!(decoded.map_err(|bad| bad.to_string()), Ok(record));
    }

    /// Catches a field left out of the fingerprint: a change of it would pass for a repetition and vanish.
    #[test]
    fn whatever_says_something_about_usage_changes_the_fingerprint(record in record(), which in 0usize..9) {
        prop_assert_ne!(fingerprint(&record), fingerprint(&changed(&record, which)));
    }

    /// Catches a field too many: a repetition through another gateway would be a conflict.
    #[test]
    fn who_carried_a_record_does_not_change_the_fingerprint(record in record(), other in ".{1,20}") {
        let again = UsageRecord {
            source: Some(other.clone()),
            batch_id: Some(other),
            total_mismatch: !record.total_mismatch,
            ..record.clone()
        };
        prop_assert_eq!(fingerprint(&record), fingerprint(&again));
    }
}
