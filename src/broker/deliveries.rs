//! What is on its way to a client: waiting, sent and not acknowledged, and (QoS 2) received and not released.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use prometheus_client::metrics::counter::Counter;
use rumqttd::protocol::{Packet, PubRel, PubRelReason, PublishProperties, QoS};

use super::codec::{self, Version};
use super::publication::Publication;
use super::session::Match;
use super::shared::Share;

/// A publication for this client.
#[derive(Debug)]
struct Delivery {
    publication: Publication,
    qos: QoS,
    retain: bool,
    identifiers: Vec<usize>,
    share: Option<Share>,
}

#[derive(Debug)]
struct InFlight {
    pkid: u16,
    delivery: Delivery,
    /// PUBREC came; PUBREL is what is to be repeated.
    received: bool,
}

/// Deliveries of one session, in order.
#[derive(Default)]
pub(super) struct Deliveries {
    waiting: VecDeque<Delivery>,
    waiting_bytes: usize,
    in_flight: VecDeque<InFlight>,
    last_pkid: u16,
}

/// What the client and the configuration allow.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeliveryLimits {
    pub(super) max_in_flight: usize,
    pub(super) max_messages: usize,
    pub(super) max_bytes: usize,
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
    /// Whether more may be taken from the router. What is not taken waits there.
    pub(super) fn has_room(&self, limits: &DeliveryLimits) -> bool {
        self.waiting.len() < limits.max_messages && self.waiting_bytes < limits.max_bytes
    }

    /// Whether less than half of the room is taken; beyond it QoS 0 is dropped.
    pub(super) fn is_relaxed(&self, limits: &DeliveryLimits) -> bool {
        self.waiting.len() <= limits.max_messages / 2 && self.waiting_bytes <= limits.max_bytes / 2
    }

    /// Whether the client takes its turns in shared subscriptions: what it was given is sent, and it has room in its window.
    /// Otherwise the messages are for the other members.
    pub(super) fn takes_turns(&self, limits: &DeliveryLimits) -> bool {
        self.waiting.is_empty() && self.in_flight.len() < limits.max_in_flight
    }

    /// Takes a publication. False when it was dropped: QoS 0 is not worth the room that a slow client has left.
    pub(super) fn push(&mut self, publication: Publication, matched: Match, limits: &DeliveryLimits) -> bool {
        let qos = codec::lower(publication.qos, matched.qos);
        if qos == QoS::AtMostOnce && !self.is_relaxed(limits) {
            return false;
        }
        self.waiting_bytes += publication.bytes();
        self.waiting.push_back(Delivery {
            publication,
            qos,
            retain: matched.retain,
            identifiers: matched.identifiers,
            share: matched.share,
        });
        true
    }

    /// Sends what the client's receive window has room for. Returns how many could not be sent because the client takes
    /// no packets of that size.
    pub(super) fn pump(&mut self, outlet: &mut Outlet<'_>, now: Instant) -> u64 {
        let mut too_large = 0;
        while let Some(next) = self.waiting.front() {
            if next.qos != QoS::AtMostOnce && self.in_flight.len() >= outlet.limits.max_in_flight {
                break;
            }
            let Some(delivery) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= delivery.publication.bytes();
            if delivery.publication.remaining_expiry(now).is_none() {
                continue;
            }
            let pkid = if delivery.qos == QoS::AtMostOnce { 0 } else { self.free_pkid() };
            if !emit(&delivery, false, pkid, outlet, now) {
                too_large += 1;
                continue;
            }
            if pkid != 0 {
                self.in_flight.push_back(InFlight { pkid, delivery, received: false });
            }
        }
        too_large
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
        for delivery in sent.chain(self.waiting.drain(..)) {
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
