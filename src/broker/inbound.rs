//! What a client sends.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rumqttd::protocol::{
    Packet, PingResp, PubAck, PubAckProperties, PubComp, PubCompReason, PubRec, PubRecProperties, QoS,
};
use tracing::info;

use crate::ingest::queue::Message;
use crate::ingest::topics::UsageTopic;

use super::ack_window::{self, Arrival, ReplyTo, Slot};
use super::codec::{self, AckType, Inbound, InboundPublish, Version};
use super::connection::Connection;
use super::deliveries::own;
use super::ending::{Ending, Violation};
use super::metrics::Kind;
use super::outbox::Outbox;
use super::publication::Publication;
use super::reply::Verdict;
use super::strictness;
use super::topic;

/// Most QoS 2 messages between PUBREC and PUBREL that a session of MQTT 3.1.1 remembers.
const MAX_UNRELEASED: usize = 10_000;
/// Not authorized.
const NOT_AUTHORIZED: u8 = 0x87;

impl Connection {
    /// Decodes and handles what is in the read buffer, as far as this client may go on.
    pub(super) async fn handle_buffered(&mut self) -> Result<(), Ending> {
        let received = Instant::now();
        let turn = self.hub.config.traffic.turn_packets;
        self.pauses.handled = 0;
        loop {
            while self.may_handle() {
                if self.pauses.handled >= turn {
                    self.pauses.unhandled = true;
                    break;
                }
                self.pauses.handled += 1;
                let max = self.hub.config.max_packet_bytes;
                let Some(packet) = codec::decode(self.client.version, &mut self.buffer, max)? else { break };
                self.handle(packet, received).await?;
            }
            let paused = self.is_paused();
            self.feeder.drain_ready().await.map_err(|_| Ending::PipelineStopped)?;
            self.answer().await?;
            // What ended the pause here gives no signal, so the rest of the buffer is handled now.
            if !paused || self.is_paused() || self.pauses.unhandled {
                break;
            }
        }
        // What was acknowledged made room.
        self.pump();
        if self.buffer.is_empty() && self.buffer.capacity() > 0 {
            // An idle connection keeps no buffer.
            self.buffer = BytesMut::new();
        }
        Ok(())
    }

    async fn handle(&mut self, packet: Inbound, received: Instant) -> Result<(), Ending> {
        let version = self.client.version;
        match packet {
            Inbound::Publish(publish) => self.publish(publish, received).await?,
            Inbound::PubAck { pkid }
            | Inbound::PubComp { pkid }
            | Inbound::PubRec { pkid, accepted: false } => {
                self.session.deliveries.acknowledged(pkid);
                self.session.note_acknowledged();
            }
            Inbound::PubRec { pkid, accepted: true } => {
                self.session.deliveries.received(pkid, version, &mut self.out);
            }
            Inbound::PubRel { pkid } => {
                let known = self.session.received.remove(&pkid);
                self.traffic.spend(usize::from(!known), 0, received);
                let reason =
                    if known { PubCompReason::Success } else { PubCompReason::PacketIdentifierNotFound };
                codec::encode(version, Packet::PubComp(PubComp { pkid, reason }, None), &mut self.out);
            }
            Inbound::PingReq => {
                self.traffic.spend(1, 0, received);
                codec::encode(version, Packet::PingResp(PingResp), &mut self.out);
            }
            Inbound::Subscribe(subscribe, properties) => {
                self.traffic.spend(subscribe.filters.len(), 0, received);
                self.subscribe(subscribe, properties)?;
            }
            Inbound::Unsubscribe(unsubscribe) => {
                self.traffic.spend(unsubscribe.filters.len(), 0, received);
                self.unsubscribe(unsubscribe);
            }
            Inbound::Disconnect { keep_will, session_expiry } => {
                self.change_expiry(session_expiry)?;
                if !keep_will {
                    self.client.will = None;
                }
                return Err(Ending::ClientDisconnected);
            }
        }
        Ok(())
    }

    async fn publish(&mut self, mut publish: InboundPublish, received: Instant) -> Result<(), Ending> {
        self.resolve_alias(&mut publish)?;
        publish.properties.as_ref().map_or(Ok(()), strictness::check_properties)?;
        let hub = self.hub.clone();
        let name = std::str::from_utf8(&publish.topic).map_err(|_| Violation::TopicName)?;
        if !topic::is_valid_name(name, hub.config.max_topic_levels) {
            return Err(Violation::TopicName.into());
        }
        let answer = match publish.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some((AckType::PubAck, publish.pkid)),
            QoS::ExactlyOnce => Some((AckType::PubRec, publish.pkid)),
        };
        let digest = ack_window::digest(&publish.topic, &publish.payload);
        if let Some(answer) = answer
            && self.is_repetition(answer, digest)?
        {
            return Ok(());
        }
        let usage = hub.topics.classify(name);
        hub.metrics.message(if usage.is_some() { Kind::Usage } else { Kind::Other }, publish.qos);
        let reply_to = publish.properties.as_ref().and_then(|properties| {
            let topic = properties.response_topic.clone()?;
            let correlation_data = properties.correlation_data.as_ref().map(own);
            Some(Box::new(ReplyTo { topic, correlation_data }))
        });
        let arrival =
            Arrival { answer, received, digest, payload_bytes: publish.payload.len(), reply_to: None };
        let bytes = publish.topic.len() + publish.payload.len();
        if topic::is_reserved(name) {
            self.traffic.spend(1, bytes, received);
            self.ignore(arrival);
            return Ok(());
        }
        let permitted = self.client.rights.may_publish(name, usage);
        if usage.is_none() || !permitted {
            // Usage that is taken over is limited by its window.
            self.traffic.spend(1, bytes, received);
        }
        if !permitted {
            self.note_refusal("publish", name);
            return self.refuse(arrival);
        }
        if usage.is_none() && !std::mem::replace(&mut self.pauses.others_first, true) {
            // What others sent before this read, a SUBSCRIBE above all, may wait behind this task.
            tokio::task::yield_now().await;
        }
        let payload = own(&publish.payload);
        match usage {
            Some(usage) => self.ingest(name, usage, payload.clone(), Arrival { reply_to, ..arrival }),
            None if answer.is_some() => self.session.window.push_decided(arrival, Verdict::Accepted),
            None => {}
        }
        let held_by = self.fan_out(name, publish.qos, publish.retain, payload, publish.properties.take());
        // Those who publish usage must not wait for those who listen, and nobody for itself.
        let own = self.session.deliveries.outbox();
        if let Some(outbox) = held_by
            && usage.is_none()
            && own.is_none_or(|own| !Arc::ptr_eq(own, &outbox))
        {
            self.held_by = Some(outbox);
        }
        Ok(())
    }

    /// MQTT 5, 3.3.2.3.4.
    fn resolve_alias(&mut self, publish: &mut InboundPublish) -> Result<(), Violation> {
        let Some(properties) = publish.properties.as_mut() else { return Ok(()) };
        if !properties.subscription_identifiers.is_empty() {
            return Err(Violation::Protocol("subscription identifier in a PUBLISH from a client"));
        }
        let Some(alias) = properties.topic_alias.take() else { return Ok(()) };
        if alias == 0 || alias > self.hub.config.topic_alias_maximum {
            return Err(Violation::TopicAlias);
        }
        if publish.topic.is_empty() {
            publish.topic = self.aliases.get(&alias).cloned().ok_or(Violation::TopicAlias)?;
        } else {
            self.aliases.insert(alias, own(&publish.topic));
        }
        Ok(())
    }

    /// Whether this PUBLISH was taken before; then it is answered with that one and not stored again.
    fn is_repetition(&mut self, answer: (AckType, u16), digest: u64) -> Result<bool, Violation> {
        let (ack, pkid) = answer;
        if ack == AckType::PubRec && self.session.received.contains(&pkid) {
            codec::put_success(AckType::PubRec, pkid, &mut self.out);
            return Ok(true);
        }
        if self.session.window.attach(answer, digest) {
            return Ok(true);
        }
        // MQTT 3.1.1 has no receive maximum; it is stopped where no client comes by itself.
        if self.client.version == Version::V311 && self.session.received.len() >= MAX_UNRELEASED {
            return Err(Violation::ReceiveMaximum);
        }
        let open = self.session.window.len() + self.session.received.len();
        if self.client.version == Version::V5 && open >= usize::from(self.hub.config.receive_maximum) {
            return Err(Violation::ReceiveMaximum);
        }
        Ok(false)
    }

    /// Topics with `$` and those of alerts are the broker's own: clients cannot talk to each other on them (MQTT 5, 4.7.2).
    fn ignore(&mut self, arrival: Arrival) {
        self.hub.metrics.dropped("reserved_topic", 1);
        if arrival.answer.is_some() {
            // Without a text: some clients take no longer PUBACK.
            let refused = Verdict::Refused { reason: NOT_AUTHORIZED, text: "".into() };
            self.session.window.push_decided(arrival, refused);
        }
    }

    /// Counts what this client may not do, and logs the first time.
    pub(super) fn note_refusal(&mut self, action: &'static str, topic: &str) {
        self.hub.metrics.refused(action);
        if !std::mem::replace(&mut self.refusal_logged, true) {
            let client = &*self.client.client_id;
            info!(client, action, topic, "refused an MQTT client what it may not do; said once a connection");
        }
    }

    fn refuse(&mut self, arrival: Arrival) -> Result<(), Ending> {
        // MQTT 3.1.1 has no way to say no but to close.
        if self.client.version == Version::V311 {
            return Err(Violation::NotAuthorized.into());
        }
        if arrival.answer.is_some() {
            let text = "not authorized to publish on this topic".into();
            self.session.window.push_decided(arrival, Verdict::Refused { reason: NOT_AUTHORIZED, text });
        }
        Ok(())
    }

    fn ingest(&mut self, name: &str, usage: UsageTopic<'_>, payload: Bytes, arrival: Arrival) {
        let wanted = arrival.answer.is_some() || arrival.reply_to.is_some();
        let acknowledge = wanted.then(|| self.session.window.push_awaiting(arrival));
        self.feeder.push(Message {
            sender: self.client.sender.clone(),
            topic: name.to_owned(),
            topic_iccid: usage.iccid.map(str::to_owned),
            payload,
            received_at: self.hub.clock.now(),
            acknowledge,
        });
    }

    /// Returns the subscriber that does not keep up.
    fn fan_out(
        &mut self,
        name: &str,
        qos: QoS,
        retain: bool,
        payload: Bytes,
        properties: Option<rumqttd::protocol::PublishProperties>,
    ) -> Option<Arc<Outbox>> {
        let (tenant, publisher) = (self.client.tenant(), &self.client.client_id);
        let takers = self.hub.subscriptions.takers(tenant, name, publisher);
        if takers.is_empty() && !retain {
            return None;
        }
        self.pauses.handled += takers.len();
        let mut publication = Publication::new(tenant, Arc::from(name), payload, properties, Instant::now());
        publication.own_properties();
        publication.qos = qos;
        publication.retain = retain;
        publication.publisher = publisher.clone();
        self.hub.deliver(publication, takers)
    }

    /// Writes the answers that are due, in order.
    pub(super) async fn answer(&mut self) -> Result<(), Ending> {
        let mut now = None;
        while let Some(slot) = self.session.window.release()? {
            if slot.usage && slot.answer.is_some() {
                self.hub.metrics.acknowledged(slot.received, *now.get_or_insert_with(Instant::now));
            }
            self.put_answer(&slot);
            self.send_reply(slot);
        }
        Ok(())
    }

    fn put_answer(&mut self, slot: &Slot) {
        let Some((ack, pkid)) = slot.answer else { return };
        let refused = match slot.outcome().map(|outcome| &outcome.verdict) {
            Some(Verdict::Refused { reason, text }) if self.client.version == Version::V5 => {
                Some((*reason, text))
            }
            _ => None,
        };
        let Some((reason, text)) = refused else {
            if ack == AckType::PubRec {
                self.session.received.insert(pkid);
            }
            codec::put_success(ack, pkid, &mut self.out);
            return;
        };
        let start = self.out.len();
        codec::encode(
            Version::V5,
            refusal(
                ack,
                pkid,
                reason,
                Some(&**text).filter(|text| self.client.wants_reasons && !text.is_empty()),
            ),
            &mut self.out,
        );
        if self.out.len() - start > self.client.max_packet {
            self.out.truncate(start);
            codec::encode(Version::V5, refusal(ack, pkid, reason, None), &mut self.out);
        }
    }

    fn send_reply(&mut self, mut slot: Slot) {
        let Some(to) = slot.reply_to.take() else { return };
        let valid = topic::is_valid_name(&to.topic, self.hub.config.max_topic_levels)
            && !topic::is_reserved(&to.topic);
        // It names the topic and parts of the text: no more than if it published there itself.
        let usage = self.hub.topics.classify(&to.topic);
        if valid && !self.client.rights.may_publish(&to.topic, usage) {
            self.note_refusal("reply", &to.topic);
            return;
        }
        if let Some(reply) = slot.outcome().and_then(|outcome| outcome.reply.clone()).filter(|_| valid) {
            self.hub.reply(self.client.tenant(), *to, reply);
        }
    }
}

/// PUBACK or PUBREC with a reason. A PUBREC of 0x80 and above ends the exchange (MQTT 5, 4.3.3).
fn refusal(ack: AckType, pkid: u16, reason: u8, text: Option<&str>) -> Packet {
    let (puback, pubrec) = codec::ack_reasons(reason);
    let text = text.map(str::to_owned);
    match ack {
        AckType::PubAck => {
            let properties =
                text.map(|text| PubAckProperties { reason_string: Some(text), user_properties: Vec::new() });
            Packet::PubAck(PubAck { pkid, reason: puback }, properties)
        }
        AckType::PubRec => {
            let properties =
                text.map(|text| PubRecProperties { reason_string: Some(text), user_properties: Vec::new() });
            Packet::PubRec(PubRec { pkid, reason: pubrec }, properties)
        }
    }
}
