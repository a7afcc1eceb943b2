//! TCP, encrypted or not.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio_rustls::server::TlsStream;
use tokio_util::io::poll_read_buf;

use super::READ_BYTES;

/// The bytes below MQTT or WebSocket. The state of TLS is kept apart, so that plain connections have no room for it.
pub(super) enum Wire {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// Waits until there is something to read, or nothing will ever come. Cancel-safe.
    pub(super) async fn readable(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.readable().await,
            // What is decrypted waits in the session; this looks at it only.
            Self::Tls(tls) => {
                let filled = poll_fn(|context| fill(tls, context).map_ok(|_| ())).await;
                filled.or_else(end_without_notice)
            }
        }
    }

    /// Appends what is there, about [`READ_BYTES`] at most. `WouldBlock` when nothing is, 0 at the end.
    pub(super) fn try_read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        buffer.reserve(READ_BYTES);
        let tls = match self {
            Self::Tcp(tcp) => return read_now(tcp, buffer),
            Self::Tls(tls) => tls,
        };
        let mut read = 0;
        // `readable` is asked before anything waits for the socket, so nobody has to be woken by this.
        let mut context = Context::from_waker(Waker::noop());
        while read < READ_BYTES {
            let chunk = match fill(tls, &mut context) {
                Poll::Ready(Ok([])) => return Ok(read),
                Poll::Ready(Ok(chunk)) => chunk,
                // An error that comes after some bytes comes again when they are handled.
                _ if read > 0 => return Ok(read),
                Poll::Ready(Err(error)) => return end_without_notice(error).map(|()| 0),
                Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
            };
            buffer.extend_from_slice(chunk);
            let length = chunk.len();
            read += length;
            Pin::new(&mut **tls).consume(length);
        }
        Ok(read)
    }

    /// Tells the peer that nothing more comes.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.shutdown().await,
            Self::Tls(tls) => tls.shutdown().await,
        }
    }

    pub(super) fn tcp(&mut self) -> &mut TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.get_mut().0,
        }
    }
}

/// Unlike `try_read_buf`, a read that left room in the buffer is known to have emptied the socket: nobody asks it again
/// to be told that nothing is there.
fn read_now(tcp: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<usize> {
    // `readable` is asked before anything waits for the socket, so nobody has to be woken by this.
    let mut context = Context::from_waker(Waker::noop());
    // Whose turn it is has been decided; out of turn, a socket that is full would look like an empty one.
    let read = unconstrained(poll_fn(|context| poll_read_buf(Pin::new(&mut *tcp), context, buffer)));
    match pin!(read).poll(&mut context) {
        Poll::Ready(read) => read,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

fn fill<'t>(tls: &'t mut TlsStream<TcpStream>, context: &mut Context<'_>) -> Poll<io::Result<&'t [u8]>> {
    Pin::new(tls).poll_fill_buf(context)
}

/// A peer that goes without a word of TLS is gone all the same. MQTT packets have their length, so nothing that was cut
/// off can pass for complete.
fn end_without_notice(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(error) }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(context),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(context),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(context),
        }
    }
}
