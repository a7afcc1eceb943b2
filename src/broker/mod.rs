//! The embedded MQTT broker: MQTT 3.1.1 and 5 on one port (ADR 0002), over TCP, TLS and WebSocket.
//!
//! The sockets are ours and the codecs rumqttd's. A PUBLISH with usage goes to the ingest queue and is answered when it is
//! committed; everything, usage included, is put into the outboxes of its subscribers (ADR 0014).

mod ack_window;
pub mod acl;
mod admission;
pub mod auth;
mod certificate;
mod codec;
mod connect;
mod connection;
pub mod credential;
mod deliveries;
mod ending;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod group_log;
mod group_record;
mod inbound;
mod journal;
mod listener;
pub mod metrics;
mod outbound;
mod outbox;
mod publication;
mod publisher;
mod pulse;
mod rate;
mod reading;
mod registry;
mod reply;
mod retained;
mod retained_log;
mod session;
mod session_log;
mod session_record;
mod shared;
mod stored_message;
mod stored_will;
mod strictness;
mod subscribing;
mod subscription_index;
mod sys_topics;
mod take_over;
pub mod tls;
mod topic;
mod traffic;
mod transport;
mod will;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::mqtt::MqttConfig;
use crate::domain::{Clock, TenantId};
use crate::ingest::queue::IngestQueue;
use crate::ingest::topics::UsageTopics;

use acl::{DefaultRules, LoginWatch};
use admission::Admission;
use auth::Access;
pub use group_log::{GroupChange, GroupChanges, GroupLog, GroupRestore, StoredGroup};
use journal::Journal;
use metrics::BrokerMetrics;
use outbox::{Delivery, Outbox, OutboxLimits, Outboxes, Pushed};
use publication::Publication;
pub use publisher::Publisher;
pub use pulse::Pulse;
use registry::Registry;
use retained::RetainedStore;
pub use retained_log::{RetainedChanges, RetainedLog, RetainedMessage};
pub use session_log::{
    SessionChange, SessionChanges, SessionLog, SessionRestore, StoredMessage, StoredSession,
};
use session_record::SessionRecord;
use shared::SharedGroups;
pub use stored_will::StoredWill;
use subscription_index::{SubscriptionIndex, Taker};
use take_over::TakeOvers;
use traffic::TrafficLimits;
pub use transport::Listener;

/// What a broker needs.
pub struct BrokerOptions {
    pub config: MqttConfig,
    pub topics: UsageTopics,
    pub queue: IngestQueue,
    pub access: Access,
    pub clock: Clock,
    pub metrics: Arc<BrokerMetrics>,
}

/// The embedded broker.
pub struct Broker {
    hub: Arc<Hub>,
}

/// What all connections share.
struct Hub {
    config: MqttConfig,
    topics: UsageTopics,
    queue: Arc<IngestQueue>,
    access: Access,
    rules: DefaultRules,
    clock: Clock,
    metrics: Arc<BrokerMetrics>,
    subscriptions: Arc<SubscriptionIndex>,
    outboxes: Arc<Outboxes>,
    shared: Arc<SharedGroups>,
    retained: Arc<RetainedStore>,
    registry: Arc<Registry>,
    journal: Arc<Journal<SessionRecord>>,
    /// Bytes that connections have read and the queue had no room for.
    backlog: Arc<AtomicUsize>,
    open_connections: AtomicUsize,
    admission: Arc<Admission>,
    take_overs: TakeOvers,
    traffic: TrafficLimits,
    /// When the house was kept last.
    pulse: watch::Sender<Instant>,
    /// Somebody has subscribed below `$SYS`.
    sys_wanted: Notify,
    /// Connections and what they leave to be done.
    tasks: TaskTracker,
}

impl Broker {
    pub fn new(options: BrokerOptions) -> Self {
        let config = options.config;
        let hub = Hub {
            subscriptions: Arc::new(SubscriptionIndex::new(config.max_subscriptions)),
            outboxes: Arc::new(Outboxes::new(OutboxLimits {
                max_messages: config.max_outbound_messages,
                max_bytes: config.max_outbound_bytes,
                max_bytes_in_all: config.max_outbound_bytes_in_all,
                patience: Duration::from_millis(config.subscriber_patience_milliseconds),
            })),
            shared: Arc::default(),
            retained: Arc::new(RetainedStore::new(config.max_retained_messages, config.max_retained_bytes)),
            registry: Arc::new(Registry::new(config.max_parked_sessions)),
            journal: Arc::default(),
            backlog: Arc::default(),
            open_connections: AtomicUsize::new(0),
            admission: Arc::new(Admission::new(&config, options.metrics.clone())),
            take_overs: TakeOvers::new(&config.admission),
            traffic: TrafficLimits::new(&config.traffic, config.admission.max_addresses),
            pulse: watch::Sender::new(Instant::now()),
            sys_wanted: Notify::new(),
            tasks: TaskTracker::new(),
            topics: options.topics,
            queue: Arc::new(options.queue),
            access: options.access,
            rules: DefaultRules::new(&config.acl),
            clock: options.clock,
            metrics: options.metrics,
            config,
        };
        Self { hub: Arc::new(hub) }
    }

    /// What is retained, to be stored and restored.
    pub fn retained(&self) -> RetainedLog {
        RetainedLog::new(&self.hub.retained)
    }

    /// Sessions that outlive their connections, to be stored from now on, and those that were stored before.
    pub fn sessions(&self) -> (SessionLog, SessionRestore) {
        (SessionLog::new(&self.hub), SessionRestore::new(&self.hub))
    }

    /// What waits for shared subscriptions, to be stored from now on, and what was stored before: after the sessions.
    pub fn groups(&self) -> (GroupLog, GroupRestore) {
        (GroupLog::new(&self.hub), GroupRestore::new(&self.hub))
    }

    /// The way for the program's own messages to clients.
    pub fn publisher(&self) -> Publisher {
        Publisher::new(&self.hub)
    }

    /// Whether it still moves while it runs.
    pub fn pulse(&self) -> Pulse {
        Pulse::of(&self.hub)
    }

    /// What ends connections of logins that were revoked or changed; `None` when there are no logins.
    pub fn login_watch(&self) -> Option<LoginWatch> {
        match self.hub.access {
            Access::Anonymous { .. } => None,
            Access::Password(_) => Some(LoginWatch::new(&self.hub.registry, &self.hub.config.acl)),
        }
    }

    /// Serves the clients that come in at `listeners` until `soft` is cancelled and everything received is answered, or until `hard` is.
    pub async fn run(self, listeners: Vec<Listener>, soft: CancellationToken, hard: CancellationToken) {
        let sys_topics = sys_topics::run(self.hub.clone());
        tokio::select! {
            () = listener::run(self.hub, listeners, soft, hard) => {}
            () = sys_topics => {}
        }
    }
}

impl Hub {
    /// Delivers to whoever subscribed, and retains if asked.
    fn publish(&self, publication: Publication) {
        let Publication { tenant, topic, publisher, .. } = &publication;
        let takers = self.subscriptions.takers(*tenant, topic, publisher);
        self.deliver(publication, takers);
    }

    /// As `publish`, to those who were found. Returns a subscriber that does not keep up: a publisher that can wait should.
    fn deliver(&self, publication: Publication, takers: Vec<Taker>) -> Option<Arc<Outbox>> {
        let publication = Arc::new(publication);
        if publication.retain && !self.retained.retain(&publication) {
            self.metrics.dropped("retained_store_full", 1);
        }
        let mut behind = None;
        for Taker { outbox, qos, retain_as_published, identifiers } in takers {
            let pushed = outbox.push(Delivery {
                qos: codec::lower(publication.qos, qos),
                retain: publication.retain && retain_as_published,
                identifiers,
                share: None,
                publication: publication.clone(),
            });
            if pushed.hold {
                behind = Some(outbox);
            }
            self.note(pushed);
        }
        behind
    }

    /// Counts what was not delivered.
    fn note(&self, pushed: Pushed) {
        if pushed.dropped > 0 {
            self.metrics.dropped("slow_subscriber", pushed.dropped);
        }
        if pushed.gave_way > 0 {
            self.metrics.dropped("outbox_full", pushed.gave_way);
        }
    }

    /// Publishes the outcome of a message that asked for it.
    fn reply(&self, tenant: TenantId, to: ack_window::ReplyTo, payload: Bytes) {
        let properties = rumqttd::protocol::PublishProperties {
            correlation_data: to.correlation_data,
            payload_format_indicator: Some(1),
            content_type: Some("application/json".into()),
            ..Default::default()
        };
        let mut publication =
            Publication::new(tenant, to.topic.as_str().into(), payload, Some(properties), Instant::now());
        publication.qos = rumqttd::protocol::QoS::AtLeastOnce;
        self.publish(publication);
    }
}
