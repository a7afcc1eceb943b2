use proptest::prelude::*;

use super::*;

const SECRET: &[u8] = b"xyzzy5461";
const RADCLIENT_START: &str =
    "043900305b10381f6d34f4392d6ecd16bc54b4e12806000000012c04733150123961f97cb2e17352b788fd677aaf96c6";

/// A packet as a client makes it: attributes, then the authenticators.
pub(in super::super) fn signed(
    code: u8,
    identifier: u8,
    attributes: &[(u8, Vec<u8>)],
    secret: &[u8],
) -> Vec<u8> {
    let mut packet = vec![code, identifier, 0, 0];
    packet.extend(NO_AUTHENTICATOR);
    let mut authenticated = None;
    for (kind, value) in attributes {
        packet.extend([*kind, u8::try_from(value.len() + 2).unwrap()]);
        if *kind == MESSAGE_AUTHENTICATOR && *value == NO_AUTHENTICATOR {
            authenticated = Some(packet.len());
        }
        packet.extend(value);
    }
    let length = u16::try_from(packet.len()).unwrap();
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    if let Some(at) = authenticated {
        let mut mac = <Hmac<Md5>>::new_from_slice(secret).unwrap();
        mac.update(&packet);
        packet[at..at + 16].copy_from_slice(&mac.finalize().into_bytes());
    }
    let digest = Md5::new().chain_update(&packet).chain_update(secret).finalize();
    packet[AUTHENTICATOR].copy_from_slice(&digest);
    packet
}

fn request(attributes: &[(u8, Vec<u8>)]) -> Vec<u8> {
    signed(ACCOUNTING_REQUEST, 7, attributes, SECRET)
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<_> = hexadecimal.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn fault(datagram: &[u8]) -> Malformed {
    Packet::parse(datagram).expect_err("it is malformed")
}

#[test]
fn attributes_are_read_in_order_and_those_of_vendors_taken_apart() {
    let vendor = [&10_415u32.to_be_bytes()[..], &[1, 5], b"001", &[18, 4], b"22"].concat();
    let datagram = request(&[(1, b"alice".to_vec()), (26, vendor), (40, vec![0, 0, 0, 1])]);
    let packet = Packet::parse(&datagram).unwrap();
    let read: Vec<_> = packet.attributes().map(|a| (a.vendor, a.kind, a.text())).collect();
    let expected = [
        (0, 1, "alice".to_owned()),
        (10_415, 1, "001".into()),
        (10_415, 18, "22".into()),
        (0, 40, "0x00000001".into()),
    ];
    assert_eq!(read, expected);
}

#[test]
fn a_vendor_attribute_of_another_form_costs_nothing_else() {
    for value in
        [vec![], vec![0, 0], vec![0, 0, 40, 175], vec![0, 0, 40, 175, 1, 0], vec![0, 0, 40, 175, 1, 9, 9]]
    {
        let datagram = request(&[(26, value), (1, b"alice".to_vec())]);
        let packet = Packet::parse(&datagram).unwrap();
        let read: Vec<_> = packet.attributes().map(|attribute| attribute.kind).collect();
        assert_eq!(read, [1]);
    }
}

#[test]
fn what_has_not_the_form_of_a_packet_is_refused() {
    let good = request(&[(1, b"alice".to_vec())]);
    assert_eq!(fault(&[]), Malformed::Short);
    assert_eq!(fault(&good[..19]), Malformed::Short);
    assert_eq!(fault(&good[..good.len() - 1]), Malformed::Truncated);
    for (length, expected) in [
        (19u16, Malformed::Length),
        (4097, Malformed::Length),
        (4096, Malformed::Truncated),
        (21, Malformed::Attribute(1)),
        (26, Malformed::Attribute(1)),
    ] {
        let mut changed = good.clone();
        changed[2..4].copy_from_slice(&length.to_be_bytes());
        assert_eq!(fault(&changed), expected, "{length}");
    }
    for length in [0, 1, 8, 255] {
        let mut changed = good.clone();
        changed[21] = length;
        assert_eq!(fault(&changed), Malformed::Attribute(1), "{length}");
    }
    assert_eq!(fault(&signed(1, 7, &[], SECRET)), Malformed::Code(1));
}

#[test]
fn bytes_behind_a_packet_are_padding() {
    let mut datagram = request(&[(1, b"alice".to_vec())]);
    datagram.extend([9; 40]);
    assert!(Packet::parse(&datagram).unwrap().is_of(SECRET));
}

#[test]
fn the_longest_packet_is_read_and_a_longer_one_is_not() {
    let mut attributes = vec![(33, vec![1; 253]); 15];
    attributes.push((33, vec![1; 4096 - 20 - 15 * 255 - 2]));
    let longest = request(&attributes);
    assert_eq!(longest.len(), MAX_PACKET_BYTES);
    let packet = Packet::parse(&longest).unwrap();
    assert!(packet.is_of(SECRET));
    assert_eq!(packet.response(SECRET).len(), MAX_PACKET_BYTES, "every Proxy-State comes back");
    attributes.push((33, vec![]));
    assert_eq!(fault(&request(&attributes)), Malformed::Length);
}

/// Made by radclient 3.2 from `Acct-Status-Type = Start, Acct-Session-Id = "s1", Message-Authenticator = 0x00`, secret
/// xyzzy5461. Catches a Message-Authenticator that is computed with the Request Authenticator of the packet.
#[test]
fn a_packet_of_another_implementation_is_authentic() {
    let packet = bytes(RADCLIENT_START);
    assert!(Packet::parse(&packet).unwrap().is_of(SECRET));
    assert!(!Packet::parse(&packet).unwrap().is_of(b"xyzzy5462"));
}

#[test]
fn one_changed_bit_makes_a_packet_of_nobody() {
    let with = |attributes: &[(u8, Vec<u8>)]| {
        let good = request(attributes);
        assert!(Packet::parse(&good).unwrap().is_of(SECRET));
        for at in (1..good.len()).filter(|at| ![2, 3].contains(at)) {
            let mut changed = good.clone();
            changed[at] ^= 1;
            assert!(
                Packet::parse(&changed).is_ok_and(|packet| !packet.is_of(SECRET))
                    || Packet::parse(&changed).is_err()
            );
        }
    };
    with(&[(40, vec![0, 0, 0, 1]), (44, b"s1".to_vec())]);
    with(&[(40, vec![0, 0, 0, 1]), (80, vec![0; 16])]);
}

#[test]
fn a_message_authenticator_that_is_wrong_twice_or_short_is_of_nobody() {
    let wrong = [(40, vec![0, 0, 0, 1]), (80, vec![1; 16])];
    let twice = [(80, vec![0; 16]), (80, vec![0; 16])];
    let short = [(80, vec![0; 15])];
    for attributes in [&wrong[..], &twice, &short] {
        let datagram = request(attributes);
        assert!(!Packet::parse(&datagram).unwrap().is_of(SECRET), "{attributes:?}");
    }
}

/// Catches a Proxy-State that is left out, out of order, or merged.
#[test]
fn a_response_has_the_proxy_states_in_order_and_is_authentic() {
    let datagram = request(&[(33, b"first".to_vec()), (1, b"alice".to_vec()), (33, b"second".to_vec())]);
    let response = Packet::parse(&datagram).unwrap().response(SECRET);
    assert_eq!(response[..4], [5, 7, 0, 35]);
    assert_eq!(response[20..], *b"\x21\x07first\x21\x08second");
    let digest = Md5::new()
        .chain_update(&response[..4])
        .chain_update(&datagram[4..20])
        .chain_update(&response[20..])
        .chain_update(SECRET)
        .finalize();
    assert_eq!(response[4..20], digest[..]);
}

#[test]
fn text_is_kept_as_it_is_where_it_is_text() {
    let text = |value: &[u8]| Attribute { vendor: 0, kind: 1, value }.text();
    assert_eq!(text("zoë".as_bytes()), "zoë");
    assert_eq!(text(b"262011234567890\0"), "262011234567890");
    assert_eq!(text(b"\xff\x00a"), "0xff0061");
    assert_eq!(text(b"a\nb"), "0x610a62");
    assert_eq!(text(b"\0\0"), "");
}

#[test]
fn numbers_and_addresses_have_their_length() {
    let of = |value: &'static [u8]| Attribute { vendor: 0, kind: 42, value };
    assert_eq!(of(&[0, 0, 1, 0]).number(), Ok(256));
    assert_eq!(of(&[0, 1, 0]).number(), Err(Malformed::Value(42)));
    assert_eq!(of(&[192, 0, 2, 1]).ipv4(), Ok("192.0.2.1".parse().unwrap()));
    assert_eq!(of(&[0; 15]).ipv6(), Err(Malformed::Value(42)));
    assert_eq!(of(&[0; 16]).ipv6(), Ok("::".parse().unwrap()));
}

proptest! {
    /// Catches a read over the end of what a hostile sender wrote.
    #[test]
    fn no_bytes_make_it_fail(mut datagram in prop::collection::vec(any::<u8>(), 0..200), honest in any::<bool>()) {
        if honest && datagram.len() >= 4 {
            datagram[0] = ACCOUNTING_REQUEST;
            let length = datagram.len() as u16;
            datagram[2..4].copy_from_slice(&length.to_be_bytes());
        }
        if let Ok(packet) = Packet::parse(&datagram) {
            packet.is_of(SECRET);
            packet.response(SECRET);
            for attribute in packet.attributes() {
                attribute.text();
                attribute.number().ok();
                attribute.ipv6().ok();
            }
        }
    }

    #[test]
    fn what_is_written_is_read_again(
        attributes in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..=253)), 0..15),
        secret in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let plain: Vec<_> = attributes.into_iter().filter(|(kind, _)| ![26, 80].contains(kind)).collect();
        let datagram = signed(ACCOUNTING_REQUEST, 9, &plain, &secret);
        let packet = Packet::parse(&datagram).unwrap();
        prop_assert!(packet.is_of(&secret));
        let read: Vec<_> = packet.attributes().map(|a| (a.kind, a.value.to_vec())).collect();
        prop_assert_eq!(read, plain);
    }
}
