//! Files of usage, ours and of other systems. The first byte chooses the format or the mapping; every row that is one is decoded.
#![no_main]

use std::sync::{Arc, LazyLock};

use chrono::{DateTime, TimeDelta};
use libfuzzer_sys::fuzz_target;
use simbridge::config::{Flags, load};
use simbridge::domain::TenantId;
use simbridge::payload::{Envelope, PayloadLimits, decode};
use simbridge::source::file::{FileMapping, Format};

const MAPPINGS: &str = r##"[
    { name = "a", iccid = "SIM", start = ["Start"], total = "Bytes", ignore_lines = ["#"] },
    { name = "b", delimiter = ";", header = false, account = "1", start = ["2", "3"], duration = "4", decimal_comma = true,
      time_format = "%d.%m.%Y %H:%M:%S", time_zone = "Europe/Zurich", upload = "5", download = "6", unit = "MB", record_id = ["1", "2"] },
    { name = "c", format = "ndjson", iccid = "/sim", start = ["/from"], end = ["/to"], time_format = "unix", total = "/used",
      unit = "GiB", voice = "/voice", sms = "/sms", mccmnc = "/net", source = "/by", corrects = "/fix" },
    { name = "d", delimiter = "tab", iccid = "sim", start = ["at"], end = ["end"], time_format = "unix_ms", constant = { sms = "1" } },
]"##;

static KNOWN: LazyLock<Vec<Arc<FileMapping>>> = LazyLock::new(|| {
    let env = [("SIMBRIDGE__MAPPING".to_owned(), MAPPINGS.replace('\n', " "))];
    let config = load(&Flags::default(), &env).expect("the mappings can be used").config;
    ["a", "b", "c", "d"]
        .iter()
        .map(|name| Arc::new(config.file_mapping(name).expect("it is there")))
        .collect()
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, file)) = data.split_first() else { return };
    let limits =
        PayloadLimits { max_records: 50, max_future: TimeDelta::hours(24), max_age: TimeDelta::days(400) };
    let envelope = Envelope {
        tenant: TenantId(1),
        topic_iccid: None,
        own_iccid: None,
        may_correct: true,
        now: DateTime::from_timestamp(1_795_300_000, 0).expect("a time"),
    };
    let (mapping, format) = match choice % 7 {
        0 => (None, None),
        1 => (None, Some(Format::Csv)),
        2 => (None, Some(Format::Ndjson)),
        n => (Some(KNOWN[usize::from(n) - 3].clone()), None),
    };
    simbridge::fuzz::rows(mapping, format, file.to_vec(), |payload| {
        decode(payload, envelope, &limits);
    });
});
