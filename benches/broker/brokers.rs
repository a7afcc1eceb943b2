//! The two brokers that are compared, each a process of its own.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use simbridge::broker::auth::Access;
use simbridge::broker::metrics::BrokerMetrics;
use simbridge::broker::{Broker, BrokerOptions, Listener};
use simbridge::config::mqtt::MqttConfig;
use simbridge::domain::{Clock, TenantId};
use simbridge::ingest::metrics::IngestMetrics;
use simbridge::ingest::queue::{IngestQueue, Queued, Receipt, RecordReceipt, RecordStatus};
use simbridge::ingest::topics::UsageTopics;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Set in processes that are something else than the benchmark itself.
pub(crate) const ROLE: &str = "BENCH_ROLE";
pub(crate) const UNLIMITED: &str = "unlimited broker";

/// A running broker; killed when dropped.
pub(crate) struct BrokerProcess {
    child: Child,
    pub(crate) address: SocketAddr,
    _directory: Option<tempfile::TempDir>,
}

impl BrokerProcess {
    /// simbridge's broker without limits on rates, which mosquitto has not either.
    pub(crate) async fn simbridge() -> Self {
        Self::start(UNLIMITED).await
    }

    /// simbridge's broker with all its defaults.
    pub(crate) async fn simbridge_as_shipped() -> Self {
        Self::start("broker").await
    }

    /// Usage is acknowledged at once: a commit that costs nothing.
    async fn start(role: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = lines.next_line().await.expect("a line").expect("its address");
        Self { child, address: line.parse().expect("an address"), _directory: None }
    }

    /// mosquitto, without persistence. `None` where it is not installed.
    pub(crate) async fn mosquitto() -> Option<Self> {
        let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto"];
        let program = program.into_iter().find(|path| std::path::Path::new(path).exists())?;
        let directory = tempfile::tempdir().expect("a directory");
        // Bound and let go: nobody else asks for ports here.
        let address = TcpListener::bind("127.0.0.1:0").await.and_then(|l| l.local_addr()).expect("a port");
        let config = directory.path().join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n\
             max_inflight_messages 1000\nmax_queued_messages 0\nlog_type none\nuser root\n",
            address.port()
        );
        std::fs::write(&config, text).expect("a file");
        let child = Command::new(program)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        for _ in 0..500 {
            if TcpStream::connect(address).await.is_ok() {
                return Some(Self { child, address, _directory: Some(directory) });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("mosquitto does not listen");
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }
}

/// Runs the broker until it is killed.
pub(crate) async fn run_broker() {
    let mut config = MqttConfig::default();
    config.traffic.turn_packets = crate::number("BENCH_TURN_PACKETS", config.traffic.turn_packets);
    if std::env::var(ROLE).as_deref() == Ok(UNLIMITED) {
        (config.traffic.packets_per_second, config.traffic.bytes_per_second) = (0, 0);
        let admission = &mut config.admission;
        (admission.connections_per_second, admission.connections_per_second_per_address) = (0, 0);
    }
    let (queue, mut receiver) = IngestQueue::new(20_000, 64 << 20, Arc::new(IngestMetrics::default()));
    tokio::spawn(async move { while acknowledge(&mut receiver).await {} });
    let broker = Broker::new(BrokerOptions {
        topics: UsageTopics::parse(&config.topics).expect("the default is valid"),
        config,
        queue,
        access: Access::Anonymous { tenant: TenantId(1), tenant_name: "default".into() },
        clock: Clock::System,
        metrics: Arc::new(BrokerMetrics::default()),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("it is bound"));
    broker
        .run(vec![Listener::mqtt(listener, None)], CancellationToken::new(), CancellationToken::new())
        .await;
}

async fn acknowledge(queue: &mut mpsc::Receiver<Queued>) -> bool {
    let mut batch = Vec::new();
    if queue.recv_many(&mut batch, 4_000).await == 0 {
        return false;
    }
    let processed_at = Clock::System.now();
    for queued in batch {
        let stored = RecordReceipt { record_id: None, status: RecordStatus::Stored { processed_at } };
        if let Some(acknowledge) = queued.message.acknowledge {
            acknowledge(Receipt { batch_id: None, records: vec![stored] });
        }
    }
    true
}
