//! What the table of group messages has to be told: what waits in a shared subscription while all of its members are away. Once
//! a member has taken a message it is that member's, and the group's no more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::journal::{Entry, Journal, Place};
use super::outbox::{Outbox, Watcher};
use super::shared::GroupKey;

/// Messages that come back go before the oldest, so there has to be room below the first position.
const FIRST_POSITION: u64 = 1 << 32;

#[derive(Default)]
pub(super) struct GroupState {
    /// `None` when the group has ended.
    pub(super) outbox: Option<Arc<Outbox>>,
    /// The table has what waits below this position.
    pub(super) stored_to: u64,
    /// The table may have messages below this position.
    pub(super) rows_to: u64,
    /// How often something came back: then the table has not what waits before it.
    pub(super) returns: u64,
}

pub(super) struct GroupRecord {
    pub(super) key: GroupKey,
    journal: Arc<Journal<Self>>,
    place: Place,
    /// The table has messages of it.
    has_messages: AtomicBool,
    state: Mutex<GroupState>,
}

impl Entry for GroupRecord {
    fn place(&self) -> &Place {
        &self.place
    }
}

impl Watcher for GroupRecord {
    fn something_waits(self: Arc<Self>) {
        self.journal.note(&self);
    }
}

impl GroupRecord {
    pub(super) fn lock(&self) -> MutexGuard<'_, GroupState> {
        // Fields are assigned whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is more to write down.
    pub(super) fn note(self: &Arc<Self>) {
        self.journal.note(self);
    }

    /// What waits from `oldest` on is about to be all that the table has, below `rows_to`.
    pub(super) fn note_rows(&self, state: &mut GroupState, oldest: u64, rows_to: u64) {
        state.rows_to = state.rows_to.max(rows_to);
        self.has_messages.store(oldest < state.rows_to, Ordering::Release);
    }

    /// The table is not believed to have any of it.
    pub(super) fn write_anew(self: &Arc<Self>) {
        let mut state = self.lock();
        state.stored_to = 0;
        state.returns += 1;
        drop(state);
        self.note();
    }
}

/// A group's hold on its record. When it is dropped the group has ended.
pub(super) struct GroupHandle(Arc<GroupRecord>);

impl GroupHandle {
    /// `None` when nobody writes groups down.
    pub(super) fn new(
        journal: &Arc<Journal<GroupRecord>>,
        key: GroupKey,
        outbox: &Arc<Outbox>,
    ) -> Option<Self> {
        outbox.restore_position(FIRST_POSITION);
        if !journal.is_open() {
            return None;
        }
        let state = GroupState { outbox: Some(outbox.clone()), ..GroupState::default() };
        let record: Arc<GroupRecord> = Arc::new(GroupRecord {
            key,
            journal: journal.clone(),
            place: Place::default(),
            has_messages: AtomicBool::new(false),
            state: Mutex::new(state),
        });
        let watcher: Arc<dyn Watcher> = record.clone();
        outbox.watch(Arc::downgrade(&watcher));
        Some(Self(record))
    }

    /// A message was read from the table.
    pub(super) fn restored(&self, position: u64) {
        self.0.journal.is_stored(&self.0);
        let mut state = self.0.lock();
        state.stored_to = state.stored_to.max(position + 1);
        let stored_to = state.stored_to;
        self.0.note_rows(&mut state, 0, stored_to);
    }

    /// A member took a message.
    pub(super) fn taken(&self) {
        // Mostly the table has nothing of a group with members that are here.
        if self.0.has_messages.load(Ordering::Acquire) {
            self.0.note();
        }
    }

    /// A message came back, because the session of a member ended; or a group of this name ended after this one had begun.
    pub(super) fn write_anew(&self) {
        self.0.write_anew();
    }
}

impl Drop for GroupHandle {
    fn drop(&mut self) {
        self.0.lock().outbox = None;
        self.0.journal.end(&self.0);
    }
}
