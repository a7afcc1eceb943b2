//! What carries a client's packets: TCP, TLS over it, and WebSocket over either.

mod handshake;
mod turns;
mod websocket;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::config::mqtt::MqttConfig;

use super::certificate::{CertifiedName, certified_name};
use super::ending::{Ending, Violation};
use super::tls::Tls;

pub(super) use handshake::Refusal;
use turns::in_turn;
use websocket::WebSocket;
use wire::Wire;

/// Read at a time: some 50 records, so that a busy client costs few system calls.
pub(super) const READ_BYTES: usize = 16 * 1024;
/// Encrypted or framed at a time: the largest TLS record. What is under way is copied, so it bounds that copy, and it is what
/// counts as progress with a client that reads slowly.
const WRITE_BYTES: usize = 16 * 1024;

/// How long a client is given to read why it is disconnected.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// How the clients of one listener speak.
#[derive(Clone)]
pub(super) struct ListenerProtocol {
    /// Pages of these origins may connect by WebSocket; `None` when the listener is not for WebSocket.
    websocket: Option<Arc<[String]>>,
    tls: Option<Arc<Tls>>,
}

/// A place where clients come in.
pub struct Listener {
    pub(super) socket: TcpListener,
    pub(super) protocol: ListenerProtocol,
}

impl Listener {
    /// MQTT, over TLS if there is one.
    pub fn mqtt(listener: TcpListener, tls: Option<Arc<Tls>>) -> Self {
        Self { socket: listener, protocol: ListenerProtocol { websocket: None, tls } }
    }

    /// MQTT in WebSocket frames. Pages of these origins may connect beside those of the broker's own host, `*` for all.
    pub fn websocket(listener: TcpListener, tls: Option<Arc<Tls>>, origins: &[String]) -> Self {
        Self { socket: listener, protocol: ListenerProtocol { websocket: Some(origins.into()), tls } }
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }
}

/// What a client's packets come through, small while nothing does.
pub(super) struct Transport(Kind);

enum Kind {
    Stream(Wire),
    WebSocket(Box<WebSocket>),
}

/// Why there is no transport.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error(transparent)]
    WebSocket(#[from] Refusal),
}

impl OpenError {
    /// Value of the metric label `result`.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Tls(_) => "tls_handshake",
            Self::WebSocket(_) => "websocket_handshake",
        }
    }
}

/// Does the handshakes of `protocol`; whom the client's certificate names, if it has shown one. It takes as long as the client
/// wants it to take: the caller sets the limit.
pub(super) async fn open(
    tcp: TcpStream,
    protocol: &ListenerProtocol,
    config: &MqttConfig,
) -> Result<(Transport, Option<CertifiedName>), OpenError> {
    // PUBACKs are small and awaited.
    tcp.set_nodelay(true).ok();
    let (wire, name) = match &protocol.tls {
        None => (Wire::Tcp(tcp), None),
        Some(tls) => {
            let handshake = in_turn(&tls.computing, tls.acceptor().accept(tcp));
            let stream = handshake.await.map_err(OpenError::Tls)?;
            let chain = stream.get_ref().1.peer_certificates();
            let name = chain.and_then(<[_]>::first).and_then(certified_name);
            (Wire::Tls(Box::new(stream)), name)
        }
    };
    let transport = match &protocol.websocket {
        None => Transport(Kind::Stream(wire)),
        Some(origins) => {
            let (wire, tail) = handshake::accept(wire, origins, config.websocket.max_handshake_bytes).await?;
            let socket = WebSocket::new(wire, tail, config.max_packet_bytes).await;
            Transport(Kind::WebSocket(Box::new(socket)))
        }
    };
    Ok((transport, name))
}

impl Transport {
    /// Waits until there is something to read, or nothing will ever come. Nothing is lost when it is cancelled.
    pub(super) async fn readable(&mut self) -> Result<(), Ending> {
        match &mut self.0 {
            Kind::Stream(wire) => Ok(wire.readable().await?),
            Kind::WebSocket(socket) => Ok(socket.readable().await?),
        }
    }

    /// Appends what is there, about [`READ_BYTES`] at most, without waiting: `None` when nothing is, 0 at the end.
    pub(super) fn try_read(&mut self, buffer: &mut BytesMut) -> Result<Option<usize>, Ending> {
        let read = match &mut self.0 {
            Kind::Stream(wire) => wire.try_read(buffer),
            Kind::WebSocket(socket) => return socket.try_read(buffer),
        };
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes some of `out`, which must not be empty, as far as the operating system; 0 when that is not possible any more.
    /// When it is cancelled, the connection can only be ended.
    pub(super) async fn write(&mut self, out: &mut BytesMut) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Stream(Wire::Tcp(tcp)) => tcp.write_buf(out).await,
            Kind::Stream(Wire::Tls(tls)) => {
                let written = tls.write(&out[..out.len().min(WRITE_BYTES)]).await?;
                out.advance(written);
                // Encrypted is not sent.
                tls.flush().await?;
                Ok(written)
            }
            Kind::WebSocket(socket) => {
                let part = out.split_to(out.len().min(WRITE_BYTES)).freeze();
                let written = part.len();
                socket.write(part).await?;
                Ok(written)
            }
        }
    }

    /// Writes the rest and closes. A client that was told something is given time to read it, or it would see a reset only.
    /// The caller limits the time.
    pub(super) async fn farewell(&mut self, out: &mut BytesMut, violation: Option<&Violation>, told: bool) {
        while !out.is_empty() {
            if !self.write(out).await.is_ok_and(|written| written > 0) {
                return;
            }
        }
        let (closed, told) = match &mut self.0 {
            Kind::Stream(wire) => (wire.shutdown().await.is_ok(), told),
            // The close frame tells in any case.
            Kind::WebSocket(socket) => (socket.close(violation).await.is_ok(), true),
        };
        if !closed || !told {
            return;
        }
        drain(match &mut self.0 {
            Kind::Stream(wire) => wire.tcp(),
            Kind::WebSocket(socket) => socket.wire().tcp(),
        })
        .await;
    }
}

/// Takes what the peer still sends, for a moment, without understanding or decrypting it: closing a socket with unread
/// bytes resets it, and the peer may then not see what it was told.
async fn drain(tcp: &mut TcpStream) {
    let mut rest = [0; 4096];
    let end = async { while tcp.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(FAREWELL, end).await.ok();
}
