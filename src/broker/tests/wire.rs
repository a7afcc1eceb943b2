//! MQTT packets by hand, so that the broker is not tested against its own codec.

pub(super) const PUBLISH: u8 = 3;
pub(super) const PUBACK: u8 = 4;
pub(super) const PUBREC: u8 = 5;
pub(super) const PUBREL: u8 = 6;
pub(super) const PUBCOMP: u8 = 7;
pub(super) const SUBACK: u8 = 9;
pub(super) const UNSUBACK: u8 = 11;
pub(super) const PINGRESP: u8 = 13;
pub(super) const DISCONNECT: u8 = 14;

pub(super) mod property {
    pub(in super::super) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(in super::super) const CONTENT_TYPE: u8 = 0x03;
    pub(in super::super) const RESPONSE_TOPIC: u8 = 0x08;
    pub(in super::super) const CORRELATION_DATA: u8 = 0x09;
    pub(in super::super) const SUBSCRIPTION_ID: u8 = 0x0b;
    pub(in super::super) const SESSION_EXPIRY: u8 = 0x11;
    pub(in super::super) const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub(in super::super) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(in super::super) const AUTHENTICATION_METHOD: u8 = 0x15;
    pub(in super::super) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub(in super::super) const WILL_DELAY: u8 = 0x18;
    pub(in super::super) const REASON_STRING: u8 = 0x1f;
    pub(in super::super) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(in super::super) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(in super::super) const TOPIC_ALIAS: u8 = 0x23;
    pub(in super::super) const USER_PROPERTY: u8 = 0x26;
    pub(in super::super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
}

pub(super) fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value % 128) as u8;
        value /= 128;
        bytes.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return bytes;
        }
    }
}

/// Text or binary data with its length.
pub(super) fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(text);
    bytes
}

pub(super) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(varint(body.len()));
    bytes.extend_from_slice(body);
    bytes
}

/// Properties of MQTT 5.
#[derive(Clone, Debug, Default)]
pub(super) struct Properties(Vec<u8>);

impl Properties {
    fn with(mut self, id: u8, value: &[u8]) -> Self {
        self.0.push(id);
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn byte(self, id: u8, value: u8) -> Self {
        self.with(id, &[value])
    }

    pub(super) fn short(self, id: u8, value: u16) -> Self {
        self.with(id, &value.to_be_bytes())
    }

    pub(super) fn long(self, id: u8, value: u32) -> Self {
        self.with(id, &value.to_be_bytes())
    }

    pub(super) fn text(self, id: u8, value: impl AsRef<[u8]>) -> Self {
        self.with(id, &text(value))
    }

    pub(super) fn varint(self, id: u8, value: usize) -> Self {
        self.with(id, &varint(value))
    }

    pub(super) fn pair(self, key: &str, value: &str) -> Self {
        let both = [text(key), text(value)].concat();
        self.with(property::USER_PROPERTY, &both)
    }

    pub(super) fn encoded(&self) -> Vec<u8> {
        [varint(self.0.len()), self.0.clone()].concat()
    }
}

/// A PUBLISH to send.
#[derive(Clone, Debug)]
pub(super) struct Publish {
    pub(super) topic: Vec<u8>,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) pkid: u16,
    pub(super) dup: bool,
    pub(super) retain: bool,
    pub(super) properties: Properties,
}

/// QoS 0.
pub(super) fn publish(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Publish {
    Publish {
        topic: topic.as_ref().to_vec(),
        payload: payload.as_ref().to_vec(),
        qos: 0,
        pkid: 0,
        dup: false,
        retain: false,
        properties: Properties::default(),
    }
}

impl Publish {
    pub(super) fn qos1(self, pkid: u16) -> Self {
        Self { qos: 1, pkid, ..self }
    }

    pub(super) fn qos2(self, pkid: u16) -> Self {
        Self { qos: 2, pkid, ..self }
    }

    pub(super) fn dup(self) -> Self {
        Self { dup: true, ..self }
    }

    pub(super) fn retained(self) -> Self {
        Self { retain: true, ..self }
    }

    pub(super) fn with(self, properties: Properties) -> Self {
        Self { properties, ..self }
    }

    pub(super) fn encoded(&self, v5: bool) -> Vec<u8> {
        let mut body = text(&self.topic);
        if self.qos > 0 {
            body.extend(self.pkid.to_be_bytes());
        }
        if v5 {
            body.extend(self.properties.encoded());
        }
        body.extend_from_slice(&self.payload);
        let flags = u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        frame(PUBLISH << 4 | flags, &body)
    }
}

/// Reads a packet's fields one after the other.
pub(super) struct Fields<'b>(pub(super) &'b [u8]);

impl<'b> Fields<'b> {
    pub(super) fn bytes(&mut self, count: usize) -> &'b [u8] {
        let (head, rest) = self.0.split_at(count);
        self.0 = rest;
        head
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.bytes(1)[0]
    }

    pub(super) fn short(&mut self) -> u16 {
        u16::from_be_bytes(self.bytes(2).try_into().unwrap())
    }

    pub(super) fn text(&mut self) -> &'b [u8] {
        let length = self.short().into();
        self.bytes(length)
    }

    pub(super) fn varint(&mut self) -> usize {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            value |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }

    pub(super) fn properties(&mut self) -> Received5 {
        let length = self.varint();
        let mut fields = Fields(self.bytes(length));
        let mut found = Vec::new();
        while !fields.0.is_empty() {
            let id = fields.byte();
            let value = match id {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => fields.bytes(1).to_vec(),
                0x13 | 0x21 | 0x22 | 0x23 => fields.bytes(2).to_vec(),
                0x02 | 0x11 | 0x18 | 0x27 => fields.bytes(4).to_vec(),
                0x0b => (fields.varint() as u32).to_be_bytes().to_vec(),
                0x26 => [fields.text(), b"=", fields.text()].concat(),
                _ => fields.text().to_vec(),
            };
            found.push((id, value));
        }
        Received5(found)
    }
}

/// Properties that came from the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Received5(pub(super) Vec<(u8, Vec<u8>)>);

impl Received5 {
    pub(super) fn all(&self, id: u8) -> Vec<&[u8]> {
        self.0.iter().filter(|(of, _)| *of == id).map(|(_, value)| &value[..]).collect()
    }

    pub(super) fn text(&self, id: u8) -> Option<&str> {
        self.all(id).first().map(|value| std::str::from_utf8(value).unwrap())
    }

    /// The value of a property that is a number.
    pub(super) fn number(&self, id: u8) -> Option<u32> {
        self.all(id).first().map(|value| value.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)))
    }

    pub(super) fn numbers(&self, id: u8) -> Vec<u32> {
        let number = |value: &&[u8]| value.iter().fold(0, |n, byte| n << 8 | u32::from(*byte));
        self.all(id).iter().map(number).collect()
    }
}
