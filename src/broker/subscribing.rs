//! SUBSCRIBE and UNSUBSCRIBE.

use std::sync::Arc;

use rumqttd::protocol::{
    Filter, Packet, RetainForwardRule, SubAck, Subscribe, SubscribeProperties, SubscribeReasonCode, UnsubAck,
    UnsubAckReason, Unsubscribe,
};

use super::Hub;
use super::codec::{self, Version};
use super::connection::Connection;
use super::ending::{Ending, Violation};
use super::retained::Turn;
use super::session::Subscription;
use super::shared::SharedSubscription;
use super::subscription_index::{Options, Subscriber};
use super::sys_topics;
use super::topic::TopicFilter;

impl Connection {
    pub(super) fn subscribe(
        &mut self,
        subscribe: Subscribe,
        properties: Option<SubscribeProperties>,
    ) -> Result<(), Ending> {
        let identifier = properties.and_then(|properties| properties.id);
        if identifier == Some(0) {
            return Err(Violation::Protocol("subscription identifier 0").into());
        }
        if subscribe.filters.is_empty() {
            return Err(Violation::Protocol("SUBSCRIBE without a filter").into());
        }
        if subscribe.filters.iter().any(|asked| asked.nolocal && asked.path.starts_with("$share/")) {
            // MQTT 5, 3.8.3.1
            return Err(Violation::Protocol("No Local on a shared subscription").into());
        }
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        let mut retained = Vec::new();
        for filter in subscribe.filters {
            let code = match self.add(&filter, identifier) {
                Ok(new) => {
                    let wanted = match filter.retain_forward_rule {
                        RetainForwardRule::OnEverySubscribe => true,
                        RetainForwardRule::OnNewSubscribe => new,
                        RetainForwardRule::Never => false,
                    };
                    if wanted {
                        retained.push(filter.path.clone());
                    }
                    if sys_topics::concerns(&filter.path) {
                        self.hub.sys_wanted.notify_one();
                    }
                    SubscribeReasonCode::Success(filter.qos)
                }
                Err(_) if self.client.version == Version::V311 => SubscribeReasonCode::Failure,
                Err(code) => code,
            };
            codes.push(code);
        }
        let suback = SubAck { pkid: subscribe.pkid, return_codes: codes };
        codec::encode(self.client.version, Packet::SubAck(suback, None), &mut self.out);
        for path in retained {
            self.add_retained(&path);
        }
        self.session.note_connected(self.client.session_expiry);
        self.pump();
        Ok(())
    }

    /// Adds or changes a subscription. True when it is new.
    fn add(&mut self, asked: &Filter, identifier: Option<usize>) -> Result<bool, SubscribeReasonCode> {
        let hub = self.hub.clone();
        let filter = TopicFilter::parse(&asked.path, hub.config.max_topic_levels)
            .ok_or(SubscribeReasonCode::TopicFilterInvalid)?;
        if !self.client.rights.may_subscribe(&filter.plain) {
            self.note_refusal("subscribe", &asked.path);
            return Err(SubscribeReasonCode::NotAuthorized);
        }
        if hub.config.denied_subscriptions.contains(&asked.path) {
            // The one refusal that both versions know.
            return Err(SubscribeReasonCode::Unspecified);
        }
        let options = Options {
            qos: asked.qos,
            no_local: asked.nolocal,
            retain_as_published: asked.preserve_retain,
            identifier,
        };
        if let Some(group) = filter.group.clone() {
            self.share(&hub, group, filter, options)?;
            // Nobody's turn comes with what is retained (MQTT 5, 4.8.2).
            return Ok(false);
        }
        let held = self.session.subscriptions.iter_mut().find(|held| held.filter == filter);
        if let Some(held) = held {
            held.options = options;
            held.indexed.change(options);
            return Ok(false);
        }
        if self.is_full(&hub) {
            return Err(SubscribeReasonCode::QuotaExceeded);
        }
        let outbox = self.session.deliveries.open_outbox(&hub.outboxes);
        let subscriber = Subscriber { outbox, client: self.client.client_id.clone() };
        let indexed = hub.subscriptions.add(self.client.tenant(), filter.plain.clone(), subscriber, options);
        let indexed = indexed.ok_or(SubscribeReasonCode::QuotaExceeded)?;
        self.session.subscriptions.push(Subscription { filter, options, indexed });
        Ok(true)
    }

    /// As `add`, for a shared subscription.
    fn share(
        &mut self,
        hub: &Hub,
        group: Arc<str>,
        filter: TopicFilter,
        options: Options,
    ) -> Result<(), SubscribeReasonCode> {
        if let Some(held) = self.session.shared.iter_mut().find(|held| held.filter == filter) {
            held.options = options;
            return Ok(());
        }
        if self.is_full(hub) {
            return Err(SubscribeReasonCode::QuotaExceeded);
        }
        let joined = hub.shared.join(hub, self.client.tenant(), &group, &filter);
        let group = joined.ok_or(SubscribeReasonCode::QuotaExceeded)?;
        self.session.deliveries.open_outbox(&hub.outboxes);
        let mut joined = SharedSubscription::new(filter, group, options);
        joined.set_connected(true);
        self.session.shared.push(joined);
        Ok(())
    }

    fn is_full(&self, hub: &Hub) -> bool {
        let held = self.session.subscriptions.len() + self.session.shared.len();
        held >= hub.config.max_subscriptions_per_client
    }

    /// Retained messages go out as the client has room for them.
    fn add_retained(&mut self, path: &str) {
        let Some(held) = self.session.subscriptions.iter().find(|held| &*held.filter.plain == path) else {
            return;
        };
        let turn = Turn {
            filter: held.filter.plain.clone(),
            after: None,
            qos: held.options.qos,
            identifier: held.options.identifier,
        };
        self.session.retained.retain(|older| older.filter != turn.filter);
        self.session.retained.push_back(turn);
    }

    pub(super) fn unsubscribe(&mut self, unsubscribe: Unsubscribe) {
        let mut reasons = Vec::with_capacity(unsubscribe.filters.len());
        for path in &unsubscribe.filters {
            let filter = TopicFilter::parse(path, self.hub.config.max_topic_levels);
            let shared = self.session.shared.iter().position(|held| Some(&held.filter) == filter.as_ref());
            if let Some(at) = shared {
                self.session.shared.remove(at);
                reasons.push(UnsubAckReason::Success);
                continue;
            }
            let held =
                self.session.subscriptions.iter().position(|held| Some(&held.filter) == filter.as_ref());
            let Some(at) = held else {
                reasons.push(UnsubAckReason::NoSubscriptionExisted);
                continue;
            };
            let gone = self.session.subscriptions.remove(at);
            self.session.retained.retain(|turn| turn.filter != gone.filter.plain);
            reasons.push(UnsubAckReason::Success);
        }
        self.session.note_connected(self.client.session_expiry);
        let unsuback = UnsubAck { pkid: unsubscribe.pkid, reasons };
        codec::encode(self.client.version, Packet::UnsubAck(unsuback, None), &mut self.out);
    }
}
