//! What waits for one client, or for one group of a shared subscription: publishers put it in, the client's connection takes it
//! out (ADR 0014). It is bounded. A publisher waits for a reader that makes progress, and for nobody else.

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rumqttd::protocol::QoS;
use tokio::sync::Notify;

use super::publication::Publication;
use super::session_log::StoredMessage;
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

/// Who has to know what waits while nobody reads.
pub(super) trait Watcher: Send + Sync {
    /// Something was put in, or is left by the last reader.
    fn something_waits(self: Arc<Self>);
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
    /// With their positions, which grow.
    waiting: VecDeque<(u64, Delivery)>,
    next_position: u64,
    bytes: usize,
    /// Connections that take from it: one, or the members of a group that are here.
    readers: usize,
    /// When the reader fell behind, or took something since.
    behind_since: Option<Instant>,
    /// Of what is put in, or left, while nobody reads.
    watcher: Option<Weak<dyn Watcher>>,
}

impl State {
    /// Who has to know that something waits and nobody reads.
    fn unread_watcher(&self) -> Option<Arc<dyn Watcher>> {
        self.watcher.as_ref().filter(|_| self.readers == 0 && !self.waiting.is_empty())?.upgrade()
    }

    /// Position of the oldest that waits, or of the next one.
    fn oldest(&self) -> u64 {
        self.waiting.front().map_or(self.next_position, |(position, _)| *position)
    }
}

/// What waits from a position on, to be stored.
pub(super) struct Waiting {
    /// Position of the oldest that waits at all.
    pub(super) oldest: u64,
    /// Position after the last one here.
    pub(super) to: u64,
    /// There is no more.
    pub(super) complete: bool,
    pub(super) messages: Vec<StoredMessage>,
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
            && let Some((_, oldest)) = self.pop(&mut state)
        {
            giving_way.push(oldest);
        }
        let was_empty = state.waiting.is_empty();
        self.charge(&mut state, bytes);
        let position = state.next_position;
        state.next_position += 1;
        state.waiting.push_back((position, delivery));
        let falls_behind = self.is_crowded(&state) && state.behind_since.is_none();
        if state.behind_since.is_some() || falls_behind {
            let now = Instant::now();
            state.behind_since.get_or_insert(now);
            pushed.hold = self.held_until(&state, now).is_some();
        }
        let watcher = state.unread_watcher();
        drop(state);
        if was_empty || falls_behind {
            self.ready.notify_one();
        }
        if let Some(watcher) = watcher {
            watcher.something_waits();
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

    /// Puts something in before everything else, whatever the room: it has been out already. Positions have to begin high enough.
    pub(super) fn put_back(&self, delivery: Delivery) {
        let mut state = self.lock();
        let bytes = delivery.publication.bytes();
        self.charge(&mut state, bytes);
        let position = state.oldest().saturating_sub(1);
        state.waiting.push_front((position, delivery));
        drop(state);
        self.ready.notify_one();
    }

    /// Counts what is about to be put in.
    fn charge(&self, state: &mut State, bytes: usize) {
        state.bytes += bytes;
        self.of.bytes_in_all.fetch_add(bytes, Ordering::Relaxed);
    }

    fn pop(&self, state: &mut State) -> Option<(u64, Delivery)> {
        let (position, delivery) = state.waiting.pop_front()?;
        let bytes = delivery.publication.bytes();
        state.bytes -= bytes;
        self.of.bytes_in_all.fetch_sub(bytes, Ordering::Relaxed);
        Some((position, delivery))
    }

    /// Takes the next ones out with their positions, in order, until they have `most_bytes`. No more than `window` of them wait for an
    /// acknowledgement.
    pub(super) fn take(&self, most_bytes: usize, mut window: usize) -> Vec<(u64, Delivery)> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        let mut state = self.lock();
        while bytes < most_bytes
            && let Some((_, next)) = state.waiting.front()
        {
            if next.qos != QoS::AtMostOnce {
                let Some(rest) = window.checked_sub(1) else { break };
                window = rest;
            }
            let Some((position, delivery)) = self.pop(&mut state) else { break };
            bytes += delivery.publication.bytes();
            taken.push((position, delivery));
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

    /// Has `watcher` told what waits while nobody reads.
    pub(super) fn watch(&self, watcher: Weak<dyn Watcher>) {
        self.lock().watcher = Some(watcher);
    }

    /// Puts in what was stored, in order.
    pub(super) fn restore(&self, position: u64, delivery: Delivery) {
        let mut state = self.lock();
        let bytes = delivery.publication.bytes();
        self.charge(&mut state, bytes);
        state.next_position = state.next_position.max(position + 1);
        state.waiting.push_back((position, delivery));
    }

    /// Positions go on from here.
    pub(super) fn restore_position(&self, next: u64) {
        let mut state = self.lock();
        state.next_position = state.next_position.max(next);
    }

    /// Position of the oldest that waits, or of the next one.
    pub(super) fn oldest(&self) -> u64 {
        self.lock().oldest()
    }

    /// What waits from a position on, at most so much of it; without QoS 0, which is not stored.
    pub(super) fn waiting_from(
        &self,
        from: u64,
        max_messages: usize,
        max_bytes: usize,
        now: Instant,
    ) -> Waiting {
        let state = self.lock();
        let first = state.waiting.partition_point(|(position, _)| *position < from);
        let (mut messages, mut bytes, mut to) = (Vec::new(), 0, None);
        for (position, delivery) in state.waiting.range(first..) {
            if messages.len() >= max_messages || bytes > max_bytes {
                to = Some(*position);
                break;
            }
            bytes += delivery.publication.bytes();
            messages.extend(StoredMessage::of(delivery, *position, now));
        }
        let oldest = state.oldest();
        Waiting { oldest, to: to.unwrap_or(state.next_position), complete: to.is_none(), messages }
    }

    pub(super) fn is_read(&self) -> bool {
        self.lock().readers > 0
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
        std::iter::from_fn(|| self.pop(&mut state)).map(|(_, delivery)| delivery).collect()
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
        let watcher = state.unread_watcher();
        drop(state);
        if let Some(watcher) = watcher {
            watcher.something_waits();
        }
    }
}

#[cfg(test)]
mod tests;
