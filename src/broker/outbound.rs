//! What a client is sent besides answers.

use std::time::{Duration, Instant};

use super::connection::Connection;
use super::deliveries::{Deliveries, Outlet};
use super::ending::Ending;
use super::envelope::Opened;
use super::publication::Publication;
use super::session::Match;

/// Publications taken from the router at a time.
const DELIVERY_TURN: usize = 256;
/// Retained messages are encoded as far as this, and then written.
const RETAINED_TURN_BYTES: usize = 64 * 1024;
/// A router that is being replaced is asked again so much later.
const RELINK_PAUSE: Duration = Duration::from_millis(200);

impl Connection {
    pub(super) async fn deliver(&mut self, first: Opened) {
        let mut next = Some(first);
        let mut turn = 1..DELIVERY_TURN;
        while let Some(opened) = next.take() {
            if let Some(matched) = self.session.matching(&opened, &self.client)
                && !self.session.deliveries.push(opened.publication, matched, &self.limits)
            {
                self.hub.metrics.dropped("slow_subscriber", 1);
            }
            // What is taken from the router must be kept, so the end is decided before.
            if turn.next().is_none() || !self.session.deliveries.has_room(&self.limits) {
                break;
            }
            if let Some(link) = &mut self.session.link {
                next = link.next_ready().await;
            }
        }
        let missed = self.session.link.as_mut().map_or(0, |link| link.take_missed());
        if missed > 0 {
            self.hub.metrics.dropped("log_overwritten", missed);
        }
        self.pump();
    }

    /// Takes what came up in a shared subscription; there was room for it.
    pub(super) fn deliver_shared(&mut self, publication: Publication, matched: Match) {
        self.session.deliveries.push(publication, matched, &self.limits);
        self.pump();
    }

    /// The router died and took the link along; the new one gets the same subscriptions.
    pub(super) async fn relink(&mut self) -> Result<(), Ending> {
        self.session.link = None;
        if self.session.ensure_link(&self.hub.clone()).await.is_err() {
            tokio::time::sleep(RELINK_PAUSE).await;
        }
        Ok(())
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
            && self.session.deliveries.is_relaxed(&self.limits)
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
            let matched = Match {
                qos: turn.qos,
                retain: true,
                identifiers: turn.identifier.into_iter().collect(),
                share: None,
            };
            self.session.deliveries.push((*publication).clone(), matched, &self.limits);
            let (deliveries, mut outlet) = self.outlet();
            too_large += deliveries.pump(&mut outlet, Instant::now());
        }
        too_large
    }
}
