//! What a client is sent besides answers.

use std::time::Instant;

use super::codec;
use super::connection::Connection;
use super::deliveries::{Deliveries, Outlet};
use super::outbox::Delivery;

/// Retained messages are encoded as far as this, and then written.
const RETAINED_TURN_BYTES: usize = 64 * 1024;

impl Connection {
    /// Takes what came up in a shared subscription; there was room for it.
    pub(super) fn deliver_shared(&mut self, delivery: Delivery) {
        self.keep(delivery);
        self.pump();
    }

    /// Behind what waits already. Whoever subscribes has an outbox.
    fn keep(&self, delivery: Delivery) {
        if let Some(outbox) = self.session.deliveries.outbox() {
            self.hub.note(outbox.push(delivery));
        }
    }

    pub(super) fn outlet(&mut self) -> (&mut Deliveries, Outlet<'_>) {
        let outlet = Outlet {
            version: self.client.version,
            out: &mut self.out,
            aliases: &mut self.outbound_aliases,
            limits: self.limits,
            sent: &self.hub.metrics.messages_sent,
        };
        (&mut self.session.deliveries, outlet)
    }

    /// Sends what the client has room for.
    pub(super) fn pump(&mut self) {
        let (deliveries, mut outlet) = self.outlet();
        let too_large = deliveries.pump(&mut outlet, Instant::now());
        let too_large = too_large + self.pump_retained();
        if too_large > 0 {
            self.hub.metrics.dropped("packet_too_large", too_large);
        }
    }

    pub(super) fn may_send_retained(&self) -> bool {
        !self.session.retained.is_empty()
            && self.out.len() < RETAINED_TURN_BYTES
            && self.session.deliveries.is_relaxed()
    }

    /// As `pump`, for the retained messages that new subscriptions have not got yet.
    fn pump_retained(&mut self) -> u64 {
        let mut too_large = 0;
        while self.may_send_retained()
            && let Some(turn) = self.session.retained.front_mut()
        {
            let Some(publication) = self.hub.retained.next(self.client.identity.tenant, turn) else {
                self.session.retained.pop_front();
                continue;
            };
            turn.after = Some(publication.topic.clone());
            let (qos, identifier) = (turn.qos, turn.identifier);
            self.keep(Delivery {
                qos: codec::lower(publication.qos, qos),
                retain: true,
                identifiers: identifier.into_iter().collect(),
                share: None,
                publication,
            });
            let (deliveries, mut outlet) = self.outlet();
            too_large += deliveries.pump(&mut outlet, Instant::now());
        }
        too_large
    }
}
