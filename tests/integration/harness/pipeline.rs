use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
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
    clock: Clock,
    tasks: TaskTracker,
    hard: CancellationToken,
}

/// Two writers, small batches, a queue that no test fills by accident.
pub(crate) fn options() -> PipelineOptions {
    PipelineOptions {
        queue_max_messages: 1_000,
        queue_max_bytes: 8 << 20,
        writers: 2,
        batch: BatchLimits { max_messages: 500, max_bytes: 1 << 20 },
        payload: PayloadLimits {
            max_records: 1_000,
            max_future: TimeDelta::hours(24),
            max_age: TimeDelta::days(400),
        },
    }
}

impl TestPipeline {
    pub(crate) fn start(store: &Store) -> Self {
        Self::start_with(store, &options(), Clock::System)
    }

    /// A pipeline to which it is always `at`, such as `2026-03-10T12:00:00Z`.
    pub(crate) fn start_at(store: &Store, at: &str) -> Self {
        Self::start_with(store, &options(), Clock::Fixed(time(at)))
    }

    pub(crate) fn start_with(store: &Store, options: &PipelineOptions, clock: Clock) -> Self {
        let (tasks, hard) = (TaskTracker::new(), CancellationToken::new());
        let metrics = Arc::new(IngestMetrics::default());
        let database = DatabaseState::default();
        let queue =
            ingest::start(options, store.clone(), clock, metrics.clone(), database.clone(), &tasks, &hard);
        tasks.close();
        Self { queue, metrics, database, clock, tasks, hard }
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
        let (message, receipt) = message(sender, iccid, payload, self.clock.now());
        let sent = tokio::time::timeout(super::PATIENCE, self.queue.send(message)).await;
        sent.expect("room in time").expect("the writers run");
        receipt
    }

    /// Sends and waits for the decision.
    pub(crate) async fn decide(&self, iccid: Option<&str>, payload: impl Into<Bytes>) -> Receipt {
        decided(self.send(iccid, payload).await).await
    }

    /// Sends one record and waits for what became of it.
    pub(crate) async fn one(&self, iccid: &str, payload: impl Into<Bytes>) -> RecordStatus {
        self.one_as(sender(false), iccid, payload).await
    }

    pub(crate) async fn one_as(&self, by: Sender, iccid: &str, payload: impl Into<Bytes>) -> RecordStatus {
        let mut receipt = decided(self.send_as(by, Some(iccid), payload).await).await;
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

/// A message and what will bring its receipt.
pub(crate) fn message(
    sender: Sender,
    iccid: Option<&str>,
    payload: impl Into<Bytes>,
    received_at: DateTime<Utc>,
) -> (Message, oneshot::Receiver<Receipt>) {
    let (done, receipt) = oneshot::channel();
    let message = Message {
        sender: Arc::new(sender),
        topic: iccid.map_or("simportal/sims/usage/batch".into(), |i| format!("simportal/sims/{i}/usage")),
        topic_iccid: iccid.map(str::to_owned),
        payload: payload.into(),
        received_at,
        acknowledge: Some(Box::new(move |receipt| {
            done.send(receipt).ok();
        })),
    };
    (message, receipt)
}

/// Waits for the decision about a message.
pub(crate) async fn decided(receipt: oneshot::Receiver<Receipt>) -> Receipt {
    tokio::time::timeout(super::PATIENCE, receipt).await.expect("a decision in time").expect("a decision")
}

/// What became of each record of a message, in a word.
pub(crate) fn words(receipt: &Receipt) -> Vec<&'static str> {
    receipt.records.iter().map(|record| word(&record.status)).collect()
}

/// `stored`, `duplicate` or the code of the rejection.
pub(crate) fn word(status: &RecordStatus) -> &'static str {
    match status {
        RecordStatus::Stored { .. } => "stored",
        RecordStatus::Duplicate { .. } => "duplicate",
        RecordStatus::Parked(rejection) => rejection.code.as_str(),
    }
}

pub(crate) fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("an RFC 3339 time")
}

/// A usage record as JSON, of one moment.
pub(crate) fn record_at(record_id: &str, at: &str, bytes: i64) -> String {
    format!(
        r#"{{"recordId":"{record_id}","periodStart":"{at}","periodEnd":"{at}","usage":{{"totalBytes":{bytes}}}}}"#
    )
}

/// The same as a correction of `target`.
pub(crate) fn correction_at(record_id: &str, target: &str, at: &str, bytes: i64) -> String {
    record_at(record_id, at, bytes).replacen('{', &format!(r#"{{"corrects":"{target}","#), 1)
}

pub(crate) fn sender(may_correct: bool) -> Sender {
    Sender { tenant: TENANT, may_correct, iccid: None, via: Via::Mqtt, name: "test".into() }
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
