//! The HTTP request that becomes a WebSocket (RFC 6455, 4.2).

use std::io;

use bytes::BytesMut;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{Request, create_response, write_response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::{HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_PROTOCOL};

use super::drain;
use super::wire::Wire;

/// Where MQTT is, by convention.
const PATH: &str = "/mqtt";
const SUBPROTOCOL: &str = "mqtt";
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Why a request does not become a WebSocket. The client was answered.
#[derive(Debug, Error)]
pub(in crate::broker) enum Refusal {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("closed in the WebSocket handshake")]
    Closed,
    #[error("{1}")]
    Answered(&'static str, &'static str),
}

const BAD: &str = "400 Bad Request";

/// Does the handshake; also returns what was read beyond it.
pub(super) async fn accept(
    mut wire: Wire,
    origins: &[String],
    max_bytes: usize,
) -> Result<(Wire, Vec<u8>), Refusal> {
    let answered = match read_head(&mut wire, max_bytes).await {
        Ok((head, tail)) => answer(&head, origins).map(|answer| (answer, tail)),
        Err(refusal) => Err(refusal),
    };
    match answered {
        Ok((answer, tail)) => {
            wire.write_all(&answer).await?;
            wire.flush().await?;
            Ok((wire, tail))
        }
        Err(refusal) => {
            if let Refusal::Answered(status, why) = &refusal {
                refuse(&mut wire, status, why).await.ok();
            }
            Err(refusal)
        }
    }
}

/// The head of the request, and what came after it.
async fn read_head(wire: &mut Wire, max_bytes: usize) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
    let mut buffer = BytesMut::with_capacity(1024);
    loop {
        // Only what is new is searched, with the three bytes that may begin the end.
        let searched = buffer.len().saturating_sub(HEAD_END.len() - 1);
        if wire.read_buf(&mut buffer).await? == 0 {
            return Err(Refusal::Closed);
        }
        let end = buffer[searched..].windows(HEAD_END.len()).position(|bytes| bytes == HEAD_END);
        let end = end.map(|at| searched + at + HEAD_END.len());
        if end.unwrap_or(buffer.len()) > max_bytes {
            return Err(Refusal::Answered("431 Request Header Fields Too Large", "the request is too large"));
        }
        if let Some(end) = end {
            let tail = buffer.split_off(end);
            return Ok((buffer.to_vec(), tail.to_vec()));
        }
    }
}

fn answer(head: &[u8], origins: &[String]) -> Result<Vec<u8>, Refusal> {
    let no_websocket = |_| Refusal::Answered(BAD, "this is no WebSocket handshake");
    let request = Request::try_parse(head).map_err(no_websocket)?;
    let (_, request) = request.ok_or(Refusal::Answered(BAD, "this is no WebSocket handshake"))?;
    if request.uri().path() != PATH {
        return Err(Refusal::Answered("404 Not Found", "MQTT is at /mqtt"));
    }
    let mut response = create_response(&request).map_err(no_websocket)?;
    if !offers_mqtt(&request) {
        return Err(Refusal::Answered(BAD, "the subprotocol must be mqtt"));
    }
    if !is_welcome(&request, origins) {
        let why = "pages of this origin may not connect; mqtt.websocket.origins lists those that may";
        return Err(Refusal::Answered("403 Forbidden", why));
    }
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    let mut answer = Vec::new();
    write_response(&mut answer, &response).map_err(no_websocket)?;
    Ok(answer)
}

fn offers_mqtt(request: &Request) -> bool {
    let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    let mut names = offers.iter().filter_map(|offer| offer.to_str().ok()).flat_map(|offer| offer.split(','));
    names.any(|name| name.trim() == SUBPROTOCOL)
}

/// A browser says which page asks; without this any page could talk to a broker on the reader's own machine.
fn is_welcome(request: &Request, origins: &[String]) -> bool {
    let Some(origin) = text(request, ORIGIN) else { return !request.headers().contains_key(ORIGIN) };
    let own = origin.split_once("://").is_some_and(|(_, host)| Some(host) == text(request, HOST));
    own || origins.iter().any(|allowed| allowed == "*" || allowed == origin)
}

fn text(request: &Request, header: HeaderName) -> Option<&str> {
    request.headers().get(header)?.to_str().ok()
}

async fn refuse(wire: &mut Wire, status: &str, why: &str) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{why}\n",
        why.len() + 1
    );
    wire.write_all(answer.as_bytes()).await?;
    wire.shutdown().await?;
    drain(wire.tcp()).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(request: &str, origins: &[&str]) -> String {
        let origins: Vec<String> = origins.iter().map(|origin| (*origin).into()).collect();
        let head = format!("{request}\r\n\r\n").replace('\n', "\r\n").replace("\r\r", "\r");
        match answer(head.as_bytes(), &origins) {
            Ok(answer) => String::from_utf8(answer).unwrap().split(' ').nth(1).unwrap().into(),
            Err(Refusal::Answered(status, _)) => status[..3].into(),
            Err(other) => panic!("{other}"),
        }
    }

    fn upgrade(path: &str, more: &str) -> String {
        format!(
            "GET {path} HTTP/1.1\nHost: broker:8083\nConnection: keep-alive, Upgrade\nUpgrade: websocket\n\
             Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n{more}"
        )
    }

    #[test]
    fn only_mqtt_at_its_path_becomes_a_websocket() {
        assert_eq!(code(&upgrade("/mqtt", "Sec-WebSocket-Protocol: mqtt"), &[]), "101");
        assert_eq!(code(&upgrade("/mqtt?x=1", "Sec-WebSocket-Protocol: mqttv3.1, mqtt"), &[]), "101");
        assert_eq!(code(&upgrade("/", "Sec-WebSocket-Protocol: mqtt"), &[]), "404");
        assert_eq!(code(&upgrade("/mqtt", "Sec-WebSocket-Protocol: chat"), &[]), "400");
        assert_eq!(code(&upgrade("/mqtt", "X: y"), &[]), "400");
        assert_eq!(code("GET /mqtt HTTP/1.1\nSec-WebSocket-Protocol: mqtt", &[]), "400");
        assert_eq!(code("POST /mqtt HTTP/1.1\nSec-WebSocket-Protocol: mqtt", &[]), "400");
        assert_eq!(code("\u{1}\u{2}", &[]), "400");
    }

    #[test]
    fn a_page_of_another_host_must_be_listed() {
        let from =
            |origin: &str| upgrade("/mqtt", &format!("Sec-WebSocket-Protocol: mqtt\nOrigin: {origin}"));
        assert_eq!(code(&from("https://broker:8083"), &[]), "101");
        assert_eq!(code(&from("https://evil.example"), &[]), "403");
        assert_eq!(code(&from("null"), &["https://portal.example"]), "403");
        assert_eq!(code(&from("https://portal.example"), &["https://portal.example"]), "101");
        assert_eq!(code(&from("https://evil.example"), &["*"]), "101");
    }
}
