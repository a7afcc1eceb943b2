use std::collections::{HashSet, VecDeque};

use super::ack_window::AckWindow;
use super::acl::Principal;
use super::connect::Client;
use super::deliveries::Deliveries;
use super::retained::Turn;
use super::shared::SharedSubscription;
use super::subscription_index::{IndexedSubscription, Options};
use super::topic::TopicFilter;

/// One subscription of a session.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) filter: TopicFilter,
    pub(super) options: Options,
    pub(super) indexed: IndexedSubscription,
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
    pub(super) deliveries: Deliveries,
    /// New subscriptions that have not got all retained messages.
    pub(super) retained: VecDeque<Turn>,
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

    /// Whether a connection takes what waits, for the session and for the groups that it is in.
    pub(super) fn set_connected(&mut self, connected: bool) {
        self.deliveries.set_connected(connected);
        for shared in &mut self.shared {
            shared.set_connected(connected);
        }
    }
}
