//! MQTT 3.1.1 in as few bytes and cycles as a load generator can do with.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

pub(crate) const PAYLOAD_BYTES: usize = 200;
const WINDOW: u16 = 100;

pub(crate) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

pub(crate) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
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

pub(crate) fn connect_packet(id: &str) -> Vec<u8> {
    frame(0x10, &[text("MQTT"), vec![4, 2, 0, 0], text(id)].concat())
}

pub(crate) fn publish_packet(topic: &str, qos: u8, pkid: u16, payload: &[u8]) -> Vec<u8> {
    let pkid = if qos == 0 { Vec::new() } else { pkid.to_be_bytes().to_vec() };
    frame(0x30 | qos << 1, &[text(topic), pkid, payload.to_vec()].concat())
}

/// A connection from an address of this machine's own network.
pub(crate) async fn socket_from(from: Ipv4Addr, broker: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let stream = socket.connect(broker).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection that has its CONNACK.
pub(crate) async fn connected(broker: SocketAddr, id: &str) -> std::io::Result<TcpStream> {
    connected_from(Ipv4Addr::LOCALHOST, broker, id).await
}

/// As [`connected`], from another address.
pub(crate) async fn connected_from(
    from: Ipv4Addr,
    broker: SocketAddr,
    id: &str,
) -> std::io::Result<TcpStream> {
    let mut stream = socket_from(from, broker).await?;
    stream.write_all(&connect_packet(id)).await?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).await?;
    if connack != [0x20, 2, 0, 0] {
        return Err(std::io::Error::other(format!("CONNACK {connack:?}")));
    }
    Ok(stream)
}

/// Publishes at QoS 1 with a window of 100 until `until`; returns how many were acknowledged.
pub(crate) async fn publish(broker: SocketAddr, id: String, topic: String, until: Instant) -> u64 {
    let mut stream = connected(broker, &id).await.expect("a connection");
    let packet = publish_packet(&topic, 1, 1, &[b'x'; PAYLOAD_BYTES]);
    let pkid_at = packet.len() - PAYLOAD_BYTES - 2;
    let (mut next, mut acknowledged) = (1_u16, 0);
    let (mut out, mut input, mut odd) = (Vec::new(), vec![0; 4096], 0);
    let mut room = WINDOW;
    while Instant::now() < until {
        out.clear();
        for _ in 0..std::mem::take(&mut room) {
            let from = out.len();
            out.extend_from_slice(&packet);
            out[from + pkid_at..from + pkid_at + 2].copy_from_slice(&next.to_be_bytes());
            next = next.checked_add(1).unwrap_or(1);
        }
        if stream.write_all(&out).await.is_err() {
            break;
        }
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match tokio::time::timeout(left, stream.read(&mut input)).await {
            Ok(Ok(read)) if read > 0 => {
                // A PUBACK has four bytes and nothing else comes.
                odd += read;
                room = (odd / 4) as u16;
                odd %= 4;
                acknowledged += u64::from(room);
            }
            _ => break,
        }
    }
    acknowledged
}

/// Publishes one message after the other, `pause` apart, and returns how long each PUBACK took. An error when it was disconnected.
pub(crate) async fn publish_slowly(
    from: Ipv4Addr,
    broker: SocketAddr,
    id: String,
    topic: String,
    pause: Duration,
    until: Instant,
) -> std::io::Result<Vec<Duration>> {
    let mut stream = connected_from(from, broker, &id).await?;
    let packet = publish_packet(&topic, 1, 7, &[b'x'; PAYLOAD_BYTES]);
    let mut took = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        stream.write_all(&packet).await?;
        let mut puback = [0; 4];
        stream.read_exact(&mut puback).await?;
        took.push(began.elapsed());
        tokio::time::sleep(pause.saturating_sub(began.elapsed())).await;
    }
    Ok(took)
}

/// Subscribes at `qos` and counts what comes between `from` and `until`.
pub(crate) async fn subscribe(
    broker: SocketAddr,
    filter: &str,
    qos: u8,
    from: Instant,
    until: Instant,
) -> u64 {
    let mut stream = connected(broker, "subscriber").await.expect("a connection");
    stream.write_all(&frame(0x82, &[vec![0, 1], text(filter), vec![qos]].concat())).await.expect("a socket");
    let (mut buffer, mut start, mut counted, mut out) = (Vec::with_capacity(1 << 20), 0, 0, Vec::new());
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, stream.read_buf(&mut buffer)).await {
            Ok(Ok(read)) if read > 0 => {}
            _ => return counted,
        }
        let counts = Instant::now() >= from;
        out.clear();
        while let Some((first, body, end)) = next_frame(&buffer, start) {
            if first >> 4 == 3 {
                counted += u64::from(counts);
                if first & 6 != 0 {
                    let topic = usize::from(u16::from_be_bytes([buffer[body], buffer[body + 1]]));
                    out.extend_from_slice(&[0x40, 2, buffer[body + 2 + topic], buffer[body + 3 + topic]]);
                }
            }
            start = end;
        }
        buffer.drain(..start);
        start = 0;
        if !out.is_empty() && stream.write_all(&out).await.is_err() {
            return counted;
        }
    }
}

/// First byte, begin and end of the body of the frame that begins at `at`, if it is there whole.
fn next_frame(buffer: &[u8], at: usize) -> Option<(u8, usize, usize)> {
    let (mut length, mut shift, mut body) = (0, 0, at + 1);
    loop {
        let byte = *buffer.get(body)?;
        body += 1;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    (buffer.len() >= body + length).then_some((buffer[at], body, body + length))
}
