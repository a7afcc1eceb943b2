//! Clients of the RADIUS source: one that is ours, packet by packet, and radclient.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use chrono::{DateTime, Utc};
use md5::{Digest, Md5};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;
use tokio::process::Command;
use tokio::time::{Duration, timeout};

use super::bridge::{BridgeOptions, BridgeProcess};
use super::{PATIENCE, eventually};

pub(crate) const SECRET: &str = "a secret of the tests";
/// How long a client waits before it sends a packet again, as radclient does.
const REPEAT_EVERY: Duration = Duration::from_millis(500);

pub(crate) const START: u32 = 1;
pub(crate) const STOP: u32 = 2;
pub(crate) const INTERIM: u32 = 3;
pub(crate) const ON: u32 = 7;

/// Attributes of a packet: type and value.
pub(crate) type Attributes = Vec<(u8, Vec<u8>)>;

/// Files that the program reads secrets from.
pub(crate) struct Secrets(tempfile::TempDir);

impl Secrets {
    pub(crate) fn create() -> Self {
        let secrets = Self(tempfile::tempdir().expect("a directory"));
        secrets.write(SECRET);
        secrets
    }

    pub(crate) fn write(&self, secret: &str) {
        std::fs::write(self.path(), format!("{secret}\n")).expect("it is ours");
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("secret")
    }
}

/// A bridge that answers clients at 127.0.0.1 and ::1, with further settings as TOML.
pub(crate) fn accounting(database_url: &str, secrets: &Secrets, settings: &str) -> BridgeOptions {
    let client = |name: &str, address: &str, secret: &Path| {
        format!(
            "{{ name = \"{name}\", addresses = [\"{address}\"], secret_file = \"{}\" }}",
            secret.display()
        )
    };
    let secret = secrets.path();
    let clients = [client("nas", "127.0.0.1", &secret), client("six", "::1", &secret)].join(", ");
    let separator = if settings.is_empty() { "" } else { ", " };
    let listen = if settings.contains("listen") { "" } else { "listen = \"127.0.0.1:0\", " };
    let source = format!("[{{ name = \"core\", {listen}clients = [{clients}]{separator}{settings} }}]");
    let mut options = BridgeOptions::new(database_url);
    options.env = vec![
        ("SIMBRIDGE__SOURCE__RADIUS".into(), source),
        ("SIMBRIDGE__MQTT__ENABLED".into(), "false".into()),
    ];
    options
}

/// Where the program answers, as it logged.
pub(crate) async fn address(bridge: &BridgeProcess) -> SocketAddr {
    eventually("it answers requests", async || {
        let log = bridge.log();
        let line = log.iter().find(|line| line.contains("requests for accounting are answered"))?;
        let event: Value = serde_json::from_str(line).expect("JSON");
        Some(event["address"].as_str().expect("text").parse().expect("an address"))
    })
    .await
}

pub(crate) fn number(kind: u8, value: u32) -> (u8, Vec<u8>) {
    (kind, value.to_be_bytes().into())
}

pub(crate) fn text(kind: u8, value: &str) -> (u8, Vec<u8>) {
    (kind, value.into())
}

/// A report of `session` of user `account`, `at` by the clock of the client.
pub(crate) fn report(status: u32, session: &str, account: &str, at: DateTime<Utc>) -> Attributes {
    let at = u32::try_from(at.timestamp()).expect("before 2106");
    vec![number(40, status), text(44, session), text(1, account), text(32, "n1"), number(55, at)]
}

/// With octets from and to the user, and how long it has lasted.
pub(crate) fn counted(mut report: Attributes, input: u32, output: u32, lasted: u32) -> Attributes {
    report.extend([number(42, input), number(43, output), number(46, lasted)]);
    report
}

/// A client that sends packets.
pub(crate) struct Nas {
    socket: UdpSocket,
    pub(crate) server: SocketAddr,
    pub(crate) secret: String,
    identifier: u8,
}

impl Nas {
    pub(crate) async fn new(server: SocketAddr) -> Self {
        let own = if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        Self::at(own, server).await
    }

    pub(crate) async fn at(own: &str, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(own).await.expect("a socket");
        Self { socket, server, secret: SECRET.into(), identifier: 0 }
    }

    /// A request, signed, with the next identifier.
    pub(crate) fn packet(&mut self, attributes: &[(u8, Vec<u8>)]) -> Vec<u8> {
        self.identifier = self.identifier.wrapping_add(1);
        let mut packet = vec![4, self.identifier, 0, 0];
        packet.extend([0; 16]);
        for (kind, value) in attributes {
            packet.extend([*kind, u8::try_from(value.len() + 2).expect("a short value")]);
            packet.extend(value);
        }
        self.sign(packet)
    }

    /// The length and the authenticator of a request that was changed.
    pub(crate) fn sign(&self, mut packet: Vec<u8>) -> Vec<u8> {
        let length = u16::try_from(packet.len()).expect("a length");
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet[4..20].fill(0);
        let digest = Md5::new().chain_update(&packet).chain_update(&self.secret).finalize();
        packet[4..20].copy_from_slice(&digest);
        packet
    }

    pub(crate) async fn send(&self, packet: &[u8]) {
        self.socket.send_to(packet, self.server).await.expect("it is sent");
    }

    /// The next datagram from the server.
    pub(crate) async fn receive(&self) -> Vec<u8> {
        timeout(PATIENCE, self.next()).await.expect("an answer in time")
    }

    async fn next(&self) -> Vec<u8> {
        let mut buffer = vec![0; 5_000];
        let (bytes, from) = self.socket.recv_from(&mut buffer).await.expect("the socket works");
        assert_eq!(from, self.server, "it comes from where it was sent to");
        buffer.truncate(bytes);
        buffer
    }

    /// Nothing that was not asked for has come.
    pub(crate) fn assert_silence(&self) {
        let mut buffer = [0; 5_000];
        let received = self.socket.try_recv_from(&mut buffer);
        assert!(received.is_err(), "{received:?}: {buffer:?}");
    }

    /// Sends a packet again and again until it is answered; proves the answer.
    pub(crate) async fn ask(&self, packet: &[u8]) -> Vec<u8> {
        let asking = async {
            loop {
                self.send(packet).await;
                if let Ok(answer) = timeout(REPEAT_EVERY, self.next()).await
                    && answer[1] == packet[1]
                {
                    return answer;
                }
            }
        };
        let answer = timeout(PATIENCE, asking).await.expect("an answer in time");
        self.assert_answer(&answer, packet);
        answer
    }

    /// An Accounting-Response to this request, by the secret (RFC 2866, 3).
    pub(crate) fn assert_answer(&self, answer: &[u8], packet: &[u8]) {
        assert_eq!((answer[0], answer[1]), (5, packet[1]));
        assert_eq!(usize::from(u16::from_be_bytes([answer[2], answer[3]])), answer.len());
        let digest = Md5::new()
            .chain_update(&answer[..4])
            .chain_update(&packet[4..20])
            .chain_update(&answer[20..])
            .chain_update(&self.secret)
            .finalize();
        assert_eq!(answer[4..20], digest[..], "made with the secret, for this request");
    }

    /// The same for what it reports.
    pub(crate) async fn tell(&mut self, attributes: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let packet = self.packet(attributes);
        self.ask(&packet).await
    }
}

/// Whether radclient is here; in CI it must be.
pub(crate) fn installed() -> bool {
    let found = std::process::Command::new("radclient").arg("-v").stdout(Stdio::null()).status().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "install freeradius-utils");
    if !found {
        eprintln!("NOT RUN: install freeradius-utils to run this test");
    }
    found
}

/// Runs radclient with requests in its words; returns whether each was answered, and what it said.
pub(crate) async fn radclient(server: SocketAddr, requests: &str) -> (bool, String) {
    let mut command = Command::new("radclient");
    command.args(["-x", "-r", "20", "-t", "1", &server.to_string(), "acct", SECRET]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("radclient is installed");
    let mut input = child.stdin.take().expect("stdin is piped");
    input.write_all(requests.as_bytes()).await.expect("it reads");
    drop(input);
    let output =
        timeout(PATIENCE, child.wait_with_output()).await.expect("it ends in time").expect("it ends");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}
