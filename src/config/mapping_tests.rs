use super::*;

fn minimal() -> MappingConfig {
    MappingConfig {
        name: "op".into(),
        iccid: "ICCID".into(),
        start: vec!["Start".into()],
        total: "Bytes".into(),
        ..MappingConfig::default()
    }
}

fn key(mapping: MappingConfig) -> Option<&'static str> {
    mapping.mapping().err().map(|(key, _)| key)
}

fn text(text: &str) -> String {
    text.into()
}

#[test]
fn a_sim_a_time_and_an_amount_suffice() {
    assert_eq!(key(minimal()), None);
    let sms = BTreeMap::from([(text("sms"), text("1"))]);
    assert_eq!(key(MappingConfig { total: text(""), constant: sms, ..minimal() }), None);
    let numbers = MappingConfig {
        header: false,
        iccid: text("1"),
        start: vec![text("2"), text("3")],
        total: text("4"),
        ..minimal()
    };
    assert_eq!(key(numbers), None);
    let pointers = MappingConfig {
        format: text("ndjson"),
        iccid: text("/sim/iccid"),
        start: vec![text("/t")],
        total: text("/b"),
        ..minimal()
    };
    assert_eq!(key(pointers), None);
    for unit in ["bytes", "KB", "TB", "KiB", "TiB"] {
        assert_eq!(key(MappingConfig { unit: text(unit), ..minimal() }), None, "{unit}");
    }
}

#[test]
fn what_cannot_work_is_named_with_its_key() {
    let base = minimal;
    let cases = [
        ("name", MappingConfig { name: text("a b"), ..base() }),
        ("format", MappingConfig { format: text("xml"), ..base() }),
        ("delimiter", MappingConfig { delimiter: text(":"), ..base() }),
        ("ignore_lines", MappingConfig { ignore_lines: vec![text("")], ..base() }),
        ("iccid", MappingConfig { iccid: text(""), ..base() }),
        ("iccid", MappingConfig { account: text("IMSI"), ..base() }),
        ("start", MappingConfig { start: vec![], ..base() }),
        ("duration", MappingConfig { end: vec![text("End")], duration: text("Took"), ..base() }),
        ("time_format", MappingConfig { time_format: text("%H:%M"), ..base() }),
        ("time_zone", MappingConfig { time_format: text("%d.%m.%Y %H:%M"), ..base() }),
        ("total", MappingConfig { total: text(""), ..base() }),
        ("upload", MappingConfig { total: text(""), upload: text("Up"), ..base() }),
        ("unit", MappingConfig { unit: text("iB"), ..base() }),
        ("unit", MappingConfig { unit: text("octets"), ..base() }),
        ("unit_base", MappingConfig { unit_base: 1_023, ..base() }),
        ("constant", MappingConfig { constant: BTreeMap::from([(text("end"), text("1"))]), ..base() }),
        ("total", MappingConfig { constant: BTreeMap::from([(text("total"), text("1"))]), ..base() }),
        ("iccid", MappingConfig { header: false, ..base() }),
        ("iccid", MappingConfig { format: text("ndjson"), ..base() }),
        ("record_id", MappingConfig { record_id: vec![text(" id")], ..base() }),
    ];
    for (expected, mapping) in cases {
        let fault = mapping.mapping().expect_err("a fault");
        assert_eq!(fault.0, expected, "{}", fault.1);
    }
    let fault = MappingConfig { header: false, ..base() }.mapping().expect_err("a fault");
    assert_eq!(fault.1, "`ICCID` must be the number of a column, from 1 to 1000, without a header");
}

/// Catches a source that would be started without the mapping that it names.
#[test]
fn a_mapping_that_is_named_must_be_there_and_only_once() {
    let mut config = Config { mapping: vec![minimal()], ..Config::default() };
    let source = |mapping: &str| crate::config::FilesSourceConfig {
        name: text("cdr"),
        directory: "/cdr".into(),
        mapping: mapping.into(),
        ..Default::default()
    };
    config.source.files = vec![source("op"), source("")];
    assert_eq!(config.fault_of_mappings(), None);
    config.source.files = vec![source(""), source("other")];
    let fault = config.fault_of_mappings().expect("a fault");
    assert_eq!(fault, ("source.files[1].mapping".into(), "there is no [[mapping]] `other`".into()));
    config.mapping.push(minimal());
    assert_eq!(config.fault_of_mappings().expect("a fault").0, "mapping[1].name");
    config.mapping[1] = MappingConfig { unit: text("x"), ..minimal() };
    assert_eq!(config.fault_of_mappings().expect("a fault").0, "mapping[1].unit");
}
