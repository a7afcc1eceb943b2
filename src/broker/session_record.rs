//! What the table of sessions has to be told. A session's record is changed by its connection and by publishers, and read by
//! whoever writes it down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::journal::{Entry, Journal, Place};
use super::outbox::{Outbox, Watcher};
use super::registry::ClientKey;
use super::session_log::{StoredMessage, StoredSubscription};
use super::stored_will::PendingWill;

/// What is kept of a session besides its messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Header {
    pub(super) owner: String,
    pub(super) keep: Duration,
    /// When a session without a connection ends.
    pub(super) ends: Option<Instant>,
    pub(super) subscriptions: Vec<StoredSubscription>,
    pub(super) received: Vec<u16>,
    pub(super) last_packet_id: u16,
    /// Of a client that is away.
    pub(super) will: Option<PendingWill>,
}

#[derive(Default)]
pub(super) struct RecordState {
    pub(super) header: Header,
    /// The table does not show the header as it is.
    pub(super) header_changed: bool,
    pub(super) gone: bool,
    pub(super) outbox: Option<Arc<Outbox>>,
    /// Sent and not acknowledged, of a session without a connection.
    pub(super) sent: Vec<StoredMessage>,
    /// Position of the oldest message that the client has not acknowledged.
    pub(super) oldest: u64,
    /// The table has no waiting message from this position on.
    pub(super) stored_to: u64,
}

pub(super) struct SessionRecord {
    pub(super) key: ClientKey,
    journal: Arc<Journal<Self>>,
    place: Place,
    /// The table has messages of it.
    has_messages: AtomicBool,
    state: Mutex<RecordState>,
}

impl SessionRecord {
    pub(super) fn lock(&self) -> MutexGuard<'_, RecordState> {
        // Fields are assigned whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it written down soon.
    pub(super) fn note(self: &Arc<Self>) {
        self.journal.note(self);
    }

    pub(super) fn set_has_messages(&self, has_messages: bool) {
        self.has_messages.store(has_messages, Ordering::Release);
    }
}

impl Entry for SessionRecord {
    fn place(&self) -> &Place {
        &self.place
    }
}

impl Watcher for SessionRecord {
    fn something_waits(self: Arc<Self>) {
        self.journal.note(&self);
    }
}

/// A session's hold on its record. When it is dropped the session has ended.
pub(super) struct RecordHandle(Arc<SessionRecord>);

impl RecordHandle {
    /// `None` when nobody writes sessions down.
    pub(super) fn new(journal: &Arc<Journal<SessionRecord>>, key: ClientKey) -> Option<Self> {
        if !journal.is_open() {
            return None;
        }
        Some(Self(Arc::new(SessionRecord {
            key,
            journal: journal.clone(),
            place: Place::default(),
            has_messages: AtomicBool::new(false),
            state: Mutex::default(),
        })))
    }

    /// As it was read from the table, up to this position.
    pub(super) fn restored(&self, header: Header, outbox: Arc<Outbox>, stored_to: u64) {
        self.0.journal.is_stored(&self.0);
        self.0.set_has_messages(stored_to > 0);
        let mut state = self.0.lock();
        *state = RecordState { header, outbox: Some(outbox), stored_to, ..RecordState::default() };
        drop(state);
        self.watch();
    }

    /// The client is connected, and this is its session now.
    pub(super) fn connected(&self, header: Header, outbox: Option<&Arc<Outbox>>) {
        let mut state = self.0.lock();
        state.header_changed |= state.header != header;
        state.header = header;
        state.outbox = outbox.cloned();
        state.sent.clear();
        let changed = state.header_changed;
        drop(state);
        if changed {
            self.0.note();
        }
        self.watch();
    }

    /// The client has gone, and its session waits for it.
    pub(super) fn parked(&self, header: Header, sent: Vec<StoredMessage>, oldest: u64) {
        let mut state = self.0.lock();
        state.header = header;
        state.header_changed = true;
        state.sent = sent;
        state.oldest = oldest;
        drop(state);
        self.0.note();
    }

    /// The will of a client that is away was published.
    pub(super) fn will_is_sent(&self) {
        let mut state = self.0.lock();
        state.header.will = None;
        state.header_changed = true;
        drop(state);
        self.0.note();
    }

    /// The client has everything before the message at this position.
    pub(super) fn acknowledged(&self, oldest: impl FnOnce() -> u64) {
        // Mostly the table has nothing of a client that is connected.
        if self.0.has_messages.load(Ordering::Acquire) {
            self.0.lock().oldest = oldest();
            self.0.note();
        }
    }

    /// From here on what is put into the outbox while nobody reads it is noted.
    fn watch(&self) {
        let watcher: Arc<dyn Watcher> = self.0.clone();
        if let Some(outbox) = &self.0.lock().outbox {
            outbox.watch(Arc::downgrade(&watcher));
        }
    }
}

impl Drop for RecordHandle {
    fn drop(&mut self) {
        *self.0.lock() = RecordState { gone: true, ..RecordState::default() };
        self.0.journal.end(&self.0);
    }
}
