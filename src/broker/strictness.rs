//! Rules of the standard that rumqttd's codecs leave unchecked. What breaks them is refused here, because some of it would reach
//! other clients, and those that are strict would be the ones to close their connection.

use rumqttd::protocol::PublishProperties;

use super::codec::Version;
use super::ending::Violation;

const SUBSCRIBE: u8 = 0x82;
const UNSUBSCRIBE: u8 = 0xa2;
const PINGREQ: u8 = 0xc0;
/// PUBLISH with DUP and QoS 0, whether or not it is retained (MQTT 5, 3.3.1.1).
const REPEATED_QOS_0: [u8; 2] = [0x38, 0x39];

/// Looks at one complete frame. What is cut short is left to the codec, which refuses it.
///
/// # Errors
/// What the connection is to be closed with.
pub(super) fn check_frame(frame: &[u8], version: Version) -> Result<(), Violation> {
    match frame[0] {
        first if REPEATED_QOS_0.contains(&first) => Err(Violation::Malformed("PUBLISH: DUP with QoS 0")),
        PINGREQ if frame.len() > 2 => Err(Violation::Malformed("PINGREQ with a body")),
        SUBSCRIBE if has_reserved_options(frame, version) => {
            Err(Violation::Malformed("SUBSCRIBE: reserved options"))
        }
        UNSUBSCRIBE if filters(frame, version).is_some_and(<[u8]>::is_empty) => {
            Err(Violation::Protocol("UNSUBSCRIBE without a filter"))
        }
        _ => Ok(()),
    }
}

fn has_reserved_options(frame: &[u8], version: Version) -> bool {
    let reserved = match version {
        Version::V311 => 0b1111_1100,
        Version::V5 => 0b1100_0000,
    };
    let Some(mut rest) = filters(frame, version) else { return false };
    while let Some(([high, low], after)) = rest.split_first_chunk() {
        let options = usize::from(u16::from_be_bytes([*high, *low]));
        match after.get(options..).and_then(<[u8]>::split_first) {
            Some((options, next)) if options & reserved == 0 => rest = next,
            Some(_) => return true,
            None => return false,
        }
    }
    false
}

/// What follows the packet identifier and the properties of SUBSCRIBE and UNSUBSCRIBE.
fn filters(frame: &[u8], version: Version) -> Option<&[u8]> {
    let (_, body) = variable_length(&frame[1..])?;
    let after_identifier = body.get(2..)?;
    match version {
        Version::V311 => Some(after_identifier),
        Version::V5 => {
            let (length, properties) = variable_length(after_identifier)?;
            properties.get(length..)
        }
    }
}

/// A variable byte integer and what follows it (MQTT 5, 1.5.5).
fn variable_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let count = bytes.iter().take(4).position(|byte| byte & 0x80 == 0)? + 1;
    let (digits, rest) = bytes.split_at(count);
    Some((digits.iter().rev().fold(0, |value, digit| value << 7 | usize::from(digit & 0x7f)), rest))
}

/// Looks at what would be passed on to subscribers.
///
/// # Errors
/// As above.
pub(super) fn check_properties(properties: &PublishProperties) -> Result<(), Violation> {
    if properties.payload_format_indicator.is_some_and(|format| format > 1) {
        return Err(Violation::Protocol("payload format indicator"));
    }
    let pairs = properties.user_properties.iter().flat_map(|(key, value)| [key, value]);
    let mut texts = pairs.chain(&properties.content_type).chain(&properties.response_topic);
    if texts.any(|text| text.contains('\0')) {
        // MQTT 5, 1.5.4
        return Err(Violation::Malformed("property with a null character"));
    }
    Ok(())
}
