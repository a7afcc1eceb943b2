//! Bodies and query strings of the HTTP API.
#![no_main]

use chrono::DateTime;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    simbridge::fuzz::bodies(data, DateTime::from_timestamp(1_795_300_000, 0).expect("a time"));
});
