use proptest::prelude::*;

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/openvpn/", $name))
    };
}

const V1_OLD: &[u8] = fixture!("status-1-openvpn-2.4.log");
const V1: &[u8] = fixture!("status-1-openvpn-2.6.log");
const V2_OLD: &[u8] = fixture!("status-2-openvpn-2.3.log");
const V2: &[u8] = fixture!("status-2-openvpn-2.6.log");
const V3: &[u8] = fixture!("status-3-openvpn-2.6.log");

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn taken() -> DateTime<Utc> {
    at("2026-03-10T07:05:09Z")
}

fn parse_as(bytes: &[u8], account: AccountName) -> Result<Status, StatusFault> {
    let zone = Zone::parse("Europe/Zurich").unwrap();
    parse(bytes, Rules { account, zone: &zone, sessions_max: 5 }, Some(taken()))
}

fn parsed(bytes: &[u8]) -> Result<Status, StatusFault> {
    parse_as(bytes, AccountName::CommonName)
}

/// Each client as account, session, received and sent.
fn clients(status: &Status) -> Vec<(&str, &str, i64, i64)> {
    let sessions = status.sessions.iter();
    sessions.map(|s| (s.account.as_str(), s.which.as_str(), s.received_bytes, s.sent_bytes)).collect()
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = str::from_utf8(bytes).unwrap();
    assert!(text.contains(from), "{from}");
    text.replace(from, to).into_bytes()
}

const ALICE: i64 = 1_773_122_400;
const BRANCH: i64 = 1_773_010_798;

#[test]
fn version_1_is_understood_with_either_way_of_writing_times() {
    for bytes in [V1_OLD, V1] {
        let status = parsed(bytes).unwrap();
        assert_eq!((status.taken_at, status.refused), (taken(), 0));
        let (alice, branch) = (ALICE.to_string(), BRANCH.to_string());
        let expected = [
            ("alice", &*alice, 1_843, 922_331),
            ("branch,office 7", &*branch, 5_368_709_120, 17_179_869_184),
        ];
        assert_eq!(clients(&status), expected);
        assert_eq!(status.sessions[0].began_at, at("2026-03-10T06:00:00Z"));
    }
}

#[test]
fn versions_2_and_3_are_understood_with_the_columns_that_they_name() {
    for (bytes, suffixes) in [(V2_OLD, ["", "", ""]), (V2, [".3", ".0", ".4"]), (V3, [".3", ".0", ".4"])] {
        let status = parsed(bytes).unwrap();
        assert_eq!((status.taken_at, status.refused), (taken(), 0));
        let [alice, branch, bob] =
            [(ALICE, 0), (BRANCH, 1), (ALICE, 2)].map(|(since, n)| format!("{since}{}", suffixes[n]));
        let expected = [
            ("alice", &*alice, 1_843, 922_331),
            ("branch,office 7", &*branch, 5_368_709_120, 17_179_869_184),
            // No certificate: its user name is what is known of it.
            ("bob@example.com", &*bob, 700, 800),
        ];
        assert_eq!(clients(&status), expected);
    }
}

#[test]
fn user_names_are_accounts_where_they_are_wanted() {
    for bytes in [V2_OLD, V2, V3] {
        let status = parse_as(bytes, AccountName::UserName).unwrap();
        let accounts: Vec<&str> = clients(&status).iter().map(|client| client.0).collect();
        assert_eq!(accounts, ["rt-7", "bob@example.com"]);
    }
    assert_eq!(parse_as(V1, AccountName::UserName), Err(StatusFault::NoUserNames));
}

#[test]
fn ends_of_lines_may_be_those_of_windows() {
    let windows = replaced(V3, "\n", "\r\n");
    assert_eq!(parsed(&windows), parsed(V3));
}

/// Catches a status that is used although it was read while it was written: `cut` is how much of it was there.
#[test]
fn what_is_cut_anywhere_is_torn() {
    for bytes in [V1_OLD, V1, V2_OLD, V2, V3] {
        for cut in 0..bytes.len() {
            let fault = parsed(&bytes[..cut]).expect_err("it is not whole");
            assert!(fault.is_torn(), "cut at {cut}: {fault}");
        }
    }
}

/// What is on disk while the server writes `new` over `old`, after so many lines.
fn while_written(new: &[u8], old: &[u8], lines: usize) -> Vec<u8> {
    let written: Vec<u8> =
        new.split_inclusive(|byte| *byte == b'\n').take(lines).flatten().copied().collect();
    let rest = old.get(written.len()..).unwrap_or_default();
    [&written, rest].concat()
}

/// Catches the new beginning of a file with the old end of it, whose END makes it look whole: an account with half a name, or a
/// client counted twice. Lines that happen to fit are older amounts, which are harmless.
#[test]
fn what_is_read_while_it_is_written_is_never_half_a_client() {
    let olds = [V1_OLD, V1, V2_OLD, V2, V3];
    let mut torn = 0;
    for old in olds {
        for (from, to) in [
            ("1843", "1844"),
            ("1843", "99991843"),
            ("922331", "1922331"),
            ("alice", "alice-in-wonderland"),
            ("alice", "a"),
            ("17179869184", "1"),
        ] {
            let new = replaced(old, from, to);
            for lines in 0..30 {
                match parsed(&while_written(&new, old, lines)) {
                    Err(fault) => {
                        assert!(fault.is_torn(), "{fault}");
                        torn += 1;
                    }
                    Ok(status) => {
                        let (before, after) = (parsed(old).unwrap(), parsed(&new).unwrap());
                        for session in &status.sessions {
                            let known = before.sessions.contains(session) || after.sessions.contains(session);
                            assert!(known, "{session:?} of {lines} lines of {to}");
                        }
                    }
                }
            }
        }
    }
    assert!(torn > 100, "{torn}");
}

#[test]
fn what_is_no_list_of_a_server_says_so() {
    let client = b"OpenVPN STATISTICS\nUpdated,2026-03-10 08:05:09\nTUN/TAP read bytes,1\nEND\n";
    assert_eq!(parsed(client), Err(StatusFault::NotAServer));
    let other = parsed(b"<!DOCTYPE html>\x1b\nEND\n").unwrap_err();
    assert_eq!(other, StatusFault::NotAStatus("<!DOCTYPE html>\u{fffd}".into()));
    assert_eq!(parsed(&replaced(V3, "Bytes Sent", "Sent")), Err(StatusFault::NoColumn("Bytes Sent")));
    assert_eq!(parsed(&replaced(V1, "Bytes Sent", "Sent")), Err(StatusFault::NoColumn("Common Name")));
    assert!(matches!(parsed(&replaced(V3, "\t1773126309\n", "\tnoon\n")), Err(StatusFault::NotATime(_))));
}

/// Catches a wrong zone that is believed: usage hours off, and other session ids once the setting is mended.
#[test]
fn a_zone_that_the_file_contradicts_is_a_fault() {
    let zone = Zone::parse("UTC").unwrap();
    let rules = Rules { account: AccountName::CommonName, zone: &zone, sessions_max: 5 };
    let fault = parse(V1, rules, Some(taken())).unwrap_err();
    assert!(
        matches!(fault, StatusFault::OtherZone { .. }) && fault.to_string().contains("time_zone"),
        "{fault}"
    );
    assert_eq!(parse(V3, rules, Some(taken())).unwrap().taken_at, taken(), "it has times of no zone");
}

#[test]
fn clients_that_cannot_be_counted_cost_the_others_nothing() {
    let long = "x".repeat(254);
    for name in ["al\0ice", "al\u{7f}ice", "al\u{85}ice", &long] {
        for bytes in [V1, V2, V3] {
            let status = parsed(&replaced(bytes, "alice", name)).unwrap();
            assert_eq!(status.refused, 1, "{name:?}");
            assert!(clients(&status).iter().any(|client| client.0 == "branch,office 7"), "{name:?}");
            let why = status.why_refused.unwrap();
            assert!(why.contains('x') != why.contains("al\u{fffd}ice"), "{why}");
        }
    }
    for bytes in [V1, V2, V3] {
        let mut broken = bytes.to_vec();
        let mut from = 0;
        while let Some(found) = broken[from..].windows(5).position(|window| window == b"alice") {
            broken[from + found] = 0xff;
            from += found + 1;
        }
        assert_eq!(parsed(&broken).unwrap().refused, 1);
        for amount in ["-1843", "+1843", "1843.5", "99999999999999999999", "35184372088833"] {
            let status = parsed(&replaced(bytes, "1843", amount)).unwrap();
            assert_eq!((status.refused, clients(&status)[0].0), (1, "branch,office 7"), "{amount}");
        }
    }
}

/// Catches a name that moves the columns: the bytes of one client would be what it chose.
#[test]
fn commas_in_names_never_move_the_columns() {
    let user = replaced(V2, "rt-7", "rt,7,x");
    let status = parse_as(&user, AccountName::UserName).unwrap();
    assert_eq!(status.sessions[0].account, "rt,7,x");
    assert_eq!(status.sessions[0].received_bytes, 5_368_709_120);

    // It could be read as a client that received one byte.
    let forged = "e,203.0.113.1:1,10.8.0.9,,1,2,now,1773122400,u,9,9,AES-256-GCM";
    let status = parsed(&replaced(V2, "CLIENT_LIST,alice", &format!("CLIENT_LIST,{forged}"))).unwrap();
    assert_eq!((status.refused, clients(&status).len()), (1, 2), "{status:?}");
    let endless = replaced(V2, "CLIENT_LIST,alice", &format!("CLIENT_LIST,{}", ",".repeat(3_000)));
    assert_eq!(parsed(&endless).unwrap().refused, 1);
    let tab = replaced(V3, "CLIENT_LIST\talice", "CLIENT_LIST\tal\tice");
    assert!(parsed(&tab).unwrap().sessions.iter().all(|session| session.account != "ice"));
}

/// Catches two sessions that become one: its counters would go up and down.
#[test]
fn sessions_of_one_name_and_second_are_told_apart_or_refused() {
    let same = |bytes| replaced(bytes, "UNDEF", "alice");
    let status = parsed(&replaced(&same(V2), "2026-03-10 08:05:01,1773126301", "x,1773122400")).unwrap();
    let ids: Vec<&str> = clients(&status).iter().filter(|c| c.0 == "alice").map(|client| client.1).collect();
    assert_eq!(ids, ["1773122400.3", "1773122400.4", "1773122400.5"]);

    let old = replaced(&same(V2_OLD), "1773126301", "1773122400");
    let status = parsed(&old).unwrap();
    assert_eq!((status.refused, clients(&status).len()), (3, 1));
    assert!(status.why_refused.unwrap().contains("twice in one second"));
    let peer = replaced(&replaced(V2, "Client ID", "Other ID"), "UNDEF,3,0,", "UNDEF,3,0,");
    assert_eq!(clients(&parsed(&peer).unwrap())[0].1, "1773122400.p0");
}

#[test]
fn more_clients_than_may_be_are_a_fault() {
    let zone = Zone::parse("Europe/Zurich").unwrap();
    for bytes in [V1, V2, V3] {
        let rules = Rules { account: AccountName::CommonName, zone: &zone, sessions_max: 1 };
        assert_eq!(parse(bytes, rules, Some(taken())), Err(StatusFault::TooManySessions(1)));
    }
}

#[test]
fn lines_of_a_kind_that_is_new_are_no_concern() {
    let newer = replaced(V3, "GLOBAL_STATS\tdco", "TUNNEL_STATS\t1\nGLOBAL_STATS\tdco");
    assert_eq!(parsed(&newer), parsed(V3));
    assert!(
        parsed(&replaced(V3, "GLOBAL_STATS\tdco", "L_STATS\tdco")).unwrap_err().is_torn(),
        "the end of one"
    );
}

proptest! {
    /// Catches a panic, and a client made of nothing.
    #[test]
    fn no_input_does_harm(which in 0..5_usize, edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut bytes = [V1_OLD, V1, V2_OLD, V2, V3][which].to_vec();
        for (index, byte) in edits {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(status) = parsed(&bytes) {
            prop_assert!(status.sessions.len() <= 5);
            for session in status.sessions {
                prop_assert!(!session.account.contains(char::is_control) && !session.account.is_empty());
                prop_assert!(session.received_bytes >= 0 && session.sent_bytes >= 0);
            }
        }
    }
}
