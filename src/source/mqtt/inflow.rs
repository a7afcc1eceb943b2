//! What a connection has read and the ingest queue had no room for yet. It lets the connection go on answering the broker's
//! pings while the database is slow.

use std::collections::VecDeque;
use std::pin::Pin;

use crate::ingest::queue::{IngestQueue, Message, QueueClosed};

type Sending = Pin<Box<dyn Future<Output = Result<(), QueueClosed>> + Send>>;

/// Messages on their way into the queue, in order.
pub(super) struct Inflow {
    queue: IngestQueue,
    max_messages: usize,
    max_bytes: usize,
    waiting: VecDeque<Message>,
    waiting_bytes: usize,
    sending: Option<Sending>,
}

impl Inflow {
    pub(super) fn new(queue: IngestQueue, max_messages: usize, max_bytes: usize) -> Self {
        Self { queue, max_messages, max_bytes, waiting: VecDeque::new(), waiting_bytes: 0, sending: None }
    }

    pub(super) fn push(&mut self, message: Message) {
        self.waiting_bytes += message.payload.len();
        self.waiting.push_back(message);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sending.is_none()
    }

    /// Whether more may be read. What was read at once may exceed the bound by a few packets.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < self.max_messages && self.waiting_bytes < self.max_bytes
    }

    /// Puts the next message into the queue, as soon as there is room. Cancel-safe.
    pub(super) async fn feed(&mut self) -> Result<(), QueueClosed> {
        if self.sending.is_none() {
            let Some(message) = self.waiting.pop_front() else { return Ok(()) };
            self.waiting_bytes -= message.payload.len();
            let queue = self.queue.clone();
            self.sending = Some(Box::pin(async move { queue.send(message).await }));
        }
        let sent = match &mut self.sending {
            Some(sending) => sending.await,
            None => Ok(()),
        };
        self.sending = None;
        sent
    }
}
