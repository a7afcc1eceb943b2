use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

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

    pub(super) fn get(&self, tenant: TenantId, topic: &Arc<str>) -> Option<Arc<Publication>> {
        self.lock().messages.get(&(tenant, topic.clone())).cloned()
    }

    /// Topics with a retained message that match `filter`.
    pub(super) fn topics(&self, tenant: TenantId, filter: &Arc<str>) -> Vec<Arc<str>> {
        let inner = self.lock();
        if topic::is_literal(filter) {
            return inner
                .messages
                .contains_key(&(tenant, filter.clone()))
                .then(|| filter.clone())
                .into_iter()
                .collect();
        }
        // Everything before the first wildcard is a common prefix of all topics that can match.
        let prefix: Arc<str> =
            filter.split(['+', '#']).next().unwrap_or_default().trim_end_matches('/').into();
        inner
            .messages
            .range((Bound::Included((tenant, prefix.clone())), Bound::Unbounded))
            .map(|((of, topic), _)| (of, topic))
            .take_while(|(of, topic)| **of == tenant && topic.starts_with(&*prefix))
            .filter(|(_, topic)| topic::matches(topic, filter))
            .map(|(_, topic)| topic.clone())
            .collect()
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
        store.topics(TenantId(tenant), &filter.into()).iter().map(|t| t.to_string()).collect()
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
