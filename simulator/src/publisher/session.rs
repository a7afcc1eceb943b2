//! rumqttc's two clients behind one face.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5 as packet5;
use rumqttc::{Outgoing, Packet, mqttbytes::QoS};

use super::{Protocol, PublisherOptions};

/// Packet ids for each message of the window: a broker that acknowledges one message late does not stall the rest at
/// once, and the event loop's table stays small.
const PACKET_IDS_PER_MESSAGE: u16 = 4;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const MAX_PACKET: usize = 1 << 20;

/// What happened on the connection, as far as the publisher cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Connected {
        receive_maximum: Option<u16>,
    },
    /// The next submitted message was written; the packet id is 0 at QoS 0.
    Written(u16),
    Finished {
        packet_id: u16,
        verdict: Verdict,
    },
    /// PUBREC of MQTT 5 says that nobody subscribes to the message; PUBCOMP is still to come.
    Unheard {
        packet_id: u16,
    },
    /// DISCONNECT was written.
    Closing,
    Other,
}

/// What the broker's acknowledgement means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    /// Nobody subscribes to it (MQTT 5, 0x10).
    Unheard,
    /// Kept aside with this reason: it ends the sender's retries like an acceptance (contract §2).
    Parked(String),
    /// Not kept.
    Refused(String),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// Trying again will not help.
    #[error("the broker refused the connection: {0}")]
    Denied(String),
    #[error("connection lost: {0}")]
    Lost(String),
}

/// A connection attempt and the connection that comes out of it. A new one is made after every loss: rumqttc's own
/// resending drops what is pending when the broker has no session, reorders MQTT 5 messages by packet id and forgets a
/// message that waits for its id, while a clean session with the window's own order has one rule for all brokers.
pub(crate) enum Session {
    V311 { client: rumqttc::AsyncClient, events: Box<rumqttc::EventLoop> },
    V5 { client: rumqttc::v5::AsyncClient, events: Box<rumqttc::v5::EventLoop> },
}

impl Session {
    pub(crate) fn packet_ids(window: u16) -> u16 {
        window.saturating_mul(PACKET_IDS_PER_MESSAGE)
    }

    /// Prepares a connection; the first poll opens it.
    pub(crate) fn new(options: &PublisherOptions, client_id: &str) -> Self {
        let packet_ids = Self::packet_ids(options.window);
        let (host, port) = (options.host.as_str(), options.port);
        // The window bounds what is submitted, and a disconnect comes on top: the channel is never full.
        let capacity = usize::from(options.window) + 1;
        match options.protocol {
            Protocol::V311 => {
                let mut mqtt = rumqttc::MqttOptions::new(client_id, host, port);
                mqtt.set_clean_session(true)
                    .set_inflight(packet_ids)
                    .set_keep_alive(KEEP_ALIVE)
                    .set_max_packet_size(MAX_PACKET, MAX_PACKET);
                if let Some(login) = &options.credentials {
                    mqtt.set_credentials(&login.username, &login.password);
                }
                let (client, events) = rumqttc::AsyncClient::new(mqtt, capacity);
                Self::V311 { client, events: Box::new(events) }
            }
            Protocol::V5 => {
                let mut mqtt = rumqttc::v5::MqttOptions::new(client_id, host, port);
                mqtt.set_clean_start(true).set_keep_alive(KEEP_ALIVE);
                mqtt.set_outgoing_inflight_upper_limit(packet_ids);
                if let Some(login) = &options.credentials {
                    mqtt.set_credentials(&login.username, &login.password);
                }
                let (client, events) = rumqttc::v5::AsyncClient::new(mqtt, capacity);
                Self::V5 { client, events: Box::new(events) }
            }
        }
    }

    /// Takes the session apart, because polling borrows the events while messages are submitted.
    pub(crate) fn split(&mut self) -> (Requests<'_>, Events<'_>) {
        match self {
            Self::V311 { client, events } => (Requests::V311(client), Events::V311(events)),
            Self::V5 { client, events } => (Requests::V5(client), Events::V5(events)),
        }
    }

    /// What was read from the socket before the connection ended and not been reported yet.
    pub(crate) fn remaining(&mut self) -> Vec<Signal> {
        match self {
            Self::V311 { events, .. } => events.state.events.drain(..).map(signal_of_v311).collect(),
            Self::V5 { events, .. } => events.state.events.drain(..).map(signal_of_v5).collect(),
        }
    }
}

pub(crate) enum Requests<'a> {
    V311(&'a rumqttc::AsyncClient),
    V5(&'a rumqttc::v5::AsyncClient),
}

impl Requests<'_> {
    pub(crate) fn publish(&self, topic: &str, qos: u8, payload: &Bytes) -> Result<(), SessionError> {
        let lost = |error: &dyn std::fmt::Display| SessionError::Lost(error.to_string());
        match self {
            Self::V311(client) => {
                let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos.min(2))];
                client.try_publish(topic, qos, false, payload.as_ref()).map_err(|error| lost(&error))
            }
            Self::V5(client) => {
                use rumqttc::v5::mqttbytes::QoS;
                let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos.min(2))];
                client.try_publish(topic, qos, false, payload.clone()).map_err(|error| lost(&error))
            }
        }
    }

    /// Asks for a DISCONNECT; best effort, the connection is closed in any case.
    pub(crate) fn disconnect(&self) {
        let _ = match self {
            Self::V311(client) => client.try_disconnect().map_err(drop),
            Self::V5(client) => client.try_disconnect().map_err(drop),
        };
    }
}

pub(crate) enum Events<'a> {
    V311(&'a mut rumqttc::EventLoop),
    V5(&'a mut rumqttc::v5::EventLoop),
}

impl Events<'_> {
    /// The next thing that happens. Not cancel-safe (rumqttc may have taken a request that it has not written): keep
    /// the future, unless the connection is given up with it.
    pub(crate) async fn poll(&mut self) -> Result<Signal, SessionError> {
        match self {
            Self::V311(events) => events.poll().await.map(signal_of_v311).map_err(error_of_v311),
            Self::V5(events) => events.poll().await.map(signal_of_v5).map_err(error_of_v5),
        }
    }
}

fn signal_of_v311(event: rumqttc::Event) -> Signal {
    let accepted = |packet_id| Signal::Finished { packet_id, verdict: Verdict::Accepted };
    match event {
        rumqttc::Event::Incoming(Packet::ConnAck(_)) => Signal::Connected { receive_maximum: None },
        rumqttc::Event::Incoming(Packet::PubAck(ack)) => accepted(ack.pkid),
        rumqttc::Event::Incoming(Packet::PubComp(ack)) => accepted(ack.pkid),
        rumqttc::Event::Outgoing(Outgoing::Publish(packet_id)) => Signal::Written(packet_id),
        rumqttc::Event::Outgoing(Outgoing::Disconnect) => Signal::Closing,
        _ => Signal::Other,
    }
}

fn signal_of_v5(event: rumqttc::v5::Event) -> Signal {
    use packet5::{PubAckReason, PubCompReason, PubRecReason};
    match event {
        rumqttc::v5::Event::Incoming(packet5::Packet::ConnAck(ack)) => Signal::Connected {
            receive_maximum: ack.properties.and_then(|properties| properties.receive_max),
        },
        rumqttc::v5::Event::Incoming(packet5::Packet::PubAck(ack)) => {
            let text = ack.properties.and_then(|properties| properties.reason_string);
            let reason = text.unwrap_or_else(|| format!("{:?}", ack.reason));
            let verdict = match ack.reason {
                PubAckReason::Success => Verdict::Accepted,
                PubAckReason::NoMatchingSubscribers => Verdict::Unheard,
                PubAckReason::PayloadFormatInvalid | PubAckReason::ImplementationSpecificError => {
                    Verdict::Parked(reason)
                }
                _ => Verdict::Refused(reason),
            };
            Signal::Finished { packet_id: ack.pkid, verdict }
        }
        rumqttc::v5::Event::Incoming(packet5::Packet::PubRec(ack)) => {
            let text = ack.properties.and_then(|properties| properties.reason_string);
            let reason = text.unwrap_or_else(|| format!("{:?}", ack.reason));
            let verdict = match ack.reason {
                PubRecReason::Success => return Signal::Other,
                PubRecReason::NoMatchingSubscribers => return Signal::Unheard { packet_id: ack.pkid },
                PubRecReason::PayloadFormatInvalid | PubRecReason::ImplementationSpecificError => {
                    Verdict::Parked(reason)
                }
                _ => Verdict::Refused(reason),
            };
            Signal::Finished { packet_id: ack.pkid, verdict }
        }
        rumqttc::v5::Event::Incoming(packet5::Packet::PubComp(ack)) => {
            let verdict = match ack.reason {
                PubCompReason::Success => Verdict::Accepted,
                PubCompReason::PacketIdentifierNotFound => Verdict::Refused(format!("{:?}", ack.reason)),
            };
            Signal::Finished { packet_id: ack.pkid, verdict }
        }
        rumqttc::v5::Event::Outgoing(Outgoing::Publish(packet_id)) => Signal::Written(packet_id),
        rumqttc::v5::Event::Outgoing(Outgoing::Disconnect) => Signal::Closing,
        _ => Signal::Other,
    }
}

fn error_of_v311(error: rumqttc::ConnectionError) -> SessionError {
    use rumqttc::{ConnectReturnCode, ConnectionError};
    match error {
        ConnectionError::ConnectionRefused(
            code @ (ConnectReturnCode::BadUserNamePassword
            | ConnectReturnCode::NotAuthorized
            | ConnectReturnCode::BadClientId
            | ConnectReturnCode::RefusedProtocolVersion),
        ) => SessionError::Denied(format!("{code:?}")),
        other => SessionError::Lost(other.to_string()),
    }
}

fn error_of_v5(error: rumqttc::v5::ConnectionError) -> SessionError {
    use packet5::ConnectReturnCode;
    use rumqttc::v5::{ConnectionError, StateError};
    let code = match &error {
        ConnectionError::ConnectionRefused(code) => *code,
        ConnectionError::MqttState(StateError::ConnFail { reason }) => *reason,
        _ => return SessionError::Lost(error.to_string()),
    };
    match code {
        ConnectReturnCode::BadUserNamePassword
        | ConnectReturnCode::NotAuthorized
        | ConnectReturnCode::ClientIdentifierNotValid
        | ConnectReturnCode::UnsupportedProtocolVersion
        | ConnectReturnCode::Banned => SessionError::Denied(format!("{code:?}")),
        other => SessionError::Lost(format!("{other:?}")),
    }
}
