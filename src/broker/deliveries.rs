//! What is on its way to a client: waiting, sent and not acknowledged, and (QoS 2) received and not released.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use prometheus_client::metrics::counter::Counter;
use rumqttd::protocol::{Packet, PubRel, PubRelReason, PublishProperties, QoS};

use crate::domain::TenantId;

use super::codec::{self, Version};
use super::outbox::{Delivery, Outbox, Outboxes, Reader};
use super::session_log::StoredMessage;

/// Deliveries are encoded as far as this, and then written.
const TURN_BYTES: usize = 64 * 1024;

#[derive(Debug)]
struct InFlight {
    pkid: u16,
    position: u64,
    delivery: Delivery,
    /// PUBREC came; PUBREL is what is to be repeated.
    received: bool,
}

/// Deliveries of one session, in order.
#[derive(Default)]
pub(super) struct Deliveries {
    /// What waits; `None` until the first subscription.
    outbox: Option<Arc<Outbox>>,
    /// While the client is connected.
    reader: Option<Reader>,
    in_flight: VecDeque<InFlight>,
    last_pkid: u16,
    /// More could be sent when what is encoded has been written.
    more: bool,
}

/// What the client and the configuration allow.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeliveryLimits {
    pub(super) max_in_flight: usize,
    /// Largest packet that the client takes.
    pub(super) max_packet: usize,
}

/// Topic aliases towards the client (MQTT 5, 3.3.2.3.4); they live as long as the connection.
#[derive(Default)]
pub(super) struct OutboundAliases {
    topics: Vec<std::sync::Arc<str>>,
    maximum: usize,
}

impl OutboundAliases {
    pub(super) fn new(maximum: u16) -> Self {
        Self { topics: Vec::new(), maximum: maximum.into() }
    }

    /// The alias of a topic and whether the client knows it already.
    fn get(&mut self, topic: &std::sync::Arc<str>) -> Option<(u16, bool)> {
        if let Some(at) = self.topics.iter().position(|known| known == topic) {
            return Some((at as u16 + 1, true));
        }
        if self.topics.len() >= self.maximum {
            return None;
        }
        self.topics.push(topic.clone());
        Some((self.topics.len() as u16, false))
    }
}

/// Where packets are written.
pub(super) struct Outlet<'c> {
    pub(super) version: Version,
    pub(super) out: &'c mut BytesMut,
    pub(super) aliases: &'c mut OutboundAliases,
    pub(super) limits: DeliveryLimits,
    /// Counts PUBLISH packets.
    pub(super) sent: &'c Counter,
}

impl Deliveries {
    /// What waits for the session, for publishers to put it in; it is made for a connected client.
    pub(super) fn open_outbox(&mut self, outboxes: &Arc<Outboxes>) -> Arc<Outbox> {
        let outbox = self.outbox.get_or_insert_with(|| outboxes.open());
        self.reader.get_or_insert_with(|| outbox.read());
        outbox.clone()
    }

    /// As they were stored, in order.
    pub(super) fn restored(
        outbox: Arc<Outbox>,
        tenant: TenantId,
        messages: Vec<StoredMessage>,
        last_pkid: u16,
    ) -> Self {
        let mut in_flight = VecDeque::new();
        for message in messages {
            let (position, sent, received) = (message.position, message.packet_id, message.released);
            let delivery = message.into_delivery(tenant);
            outbox.restore_position(position + 1);
            match sent {
                Some(pkid) => in_flight.push_back(InFlight { pkid, position, delivery, received }),
                None => outbox.restore(position, delivery),
            }
        }
        Self { outbox: Some(outbox), reader: None, in_flight, last_pkid, more: false }
    }

    /// What was sent and is not acknowledged, to be stored.
    pub(super) fn sent(&self, now: Instant) -> Vec<StoredMessage> {
        let stored = self.in_flight.iter().filter_map(|open| {
            let message = StoredMessage::of(&open.delivery, open.position, now)?;
            Some(StoredMessage { packet_id: Some(open.pkid), released: open.received, ..message })
        });
        stored.collect()
    }

    /// Position of the oldest message that is not acknowledged.
    pub(super) fn oldest(&self) -> u64 {
        let waiting = || self.outbox.as_ref().map_or(0, |outbox| outbox.oldest());
        self.in_flight.front().map_or_else(waiting, |open| open.position)
    }

    pub(super) fn last_packet_id(&self) -> u16 {
        self.last_pkid
    }

    pub(super) fn outbox(&self) -> Option<&Arc<Outbox>> {
        self.outbox.as_ref()
    }

    /// Whether a connection takes what waits.
    pub(super) fn set_connected(&mut self, connected: bool) {
        self.reader = self.outbox.as_ref().filter(|_| connected).map(Outbox::read);
    }

    /// Whether less than half of the room is taken.
    pub(super) fn is_relaxed(&self) -> bool {
        self.outbox.as_ref().is_none_or(|outbox| outbox.is_relaxed())
    }

    /// Whether publishers wait for this client.
    pub(super) fn holds(&self) -> bool {
        self.outbox.as_ref().is_some_and(|outbox| outbox.holds())
    }

    /// Whether more could be sent when what is encoded has been written.
    pub(super) fn has_more(&self) -> bool {
        self.more
    }

    /// Whether the client takes its turns in shared subscriptions: what it was given is sent, and it has room in its window.
    /// Otherwise the messages are for the other members.
    pub(super) fn takes_turns(&self, limits: &DeliveryLimits) -> bool {
        self.in_flight.len() < limits.max_in_flight
            && self.outbox.as_ref().is_none_or(|outbox| outbox.is_empty())
    }

    /// Sends what the client's receive window has room for. Returns how many could not be sent because the client takes
    /// no packets of that size.
    pub(super) fn pump(&mut self, outlet: &mut Outlet<'_>, now: Instant) -> u64 {
        let Some(outbox) = self.outbox.clone() else { return 0 };
        let mut too_large = 0;
        loop {
            self.more = outlet.out.len() >= TURN_BYTES;
            if self.more {
                break;
            }
            let window = outlet.limits.max_in_flight.saturating_sub(self.in_flight.len());
            let taken = outbox.take(TURN_BYTES, window);
            if taken.is_empty() {
                break;
            }
            for (position, delivery) in taken {
                too_large += u64::from(!self.send(position, delivery, outlet, now));
            }
        }
        too_large
    }

    /// False when the client takes no packet of that size.
    fn send(&mut self, position: u64, delivery: Delivery, outlet: &mut Outlet<'_>, now: Instant) -> bool {
        if delivery.publication.remaining_expiry(now).is_none() {
            return true;
        }
        let pkid = if delivery.qos == QoS::AtMostOnce { 0 } else { self.free_pkid() };
        let sent = emit(&delivery, false, pkid, outlet, now);
        if sent && pkid != 0 {
            self.in_flight.push_back(InFlight { pkid, position, delivery, received: false });
        }
        sent
    }

    /// Repeats what an earlier connection of this session left open.
    pub(super) fn resume(&mut self, outlet: &mut Outlet<'_>, now: Instant) {
        for open in &self.in_flight {
            if open.received {
                put_pubrel(open.pkid, outlet.version, outlet.out);
            } else {
                emit(&open.delivery, true, open.pkid, outlet, now);
            }
        }
    }

    /// PUBACK or PUBCOMP, or a PUBREC that refuses.
    pub(super) fn acknowledged(&mut self, pkid: u16) {
        if let Some(at) = self.in_flight.iter().position(|open| open.pkid == pkid) {
            self.in_flight.remove(at);
        }
    }

    /// PUBREC: the client has it.
    pub(super) fn received(&mut self, pkid: u16, version: Version, out: &mut BytesMut) {
        if let Some(open) = self.in_flight.iter_mut().find(|open| open.pkid == pkid) {
            open.received = true;
        }
        put_pubrel(pkid, version, out);
    }

    fn free_pkid(&mut self) -> u16 {
        // At most max_in_flight of 65,535 are taken, so one is found.
        loop {
            self.last_pkid = self.last_pkid.checked_add(1).unwrap_or(1);
            if !self.in_flight.iter().any(|open| open.pkid == self.last_pkid) {
                return self.last_pkid;
            }
        }
    }
}

impl Drop for Deliveries {
    /// The session is over. Its turns in shared subscriptions go to other members, but not QoS 2 that was sent: the client may
    /// have it (MQTT 5, 4.8.2).
    fn drop(&mut self) {
        let sent =
            self.in_flight.drain(..).map(|open| open.delivery).filter(|sent| sent.qos == QoS::AtLeastOnce);
        let waiting = self.outbox.iter().flat_map(|outbox| outbox.drain());
        for delivery in sent.chain(waiting) {
            if let Some(share) = delivery.share {
                share.give_back(delivery.publication);
            }
        }
    }
}

fn put_pubrel(pkid: u16, version: Version, out: &mut BytesMut) {
    codec::encode(version, Packet::PubRel(PubRel { pkid, reason: PubRelReason::Success }, None), out);
}

/// False when the packet is larger than the client takes; then nothing was written.
fn emit(delivery: &Delivery, dup: bool, pkid: u16, outlet: &mut Outlet<'_>, now: Instant) -> bool {
    let publication = &delivery.publication;
    let start = outlet.out.len();
    let mut topic = publication.topic.as_bytes();
    let mut properties = None;
    let aliased = outlet.aliases.topics.len();
    if outlet.version == Version::V5 {
        let mut given = publication.properties.as_deref().cloned().unwrap_or_default();
        given.message_expiry_interval = publication.remaining_expiry(now).flatten();
        given.subscription_identifiers.clone_from(&delivery.identifiers);
        if let Some((alias, known)) = outlet.aliases.get(&publication.topic) {
            given.topic_alias = Some(alias);
            if known {
                topic = b"";
            }
        }
        properties = (given != PublishProperties::default()).then_some(given);
    }
    let publish =
        codec::outbound_publish(dup, delivery.qos, pkid, delivery.retain, topic, &publication.payload);
    codec::encode(outlet.version, Packet::Publish(publish, properties), outlet.out);
    if outlet.out.len() - start > outlet.limits.max_packet {
        outlet.out.truncate(start);
        outlet.aliases.topics.truncate(aliased);
        return false;
    }
    outlet.sent.inc();
    true
}

/// The payload of a publication that is kept: a copy, because the original keeps a whole read buffer in memory.
pub(super) fn own(payload: &Bytes) -> Bytes {
    Bytes::copy_from_slice(payload)
}
