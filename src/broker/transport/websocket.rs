//! MQTT in WebSocket frames (MQTT 5, 6.0): binary ones, whose bounds mean nothing to the packets in them.

use std::borrow::Cow;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use futures_util::{Sink, Stream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::super::ending::{Ending, Violation};
use super::READ_BYTES;
use super::wire::Wire;

/// Kept by each connection for as long as it lasts.
const READ_BUFFER_BYTES: usize = 2 * 1024;

/// A connection whose handshake is done.
pub(super) struct WebSocket {
    stream: WebSocketStream<Wire>,
    /// The rest of a message that was not handled yet.
    unread: Bytes,
    /// Comes after what was read last.
    fault: Option<Ending>,
}

impl WebSocket {
    /// `tail` is what came after the handshake. A message, and so what is kept of one that is not complete, has
    /// `max_bytes` at most.
    pub(super) async fn new(wire: Wire, tail: Vec<u8>, max_bytes: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            // Written at once: each write is a whole answer.
            .write_buffer_size(0)
            .max_frame_size(Some(max_bytes))
            .max_message_size(Some(max_bytes));
        let stream = WebSocketStream::from_partially_read(wire, tail, Role::Server, Some(config)).await;
        Self { stream, unread: Bytes::new(), fault: None }
    }

    /// Waits until there is something to read, or nothing will ever come. Cancel-safe.
    pub(super) async fn readable(&mut self) -> Result<(), Ending> {
        poll_fn(|context| self.fill(context)).await.map(|_| ())
    }

    /// Appends what is there, about [`READ_BYTES`] or a message at most. `None` when nothing is, 0 at the end.
    pub(super) fn try_read(&mut self, buffer: &mut BytesMut) -> Result<Option<usize>, Ending> {
        let mut read = 0;
        // As with TLS, `readable` is asked before anything waits for the socket.
        let mut context = Context::from_waker(Waker::noop());
        while read < READ_BYTES {
            match self.fill(&mut context) {
                Poll::Ready(Ok(true)) => {
                    read += self.unread.len();
                    buffer.extend_from_slice(&self.unread);
                    self.unread.clear();
                }
                Poll::Ready(Ok(false)) => return Ok(Some(read)),
                Poll::Ready(Err(fault)) if read > 0 => {
                    self.fault = Some(fault);
                    break;
                }
                Poll::Ready(Err(fault)) => return Err(fault),
                Poll::Pending => break,
            }
        }
        Ok((read > 0).then_some(read))
    }

    /// False when nothing more will come.
    fn fill(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, Ending>> {
        if let Some(fault) = self.fault.take() {
            return Poll::Ready(Err(fault));
        }
        while self.unread.is_empty() {
            let message = match Pin::new(&mut self.stream).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(false)),
                Poll::Ready(Some(message)) => message,
            };
            match message {
                Ok(Message::Binary(bytes)) => self.unread = bytes,
                Ok(Message::Text(_)) | Err(Error::Utf8(_)) => {
                    return Poll::Ready(Err(Violation::WebSocketText.into()));
                }
                // A ping is answered by the next poll; a close frame too, which then ends the stream.
                Ok(_) => {}
                Err(error) => return Poll::Ready(ended(error).map(|()| false)),
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Sends a message of these bytes.
    pub(super) async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.send(Message::Binary(bytes)).await
    }

    /// Sends the close frame that tells why, and ends the connection in this direction.
    pub(super) async fn close(&mut self, violation: Option<&Violation>) -> io::Result<()> {
        let code = match violation {
            None => CloseCode::Normal,
            Some(Violation::WebSocketText) => CloseCode::Unsupported,
            Some(Violation::PacketTooLarge) => CloseCode::Size,
            Some(Violation::WebSocketFrame) => CloseCode::Protocol,
            Some(_) => CloseCode::Policy,
        };
        let reason = violation.map_or(Cow::Borrowed(""), |violation| violation.to_string().into());
        let frame = CloseFrame { code, reason: reason.as_ref().into() };
        // The client may have said it first; then there is nothing left to say.
        let said = self.send(Message::Close(Some(frame))).await;
        self.wire().shutdown().await?;
        said
    }

    async fn send(&mut self, message: Message) -> io::Result<()> {
        let mut message = Some(message);
        poll_fn(|context| {
            let mut stream = Pin::new(&mut self.stream);
            if message.is_some() {
                std::task::ready!(stream.as_mut().poll_ready(context))?;
            }
            if let Some(message) = message.take() {
                stream.as_mut().start_send(message)?;
            }
            stream.poll_flush(context)
        })
        .await
        .map_err(|error| match error {
            Error::Io(error) => error,
            error => io::Error::other(error),
        })
    }

    pub(super) fn wire(&mut self) -> &mut Wire {
        self.stream.get_mut()
    }
}

/// What an error in reading means; `Ok` when the connection is simply over.
fn ended(error: Error) -> Result<(), Ending> {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => Ok(()),
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Error::Io(error) => Err(error.into()),
        // Gone without a close frame, like a TCP connection.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ok(()),
        Error::Capacity(_) => Err(Violation::PacketTooLarge.into()),
        _ => Err(Violation::WebSocketFrame.into()),
    }
}
