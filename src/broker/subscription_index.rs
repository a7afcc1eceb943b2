//! Who subscribes to what now. Usage comes at tens of thousands of messages a second and mostly nobody listens: a message is
//! made for others only when this index finds it a taker.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rumqttd::protocol::QoS;

use crate::domain::TenantId;

use super::outbox::Outbox;

/// What a subscription asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) qos: QoS,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) identifier: Option<usize>,
}

/// Who subscribes: a session, or a group of a shared subscription.
#[derive(Clone, Debug)]
pub(super) struct Subscriber {
    pub(super) outbox: Arc<Outbox>,
    /// Client identifier, for No Local; empty for a group.
    pub(super) client: Arc<str>,
}

/// Who gets a publication, and how.
#[derive(Debug)]
pub(super) struct Taker {
    pub(super) outbox: Arc<Outbox>,
    /// At most.
    pub(super) qos: QoS,
    pub(super) retain_as_published: bool,
    pub(super) identifiers: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct SubscriptionIndex {
    max: usize,
    /// Subscriptions; lets a publisher skip the lock when there are none.
    count: AtomicUsize,
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tenants: HashMap<TenantId, Node>,
    last_number: u64,
}

#[derive(Debug)]
struct Entry {
    /// Grows with every subscription, so it tells which one is older.
    number: u64,
    subscriber: Subscriber,
    options: Options,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Node>,
    /// Those whose filter ends here.
    entries: Vec<Entry>,
}

impl Node {
    fn is_unused(&self) -> bool {
        self.entries.is_empty() && self.children.is_empty()
    }

    fn get(&mut self, filter: &str) -> Option<&mut Node> {
        filter.split('/').try_fold(self, |node, level| node.children.get_mut(level))
    }

    /// Recursion is bounded: filters are accepted only up to `max_topic_levels`.
    fn remove(&mut self, mut levels: std::str::Split<'_, char>, number: u64) {
        let Some(level) = levels.next() else {
            if let Some(at) = self.entries.iter().position(|entry| entry.number == number) {
                self.entries.swap_remove(at);
            }
            return;
        };
        let Some(child) = self.children.get_mut(level) else { return };
        child.remove(levels, number);
        if child.is_unused() {
            self.children.remove(level);
        }
    }

    fn collect<'n>(
        &'n self,
        mut levels: std::str::Split<'_, char>,
        dollar: bool,
        found: &mut Vec<&'n Entry>,
    ) {
        if let Some(rest) = self.children.get("#").filter(|_| !dollar) {
            found.extend(&rest.entries);
        }
        let Some(level) = levels.next() else {
            found.extend(&self.entries);
            return;
        };
        if let Some(child) = self.children.get(level) {
            child.collect(levels.clone(), false, found);
        }
        if let Some(child) = self.children.get("+").filter(|_| !dollar) {
            child.collect(levels, false, found);
        }
    }
}

/// A subscription in the index; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct IndexedSubscription {
    index: Arc<SubscriptionIndex>,
    tenant: TenantId,
    filter: Arc<str>,
    number: u64,
}

impl IndexedSubscription {
    /// It goes on with other options, without a gap.
    pub(super) fn change(&self, options: Options) {
        let mut inner = self.index.inner.write().unwrap_or_else(PoisonError::into_inner);
        let node = inner.tenants.get_mut(&self.tenant).and_then(|root| root.get(&self.filter));
        let entry = node.and_then(|node| node.entries.iter_mut().find(|entry| entry.number == self.number));
        if let Some(entry) = entry {
            entry.options = options;
        }
    }
}

impl Drop for IndexedSubscription {
    fn drop(&mut self) {
        let mut inner = self.index.inner.write().unwrap_or_else(PoisonError::into_inner);
        let Some(root) = inner.tenants.get_mut(&self.tenant) else { return };
        root.remove(self.filter.split('/'), self.number);
        if root.is_unused() {
            inner.tenants.remove(&self.tenant);
        }
        self.index.count.fetch_sub(1, Ordering::Release);
    }
}

impl SubscriptionIndex {
    /// For at most `max` subscriptions.
    pub(super) fn new(max: usize) -> Self {
        Self { max, count: AtomicUsize::new(0), inner: RwLock::default() }
    }

    /// Adds a subscription of a filter without a group. `None` when there are too many.
    pub(super) fn add(
        self: &Arc<Self>,
        tenant: TenantId,
        filter: Arc<str>,
        subscriber: Subscriber,
        options: Options,
    ) -> Option<IndexedSubscription> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if self.count.load(Ordering::Acquire) >= self.max {
            return None;
        }
        self.count.fetch_add(1, Ordering::Release);
        inner.last_number += 1;
        let number = inner.last_number;
        let mut node = inner.tenants.entry(tenant).or_default();
        for level in filter.split('/') {
            node = node.children.entry(level.into()).or_default();
        }
        node.entries.push(Entry { number, subscriber, options });
        Some(IndexedSubscription { index: self.clone(), tenant, filter, number })
    }

    /// Whether nothing is left of any subscription.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).tenants.is_empty()
    }

    /// Tenants with a filter whose first level is `level`, wildcards not counted.
    pub(super) fn tenants_below(&self, level: &str) -> Vec<TenantId> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let below = inner.tenants.iter().filter(|(_, root)| root.children.contains_key(level));
        below.map(|(tenant, _)| *tenant).collect()
    }

    /// Who gets what `publisher` publishes on `topic`. Overlapping subscriptions of a client give one delivery with the highest
    /// QoS and the identifiers of all, the oldest first (MQTT 5, 3.3.4).
    pub(super) fn takers(&self, tenant: TenantId, topic: &str, publisher: &str) -> Vec<Taker> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        if let Some(root) = inner.tenants.get(&tenant) {
            root.collect(topic.split('/'), topic.starts_with('$'), &mut found);
        }
        found.retain(|entry| {
            !(entry.options.no_local && !publisher.is_empty() && *entry.subscriber.client == *publisher)
        });
        if found.len() > 1 {
            found.sort_unstable_by_key(|entry| (Arc::as_ptr(&entry.subscriber.outbox), entry.number));
        }
        let mut takers: Vec<Taker> = Vec::with_capacity(found.len());
        for Entry { subscriber, options, .. } in found {
            match takers.last_mut().filter(|last| Arc::ptr_eq(&last.outbox, &subscriber.outbox)) {
                Some(taker) => {
                    if options.qos as u8 > taker.qos as u8 {
                        taker.qos = options.qos;
                    }
                    taker.retain_as_published |= options.retain_as_published;
                    taker.identifiers.extend(options.identifier);
                }
                None => takers.push(Taker {
                    outbox: subscriber.outbox.clone(),
                    qos: options.qos,
                    retain_as_published: options.retain_as_published,
                    identifiers: options.identifier.into_iter().collect(),
                }),
            }
        }
        takers
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::outbox::{OutboxLimits, Outboxes};
    use super::super::topic;
    use super::*;

    const TENANT: TenantId = TenantId(1);
    const PLAIN: Options =
        Options { qos: QoS::AtMostOnce, no_local: false, retain_as_published: false, identifier: None };

    fn subscriber(client: &str) -> Subscriber {
        let (max_messages, max_bytes, max_bytes_in_all, patience) = (1, 1, 1, Duration::ZERO);
        let limits = OutboxLimits { max_messages, max_bytes, max_bytes_in_all, patience };
        Subscriber { outbox: Arc::new(Outboxes::new(limits)).open(), client: client.into() }
    }

    #[test]
    fn the_index_finds_what_the_standard_says() {
        let filters = ["#", "+", "a", "a/#", "a/+", "a/b", "+/b", "/", "/+", "a/+/c", "$x/#", "é/#"];
        let index = Arc::new(SubscriptionIndex::new(100));
        let add = |(n, filter): (usize, &&str)| {
            let options = Options { identifier: Some(n), ..PLAIN };
            index.add(TENANT, (*filter).into(), subscriber("s"), options).unwrap()
        };
        let held: Vec<_> = filters.iter().enumerate().map(add).collect();
        for name in ["a", "a/b", "a/b/c", "/", "/a", "b", "$x/y", "$x", "é/x", "a//c"] {
            let takers = index.takers(TENANT, name, "");
            let mut found: Vec<usize> = takers.iter().flat_map(|taker| taker.identifiers.clone()).collect();
            found.sort_unstable();
            let wanted = (0..filters.len()).filter(|n| topic::matches(name, filters[*n]));
            assert_eq!(found, wanted.collect::<Vec<_>>(), "{name}");
        }
        assert!(index.takers(TenantId(2), "a", "").is_empty());
        drop(held);
        assert!(index.is_empty() && index.takers(TENANT, "a", "").is_empty());
    }

    #[test]
    fn overlapping_subscriptions_of_a_client_are_one_delivery() {
        let index = Arc::new(SubscriptionIndex::new(3));
        let me = subscriber("me");
        let add = |filter: &str, qos, identifier| {
            let options = Options { qos, identifier: Some(identifier), ..PLAIN };
            index.add(TENANT, filter.into(), me.clone(), options)
        };
        let _wide = add("#", QoS::AtMostOnce, 7).unwrap();
        let narrow = add("a/b", QoS::ExactlyOnce, 3).unwrap();
        let _plus = add("a/+", QoS::AtLeastOnce, 5).unwrap();
        assert!(add("c", QoS::AtMostOnce, 1).is_none(), "there are too many");
        let takers = index.takers(TENANT, "a/b", "me");
        assert_eq!(takers.len(), 1);
        assert_eq!((takers[0].qos, &takers[0].identifiers[..]), (QoS::ExactlyOnce, &[7, 3, 5][..]));
        narrow.change(Options { no_local: true, retain_as_published: true, identifier: None, ..PLAIN });
        let takers = index.takers(TENANT, "a/b", "other");
        assert_eq!((takers[0].qos, &takers[0].identifiers[..]), (QoS::AtLeastOnce, &[7, 5][..]));
        assert!(takers[0].retain_as_published);
        assert!(!index.takers(TENANT, "a/b", "me")[0].retain_as_published, "not from itself");
    }
}
