//! The few MQTT packets that a load generator needs, 3.1.1 and 5.
//!
//! Not rumqttc: its event loop flushes the socket for every PUBLISH and clones each packet. Against the same broker
//! on the same two cores it cost four times the CPU for each acknowledged message (12 µs against 3 µs), which the
//! product under test would have missed. Here a refill of the window is one `write`.

use bytes::{Buf, BufMut, BytesMut};

/// Protocol version on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    V311,
    V5,
}

/// What the broker said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// CONNACK with its return or reason code; 0 is success.
    Connected(u8),
    /// The message is finished: PUBACK, PUBCOMP, or a PUBREC that refuses. MQTT 5 reason code, else 0.
    Finished { packet_id: u16, reason: u8 },
    /// QoS 2: PUBREL has to follow.
    Received(u16),
    /// DISCONNECT with its reason code.
    Disconnected(u8),
    /// A packet that changes nothing here, such as PINGRESP.
    Other,
}

/// The broker sent bytes that are no MQTT.
#[derive(Debug, thiserror::Error)]
#[error("the broker sent a malformed packet")]
pub struct MalformedPacket;

/// CONNECT with a clean session and the longest keep-alive: an idle or saturated generator needs no PINGREQ.
pub(crate) fn connect(
    out: &mut BytesMut,
    protocol: Protocol,
    client_id: &str,
    credentials: Option<&(String, String)>,
) {
    let properties = usize::from(protocol == Protocol::V5);
    let login = credentials.map_or(0, |(user, password)| 4 + user.len() + password.len());
    out.put_u8(0x10);
    put_remaining_length(out, 10 + properties + 2 + client_id.len() + login);
    put_text(out, "MQTT");
    out.put_u8(if protocol == Protocol::V5 { 5 } else { 4 });
    out.put_u8(if credentials.is_some() { 0b1100_0010 } else { 0b0000_0010 });
    out.put_u16(u16::MAX);
    out.put_bytes(0, properties);
    put_text(out, client_id);
    if let Some((user, password)) = credentials {
        put_text(out, user);
        put_text(out, password);
    }
}

/// The part of a PUBLISH before its payload; for QoS 1 and 2 it ends with the packet id (and, in MQTT 5, one byte).
pub(crate) fn publish_header(
    out: &mut BytesMut,
    protocol: Protocol,
    qos: u8,
    topic: &str,
    payload_len: usize,
) {
    let properties = usize::from(protocol == Protocol::V5);
    let packet_id = if qos == 0 { 0 } else { 2 };
    out.put_u8(0x30 | qos << 1);
    put_remaining_length(out, 2 + topic.len() + packet_id + properties + payload_len);
    put_text(out, topic);
    out.put_bytes(0, packet_id + properties);
}

pub(crate) fn pubrel(out: &mut BytesMut, packet_id: u16) {
    out.put_slice(&[0x62, 2]);
    out.put_u16(packet_id);
}

pub(crate) fn disconnect(out: &mut BytesMut) {
    out.put_slice(&[0xe0, 0]);
}

/// Takes the next whole packet from `input`; `None` when its end has not arrived yet.
pub(crate) fn next_answer(input: &mut BytesMut) -> Result<Option<Answer>, MalformedPacket> {
    let Some((header, length)) = packet_bounds(input)? else { return Ok(None) };
    let kind = input[0];
    let body = &input[header..header + length];
    let packet_id = || match body {
        [high, low, ..] => Ok(u16::from_be_bytes([*high, *low])),
        _ => Err(MalformedPacket),
    };
    let reason = body.get(2).copied().unwrap_or(0);
    let answer = match kind >> 4 {
        2 => Answer::Connected(body.get(1).copied().ok_or(MalformedPacket)?),
        4 | 7 => Answer::Finished { packet_id: packet_id()?, reason },
        5 if reason >= 0x80 => Answer::Finished { packet_id: packet_id()?, reason },
        5 => Answer::Received(packet_id()?),
        14 => Answer::Disconnected(body.first().copied().unwrap_or(0)),
        _ => Answer::Other,
    };
    input.advance(header + length);
    Ok(Some(answer))
}

/// Lengths of the fixed header and of the rest.
fn packet_bounds(input: &[u8]) -> Result<Option<(usize, usize)>, MalformedPacket> {
    let mut length = 0;
    for (place, byte) in input.iter().skip(1).enumerate() {
        if place == 4 {
            return Err(MalformedPacket);
        }
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let header = place + 2;
            return Ok((input.len() >= header + length).then_some((header, length)));
        }
    }
    Ok(None)
}

fn put_remaining_length(out: &mut BytesMut, mut length: usize) {
    loop {
        let byte = (length % 128) as u8;
        length /= 128;
        out.put_u8(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            return;
        }
    }
}

fn put_text(out: &mut BytesMut, text: &str) {
    // Longer texts than a u16 can count are refused before the first connection is opened.
    out.put_u16(text.len() as u16);
    out.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(bytes: &[u8]) -> Vec<Answer> {
        let mut input = BytesMut::from(bytes);
        std::iter::from_fn(|| next_answer(&mut input).unwrap()).collect()
    }

    #[test]
    fn a_connect_is_what_the_standard_says() {
        let mut out = BytesMut::new();
        connect(&mut out, Protocol::V311, "ab", Some(&("u".to_owned(), "pw".to_owned())));
        assert_eq!(&out[..], b"\x10\x15\x00\x04MQTT\x04\xc2\xff\xff\x00\x02ab\x00\x01u\x00\x02pw");
        out.clear();
        connect(&mut out, Protocol::V5, "ab", None);
        assert_eq!(&out[..], b"\x10\x0f\x00\x04MQTT\x05\x02\xff\xff\x00\x00\x02ab");
    }

    #[test]
    fn a_publish_header_leaves_room_for_the_packet_id_only_above_qos_0() {
        let mut out = BytesMut::new();
        publish_header(&mut out, Protocol::V311, 1, "t", 200);
        assert_eq!(&out[..], b"\x32\xcd\x01\x00\x01t\x00\x00");
        out.clear();
        publish_header(&mut out, Protocol::V5, 0, "t", 2);
        assert_eq!(&out[..], b"\x30\x06\x00\x01t\x00");
    }

    #[test]
    fn every_answer_is_understood_in_both_versions() {
        assert_eq!(answers(b"\x20\x02\x00\x05"), [Answer::Connected(5)]);
        assert_eq!(
            answers(b"\x40\x02\x00\x07\x40\x03\x00\x08\x99"),
            [Answer::Finished { packet_id: 7, reason: 0 }, Answer::Finished { packet_id: 8, reason: 0x99 }]
        );
        assert_eq!(answers(b"\x50\x02\x01\x00\x70\x02\x01\x00")[0], Answer::Received(256));
        assert_eq!(answers(b"\x50\x03\x00\x01\x83"), [Answer::Finished { packet_id: 1, reason: 0x83 }]);
        assert_eq!(answers(b"\xe0\x01\x8e\xd0\x00"), [Answer::Disconnected(0x8e), Answer::Other]);
    }

    #[test]
    fn a_packet_in_pieces_is_read_when_its_last_byte_is_there() {
        let mut input = BytesMut::new();
        for byte in b"\x40\x02\x00" {
            input.put_u8(*byte);
            assert_eq!(next_answer(&mut input).unwrap(), None);
        }
        input.put_u8(9);
        assert_eq!(next_answer(&mut input).unwrap(), Some(Answer::Finished { packet_id: 9, reason: 0 }));
        assert!(input.is_empty());
    }

    #[test]
    fn a_length_of_five_bytes_and_an_ack_without_id_are_malformed() {
        assert!(next_answer(&mut BytesMut::from(&b"\x40\xff\xff\xff\xff\x01"[..])).is_err());
        assert!(next_answer(&mut BytesMut::from(&b"\x40\x01\x00"[..])).is_err());
    }
}
