mod upkeep;

use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::alerts::metrics::AlertMetrics;
use crate::broker::metrics::BrokerMetrics;
use crate::ingest::metrics::IngestMetrics;
use crate::ingest::queue::QueueGauge;
use crate::reconcile::ReconcileMetrics;
use crate::rollup::metrics::RollupMetrics;
use crate::source::metrics::SourceMetrics;
use crate::store::chart_reads::ChartReadMetrics;

use upkeep::UpkeepMetrics;

/// What was given up because it is old.
#[derive(Debug, Default)]
pub struct RetentionMetrics {
    pub raw_floor: Gauge,
    pub dropped_partitions: Counter,
    pub deleted_keys: Counter,
    pub deleted_quarantine: Counter,
}

impl RetentionMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "raw_floor_timestamp_seconds",
            "First moment of which raw records are kept; 0 while all are",
            self.raw_floor.clone(),
        );
        let registry = registry.sub_registry_with_prefix("retention");
        registry.register(
            "dropped_partitions",
            "Months of raw records given up by this instance",
            self.dropped_partitions.clone(),
        );
        registry.register(
            "deleted_keys",
            "Keys of records that are gone, forgotten by this instance",
            self.deleted_keys.clone(),
        );
        registry.register(
            "deleted_quarantine",
            "Old entries of the quarantine deleted by this instance",
            self.deleted_quarantine.clone(),
        );
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CheckLabel {
    check: &'static str,
}

/// Everything that `/metrics` shows.
pub struct Metrics {
    registry: Registry,
    pub ingest: Arc<IngestMetrics>,
    pub broker: Arc<BrokerMetrics>,
    pub sources: SourceMetrics,
    pub rollup: Arc<RollupMetrics>,
    pub reconcile: Arc<ReconcileMetrics>,
    pub retention: RetentionMetrics,
    pub alerts: Arc<AlertMetrics>,
    pub(crate) upkeep: UpkeepMetrics,
    ready: Family<CheckLabel, Gauge>,
    pub chart_reads: ChartReadMetrics,
    queue_messages: Gauge,
    queue: OnceLock<QueueGauge>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("simbridge");
        let ingest = Arc::new(IngestMetrics::default());
        let broker = Arc::new(BrokerMetrics::default());
        let sources = SourceMetrics::default();
        let rollup = Arc::new(RollupMetrics::default());
        let reconcile = Arc::new(ReconcileMetrics::default());
        let retention = RetentionMetrics::default();
        let alerts = Arc::new(AlertMetrics::default());
        let upkeep = UpkeepMetrics::default();
        let ready = Family::<CheckLabel, Gauge>::default();
        let chart_reads = ChartReadMetrics::default();
        let queue_messages = Gauge::default();
        registry.register("build", "Version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        ingest.register(&mut registry);
        broker.register(&mut registry);
        sources.register(&mut registry);
        rollup.register(&mut registry);
        reconcile.register(&mut registry);
        retention.register(&mut registry);
        alerts.register(&mut registry);
        upkeep.register(&mut registry);
        registry.register("ready", "1 for each check of /readyz that holds now, else 0", ready.clone());
        chart_reads.register(&mut registry);
        registry.register("queue_messages", "Messages that wait for a writer", queue_messages.clone());
        Self {
            registry,
            ingest,
            broker,
            sources,
            rollup,
            reconcile,
            retention,
            alerts,
            upkeep,
            ready,
            chart_reads,
            queue_messages,
            queue: OnceLock::new(),
        }
    }

    pub(crate) fn watch_queue(&self, queue: QueueGauge) {
        // A bridge has one queue; a second call would be a defect without consequence.
        self.queue.set(queue).ok();
    }

    /// Messages that wait for a writer.
    pub(crate) fn queue_depth(&self) -> usize {
        self.queue.get().map_or(0, QueueGauge::depth)
    }

    /// Messages that may wait.
    pub(crate) fn queue_room(&self) -> usize {
        self.queue.get().map_or(0, QueueGauge::room)
    }

    /// What a check of readiness found.
    pub(crate) fn check(&self, check: &'static str, holds: bool) {
        self.ready.get_or_create(&CheckLabel { check }).set(holds.into());
    }

    /// OpenMetrics text.
    pub fn text(&self) -> String {
        self.queue_messages.set(i64::try_from(self.queue_depth()).unwrap_or(i64::MAX));
        self.sources.refresh();
        self.ingest.refresh();
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
    }
}
