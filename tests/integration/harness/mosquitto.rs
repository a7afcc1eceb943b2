use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::bridge::BridgeOptions;
use super::{PATIENCE, eventually};

const PROGRAM: &str = "/usr/sbin/mosquitto";

/// A broker that is not ours, with a directory of its own. Killed when dropped.
pub(crate) struct Mosquitto {
    child: Option<Child>,
    pub(crate) address: SocketAddr,
    directory: tempfile::TempDir,
}

/// Whether the broker and its clients are here. Without them there is nothing to prove on this machine; in CI they must be
/// here.
pub(crate) fn installed() -> bool {
    let clients = std::process::Command::new("mosquitto_pub").arg("--help").stdout(Stdio::null()).status();
    let found = Path::new(PROGRAM).exists() && clients.is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "install mosquitto and mosquitto-clients");
    if !found {
        eprintln!("NOT RUN: install mosquitto and mosquitto-clients to run this test");
    }
    found
}

impl Mosquitto {
    /// Everybody may connect; what changes is saved at once.
    pub(crate) async fn start() -> Self {
        Self::start_with("allow_anonymous true\n").await
    }

    /// `settings` follow the listener; `DIR` in them is the directory.
    pub(crate) async fn start_with(settings: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), settings).await
    }

    /// In a directory that holds what the settings name.
    pub(crate) async fn start_in(directory: tempfile::TempDir, settings: &str) -> Self {
        // It cannot say which port it was given, so one that was free a moment ago is taken.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = address.expect("a free port");
        let path = directory.path().display().to_string();
        let settings = settings.replace("DIR", &path);
        let persistence = format!(
            "user root\npersistence true\npersistence_location {path}/\nautosave_interval 1\n\
             autosave_on_changes true\nmax_queued_messages 0\nmax_inflight_messages 0\n\
             log_dest file {path}/log\nlog_type all\n"
        );
        let text = format!("{persistence}listener {} 127.0.0.1\n{settings}", address.port());
        std::fs::write(directory.path().join("conf"), text).expect("it is ours");
        let mut broker = Self { child: None, address, directory };
        broker.start_again().await;
        broker
    }

    pub(crate) async fn start_again(&mut self) {
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(self.directory.path().join("conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        self.child = Some(command.spawn().expect("mosquitto is installed"));
        let address = self.address;
        eventually("mosquitto listens", async || TcpStream::connect(address).await.ok()).await;
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.child.take().expect("it runs").kill().await.expect("it can be killed");
    }

    /// SIGTERM: it saves what it has.
    pub(crate) async fn terminate(&mut self) {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        let mut child = self.child.take().expect("it runs");
        tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends in time").expect("it ends");
    }

    /// Loses all sessions and messages; only while it does not run.
    pub(crate) fn forget_everything(&self) {
        std::fs::remove_file(self.directory.path().join("mosquitto.db")).expect("it was saved");
    }

    /// Makes it write what it holds to disk, and waits until it has.
    pub(crate) async fn save(&self) {
        let file = self.directory.path().join("mosquitto.db");
        let written = || std::fs::metadata(&file).and_then(|file| file.modified()).ok();
        let before = written();
        self.signal(nix::sys::signal::Signal::SIGUSR1);
        eventually("it is saved", async || (written() != before).then_some(())).await;
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = self.child.as_ref().and_then(Child::id).expect("it runs");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal).expect("it can be signalled");
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// What it logged about packets and clients.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Publishes at QoS 1 and waits for the broker's PUBACK.
    pub(crate) async fn publish(&self, topic: &str, payload: &str) {
        self.publish_with(&["-V", "mqttv5", "-q", "1", "-t", topic, "-m", payload]).await;
    }

    pub(crate) async fn publish_with(&self, arguments: &[&str]) {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &self.address.port().to_string()]).args(arguments);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("in time");
        let output = output.expect("mosquitto_pub is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A bridge without a broker of its own that subscribes at `url`, with further settings as TOML.
pub(crate) fn subscribed_to(database_url: &str, url: &str, settings: &str) -> BridgeOptions {
    let separator = if settings.is_empty() { "" } else { ", " };
    let fast = "reconnect_first_ms = 20, reconnect_longest_ms = 200, keep_alive_seconds = 5";
    let source = format!("[{{ name = \"plant\", url = \"{url}\", {fast}{separator}{settings} }}]");
    let mut options = BridgeOptions::new(database_url);
    options.env =
        vec![("SIMBRIDGE__SOURCE__MQTT".into(), source), ("SIMBRIDGE__MQTT__ENABLED".into(), "false".into())];
    options
}
