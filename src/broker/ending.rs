use std::io;

use thiserror::Error;

use super::ack_window::GivenUp;

/// A packet that breaks the protocol or a limit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Violation {
    #[error("malformed {0}")]
    Malformed(&'static str),
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    #[error("packet larger than the maximum packet size")]
    PacketTooLarge,
    #[error("more unacknowledged messages than the receive maximum")]
    ReceiveMaximum,
    #[error("invalid topic alias")]
    TopicAlias,
    #[error("invalid topic name")]
    TopicName,
    #[error("not authorized for this topic")]
    NotAuthorized,
    #[error("MQTT is in binary WebSocket frames, not in text")]
    WebSocketText,
    #[error("malformed WebSocket frame")]
    WebSocketFrame,
}

impl Violation {
    fn reason_code(&self) -> u8 {
        match self {
            Self::Malformed(_) | Self::WebSocketText | Self::WebSocketFrame => 0x81,
            Self::Protocol(_) => 0x82,
            Self::PacketTooLarge => 0x95,
            Self::ReceiveMaximum => 0x93,
            Self::TopicAlias => 0x94,
            Self::TopicName => 0x90,
            Self::NotAuthorized => 0x87,
        }
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Protocol(_) => "protocol_error",
            Self::PacketTooLarge => "packet_too_large",
            Self::ReceiveMaximum => "receive_maximum",
            Self::TopicAlias => "topic_alias",
            Self::TopicName => "topic_name",
            Self::NotAuthorized => "not_authorized",
            Self::WebSocketText => "websocket_text",
            Self::WebSocketFrame => "websocket_frame",
        }
    }
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub(super) enum Ending {
    #[error("DISCONNECT received")]
    ClientDisconnected,
    #[error("closed by the peer")]
    ClosedByPeer,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Violation(#[from] Violation),
    #[error("nothing received within one and a half times the keep alive")]
    KeepAlive,
    #[error("another connection uses this client identifier")]
    TakenOver,
    /// It may connect again and gets what counts now.
    #[error("the login was changed")]
    LoginChanged,
    #[error("the login was revoked")]
    LoginRevoked,
    #[error("the client does not read")]
    WriteStalled,
    #[error("the server is shutting down")]
    ShuttingDown,
    #[error("the ingest pipeline has stopped")]
    PipelineStopped,
    /// Nobody knows whether the message is stored; the client finds out by sending it again.
    #[error("a message could not be processed; send it again")]
    GivenUp(#[from] GivenUp),
    /// Nothing more is said or written.
    #[error("stopped")]
    Stopped,
}

impl Ending {
    /// Reason code of the DISCONNECT that tells an MQTT 5 client, if there is anyone to tell.
    pub(super) fn reason_code(&self) -> Option<u8> {
        match self {
            Self::ClientDisconnected
            | Self::ClosedByPeer
            | Self::Io(_)
            | Self::WriteStalled
            | Self::Stopped => None,
            Self::Violation(violation) => Some(violation.reason_code()),
            Self::GivenUp(_) => Some(0x80),
            Self::KeepAlive => Some(0x8d),
            Self::TakenOver => Some(0x8e),
            Self::LoginChanged | Self::LoginRevoked => Some(0x98),
            Self::ShuttingDown | Self::PipelineStopped => Some(0x8b),
        }
    }

    /// The broken rule that counts against the client's address; `None` for what a client that is set up wrongly does all the time.
    pub(super) fn offence(&self) -> Option<&'static str> {
        match self {
            Self::Violation(Violation::NotAuthorized | Violation::ReceiveMaximum) => None,
            Self::Violation(violation) => Some(violation.label()),
            _ => None,
        }
    }

    /// Value of the metric label `reason`.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::ClientDisconnected => "client",
            Self::ClosedByPeer => "closed_by_peer",
            Self::Io(_) => "network",
            Self::Violation(violation) => violation.label(),
            Self::KeepAlive => "keep_alive",
            Self::TakenOver => "taken_over",
            Self::LoginChanged => "login_changed",
            Self::LoginRevoked => "login_revoked",
            Self::WriteStalled => "write_stalled",
            Self::ShuttingDown => "shutdown",
            Self::PipelineStopped => "pipeline_stopped",
            Self::GivenUp(_) => "given_up",
            Self::Stopped => "stopped",
        }
    }
}
