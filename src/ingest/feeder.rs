//! What a connection, of a client or to another broker, has read and the queue had no room for yet. It lets the connection go on with
//! pings while the database is slow. Whoever reads bounds it, by reading no more.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio_util::sync::ReusableBoxFuture;

use super::queue::{IngestQueue, Message, QueueClosed};

/// Memory that a waiting message costs besides its payload.
const MESSAGE_OVERHEAD_BYTES: usize = 512;

/// Messages of one connection on their way into the queue, in order.
pub(crate) struct Feeder {
    queue: Arc<IngestQueue>,
    /// Waiting bytes of all connections.
    total: Arc<AtomicUsize>,
    waiting: VecDeque<Message>,
    waiting_bytes: usize,
    /// The message that is being sent now. The box is kept for the next one.
    sending: Option<ReusableBoxFuture<'static, Result<(), QueueClosed>>>,
    busy: bool,
}

impl Feeder {
    /// `total` counts the waiting bytes of all that share it.
    pub(crate) fn new(queue: Arc<IngestQueue>, total: Arc<AtomicUsize>) -> Self {
        Self { queue, total, waiting: VecDeque::new(), waiting_bytes: 0, sending: None, busy: false }
    }

    pub(crate) fn push(&mut self, message: Message) {
        self.charge(message.payload.len() + MESSAGE_OVERHEAD_BYTES);
        self.waiting.push_back(message);
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.busy && self.waiting.is_empty()
    }

    pub(crate) fn waiting_messages(&self) -> usize {
        self.waiting.len()
    }

    /// A fixed overhead a message included.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Waiting bytes of all connections together.
    pub(crate) fn total_waiting_bytes(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    fn charge(&mut self, bytes: usize) {
        self.waiting_bytes += bytes;
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    fn discharge(&mut self, bytes: usize) {
        self.waiting_bytes -= bytes;
        self.total.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Ready when everything is in the queue. May be polled again at any time; nothing is lost in between.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<Result<(), QueueClosed>> {
        loop {
            if self.busy {
                let sent = match &mut self.sending {
                    Some(sending) => ready!(sending.poll(context)),
                    None => Ok(()),
                };
                self.busy = false;
                sent?;
            }
            let Some(message) = self.waiting.pop_front() else { return Poll::Ready(Ok(())) };
            self.discharge(message.payload.len() + MESSAGE_OVERHEAD_BYTES);
            let queue = self.queue.clone();
            let send = async move { queue.send(message).await };
            match &mut self.sending {
                Some(sending) => sending.set(send),
                None => self.sending = Some(ReusableBoxFuture::new(send)),
            }
            self.busy = true;
        }
    }

    /// Waits until everything is in the queue. Cancel-safe.
    pub(crate) async fn drain(&mut self) -> Result<(), QueueClosed> {
        poll_fn(|context| self.poll_drain(context)).await
    }

    /// Puts in what fits now.
    pub(crate) async fn drain_ready(&mut self) -> Result<(), QueueClosed> {
        poll_fn(|context| match self.poll_drain(context) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.discharge(self.waiting_bytes);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use chrono::DateTime;

    use super::*;
    use crate::domain::TenantId;
    use crate::ingest::metrics::IngestMetrics;
    use crate::ingest::queue::{Sender, Via};

    fn message(payload: &'static str) -> Message {
        let sender =
            Sender { tenant: TenantId(1), may_correct: false, iccid: None, via: Via::Mqtt, name: "d".into() };
        Message {
            sender: Arc::new(sender),
            topic: "t".into(),
            topic_iccid: None,
            payload: Bytes::from_static(payload.as_bytes()),
            received_at: DateTime::UNIX_EPOCH,
            acknowledge: None,
        }
    }

    #[tokio::test]
    async fn messages_keep_their_order_through_a_full_queue() {
        let (queue, mut receiver) = IngestQueue::new(1, 1 << 20, Arc::new(IngestMetrics::default()));
        let total = Arc::new(AtomicUsize::new(0));
        let mut feeder = Feeder::new(Arc::new(queue), total.clone());
        for payload in ["a", "b", "c"] {
            feeder.push(message(payload));
        }
        feeder.drain_ready().await.unwrap();
        assert!(!feeder.is_empty());
        assert_eq!(total.load(Ordering::Relaxed), feeder.waiting_bytes());
        let mut seen = Vec::new();
        while seen.len() < 3 {
            feeder.drain_ready().await.unwrap();
            seen.push(receiver.recv().await.unwrap().message.payload);
        }
        assert_eq!(seen, ["a", "b", "c"]);
        feeder.drain().await.unwrap();
        assert!(feeder.is_empty());
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_stopped_pipeline_is_reported() {
        let (queue, receiver) = IngestQueue::new(1, 1 << 20, Arc::new(IngestMetrics::default()));
        drop(receiver);
        let mut feeder = Feeder::new(Arc::new(queue), Arc::default());
        feeder.push(message("a"));
        assert_eq!(feeder.drain().await, Err(QueueClosed));
    }
}
