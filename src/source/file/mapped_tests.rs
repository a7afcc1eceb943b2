use super::super::mapping::{FieldPlaces, Layout, Places};
use super::super::times::TimeFormat;
use super::*;
use crate::source::amount::Unit;

const ICCID: &str = "8941000000000000001";

/// Columns id, part, sim, start, end, total, up, down, sms, voice, net, src, fix.
fn mapping() -> FileMapping {
    let mut places = Places::default();
    for name in
        ["id", "part", "sim", "start", "end", "total", "up", "down", "sms", "voice", "net", "src", "fix"]
    {
        places.of(name);
    }
    let at = |name: &str| Some(Value::At(places.clone().of(name)));
    FileMapping {
        name: "op".into(),
        layout: Layout::Csv { delimiter: b',', header: true },
        ignore_lines: Vec::new(),
        fields: FieldPlaces {
            record_id: vec![0],
            sim: SimPlace::Iccid(Value::At(2)),
            start: vec![3],
            end: EndPlace::At(vec![4]),
            total: at("total"),
            upload: at("up"),
            download: at("down"),
            sms: at("sms"),
            voice: at("voice"),
            mccmnc: at("net"),
            source: at("src"),
            corrects: at("fix"),
        },
        places,
        times: TimeFormat::Rfc3339,
        unit: Unit::parse("bytes", 1_024).expect("a unit"),
        decimal_comma: false,
    }
}

fn read(mapping: &FileMapping, row: &str) -> Result<MappedRecord, Rejection> {
    let cells: Vec<&str> = row.split(',').collect();
    let texts: Vec<Cow<'_, str>> = cells.iter().map(|cell| Cow::Borrowed(*cell)).collect();
    mapping.record(&texts, cells.iter())
}

fn json(mapping: &FileMapping, row: &str) -> serde_json::Value {
    let record = read(mapping, row).unwrap_or_else(|rejection| panic!("{rejection}"));
    serde_json::from_slice(&record.json).expect("it is JSON")
}

fn refused(mapping: &FileMapping, row: &str) -> String {
    read(mapping, row).expect_err("it is refused").to_string()
}

fn id(mapping: &FileMapping, row: &str) -> String {
    json(mapping, row)["recordId"].as_str().expect("text").to_owned()
}

const AT: &str = "2026-03-10T08:00:00+01:00";

fn row(start: &str, rest: &str) -> String {
    format!("{start},{ICCID},{AT},{AT},{rest}")
}

/// Catches a column that is taken for another, and one that is stated where the file says nothing.
#[test]
fn a_row_becomes_the_record_that_a_device_would_send() {
    let full = json(&mapping(), &row("a\"1,x", "5,2,3,4,0:01:05.,22801,gw,a0").replace("05.", "05"));
    let expected = serde_json::json!({
        "recordId": "a\"1", "iccid": ICCID, "periodStart": "2026-03-10T07:00:00.000000Z",
        "periodEnd": "2026-03-10T07:00:00.000000Z", "source": "gw", "mccmnc": "22801", "corrects": "a0",
        "usage": {"totalBytes": 5, "dataUploadBytes": 2, "dataDownloadBytes": 3, "smsCount": 4, "voiceSeconds": 65},
    });
    assert_eq!(full, expected);
    let bare = json(&mapping(), &row("a,x", "5,,,,,,,"));
    let expected = serde_json::json!({
        "recordId": "a", "iccid": ICCID, "periodStart": "2026-03-10T07:00:00.000000Z",
        "periodEnd": "2026-03-10T07:00:00.000000Z", "source": "op", "usage": {"totalBytes": 5},
    });
    assert_eq!(bare, expected);
}

#[test]
fn all_faults_of_a_row_are_told_at_once() {
    let told = refused(&mapping(), ",x,,soon,later,many,1,-,1.5,a minute,,,");
    for part in [
        "recordId: the row tells none",
        "iccid: the row does not tell the SIM",
        "periodStart: `soon` is no RFC 3339 time with a zone",
        "usage.totalBytes: `many` of total is no number",
        "usage.dataDownloadBytes: `-` of down is no number",
        "usage.smsCount: `1.5` of sms is no whole number",
        "usage.voiceSeconds: `a minute` of voice is no duration: seconds, or H:MM:SS",
    ] {
        assert!(told.contains(part), "{told} does not say {part}");
    }
    let long = refused(&mapping(), &row("a,x", &format!("{},,,,,,,", "x\u{1b}".repeat(500))));
    assert!(long.len() < 200 && long.contains('…') && !long.contains('\u{1b}'), "{long}");
}

/// Catches two records that are taken for one because their parts read alike side by side, and one CDR that is two because its
/// file is written another way.
#[test]
fn an_id_is_made_of_stated_columns_or_of_the_whole_row() {
    let mut mapping = mapping();
    assert_eq!(id(&mapping, &row("a:1,x", "5,,,,,,,")), "a:1", "one column is taken as it stands");
    mapping.fields.record_id = vec![0, 1];
    assert_eq!(id(&mapping, &row("a,1", "5,,,,,,,")), "a:1");
    assert_eq!(id(&mapping, &row("a,", "5,,,,,,,")), "a:");
    assert_eq!(id(&mapping, &row(" a , 1 ", "6,,,,,,,")), "a:1", "whatever else the row says");
    let (left, right) = (id(&mapping, &row("a:b,c", "5,,,,,,,")), id(&mapping, &row("a,b:c", "5,,,,,,,")));
    assert!(left != right && left.len() == 64 && right.len() == 64, "{left} {right}");
    let long = id(&mapping, &row(&format!("{},1", "y".repeat(120)), "5,,,,,,,"));
    assert!(long.len() == 64 && long != id(&mapping, &row(&format!("{},2", "y".repeat(120)), "5,,,,,,,")));
    assert!(refused(&mapping, &row(",", "5,,,,,,,")).contains("recordId"));
    mapping.fields.record_id = Vec::new();
    let whole = id(&mapping, &row("a,1", "5,,,,,,,"));
    assert_eq!(whole, id(&mapping, &row("a,1", "5,,,,,,,")), "the same row is the same record");
    assert_ne!(whole, id(&mapping, &row("a,1", "5,,,,,,x,")));
    assert_ne!(whole, id(&mapping, &row("a,1", ",5,,,,,,")), "a cell further on");
}

/// Catches a fraction that is rounded by floating point, and a comma that is passed over.
#[test]
fn amounts_are_exact_in_their_unit() {
    let mut mapping = mapping();
    mapping.unit = Unit::parse("MB", 1_000).expect("a unit");
    let total = |mapping: &FileMapping, text: &str| {
        json(mapping, &row("a,x", &format!("{text},,,,,,,")))["usage"]["totalBytes"].clone()
    };
    assert_eq!(total(&mapping, "4.35"), 4_350_000);
    assert_eq!(total(&mapping, "-0.5"), -500_000, "the decoder says who may");
    assert!(refused(&mapping, &row("a,x", "40000000,,,,,,,")).contains("more than 2^45 bytes"));
    mapping.decimal_comma = true;
    let with_comma = |text: &str| {
        let mut texts: Vec<Cow<'_, str>> = vec!["".into(); 13];
        for (place, text) in [(0, "a"), (2, ICCID), (3, AT), (4, AT), (5, text)] {
            texts[place] = text.into();
        }
        mapping.record(&texts, ["a"].iter())
    };
    let read = with_comma("1,5").expect("a record");
    assert!(str::from_utf8(&read.json).expect("text").contains("\"totalBytes\":1500000"));
    for text in ["1.000,5", "1,5,0", "1.5"] {
        assert!(with_comma(text).is_err(), "{text}");
    }
}

#[test]
fn of_two_directions_the_empty_one_is_none_and_without_both_nothing_is_said() {
    let usage = |rest: &str| json(&mapping(), &row("a,x", rest))["usage"].clone();
    assert_eq!(usage(",7,,,,,,"), serde_json::json!({"dataUploadBytes": 7, "dataDownloadBytes": 0}));
    assert_eq!(usage(",,7,,,,,"), serde_json::json!({"dataUploadBytes": 0, "dataDownloadBytes": 7}));
    assert_eq!(usage("9,,7,,,,,"), serde_json::json!({"totalBytes": 9, "dataDownloadBytes": 7}));
    assert_eq!(usage(",,,2,,,,"), serde_json::json!({"smsCount": 2}));
}

#[test]
fn an_end_is_stated_counted_from_the_start_or_the_start_itself() {
    let mut mapping = mapping();
    let end = |mapping: &FileMapping, text: &str| {
        json(mapping, &format!("a,x,{ICCID},{AT},{text},5,,,,,,,"))["periodEnd"].clone()
    };
    assert_eq!(end(&mapping, "2026-03-10T08:00:01Z"), "2026-03-10T08:00:01.000000Z");
    mapping.fields.end = EndPlace::After(4);
    assert_eq!(end(&mapping, "90.5"), "2026-03-10T07:01:30.500000Z");
    assert_eq!(end(&mapping, "1:00:00"), "2026-03-10T08:00:00.000000Z");
    assert!(refused(&mapping, &format!("a,x,{ICCID},{AT},long,5,,,,,,,")).contains("`long` of end"));
    mapping.fields.end = EndPlace::IsTheStart;
    assert_eq!(end(&mapping, "whatever"), "2026-03-10T07:00:00.000000Z");
    mapping.fields.start = vec![3, 4];
    mapping.times = TimeFormat::parse("%d.%m.%Y %H:%M", "Europe/Zurich").expect("a format");
    let joined = json(&mapping, &format!("a,x,{ICCID},10.03.2026,08:05,5,,,,,,,"));
    assert_eq!(joined["periodStart"], "2026-03-10T07:05:00.000000Z");
}

/// Catches an account that breaks out of the JSON, and a SIM that is put beside it and not in it.
#[test]
fn a_row_of_an_account_gets_its_sim_later() {
    let mut mapping = mapping();
    mapping.fields.sim = SimPlace::Account(Value::At(2));
    mapping.fields.source = Some(Value::Constant("billing".into()));
    let record = read(&mapping, &format!("a,x,al\"ice,{AT},{AT},5,,,,,,,")).expect("a record");
    assert_eq!(record.sim, Sim::Account("al\"ice".into()));
    let iccid = Iccid::parse(ICCID).expect("an ICCID");
    let named: serde_json::Value =
        serde_json::from_slice(&MappedRecord::with_iccid(&record.json, &iccid)).expect("it is JSON");
    assert_eq!(
        (&named["iccid"], &named["account"], &named["mapping"], &named["source"]),
        (&ICCID.into(), &"al\"ice".into(), &"op".into(), &"billing".into())
    );
    let long = "x".repeat(ACCOUNT_MAX_CHARS + 1);
    assert!(
        refused(&mapping, &format!("a,x,{long},{AT},{AT},5,,,,,,,")).contains("account: must be at most")
    );
}
