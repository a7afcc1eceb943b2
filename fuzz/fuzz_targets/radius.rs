//! Datagrams at the socket for RADIUS accounting.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use chrono::DateTime;
use simbridge::source::radius::AccountAttribute;

const ACCOUNT: [&str; 4] = ["3GPP-IMSI", "Calling-Station-Id", "User-Name", "Chargeable-User-Identity"];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let account = ACCOUNT.map(|name| name.parse::<AccountAttribute>().ok().expect("a name"));
    let received_at = DateTime::from_timestamp(1_795_300_000, 0).expect("a time");
    simbridge::fuzz::datagram(data, IpAddr::V4(Ipv4Addr::LOCALHOST), received_at, &account);
});
