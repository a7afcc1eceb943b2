//! A door for fuzzing: a datagram of whoever can send one.

use std::net::IpAddr;

use chrono::{DateTime, Utc};

use super::accounting::{AccountAttribute, Context, Report, read};
use super::packet::{MAX_PACKET_BYTES, Packet};

/// Takes a datagram apart as if it were made with the secret, which no fuzzer guesses.
pub fn datagram(bytes: &[u8], sender: IpAddr, received_at: DateTime<Utc>, account: &[AccountAttribute]) {
    let Ok(packet) = Packet::parse(bytes) else { return };
    packet.is_of(b"a secret of the tests");
    let answer = packet.response(b"a secret of the tests");
    assert!(answer.len() <= MAX_PACKET_BYTES, "an answer is a packet");
    assert_eq!(usize::from(u16::from_be_bytes([answer[2], answer[3]])), answer.len(), "its length is told");
    let context = Context { source: "core", client: "nas", sender, received_at, account };
    if let Ok((Report::Session(report), _)) = read(packet, &context) {
        assert!(
            report.reading.upload_bytes >= 0 && report.reading.download_bytes >= 0,
            "counters are not negative"
        );
    }
}
