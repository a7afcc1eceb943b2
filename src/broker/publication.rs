use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rumqttd::protocol::{PublishProperties, QoS};

use crate::domain::TenantId;

/// A message from one client to others. Tenants do not see each other: every topic belongs to one tenant.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    pub(super) tenant: TenantId,
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// Without topic alias, subscription identifiers and message expiry, which are the connection's or stand below.
    pub(super) properties: Option<Box<PublishProperties>>,
    pub(super) expiry: Option<Expiry>,
    /// Client identifier, for No Local; empty for the broker's own publications.
    pub(super) publisher: Arc<str>,
}

/// Message expiry interval and when it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiry {
    pub(super) seconds: u32,
    pub(super) since: Instant,
}

impl Publication {
    /// Takes the properties that are not passed on as they are out of `properties`.
    pub(super) fn new(
        tenant: TenantId,
        topic: Arc<str>,
        payload: Bytes,
        properties: Option<PublishProperties>,
        now: Instant,
    ) -> Self {
        let mut properties = properties.unwrap_or_default();
        let expiry = properties.message_expiry_interval.take().map(|seconds| Expiry { seconds, since: now });
        properties.topic_alias = None;
        properties.subscription_identifiers.clear();
        let properties = (properties != PublishProperties::default()).then(|| Box::new(properties));
        Self {
            tenant,
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            properties,
            expiry,
            publisher: "".into(),
        }
    }

    /// Copies what the properties borrow from the read buffer, which they would keep in memory.
    pub(super) fn own_properties(&mut self) {
        if let Some(data) =
            self.properties.as_mut().and_then(|properties| properties.correlation_data.as_mut())
        {
            *data = Bytes::copy_from_slice(data);
        }
    }

    /// `Some(None)` without an expiry, `Some(Some(rest))` before it and `None` after it.
    pub(super) fn remaining_expiry(&self, now: Instant) -> Option<Option<u32>> {
        let Some(expiry) = self.expiry else { return Some(None) };
        let waited = now.saturating_duration_since(expiry.since).as_secs();
        let rest = u64::from(expiry.seconds).checked_sub(waited).filter(|rest| *rest > 0)?;
        // It fits: it is at most the interval itself.
        Some(Some(rest as u32))
    }

    /// Memory that a copy in a queue is charged with.
    pub(super) fn bytes(&self) -> usize {
        256 + self.topic.len() + self.payload.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_expiry_that_is_passed_on_has_shrunk_by_the_wait() {
        let now = Instant::now();
        let properties = PublishProperties { message_expiry_interval: Some(5), ..Default::default() };
        let publication = Publication::new(TenantId(1), "t".into(), Bytes::new(), Some(properties), now);
        assert!(publication.properties.is_none());
        assert_eq!(publication.remaining_expiry(now + Duration::from_secs(2)), Some(Some(3)));
        assert_eq!(publication.remaining_expiry(now + Duration::from_secs(5)), None);
        let lasting = Publication::new(TenantId(1), "t".into(), Bytes::new(), None, now);
        assert_eq!(lasting.remaining_expiry(now + Duration::from_secs(1 << 40)), Some(None));
    }
}
