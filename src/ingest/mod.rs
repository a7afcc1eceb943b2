//! From a message to a committed record: bounded queue, batches, one transaction each, acknowledgement after COMMIT.

mod backoff;
mod database;
pub(crate) mod feeder;
mod intake;
pub mod metrics;
pub mod queue;
mod receipt;
pub(crate) mod recent;
pub mod round;
pub mod topics;
mod traced;
mod under_way;
mod writer;

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::Clock;
use crate::payload::PayloadLimits;
use crate::shutdown::vital;
use crate::store::Store;

pub use database::DatabaseState;
use metrics::IngestMetrics;
use queue::IngestQueue;
pub use writer::BatchLimits;
use writer::{Shared, Writer};

/// How the pipeline is dimensioned.
#[derive(Clone, Debug)]
pub struct PipelineOptions {
    /// Messages that may wait for a writer.
    pub queue_max_messages: usize,
    /// Payload bytes of messages that wait or are being written.
    pub queue_max_bytes: u32,
    /// Batches that may be under way at once.
    pub writers: usize,
    pub batch: BatchLimits,
    pub payload: PayloadLimits,
}

/// Starts the writers on `tasks` and returns the way in. They end when every clone of the queue is gone and it is empty, or
/// at `hard`.
pub fn start(
    options: &PipelineOptions,
    store: Store,
    clock: Clock,
    metrics: Arc<IngestMetrics>,
    database: DatabaseState,
    tasks: &TaskTracker,
    hard: &CancellationToken,
) -> IngestQueue {
    let (queue, receiver) =
        IngestQueue::new(options.queue_max_messages, options.queue_max_bytes, metrics.clone());
    let shared = Arc::new(Shared {
        store,
        queue: Mutex::new(receiver),
        batch: options.batch,
        payload: options.payload.clone(),
        clock,
        metrics,
        database,
    });
    for _ in 0..options.writers {
        tasks.spawn(vital("writer", Writer::new(shared.clone()).run(hard.clone())));
    }
    queue
}
