use std::sync::Arc;

use bytes::Bytes;
use chrono::TimeDelta;
use simbridge::domain::Clock;
use simbridge::ingest::metrics::IngestMetrics;
use simbridge::ingest::queue::{IngestQueue, Message, Receipt, RecordStatus, Sender, Via};
use simbridge::ingest::{self, BatchLimits, DatabaseState, PipelineOptions};
use simbridge::payload::PayloadLimits;
use simbridge::store::Store;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::database::{TENANT, now};

/// The pipeline without a broker: queue, decoder, writers.
pub(crate) struct TestPipeline {
    pub(crate) queue: IngestQueue,
    pub(crate) metrics: Arc<IngestMetrics>,
    pub(crate) database: DatabaseState,
    tasks: TaskTracker,
    hard: CancellationToken,
}

impl TestPipeline {
    pub(crate) fn start(store: &Store) -> Self {
        Self::start_with(store, 2, Clock::System)
    }

    pub(crate) fn start_with(store: &Store, writers: usize, clock: Clock) -> Self {
        let options = PipelineOptions {
            queue_max_messages: 1_000,
            queue_max_bytes: 8 << 20,
            writers,
            batch: BatchLimits { max_messages: 500, max_bytes: 1 << 20 },
            payload: PayloadLimits {
                max_records: 1_000,
                max_future: TimeDelta::hours(24),
                max_age: TimeDelta::days(400),
            },
        };
        let (tasks, hard) = (TaskTracker::new(), CancellationToken::new());
        let metrics = Arc::new(IngestMetrics::default());
        let database = DatabaseState::default();
        let queue =
            ingest::start(&options, store.clone(), clock, metrics.clone(), database.clone(), &tasks, &hard);
        tasks.close();
        Self { queue, metrics, database, tasks, hard }
    }

    /// Queues a payload as a device would send it on `simportal/sims/{iccid}/usage`; the receipt comes after COMMIT.
    pub(crate) async fn send(
        &self,
        iccid: Option<&str>,
        payload: impl Into<Bytes>,
    ) -> oneshot::Receiver<Receipt> {
        self.send_as(sender(false), iccid, payload).await
    }

    pub(crate) async fn send_as(
        &self,
        sender: Sender,
        iccid: Option<&str>,
        payload: impl Into<Bytes>,
    ) -> oneshot::Receiver<Receipt> {
        let (done, receipt) = oneshot::channel();
        let message = Message {
            sender: Arc::new(sender),
            topic: iccid.map_or("simportal/sims/usage/batch".into(), |i| format!("simportal/sims/{i}/usage")),
            topic_iccid: iccid.map(str::to_owned),
            payload: payload.into(),
            received_at: now(),
            acknowledge: Some(Box::new(move |receipt| {
                done.send(receipt).ok();
            })),
        };
        self.queue.send(message).await.expect("the writers run");
        receipt
    }

    /// Sends and waits for the decision.
    pub(crate) async fn decide(&self, iccid: Option<&str>, payload: impl Into<Bytes>) -> Receipt {
        let receipt = self.send(iccid, payload).await;
        tokio::time::timeout(super::PATIENCE, receipt).await.expect("a decision in time").expect("a decision")
    }

    /// Sends one record and waits for what became of it.
    pub(crate) async fn one(&self, iccid: &str, payload: impl Into<Bytes>) -> RecordStatus {
        let mut receipt = self.decide(Some(iccid), payload).await;
        assert_eq!(receipt.records.len(), 1);
        receipt.records.remove(0).status
    }

    /// Lets the writers finish what is queued.
    pub(crate) async fn finish(self) {
        drop(self.queue);
        self.tasks.wait().await;
    }

    /// Stops the writers at once, as a hard stop does.
    pub(crate) async fn abort(self) {
        self.hard.cancel();
        self.tasks.wait().await;
    }
}

pub(crate) fn sender(may_correct: bool) -> Sender {
    Sender { tenant: TENANT, may_correct, via: Via::Mqtt, name: "test".into() }
}

/// A usage record as JSON, `minutes_ago` old and five minutes long.
pub(crate) fn record(record_id: &str, minutes_ago: i64, upload: i64, download: i64) -> String {
    let end = now() - TimeDelta::minutes(minutes_ago);
    let start = end - TimeDelta::minutes(5);
    format!(
        r#"{{"recordId":"{record_id}","periodStart":"{}","periodEnd":"{}","usage":{{"totalBytes":{},"dataUploadBytes":{upload},"dataDownloadBytes":{download}}}}}"#,
        start.format("%Y-%m-%dT%H:%M:%SZ"),
        end.format("%Y-%m-%dT%H:%M:%SZ"),
        upload + download
    )
}
