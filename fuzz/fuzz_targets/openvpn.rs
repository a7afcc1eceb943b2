//! A status file, and the same bytes as what a management interface says. The first byte chooses the account.
#![no_main]

use chrono::DateTime;
use simbridge::source::openvpn::AccountName;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else { return };
    let account = if choice & 1 == 0 { AccountName::CommonName } else { AccountName::UserName };
    let written_at = DateTime::from_timestamp(1_795_300_000, 0).expect("a time");
    simbridge::fuzz::status(bytes, account, written_at);
    simbridge::fuzz::management(bytes, 4_096, account, written_at);
});
