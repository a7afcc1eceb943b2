use std::collections::{HashSet, VecDeque};

use rumqttd::protocol::QoS;

use super::Hub;
use super::ack_window::AckWindow;
use super::acl::Principal;
use super::connect::Client;
use super::deliveries::Deliveries;
use super::envelope::Opened;
use super::fanout::FanoutError;
use super::filter_index::FilterHold;
use super::link::Link;
use super::retained::Turn;
use super::shared::{Share, SharedSubscription};
use super::topic::TopicFilter;

/// One subscription of a session.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) filter: TopicFilter,
    pub(super) qos: QoS,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) identifier: Option<usize>,
    pub(super) hold: FilterHold,
}

/// What outlives a connection.
#[derive(Default)]
pub(super) struct Session {
    /// Whose it is: a client identifier is no secret.
    owner: Principal,
    /// Messages of the client that have no PUBACK or PUBREC yet.
    pub(super) window: AckWindow,
    /// QoS 2 messages of the client between PUBREC and PUBREL.
    pub(super) received: HashSet<u16>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) shared: Vec<SharedSubscription>,
    /// The router's way to this session; `None` until the first subscription.
    pub(super) link: Option<Link>,
    pub(super) deliveries: Deliveries,
    /// New subscriptions that have not got all retained messages.
    pub(super) retained: VecDeque<Turn>,
}

/// How a publication is delivered to a session.
pub(super) struct Match {
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) identifiers: Vec<usize>,
    /// The group that it was taken from.
    pub(super) share: Option<Share>,
}

impl Session {
    pub(super) fn of(client: &Client) -> Self {
        Self { owner: client.identity.login.principal.clone(), ..Self::default() }
    }

    /// Whether the client may go on with this session: it is its own, and nothing in it is forbidden by now.
    pub(super) fn is_for(&self, client: &Client) -> bool {
        let shared = self.shared.iter().map(|held| &held.filter);
        let mut filters = self.subscriptions.iter().map(|held| &held.filter).chain(shared);
        self.owner == client.identity.login.principal
            && filters.all(|filter| client.rights.may_subscribe(&filter.plain))
    }

    /// What the subscriptions say about a publication; `None` when none of them wants it. Overlapping subscriptions give
    /// one delivery with the highest QoS (MQTT 5, 3.3.4): the router sends a copy for each, of which the oldest
    /// subscription's counts, because the older one has got whatever the younger one has.
    pub(super) fn matching(&self, opened: &Opened, client: &Client) -> Option<Match> {
        let publication = &opened.publication;
        // The filter's number may have been another tenant's when this was published.
        if publication.tenant != client.tenant() {
            return None;
        }
        let mut found: Option<Match> = None;
        for subscription in &self.subscriptions {
            let own = subscription.no_local && publication.publisher == client.client_id;
            if own || !subscription.filter.matches(&publication.topic) {
                continue;
            }
            if found.is_none() && subscription.hold.slot() != opened.slot {
                return None;
            }
            let found = found.get_or_insert(Match {
                qos: QoS::AtMostOnce,
                retain: false,
                identifiers: Vec::new(),
                share: None,
            });
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
                    link.subscribe(subscription.hold.slot()).await.map_err(|_| FanoutError::Unavailable)?;
                }
                link
            }
        };
        Ok(self.link.insert(link))
    }
}
