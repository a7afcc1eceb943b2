//! Frames to packets and back. The rumqttd codecs hide QoS, packet id and DUP of a PUBLISH and panic on packets that
//! only a server may send, so every frame is looked at before it reaches them.

use bytes::{BufMut, Bytes, BytesMut};
use rumqttd::protocol::{
    self, Connect, ConnectProperties, DisconnectReasonCode, Error, LastWill, LastWillProperties, Login,
    Packet, Protocol, PubAckReason, PubRecReason, Publish, PublishProperties, QoS, Subscribe,
    SubscribeProperties, Unsubscribe, v4, v5,
};

use super::ending::{Ending, Violation};
use super::strictness;

/// Protocol level of a connection; both share one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V311,
    V5,
}

/// A packet that a client may send after CONNECT.
#[derive(Debug)]
pub(super) enum Inbound {
    Publish(InboundPublish),
    PubAck { pkid: u16 },
    PubRec { pkid: u16, accepted: bool },
    PubRel { pkid: u16 },
    PubComp { pkid: u16 },
    Subscribe(Subscribe, Option<SubscribeProperties>),
    Unsubscribe(Unsubscribe),
    PingReq,
    Disconnect { keep_will: bool, session_expiry: Option<u32> },
}

#[derive(Debug)]
pub(super) struct InboundPublish {
    pub(super) qos: QoS,
    pub(super) pkid: u16,
    pub(super) retain: bool,
    /// Empty when only a topic alias names the topic.
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    pub(super) properties: Option<PublishProperties>,
}

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

/// Length of the frame at the start of `buffer`, `None` when it is not complete yet.
pub(super) fn frame_length(buffer: &[u8], max_bytes: usize) -> Result<Option<usize>, Violation> {
    match v4::check(buffer.iter(), max_bytes) {
        // The codec compares without the fixed header; what CONNACK announces includes it (MQTT 5, 3.2.2.3.6).
        Ok(header) if header.frame_length() > max_bytes => Err(Violation::PacketTooLarge),
        Ok(header) => Ok(Some(header.frame_length())),
        Err(Error::InsufficientBytes(_)) => Ok(None),
        Err(Error::PayloadSizeLimitExceeded(_)) => Err(Violation::PacketTooLarge),
        Err(_) => Err(Violation::Malformed("remaining length")),
    }
}

/// True when the frame at the start of `buffer` is a CONNECT.
pub(super) fn is_connect(buffer: &[u8]) -> bool {
    buffer.first() == Some(&(CONNECT << 4))
}

/// A CONNECT, taken apart.
#[derive(Debug)]
pub(super) struct Connecting {
    pub(super) version: Version,
    pub(super) connect: Connect,
    pub(super) properties: Option<ConnectProperties>,
    pub(super) will: Option<LastWill>,
    pub(super) will_properties: Option<LastWillProperties>,
    pub(super) login: Option<Login>,
}

/// Takes a complete CONNECT out of `buffer`. An error is how to refuse it: version, metric label, and the CONNACK codes of
/// MQTT 3.1.1 and 5.
pub(super) fn decode_connect(
    buffer: &mut BytesMut,
    max_bytes: usize,
) -> Result<Connecting, (Version, &'static str, u8, u8)> {
    let after_length = 1 + buffer[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let version = match buffer.get(after_length..after_length + 7) {
        Some([0, 4, b'M', b'Q', b'T', b'T', 4]) => Version::V311,
        Some([0, 4, b'M', b'Q', b'T', b'T', 5]) => Version::V5,
        Some([0, 4, b'M', b'Q', b'T', b'T', level]) if *level > 5 => {
            return Err((Version::V5, "protocol_version", 1, 0x84));
        }
        _ => return Err((Version::V311, "protocol_version", 1, 0x84)),
    };
    // The lowest bit of the connect flags is reserved (3.1.2.3).
    let reserved = buffer.get(after_length + 7).is_some_and(|flags| flags & 1 != 0);
    let packet = match version {
        Version::V311 => v4::V4.read_mut(buffer, max_bytes),
        Version::V5 => v5::V5.read_mut(buffer, max_bytes),
    };
    match packet {
        Ok(Packet::Connect(connect, properties, will, will_properties, login)) if !reserved => {
            Ok(Connecting { version, connect, properties, will, will_properties, login })
        }
        // A password that is no UTF-8 ends here too: the codec keeps passwords as text.
        _ => Err((version, "malformed", 4, 0x81)),
    }
}

/// Takes the next complete packet out of `buffer`.
pub(super) fn decode(
    version: Version,
    buffer: &mut BytesMut,
    max_bytes: usize,
) -> Result<Option<Inbound>, Violation> {
    let Some(length) = frame_length(buffer, max_bytes)? else { return Ok(None) };
    let head = Head::peek(&buffer[..length]);
    head.check(version)?;
    strictness::check_frame(&buffer[..length], version)?;
    // The codec reads a DISCONNECT that is only a reason code as incomplete, after it has consumed it.
    if head.packet_type == DISCONNECT && version == Version::V5 && length == 3 {
        let reason = buffer.split_to(length)[2];
        return Ok(Some(Inbound::Disconnect { keep_will: reason == 4, session_expiry: None }));
    }
    let packet = match version {
        Version::V311 => v4::V4.read_mut(buffer, max_bytes),
        Version::V5 => v5::V5.read_mut(buffer, max_bytes),
    };
    match packet {
        Ok(packet) => head.into_inbound(packet).map(Some),
        Err(Error::PacketIdZero) => Err(Violation::Protocol("packet identifier 0")),
        Err(_) => Err(Violation::Malformed(head.name())),
    }
}

/// What the codec does not tell.
struct Head {
    packet_type: u8,
    flags: u8,
    pkid: u16,
}

impl Head {
    /// `frame` is one complete frame.
    fn peek(frame: &[u8]) -> Self {
        let (packet_type, flags) = (frame[0] >> 4, frame[0] & 0x0f);
        let after_length = 1 + frame[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
        let number = |at: usize| match frame.get(at..at + 2) {
            Some(bytes) => u16::from_be_bytes([bytes[0], bytes[1]]),
            None => 0,
        };
        let pkid = match packet_type {
            PUBLISH if flags & 0b0110 == 0 => 0,
            PUBLISH => number(after_length + 2 + usize::from(number(after_length))),
            _ => number(after_length),
        };
        Self { packet_type, flags, pkid }
    }

    fn check(&self, version: Version) -> Result<(), Violation> {
        let flags_must_be = match self.packet_type {
            PUBLISH => self.flags,
            PUBREL | SUBSCRIBE | UNSUBSCRIBE => 0b0010,
            PUBACK | PUBREC | PUBCOMP | PINGREQ | DISCONNECT => 0,
            CONNECT => return Err(Violation::Protocol("second CONNECT")),
            15 if version == Version::V5 => {
                return Err(Violation::Protocol("AUTH without enhanced authentication"));
            }
            _ => return Err(Violation::Protocol("packet that only a server sends")),
        };
        if self.flags != flags_must_be {
            return Err(Violation::Malformed("reserved flags"));
        }
        let identified = !matches!(self.packet_type, PUBLISH | PINGREQ | DISCONNECT);
        if identified && self.pkid == 0 {
            return Err(Violation::Protocol("packet identifier 0"));
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        match self.packet_type {
            PUBLISH => "PUBLISH",
            SUBSCRIBE => "SUBSCRIBE",
            UNSUBSCRIBE => "UNSUBSCRIBE",
            DISCONNECT => "DISCONNECT",
            _ => "acknowledgement",
        }
    }

    fn into_inbound(self, packet: Packet) -> Result<Inbound, Violation> {
        Ok(match packet {
            Packet::Publish(publish, properties) => Inbound::Publish(InboundPublish {
                // The codec has refused the fourth value.
                qos: protocol::qos(self.flags >> 1 & 0b11).unwrap_or_default(),
                pkid: self.pkid,
                retain: publish.retain,
                topic: publish.topic,
                payload: publish.payload,
                properties,
            }),
            Packet::PubAck(ack, _) => Inbound::PubAck { pkid: ack.pkid },
            Packet::PubRec(rec, _) => Inbound::PubRec {
                pkid: rec.pkid,
                accepted: matches!(rec.reason, PubRecReason::Success | PubRecReason::NoMatchingSubscribers),
            },
            Packet::PubRel(rel, _) => Inbound::PubRel { pkid: rel.pkid },
            Packet::PubComp(comp, _) => Inbound::PubComp { pkid: comp.pkid },
            Packet::Subscribe(subscribe, properties) => Inbound::Subscribe(subscribe, properties),
            Packet::Unsubscribe(unsubscribe, _) => Inbound::Unsubscribe(unsubscribe),
            Packet::PingReq(_) => Inbound::PingReq,
            Packet::Disconnect(disconnect, properties) => Inbound::Disconnect {
                keep_will: disconnect.reason_code == DisconnectReasonCode::DisconnectWithWillMessage,
                session_expiry: properties.and_then(|p| p.session_expiry_interval),
            },
            _ => return Err(Violation::Protocol("packet that only a server sends")),
        })
    }
}

/// Appends `packet`. Properties are left out for MQTT 3.1.1, whose codec panics on them.
pub(super) fn encode(version: Version, packet: Packet, out: &mut BytesMut) {
    let written = match version {
        Version::V5 => v5::V5.write(packet, out),
        Version::V311 => v4::V4.write(without_properties(packet), out),
    };
    if let Err(error) = written {
        // Only a packet above 256 MiB can fail, and every payload was bounded when it came in.
        tracing::error!(%error, "cannot encode an MQTT packet");
    }
}

fn without_properties(packet: Packet) -> Packet {
    match packet {
        Packet::Publish(publish, _) => Packet::Publish(publish, None),
        Packet::PubAck(ack, _) => Packet::PubAck(ack, None),
        Packet::PubRec(rec, _) => Packet::PubRec(rec, None),
        Packet::PubRel(rel, _) => Packet::PubRel(rel, None),
        Packet::PubComp(comp, _) => Packet::PubComp(comp, None),
        Packet::SubAck(ack, _) => Packet::SubAck(ack, None),
        Packet::UnsubAck(ack, _) => Packet::UnsubAck(ack, None),
        Packet::Disconnect(disconnect, _) => Packet::Disconnect(disconnect, None),
        other => other,
    }
}

/// A PUBLISH with its flags; the codec's own constructor makes QoS 0 only.
pub(super) fn outbound_publish(
    dup: bool,
    qos: QoS,
    pkid: u16,
    retain: bool,
    topic: &[u8],
    payload: &[u8],
) -> Publish {
    let mut raw = BytesMut::with_capacity(5 + topic.len() + payload.len());
    raw.put_u8(PUBLISH << 4 | u8::from(dup) << 3 | (qos as u8) << 1 | u8::from(retain));
    raw.put_u16(pkid);
    raw.put_u16(topic.len() as u16);
    raw.put_slice(topic);
    raw.put_slice(payload);
    Publish::deserialize(raw.freeze())
}

/// PUBACK or PUBREC with success: the four bytes of the busiest path, the same in both versions.
pub(super) fn put_success(packet_type: AckType, pkid: u16, out: &mut BytesMut) {
    let first = match packet_type {
        AckType::PubAck => PUBACK << 4,
        AckType::PubRec => PUBREC << 4,
    };
    out.put_slice(&[first, 2]);
    out.put_u16(pkid);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AckType {
    PubAck,
    PubRec,
}

/// A reason code that both PUBACK and PUBREC know.
pub(super) fn ack_reasons(code: u8) -> (PubAckReason, PubRecReason) {
    match code {
        0x87 => (PubAckReason::NotAuthorized, PubRecReason::NotAuthorized),
        0x90 => (PubAckReason::TopicNameInvalid, PubRecReason::TopicNameInvalid),
        0x97 => (PubAckReason::QuotaExceeded, PubRecReason::QuotaExceeded),
        0x99 => (PubAckReason::PayloadFormatInvalid, PubRecReason::PayloadFormatInvalid),
        0x83 => (PubAckReason::ImplementationSpecificError, PubRecReason::ImplementationSpecificError),
        _ => (PubAckReason::UnspecifiedError, PubRecReason::UnspecifiedError),
    }
}

/// DISCONNECT from the server; MQTT 3.1.1 has none. Written by hand because the codec miscounts its length.
pub(super) fn put_disconnect(ending: &Ending, with_reason_string: bool, out: &mut BytesMut) {
    let Some(code) = ending.reason_code() else { return };
    let text = if with_reason_string { ending.to_string() } else { String::new() };
    // One byte of property length is enough below 128, and the texts are ours.
    let text = &text.as_bytes()[..text.len().min(120)];
    if text.is_empty() {
        out.put_slice(&[DISCONNECT << 4, 2, code, 0]);
        return;
    }
    let properties = 3 + text.len() as u8;
    out.put_slice(&[DISCONNECT << 4, 2 + properties, code, properties, 0x1f]);
    out.put_u16(text.len() as u16);
    out.put_slice(text);
}

/// The lower of two QoS levels.
pub(super) fn lower(a: QoS, b: QoS) -> QoS {
    if (a as u8) < (b as u8) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_bytes(version: Version, bytes: &[u8]) -> Result<Option<Inbound>, Violation> {
        decode(version, &mut BytesMut::from(bytes), 1024)
    }

    #[test]
    fn qos_and_packet_id_of_a_publish_are_seen_through_the_codec() {
        let frame = [0x35, 9, 0, 1, b'a', 0x12, 0x34, b'x', b'y', b'z', b'!'];
        let Ok(Some(Inbound::Publish(p))) = decode_bytes(Version::V311, &frame) else { panic!("no PUBLISH") };
        assert_eq!((p.qos, p.pkid, p.retain), (QoS::ExactlyOnce, 0x1234, true));
        assert_eq!((&p.topic[..], &p.payload[..]), (&b"a"[..], &b"xyz!"[..]));
    }

    #[test]
    fn an_incomplete_frame_waits_and_a_large_one_is_refused_before_it_is_read() {
        assert!(matches!(decode_bytes(Version::V5, &[0x30]), Ok(None)));
        assert!(matches!(decode_bytes(Version::V5, &[0x30, 10, 0]), Ok(None)));
        assert_eq!(
            decode_bytes(Version::V5, &[0x30, 0xff, 0xff, 0x7f]).unwrap_err(),
            Violation::PacketTooLarge
        );
        assert!(matches!(
            decode_bytes(Version::V5, &[0x30, 0xff, 0xff, 0xff, 0xff]).unwrap_err(),
            Violation::Malformed(_)
        ));
    }

    #[test]
    fn packets_that_only_a_server_sends_never_reach_the_codec() {
        for first in [0x00, 0x10, 0x20, 0x90, 0xb0, 0xd0, 0xf0] {
            for version in [Version::V311, Version::V5] {
                let refused = decode_bytes(version, &[first, 2, 0, 1]).unwrap_err();
                assert!(matches!(refused, Violation::Protocol(_)), "{first:x}");
            }
        }
    }

    #[test]
    fn a_disconnect_of_one_reason_byte_is_understood() {
        for (reason, keep) in [(0, false), (4, true)] {
            let Ok(Some(Inbound::Disconnect { keep_will, .. })) =
                decode_bytes(Version::V5, &[0xe0, 1, reason])
            else {
                panic!("no DISCONNECT");
            };
            assert_eq!(keep_will, keep);
        }
    }

    #[test]
    fn reserved_flags_and_packet_id_zero_are_refused() {
        assert!(matches!(decode_bytes(Version::V5, &[0x80, 0]), Err(Violation::Malformed(_))));
        assert!(matches!(decode_bytes(Version::V5, &[0x62, 2, 0, 0]), Err(Violation::Protocol(_))));
        assert!(decode_bytes(Version::V311, &[0x32, 5, 0, 1, b'a', 0, 0]).is_err());
    }

    #[test]
    fn a_disconnect_from_the_server_is_a_well_formed_packet() {
        let mut out = BytesMut::new();
        put_disconnect(&Ending::TakenOver, true, &mut out);
        assert_eq!((out[0], usize::from(out[1])), (0xe0, out.len() - 2));
        assert_eq!((out[2], usize::from(out[3])), (0x8e, out.len() - 4));
        let mut short = BytesMut::new();
        put_disconnect(&Ending::TakenOver, false, &mut short);
        assert_eq!(&short[..], [0xe0, 2, 0x8e, 0]);
    }
}
