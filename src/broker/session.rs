use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::Hub;
use super::ack_window::AckWindow;
use super::acl::Principal;
use super::connect::Client;
use super::deliveries::Deliveries;
use super::registry::ClientKey;
use super::retained::Turn;
use super::session_log::{self, StoredMessage, StoredSession, StoredSubscription};
use super::session_record::{Header, RecordHandle};
use super::shared::SharedSubscription;
use super::stored_message;
use super::stored_will::PendingWill;
use super::subscription_index::{IndexedSubscription, Options, Subscriber};
use super::topic::TopicFilter;
use super::will::Will;

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
    /// Of a session that outlives its connection, when sessions are stored.
    record: Option<RecordHandle>,
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

    /// Has a session that outlives its connection stored, and no other.
    pub(super) fn persist(&mut self, hub: &Hub, client: &Client) {
        if client.session_expiry.is_zero() {
            self.record = None;
        } else if self.record.is_none() {
            self.record = RecordHandle::new(&hub.journal, (client.tenant(), client.client_id.clone()));
        }
        self.note_connected(client.session_expiry);
    }

    /// The client is connected; its subscriptions may have changed.
    pub(super) fn note_connected(&self, keep: Duration) {
        if let Some(record) = &self.record {
            record.connected(self.header(keep, None, None), self.deliveries.outbox());
        }
    }

    /// The client has gone; its will waits for its delay.
    pub(super) fn note_parked(&self, keep: Duration, will: Option<(&Will, Duration)>) {
        if let Some(record) = &self.record {
            let now = Instant::now();
            let will = will.map(|(will, delay)| PendingWill::of(will, now + delay));
            let header = self.header(keep, Some(now + keep), will);
            record.parked(header, self.deliveries.sent(now), self.deliveries.oldest());
        }
    }

    /// The will was published before the session ended.
    pub(super) fn note_will_sent(&self) {
        if let Some(record) = &self.record {
            record.will_is_sent();
        }
    }

    /// The client has acknowledged something.
    pub(super) fn note_acknowledged(&self) {
        if let Some(record) = &self.record {
            record.acknowledged(|| self.deliveries.oldest());
        }
    }

    fn header(&self, keep: Duration, ends: Option<Instant>, will: Option<PendingWill>) -> Header {
        let stored = |filter: &TopicFilter, options: &Options| StoredSubscription {
            filter: filter.to_string(),
            qos: options.qos as u8,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            identifier: options.identifier,
        };
        let own = self.subscriptions.iter().map(|held| stored(&held.filter, &held.options));
        let shared = self.shared.iter().map(|held| stored(&held.filter, &held.options));
        Header {
            owner: session_log::owner(&self.owner),
            keep,
            ends,
            subscriptions: own.chain(shared).collect(),
            received: self.received.iter().copied().collect(),
            last_packet_id: self.deliveries.last_packet_id(),
            will,
        }
    }

    /// A session as it was stored. `None` when there are too many subscriptions.
    pub(super) fn restored(
        hub: &Hub,
        key: &ClientKey,
        owner: Principal,
        subscriptions: &[StoredSubscription],
        (stored, ends): (StoredSession, Instant),
        messages: Vec<StoredMessage>,
    ) -> Option<Self> {
        let (tenant, client) = key.clone();
        let outbox = hub.outboxes.open();
        let stored_to = messages.last().map_or(0, |last| last.position + 1);
        let deliveries = Deliveries::restored(outbox.clone(), tenant, messages, stored.last_packet_id);
        let received = stored.received.iter().copied().collect();
        let mut session = Self { owner, received, deliveries, ..Self::default() };
        for held in subscriptions {
            let Some(filter) = TopicFilter::parse(&held.filter, hub.config.max_topic_levels) else {
                continue;
            };
            let options = Options {
                qos: stored_message::qos(held.qos),
                no_local: held.no_local,
                retain_as_published: held.retain_as_published,
                identifier: held.identifier,
            };
            if let Some(name) = filter.group.clone() {
                let group = hub.shared.join(hub, tenant, &name, &filter)?;
                session.shared.push(SharedSubscription::new(filter, group, options));
                continue;
            }
            let subscriber = Subscriber { outbox: outbox.clone(), client: client.clone() };
            let indexed = hub.subscriptions.add(tenant, filter.plain.clone(), subscriber, options)?;
            session.subscriptions.push(Subscription { filter, options, indexed });
        }
        let will = stored.will.as_ref().map(PendingWill::restored);
        let header = session.header(stored.keep, Some(ends), will);
        session.record = RecordHandle::new(&hub.journal, key.clone());
        if let Some(record) = &session.record {
            record.restored(header, outbox, stored_to);
        }
        Some(session)
    }
}
