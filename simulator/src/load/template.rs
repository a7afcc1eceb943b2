use bytes::{BufMut, BytesMut};
use chrono::{DateTime, SecondsFormat, TimeDelta, Timelike, Utc};

use super::frames::{self, Protocol};
use crate::record::RunId;

/// ICCIDs of the fleet, all of one length, so that they can be written over each other.
pub(crate) const ICCID_LEN: usize = 19;
const SEQUENCE_LEN: usize = 12;
const BYTES_LEN: usize = 7;

/// A whole PUBLISH, rendered once; for each message only digits of fixed width are overwritten. Rendering JSON anew
/// would cost the generator as much as parsing costs the product under test.
pub(crate) struct Template {
    packet: Vec<u8>,
    packet_id_at: Option<usize>,
    topic_iccid_at: Option<usize>,
    records: Vec<RecordPlaces>,
}

struct RecordPlaces {
    id_iccid_at: usize,
    sequence_at: usize,
    iccid_at: usize,
    minute_at: usize,
    total_bytes_at: usize,
}

/// What decides the bytes that all messages of a run have in common.
pub(crate) struct TemplateSpec<'a> {
    pub protocol: Protocol,
    pub qos: u8,
    /// 1 = one object on the SIM's topic; more = an array of so many.
    pub records_per_message: u16,
    pub run_id: &'a RunId,
    /// Periods begin at the minutes of the hour that ends here.
    pub until: DateTime<Utc>,
}

impl Template {
    pub(crate) fn new(spec: &TemplateSpec<'_>) -> Self {
        let mut payload = Vec::new();
        let array = spec.records_per_message > 1;
        if array {
            payload.push(b'[');
        }
        let mut records = Vec::with_capacity(spec.records_per_message.into());
        for n in 0..spec.records_per_message {
            if n > 0 {
                payload.push(b',');
            }
            records.push(render_record(&mut payload, spec));
        }
        if array {
            payload.push(b']');
        }
        let topic = format!("simportal/sims/{}/usage", "0".repeat(ICCID_LEN));
        let mut packet = BytesMut::new();
        frames::publish_header(&mut packet, spec.protocol, spec.qos, &topic, payload.len());
        let payload_at = packet.len();
        packet.put_slice(&payload);
        for places in &mut records {
            places.move_by(payload_at);
        }
        let properties = usize::from(spec.protocol == Protocol::V5);
        let packet_id_at = (spec.qos > 0).then(|| payload_at - properties - 2);
        let topic_end = packet_id_at.unwrap_or(payload_at - properties);
        let topic_iccid_at = Some(topic_end - "/usage".len() - ICCID_LEN);
        Self { packet: packet.to_vec(), packet_id_at, topic_iccid_at, records }
    }

    pub(crate) fn records_per_message(&self) -> u64 {
        self.records.len() as u64
    }

    /// Appends one message to `out`. `first_sequence` and the numbers after it must not have been used in this run.
    pub(crate) fn write(
        &self,
        out: &mut BytesMut,
        packet_id: u16,
        iccid: &[u8; ICCID_LEN],
        first_sequence: u64,
    ) {
        let start = out.len();
        out.extend_from_slice(&self.packet);
        let packet = &mut out[start..];
        if let Some(at) = self.packet_id_at {
            packet[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        if let Some(at) = self.topic_iccid_at {
            packet[at..at + ICCID_LEN].copy_from_slice(iccid);
        }
        for (places, sequence) in self.records.iter().zip(first_sequence..) {
            packet[places.id_iccid_at..places.id_iccid_at + ICCID_LEN].copy_from_slice(iccid);
            packet[places.iccid_at..places.iccid_at + ICCID_LEN].copy_from_slice(iccid);
            put_digits(&mut packet[places.sequence_at..places.sequence_at + SEQUENCE_LEN], sequence);
            put_digits(&mut packet[places.minute_at..places.minute_at + 2], sequence % 60);
            // Multiplicative hashing: sizes vary without a random generator in the hot loop. The first digit is a
            // constant 1, because JSON knows no leading zeros.
            let size = sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 45;
            put_digits(&mut packet[places.total_bytes_at + 1..places.total_bytes_at + BYTES_LEN], size);
        }
    }
}

impl RecordPlaces {
    fn move_by(&mut self, offset: usize) {
        for place in [
            &mut self.id_iccid_at,
            &mut self.sequence_at,
            &mut self.iccid_at,
            &mut self.minute_at,
            &mut self.total_bytes_at,
        ] {
            *place += offset;
        }
    }
}

fn render_record(out: &mut Vec<u8>, spec: &TemplateSpec<'_>) -> RecordPlaces {
    let until =
        spec.until.with_minute(0).and_then(|at| at.with_second(0)).and_then(|at| at.with_nanosecond(0));
    let until = until.expect("minute, second and nanosecond 0 exist in every hour of UTC");
    let start = (until - TimeDelta::hours(1)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let end = until.to_rfc3339_opts(SecondsFormat::Secs, true);
    let (iccid, sequence, bytes) = ("0".repeat(ICCID_LEN), "0".repeat(SEQUENCE_LEN), "1".repeat(BYTES_LEN));
    let mut put = |text: &str| {
        let at = out.len();
        out.extend_from_slice(text.as_bytes());
        at
    };
    put(r#"{"recordId":""#);
    let id_iccid_at = put(&iccid);
    put(&format!("-{}-", spec.run_id));
    let sequence_at = put(&sequence);
    put(r#"","iccid":""#);
    let iccid_at = put(&iccid);
    put(r#"","periodStart":""#);
    // Up to "YYYY-MM-DDTHH:", the minutes come next.
    let minute_at = put(&start) + 14;
    put(r#"","periodEnd":""#);
    put(&end);
    put(r#"","usage":{"totalBytes":"#);
    let total_bytes_at = put(&bytes);
    put(r#"},"source":"load"}"#);
    RecordPlaces { id_iccid_at, sequence_at, iccid_at, minute_at, total_bytes_at }
}

fn put_digits(place: &mut [u8], mut value: u64) {
    for byte in place.iter_mut().rev() {
        *byte = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use chrono::TimeZone;
    use serde_json::Value;

    use super::*;

    fn template(protocol: Protocol, qos: u8, records_per_message: u16) -> Template {
        let run_id = RunId::new(1, Utc.with_ymd_and_hms(2026, 11, 21, 10, 30, 0).unwrap());
        let until = Utc.with_ymd_and_hms(2026, 11, 21, 10, 30, 0).unwrap();
        Template::new(&TemplateSpec { protocol, qos, records_per_message, run_id: &run_id, until })
    }

    /// Topic, packet id and payload of the only packet in `bytes`.
    fn parse(bytes: &[u8], protocol: Protocol, qos: u8) -> (String, u16, Value) {
        let header = 1 + bytes[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let topic_len = usize::from(u16::from_be_bytes([bytes[header], bytes[header + 1]]));
        let mut at = header + 2 + topic_len;
        let topic = String::from_utf8(bytes[header + 2..at].to_vec()).unwrap();
        let mut packet_id = 0;
        if qos > 0 {
            packet_id = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            at += 2;
        }
        at += usize::from(protocol == Protocol::V5);
        (topic, packet_id, serde_json::from_slice(&bytes[at..]).unwrap())
    }

    #[test]
    fn a_message_is_valid_json_with_its_own_numbers_in_every_variant() {
        for protocol in [Protocol::V311, Protocol::V5] {
            for qos in [0, 1, 2] {
                let mut out = BytesMut::new();
                template(protocol, qos, 1).write(&mut out, 513, b"8941010000000000014", 77);
                let (topic, packet_id, json) = parse(&out, protocol, qos);
                assert_eq!(topic, "simportal/sims/8941010000000000014/usage");
                assert_eq!(packet_id, if qos == 0 { 0 } else { 513 });
                assert_eq!(json["iccid"], "8941010000000000014");
                assert_eq!(json["periodStart"], "2026-11-21T09:17:00Z");
                assert_eq!(json["periodEnd"], "2026-11-21T10:00:00Z");
                assert!(json["usage"]["totalBytes"].as_u64().unwrap() >= 1_000_000);
            }
        }
    }

    #[test]
    fn no_record_id_of_an_array_or_of_the_next_message_repeats() {
        let template = template(Protocol::V311, 1, 10);
        let mut ids = HashSet::new();
        for message in 0..5 {
            let mut out = BytesMut::new();
            template.write(&mut out, 1, b"8941010000000000014", message * 10);
            let (_, _, json) = parse(&out, Protocol::V311, 1);
            for record in json.as_array().unwrap() {
                assert!(ids.insert(record["recordId"].as_str().unwrap().to_owned()));
            }
        }
        assert_eq!(ids.len(), 50);
    }
}
