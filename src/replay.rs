//! A parked record takes its way again: decoded by today's rules, stored by the pipeline that stores everything else.

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::domain::Clock;
use crate::ingest::metrics::IngestMetrics;
use crate::ingest::queue::{Message, Receipt, RecordReceipt, RecordStatus, Sender, Via};
use crate::ingest::topics::UsageTopics;
use crate::ingest::{self, DatabaseState, PipelineOptions};
use crate::payload::{self, Envelope};
use crate::store::quarantine::{QuarantineEntry, Resolution};
use crate::store::{Store, StoreError};

/// Replays parked records.
pub struct Replay<'a> {
    pub store: &'a Store,
    pub config: &'a Config,
    pub clock: Clock,
    /// The operator has the permission `usage:correct`.
    pub allow_corrections: bool,
}

/// Why a record stays parked.
#[derive(Debug, Error)]
pub enum ReplayError {
    #[error("is {0} already")]
    NotParked(String),
    #[error("still cannot be stored: {0}")]
    StillRefused(String),
    #[error("the pipeline ended before it was stored")]
    Stopped,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Replay<'_> {
    /// Stores one entry, with `mended` in place of its payload if given, and marks it replayed. All records of the payload
    /// are stored or none.
    ///
    /// # Errors
    /// [`ReplayError`]; the entry stays parked then.
    pub async fn run(
        &self,
        entry: &QuarantineEntry,
        mended: Option<Bytes>,
    ) -> Result<Vec<RecordReceipt>, ReplayError> {
        if entry.state != "parked" {
            return Err(ReplayError::NotParked(entry.state.clone()));
        }
        let message = self.message(entry, mended.unwrap_or_else(|| entry.payload.clone()));
        self.check(&message)?;
        let receipt = self.store(message).await?;
        for record in &receipt.records {
            if let RecordStatus::Parked(rejection) = &record.status {
                return Err(ReplayError::StillRefused(rejection.to_string()));
            }
        }
        self.store.resolve_quarantine(entry.id, Resolution::Replayed).await?;
        Ok(receipt.records)
    }

    fn message(&self, entry: &QuarantineEntry, payload: Bytes) -> Message {
        let topics = UsageTopics::parse(&self.config.mqtt.topics).ok();
        let topic_iccid = topics
            .as_ref()
            .and_then(|topics| topics.classify(&entry.topic))
            .and_then(|topic| topic.iccid.map(str::to_owned));
        let sender = Sender {
            tenant: entry.tenant,
            may_correct: self.allow_corrections,
            via: Via::Replay,
            name: entry.sender.clone(),
        };
        Message {
            sender: Arc::new(sender),
            topic: entry.topic.clone(),
            topic_iccid,
            payload,
            received_at: self.clock.now(),
            acknowledge: None,
        }
    }

    /// A payload that is still at fault is not sent on its way, or it would be parked a second time.
    fn check(&self, message: &Message) -> Result<(), ReplayError> {
        let envelope = Envelope {
            tenant: message.sender.tenant,
            topic_iccid: message.topic_iccid.as_deref(),
            may_correct: self.allow_corrections,
            now: message.received_at,
        };
        let limits = self.config.ingest.payload_limits();
        for element in payload::decode(&message.payload, envelope, &limits).elements {
            if let Err(bad) = element.result {
                return Err(ReplayError::StillRefused(bad.to_string()));
            }
        }
        Ok(())
    }

    async fn store(&self, mut message: Message) -> Result<Receipt, ReplayError> {
        let (tasks, hard) = (TaskTracker::new(), CancellationToken::new());
        let options = PipelineOptions { writers: 1, ..self.config.ingest.pipeline_options() };
        let queue = ingest::start(
            &options,
            self.store.clone(),
            self.clock,
            Arc::new(IngestMetrics::default()),
            DatabaseState::default(),
            &tasks,
            &hard,
        );
        let (done, receipt) = oneshot::channel();
        message.acknowledge = Some(Box::new(move |receipt| {
            // The receiver waits below until this is called or the pipeline has ended.
            done.send(receipt).ok();
        }));
        queue.send(message).await.map_err(|_| ReplayError::Stopped)?;
        drop(queue);
        let receipt = receipt.await.map_err(|_| ReplayError::Stopped)?;
        tasks.close();
        tasks.wait().await;
        Ok(receipt)
    }
}
