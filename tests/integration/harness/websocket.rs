use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::PATIENCE;
use super::packets;

/// A WebSocket client of the broker, over TCP or TLS.
pub(crate) struct Socket<S>(pub(crate) WebSocketStream<S>);

impl Socket<TcpStream> {
    /// At the right path, with the right subprotocol.
    pub(crate) async fn open(address: Option<SocketAddr>) -> Self {
        Self::try_open(address, "/mqtt", &[("Sec-WebSocket-Protocol", "mqtt")]).await.expect("it opens")
    }

    pub(crate) async fn try_open(
        address: Option<SocketAddr>,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Error> {
        let address = address.expect("WebSocket is on");
        let tcp = TcpStream::connect(address).await?;
        Self::over(tcp, &format!("ws://{address}{path}"), headers).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(crate) async fn over(stream: S, url: &str, headers: &[(&'static str, &str)]) -> Result<Self, Error> {
        let mut request = url.into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        let opening = tokio_tungstenite::client_async(request, stream);
        let (socket, answer) = tokio::time::timeout(PATIENCE, opening).await.expect("in time")?;
        assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "mqtt");
        Ok(Self(socket))
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.send(Message::binary(bytes.to_vec())).await.expect("it reads");
    }

    /// The next message, whatever it is; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("in time");
        next.map(|message| message.expect("a message"))
    }

    /// So many bytes from binary messages, however they are divided.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            match self.next().await.expect("it is open") {
                Message::Binary(part) => bytes.extend_from_slice(&part),
                other => panic!("{other:?}"),
            }
        }
        bytes
    }

    /// CONNECT and CONNACK.
    pub(crate) async fn connect(&mut self, client: &str) {
        self.send(&packets::connect(client, None)).await;
        assert_eq!(self.bytes(4).await, packets::CONNACK);
    }

    /// Publishes and waits for the PUBACK.
    pub(crate) async fn publish(&mut self, pkid: u16, iccid: &str, payload: &str) {
        self.send(&packets::publish(pkid, iccid, payload)).await;
        assert_eq!(self.bytes(4).await, packets::puback(pkid));
    }

    /// The code with which the broker closes, after whatever else it says.
    pub(crate) async fn close_code(&mut self) -> u16 {
        loop {
            match self.next().await.expect("a close frame before the end") {
                Message::Close(frame) => return frame.expect("a code").code.into(),
                _ => continue,
            }
        }
    }
}
