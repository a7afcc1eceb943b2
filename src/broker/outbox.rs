//! What waits for one client, or for one group of a shared subscription: publishers put it in, the client's connection takes it
//! out (ADR 0014). It is bounded. A publisher waits for a reader that makes progress, and for nobody else.

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rumqttd::protocol::QoS;
use tokio::sync::Notify;

use super::publication::Publication;
use super::shared::Share;

/// A publication for one client.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) publication: Arc<Publication>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) identifiers: Vec<usize>,
    /// The group that it was taken from.
    pub(super) share: Option<Share>,
}

/// Bounds of one outbox, and of all together.
#[derive(Debug)]
pub(super) struct OutboxLimits {
    pub(super) max_messages: usize,
    pub(super) max_bytes: usize,
    pub(super) max_bytes_in_all: usize,
    /// A reader that takes nothing for so long holds no publisher up any more.
    pub(super) patience: Duration,
}

/// All outboxes of a broker.
pub(super) struct Outboxes {
    limits: OutboxLimits,
    bytes_in_all: AtomicUsize,
}

impl Outboxes {
    pub(super) fn new(limits: OutboxLimits) -> Self {
        Self { limits, bytes_in_all: AtomicUsize::new(0) }
    }

    pub(super) fn open(self: &Arc<Self>) -> Arc<Outbox> {
        let (state, ready, relaxed) = (Mutex::default(), Notify::new(), Notify::new());
        Arc::new(Outbox { of: self.clone(), state, ready, relaxed })
    }
}

pub(super) struct Outbox {
    of: Arc<Outboxes>,
    state: Mutex<State>,
    /// There is something, or so much that the reader should know.
    ready: Notify,
    /// Publishers need not wait any more.
    relaxed: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Delivery>,
    bytes: usize,
    /// Connections that take from it: one, or the members of a group that are here.
    readers: usize,
    /// When the reader fell behind, or took something since.
    behind_since: Option<Instant>,
}

/// What became of a delivery.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pushed {
    /// Deliveries with QoS 0 that were not worth the room: this one.
    pub(super) dropped: u64,
    /// Older deliveries that gave way.
    pub(super) gave_way: u64,
    /// Whoever published should wait until this outbox has relaxed.
    pub(super) hold: bool,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The queue and its counters change together in code that cannot panic in between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// More than half of the room is taken.
    fn is_crowded(&self, state: &State) -> bool {
        let limits = &self.of.limits;
        state.waiting.len() > limits.max_messages / 2 || state.bytes > limits.max_bytes / 2
    }

    /// Until when publishers wait for the reader; `None` when they need not.
    fn held_until(&self, state: &State, now: Instant) -> Option<Instant> {
        let until = state.behind_since.filter(|_| state.readers > 0)? + self.of.limits.patience;
        (now < until).then_some(until)
    }

    fn has_room(&self, state: &State, bytes: usize) -> bool {
        let limits = &self.of.limits;
        let in_all = self.of.bytes_in_all.load(Ordering::Relaxed);
        state.waiting.len() < limits.max_messages
            && state.bytes + bytes <= limits.max_bytes
            && in_all + bytes <= limits.max_bytes_in_all
    }

    /// Puts a delivery in. When there is no room the oldest give way; QoS 0 is not worth the last half of it, unless the reader
    /// keeps up.
    pub(super) fn push(&self, delivery: Delivery) -> Pushed {
        let mut pushed = Pushed::default();
        let bytes = delivery.publication.bytes();
        let mut giving_way = Vec::new();
        let mut state = self.lock();
        let crowded = self.is_crowded(&state);
        if delivery.qos == QoS::AtMostOnce
            && (crowded && self.held_until(&state, Instant::now()).is_none() || !self.has_room(&state, bytes))
        {
            pushed.dropped = 1;
            return pushed;
        }
        while !self.has_room(&state, bytes)
            && let Some(oldest) = self.pop(&mut state)
        {
            giving_way.push(oldest);
        }
        let was_empty = state.waiting.is_empty();
        state.bytes += bytes;
        self.of.bytes_in_all.fetch_add(bytes, Ordering::Relaxed);
        state.waiting.push_back(delivery);
        let falls_behind = self.is_crowded(&state) && state.behind_since.is_none();
        if state.behind_since.is_some() || falls_behind {
            let now = Instant::now();
            state.behind_since.get_or_insert(now);
            pushed.hold = self.held_until(&state, now).is_some();
        }
        drop(state);
        if was_empty || falls_behind {
            self.ready.notify_one();
        }
        for delivery in giving_way {
            match delivery.share {
                // Another member may have room.
                Some(share) => share.give_back(delivery.publication),
                None => pushed.gave_way += 1,
            }
        }
        pushed
    }

    /// Puts something in before everything else, whatever the room: it has been out already.
    pub(super) fn put_back(&self, delivery: Delivery) {
        let mut state = self.lock();
        let bytes = delivery.publication.bytes();
        state.bytes += bytes;
        self.of.bytes_in_all.fetch_add(bytes, Ordering::Relaxed);
        state.waiting.push_front(delivery);
        drop(state);
        self.ready.notify_one();
    }

    fn pop(&self, state: &mut State) -> Option<Delivery> {
        let delivery = state.waiting.pop_front()?;
        let bytes = delivery.publication.bytes();
        state.bytes -= bytes;
        self.of.bytes_in_all.fetch_sub(bytes, Ordering::Relaxed);
        Some(delivery)
    }

    /// Takes the next ones out, in order, until they have `most_bytes`. No more than `window` of them wait for an
    /// acknowledgement.
    pub(super) fn take(&self, most_bytes: usize, mut window: usize) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        let mut state = self.lock();
        while bytes < most_bytes
            && let Some(next) = state.waiting.front()
        {
            if next.qos != QoS::AtMostOnce {
                let Some(rest) = window.checked_sub(1) else { break };
                window = rest;
            }
            let Some(delivery) = self.pop(&mut state) else { break };
            bytes += delivery.publication.bytes();
            taken.push(delivery);
        }
        if state.waiting.is_empty() {
            // An idle client keeps no room.
            state.waiting.shrink_to(16);
        }
        if state.behind_since.is_some() && !taken.is_empty() {
            self.note_progress(&mut state);
        }
        taken
    }

    fn note_progress(&self, state: &mut State) {
        let limits = &self.of.limits;
        // Not at the half at once: who waits shall not be woken for one message.
        let relaxed = state.waiting.len() <= limits.max_messages / 4 && state.bytes <= limits.max_bytes / 4;
        state.behind_since = (!relaxed).then(Instant::now);
        if relaxed {
            self.relaxed.notify_waiters();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Whether less than half of the room is taken.
    pub(super) fn is_relaxed(&self) -> bool {
        !self.is_crowded(&self.lock())
    }

    /// Whether publishers wait for the reader.
    pub(super) fn holds(&self) -> bool {
        self.held_until(&self.lock(), Instant::now()).is_some()
    }

    /// Waits until there is something new to take. What is known to be there gives no signal. Cancel-safe.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Waits until publishers need not wait for the reader. Cancel-safe.
    pub(super) async fn relaxed(&self) {
        loop {
            let mut relaxed = pin!(self.relaxed.notified());
            relaxed.as_mut().enable();
            let Some(until) = self.held_until(&self.lock(), Instant::now()) else { return };
            tokio::select! {
                () = relaxed => {}
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    /// Someone takes from it for as long as what is returned lives.
    pub(super) fn read(self: &Arc<Self>) -> Reader {
        let mut state = self.lock();
        state.readers += 1;
        // What came while nobody was here is no debt of the reader.
        state.behind_since = self.is_crowded(&state).then(Instant::now);
        drop(state);
        Reader(self.clone())
    }

    /// Everything, when it is over.
    pub(super) fn drain(&self) -> Vec<Delivery> {
        let mut state = self.lock();
        std::iter::from_fn(|| self.pop(&mut state)).collect()
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.drain();
    }
}

/// A connection that takes from an outbox.
#[derive(Debug)]
pub(super) struct Reader(Arc<Outbox>);

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.readers -= 1;
        if state.readers == 0 {
            state.behind_since = None;
            self.0.relaxed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::TenantId;

    fn outboxes(max_messages: usize, in_all: usize, patience: Duration) -> Arc<Outboxes> {
        let (max_bytes, max_bytes_in_all) = (1 << 20, in_all);
        Arc::new(Outboxes::new(OutboxLimits { max_messages, max_bytes, max_bytes_in_all, patience }))
    }

    fn delivery(number: usize, qos: QoS) -> Delivery {
        let payload = Bytes::from(number.to_string());
        let publication = Publication::new(TenantId(1), "t".into(), payload, None, Instant::now());
        Delivery {
            publication: Arc::new(publication),
            qos,
            retain: false,
            identifiers: Vec::new(),
            share: None,
        }
    }

    fn numbers(taken: &[Delivery]) -> Vec<usize> {
        taken.iter().map(|d| std::str::from_utf8(&d.publication.payload).unwrap().parse().unwrap()).collect()
    }

    const KEPT: Pushed = Pushed { dropped: 0, gave_way: 0, hold: false };

    /// Catches a queue without end, and a newest message that gives way to an old one.
    #[test]
    fn while_nobody_reads_the_oldest_give_way_and_qos_0_takes_half_of_the_room() {
        let outbox = outboxes(10, 1 << 20, Duration::from_secs(60)).open();
        for n in 0..6 {
            assert_eq!(outbox.push(delivery(n, QoS::AtMostOnce)), KEPT);
        }
        assert_eq!(outbox.push(delivery(6, QoS::AtMostOnce)), Pushed { dropped: 1, ..KEPT });
        for n in 10..14 {
            assert_eq!(outbox.push(delivery(n, QoS::AtLeastOnce)), KEPT);
        }
        assert_eq!(outbox.push(delivery(14, QoS::AtLeastOnce)), Pushed { gave_way: 1, ..KEPT });
        let taken = outbox.take(usize::MAX, 3);
        assert_eq!(numbers(&taken), [1, 2, 3, 4, 5, 10, 11, 12]);
        assert!(outbox.take(usize::MAX, 0).is_empty());
        assert_eq!(numbers(&outbox.take(1, 9)), [13]);
        assert_eq!(numbers(&outbox.drain()), [14]);
    }

    /// Catches bytes in all that are not counted down, whoever lets them go.
    #[test]
    fn all_outboxes_together_are_bounded() {
        let one = delivery(1, QoS::AtLeastOnce).publication.bytes();
        let outboxes = outboxes(100, 4 * one, Duration::ZERO);
        let (first, second) = (outboxes.open(), outboxes.open());
        for n in 0..3 {
            assert_eq!(first.push(delivery(n, QoS::AtLeastOnce)), KEPT);
        }
        assert_eq!(second.push(delivery(3, QoS::AtLeastOnce)), KEPT);
        assert_eq!(second.push(delivery(4, QoS::AtLeastOnce)), Pushed { gave_way: 1, ..KEPT });
        first.take(1, 1);
        assert_eq!(second.push(delivery(5, QoS::AtLeastOnce)), KEPT);
        drop((first, second));
        assert_eq!(outboxes.bytes_in_all.load(Ordering::Relaxed), 0);
    }

    /// Catches publishers that wait for a client that is away or stands still, and those that do not wait for a busy one.
    #[tokio::test]
    async fn publishers_wait_for_a_reader_that_takes_and_for_no_other() {
        // No patience, or more than the test takes.
        for (patience, waits) in [(Duration::ZERO, false), (Duration::from_secs(3600), true)] {
            let outbox = outboxes(10, 1 << 20, patience).open();
            for n in 0..6 {
                assert!(!outbox.push(delivery(n, QoS::AtLeastOnce)).hold, "nobody reads");
            }
            let reader = outbox.read();
            assert_eq!(outbox.push(delivery(6, QoS::AtLeastOnce)).hold, waits);
            assert_eq!(outbox.push(delivery(7, QoS::AtMostOnce)).dropped == 0, waits);
            assert_eq!(outbox.holds(), waits);
            if waits {
                let waiting = tokio::spawn({
                    let outbox = outbox.clone();
                    async move { outbox.relaxed().await }
                });
                outbox.take(1, 3);
                assert!(outbox.holds(), "more than a quarter is left");
                outbox.take(usize::MAX, 5);
                waiting.await.unwrap();
                for n in 10..16 {
                    outbox.push(delivery(n, QoS::AtLeastOnce));
                }
                assert!(outbox.holds());
            }
            drop(reader);
            assert!(!outbox.holds(), "the reader has gone");
            outbox.relaxed().await;
        }
    }
}
