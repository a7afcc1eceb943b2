//! The embedded MQTT broker: MQTT 3.1.1 and 5 on one port (ADR 0002), over TCP, TLS and WebSocket.
//!
//! The sockets are ours and the codecs rumqttd's. A PUBLISH with usage goes to the ingest queue and is answered when it is
//! committed; everything, usage included, is delivered to subscribers through rumqttd's router.

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
mod envelope;
mod fanout;
mod feeder;
mod filter_index;
mod inbound;
mod link;
mod listener;
pub mod metrics;
mod outbound;
mod publication;
mod publisher;
mod rate;
mod reading;
mod registry;
mod reply;
mod retained;
mod retained_log;
mod session;
mod shared;
mod strictness;
mod subscribing;
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
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::mqtt::MqttConfig;
use crate::domain::{Clock, TenantId};
use crate::ingest::queue::IngestQueue;
use crate::ingest::topics::UsageTopics;

use acl::{DefaultRules, LoginWatch};
use admission::Admission;
use auth::Access;
use fanout::Fanout;
use filter_index::FilterIndex;
use metrics::BrokerMetrics;
use publication::Publication;
pub use publisher::Publisher;
use registry::Registry;
use retained::RetainedStore;
pub use retained_log::{RetainedChanges, RetainedLog, RetainedMessage};
use shared::SharedGroups;
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
    fanout: Fanout,
    filters: Arc<FilterIndex>,
    shared: Arc<SharedGroups>,
    retained: Arc<RetainedStore>,
    registry: Arc<Registry>,
    /// Bytes that connections have read and the queue had no room for.
    backlog: Arc<AtomicUsize>,
    open_connections: AtomicUsize,
    admission: Arc<Admission>,
    take_overs: TakeOvers,
    traffic: TrafficLimits,
    /// Somebody has subscribed below `$SYS`.
    sys_wanted: Notify,
    /// Connections and what they leave to be done.
    tasks: TaskTracker,
}

impl Broker {
    pub fn new(options: BrokerOptions) -> Self {
        let config = options.config;
        let hub = Hub {
            fanout: Fanout::start(
                config.max_subscribers,
                config.subscription_log_bytes,
                options.metrics.clone(),
            ),
            filters: Arc::default(),
            shared: Arc::default(),
            retained: Arc::new(RetainedStore::new(config.max_retained_messages, config.max_retained_bytes)),
            registry: Arc::new(Registry::new(config.max_parked_sessions)),
            backlog: Arc::default(),
            open_connections: AtomicUsize::new(0),
            admission: Arc::new(Admission::new(&config, options.metrics.clone())),
            take_overs: TakeOvers::new(&config.admission),
            traffic: TrafficLimits::new(&config.traffic, config.admission.max_addresses),
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

    /// The way for the program's own messages to clients.
    pub fn publisher(&self) -> Publisher {
        Publisher::new(&self.hub)
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
    async fn publish(&self, publication: Publication) {
        let slots = self.filters.matching(publication.tenant, &publication.topic);
        if slots.is_empty() && !publication.retain {
            return;
        }
        let publication = Arc::new(publication);
        if publication.retain && !self.retained.retain(&publication) {
            self.metrics.dropped("retained_store_full", 1);
        }
        if !slots.is_empty() {
            let taken = self.fanout.publish(publication, slots).await;
            if !taken {
                self.metrics.dropped("router_behind", 1);
            }
        }
    }

    /// Publishes the outcome of a message that asked for it.
    async fn reply(&self, tenant: TenantId, to: ack_window::ReplyTo, payload: Bytes) {
        let properties = rumqttd::protocol::PublishProperties {
            correlation_data: to.correlation_data,
            payload_format_indicator: Some(1),
            content_type: Some("application/json".into()),
            ..Default::default()
        };
        let mut publication =
            Publication::new(tenant, to.topic.as_str().into(), payload, Some(properties), Instant::now());
        publication.qos = rumqttd::protocol::QoS::AtLeastOnce;
        self.publish(publication).await;
    }
}
