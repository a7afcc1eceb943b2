//! One subscriber's way out of the router.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use rumqttd::Notification;
use rumqttd::local::{LinkError, LinkRx, LinkTx};
use rumqttd::protocol::{Filter, Packet, QoS, RetainForwardRule, Subscribe, Unsubscribe};

use super::codec;
use super::envelope::{Envelopes, Opened, router_topic};
use super::filter_index::FilterSlot;

/// The router looks at a link's buffer when a packet is sent with an event; this one asks for nothing.
#[allow(clippy::result_large_err, reason = "the error is rumqttd's")]
pub(super) fn wake_router(link: &mut LinkTx) -> Result<(), LinkError> {
    link.unsubscribe("-").map(drop)
}

/// Numbers that name links. The router keeps a record of every name that it has heard, so the names are used again.
#[derive(Clone, Default)]
pub(super) struct LinkNumbers(Arc<Mutex<Numbers>>);

#[derive(Default)]
struct Numbers {
    free: Vec<u64>,
    next: u64,
}

impl LinkNumbers {
    pub(super) fn take(&self) -> LinkNumber {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = numbers.free.pop().unwrap_or_else(|| {
            numbers.next += 1;
            numbers.next
        });
        LinkNumber { number, of: self.clone() }
    }
}

/// A link's number, given back when it is dropped.
pub(super) struct LinkNumber {
    number: u64,
    of: LinkNumbers,
}

impl LinkNumber {
    pub(super) fn name(&self) -> String {
        format!("link-{}", self.number)
    }
}

impl Drop for LinkNumber {
    fn drop(&mut self) {
        self.of.0.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.number);
    }
}

/// The router's log of the link is gone.
#[derive(Debug)]
pub(super) struct LinkClosed;

/// One subscriber's link to the router. Left unread, it keeps a backlog in the router's logs.
pub(super) struct Link {
    sender: LinkTx,
    receiver: LinkRx,
    /// Dropped after `Drop` has told the router that the link ends: what opens the next link of this name comes behind that.
    _number: LinkNumber,
    open_links: Arc<AtomicUsize>,
    envelopes: Envelopes,
    /// The router waits to hear that there is room again.
    unscheduled: bool,
    generation: u64,
    alive: bool,
    /// Number of the last publication of each filter.
    seen: HashMap<FilterSlot, u64>,
    missed: u64,
}

impl Link {
    pub(super) fn new(
        sender: LinkTx,
        receiver: LinkRx,
        number: LinkNumber,
        open_links: Arc<AtomicUsize>,
        envelopes: Envelopes,
        generation: u64,
    ) -> Self {
        Self {
            sender,
            receiver,
            _number: number,
            open_links,
            envelopes,
            unscheduled: false,
            generation,
            alive: true,
            seen: HashMap::new(),
            missed: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn name(&self) -> String {
        self._number.name()
    }

    /// Restart of the router that this link belongs to.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Publications that gave way in the router's log since the last call, because this link was not read.
    pub(super) fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    fn count_missed(&mut self, opened: &Opened) {
        if let Some(last) = self.seen.insert(opened.slot, opened.sequence) {
            self.missed += opened.sequence.saturating_sub(last + 1);
        }
    }

    pub(super) async fn subscribe(&mut self, slot: FilterSlot) -> Result<(), LinkClosed> {
        let filter = Filter {
            path: router_topic(slot),
            // The router's own windows are not needed: a link is paused by not reading it.
            qos: QoS::AtMostOnce,
            nolocal: false,
            preserve_retain: false,
            retain_forward_rule: RetainForwardRule::Never,
        };
        let packet = Packet::Subscribe(Subscribe { pkid: 1, filters: vec![filter] }, None);
        self.sender.send(packet).await.map(drop).map_err(|_| LinkClosed)
    }

    pub(super) async fn unsubscribe(&mut self, slot: FilterSlot) -> Result<(), LinkClosed> {
        self.seen.remove(&slot);
        let packet = Packet::Unsubscribe(Unsubscribe { pkid: 1, filters: vec![router_topic(slot)] }, None);
        self.sender.send(packet).await.map(drop).map_err(|_| LinkClosed)
    }

    /// The next publication. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Opened, LinkClosed> {
        loop {
            if self.unscheduled {
                // Asking for more is right here: whoever calls has room.
                self.receiver.wake().await.map_err(|_| LinkClosed)?;
                self.unscheduled = false;
            }
            let notification = self.receiver.next().await.map_err(|_| {
                self.alive = false;
                LinkClosed
            })?;
            if let Some(opened) = notification.and_then(|n| self.open(n)) {
                return Ok(opened);
            }
        }
    }

    /// The next publication if it is there already.
    pub(super) async fn next_ready(&mut self) -> Option<Opened> {
        let mut next = pin!(self.next());
        poll_fn(|context| match next.as_mut().poll(context) {
            Poll::Ready(opened) => Poll::Ready(opened.ok()),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn open(&mut self, notification: Notification) -> Option<Opened> {
        match notification {
            Notification::Forward(forward) => {
                let publish = forward.publish;
                let opened = self.envelopes.open(&publish.topic, publish.payload, forward.properties)?;
                self.count_missed(&opened);
                Some(opened)
            }
            Notification::Unschedule => {
                self.unscheduled = true;
                None
            }
            _ => None,
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.alive {
            self.sender.buffer().push_back(codec::normal_disconnect());
            // An error means that the router is gone, and the link with it.
            let _ = wake_router(&mut self.sender);
        }
        self.open_links.fetch_sub(1, Ordering::AcqRel);
    }
}
