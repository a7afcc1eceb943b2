//! The bounded queue between what receives messages and what stores them.
//!
//! Bounded twice: in messages and in payload bytes. A full queue makes the sender wait, which stops the reading from
//! its socket; nothing is dropped. The byte permit travels with the message until it is committed or given up, so the
//! bound covers the batches being written too.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::domain::{Iccid, Rejection, TenantId};
use crate::traces::Origin;

use super::metrics::IngestMetrics;
pub use super::receipt::{Receipt, RecordReceipt, RecordStatus, Via};

/// Who sent a message, as proven when the connection was made. Shared by all messages of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub tenant: TenantId,
    /// Permission `usage:correct`: signed corrections are accepted.
    pub may_correct: bool,
    /// A device: records of other SIMs are parked. `None` for whoever speaks for all SIMs of its tenant.
    pub iccid: Option<Iccid>,
    /// How it came in; a metric label.
    pub via: Via,
    /// MQTT client id, API key name or name of a file; for operators, kept with parked records.
    pub name: String,
}

/// Called once, after COMMIT. Dropped uncalled when the program gives up on the message (hard stop): then nothing was
/// acknowledged and the sender will send again.
pub type Acknowledge = Box<dyn FnOnce(Receipt) + Send>;

/// A payload on its way to the database.
pub struct Message {
    pub sender: Arc<Sender>,
    /// The topic as published, or file and line; empty when it came otherwise.
    pub topic: String,
    /// The ICCID that the topic names, if it names one.
    pub topic_iccid: Option<String>,
    pub payload: Bytes,
    pub received_at: DateTime<Utc>,
    /// `None` for QoS 0.
    pub acknowledge: Option<Acknowledge>,
}

/// A message together with its share of the byte bound.
pub struct Queued {
    pub message: Message,
    /// Why the message is parked without being decoded.
    pub(crate) refused: Option<Rejection>,
    /// The request that it came with.
    pub(crate) origin: Origin,
    pub(crate) _bytes: OwnedSemaphorePermit,
}

/// The sending side; cheap to clone.
#[derive(Clone)]
pub struct IngestQueue {
    sender: mpsc::Sender<Queued>,
    bytes: Arc<Semaphore>,
    max_bytes: u32,
    metrics: Arc<IngestMetrics>,
}

/// The pipeline has stopped; nothing more is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueClosed;

impl fmt::Display for QueueClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ingest pipeline has stopped")
    }
}

impl std::error::Error for QueueClosed {}

impl IngestQueue {
    /// A queue of at most `max_messages` messages and `max_bytes` payload bytes.
    pub fn new(
        max_messages: usize,
        max_bytes: u32,
        metrics: Arc<IngestMetrics>,
    ) -> (Self, mpsc::Receiver<Queued>) {
        let (sender, receiver) = mpsc::channel(max_messages);
        let bytes = Arc::new(Semaphore::new(max_bytes as usize));
        (Self { sender, bytes, max_bytes, metrics }, receiver)
    }

    /// Waits for room. Cancel-safe: a cancelled call has sent nothing.
    ///
    /// # Errors
    /// [`QueueClosed`] when the pipeline has stopped.
    pub async fn send(&self, message: Message) -> Result<(), QueueClosed> {
        self.enqueue(message, None).await
    }

    /// Like [`send`](Self::send), for a message that its source already knows to be none: it is parked with this reason,
    /// in its turn and by the same transaction as all others.
    ///
    /// # Errors
    /// [`QueueClosed`] when the pipeline has stopped.
    pub async fn send_refused(&self, message: Message, rejection: Rejection) -> Result<(), QueueClosed> {
        self.enqueue(message, Some(rejection)).await
    }

    async fn enqueue(&self, message: Message, refused: Option<Rejection>) -> Result<(), QueueClosed> {
        // An oversized message takes the whole budget instead of waiting for ever.
        let weight = u32::try_from(message.payload.len()).unwrap_or(u32::MAX).clamp(1, self.max_bytes);
        let permit = self.bytes.clone().acquire_many_owned(weight).await.map_err(|_| QueueClosed)?;
        let slot = self.sender.reserve().await.map_err(|_| QueueClosed)?;
        self.metrics.message_received(message.sender.via);
        slot.send(Queued { message, refused, origin: Origin::here(), _bytes: permit });
        Ok(())
    }

    /// A look at the queue that does not keep it open.
    pub fn gauge(&self) -> QueueGauge {
        QueueGauge { sender: self.sender.downgrade() }
    }
}

/// Tells how full the queue is.
#[derive(Clone)]
pub struct QueueGauge {
    sender: mpsc::WeakSender<Queued>,
}

impl QueueGauge {
    /// Messages waiting to be taken by a writer.
    pub fn depth(&self) -> usize {
        self.sender.upgrade().map_or(0, |sender| sender.max_capacity() - sender.capacity())
    }

    /// Messages that may wait; 0 after the end.
    pub fn room(&self) -> usize {
        self.sender.upgrade().map_or(0, |sender| sender.max_capacity())
    }
}
