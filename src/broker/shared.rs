//! Shared subscriptions (MQTT 5, 4.8.2): one outbox for each group. Members with room wait for the next message in a queue, so
//! each gets its turn; one that does not acknowledge, or does not read, does not wait, and holds nobody up.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;

use rumqttd::protocol::QoS;

use crate::domain::TenantId;

use super::Hub;
use super::codec;
use super::group_record::{GroupHandle, GroupRecord};
use super::journal::Journal;
use super::outbox::{Delivery, Outbox, Reader};
use super::publication::Publication;
use super::session_log::StoredMessage;
use super::subscription_index::{IndexedSubscription, Options, Subscriber};
use super::topic::TopicFilter;

/// All that is published, as it was published: each member has its own options.
const EVERYTHING: Options =
    Options { qos: QoS::ExactlyOnce, no_local: false, retain_as_published: true, identifier: None };

/// A group belongs to its tenant; the same name with another filter is another group (MQTT 5, 4.8.2).
pub(super) type GroupKey = (TenantId, Arc<str>, Arc<str>);

/// Groups that have members, connected or not.
#[derive(Default)]
pub(super) struct SharedGroups {
    groups: Mutex<HashMap<GroupKey, Weak<SharedGroup>>>,
    journal: Arc<Journal<GroupRecord>>,
}

impl SharedGroups {
    fn lock(&self) -> MutexGuard<'_, HashMap<GroupKey, Weak<SharedGroup>>> {
        // Entries are inserted and removed whole.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group of a shared filter, which hears what is published from now on. `None` when there are too many subscriptions.
    pub(super) fn join(
        self: &Arc<Self>,
        hub: &Hub,
        tenant: TenantId,
        name: &Arc<str>,
        filter: &TopicFilter,
    ) -> Option<Arc<SharedGroup>> {
        let key = (tenant, name.clone(), filter.plain.clone());
        let mut groups = self.lock();
        if let Some(group) = groups.get(&key).and_then(Weak::upgrade) {
            return Some(group);
        }
        let outbox = hub.outboxes.open();
        let subscriber = Subscriber { outbox: outbox.clone(), client: "".into() };
        let indexed = hub.subscriptions.add(tenant, filter.plain.clone(), subscriber, EVERYTHING)?;
        let group = Arc::new(SharedGroup {
            key: key.clone(),
            _indexed: indexed,
            record: GroupHandle::new(&self.journal, key.clone(), &outbox),
            outbox,
            turn: tokio::sync::Mutex::new(()),
            groups: self.clone(),
        });
        groups.insert(key, Arc::downgrade(&group));
        Some(group)
    }

    /// Puts in what was stored, in order. False when the group has no members.
    pub(super) fn restore(&self, key: &GroupKey, message: StoredMessage) -> bool {
        let Some(group) = self.lock().get(key).and_then(Weak::upgrade) else { return false };
        let position = message.position;
        group.outbox.restore(position, message.into_delivery(key.0));
        if let Some(record) = &group.record {
            record.restored(position);
        }
        true
    }

    /// The table is about to lose what it has of a group of this name.
    pub(super) fn write_anew(&self, key: &GroupKey) {
        let group = self.lock().get(key).and_then(Weak::upgrade);
        if let Some(record) = group.as_ref().and_then(|group| group.record.as_ref()) {
            record.write_anew();
        }
    }

    /// What is to be written down of groups.
    pub(super) fn journal(&self) -> Arc<Journal<GroupRecord>> {
        self.journal.clone()
    }
}

/// Those who share what is published on one filter.
pub(super) struct SharedGroup {
    key: GroupKey,
    _indexed: IndexedSubscription,
    outbox: Arc<Outbox>,
    /// When groups are stored.
    record: Option<GroupHandle>,
    /// Whoever holds it gets the next message; the others wait in the order in which they came.
    turn: tokio::sync::Mutex<()>,
    groups: Arc<SharedGroups>,
}

impl fmt::Debug for SharedGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedGroup").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Drop for SharedGroup {
    fn drop(&mut self) {
        let mut groups = self.groups.lock();
        // Somebody may have made it anew meanwhile.
        if groups.get(&self.key).is_some_and(|group| group.strong_count() == 0) {
            groups.remove(&self.key);
        }
    }
}

impl SharedGroup {
    /// Takes a message back that its member will not have.
    fn give_back(&self, publication: Arc<Publication>) {
        let qos = publication.qos;
        self.outbox.put_back(Delivery {
            publication,
            qos,
            retain: false,
            identifiers: Vec::new(),
            share: None,
        });
        if let Some(record) = &self.record {
            record.write_anew();
        }
    }

    /// The next message for the member that asks. Cancel-safe.
    async fn next(&self) -> Arc<Publication> {
        let _turn = self.turn.lock().await;
        loop {
            if let Some((_, next)) = self.outbox.take(1, 1).pop() {
                if let Some(record) = &self.record {
                    record.taken();
                }
                return next.publication;
            }
            self.outbox.ready().await;
        }
    }
}

/// A session's part in a group.
#[derive(Debug)]
pub(super) struct SharedSubscription {
    pub(super) filter: TopicFilter,
    group: Arc<SharedGroup>,
    /// While the client is connected.
    reader: Option<Reader>,
    pub(super) options: Options,
}

impl SharedSubscription {
    /// Of a client that is away.
    pub(super) fn new(filter: TopicFilter, group: Arc<SharedGroup>, options: Options) -> Self {
        Self { filter, group, reader: None, options }
    }

    pub(super) fn set_connected(&mut self, connected: bool) {
        self.reader = connected.then(|| self.group.outbox.read());
    }

    fn delivery(&self, publication: Arc<Publication>) -> Delivery {
        Delivery {
            qos: codec::lower(publication.qos, self.options.qos),
            retain: publication.retain && self.options.retain_as_published,
            identifiers: self.options.identifier.into_iter().collect(),
            share: Some(Share(Arc::downgrade(&self.group))),
            publication,
        }
    }
}

/// Where a delivery goes back to when its session ends before the client has it.
#[derive(Clone, Debug)]
pub(super) struct Share(Weak<SharedGroup>);

impl Share {
    pub(super) fn give_back(&self, publication: Arc<Publication>) {
        if let Some(group) = self.0.upgrade() {
            group.give_back(publication);
        }
    }
}

/// The next message of any of a session's groups. Cancel-safe.
pub(super) async fn next_shared(shared: &[SharedSubscription]) -> Delivery {
    let mut waiting: Vec<Pin<Box<dyn Future<Output = Arc<Publication>> + Send + '_>>> =
        shared.iter().map(|subscription| Box::pin(subscription.group.next()) as _).collect();
    poll_fn(|context| {
        for (subscription, next) in shared.iter().zip(&mut waiting) {
            if let Poll::Ready(publication) = next.as_mut().poll(context) {
                return Poll::Ready(subscription.delivery(publication));
            }
        }
        Poll::Pending
    })
    .await
}
