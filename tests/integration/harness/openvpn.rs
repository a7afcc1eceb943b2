use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use simbridge::config::OpenVpnSourceConfig;
use tokio::process::{Child, Command};

use super::bridge::BridgeOptions;
use super::certificates::Certificates;
use super::{PATIENCE, eventually};

const PROGRAM: &str = "/usr/sbin/openvpn";

/// A client as a test wants it: common name, second since the beginning, client id, bytes received and sent.
pub(crate) type Client<'c> = (&'c str, i64, u32, i64, i64);

/// A file into which a server writes its status, in version 3.
pub(crate) struct StatusFile {
    directory: tempfile::TempDir,
    began: DateTime<Utc>,
}

impl StatusFile {
    /// Seconds of clients and of looks count from `began`.
    pub(crate) fn new(began: DateTime<Utc>) -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), began }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("status")
    }

    /// Unix time of a second.
    pub(crate) fn at(&self, second: i64) -> i64 {
        self.began.timestamp() + second
    }

    /// The status at `second`.
    pub(crate) fn text(&self, second: i64, clients: &[Client<'_>]) -> String {
        let mut text = format!("TITLE\tOpenVPN 2.6.14\nTIME\tnow\t{}\n", self.at(second));
        text += "HEADER\tCLIENT_LIST\tCommon Name\tReal Address\tVirtual Address\tVirtual IPv6 Address\tBytes Received\t\
                 Bytes Sent\tConnected Since\tConnected Since (time_t)\tUsername\tClient ID\tPeer ID\tData Channel Cipher\n";
        for (name, since, client, received, sent) in clients {
            let since = self.at(*since);
            text += &format!(
                "CLIENT_LIST\t{name}\t203.0.113.7:51820\t10.8.0.6\t\t{received}\t{sent}\tthen\t{since}\tUNDEF\t{client}\t0\t\
                 AES-256-GCM\n"
            );
        }
        text + "HEADER\tROUTING_TABLE\tVirtual Address\tCommon Name\tReal Address\tLast Ref\tLast Ref (time_t)\n\
                GLOBAL_STATS\tMax bcast/mcast queue length\t0\nEND\n"
    }

    /// As the server does it, but at once.
    pub(crate) fn write(&self, second: i64, clients: &[Client<'_>]) {
        self.write_text(&self.text(second, clients));
    }

    pub(crate) fn write_text(&self, text: &str) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, text).expect("it is ours");
        std::fs::rename(new, self.path()).expect("it is ours");
    }

    /// A file as it was found somewhere, of that age.
    pub(crate) fn copy(&self, from: &Path, written_at: DateTime<Utc>) {
        std::fs::copy(from, self.path()).expect("a fixture");
        let file = File::options().write(true).open(self.path()).expect("it is there");
        file.set_modified(SystemTime::from(written_at)).expect("it is ours");
    }

    /// A source that reads it every second.
    pub(crate) fn source(&self, name: &str) -> OpenVpnSourceConfig {
        OpenVpnSourceConfig {
            name: name.into(),
            status_file: self.path(),
            interval_seconds: 1,
            ..OpenVpnSourceConfig::default()
        }
    }

    /// A program that reads it every second, with further settings as TOML.
    pub(crate) fn read_by(&self, database_url: &str, settings: &str) -> BridgeOptions {
        let file = self.path().display().to_string();
        reading(database_url, &format!("status_file = \"{file}\"{settings}"))
    }
}

/// A program that looks at a server `hq` every second.
pub(crate) fn reading(database_url: &str, settings: &str) -> BridgeOptions {
    let source = format!("[{{ name = \"hq\", interval_seconds = 1, {settings} }}]");
    let mut options = BridgeOptions::new(database_url);
    options.env = vec![
        ("SIMBRIDGE__SOURCE__OPENVPN".into(), source),
        ("SIMBRIDGE__MQTT__ENABLED".into(), "false".into()),
    ];
    options
}

/// Whether OpenVPN is here. Without it there is nothing to prove on this machine; in CI it must be here.
pub(crate) fn installed() -> bool {
    let found = Path::new(PROGRAM).exists();
    assert!(found || std::env::var_os("CI").is_none(), "install openvpn");
    if !found {
        eprintln!("NOT RUN: install openvpn to run this test");
    }
    found
}

/// A real server and its clients, on loopback. Nothing is sent through the tunnel, and the pings of both sides are what is counted.
pub(crate) struct OpenVpn {
    directory: tempfile::TempDir,
    certificates: Certificates,
    port: u16,
    server: Child,
}

impl OpenVpn {
    /// Writes its status every second; `settings` are further options. `None` where a program may not have a tunnel.
    pub(crate) async fn start(clients: &[&str], version: u8, settings: &[&str]) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let certificates = Certificates::create(clients).await;
        // It cannot say which port it was given, so one that was free a moment ago is taken.
        let port = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = port.expect("a free port").port();
        std::fs::write(directory.path().join("password"), "sesame\n").expect("it is ours");
        let mut command = openvpn(&directory, &certificates, "server");
        command
            // A name of its own, and no address: nothing of the machine changes.
            .args(["--dev", &format!("sb{port}"), "--dev-type", "tun", "--log", "log"])
            .args("--mode server --tls-server --topology subnet --dh none --disable-dco".split(' '))
            .args("--ifconfig 10.8.0.1 255.255.255.0 --ifconfig-pool 10.8.0.2 10.8.0.99".split(' '))
            .args(["--local", "127.0.0.1", "--port", &port.to_string()])
            .args(["--status", "status", "1", "--status-version", &version.to_string()])
            .args(settings);
        let server = command.spawn().expect("openvpn is installed");
        let mut started = Self { directory, certificates, port, server };
        let runs = eventually("the server writes its status or ends", async || {
            let status = std::fs::read_to_string(started.path("status")).unwrap_or_default();
            let ended = started.server.try_wait().expect("it can be waited for").is_some();
            if ended { Some(false) } else { status.ends_with("END\n").then_some(true) }
        })
        .await;
        if !runs {
            let log = std::fs::read_to_string(started.path("log")).unwrap_or_default();
            assert!(log.contains("TUN"), "{log}");
            eprintln!("NOT RUN: no tunnel can be made here: {log}");
            return None;
        }
        Some(started)
    }

    /// A client that stays connected until it is dropped.
    pub(crate) fn connect(&self, client: &str) -> Child {
        let mut command = openvpn(&self.directory, &self.certificates, client);
        command.args([
            "--dev",
            "null",
            "--client",
            "--nobind",
            "--remote",
            "127.0.0.1",
            &self.port.to_string(),
        ]);
        command.spawn().expect("openvpn is installed")
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Neither answers nor writes any more, but is there.
    pub(crate) fn freeze(&self) {
        let pid = self.server.id().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).expect("it can be signalled");
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        tokio::time::timeout(PATIENCE, self.server.kill()).await.expect("in time").expect("it can be killed");
    }
}

fn openvpn(directory: &tempfile::TempDir, certificates: &Certificates, name: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command.args("--proto udp --ping 1 --ifconfig-noexec --route-noexec".split(' '));
    for (option, file) in
        [("--ca", "ca.pem"), ("--cert", &*format!("{name}.pem")), ("--key", &*format!("{name}.key"))]
    {
        command.arg(option).arg(certificates.path(file));
    }
    command
}
