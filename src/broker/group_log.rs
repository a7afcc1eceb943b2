//! Messages of shared subscriptions as they are stored: what the broker tells a table, and what it is told by one at its start.

use std::sync::Arc;
use std::time::Instant;

use crate::domain::TenantId;

use super::Hub;
use super::group_record::GroupRecord;
use super::journal::Journal;
use super::registry::Registry;
use super::session_log::{BYTES_AT_ONCE, MESSAGES_AT_ONCE, StoredMessage};
use super::shared::{GroupKey, SharedGroups};

/// A group of a shared subscription without the broker's own types.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredGroup {
    pub tenant: TenantId,
    /// `{name}` and `{filter}` of `$share/{name}/{filter}`.
    pub name: String,
    pub filter: String,
}

impl StoredGroup {
    fn of((tenant, name, filter): &GroupKey) -> Self {
        Self { tenant: *tenant, name: name.to_string(), filter: filter.to_string() }
    }

    fn key(&self) -> GroupKey {
        (self.tenant, self.name.as_str().into(), self.filter.as_str().into())
    }
}

/// What changed of what waits for one group.
pub struct GroupChange {
    pub group: StoredGroup,
    /// Older messages do not wait any more.
    pub oldest: u64,
    pub messages: Vec<StoredMessage>,
    record: Arc<GroupRecord>,
    stored_to: u64,
    returns: u64,
}

/// What changed since it was asked last. What is gone went before what changed.
#[derive(Default)]
pub struct GroupChanges {
    pub changed: Vec<GroupChange>,
    pub gone: Vec<StoredGroup>,
    gone_records: Vec<Arc<GroupRecord>>,
}

impl GroupChanges {
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.gone.is_empty()
    }
}

/// The groups of a broker. It outlives the broker, so that the last changes can be stored after it has ended.
#[derive(Clone)]
pub struct GroupLog {
    journal: Arc<Journal<GroupRecord>>,
    groups: Arc<SharedGroups>,
    /// A group ends with the sessions of its members, and what waits for it is gone then.
    _sessions: Arc<Registry>,
}

impl GroupLog {
    pub(super) fn new(hub: &Hub) -> Self {
        let journal = hub.shared.journal();
        journal.open();
        Self { journal, groups: hub.shared.clone(), _sessions: hub.registry.clone() }
    }

    /// At most `limit` groups that changed. The caller stores them and says so, or gives them back.
    pub fn take(&self, limit: usize) -> GroupChanges {
        let mut taken = GroupChanges::default();
        for _ in 0..limit {
            let Some(record) = self.journal.next() else { break };
            match change(&record) {
                Some(change) => taken.changed.push(change),
                None => {
                    // The next group of that name may have begun before this one had quite ended.
                    self.groups.write_anew(&record.key);
                    taken.gone.push(StoredGroup::of(&record.key));
                    taken.gone_records.push(record);
                }
            }
        }
        taken
    }

    /// The table shows it.
    pub fn stored(&self, changes: GroupChanges) {
        for change in changes.changed {
            let mut state = change.record.lock();
            if state.returns == change.returns {
                state.stored_to = change.stored_to;
            }
        }
    }

    pub fn give_back(&self, changes: GroupChanges) {
        let changed = changes.changed.into_iter().map(|change| change.record);
        self.journal.give_back(changes.gone_records.into_iter().chain(changed).collect());
    }
}

/// `None` when the group has ended.
fn change(record: &Arc<GroupRecord>) -> Option<GroupChange> {
    let mut state = record.lock();
    let outbox = state.outbox.clone()?;
    let mut change = GroupChange {
        group: StoredGroup::of(&record.key),
        oldest: outbox.oldest(),
        messages: Vec::new(),
        record: record.clone(),
        stored_to: state.stored_to,
        returns: state.returns,
    };
    let mut complete = true;
    // While somebody is here it is not written down for each message.
    if !outbox.is_read() {
        let waiting = outbox.waiting_from(state.stored_to, MESSAGES_AT_ONCE, BYTES_AT_ONCE, Instant::now());
        (change.oldest, change.stored_to, complete) = (waiting.oldest, waiting.to, waiting.complete);
        change.messages = waiting.messages;
    }
    record.note_rows(&mut state, change.oldest, change.stored_to);
    drop(state);
    if !complete {
        record.note();
    }
    Some(change)
}

/// Gives a broker without clients back what waited for groups. The sessions of their members are there already.
#[derive(Clone)]
pub struct GroupRestore(Arc<SharedGroups>);

impl GroupRestore {
    pub(super) fn new(hub: &Hub) -> Self {
        Self(hub.shared.clone())
    }

    /// Takes over the next message of a group, in order. False when nobody is in the group any more.
    pub fn restore(&self, group: &StoredGroup, message: StoredMessage) -> bool {
        self.0.restore(&group.key(), message)
    }
}
