use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use simbridge::inventory;
use simbridge::store::Store;
use simbridge::store::sims::{IMPORT_CHUNK, SimRow};
use simulator::faults::FaultPlan;
use simulator::fleet::{Fleet, FleetSpec};
use simulator::ledger::{Durability, Ledger, LedgerSummary};
use simulator::publisher::{self, Mode, PublisherError, PublisherOptions, PublisherStats, Summary};
use simulator::record::RunId;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::database::{TENANT, now};

/// A simulated fleet that publishes and keeps a ledger of what was sent and what was acknowledged.
pub(crate) struct TestFleet {
    pub(crate) stats: Arc<PublisherStats>,
    stop: CancellationToken,
    task: JoinHandle<Result<Summary, PublisherError>>,
    ledger: PathBuf,
    _directory: tempfile::TempDir,
}

/// What a fleet does.
pub(crate) struct FleetOptions {
    pub(crate) sims: u32,
    pub(crate) gateways: u32,
    pub(crate) window: u16,
    pub(crate) rate: Option<f64>,
    pub(crate) qos: u8,
    pub(crate) protocol: publisher::Protocol,
    pub(crate) faults: FaultPlan,
    /// What the ledger outlives.
    pub(crate) durability: Durability,
    pub(crate) seed: u64,
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self {
            sims: 200,
            gateways: 8,
            window: 50,
            rate: Some(3_000.0),
            qos: 1,
            protocol: publisher::Protocol::V311,
            faults: FaultPlan { duplicate: 0.05, ..FaultPlan::default() },
            durability: Durability::Process,
            seed: 7,
        }
    }
}

impl TestFleet {
    /// Provisions the SIMs.
    pub(crate) async fn provision(store: &Store, options: &FleetOptions) -> Arc<Fleet> {
        let fleet = Fleet::generate(FleetSpec { sims: options.sims, seed: options.seed });
        let csv = fleet.inventory_csv();
        let rows: Vec<SimRow> =
            inventory::read_csv(&csv[..]).expect("a header").collect::<Result<_, _>>().expect("good rows");
        for chunk in rows.chunks(IMPORT_CHUNK) {
            store.import_sims(TENANT, chunk, now()).await.expect("the import succeeds");
        }
        Arc::new(fleet)
    }

    /// Begins to publish to `broker`.
    pub(crate) fn start(broker: SocketAddr, fleet: Arc<Fleet>, options: &FleetOptions) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ledger = directory.path().join("ledger.ndjson");
        let publisher = PublisherOptions {
            mode: Mode::Gateway { gateways: options.gateways },
            window: options.window,
            rate: options.rate,
            qos: options.qos,
            protocol: options.protocol,
            faults: options.faults,
            ledger: Some(Arc::new(Ledger::append(&ledger, options.durability).expect("a ledger"))),
            drain_timeout: super::PATIENCE,
            ..PublisherOptions::new(
                broker.ip().to_string(),
                broker.port(),
                fleet,
                RunId::new(options.seed, now()),
            )
        };
        let (stats, stop) = (Arc::new(PublisherStats::default()), CancellationToken::new());
        let task = tokio::spawn(publisher::run(publisher, stats.clone(), stop.clone()));
        Self { stats, stop, task, ledger, _directory: directory }
    }

    pub(crate) fn acked(&self) -> u64 {
        self.stats.snapshot().acked
    }

    /// Waits until so many more records are acknowledged than at the call.
    pub(crate) async fn more_acked(&self, records: u64) {
        let goal = self.acked() + records;
        super::eventually("more acknowledged records", async || (self.acked() >= goal).then_some(())).await;
    }

    /// Waits until the broker has said so many times more than at the call that nobody subscribes to a message.
    pub(crate) async fn more_unheard(&self, messages: u64) {
        let unheard = || self.stats.snapshot().unheard_messages;
        let goal = unheard() + messages;
        super::eventually("more unheard messages", async || (unheard() >= goal).then_some(())).await;
    }

    /// What was sent and acknowledged so far.
    pub(crate) fn ledger(&self) -> LedgerSummary {
        Ledger::read(&self.ledger).expect("the ledger can be read")
    }

    /// Stops publishing, waits for what is outstanding, and reads the ledger.
    pub(crate) async fn finish(self) -> (Summary, LedgerSummary) {
        self.stop.cancel();
        let summary = self.task.await.expect("no panic").expect("the fleet ends well");
        assert_eq!(summary.in_flight, 0, "everything that was sent is acknowledged in the end");
        (summary, Ledger::read(&self.ledger).expect("the ledger can be read"))
    }
}

/// The oracle: acknowledged ⊆ stored ∪ parked, stored ⊆ sent, each with the amount that was sent.
pub(crate) async fn assert_nothing_lost_or_invented(ledger: &LedgerSummary, client: &Client) {
    let mut stored: HashMap<(String, String), i64> = HashMap::new();
    let records = "SELECT iccid, record_id, total_bytes FROM usage_records";
    for row in client.query(records, &[]).await.expect("records can be read") {
        let twice = stored.insert((row.get(0), row.get(1)), row.get(2));
        assert_eq!(twice, None, "stored twice: {}", row.get::<_, &str>(1));
    }
    let parked = "SELECT coalesce(iccid, ''), coalesce(record_id, '') FROM quarantine";
    let parked: Vec<(String, String)> = client
        .query(parked, &[])
        .await
        .expect("the quarantine can be read")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let lost: Vec<_> =
        ledger.acked.iter().filter(|key| !stored.contains_key(*key) && !parked.contains(key)).collect();
    assert!(
        lost.is_empty(),
        "{} acknowledged and neither stored nor parked: {:?}",
        lost.len(),
        &lost[..lost.len().min(5)]
    );
    let invented: Vec<_> = stored.keys().filter(|key| !ledger.sent.contains(*key)).collect();
    assert!(invented.is_empty(), "stored and never sent: {:?}", &invented[..invented.len().min(5)]);
    for (key, total) in &stored {
        assert_eq!(Some(*total as u64), ledger.total_bytes.get(key).copied(), "{key:?}");
    }
}
