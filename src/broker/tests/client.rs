//! A client on a raw socket.

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::harness::{TestBroker, until, within};
use super::wire::{
    DISCONNECT, Fields, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Properties, Publish, Received5,
    SUBACK, UNSUBACK, frame, text,
};

/// A CONNECT to send.
#[derive(Clone, Debug)]
pub(super) struct Connect {
    pub(super) v5: bool,
    id: String,
    clean: bool,
    keep_alive: u16,
    will: Option<Publish>,
    login: Option<(Vec<u8>, Vec<u8>)>,
    properties: Properties,
}

impl Connect {
    pub(super) fn v311(id: &str) -> Self {
        Self {
            v5: false,
            id: id.into(),
            clean: true,
            keep_alive: 0,
            will: None,
            login: None,
            properties: Properties::default(),
        }
    }

    pub(super) fn v5(id: &str) -> Self {
        Self { v5: true, ..Self::v311(id) }
    }

    pub(super) fn of(v5: bool, id: &str) -> Self {
        Self { v5, ..Self::v311(id) }
    }

    /// Asks for the session that was left, and leaves one.
    pub(super) fn persistent(mut self) -> Self {
        self.clean = false;
        if self.v5 {
            self.properties = self.properties.long(super::wire::property::SESSION_EXPIRY, 3600);
        }
        self
    }

    pub(super) fn clean(self) -> Self {
        Self { clean: true, ..self }
    }

    pub(super) fn keep_alive(self, seconds: u16) -> Self {
        Self { keep_alive: seconds, ..self }
    }

    /// The properties of `will` are the will's properties.
    pub(super) fn will(self, will: Publish) -> Self {
        Self { will: Some(will), ..self }
    }

    pub(super) fn login(self, user: &str, password: impl AsRef<[u8]>) -> Self {
        Self { login: Some((user.into(), password.as_ref().to_vec())), ..self }
    }

    pub(super) fn with(self, change: impl FnOnce(Properties) -> Properties) -> Self {
        Self { properties: change(self.properties), ..self }
    }

    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0b100 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        if self.login.is_some() {
            flags |= 0b1100_0000;
        }
        let mut body = text("MQTT");
        body.extend([if self.v5 { 5 } else { 4 }, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.v5 {
            body.extend(self.properties.encoded());
        }
        body.extend(text(&self.id));
        if let Some(will) = &self.will {
            if self.v5 {
                body.extend(will.properties.encoded());
            }
            body.extend([text(&will.topic), text(&will.payload)].concat());
        }
        if let Some((user, password)) = &self.login {
            body.extend([text(user), text(password)].concat());
        }
        frame(0x10, &body)
    }
}

/// CONNACK.
#[derive(Clone, Debug, Default)]
pub(super) struct Connack {
    pub(super) session_present: bool,
    pub(super) code: u8,
    pub(super) properties: Received5,
}

/// A PUBLISH from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) pkid: u16,
    pub(super) dup: bool,
    pub(super) retain: bool,
    pub(super) properties: Received5,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) pkid: u16,
    pub(super) reason: u8,
    pub(super) text: Option<String>,
}

pub(super) struct Client {
    stream: TcpStream,
    v5: bool,
    pub(super) connack: Connack,
}

impl Client {
    /// A connection without CONNECT.
    pub(super) async fn silent(broker: &TestBroker, v5: bool) -> Self {
        let stream = within(TcpStream::connect(broker.address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, v5, connack: Connack::default() }
    }

    /// As `silent`, from another address of this machine.
    pub(super) async fn silent_from(from: Ipv4Addr, broker: &TestBroker) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let stream = within(socket.connect(broker.address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, v5: true, connack: Connack::default() }
    }

    pub(super) async fn connect_from(from: Ipv4Addr, broker: &TestBroker, connect: &Connect) -> Self {
        let mut client = Self { v5: connect.v5, ..Self::silent_from(from, broker).await };
        client.send(&connect.encoded()).await;
        client.read_connack().await;
        assert_eq!(client.connack.code, 0, "refused");
        client
    }

    /// Sends CONNECT and waits for the answer, whatever it is.
    pub(super) async fn try_connect(broker: &TestBroker, connect: &Connect) -> Self {
        let mut client = Self::silent(broker, connect.v5).await;
        client.send(&connect.encoded()).await;
        client.read_connack().await;
        client
    }

    pub(super) async fn read_connack(&mut self) {
        let (first, body) = self.packet().await.expect("closed without CONNACK");
        assert_eq!(first, 0x20);
        let mut fields = Fields(&body);
        let session_present = fields.byte() == 1;
        let code = fields.byte();
        let properties = if self.v5 { fields.properties() } else { Received5::default() };
        assert!(fields.0.is_empty());
        self.connack = Connack { session_present, code, properties };
    }

    pub(super) async fn connect(broker: &TestBroker, connect: &Connect) -> Self {
        let client = Self::try_connect(broker, connect).await;
        assert_eq!(client.connack.code, 0, "refused");
        client
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.unwrap();
    }

    /// As `send`, when the broker may close the connection meanwhile.
    pub(super) async fn try_send(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.ok();
    }

    pub(super) async fn publish(&mut self, publish: &Publish) {
        self.send(&publish.encoded(self.v5)).await;
    }

    /// The next packet: its first byte and everything after the remaining length. `None` when the connection is closed.
    pub(super) async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = within(self.stream.read_u8()).await;
        let first = match first {
            Ok(first) => first,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset));
                return None;
            }
        };
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = within(self.stream.read_u8()).await.unwrap();
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        within(self.stream.read_exact(&mut body)).await.unwrap();
        Some((first, body))
    }

    async fn expect(&mut self, kind: u8) -> (u8, Vec<u8>) {
        let (first, body) = self.packet().await.expect("the connection was closed");
        assert_eq!(first >> 4, kind, "{first:#x} {body:?}");
        (first, body)
    }

    async fn ack(&mut self, kind: u8) -> Ack {
        let (_, body) = self.expect(kind).await;
        let mut fields = Fields(&body);
        let pkid = fields.short();
        let reason = if fields.0.is_empty() { 0 } else { fields.byte() };
        let properties = if fields.0.is_empty() { Received5::default() } else { fields.properties() };
        let text = properties.text(super::wire::property::REASON_STRING).map(str::to_owned);
        Ack { pkid, reason, text }
    }

    /// The packet id of the next packet, a PUBACK of success.
    pub(super) async fn puback(&mut self) -> u16 {
        let ack = self.any_puback().await;
        assert_eq!(ack.reason, 0);
        ack.pkid
    }

    pub(super) async fn any_puback(&mut self) -> Ack {
        self.ack(PUBACK).await
    }

    pub(super) async fn pubrec(&mut self) -> Ack {
        self.ack(PUBREC).await
    }

    pub(super) async fn pubrel(&mut self) -> Ack {
        self.ack(PUBREL).await
    }

    pub(super) async fn pubcomp(&mut self) -> Ack {
        self.ack(PUBCOMP).await
    }

    pub(super) async fn send_ack(&mut self, kind: u8, pkid: u16) {
        let flags = if kind == PUBREL { 2 } else { 0 };
        self.send(&frame(kind << 4 | flags, &pkid.to_be_bytes())).await;
    }

    pub(super) async fn published(&mut self) -> Published {
        let (first, body) = self.expect(PUBLISH).await;
        let mut fields = Fields(&body);
        let topic = String::from_utf8(fields.text().to_vec()).unwrap();
        let qos = first >> 1 & 3;
        let pkid = if qos > 0 { fields.short() } else { 0 };
        let properties = if self.v5 { fields.properties() } else { Received5::default() };
        let payload = fields.0.to_vec();
        Published { topic, payload, qos, pkid, dup: first & 8 != 0, retain: first & 1 != 0, properties }
    }

    /// Topic and payload of the next publication.
    pub(super) async fn heard(&mut self) -> (String, String) {
        let published = self.published().await;
        (published.topic, String::from_utf8(published.payload).unwrap())
    }

    /// Subscribes to one filter and returns the code of SUBACK.
    pub(super) async fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        self.subscribe_with(filter, options, &Properties::default()).await
    }

    pub(super) async fn subscribe_with(&mut self, filter: &str, options: u8, properties: &Properties) -> u8 {
        let mut body = vec![0, 9];
        if self.v5 {
            body.extend(properties.encoded());
        }
        body.extend(text(filter));
        body.push(options);
        self.send(&frame(0x82, &body)).await;
        let (_, body) = self.expect(SUBACK).await;
        *body.last().unwrap()
    }

    /// Unsubscribes and returns what UNSUBACK says after its packet id and properties.
    pub(super) async fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let mut body = vec![0, 10];
        if self.v5 {
            body.push(0);
        }
        for filter in filters {
            body.extend(text(filter));
        }
        self.send(&frame(0xa2, &body)).await;
        let (_, body) = self.expect(UNSUBACK).await;
        body[if self.v5 { 3 } else { 2 }..].to_vec()
    }

    /// Everything that the broker sent before is there when this returns; fails when anything is left unread.
    pub(super) async fn ping(&mut self) {
        self.send(&[0xc0, 0]).await;
        self.expect(PINGRESP).await;
    }

    /// Reads until the end. Returns the reason code of DISCONNECT, if there was one.
    pub(super) async fn ended(&mut self) -> Option<u8> {
        let mut reason = None;
        while let Some((first, body)) = self.packet().await {
            if first >> 4 == DISCONNECT {
                reason = body.first().copied();
            }
        }
        reason
    }

    /// Reads what has come, without waiting; how many bytes it was.
    pub(super) fn take_what_is_there(&mut self) -> usize {
        let (mut bytes, mut taken) = (vec![0; 65_536], 0);
        while let Ok(read @ 1..) = self.stream.try_read(&mut bytes) {
            taken += read;
        }
        taken
    }

    /// Reads until the end, which may be in the middle of a packet.
    pub(super) async fn read_to_end(mut self) {
        within(tokio::io::copy(&mut self.stream, &mut tokio::io::sink())).await.ok();
    }

    /// Says good-bye and waits until the broker has closed.
    pub(super) async fn leave(mut self) {
        self.send(&[0xe0, 0]).await;
        self.ended().await;
    }

    /// Closes without good-bye and waits until the broker has noticed.
    pub(super) async fn drop_connection(self, broker: &TestBroker) {
        let open = broker.metrics.connections.get();
        drop(self.stream);
        until("the connection is gone", || broker.metrics.connections.get() < open).await;
    }
}
