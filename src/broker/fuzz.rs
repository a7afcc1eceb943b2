//! Doors for fuzzing: what a client sends, and what topics and rules make of each other.

use bytes::BytesMut;
use rumqttd::protocol::Packet;

use super::acl::covers_all as covers;
use super::codec::{self, Inbound, Version, decode, decode_connect, frame_length, is_connect};
use super::topic::{TopicFilter, is_valid_name, matches};
use crate::domain::{TopicNames, TopicRule};

/// Small, so that the limit is met too.
const MAX_PACKET_BYTES: usize = 16 << 10;
const MAX_LEVELS: usize = 32;

/// The bytes of a connection from its first one on; they arrive in parts of `part` bytes. What comes before a CONNECT is not looked
/// at, so bytes without one are taken for what follows a CONNECT of either version.
pub fn packets(part: usize, bytes: &[u8]) {
    if is_connect(bytes)
        && matches!(frame_length(bytes, MAX_PACKET_BYTES), Ok(Some(length)) if length <= bytes.len())
    {
        let mut buffer = BytesMut::from(bytes);
        if let Ok(connecting) = decode_connect(&mut buffer, MAX_PACKET_BYTES) {
            follow(connecting.version, part, &buffer);
        }
    } else {
        follow(Version::V311, part, bytes);
        follow(Version::V5, part, bytes);
    }
}

/// Packet after packet; in parts it must be the same ones as at once.
fn follow(version: Version, part: usize, bytes: &[u8]) {
    let at_once = read(version, bytes.len(), bytes);
    assert_eq!(at_once, read(version, part, bytes), "how the bytes arrive makes no difference");
}

/// What was read, one line each, up to the first violation.
fn read(version: Version, part: usize, bytes: &[u8]) -> Vec<String> {
    let (mut buffer, mut seen) = (BytesMut::new(), Vec::new());
    for part in bytes.chunks(part.max(1)) {
        buffer.extend_from_slice(part);
        loop {
            let before = buffer.len();
            match decode(version, &mut buffer, MAX_PACKET_BYTES) {
                Ok(Some(packet)) => {
                    assert!(
                        buffer.len() < before && before - buffer.len() <= MAX_PACKET_BYTES,
                        "a packet has bytes"
                    );
                    seen.push(format!("{packet:?}"));
                    hand_on(version, packet);
                }
                Ok(None) => {
                    assert_eq!(buffer.len(), before, "what is not complete waits");
                    break;
                }
                Err(violation) => {
                    seen.push(format!("{violation:?}"));
                    return seen;
                }
            }
        }
    }
    seen
}

/// What is published reaches subscribers of both versions, whatever it was made of.
fn hand_on(version: Version, packet: Inbound) {
    let Inbound::Publish(publish) = packet else { return };
    let Ok(topic) = str::from_utf8(&publish.topic) else { return };
    if !is_valid_name(topic, MAX_LEVELS) {
        return;
    }
    let mut out = BytesMut::new();
    let sent =
        rumqttd::protocol::Publish::new(publish.topic.clone(), publish.payload.clone(), publish.retain);
    codec::encode(version, Packet::Publish(sent, publish.properties), &mut out);
    assert!(!out.is_empty(), "it can be sent on");
}

/// Whom a rule lets hear what: a rule that covers a filter matches every topic of it, also after names were put into it.
pub fn topics(rule: &str, filter: &str, topic: &str, name: &str) {
    let Some(filter) = TopicFilter::parse(filter, MAX_LEVELS) else { return };
    let named =
        TopicNames { iccid: Some("8941000000000000001"), username: name, client_id: name, tenant: name };
    let Ok(rule) = rule.parse::<TopicRule>() else { return };
    let Some(bound) = rule.bind(named) else { return };
    let levels = |text: &str| text.split('/').count();
    assert_eq!(levels(&bound), levels(rule.as_str()), "a name stays one level");
    let wildcards = |text: &str| text.matches(['+', '#']).count();
    assert_eq!(wildcards(&bound), wildcards(rule.as_str()), "a name is no wildcard");
    if is_valid_name(topic, MAX_LEVELS) && covers(&bound, &filter.plain) && matches(topic, &filter.plain) {
        assert!(matches(topic, &bound), "{bound} lets nobody hear {topic} by {}", filter.plain);
    }
}
