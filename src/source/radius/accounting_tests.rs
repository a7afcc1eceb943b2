use super::super::packet::tests::signed;
use super::*;

const SECRET: &[u8] = b"a secret that is long enough";

fn received_at() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_800_000_000_123).unwrap()
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn number(kind: u8, value: u32) -> (u8, Vec<u8>) {
    (kind, value.to_be_bytes().into())
}

fn text(kind: u8, value: &str) -> (u8, Vec<u8>) {
    (kind, value.into())
}

fn of_3gpp(kind: u8, value: &str) -> (u8, Vec<u8>) {
    let header = [kind, u8::try_from(value.len() + 2).unwrap()];
    (26, [&VENDOR_3GPP.to_be_bytes()[..], &header, value.as_bytes()].concat())
}

fn read_all(attributes: &[(u8, Vec<u8>)]) -> Result<(Report, bool), Malformed> {
    let datagram = signed(4, 1, attributes, SECRET);
    let account =
        [AccountAttribute::Imsi3gpp, AccountAttribute::CallingStationId, AccountAttribute::UserName];
    let context = Context {
        source: "core",
        client: "ggsn",
        sender: "192.0.2.9".parse().unwrap(),
        received_at: received_at(),
        account: &account,
    };
    read(Packet::parse(&datagram).unwrap(), &context)
}

fn session(attributes: &[(u8, Vec<u8>)]) -> SessionReport {
    match read_all(attributes) {
        Ok((Report::Session(report), _)) => report,
        other => panic!("{other:?}"),
    }
}

/// An Interim-Update of session `s1` with further attributes.
fn interim(further: &[(u8, Vec<u8>)]) -> SessionReport {
    session(&[&[number(ACCT_STATUS_TYPE, 3), text(ACCT_SESSION_ID, "s1")], further].concat())
}

#[test]
fn what_the_user_sent_is_upload_and_gigawords_count_above_the_octets() {
    let report = interim(&[
        number(ACCT_INPUT_OCTETS, 5),
        number(ACCT_INPUT_GIGAWORDS, 2),
        number(ACCT_OUTPUT_OCTETS, u32::MAX),
    ]);
    assert_eq!(report.reading.upload_bytes, (2 << 32) + 5);
    assert_eq!(report.reading.download_bytes, (1 << 32) - 1);
    assert_eq!((report.counted, report.wide), (true, [true, false]));
    let most = interim(&[number(ACCT_INPUT_GIGAWORDS, u32::MAX), number(ACCT_INPUT_OCTETS, 0)]);
    assert_eq!(most.reading.upload_bytes, i64::MAX);
    assert!(!interim(&[]).counted, "nothing was told");
}

#[test]
fn the_account_is_the_first_attribute_that_the_packet_has() {
    let all = [
        text(USER_NAME, "alice"),
        text(CALLING_STATION_ID, "491701234567"),
        of_3gpp(IMSI_3GPP, "26201123456789"),
    ];
    assert_eq!(interim(&all).reading.account, "26201123456789");
    assert_eq!(interim(&all[..2]).reading.account, "491701234567");
    assert_eq!(interim(&[text(CALLING_STATION_ID, ""), text(USER_NAME, "alice")]).reading.account, "alice");
    assert_eq!(interim(&[]).reading.account, "");
}

#[test]
fn the_serving_network_is_kept_where_it_is_one() {
    let network = |code: &str| interim(&[of_3gpp(SGSN_MCC_MNC_3GPP, code)]).reading.mccmnc;
    assert_eq!(network("26201").as_deref(), Some("26201"));
    assert_eq!(network("310410").as_deref(), Some("310410"));
    assert_eq!(network("2620"), None);
    assert_eq!(network("2620x"), None);
}

#[test]
fn the_time_is_that_of_the_event_as_far_as_it_can_be() {
    let now = received_at();
    let taken = |attributes: &[(u8, Vec<u8>)]| interim(attributes).reading.taken_at;
    let stamp = |second: i64| number(EVENT_TIMESTAMP, u32::try_from(at(second).timestamp()).unwrap());
    assert_eq!(taken(&[]), now);
    assert_eq!(taken(&[number(ACCT_DELAY_TIME, 20)]), now - TimeDelta::seconds(20));
    assert_eq!(taken(&[stamp(-60), number(ACCT_DELAY_TIME, 20)]), at(-60));
    assert_eq!(taken(&[stamp(300)]), at(300), "a clock that is a little ahead");
    for wrong in [number(EVENT_TIMESTAMP, 86_400), stamp(301), stamp(-7 * 86_400)] {
        let attributes = [number(ACCT_STATUS_TYPE, 3), text(ACCT_SESSION_ID, "s1"), wrong];
        let Ok((Report::Session(report), true)) = read_all(&attributes) else { panic!("it was believed") };
        assert_eq!(report.reading.taken_at, now);
    }
    assert_eq!(taken(&[number(ACCT_DELAY_TIME, u32::MAX)]), now);
}

#[test]
fn a_session_began_as_long_ago_as_it_has_lasted() {
    let report = interim(&[number(ACCT_SESSION_TIME, 90)]);
    assert_eq!((report.reading.began_at, report.timed), (received_at() - TimeDelta::seconds(90), true));
    assert_eq!((interim(&[]).reading.began_at, interim(&[]).timed), (received_at(), false));
    interim(&[number(ACCT_SESSION_TIME, u32::MAX)]);
}

#[test]
fn a_session_is_known_by_its_nas_its_client_and_its_id() {
    let id = |further: &[(u8, Vec<u8>)]| interim(further).reading.session_id;
    assert_eq!(id(&[]), "core:ggsn:192.0.2.9:s1", "by where it came from at last");
    let address = number(NAS_IP_ADDRESS, 0x0a00_0001);
    assert_eq!(id(std::slice::from_ref(&address)), "core:ggsn:10.0.0.1:s1");
    assert_eq!(id(&[text(NAS_IDENTIFIER, "a:1"), address]), "core:ggsn:a%3A1/10.0.0.1:s1");
    let ipv6 = (NAS_IPV6_ADDRESS, "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec());
    assert_eq!(id(&[ipv6]), "core:ggsn:2001%3Adb8%3A%3A1:s1");
}

/// Catches ids that cannot be found by their NAS, or that are too long for a record id.
#[test]
fn long_ids_are_told_by_a_digest_and_still_begin_with_their_nas() {
    let long = |end: &str| format!("{}{end}", "x".repeat(200));
    let with = |nas: &str, which: &str| {
        let nas = text(NAS_IDENTIFIER, nas);
        let on = read_all(&[number(ACCT_STATUS_TYPE, 7), nas.clone()]).unwrap();
        let Report::Restart { origin, .. } = on.0 else { panic!() };
        let id =
            session(&[number(ACCT_STATUS_TYPE, 3), text(ACCT_SESSION_ID, which), nas]).reading.session_id;
        assert!(id.starts_with(&format!("{origin}:")) && id.len() <= SESSION_ID_MAX_CHARS, "{origin} {id}");
        id
    };
    let ids: std::collections::HashSet<_> = [
        with("a", "1"),
        with("a", &long("1")),
        with("a", &long("2")),
        with(&long("1"), "1"),
        with(&long("2"), "1"),
        with(&long("2"), &long("2")),
    ]
    .into();
    assert_eq!(ids.len(), 6);
}

#[test]
fn kinds_of_requests_are_told_apart() {
    let of = |status| read_all(&[number(ACCT_STATUS_TYPE, status), text(ACCT_SESSION_ID, "s1")]).unwrap().0;
    let event = |status| match of(status) {
        Report::Session(report) => report.event,
        other => panic!("{other:?}"),
    };
    assert_eq!([event(1), event(2), event(3)], [Event::Start, Event::Stop, Event::Interim]);
    let restart = Report::Restart { origin: "core:ggsn:192.0.2.9".into(), at: received_at() };
    assert_eq!([of(7), of(8)], [restart.clone(), restart]);
    assert_eq!([of(9), of(15)], [Report::Nothing, Report::Nothing]);
}

#[test]
fn what_lacks_something_is_malformed() {
    let fault = |attributes: &[(u8, Vec<u8>)]| read_all(attributes).expect_err("it lacks something");
    assert_eq!(fault(&[text(ACCT_SESSION_ID, "s1")]), Malformed::NoStatus);
    assert_eq!(fault(&[number(ACCT_STATUS_TYPE, 1)]), Malformed::NoSession);
    assert_eq!(fault(&[(ACCT_STATUS_TYPE, vec![1])]), Malformed::Value(ACCT_STATUS_TYPE));
    let short = [number(ACCT_STATUS_TYPE, 3), text(ACCT_SESSION_ID, "s1"), (ACCT_INPUT_OCTETS, vec![0; 8])];
    assert_eq!(fault(&short), Malformed::Value(ACCT_INPUT_OCTETS));
}
