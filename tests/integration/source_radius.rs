//! RADIUS accounting: what a NAS tells of its sessions counts once, and is answered after its COMMIT.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::harness::bridge::{BridgeProcess, command_as};
use crate::harness::database::{TestDatabase, now, sim};
use crate::harness::radius::{
    Attributes, INTERIM, Nas, ON, START, STOP, Secrets, accounting, address, counted, installed, number,
    radclient, report, text,
};
use crate::harness::server::TestServer;

const ICCID: &str = "8941000000000000001";
const IMSI: &str = "228010000000001";
const TOTALS: &str =
    "SELECT concat_ws(' ', sum(data_upload_bytes), sum(data_download_bytes)) FROM usage_records";

/// A database with a SIM, and a bridge that answers.
async fn started(settings: &str) -> (TestDatabase, Secrets, BridgeProcess, Nas) {
    let (database, secrets) = (with_sim().await, Secrets::create());
    let bridge = BridgeProcess::start(&accounting(&database.url(), &secrets, settings)).await;
    let nas = Nas::new(address(&bridge).await).await;
    (database, secrets, bridge, nas)
}

async fn with_sim() -> TestDatabase {
    let database = TestDatabase::new().await;
    let mut row = sim(ICCID);
    row.imsi = Some(IMSI.into());
    database.import(&[row]).await;
    database
}

async fn totals(database: &TestDatabase) -> String {
    database.assert_reconciled().await;
    database.text(TOTALS, &[]).await
}

/// So many seconds ago, by the clock of the NAS.
fn ago(seconds: i64) -> DateTime<Utc> {
    now() - TimeDelta::seconds(seconds)
}

/// Of session `s1` of the SIM, `seconds` ago, with octets from the user, when it has lasted so long.
fn told(status: u32, seconds: i64, input: u32, lasted: u32) -> Attributes {
    counted(report(status, "s1", IMSI, ago(seconds)), input, 0, lasted)
}

/// Catches an answer without the NAS's Proxy-State, one that is not made with the secret, and directions that are swapped:
/// radclient refuses the first two.
#[tokio::test(flavor = "multi_thread")]
async fn radclient_is_answered_and_its_session_counts_once() {
    if !installed() {
        return;
    }
    let (database, _secrets, bridge, nas) = started("").await;
    let common = format!(
        "Acct-Session-Id = \"81\", 3GPP-IMSI = \"{IMSI}\", User-Name = \"nobody\", NAS-Identifier = \"n1\", \
         3GPP-SGSN-MCC-MNC = \"22801\", Message-Authenticator = 0x00, Proxy-State = 0x0102, Proxy-State = 0x03"
    );
    let (begun, met, ended) = (ago(600).timestamp(), ago(300).timestamp(), ago(10).timestamp());
    let requests = format!(
        "Acct-Status-Type = Start, Event-Timestamp = {begun}, {common}\n\n\
         Acct-Status-Type = Interim-Update, Event-Timestamp = {met}, Acct-Session-Time = 300, \
         Acct-Input-Octets = 1000, Acct-Output-Octets = 4000000000, {common}\n\n\
         Acct-Status-Type = Stop, Event-Timestamp = {ended}, Acct-Session-Time = 590, Acct-Input-Octets = 1500, \
         Acct-Output-Octets = 5, Acct-Output-Gigawords = 1, Acct-Terminate-Cause = User-Request, {common}\n"
    );
    for _ in 0..2 {
        let (answered, said) = radclient(nas.server, &requests).await;
        assert!(answered, "{said}");
        assert_eq!(said.matches("Received Accounting-Response").count(), 3, "{said}");
        let answers = said.split("Received").skip(1).filter_map(|text| text.split("Sent").next());
        let states = answers.map(|answer| answer.matches("Proxy-State = ").count());
        assert!(states.eq([2, 2, 2]), "{said}");
    }
    assert_eq!(totals(&database).await, "1500 4294967301");
    let records = database.rows("SELECT DISTINCT iccid, mccmnc FROM usage_records").await;
    assert_eq!(records, [format!("{ICCID}|22801")]);
    let session =
        "SELECT session_id, ended_at = last_sample_at, began_at = to_timestamp($1) FROM usage_sessions";
    let session = session.replace("$1", &begun.to_string());
    assert_eq!(database.rows(&session).await, ["core:nas:n1:81|t|t"]);
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a repetition that is stored again, or answered with another packet.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_packet_is_answered_again_and_stored_once() {
    let (database, _secrets, bridge, mut nas) = started("").await;
    let packet = nas.packet(&told(INTERIM, 60, 7, 30));
    let first = nas.ask(&packet).await;
    for _ in 0..3 {
        assert_eq!(nas.ask(&packet).await, first);
    }
    assert!(bridge.metric("simbridge_source_radius_duplicates_total").await >= 3.0);
    // The memory is bounded: what it has forgotten is known by its counters.
    let again = nas.packet(&told(INTERIM, 60, 7, 30));
    nas.ask(&again).await;
    assert_eq!(database.rows("SELECT record_id, total_bytes FROM usage_records").await.len(), 1);
    assert_eq!(totals(&database).await, "7 0");
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches resets where requests overtake each other, a Stop that counts twice, and wraps that are resets.
#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_requests_changes_nothing() {
    let (database, _secrets, bridge, mut nas) = started("").await;
    let top = u32::MAX - 9;
    for (status, seconds, input, lasted) in [
        (START, 600, 0, 0),
        (INTERIM, 400, 2_000_000_000, 200),
        (INTERIM, 500, 5, 100),
        (INTERIM, 300, top, 300),
        (START, 600, 0, 0),
        (INTERIM, 200, 20, 400),
        (INTERIM, 300, top, 300),
        (STOP, 100, 50, 500),
        (INTERIM, 150, 40, 450),
        (STOP, 100, 50, 500),
    ] {
        nas.tell(&told(status, seconds, input, lasted)).await;
    }
    assert_eq!(totals(&database).await, format!("{} 0", (1i64 << 32) + 50));
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 4);
    assert_eq!(bridge.metric("simbridge_source_messages_acknowledged_total").await, 10.0);
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches sessions of a NAS that restarts counting up, or being taken for those before: it gives its ids again.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_with_their_nas_and_their_ids_begin_anew() {
    let (database, _secrets, bridge, mut nas) = started("").await;
    nas.tell(&told(START, 900, 0, 0)).await;
    nas.tell(&told(INTERIM, 800, 100, 100)).await;
    let mut other = told(INTERIM, 800, 40, 100);
    other.retain(|(kind, _)| *kind != 32);
    other.push(text(32, "n2"));
    nas.tell(&other).await;

    let on = u32::try_from(ago(700).timestamp()).expect("before 2106");
    nas.tell(&[number(40, ON), text(32, "n1"), number(55, on)]).await;
    let open = "SELECT session_id FROM usage_sessions WHERE ended_at IS NULL";
    assert_eq!(database.rows(open).await, ["core:nas:n2:s1"], "the one of another NAS goes on");

    // Its Start got lost, and it has used more than the session before.
    nas.tell(&told(INTERIM, 500, 150, 100)).await;
    nas.tell(&told(STOP, 400, 160, 200)).await;
    nas.tell(&told(START, 300, 0, 0)).await;
    nas.tell(&told(INTERIM, 200, 200, 100)).await;
    assert_eq!(totals(&database).await, format!("{} 0", 100 + 40 + 160 + 200));
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches usage of an unknown account that is lost, counted for somebody, or parked with every request.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_account_is_parked_at_first_and_at_last_and_counts_once_it_is_known() {
    let (database, _secrets, bridge, mut nas) = started("account = [\"User-Name\"]").await;
    let of = |status, session: &str, seconds, input, lasted| {
        counted(report(status, session, "alice", ago(seconds)), input, 0, lasted)
    };
    nas.tell(&report(START, "a", "alice", ago(600))).await;
    nas.tell(&of(INTERIM, "a", 500, 10, 100)).await;
    nas.tell(&of(INTERIM, "a", 400, 20, 200)).await;
    nas.tell(&of(STOP, "b", 400, 5, 10)).await;
    let parked =
        "SELECT reason, convert_from(payload, 'UTF8')::jsonb ->> 'account' FROM quarantine ORDER BY id";
    assert_eq!(database.rows(parked).await, ["unknown_account|alice", "unknown_account|alice"]);
    let warnings = bridge.log().iter().filter(|line| line.contains("stands for no SIM")).count();
    assert_eq!((totals(&database).await, warnings), (String::new(), 1));
    assert_eq!(bridge.metric("simbridge_source_radius_unknown_accounts_total").await, 4.0);

    let set = ["accounts", "set", "alice", "--iccid", ICCID];
    let (code, _, said) = command_as(&TestServer::shared().owner_url_for(&database.name), &set).await;
    assert_eq!(code, Some(0), "{said}");
    nas.tell(&of(INTERIM, "a", 300, 30, 300)).await;
    nas.tell(&of(STOP, "a", 200, 31, 400)).await;
    assert_eq!(totals(&database).await, "31 0", "the whole session, without the one that ended before");
    assert_eq!(bridge.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_families_of_addresses_are_answered_from_one_socket() {
    let (database, _secrets, bridge, mut nas) = started("listen = \"[::]:0\"").await;
    let port = nas.server.port();
    let mut four = Nas::new(format!("127.0.0.1:{port}").parse().expect("an address")).await;
    nas.server = format!("[::1]:{port}").parse().expect("an address");
    four.tell(&told(INTERIM, 60, 7, 30)).await;
    nas.tell(&told(INTERIM, 60, 5, 30)).await;
    let sessions = "SELECT session_id FROM usage_sessions ORDER BY 1";
    assert_eq!(database.rows(sessions).await, ["core:nas:n1:s1", "core:six:n1:s1"]);
    assert_eq!(totals(&database).await, "12 0");
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a reload that does nothing, and one that takes an empty file.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_counts_after_a_hangup() {
    let (database, secrets, bridge, mut nas) = started("").await;
    nas.tell(&told(INTERIM, 60, 1, 30)).await;
    let hang_up = async |times: usize, bridge: &BridgeProcess| {
        bridge.signal(nix::sys::signal::Signal::SIGHUP);
        crate::harness::eventually("they are read", async || {
            let read = bridge.log().iter().filter(|line| line.contains("were read again")).count();
            (read == times).then_some(())
        })
        .await;
    };
    secrets.write("");
    hang_up(1, &bridge).await;
    nas.tell(&told(INTERIM, 50, 2, 40)).await;
    secrets.write("another secret of the tests");
    hang_up(2, &bridge).await;
    let refused = nas.packet(&told(INTERIM, 40, 3, 50));
    nas.send(&refused).await;
    let dropped = "simbridge_source_radius_datagrams_dropped_total{source=\"core\",reason=\"wrong_secret\"}";
    bridge.metric_becomes(dropped, 1.0).await;
    nas.secret = "another secret of the tests".into();
    nas.tell(&told(INTERIM, 40, 3, 50)).await;
    assert_eq!(totals(&database).await, "3 0");
    assert_eq!(bridge.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_the_source() {
    let (database, _secrets, bridge, mut nas) = started("").await;
    nas.tell(&told(STOP, 60, 7, 30)).await;
    let body: Value = serde_json::from_str(&bridge.get("/statusz").await.1).expect("JSON");
    let source = &body["sources"][0];
    assert_eq!((&source["kind"], &source["state"]), (&"radius".into(), &"reading".into()), "{source}");
    assert_eq!((&source["received"], &source["acknowledged"]), (&1.into(), &1.into()), "{source}");
    let ended = "SELECT ended_at IS NOT NULL FROM usage_sessions";
    assert_eq!(database.rows(ended).await, ["t"]);
    assert_eq!(bridge.terminate().await, Some(0));
}
