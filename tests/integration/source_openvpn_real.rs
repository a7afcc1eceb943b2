//! Real OpenVPN servers and clients.

use crate::harness::bridge::BridgeProcess;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::openvpn::{OpenVpn, installed, reading};
use crate::readings::account;

const ICCID: &str = "8941000000000000001";

async fn with_sim() -> TestDatabase {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    account(&database, "alice", "", ICCID).await;
    database
}

/// Sessions as id, sum and newest counters of both directions.
const SESSIONS: &str =
    "SELECT session_id, data_upload_bytes, data_download_bytes, upload_counter, download_counter
                        FROM usage_sessions ORDER BY created_at, session_id";

/// Waits until the newest of `count` sessions has grown `times` times.
async fn grows(database: &TestDatabase, count: usize, times: usize) -> Vec<String> {
    let mut seen: Vec<Vec<String>> = Vec::new();
    eventually("the session grows", async || {
        let sessions = database.rows(SESSIONS).await;
        if sessions.len() == count && seen.last() != Some(&sessions) {
            seen.push(sessions);
        }
        (seen.len() > times).then(|| seen.pop()).flatten()
    })
    .await
}

/// Waits until the newest session stands where the frozen server's file says, and everything is in order.
async fn stands_as_told(database: &TestDatabase, file: &str, separator: char, columns: [usize; 2]) {
    let line =
        file.lines().find(|line| line.split(separator).any(|field| field == "alice")).expect("a client");
    let fields: Vec<&str> = line.split(separator).collect();
    let told = columns.map(|column| fields[column]);
    let newest = eventually(line, async || {
        let newest = database.rows(SESSIONS).await.pop()?;
        newest.ends_with(&format!("|{}|{}", told[0], told[1])).then_some(newest)
    })
    .await;
    let sums: Vec<&str> = newest.split('|').skip(1).take(2).collect();
    assert_eq!(sums, told, "the sum of the deltas is what the session used");
    database.assert_reconciled().await;
}

/// Catches a format that was misread: names, columns or directions.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_file_of_a_real_server_is_counted_in_every_version() {
    if !installed() {
        return;
    }
    for (version, separator, columns) in [(1, ',', [2, 3]), (2, ',', [5, 6]), (3, '\t', [5, 6])] {
        let database = with_sim().await;
        let Some(mut server) = OpenVpn::start(&["alice"], version, &[]).await else { return };
        let settings = format!("status_file = \"{}\"", server.path("status"));
        let bridge = BridgeProcess::start(&reading(&database.url(), &settings)).await;
        let first = server.connect("alice");
        grows(&database, 1, 2).await;
        // Another connection of the same client is another session.
        drop(first);
        let _second = server.connect("alice");
        grows(&database, 2, 1).await;
        server.freeze();
        let file = std::fs::read_to_string(server.path("status")).expect("it is there");
        stands_as_told(&database, &file, separator, columns).await;
        server.kill().await;
        assert_eq!(bridge.terminate().await, Some(0));
    }
}

/// Catches a conversation that only a server of ours understands, and one that holds the source when the server hangs.
#[tokio::test(flavor = "multi_thread")]
async fn the_management_interface_of_a_real_server_is_asked() {
    if !installed() {
        return;
    }
    let database = with_sim().await;
    let management = ["--management", "management", "unix", "password"];
    let Some(mut server) = OpenVpn::start(&["alice"], 2, &management).await else { return };
    let [socket, password] = ["management", "password"].map(|name| server.path(name));
    let settings = |password: &str| format!("management = \"{socket}\", timeout_seconds = 2{password}");
    let right = settings(&format!(", password_file = \"{password}\""));
    let bridge = BridgeProcess::start(&reading(&database.url(), &right)).await;
    let _client = server.connect("alice");
    grows(&database, 1, 2).await;
    let sums = "SELECT count(*) FROM usage_sessions
                WHERE (data_upload_bytes, data_download_bytes) = (upload_counter, download_counter)";
    assert_eq!(database.number(sums).await, 1);
    assert_eq!(bridge.terminate().await, Some(0));

    for (setting, expected) in [
        (settings(""), "set password_file"),
        (
            settings(&format!(", password_file = \"{}\"", server.path("status"))),
            "password of password_file is wrong",
        ),
    ] {
        let bridge = BridgeProcess::start(&reading(&database.url(), &setting)).await;
        is_told(&bridge, expected).await;
        bridge.kill().await;
    }
    let bridge = BridgeProcess::start(&reading(&database.url(), &right)).await;
    server.freeze();
    is_told(&bridge, "no status within 2 s").await;
    server.kill().await;
    is_told(&bridge, "Connection refused").await;
    assert_eq!(bridge.terminate().await, Some(0));
    database.assert_reconciled().await;
}

async fn is_told(bridge: &BridgeProcess, error: &str) {
    eventually(error, async || bridge.get("/statusz").await.1.contains(error).then_some(())).await;
}
