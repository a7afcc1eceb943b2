use std::collections::HashSet;

use rumqttd::protocol::QoS;

use crate::domain::TenantId;

use super::Hub;
use super::ack_window::AckWindow;
use super::deliveries::Deliveries;
use super::fanout::{FanoutError, Link};
use super::filter_index::FilterSlot;
use super::publication::Publication;
use super::topic::TopicFilter;

/// One subscription of a session.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) filter: TopicFilter,
    pub(super) qos: QoS,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) identifier: Option<usize>,
    pub(super) slot: FilterSlot,
}

/// What outlives a connection.
#[derive(Default)]
pub(super) struct Session {
    /// Messages of the client that have no PUBACK or PUBREC yet.
    pub(super) window: AckWindow,
    /// QoS 2 messages of the client between PUBREC and PUBREL.
    pub(super) received: HashSet<u16>,
    pub(super) subscriptions: Vec<Subscription>,
    /// The router's way to this session; `None` until the first subscription.
    pub(super) link: Option<Link>,
    pub(super) deliveries: Deliveries,
}

/// How a publication is delivered to a session.
pub(super) struct Match {
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) identifiers: Vec<usize>,
}

impl Session {
    /// What the subscriptions say about a publication; `None` when none of them wants it. Overlapping subscriptions give
    /// one delivery with the highest QoS (MQTT 5, 3.3.4).
    pub(super) fn matching(&self, publication: &Publication, client_id: &str) -> Option<Match> {
        let mut found: Option<Match> = None;
        for subscription in &self.subscriptions {
            let own = subscription.no_local && &*publication.publisher == client_id;
            if own || !subscription.filter.matches(&publication.topic) {
                continue;
            }
            let found =
                found.get_or_insert(Match { qos: QoS::AtMostOnce, retain: false, identifiers: Vec::new() });
            if subscription.qos as u8 > found.qos as u8 {
                found.qos = subscription.qos;
            }
            found.retain |= publication.retain && subscription.retain_as_published;
            found.identifiers.extend(subscription.identifier);
        }
        found
    }

    /// The link, made or remade: a router that died took its links with it.
    pub(super) async fn ensure_link(&mut self, hub: &Hub) -> Result<&mut Link, FanoutError> {
        let current = *hub.fanout.generation().borrow();
        let link = match self.link.take() {
            Some(link) if link.generation() == current => link,
            _ => {
                let mut link = hub.fanout.open().await?;
                for subscription in &self.subscriptions {
                    link.subscribe(subscription.slot).await.map_err(|_| FanoutError::Unavailable)?;
                }
                link
            }
        };
        Ok(self.link.insert(link))
    }

    /// The session is over; its filters are given back.
    pub(super) fn end(self, hub: &Hub, tenant: TenantId) {
        for subscription in &self.subscriptions {
            hub.filters.remove(tenant, &subscription.filter.plain);
        }
    }
}
