//! Usage payloads of devices, and bodies of posts. The first byte says what is known of the sender.
#![no_main]

use bytes::Bytes;
use chrono::{DateTime, TimeDelta};
use libfuzzer_sys::fuzz_target;
use simbridge::domain::TenantId;
use simbridge::payload::{Envelope, PayloadLimits, check_batch, decode};

const ICCID: &str = "8941000000000000001";
const MAX_RECORDS: usize = 50;

fuzz_target!(|data: &[u8]| {
    let Some((sender, payload)) = data.split_first() else { return };
    let limits = PayloadLimits {
        max_records: MAX_RECORDS,
        max_future: TimeDelta::hours(24),
        max_age: TimeDelta::days(400),
    };
    let envelope = Envelope {
        tenant: TenantId(1),
        topic_iccid: (sender & 1 != 0).then_some(ICCID),
        own_iccid: (sender & 2 != 0).then_some(ICCID),
        may_correct: sender & 4 != 0,
        now: DateTime::from_timestamp(1_795_300_000, 0).expect("a time"),
    };
    let payload = Bytes::copy_from_slice(payload);
    let decoded = decode(&payload, envelope, &limits);
    assert!((1..=MAX_RECORDS).contains(&decoded.elements.len()), "never empty, never too many");
    for element in &decoded.elements {
        assert!(element.raw.len() <= payload.len(), "a part of the payload");
        if let Ok(record) = &element.result {
            if sender & 2 != 0 {
                assert_eq!(record.key.iccid.as_str(), ICCID, "a device speaks for its own SIM");
            }
        }
    }
    check_batch(&payload, &limits).ok();
});
