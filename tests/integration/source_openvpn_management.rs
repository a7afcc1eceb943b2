//! The management interface of an OpenVPN server that does what a test wants, where real ones cannot be made to.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::harness::bridge::{BridgeOptions, BridgeProcess, simbridge};
use crate::harness::database::{TestDatabase, now, sim};
use crate::harness::openvpn::{StatusFile, reading};
use crate::harness::{PATIENCE, eventually};
use crate::readings::account;

const ICCID: &str = "8941000000000000001";
const GREETING: &str = ">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n";

async fn with_sim() -> (TestDatabase, StatusFile) {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    account(&database, "alice", "", ICCID).await;
    let began = chrono::DateTime::from_timestamp(now().timestamp() - 250, 0).expect("a time");
    (database, StatusFile::new(began))
}

/// The server's side of a connection.
struct Peer(BufReader<TcpStream>);

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await.expect("in time");
        Self(BufReader::new(accepted.expect("a connection").0))
    }

    async fn say(&mut self, text: impl AsRef<[u8]>) {
        // Who heard enough may be gone.
        self.0.write_all(text.as_ref()).await.ok();
    }

    /// The next line, or nothing when the other side is gone.
    async fn hears(&mut self) -> String {
        let mut line = String::new();
        let heard = self.0.read_line(&mut line);
        tokio::time::timeout(PATIENCE, heard).await.expect("in time").ok();
        line
    }

    /// Waits until the other side is gone.
    async fn until_left(mut self) {
        let mut rest = Vec::new();
        let read = self.0.read_to_end(&mut rest);
        tokio::time::timeout(PATIENCE, read).await.expect("in time").ok();
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

fn options(database: &TestDatabase, address: SocketAddr, settings: &str) -> BridgeOptions {
    reading(&database.url(), &format!("management = \"{address}\"{settings}"))
}

/// As the interface ends its lines.
fn answer(status: &str) -> String {
    status.replace('\n', "\r\n")
}

async fn counted(database: &TestDatabase, bytes: i64) {
    let sum = "SELECT coalesce(sum(total_bytes), 0)::bigint FROM usage_records";
    eventually("it is stored", async || (database.number(sum).await == bytes).then_some(())).await;
    database.assert_reconciled().await;
}

/// Waits until the source waits with an error that says this.
async fn is_told(bridge: &BridgeProcess, error: &str) {
    eventually(error, async || {
        let body: serde_json::Value = serde_json::from_str(&bridge.get("/statusz").await.1).expect("JSON");
        let source = &body["sources"][0];
        let told = source["lastError"].as_str().unwrap_or_default().contains(error);
        (source["state"] == "waiting" && told).then_some(())
    })
    .await;
}

/// Catches notifications that are taken for a part of the answer, and a connection that is kept: the server talks to one
/// program at a time.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_says_by_itself_is_no_part_of_the_answer() {
    let (database, file) = with_sim().await;
    let (listener, address) = listen().await;
    let bridge = BridgeProcess::start(&options(&database, address, "")).await;
    for (n, bytes) in (1..=3).zip([100, 250, 251]) {
        let mut peer = Peer::accept(&listener).await;
        peer.say(">LOG:1795293011,I,early\r\n").await;
        peer.say(GREETING).await;
        assert_eq!(peer.hears().await, "status 3\n");
        let status = answer(&file.text(n * 10, &[("alice", 0, 0, bytes, 0)]));
        for line in status.split_inclusive('\n') {
            peer.say(">BYTECOUNT_CLI:0,1,2\r\n>CLIENT:ESTABLISHED,0\r\n").await;
            // In two pieces.
            let (start, end) = line.split_at(line.len() / 2);
            peer.say(start).await;
            peer.0.flush().await.expect("it reads");
            peer.say(end).await;
        }
        assert_eq!(peer.hears().await, "quit\n");
        peer.until_left().await;
        counted(&database, bytes).await;
    }
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a password that is sent where none was asked for, or sent again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_given_when_it_is_asked_for() {
    let (database, file) = with_sim().await;
    let (listener, address) = listen().await;
    let password = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(password.path(), "open sesame\nsecond line\n").expect("it is ours");
    let setting = format!(", password_file = \"{}\"", password.path().display());
    let bridge = BridgeProcess::start(&options(&database, address, &setting)).await;
    let mut peer = Peer::accept(&listener).await;
    // A prompt has no end of a line, and may come in pieces.
    peer.say("ENTER PASS").await;
    peer.say("WORD:").await;
    assert_eq!(peer.hears().await, "open sesame\n");
    peer.say("ERROR: bad password\r\nENTER PASSWORD:").await;
    peer.until_left().await;
    is_told(&bridge, "password of password_file is wrong").await;

    let mut peer = Peer::accept(&listener).await;
    peer.say("ENTER PASSWORD:").await;
    assert_eq!(peer.hears().await, "open sesame\n");
    peer.say(format!("SUCCESS: password is correct\r\n{GREETING}")).await;
    assert_eq!(peer.hears().await, "status 3\n");
    peer.say(answer(&file.text(10, &[("alice", 0, 0, 7, 0)]))).await;
    counted(&database, 7).await;
    let mut peer = Peer::accept(&listener).await;
    peer.say(GREETING).await;
    assert_eq!(peer.hears().await, "status 3\n", "nobody asked for a password");
    bridge.kill().await;

    let bridge = BridgeProcess::start(&options(&database, address, "")).await;
    let mut peer = Peer::accept(&listener).await;
    peer.say("ENTER PASSWORD:").await;
    is_told(&bridge, "set password_file").await;
    assert!(!bridge.log().iter().any(|line| line.contains("sesame")));
    bridge.kill().await;
}

/// Catches a server that holds the source for ever, fills its memory, or is believed whatever it says.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_as_it_should_is_told_and_asked_again() {
    let (database, file) = with_sim().await;
    let (listener, address) = listen().await;
    let settings = ", timeout_seconds = 1, status_max_bytes = 100000";
    let bridge = BridgeProcess::start(&options(&database, address, settings)).await;
    let status = answer(&file.text(10, &[("alice", 0, 0, 7, 0)]));
    let half = status.split_at(status.len() / 2).0.to_owned();
    let endless = "x".repeat(100_001);
    let notifications = ">LOG:1,I,x\r\n".repeat(10_000);
    let cases: [(&str, &str, bool, &str); 7] = [
        ("", "", false, "no status within 1 s"),
        (GREETING, &half, false, "no status within 1 s"),
        (GREETING, &half, true, "the server ended the connection"),
        (
            GREETING,
            "ERROR: command not allowed\r\n",
            false,
            "the server answered `ERROR: command not allowed`",
        ),
        (
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "",
            true,
            "no management interface; it said `HTTP/1.1 400 Bad Request`",
        ),
        (GREETING, &endless, false, "raise status_max_bytes"),
        (GREETING, &notifications, false, "raise status_max_bytes"),
    ];
    for (greeting, said, hangs_up, expected) in cases {
        let mut peer = Peer::accept(&listener).await;
        peer.say(greeting).await;
        if greeting == GREETING {
            assert_eq!(peer.hears().await, "status 3\n");
        }
        peer.say(said).await;
        if hangs_up {
            drop(peer);
            is_told(&bridge, expected).await;
        } else {
            is_told(&bridge, expected).await;
            peer.until_left().await;
        }
    }
    let mut peer = Peer::accept(&listener).await;
    peer.say(GREETING).await;
    assert_eq!(peer.hears().await, "status 3\n");
    peer.say(&status).await;
    counted(&database, 7).await;
    drop((peer, listener));
    is_told(&bridge, "Connection refused").await;
    assert_eq!(bridge.terminate().await, Some(0), "while nobody answers it stops all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interface_may_be_a_socket_of_unix() {
    let (database, file) = with_sim().await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("hq.sock");
    let settings = format!("management = \"{}\"", path.display());
    let bridge = BridgeProcess::start(&reading(&database.url(), &settings)).await;
    is_told(&bridge, "No such file").await;
    let listener = UnixListener::bind(&path).expect("it is free");
    let (mut peer, _) =
        tokio::time::timeout(PATIENCE, listener.accept()).await.expect("in time").expect("one");
    peer.write_all(GREETING.as_bytes()).await.expect("it reads");
    peer.write_all(answer(&file.text(10, &[("alice", 0, 0, 7, 0)])).as_bytes()).await.expect("it reads");
    counted(&database, 7).await;
    assert_eq!(bridge.terminate().await, Some(0));
}

/// Catches a source that begins without what it needs.
#[tokio::test]
async fn what_the_configuration_names_must_be_there() {
    let database = TestDatabase::new().await;
    for (settings, expected) in [
        (
            "management = \"h:1\", password_file = \"/nowhere/p\"",
            "source.openvpn `hq`: password_file: /nowhere/p",
        ),
        (
            "status_file = \"/s\", tenant = \"nobody\"",
            "source.openvpn `hq`: tenant: there is no tenant `nobody`",
        ),
        ("status_file = \"/s\", management = \"h:1\"", "source.openvpn[0].status_file"),
    ] {
        let mut command = simbridge();
        command.args(["serve", "--http-addr", "127.0.0.1:0"]).env("DATABASE_URL", database.url());
        command.env("SIMBRIDGE__MQTT__ENABLED", "false");
        command.env("SIMBRIDGE__SOURCE__OPENVPN", format!("[{{ name = \"hq\", {settings} }}]"));
        let output =
            tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(expected), "{text}");
    }
}
