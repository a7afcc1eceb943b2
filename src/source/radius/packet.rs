//! The format of RADIUS (RFC 2865, 3): one datagram, a header of 20 bytes and attributes.
//!
//! A packet is checked as a whole when it is parsed, so nothing that reads it later can run over its end.

use std::net::{Ipv4Addr, Ipv6Addr};

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;
use thiserror::Error;

/// The longest packet (RFC 2865, 3).
pub(super) const MAX_PACKET_BYTES: usize = 4096;
const HEADER_BYTES: usize = 20;
const AUTHENTICATOR: std::ops::Range<usize> = 4..HEADER_BYTES;
/// Where an authenticator is computed before it is known.
const NO_AUTHENTICATOR: [u8; 16] = [0; 16];

const ACCOUNTING_REQUEST: u8 = 4;
const ACCOUNTING_RESPONSE: u8 = 5;

const VENDOR_SPECIFIC: u8 = 26;
const PROXY_STATE: u8 = 33;
const MESSAGE_AUTHENTICATOR: u8 = 80;

/// Why a datagram is no Accounting-Request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Malformed {
    #[error("it is shorter than the header")]
    Short,
    #[error("its length is below 20 or above 4096")]
    Length,
    #[error("it ends before its length")]
    Truncated,
    #[error("attribute {0} does not fit")]
    Attribute(u8),
    #[error("attribute {0} has a wrong length")]
    Value(u8),
    #[error("it has no Acct-Status-Type")]
    NoStatus,
    #[error("it has no Acct-Session-Id")]
    NoSession,
    #[error("it is no Accounting-Request but of code {0}")]
    Code(u8),
}

/// A packet that has the form of one; who sent it is not proven yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'p> {
    /// As long as its header says.
    bytes: &'p [u8],
}

/// An attribute of a packet; `vendor` is 0 for those that are not Vendor-Specific.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attribute<'p> {
    pub(super) vendor: u32,
    pub(super) kind: u8,
    pub(super) value: &'p [u8],
}

impl<'p> Packet<'p> {
    /// Bytes after the packet's length are padding and ignored (RFC 2865, 3).
    pub(super) fn parse(datagram: &'p [u8]) -> Result<Self, Malformed> {
        let header = datagram.get(..HEADER_BYTES).ok_or(Malformed::Short)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if !(HEADER_BYTES..=MAX_PACKET_BYTES).contains(&length) {
            return Err(Malformed::Length);
        }
        let bytes = datagram.get(..length).ok_or(Malformed::Truncated)?;
        if bytes[0] != ACCOUNTING_REQUEST {
            return Err(Malformed::Code(bytes[0]));
        }
        let mut rest = &bytes[HEADER_BYTES..];
        while let Some(kind) = rest.first() {
            rest = split(rest).ok_or(Malformed::Attribute(*kind))?.2;
        }
        Ok(Self { bytes })
    }

    pub(super) fn identifier(&self) -> u8 {
        self.bytes[1]
    }

    pub(super) fn authenticator(&self) -> [u8; 16] {
        let mut authenticator = NO_AUTHENTICATOR;
        authenticator.copy_from_slice(&self.bytes[AUTHENTICATOR]);
        authenticator
    }

    /// Whether a holder of `secret` made it: by the Request Authenticator (RFC 2866, 3), and by the Message-Authenticator where
    /// there is one (RFC 2869, 5.14). The latter is computed with a Request Authenticator of zeros, as for all requests whose
    /// authenticator is a digest of the packet (RFC 5176, 2.3): it goes into that digest.
    pub(super) fn is_of(&self, secret: &[u8]) -> bool {
        let mut digest = Md5::new();
        digest.update(&self.bytes[..AUTHENTICATOR.start]);
        digest.update(NO_AUTHENTICATOR);
        digest.update(&self.bytes[HEADER_BYTES..]);
        digest.update(secret);
        let request = digest.finalize().ct_eq(&self.bytes[AUTHENTICATOR]);
        bool::from(request) && self.message_authenticators_are_of(secret)
    }

    fn message_authenticators_are_of(&self, secret: &[u8]) -> bool {
        let mut stated = self.plain().filter(|(kind, _)| *kind == MESSAGE_AUTHENTICATOR);
        let Some((_, value)) = stated.next() else { return true };
        // Only one can be right, because each would go into the other.
        if stated.next().is_some() || value.len() != NO_AUTHENTICATOR.len() {
            return false;
        }
        let mut mac = <Hmac<Md5>>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(&self.bytes[..AUTHENTICATOR.start]);
        mac.update(&NO_AUTHENTICATOR);
        for (kind, value) in self.plain() {
            // Unwrap safety: a value was cut out by a length of one byte that counts itself and the kind.
            mac.update(&[kind, value.len() as u8 + 2]);
            mac.update(if kind == MESSAGE_AUTHENTICATOR { &NO_AUTHENTICATOR } else { value });
        }
        mac.finalize().into_bytes().ct_eq(value).into()
    }

    /// The Accounting-Response: every Proxy-State of the request, in order (RFC 2866, 5), and no Message-Authenticator, because
    /// the Response Authenticator covers all of it, and implementations differ in how it is computed in an Accounting-Response.
    pub(super) fn response(&self, secret: &[u8]) -> Vec<u8> {
        let mut response = vec![ACCOUNTING_RESPONSE, self.identifier(), 0, 0];
        response.extend(&self.bytes[AUTHENTICATOR]);
        for (kind, value) in self.plain().filter(|(kind, _)| *kind == PROXY_STATE) {
            response.extend([kind, value.len() as u8 + 2]);
            response.extend(value);
        }
        let length = u16::try_from(response.len()).expect("it is not longer than the request");
        response[2..4].copy_from_slice(&length.to_be_bytes());
        let digest = Md5::new().chain_update(&response).chain_update(secret).finalize();
        response[AUTHENTICATOR].copy_from_slice(&digest);
        response
    }

    /// Attributes in their order, those of vendors taken apart (RFC 2865, 5.26). A vendor's that is not of the recommended form
    /// is left out.
    pub(super) fn attributes(self) -> impl Iterator<Item = Attribute<'p>> {
        self.plain().flat_map(|(kind, value)| {
            let (vendor, mut rest) = match value.split_first_chunk() {
                Some((vendor, rest)) if kind == VENDOR_SPECIFIC => (u32::from_be_bytes(*vendor), rest),
                _ => (0, &[][..]),
            };
            let mut whole = (kind != VENDOR_SPECIFIC).then_some(Attribute { vendor: 0, kind, value });
            std::iter::from_fn(move || {
                whole.take().or_else(|| {
                    let (kind, value, after) = split(rest)?;
                    rest = after;
                    Some(Attribute { vendor, kind, value })
                })
            })
        })
    }

    fn plain(&self) -> impl Iterator<Item = (u8, &'p [u8])> + use<'p> {
        let mut rest = &self.bytes[HEADER_BYTES..];
        std::iter::from_fn(move || {
            let (kind, value, after) = split(rest)?;
            rest = after;
            Some((kind, value))
        })
    }
}

/// The first attribute and what follows it; `None` when its length cannot be.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, length) = (*bytes.first()?, usize::from(*bytes.get(1)?));
    let value = bytes.get(2..length)?;
    Some((kind, value, &bytes[length..]))
}

impl<'p> Attribute<'p> {
    /// A number of 32 bits.
    pub(super) fn number(&self) -> Result<u32, Malformed> {
        self.value.try_into().map(u32::from_be_bytes).map_err(|_| Malformed::Value(self.kind))
    }

    pub(super) fn ipv4(&self) -> Result<Ipv4Addr, Malformed> {
        self.number().map(Ipv4Addr::from)
    }

    pub(super) fn ipv6(&self) -> Result<Ipv6Addr, Malformed> {
        self.value.try_into().map(|bytes: [u8; 16]| bytes.into()).map_err(|_| Malformed::Value(self.kind))
    }

    /// As text: UTF-8 without control characters as it is, everything else in hexadecimal digits. Zeros at the end are those
    /// of a client that counts the end of its strings.
    pub(super) fn text(&self) -> String {
        let end = self.value.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let bytes = &self.value[..end];
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains(char::is_control) => text.to_owned(),
            _ => format!("0x{}", hexadecimal(bytes)),
        }
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "packet_tests.rs"]
pub(super) mod tests;
