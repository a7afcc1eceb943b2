//! Subscriptions at brokers of others.
//!
//! A source is one client of one broker, with a session that the broker keeps. A message goes the way of all messages and is
//! acknowledged after its COMMIT, so whatever dies in between, the broker delivers it again and its key is recognised.

mod address;
mod backoff;
mod connection;
mod window;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::domain::TenantId;
use crate::ingest::queue::{IngestQueue, Sender, Via};
use crate::ingest::topics::UsageTopics;
use crate::outgoing::{TlsFiles, tls_client};

use super::metrics::SourceState;
use super::{Source, SourceFault};
use backoff::Backoff;

pub use address::{Address, AddressError};

/// While a broker is away it is mentioned this often.
const REMIND_EVERY: Duration = Duration::from_secs(300);

/// Version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V311,
    V5,
}

/// How a source subscribes.
pub struct MqttSourceOptions {
    pub address: Address,
    /// User and password.
    pub login: Option<(String, String)>,
    pub version: Version,
    pub topics: UsageTopics,
    /// Empty for a subscription that is not shared.
    pub share_group: String,
    pub tenant: TenantId,
    pub tenant_name: String,
    pub may_correct: bool,
    pub client_id: String,
    /// Unacknowledged messages that a broker of MQTT 5 may have under way; those of both versions that may wait for the
    /// ingest queue.
    pub in_flight: u16,
    pub backlog_max_bytes: usize,
    pub max_packet_bytes: u32,
    pub keep_alive: Duration,
    pub session_expiry_seconds: u32,
    pub connect_timeout: Duration,
    pub tls: TlsFiles,
    pub reconnect_first: Duration,
    pub reconnect_longest: Duration,
}

/// A broker that is subscribed to.
pub struct MqttSource {
    options: MqttSourceOptions,
    sender: Arc<Sender>,
    filters: Vec<String>,
    tls: Option<Arc<ClientConfig>>,
    state: Arc<SourceState>,
    /// Since the start of the process.
    subscribed_once: AtomicBool,
}

impl Source for MqttSource {
    fn state(&self) -> &SourceState {
        &self.state
    }

    /// Stays subscribed until `soft` and everything that was received is acknowledged, or until `hard`.
    async fn run(self: Arc<Self>, queue: IngestQueue, soft: CancellationToken, hard: CancellationToken) {
        tokio::select! {
            () = hard.cancelled() => {}
            () = self.stay_subscribed(&queue, &soft) => {}
        }
        self.state.stopped();
    }
}

impl MqttSource {
    /// # Errors
    /// [`SourceFault`] when a file cannot be used, or the tenant's name cannot stand in a topic.
    pub(crate) fn new(options: MqttSourceOptions, state: Arc<SourceState>) -> Result<Self, SourceFault> {
        let tls = options.address.is_encrypted().then(|| tls_client(&options.tls)).transpose()?.map(Arc::new);
        let plain = options.topics.filters(&options.tenant_name);
        if plain != options.topics.filters("t") && options.tenant_name.contains(['/', '+', '#']) {
            let problem = format!("`{}` cannot be a level of a topic", options.tenant_name);
            return Err(SourceFault { key: "tenant", problem });
        }
        let shared = |filter: String| match options.share_group.as_str() {
            "" => filter,
            group => format!("$share/{group}/{filter}"),
        };
        Ok(Self {
            filters: plain.into_iter().map(shared).collect(),
            sender: Arc::new(Sender {
                iccid: None,
                tenant: options.tenant,
                may_correct: options.may_correct,
                via: Via::Source,
                name: state.name().into(),
            }),
            tls,
            options,
            state,
            subscribed_once: AtomicBool::new(false),
        })
    }

    async fn stay_subscribed(&self, queue: &IngestQueue, soft: &CancellationToken) {
        let mut backoff = Backoff::new(self.options.reconnect_first, self.options.reconnect_longest);
        let mut outage: Option<Outage> = None;
        while !soft.is_cancelled() {
            self.state.connecting();
            let ended = Box::pin(connection::run(self, queue, soft)).await;
            let stood = ended.subscribed_at.map(|at| at.elapsed());
            let Some(cause) = ended.cause else { return };
            let text = printable(&cause.to_string());
            outage = Some(Outage::mention(outage.filter(|_| stood.is_none()), &text, self.state.name()));
            self.state.failed(text);
            let delay = backoff.next_delay(stood.unwrap_or_default());
            tokio::select! {
                () = soft.cancelled() => {}
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    fn was_subscribed(&self) -> bool {
        self.subscribed_once.load(Ordering::Relaxed)
    }

    fn has_subscribed(&self) {
        self.subscribed_once.store(true, Ordering::Relaxed);
        self.state.working();
    }
}

/// A time without subscription, mentioned when it begins, when its cause changes, and now and then. Its end is mentioned by
/// the connection that is subscribed.
struct Outage {
    mentioned: Instant,
    text: String,
}

impl Outage {
    fn mention(before: Option<Self>, text: &str, source: &str) -> Self {
        let now = Instant::now();
        match before {
            Some(same) if same.text == text && now - same.mentioned < REMIND_EVERY => same,
            _ => {
                warn!(source, error = text, "not subscribed; will try again");
                Self { mentioned: now, text: text.into() }
            }
        }
    }
}

/// For the log: what others wrote, without control characters and bounded.
fn printable(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
