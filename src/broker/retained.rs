use std::collections::BTreeMap;
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
    messages: BTreeMap<(TenantId, Arc<str>), Arc<Publication>>,
    bytes: usize,
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
        if let Some(old) = inner.messages.remove(&key) {
            inner.bytes -= old.bytes();
        }
        if publication.payload.is_empty() {
            return true;
        }
        let bytes = publication.bytes();
        if inner.messages.len() >= self.max_messages || inner.bytes + bytes > self.max_bytes {
            return false;
        }
        inner.bytes += bytes;
        inner.messages.insert(key, publication.clone());
        true
    }

    /// The next message in a turn.
    pub(super) fn next(&self, tenant: TenantId, turn: &Turn) -> Option<Arc<Publication>> {
        let inner = self.lock();
        if topic::is_literal(&turn.filter) {
            return inner
                .messages
                .get(&(tenant, turn.filter.clone()))
                .filter(|_| turn.after.is_none())
                .cloned();
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
            .map(|(_, message)| message.clone())
    }

    /// Forgets what has expired.
    pub(super) fn remove_expired(&self, now: Instant) {
        let mut inner = self.lock();
        let mut freed = 0;
        inner.messages.retain(|_, message| {
            let keep = message.remaining_expiry(now).is_some();
            freed += if keep { 0 } else { message.bytes() };
            keep
        });
        inner.bytes -= freed;
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
