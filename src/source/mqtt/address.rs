//! Where a broker is.

use std::fmt;

use reqwest::Url;
use thiserror::Error;

/// How packets travel to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Tls,
    WebSocket,
    TlsWebSocket,
}

/// A broker's address, and the login if the address holds one.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub transport: Transport,
    pub host: String,
    pub port: u16,
    /// Path and query; WebSocket only.
    path: String,
    pub username: Option<String>,
    pub password: Option<String>,
}

/// Why an address is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AddressError {
    #[error("must be an address such as mqtt://broker.example:1883")]
    NotAnAddress,
    #[error("must begin with mqtt://, mqtts://, ws:// or wss://")]
    Scheme,
    #[error("must end with the port; only ws:// and wss:// have a path")]
    Path,
}

impl Address {
    /// # Errors
    /// [`AddressError`]; it never repeats the text, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let url = Url::parse(text).map_err(|_| AddressError::NotAnAddress)?;
        let (transport, port) = match url.scheme() {
            "mqtt" => (Transport::Tcp, 1883),
            "mqtts" => (Transport::Tls, 8883),
            "ws" => (Transport::WebSocket, 80),
            "wss" => (Transport::TlsWebSocket, 443),
            _ => return Err(AddressError::Scheme),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(AddressError::NotAnAddress)?;
        let over_http = matches!(transport, Transport::WebSocket | Transport::TlsWebSocket);
        let plain = url.path().trim_matches('/').is_empty() && url.query().is_none();
        if url.fragment().is_some() || !over_http && !plain {
            return Err(AddressError::Path);
        }
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(Self {
            transport,
            host: host.into(),
            port: url.port().unwrap_or(port),
            path: format!("{}{query}", url.path()),
            username: Some(unescaped(url.username())).filter(|name| !name.is_empty()),
            password: url.password().map(unescaped),
        })
    }

    /// Whether certificates matter.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.transport, Transport::Tls | Transport::TlsWebSocket)
    }

    /// What an MQTT client is given as its broker: the host, or for WebSocket the address without the login.
    pub(super) fn broker(&self) -> String {
        let Self { host, port, path, .. } = self;
        match self.transport {
            Transport::Tcp | Transport::Tls => host.clone(),
            Transport::WebSocket => format!("ws://{host}:{port}{path}"),
            Transport::TlsWebSocket => format!("wss://{host}:{port}{path}"),
        }
    }
}

/// Without the password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}:{}{}", self.transport, self.host, self.port, self.path)
    }
}

/// Percent signs undone. Queries escape alike, but for + and &, which mean nothing in a login.
fn unescaped(text: &str) -> String {
    let query = format!("{}=", text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D"));
    form_urlencoded::parse(query.as_bytes()).map(|(key, _)| key.into_owned()).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_address_has_its_port() {
        for (text, transport, port, broker) in [
            ("mqtt://broker.example", Transport::Tcp, 1883, "broker.example"),
            ("mqtt://broker.example:1884/", Transport::Tcp, 1884, "broker.example"),
            ("mqtts://broker.example", Transport::Tls, 8883, "broker.example"),
            ("ws://broker.example/mqtt", Transport::WebSocket, 80, "ws://broker.example:80/mqtt"),
            ("wss://me:x@broker.example:1/m?k=v", Transport::TlsWebSocket, 1, "wss://broker.example:1/m?k=v"),
            ("mqtt://[::1]:7", Transport::Tcp, 7, "[::1]"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.transport, address.port), (transport, port), "{text}");
            assert_eq!(address.broker(), broker);
        }
    }

    #[test]
    fn a_login_is_taken_from_the_address_and_never_shown() {
        let address = Address::parse("mqtt://me%40home:p+s%26%3D%2F@broker").unwrap();
        assert_eq!(address.username.as_deref(), Some("me@home"));
        assert_eq!(address.password.as_deref(), Some("p+s&=/"));
        assert!(!format!("{address:?}").contains("p+s"));
    }

    #[test]
    fn what_is_no_broker_is_refused() {
        for (text, fault) in [
            ("", AddressError::NotAnAddress),
            ("broker:1883", AddressError::Scheme),
            ("http://broker", AddressError::Scheme),
            ("mqtt://", AddressError::NotAnAddress),
            ("mqtt://broker/topic", AddressError::Path),
        ] {
            assert_eq!(Address::parse(text), Err(fault), "{text}");
        }
    }
}
