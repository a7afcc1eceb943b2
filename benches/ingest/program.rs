use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use simbridge::domain::Clock;
use simulator::load::{self, LoadOptions, LoadProgress, LoadReport};
use simulator::publisher::Protocol;
use simulator::record::RunId;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::database::{BenchDatabase, cpu_seconds, fleet};

/// `simbridge serve` on a bench database; killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) mqtt: SocketAddr,
    pub(crate) http: SocketAddr,
    /// Where RADIUS is answered, if it is.
    pub(crate) radius: Option<SocketAddr>,
}

impl Program {
    pub(crate) async fn start(database: &BenchDatabase) -> Self {
        Self::launch(database, &[("SIMBRIDGE__MQTT__ANONYMOUS", "true".into())], false).await
    }

    /// With these settings; `with_radius` waits for the socket of a source named `bench` too.
    pub(crate) async fn launch(
        database: &BenchDatabase,
        settings: &[(&str, String)],
        with_radius: bool,
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_simbridge"));
        command.env("DATABASE_URL", &database.url);
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        Self::serve(command, with_radius).await
    }

    /// With a PostgreSQL of its own in this directory.
    pub(crate) async fn with_data_in(directory: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_simbridge"));
        command.arg("--data-dir").arg(directory).env_remove("DATABASE_URL");
        command.env("SIMBRIDGE__MQTT__ANONYMOUS", "true");
        Self::serve(command, false).await
    }

    /// Returns when it says that it is ready.
    async fn serve(mut command: Command, with_radius: bool) -> Self {
        command.args(["serve", "--mqtt-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"]);
        command.args(["--log-format", "json"]).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let (mut ready, mut answers) = (None, None);
        while ready.is_none() || with_radius != answers.is_some() {
            let line = lines.next_line().await.expect("a line").expect("it gets ready");
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            let address = |field: &str| event[field].as_str()?.parse().ok();
            if event["message"] == "simbridge is ready" {
                // Nobody listens at port 0: the broker may be off.
                let nobody = SocketAddr::from(([127, 0, 0, 1], 0));
                ready = address("http").map(|http| (address("mqtt").unwrap_or(nobody), http));
            }
            answers = answers.or(address("address").filter(|_| event["source"] == "bench"));
        }
        let (mqtt, http) = ready.expect("the loop waits for it");
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, mqtt, http, radius: answers }
    }

    /// Publishes to its broker until every PUBACK has come.
    pub(crate) async fn load(
        &self,
        sims: usize,
        records: Option<u64>,
        duration: Option<Duration>,
        connections: u32,
        window: u16,
        rate: Option<f64>,
    ) -> LoadReport {
        publish(self.mqtt, sims, records, duration, connections, window, rate).await
    }

    /// Resident memory of the program now.
    pub(crate) fn memory_mb(&self) -> u64 {
        self.status_mb("VmRSS:")
    }

    /// The most that it ever was.
    pub(crate) fn peak_memory_mb(&self) -> u64 {
        self.status_mb("VmHWM:")
    }

    fn status_mb(&self, field: &str) -> u64 {
        let pid = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc is there");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a process has memory");
        line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).expect("kilobytes") / 1024
    }

    /// SIGTERM, and until it has ended.
    pub(crate) async fn end(mut self) {
        let pid = i32::try_from(self.child.id().expect("it runs")).expect("the kernel's are positive");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it is our child");
        assert!(self.child.wait().await.expect("it is our child").success());
    }

    /// CPU seconds of the program so far.
    #[allow(dead_code, reason = "only some of the benchmarks ask")]
    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu_seconds(format!("/proc/{}", self.child.id().expect("it runs")).as_ref())
    }

    /// Number of commits so far and the seconds that they took together.
    pub(crate) async fn commits(&self) -> (f64, f64) {
        let metrics = self.metrics().await;
        (metrics.value("simbridge_commit_seconds_count "), metrics.value("simbridge_commit_seconds_sum "))
    }

    pub(crate) async fn metrics(&self) -> Metrics {
        let mut socket = TcpStream::connect(self.http).await.expect("it listens");
        socket.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.expect("it reads");
        let mut text = String::new();
        socket.read_to_string(&mut text).await.expect("it answers");
        Metrics(text)
    }
}

/// What `/metrics` said.
pub(crate) struct Metrics(String);

impl Metrics {
    /// Of the line that begins so; 0 without one.
    pub(crate) fn value(&self, name: &str) -> f64 {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0.0)
    }
}

/// Publishes to the broker at `address` until every PUBACK has come.
pub(crate) async fn publish(
    address: SocketAddr,
    sims: usize,
    records: Option<u64>,
    duration: Option<Duration>,
    connections: u32,
    window: u16,
    rate: Option<f64>,
) -> LoadReport {
    let options = LoadOptions { records, duration, rate, ..load_options(address, sims, connections, window) };
    let progress = Arc::new(LoadProgress::default());
    complete(load::run(options, progress, CancellationToken::new()).await.expect("the load runs"))
}

/// As fast as it goes, a record a message, without an end.
pub(crate) fn load_options(address: SocketAddr, sims: usize, connections: u32, window: u16) -> LoadOptions {
    let now = Clock::System.now();
    LoadOptions {
        addr: address.to_string(),
        protocol: Protocol::V311,
        qos: 1,
        credentials: None,
        connections,
        window,
        records_per_message: 1,
        rate: None,
        records: None,
        duration: None,
        fleet: fleet(sims),
        run_id: RunId::new(1, now),
        until: now,
        drain_timeout: Duration::from_secs(60),
    }
}

/// Everything that was sent is acknowledged.
pub(crate) fn complete(report: LoadReport) -> LoadReport {
    assert_eq!((report.messages_unacknowledged, report.connections_lost), (0, 0), "{:?}", report.first_loss);
    report
}
