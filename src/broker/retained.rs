use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rumqttd::protocol::QoS;

use crate::domain::TenantId;

use super::publication::Publication;
use super::topic;

/// The last retained message of each topic, bounded in number and bytes.
pub(super) struct RetainedStore {
    inner: Mutex<Inner>,
    max_messages: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct Inner {
    /// By tenant and topic, so that one subscription looks at one tenant's topics only.
    messages: BTreeMap<TopicKey, Kept>,
    bytes: usize,
    /// Topics that the table does not show as they are. Those that it has never shown leave without a trace, so there are never
    /// more than what is held and what the table holds.
    changed: BTreeSet<TopicKey>,
}

type TopicKey = (TenantId, Arc<str>);

struct Kept {
    message: Arc<Publication>,
    /// The table has, or may have, a row for the topic.
    stored: bool,
}

/// What the table has to be told about a topic; `None` when nothing is retained there any more.
pub(super) struct Change {
    pub(super) key: TopicKey,
    pub(super) message: Option<Arc<Publication>>,
}

impl Inner {
    /// True when a row of the table is out of date with it.
    fn remove(&mut self, key: &TopicKey) -> bool {
        let Some(old) = self.messages.remove(key) else { return false };
        self.bytes -= old.message.bytes();
        if old.stored {
            self.changed.insert(key.clone())
        } else {
            self.changed.remove(key)
        };
        old.stored
    }
}

/// A new subscription on its way through the retained messages.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) filter: Arc<str>,
    /// Topic of the message that was given last. A position, because a list could be as long as the store.
    pub(super) after: Option<Arc<str>>,
    pub(super) qos: QoS,
    pub(super) identifier: Option<usize>,
}

impl RetainedStore {
    pub(super) fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self { inner: Mutex::default(), max_messages, max_bytes }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // The counters and the map change together in code that cannot panic in between.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps, replaces or (with an empty payload) forgets the topic's message. False when there is no room for it.
    pub(super) fn retain(&self, publication: &Arc<Publication>) -> bool {
        let mut inner = self.lock();
        let key = (publication.tenant, publication.topic.clone());
        // A row that waits to be deleted is still there.
        let stored = inner.remove(&key) || inner.changed.contains(&key);
        if publication.payload.is_empty() {
            return true;
        }
        let bytes = publication.bytes();
        if inner.messages.len() >= self.max_messages || inner.bytes + bytes > self.max_bytes {
            return false;
        }
        inner.bytes += bytes;
        // What the program itself retains it retains anew when it starts, if it still holds then.
        if stored || !publication.publisher.is_empty() {
            inner.changed.insert(key.clone());
        }
        inner.messages.insert(key, Kept { message: publication.clone(), stored });
        true
    }

    /// Takes over what the table holds, before there are clients. False when there is no room.
    pub(super) fn restore(&self, publication: &Arc<Publication>) -> bool {
        let key = (publication.tenant, publication.topic.clone());
        let kept = self.retain(publication);
        let mut inner = self.lock();
        if let Some(held) = inner.messages.get_mut(&key) {
            held.stored = true;
        }
        kept
    }

    /// Topics that changed, at most `limit`: the caller tells the table, or gives them back.
    pub(super) fn take_changes(&self, limit: usize) -> Vec<Change> {
        let mut inner = self.lock();
        let mut changes = Vec::new();
        while changes.len() < limit
            && let Some(key) = inner.changed.pop_first()
        {
            let message = inner.messages.get_mut(&key).map(|held| {
                held.stored = true;
                held.message.clone()
            });
            changes.push(Change { key, message });
        }
        changes
    }

    pub(super) fn give_back(&self, changes: Vec<Change>) {
        self.lock().changed.extend(changes.into_iter().map(|change| change.key));
    }

    /// The next message in a turn.
    pub(super) fn next(&self, tenant: TenantId, turn: &Turn) -> Option<Arc<Publication>> {
        let inner = self.lock();
        if topic::is_literal(&turn.filter) {
            return inner
                .messages
                .get(&(tenant, turn.filter.clone()))
                .filter(|_| turn.after.is_none())
                .map(|held| held.message.clone());
        }
        // Everything before the first wildcard is a common prefix of all topics that can match.
        let prefix: Arc<str> =
            turn.filter.split(['+', '#']).next().unwrap_or_default().trim_end_matches('/').into();
        let from = match &turn.after {
            Some(after) => Bound::Excluded((tenant, after.clone())),
            None => Bound::Included((tenant, prefix.clone())),
        };
        inner
            .messages
            .range((from, Bound::Unbounded))
            .take_while(|((of, topic), _)| *of == tenant && topic.starts_with(&*prefix))
            .find(|((_, topic), _)| topic::matches(topic, &turn.filter))
            .map(|(_, held)| held.message.clone())
    }

    /// Forgets what has expired.
    pub(super) fn remove_expired(&self, now: Instant) {
        let mut inner = self.lock();
        let over = inner.messages.iter().filter(|(_, held)| held.message.remaining_expiry(now).is_none());
        let over: Vec<TopicKey> = over.map(|(key, _)| key.clone()).collect();
        for key in &over {
            inner.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use rumqttd::protocol::PublishProperties;

    use super::*;

    fn publication(tenant: i32, topic: &str, payload: &'static str) -> Arc<Publication> {
        let payload = Bytes::from_static(payload.as_bytes());
        Arc::new(Publication::new(TenantId(tenant), topic.into(), payload, None, Instant::now()))
    }

    fn topics(store: &RetainedStore, tenant: i32, filter: &str) -> Vec<String> {
        let mut turn = Turn { filter: filter.into(), after: None, qos: QoS::AtMostOnce, identifier: None };
        let mut found = Vec::new();
        while let Some(message) = store.next(TenantId(tenant), &turn) {
            found.push(message.topic.to_string());
            turn.after = Some(message.topic.clone());
        }
        found
    }

    #[test]
    fn a_filter_finds_its_topics_of_its_tenant_only() {
        let store = RetainedStore::new(10, 10_000);
        for topic in ["a", "a/b", "a/c", "ab/c", "b", "é/x"] {
            assert!(store.retain(&publication(1, topic, "x")));
        }
        store.retain(&publication(2, "a/z", "x"));
        assert_eq!(topics(&store, 1, "a/#"), ["a", "a/b", "a/c"]);
        assert_eq!(topics(&store, 1, "a/+"), ["a/b", "a/c"]);
        assert_eq!(topics(&store, 1, "+/c"), ["a/c", "ab/c"]);
        assert_eq!(topics(&store, 1, "é/x"), ["é/x"]);
        assert_eq!(topics(&store, 2, "#"), ["a/z"]);
    }

    #[test]
    fn an_empty_payload_forgets_and_the_store_is_bounded() {
        let store = RetainedStore::new(2, 10_000);
        assert!(store.retain(&publication(1, "a", "x")) && store.retain(&publication(1, "b", "x")));
        assert!(!store.retain(&publication(1, "c", "x")), "no third topic");
        assert!(store.retain(&publication(1, "a", "y")), "an existing topic is replaced");
        assert!(store.retain(&publication(1, "b", "")));
        assert!(store.retain(&publication(1, "c", "x")));
        assert_eq!(topics(&store, 1, "#"), ["a", "c"]);
        let tiny = RetainedStore::new(10, 300);
        assert!(tiny.retain(&publication(1, "a", "x")) && !tiny.retain(&publication(1, "b", "x")));
    }

    #[test]
    fn expired_messages_are_forgotten() {
        let now = Instant::now();
        let store = RetainedStore::new(2, 10_000);
        let properties = PublishProperties { message_expiry_interval: Some(1), ..Default::default() };
        let short =
            Publication::new(TenantId(1), "a".into(), Bytes::from_static(b"x"), Some(properties), now);
        store.retain(&Arc::new(short));
        store.remove_expired(now);
        assert_eq!(topics(&store, 1, "#"), ["a"]);
        store.remove_expired(now + Duration::from_secs(2));
        assert_eq!(topics(&store, 1, "#"), [""; 0]);
    }
}
