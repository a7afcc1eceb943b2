//! A publication on its way through the router. The router sees one literal topic a filter and QoS 0; what it must not
//! interpret (topic, QoS, retain, expiry, publisher) travels in one internal user property.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttd::protocol::{self, Packet, Publish, PublishProperties};

use crate::domain::TenantId;

use super::filter_index::FilterSlot;
use super::publication::{Expiry, Publication};

/// The router bounds its logs by the bytes of topics and payloads and counts nothing else. Padding the topic to what
/// an entry takes in memory makes that bound true for small payloads too. The padding itself is shared.
const TOPIC_BYTES: usize = 400;

/// Topic and filter of `slot` in the router: ASCII, because the router cuts topics at bytes.
pub(super) fn router_topic(slot: FilterSlot) -> String {
    let mut topic = format!("f/{}/", slot.0);
    topic.extend(std::iter::repeat_n('.', TOPIC_BYTES - topic.len()));
    topic
}

fn slot_of(router_topic: &[u8]) -> Option<FilterSlot> {
    let number = std::str::from_utf8(router_topic).ok()?.split('/').nth(1)?;
    number.parse().ok().map(FilterSlot)
}

/// Turns publications into router packets and back. Ages are counted from one moment, so that they fit a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelopes {
    epoch: Instant,
}

/// A publication as it came out of the router.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) publication: Publication,
    /// The filter through which this copy came.
    pub(super) slot: FilterSlot,
    /// Counts the filter's publications, so that a gap tells of those that the router's log has lost.
    pub(super) sequence: u64,
}

impl Envelopes {
    pub(super) fn new(epoch: Instant) -> Self {
        Self { epoch }
    }

    pub(super) fn seal(&self, publication: &Publication, sequence: u64, router_topic: Bytes) -> Packet {
        let mut properties = publication.properties.as_deref().cloned().unwrap_or_default();
        let (expiry, since) = match publication.expiry {
            Some(Expiry { seconds, since }) => {
                (seconds.to_string(), since.saturating_duration_since(self.epoch).as_millis())
            }
            None => (String::new(), 0),
        };
        let (qos, retain) = (publication.qos as u8, u8::from(publication.retain));
        let (tenant, publisher) = (publication.tenant.0, &publication.publisher);
        let header = format!("{qos} {retain} {sequence} {tenant} {expiry} {since} {publisher}");
        properties.user_properties.push((header, publication.topic.to_string()));
        let publish = Publish::new(router_topic, publication.payload.clone(), false);
        Packet::Publish(publish, Some(properties))
    }

    /// `None` for a packet that was not sealed here.
    pub(super) fn open(
        &self,
        router_topic: &[u8],
        payload: Bytes,
        properties: Option<PublishProperties>,
    ) -> Option<Opened> {
        let slot = slot_of(router_topic)?;
        let mut properties = properties?;
        // A client's own user properties come before it, so nothing that a client sends can stand in its place.
        let (header, topic) = properties.user_properties.pop()?;
        let mut fields = header.splitn(7, ' ');
        let qos = protocol::qos(fields.next()?.parse().ok()?)?;
        let retain = fields.next()? == "1";
        let sequence = fields.next()?.parse().ok()?;
        let tenant = TenantId(fields.next()?.parse().ok()?);
        let expiry = fields.next()?.parse().ok();
        let since = self.epoch + Duration::from_millis(fields.next()?.parse().ok()?);
        let publisher: Arc<str> = fields.next()?.into();
        let properties = (properties != PublishProperties::default()).then(|| Box::new(properties));
        let expiry = expiry.map(|seconds| Expiry { seconds, since });
        let topic = topic.into();
        let publication = Publication { tenant, topic, payload, qos, retain, properties, expiry, publisher };
        Some(Opened { publication, slot, sequence })
    }
}

#[cfg(test)]
mod tests {
    use rumqttd::protocol::QoS;

    use super::*;

    #[test]
    fn a_publication_comes_out_as_it_went_in() {
        let epoch = Instant::now();
        let envelopes = Envelopes::new(epoch);
        let properties = PublishProperties {
            content_type: Some("json".into()),
            user_properties: vec![("0 0 1 1  0 x".into(), "spoofed".into())],
            message_expiry_interval: Some(60),
            ..Default::default()
        };
        let now = epoch + Duration::from_millis(1500);
        let mut sent =
            Publication::new(TenantId(-3), "é/x".into(), Bytes::from_static(b"p"), Some(properties), now);
        sent.qos = QoS::ExactlyOnce;
        sent.retain = true;
        sent.publisher = "device 7 ü".into();
        let Packet::Publish(packet, properties) =
            envelopes.seal(&sent, 42, router_topic(FilterSlot(5)).into())
        else {
            panic!("no PUBLISH");
        };
        assert!(packet.topic.is_ascii() && packet.topic.len() == TOPIC_BYTES);
        let opened = envelopes.open(&packet.topic, packet.payload, properties).unwrap();
        assert_eq!((opened.slot, opened.sequence), (FilterSlot(5), 42));
        let got = opened.publication;
        assert_eq!(
            (got.tenant, &*got.topic, got.qos, got.retain),
            (TenantId(-3), "é/x", QoS::ExactlyOnce, true)
        );
        assert_eq!(&*got.publisher, "device 7 ü");
        assert_eq!(got.properties, sent.properties);
        assert_eq!(got.remaining_expiry(now + Duration::from_secs(10)), Some(Some(50)));
    }

    #[test]
    fn a_packet_without_an_envelope_is_ignored() {
        let envelopes = Envelopes::new(Instant::now());
        let topic = router_topic(FilterSlot(1));
        assert!(envelopes.open(topic.as_bytes(), Bytes::new(), None).is_none());
        assert!(envelopes.open(topic.as_bytes(), Bytes::new(), Some(PublishProperties::default())).is_none());
        assert!(envelopes.open(b"x", Bytes::new(), Some(PublishProperties::default())).is_none());
    }
}
