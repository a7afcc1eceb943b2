//! Clients that send what nobody can store, and clients that end in the middle of a packet.

use std::net::SocketAddr;

use rand::RngExt;
use rand::rngs::StdRng;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::packets::{self, Client};
use crate::harness::pipeline::record;

pub(super) struct Hostile {
    /// Whose topic it is sent on.
    iccid: String,
    /// What was acknowledged, and so has to be in the quarantine; no two are alike.
    pub(super) malformed: Vec<String>,
}

impl Hostile {
    pub(super) fn of(iccid: &str) -> Self {
        Self { iccid: iccid.to_owned(), malformed: Vec::new() }
    }

    pub(super) async fn strike(&mut self, broker: SocketAddr, random: &mut StdRng, long: bool) {
        let (connections, each) = if long { (10, 50) } else { (3, 5) };
        for connection in 0..connections {
            for _ in 0..3 {
                vanish(broker, &self.iccid, random).await;
            }
            let stream = from_another_address(broker).await;
            let name = format!("malformed-{connection}");
            let (mut client, _) = Client::connect(stream, &name, None).await.expect("a CONNACK");
            for pkid in 1..=each {
                let payload = malformed(self.malformed.len(), random);
                client.publish(pkid, &self.iccid, &payload).await.expect("it is acknowledged");
                self.malformed.push(payload);
            }
        }
    }
}

/// Offences count against an address, and the publishers have done nothing.
async fn from_another_address(broker: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 2], 0).into()).expect("all of 127/8 is ours");
    socket.connect(broker).await.expect("it listens")
}

fn malformed(n: usize, random: &mut StdRng) -> String {
    let good = record(&format!("malformed-{n}"), 0, 1, 1);
    match random.random_range(0..4) {
        0 => good[..good.len() / 2].to_owned(),
        1 => format!("hello {n}"),
        2 => good.replace(r#""totalBytes":2"#, r#""totalBytes":-2"#),
        _ => good.replace(r#""periodStart":""#, r#""periodStart":"once, "#),
    }
}

/// Sends something, or a part of it, and is gone.
async fn vanish(broker: SocketAddr, iccid: &str, random: &mut StdRng) {
    let mut stream = from_another_address(broker).await;
    let connect = packets::connect("vanishing", None);
    let sent = match random.random_range(0..4) {
        0 => connect[..connect.len() / 2].to_vec(),
        1 => (0..64).map(|_| random.random()).collect(),
        2 => [&connect[..], &packets::publish(1, iccid, &"x".repeat(500))[..200]].concat(),
        _ => [&connect[..], b"\xf0\xff\xff\xff\xff\xff"].concat(),
    };
    // It may be thrown out before it has said everything.
    stream.write_all(&sent).await.ok();
    if random.random() {
        stream.set_zero_linger().expect("it is a socket");
    }
}
