//! What an OpenVPN server writes into its status file, read while it is written, replaced, or not what it should be.

use std::path::Path;

use chrono::TimeDelta;
use serde_json::Value;
use simbridge::config::OpenVpnSourceConfig;
use simbridge::domain::Clock;

use crate::harness::api::TestApi;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::openvpn::StatusFile;
use crate::harness::pipeline::time;
use crate::readings::account;

const ONE: &str = "8941000000000000001";
const TWO: &str = "8941000000000000002";
/// Half a minute after the fixtures were written.
const NOW: &str = "2026-03-10T07:05:39Z";

async fn with_sims() -> TestDatabase {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ONE), sim(TWO)]).await;
    account(&database, "alice", "", ONE).await;
    database
}

/// The program, to which it is always `NOW`, and its source.
async fn started(database: &TestDatabase, source: OpenVpnSourceConfig) -> TestApi {
    let clock = Clock::Fixed(time(NOW));
    TestApi::start_with(database, clock, false, |config| config.source.openvpn = vec![source]).await
}

/// Seconds count from `AT_NOW` before `NOW`.
fn file() -> StatusFile {
    StatusFile::new(time(NOW) - TimeDelta::seconds(AT_NOW))
}

const AT_NOW: i64 = 3_100;

/// Waits until the session's counters stand here; returns the totals by SIM.
async fn reaches(database: &TestDatabase, session: &str, upload: i64, download: i64) -> Vec<String> {
    let query = format!(
        "SELECT count(*) FROM usage_sessions
         WHERE session_id = '{session}' AND (upload_counter, download_counter) = ({upload}, {download})"
    );
    eventually("it is stored", async || (database.number(&query).await > 0).then_some(())).await;
    totals(database).await
}

/// Bytes up and down by SIM.
async fn totals(database: &TestDatabase) -> Vec<String> {
    database.assert_reconciled().await;
    let cycles = "SELECT iccid, sum(total_upload_bytes), sum(total_download_bytes) FROM usage_cycles
                  GROUP BY iccid HAVING sum(total_bytes) > 0 ORDER BY iccid";
    database.rows(cycles).await
}

/// How the source stands, as `/statusz` tells it.
async fn standing(api: &TestApi) -> Value {
    api.get("/statusz").await.json()["sources"][0].clone()
}

async fn stands(api: &TestApi, state: &str, error: &str) -> Value {
    eventually(state, async || {
        let source = standing(api).await;
        let told = source["lastError"].as_str().unwrap_or_default().contains(error);
        (source["state"] == state && told).then_some(source)
    })
    .await
}

async fn metric(api: &TestApi, name: &str) -> f64 {
    counted(&api.get("/metrics").await.text, name)
}

fn counted(metrics: &str, name: &str) -> f64 {
    let name = format!("simbridge_source_{name}{{source=\"hq\"}} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
    value.expect("it is told")
}

/// Waits for so many more looks, or other counts.
async fn more(api: &TestApi, name: &str, count: f64) {
    let before = metric(api, name).await;
    eventually(name, async || (metric(api, name).await >= before + count).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_the_format_tells_the_same() {
    for (fixture, client) in [
        ("status-1-openvpn-2.4.log", ""),
        ("status-1-openvpn-2.6.log", ""),
        ("status-2-openvpn-2.3.log", ""),
        ("status-2-openvpn-2.6.log", ".3"),
        ("status-3-openvpn-2.6.log", ".3"),
    ] {
        let database = with_sims().await;
        account(&database, "branch,office 7", "hq", TWO).await;
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/openvpn");
        let file = file();
        file.copy(&fixtures.join(fixture), time("2026-03-10T07:05:09Z"));
        let source = OpenVpnSourceConfig { time_zone: "Europe/Zurich".into(), ..file.source("hq") };
        let api = started(&database, source).await;
        let session = format!("hq:alice:1773122400{client}");
        reaches(&database, &session, 1_843, 922_331).await;
        stands(&api, "reading", "").await;
        let all = eventually("both are stored", async || {
            Some(totals(&database).await).filter(|totals| totals.len() == 2)
        })
        .await;
        // What the server received is the client's upload.
        assert_eq!(all, [format!("{ONE}|1843|922331"), format!("{TWO}|5368709120|17179869184")], "{fixture}");
        let record =
            "SELECT period_start = '2026-03-10T06:00:00Z', period_end = '2026-03-10T07:05:09Z', source
                      FROM usage_records WHERE iccid = '8941000000000000001'";
        assert_eq!(database.rows(record).await, ["t|t|hq"]);

        let key = api.key(&["usage:read"]).await;
        let usage = api.get_as(&key, &format!("/session/{session}/usage")).await;
        assert_eq!(usage.json(), serde_json::json!({"dataUsedBytes": 924_174}));
        let info = api.get_as(&key, &format!("/session/{session}/info")).await.json();
        assert_eq!((&info["iccid"], &info["status"]), (&ONE.into(), &"active".into()));
        api.close().await;
    }
}

/// Catches a session that is told by its name alone: a client that connects again begins at zero.
#[tokio::test(flavor = "multi_thread")]
async fn each_connection_of_a_client_is_a_session_whose_bytes_count_once() {
    let (database, file) = (with_sims().await, file());
    file.write(3_000, &[("alice", 0, 0, 100, 10)]);
    let api = started(&database, file.source("hq")).await;
    let [first, second] = [(0, 0), (3_030, 4)].map(|(since, n)| format!("hq:alice:{}.{n}", file.at(since)));
    assert_eq!(reaches(&database, &first, 100, 10).await, [format!("{ONE}|100|10")]);
    file.write(3_010, &[("alice", 0, 0, 150, 10)]);
    reaches(&database, &first, 150, 10).await;
    // She connected again; nothing was read of what she used until then.
    file.write(3_040, &[("alice", 3_030, 4, 70, 7)]);
    assert_eq!(reaches(&database, &second, 70, 7).await, [format!("{ONE}|220|17")]);
    // Two devices with one certificate.
    file.write(3_050, &[("alice", 3_030, 4, 71, 7), ("alice", 3_030, 5, 1_000, 0)]);
    let third = format!("hq:alice:{}.5", file.at(3_030));
    reaches(&database, &third, 1_000, 0).await;
    assert_eq!(reaches(&database, &second, 71, 7).await, [format!("{ONE}|1221|17")]);
    // A counter of 32 bits near its end, over it, and one that begins anew without a new session.
    let top = (1i64 << 32) - 5;
    for (second, upload) in [(3_060, top), (3_070, 20), (3_080, 3)] {
        file.write(second, &[("alice", 3_030, 5, upload, 0)]);
        reaches(&database, &third, upload, 0).await;
    }
    assert_eq!(totals(&database).await, [format!("{ONE}|{}|17", 221 + top + 25 + 3)]);
    api.close().await;
}

/// Catches a file that is used as it is found, whole or not.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_half_written_is_not_used_and_read_again_at_once() {
    let (database, file) = (with_sims().await, file());
    file.write(3_000, &[("alice", 0, 0, 100, 10)]);
    let source = OpenVpnSourceConfig { interval_seconds: 2, ..file.source("hq") };
    let api = started(&database, source).await;
    let session = format!("hq:alice:{}.0", file.at(0));
    reaches(&database, &session, 100, 10).await;

    let text = file.text(3_010, &[("alice", 0, 0, 999, 99)]);
    file.write_text(text.strip_suffix("END\n").expect("its end"));
    let body = eventually("it is read again", async || {
        let body = api.get("/metrics").await.text;
        (counted(&body, "incomplete_reads_total") >= 2.0).then_some(body)
    })
    .await;
    let (torn, failed) = (counted(&body, "incomplete_reads_total"), counted(&body, "failures_total"));
    assert!(failed == 0.0 || torn > 5.0, "a moment of writing is no trouble: {failed} of {torn}");
    assert_eq!(totals(&database).await, [format!("{ONE}|100|10")]);
    file.write_text("");
    let source = stands(&api, "waiting", "is not whole").await;
    assert!(source["workingSince"].is_null(), "one that stays is: {source}");
    file.write_text(&text);
    assert_eq!(reaches(&database, &session, 999, 99).await, [format!("{ONE}|999|99")]);
    stands(&api, "reading", "").await;
    api.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_and_read_when_it_can() {
    let (database, file) = (with_sims().await, file());
    let source = OpenVpnSourceConfig { status_max_bytes: 2_000, sessions_max: 3, ..file.source("hq") };
    let api = started(&database, source).await;
    stands(&api, "waiting", "No such file").await;
    let body = api.get("/statusz").await.json();
    assert!(
        body["problems"][0].as_str().expect("a problem").starts_with("source `hq` is not reading: "),
        "{body}"
    );
    assert_eq!(api.get("/readyz").await.status, 200, "a server that is away is no reason to send no traffic");

    std::fs::create_dir(file.path()).expect("it is free");
    stands(&api, "waiting", "no regular file").await;
    std::fs::remove_dir(file.path()).expect("it is ours");
    // A pipe that nobody writes would hold whoever opens it.
    nix::unistd::mkfifo(&file.path(), nix::sys::stat::Mode::S_IRWXU).expect("it is free");
    stands(&api, "waiting", "no regular file").await;
    file.write_text(&"x".repeat(2_001));
    stands(&api, "waiting", "raise status_max_bytes").await;
    let many: Vec<_> = (0..4).map(|n| ("alice", 0, n, 1, 1)).collect();
    file.write(3_000, &many);
    stands(&api, "waiting", "raise sessions_max").await;
    file.write_text("OpenVPN STATISTICS\nUpdated,2026-03-10 08:05:09\nEND\n");
    stands(&api, "waiting", "only a server has a list").await;
    file.write_text("{}\nEND\n");
    stands(&api, "waiting", "not the status of an OpenVPN server").await;
    assert_eq!(totals(&database).await, Vec::<String>::new());
    file.write(3_000, &many[..3]);
    stands(&api, "reading", "").await;
    reaches(&database, &format!("hq:alice:{}.2", file.at(0)), 1, 1).await;
    api.close().await;
}

/// Catches a server that died and whose last status goes on being taken for well; and a clock that would make everything that
/// comes after it look old.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_status_is_counted_and_told_and_one_of_the_future_is_not_counted() {
    let (database, file) = (with_sims().await, file());
    let session = format!("hq:alice:{}.0", file.at(0));
    file.write(AT_NOW - 301, &[("alice", 0, 0, 100, 10)]);
    let api = started(&database, file.source("hq")).await;
    let source = stands(&api, "waiting", "does OpenVPN run").await;
    assert!(source["lastError"].as_str().expect("text").contains("2026-03-10T07:00:38Z"), "{source}");
    assert_eq!(reaches(&database, &session, 100, 10).await, [format!("{ONE}|100|10")]);
    file.write(AT_NOW + 7_200, &[("alice", 0, 0, 200, 10)]);
    stands(&api, "waiting", "clock is 120 min ahead").await;
    file.write(AT_NOW, &[("alice", 0, 0, 250, 10)]);
    stands(&api, "reading", "").await;
    assert_eq!(reaches(&database, &session, 250, 10).await, [format!("{ONE}|250|10")]);
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 2);
    api.close().await;
}

/// Catches a quarantine that grows with every look.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_account_is_parked_twice_a_session_and_counts_whole_once_it_is_known() {
    let (database, file) = (with_sims().await, file());
    let parked =
        "SELECT convert_from(payload, 'UTF8')::json->'counters'->>'uploadBytes' FROM quarantine ORDER BY id";
    let clients = |bob: i64| [("alice", 0, 0, 1, 1), ("bob", 60, 1, bob, 0), ("carol", 60, 2, bob, 0)];
    file.write(3_000, &clients(10));
    let api = started(&database, file.source("hq")).await;
    eventually("both are parked", async || (database.rows(parked).await.len() == 2).then_some(())).await;
    for n in 1..=3 {
        file.write(3_000 + n * 10, &clients(10 + n));
        more(&api, "unknown_accounts_total", 4.0).await;
    }
    assert_eq!(database.rows(parked).await, ["10", "10"]);
    account(&database, "bob", "hq", TWO).await;
    file.write(3_040, &clients(14));
    let bob = format!("hq:bob:{}.1", file.at(60));
    assert_eq!(reaches(&database, &bob, 14, 0).await, [format!("{ONE}|1|1"), format!("{TWO}|14|0")]);
    let from =
        format!("SELECT extract(epoch FROM period_start)::bigint FROM usage_records WHERE iccid = '{TWO}'");
    assert_eq!(database.number(&from).await, file.at(60), "from the beginning of the session");
    // Both end; of carol the last reading is parked too.
    file.write(3_050, &[("alice", 0, 0, 1, 1)]);
    eventually("the last one is parked", async || (database.rows(parked).await.len() == 3).then_some(()))
        .await;
    assert_eq!(database.rows(parked).await, ["10", "10", "14"]);
    let periods =
        "SELECT convert_from(payload, 'UTF8')::json->>'periodStart' FROM quarantine ORDER BY id DESC LIMIT 1";
    assert_eq!(
        database.rows(periods).await,
        ["2026-03-10T07:03:59Z"],
        "since the one that was parked before"
    );
    api.close().await;
}

/// Catches names that hold others up, or that pass for others.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_cost_their_neighbours_nothing() {
    let (database, file) = (with_sims().await, file());
    let long = "x".repeat(300);
    let names = ["a\0b", "ali\u{1b}ce", &long, "CLIENT_LIST", "END", "UNDEF", "alice"];
    let clients: Vec<_> = names.iter().enumerate().map(|(n, name)| (*name, 0, n as u32, 5, 5)).collect();
    file.write(3_000, &clients);
    let api = started(&database, file.source("hq")).await;
    assert_eq!(reaches(&database, &format!("hq:alice:{}.6", file.at(0)), 5, 5).await, [format!("{ONE}|5|5")]);
    assert!(metric(&api, "clients_refused_total").await >= 3.0);
    let parked = "SELECT convert_from(payload, 'UTF8')::json->>'account' FROM quarantine ORDER BY 1";
    eventually("they are parked", async || {
        (database.rows(parked).await == ["CLIENT_LIST", "END"]).then_some(())
    })
    .await;
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 1);
    api.close().await;
}
