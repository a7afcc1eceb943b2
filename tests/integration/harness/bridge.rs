use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::database::TestDatabase;
use super::{PATIENCE, eventually};

/// The real program, running `serve`. Killed when dropped.
pub(crate) struct BridgeProcess {
    child: Child,
    pub(crate) mqtt: SocketAddr,
    /// MQTT over TLS, over WebSocket, over WebSocket and TLS, as far as they are on.
    pub(crate) mqtts: Option<SocketAddr>,
    pub(crate) ws: Option<SocketAddr>,
    pub(crate) wss: Option<SocketAddr>,
    pub(crate) http: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

/// How the program is started.
#[derive(Clone, Debug)]
pub(crate) struct BridgeOptions {
    pub(crate) database_url: String,
    /// A fixed address is needed only where clients are to find the program again after a restart.
    pub(crate) mqtt: String,
    pub(crate) anonymous: bool,
    /// As `RUST_LOG`.
    pub(crate) log: String,
    /// Further settings: key, such as `mqtt.tls.listen`, and value.
    pub(crate) settings: Vec<(String, String)>,
    /// Further variables, such as `SIMBRIDGE__SOURCE__MQTT`.
    pub(crate) env: Vec<(String, String)>,
}

impl BridgeOptions {
    pub(crate) fn new(database_url: impl Into<String>) -> Self {
        Self {
            database_url: database_url.into(),
            mqtt: "127.0.0.1:0".into(),
            anonymous: true,
            log: "info".into(),
            settings: Vec::new(),
            env: Vec::new(),
        }
    }

    pub(crate) fn set(&mut self, key: &str, value: impl Into<String>) -> &mut Self {
        self.settings.push((key.into(), value.into()));
        self
    }
}

/// The program with an environment of its own: nothing of the machine's configuration reaches it.
pub(crate) fn simbridge() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simbridge"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The variable of the environment that stands for a key.
pub(crate) fn variable(key: &str) -> String {
    format!("SIMBRIDGE__{}", key.replace('.', "__").to_uppercase())
}

/// Runs a command on a database: exit code, standard output, standard error.
pub(crate) async fn command(database: &TestDatabase, arguments: &[&str]) -> (Option<i32>, String, String) {
    command_as(&database.url(), arguments).await
}

pub(crate) async fn command_as(database_url: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = simbridge();
    command.args(arguments).env("DATABASE_URL", database_url);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

impl BridgeProcess {
    /// Returns when the program says that it is ready.
    pub(crate) async fn start(options: &BridgeOptions) -> Self {
        let mut command = simbridge();
        command
            .args([
                "serve",
                "--http-addr",
                "127.0.0.1:0",
                "--log-format",
                "json",
                "--mqtt-addr",
                &options.mqtt,
            ])
            .env("DATABASE_URL", &options.database_url)
            .env("RUST_LOG", &options.log)
            .env("SIMBRIDGE__MQTT__ANONYMOUS", options.anonymous.to_string())
            .envs(options.env.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (key, value) in &options.settings {
            command.env(variable(key), value);
        }
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut printed = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let kept = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = printed.next_line().await {
                kept.lock().expect("no panic").push(line);
            }
        });
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                log.lock().expect("no panic").push(line.clone());
                let event: Value = serde_json::from_str(&line).unwrap_or_default();
                if event["message"] == "simbridge is ready" {
                    let address = |field: &str| event[field].as_str()?.parse().ok();
                    // Nobody listens at port 0.
                    let off = (event["mqtt"] == "off").then_some(SocketAddr::from(([127, 0, 0, 1], 0)));
                    let (mqtt, http) = address("mqtt").or(off).zip(address("http"))?;
                    return Some((mqtt, http, ["mqtts", "ws", "wss"].map(address)));
                }
            }
            None
        };
        let ready = tokio::time::timeout(PATIENCE, ready).await.expect("ready in time");
        let (mqtt, http, [mqtts, ws, wss]) =
            ready.unwrap_or_else(|| panic!("it did not start: {:#?}", log.lock()));
        let kept = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                kept.lock().expect("no panic").push(line);
            }
        });
        Self { child, mqtt, mqtts, ws, wss, http, log }
    }

    /// SIGKILL, as the kernel or an operator does it.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// SIGTERM; returns the exit code.
    pub(crate) async fn terminate(self) -> Option<i32> {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        self.ended().await
    }

    /// Waits for its end; returns the exit code.
    pub(crate) async fn ended(mut self) -> Option<i32> {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends in time");
        status.expect("it can be waited for").code()
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = self.child.id().expect("it runs");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal).expect("it can be signalled");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Resident memory in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux says so");
        let kilobytes: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
        kilobytes * 1024
    }

    /// What it logged and printed so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }

    /// GET: status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(self.http).await.expect("it listens");
        // HTTP/1.0: the answer ends with the connection.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.http);
        socket.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    /// A metric's value, summed over its labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (_, body) = self.get("/metrics").await;
        body.lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Waits until a metric has this value.
    pub(crate) async fn metric_becomes(&self, name: &str, value: f64) {
        eventually(name, async || (self.metric(name).await == value).then_some(())).await;
    }
}
