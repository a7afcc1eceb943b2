use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ingest::queue::{IngestQueue, Message, QueueClosed, Sender};
use crate::ingest::{self, PipelineOptions};

use super::ledger::Open;
use super::rows::Row;
use super::run::RunOptions;

/// Pipelines side by side, each with one writer. The rows of a SIM are decided in their order, because they take one lane.
pub(super) struct Lanes {
    queues: Vec<IngestQueue>,
    sender: Arc<Sender>,
}

impl Lanes {
    /// As many lanes as there would be writers, with the same bounds in all.
    pub(super) fn start(
        sender: Sender,
        run: &RunOptions,
        tasks: &TaskTracker,
        hard: &CancellationToken,
    ) -> Self {
        let pipeline = &run.pipeline;
        let lanes = pipeline.writers;
        let options = PipelineOptions {
            queue_max_messages: (pipeline.queue_max_messages / lanes).max(1),
            queue_max_bytes: (pipeline.queue_max_bytes / u32::try_from(lanes).unwrap_or(u32::MAX)).max(1),
            writers: 1,
            ..pipeline.clone()
        };
        let start = || {
            let (metrics, database) = (run.metrics.clone(), run.database.clone());
            ingest::start(&options, run.store.clone(), run.clock, metrics, database, tasks, hard)
        };
        Self { queues: (0..lanes).map(|_| start()).collect(), sender: Arc::new(sender) }
    }

    /// Puts a row on its way; waits for room.
    pub(super) async fn send(
        &self,
        row: Row,
        now: DateTime<Utc>,
        stretch: Arc<Open>,
    ) -> Result<(), QueueClosed> {
        let queue = &self.queues[row.sim as usize % self.queues.len()];
        let message = Message {
            topic: format!("{}:{}", self.sender.name, row.line),
            sender: self.sender.clone(),
            topic_iccid: None,
            payload: row.payload,
            received_at: now,
            acknowledge: Some(Box::new(move |receipt| stretch.decided(&receipt))),
        };
        match row.refused {
            Some(rejection) => queue.send_refused(message, rejection).await,
            None => queue.send(message).await,
        }
    }
}
