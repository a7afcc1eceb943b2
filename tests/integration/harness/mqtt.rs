//! A client of MQTT 3.1.1 and 5 in bytes: what the broker answers, to the code, and when the socket closes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;

pub(crate) struct MqttClient {
    stream: TcpStream,
    v5: bool,
    /// Of CONNACK.
    pub(crate) code: u8,
}

/// Who connects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hello<'h> {
    pub(crate) v5: bool,
    pub(crate) id: &'h str,
    /// `None`: not even an empty one, which MQTT 5 allows beside a password.
    pub(crate) user: Option<&'h str>,
    pub(crate) password: Option<&'h str>,
}

/// The answer to a PUBLISH.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Acknowledged,
    /// PUBACK with this reason code and Reason String.
    Refused(u8, String),
    Closed,
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("an answer in time")
}

fn text(bytes: &str) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes.as_bytes()].concat()
}

fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let (mut bytes, mut length) = (vec![first], body.len());
    loop {
        let more = length >= 128;
        bytes.push((length % 128) as u8 | if more { 0x80 } else { 0 });
        length /= 128;
        if !more {
            return [bytes, body.to_vec()].concat();
        }
    }
}

impl MqttClient {
    /// Connects, whatever the answer is.
    pub(crate) async fn connect(address: SocketAddr, hello: Hello<'_>) -> Self {
        let stream = within(TcpStream::connect(address)).await.expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let given = |given: bool, flag: u8| if given { flag } else { 0 };
        let flags = 2 | given(hello.user.is_some(), 0x80) | given(hello.password.is_some(), 0x40);
        let mut body = [text("MQTT"), vec![if hello.v5 { 5 } else { 4 }, flags, 0, 0]].concat();
        if hello.v5 {
            body.push(0);
        }
        for field in [Some(hello.id), hello.user, hello.password].into_iter().flatten() {
            body.extend(text(field));
        }
        let mut client = Self { stream, v5: hello.v5, code: 0 };
        client.send(&frame(0x10, &body)).await;
        let (first, answer) = client.packet().await.expect("CONNACK");
        assert_eq!(first, 0x20);
        client.code = answer[1];
        client
    }

    /// As a user, with a password.
    pub(crate) async fn log_in(address: SocketAddr, v5: bool, user: &str, password: &str) -> Self {
        let id = format!("{user}-{v5}");
        let hello = Hello { v5, id: &id, user: Some(user), password: Some(password) };
        let client = Self::connect(address, hello).await;
        assert_eq!(client.code, 0, "{user} is refused");
        client
    }

    async fn send(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.expect("the broker reads");
    }

    /// The next packet, its first byte and body; `None` at the end.
    pub(crate) async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = within(self.stream.read_u8()).await.ok()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = within(self.stream.read_u8()).await.ok()?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        within(self.stream.read_exact(&mut body)).await.ok()?;
        Some((first, body))
    }

    /// Reads to the end; the reason code of DISCONNECT, if there was one.
    pub(crate) async fn ended(&mut self) -> Option<u8> {
        let mut reason = None;
        while let Some((first, body)) = self.packet().await {
            if first == 0xe0 {
                reason = body.first().copied();
            }
        }
        reason
    }

    /// Publishes with QoS 1 and waits for the answer; publications that come before it are passed over.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &str) -> Answer {
        let mut body = [text(topic), vec![0, 1]].concat();
        if self.v5 {
            body.push(0);
        }
        body.extend_from_slice(payload.as_bytes());
        self.send(&frame(0x32, &body)).await;
        loop {
            match self.packet().await {
                None => return Answer::Closed,
                Some((0x40, ack)) if ack.get(2).is_none_or(|reason| *reason == 0) => {
                    return Answer::Acknowledged;
                }
                Some((0x40, ack)) => {
                    // One property: the Reason String, after its length, kind and own length.
                    let said = ack.get(7..).unwrap_or_default();
                    return Answer::Refused(ack[2], String::from_utf8_lossy(said).into_owned());
                }
                Some(_) => {}
            }
        }
    }

    /// The code of SUBACK; the broker's publications are of QoS 0.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> u8 {
        let mut body = vec![0, 2];
        if self.v5 {
            body.push(0);
        }
        body.extend(text(filter));
        body.push(0);
        self.send(&frame(0x82, &body)).await;
        loop {
            let (first, body) = self.packet().await.expect("SUBACK");
            if first == 0x90 {
                return *body.last().expect("a code");
            }
        }
    }

    /// Topic of the next publication.
    pub(crate) async fn heard(&mut self) -> String {
        let (first, body) = self.packet().await.expect("a publication");
        assert_eq!(first & 0xf6, 0x30, "a PUBLISH of QoS 0");
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        String::from_utf8_lossy(&body[2..2 + length]).into_owned()
    }

    /// Fails when there is anything else to hear before the answer.
    pub(crate) async fn hears_nothing_more(&mut self) {
        self.send(&[0xc0, 0]).await;
        assert_eq!(self.packet().await, Some((0xd0, Vec::new())));
    }
}
