//! A real broker on a free port, with a writer that commits when the test says so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::broker::auth::Access;
use crate::broker::metrics::BrokerMetrics;
use crate::broker::{Broker, BrokerOptions, Hub, Listener, listener};
use crate::config::mqtt::MqttConfig;
use crate::domain::{Clock, Rejection, RejectionCode, TenantId};
use crate::ingest::metrics::IngestMetrics;
use crate::ingest::queue::{IngestQueue, Message, Queued, Receipt, RecordReceipt, RecordStatus};
use crate::ingest::topics::UsageTopics;

/// A topic that carries usage.
pub(super) const USAGE: &str = "simportal/sims/8988247000000000012/usage";
const TENANT: TenantId = TenantId(1);
/// Nothing here takes so long; a test that waits for what never comes fails by it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Fails the test instead of hanging.
pub(super) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("what the test waits for does not come")
}

/// Waits for a condition that nothing signals.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(super) struct Setup {
    pub(super) config: MqttConfig,
    pub(super) queue_messages: usize,
    pub(super) access: Access,
}

impl Default for Setup {
    fn default() -> Self {
        let mut config = MqttConfig { login_failure_delay_milliseconds: 0, ..MqttConfig::default() };
        // All clients of a test come from one address, and many of them break rules.
        config.admission.offence_delay_milliseconds = 0;
        Self {
            config,
            queue_messages: 10_000,
            access: Access::Anonymous { tenant: TENANT, tenant_name: "acme".into() },
        }
    }
}

pub(super) struct TestBroker {
    pub(super) address: SocketAddr,
    pub(super) writer: Writer,
    pub(super) metrics: Arc<BrokerMetrics>,
    pub(super) hub: Arc<Hub>,
    pub(super) soft: CancellationToken,
    pub(super) hard: CancellationToken,
    running: JoinHandle<()>,
    _end: DropGuard,
}

impl TestBroker {
    pub(super) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(super) async fn configured(change: impl FnOnce(&mut MqttConfig)) -> Self {
        let mut setup = Setup::default();
        change(&mut setup.config);
        Self::with(setup).await
    }

    pub(super) async fn with(setup: Setup) -> Self {
        let (queue, receiver) =
            IngestQueue::new(setup.queue_messages, 64 << 20, Arc::new(IngestMetrics::default()));
        let metrics = Arc::new(BrokerMetrics::default());
        let broker = Broker::new(BrokerOptions {
            topics: UsageTopics::parse(&setup.config.topics).unwrap(),
            config: setup.config,
            queue,
            access: setup.access,
            clock: Clock::System,
            metrics: metrics.clone(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let hub = broker.hub.clone();
        let running =
            tokio::spawn(broker.run(vec![Listener::mqtt(listener, None)], soft.clone(), hard.clone()));
        let end = hard.clone().drop_guard();
        let writer = Writer { queue: receiver };
        Self { address, writer, metrics, hub, soft, hard, running, _end: end }
    }

    /// What the broker does every second, at another time.
    pub(super) fn keep_house(&self, now: Instant) {
        listener::keep_house(&self.hub, now, &self.hard);
    }

    /// Waits until `run` has returned.
    pub(super) async fn has_stopped(&mut self) {
        within(&mut self.running).await.unwrap();
    }
}

/// The far end of the ingest queue.
pub(super) struct Writer {
    queue: mpsc::Receiver<Queued>,
}

impl Writer {
    /// The next message in the queue. It is committed when the test says so.
    pub(super) async fn take(&mut self) -> Taken {
        Taken(within(self.queue.recv()).await.expect("the broker dropped the queue").message)
    }

    pub(super) async fn take_many(&mut self, count: usize) -> Vec<Taken> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            taken.push(self.take().await);
        }
        taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// A writer of another queue, to put in the place of one that commits everything.
    pub(super) fn none() -> Self {
        Self { queue: mpsc::channel(1).1 }
    }

    /// From here on everything is committed at once.
    pub(super) fn commit_everything(mut self) {
        tokio::spawn(async move {
            while let Some(queued) = self.queue.recv().await {
                Taken(queued.message).commit();
            }
        });
    }
}

/// A message that is being written.
pub(super) struct Taken(pub(super) Message);

impl Taken {
    pub(super) fn payload(&self) -> &[u8] {
        &self.0.payload
    }

    pub(super) fn commit(self) {
        self.answer(RecordStatus::Stored { processed_at: DateTime::<Utc>::UNIX_EPOCH });
    }

    pub(super) fn park(self, code: RejectionCode, message: &str) {
        self.answer(RecordStatus::Parked(Rejection::new(code, "usage", message)));
    }

    pub(super) fn answer(self, status: RecordStatus) {
        let payload: Bytes = self.0.payload.clone();
        let record_id = Some(String::from_utf8_lossy(&payload).into_owned());
        let receipt = Receipt { batch_id: None, records: vec![RecordReceipt { record_id, status }] };
        if let Some(acknowledge) = self.0.acknowledge {
            acknowledge(receipt);
        }
    }
}
