use std::collections::HashMap;

use bytes::{Buf, BytesMut};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A broker that does what a test tells it, in MQTT's own bytes.
pub(crate) struct FakeBroker {
    listener: TcpListener,
}

/// One accepted connection.
pub(crate) struct Peer {
    stream: TcpStream,
    input: BytesMut,
    version: u8,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Publish {
    pub(crate) packet_id: u16,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

impl Publish {
    pub(crate) fn record_id(&self) -> String {
        let json: Value = serde_json::from_slice(&self.payload).unwrap();
        json["recordId"].as_str().unwrap().to_owned()
    }
}

#[derive(Debug, PartialEq)]
pub(crate) enum Packet {
    Publish(Publish),
    PubRel(u16),
    Disconnect,
}

impl FakeBroker {
    pub(crate) async fn bind() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// Accepts a connection and lets it in.
    pub(crate) async fn accept(&self) -> Peer {
        self.accept_with(&[]).await
    }

    /// As `accept`; `properties` go into an MQTT 5 CONNACK.
    pub(crate) async fn accept_with(&self, properties: &[u8]) -> Peer {
        let mut peer = self.greet().await;
        let connack = match peer.version {
            4 => vec![0x20, 2, 0, 0],
            _ => {
                let mut connack = vec![0x20, 3 + properties.len() as u8, 0, 0, properties.len() as u8];
                connack.extend_from_slice(properties);
                connack
            }
        };
        peer.send(&connack).await;
        peer
    }

    /// Accepts a connection and turns it away with `code`.
    pub(crate) async fn refuse(&self, code: u8) {
        let mut peer = self.greet().await;
        peer.send(&[0x20, 2, 0, code]).await;
        let _ = peer.next().await;
    }

    async fn greet(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut peer = Peer { stream, input: BytesMut::new(), version: 4 };
        let (kind, body) = peer.frame().await.expect("a CONNECT");
        assert_eq!(kind, 0x10);
        peer.version = body[6];
        peer
    }
}

impl Peer {
    /// The next packet that matters; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        loop {
            let (kind, mut body) = self.frame().await?;
            match kind >> 4 {
                3 => {
                    let topic_len = usize::from(body.get_u16());
                    let topic = String::from_utf8(body.split_to(topic_len).to_vec()).unwrap();
                    let packet_id = if kind & 0b0110 == 0 { 0 } else { body.get_u16() };
                    if self.version == 5 {
                        assert_eq!(body.get_u8(), 0, "the simulator sends no properties");
                    }
                    return Some(Packet::Publish(Publish { packet_id, topic, payload: body.to_vec() }));
                }
                6 => return Some(Packet::PubRel(body.get_u16())),
                14 => return Some(Packet::Disconnect),
                _ => {}
            }
        }
    }

    pub(crate) async fn publish(&mut self) -> Publish {
        match self.next().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("a PUBLISH was expected, not {other:?}"),
        }
    }

    pub(crate) async fn publishes(&mut self, count: usize) -> Vec<Publish> {
        let mut publishes = Vec::new();
        for _ in 0..count {
            publishes.push(self.publish().await);
        }
        publishes
    }

    pub(crate) async fn ack(&mut self, packet_id: u16) {
        self.answer(0x40, packet_id, None).await;
    }

    pub(crate) async fn ack_with(&mut self, packet_id: u16, reason: u8) {
        self.answer(0x40, packet_id, Some(reason)).await;
    }

    pub(crate) async fn received(&mut self, packet_id: u16) {
        self.answer(0x50, packet_id, None).await;
    }

    pub(crate) async fn received_with(&mut self, packet_id: u16, reason: u8) {
        self.answer(0x50, packet_id, Some(reason)).await;
    }

    pub(crate) async fn complete(&mut self, packet_id: u16) {
        self.answer(0x70, packet_id, None).await;
    }

    async fn answer(&mut self, kind: u8, packet_id: u16, reason: Option<u8>) {
        let [high, low] = packet_id.to_be_bytes();
        match reason {
            None => self.send(&[kind, 2, high, low]).await,
            Some(reason) => self.send(&[kind, 3, high, low, reason]).await,
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        // The client may have cut the connection; what then counts is what it sends on the next one.
        let _ = self.stream.write_all(bytes).await;
    }

    async fn frame(&mut self) -> Option<(u8, BytesMut)> {
        loop {
            if let Some((header, length)) = bounds(&self.input)
                && self.input.len() >= header + length
            {
                let kind = self.input[0];
                self.input.advance(header);
                return Some((kind, self.input.split_to(length)));
            }
            if self.stream.read_buf(&mut self.input).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}

fn bounds(input: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (place, byte) in input.iter().skip(1).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((place + 2, length));
        }
    }
    None
}

/// How often each record arrived.
pub(crate) fn counts(publishes: &[Publish]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for publish in publishes {
        *counts.entry(publish.record_id()).or_default() += 1;
    }
    counts
}
