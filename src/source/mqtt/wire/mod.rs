//! One connection of an MQTT client, the same for both versions of the protocol.
//!
//! rumqttc's event loop is made anew for each connection: one that goes on holds events, requests and acknowledgements of
//! the connection before, and would send those to a session that gave their packet ids to other messages.

mod v3;
mod v5;

use std::time::Duration;

use bytes::Bytes;
use rumqttc::tokio_rustls::rustls::ClientConfig;
use rumqttc::{TlsConfiguration, Transport as Route};
use std::sync::Arc;
use thiserror::Error;

use super::address::Transport;
use super::{MqttSourceOptions, Version};

/// Requests that may wait for the connection: an answer for each packet id, SUBSCRIBE, DISCONNECT.
const MAX_REQUESTS: usize = 65_535 + 8;

/// What an MQTT connection is made with.
pub(super) struct ConnectOptions<'o> {
    pub(super) options: &'o MqttSourceOptions,
    pub(super) tls: Option<&'o Arc<ClientConfig>>,
}

/// The acknowledgement that a message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PendingAck {
    pub(super) pkid: u16,
    /// PUBREC instead of PUBACK. Subscriptions are at QoS 1; only a session that somebody else began brings this.
    pub(super) exactly_once: bool,
}

/// What a connection tells.
#[derive(Debug)]
pub(super) enum SourceEvent {
    Connected {
        session_present: bool,
    },
    /// One entry for each filter: whether it was granted with acknowledgements, or what the broker said.
    Subscribed(Vec<Result<(), String>>),
    Message {
        topic: String,
        payload: Bytes,
        /// `None` for QoS 0.
        answer: Option<PendingAck>,
    },
    /// DISCONNECT was written.
    Disconnected,
    Other,
}

/// Why a connection could not be made, or ended.
#[derive(Debug, Error)]
pub(super) enum WireError {
    #[error("the broker refuses the connection: {0}")]
    Refused(String),
    #[error("no answer in time")]
    Timeout,
    #[error("what answers there does not accept the connection as a broker does")]
    NotConnAck,
    #[error("a message is larger than max_packet_bytes")]
    TooLarge,
    #[error("the broker closed the connection")]
    Closed,
    #[error("the broker ended the connection: {0}")]
    Ended(String),
    #[error("the broker is not heard any more")]
    Silent,
    #[error("the broker sends faster than it can be told what has arrived")]
    Unheard,
    #[error("the broker does not grant a subscription with acknowledgements: {0}")]
    NotGranted(String),
    #[error("{0}")]
    Other(String),
}

/// The connection itself; reads and writes while it is polled.
pub(super) enum Wire {
    V3(Box<rumqttc::EventLoop>),
    V5(Box<rumqttc::v5::EventLoop>),
}

/// Puts requests on their way; they leave while the [`Wire`] is polled.
pub(super) enum Requests {
    V3(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

impl Wire {
    /// Connects when it is polled.
    pub(super) fn new(options: &ConnectOptions<'_>) -> (Self, Requests) {
        match options.options.version {
            Version::V311 => v3::new(options),
            Version::V5 => v5::new(options),
        }
    }

    /// The next thing that happens. Not cancel-safe: an answer that is being written would be lost, and its packet id with
    /// it until the next connection.
    pub(super) async fn poll(&mut self) -> Result<SourceEvent, WireError> {
        match self {
            Self::V3(events) => v3::poll(events).await,
            Self::V5(events) => v5::poll(events).await,
        }
    }

    /// How long the connection may be silent before a PINGREQ; the broker may have decided it.
    pub(super) fn keep_alive(&self) -> Duration {
        match self {
            Self::V3(events) => events.mqtt_options.keep_alive(),
            Self::V5(events) => events.options.keep_alive(),
        }
    }
}

impl Requests {
    /// False when there is no room now.
    pub(super) fn answer(&self, answer: PendingAck) -> bool {
        match self {
            Self::V3(client) => v3::answer(client, answer),
            Self::V5(client) => v5::answer(client, answer),
        }
    }

    pub(super) fn subscribe(&self, filters: &[String]) {
        match self {
            Self::V3(client) => v3::subscribe(client, filters),
            Self::V5(client) => v5::subscribe(client, filters),
        }
    }

    /// Leaves the session at the broker.
    pub(super) fn disconnect(&self) {
        match self {
            Self::V3(client) => client.try_disconnect().ok(),
            Self::V5(client) => client.try_disconnect().ok(),
        };
    }
}

impl ConnectOptions<'_> {
    fn route(&self) -> Route {
        let tls = || TlsConfiguration::Rustls(self.tls.cloned().expect("made for every address with TLS"));
        match self.options.address.transport {
            Transport::Tcp => Route::tcp(),
            Transport::Tls => Route::tls_with_config(tls()),
            Transport::WebSocket => Route::ws(),
            Transport::TlsWebSocket => Route::wss_with_config(tls()),
        }
    }
}

/// One line, for the log.
fn words(error: impl std::fmt::Display) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
