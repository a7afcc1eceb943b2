//! Clients that mean harm, in a process of their own.
//!
//! On a network their processors are somewhere else. Here they share two cores with those who are measured, so they run at
//! the lowest priority: they get what the brokers and the well-behaved leave, and all of that.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::brokers::ROLE;
use crate::wire::{connect_packet, connected_from, frame, publish_packet, socket_from, text};

/// What they do, by name.
pub(crate) const KINDS: [&str; 9] = [
    "slow_connect",
    "half_packets",
    "flood",
    "oversize",
    "take_over",
    "unread",
    "slow_tls",
    "storm",
    "pings",
];
const COUNT: usize = 100;

const TARGET: &str = "BENCH_TARGET";
const HARM: &str = "BENCH_HARM";

/// A running attack; over when it is dropped.
pub(crate) struct Attack(Child);

impl Attack {
    /// Turns [`COUNT`] clients against `broker`. They do each of `kinds` in turn.
    pub(crate) fn start(broker: SocketAddr, kinds: &[&str]) -> Self {
        let this = std::env::current_exe().expect("this program has a path");
        let child = Command::new("nice")
            .args(["-n", "19"])
            .arg(this)
            .env(ROLE, "attackers")
            .env(TARGET, broker.to_string())
            .env(HARM, kinds.join(","))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        Self(child)
    }

    pub(crate) async fn end(mut self) {
        self.0.kill().await.expect("it runs");
    }
}

/// Attacks until it is killed.
pub(crate) async fn run() {
    let target = std::env::var(TARGET).expect("whom").parse().expect("an address");
    let kinds = std::env::var(HARM).expect("how");
    let kinds: Vec<&str> = kinds.split(',').collect();
    let clients: Vec<_> = (0..COUNT)
        .map(|n| tokio::spawn(harm(Attacker { broker: target, n }, kinds[n % kinds.len()].to_owned())))
        .collect();
    for client in clients {
        client.await.expect("no panic");
    }
}

/// One kind of harm again and again; that the broker ends it is no surprise.
async fn harm(attacker: Attacker, kind: String) {
    loop {
        let did = match &*kind {
            "slow_connect" => attacker.drip(&connect_packet("slow")).await,
            "half_packets" => attacker.half_packets().await,
            "flood" => attacker.flood().await,
            "oversize" => attacker.oversize().await,
            "take_over" => attacker.connected("taken").await.map(drop),
            "unread" => attacker.unread().await,
            // What begins like TLS.
            "slow_tls" => attacker.drip(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await,
            "storm" => attacker.storm().await,
            "pings" => attacker.pings().await,
            other => panic!("there is no kind {other}"),
        };
        did.ok();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[derive(Clone, Copy)]
struct Attacker {
    broker: SocketAddr,
    n: usize,
}

impl Attacker {
    /// Each comes from an address of its own, and from none of the well-behaved.
    fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(127, 1, 0, self.n as u8 + 1)
    }

    async fn socket(self) -> std::io::Result<TcpStream> {
        socket_from(self.address(), self.broker).await
    }

    async fn connected(self, id: &str) -> std::io::Result<TcpStream> {
        connected_from(self.address(), self.broker, id).await
    }

    async fn drip(self, bytes: &[u8]) -> std::io::Result<()> {
        let mut stream = self.socket().await?;
        for byte in bytes {
            stream.write_all(&[*byte]).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    async fn half_packets(self) -> std::io::Result<()> {
        let mut stream = self.connected(&format!("half-{}", self.n)).await?;
        let packet = publish_packet("simportal/sims/8941000000000000001/usage", 1, 1, &[b'x'; 10_000]);
        stream.write_all(&packet[..5_000]).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(())
    }

    /// As much as goes into the socket, without reading an answer.
    async fn flood(self) -> std::io::Result<()> {
        let mut stream = self.connected(&format!("flood-{}", self.n)).await?;
        for pkid in 1..2_000 {
            stream.write_all(&publish_packet("t/flood", 1, pkid, &[b'x'; 1_000])).await?;
        }
        Ok(())
    }

    async fn oversize(self) -> std::io::Result<()> {
        let mut stream = self.connected(&format!("large-{}", self.n)).await?;
        stream.write_all(&[0x30, 0xff, 0xff, 0xff, 0x7f]).await?;
        let mut rest = [0; 16];
        while stream.read(&mut rest).await? > 0 {}
        Ok(())
    }

    /// Subscribes to everything and reads nothing.
    async fn unread(self) -> std::io::Result<()> {
        let mut stream = self.connected(&format!("unread-{}", self.n)).await?;
        stream.write_all(&frame(0x82, &[vec![0, 1], text("#"), vec![1]].concat())).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok(())
    }

    /// Connections without a pause, for a while.
    async fn storm(self) -> std::io::Result<()> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(1) {
            let stream = self.connected(&format!("storm-{}", self.n)).await?;
            // Without TIME_WAIT: the ports of a minute would not do.
            stream.set_zero_linger()?;
        }
        Ok(())
    }

    /// The cheapest packet that wants an answer.
    async fn pings(self) -> std::io::Result<()> {
        let mut stream = self.connected(&format!("pings-{}", self.n)).await?;
        let pings = [0xc0, 0].repeat(8_192);
        let mut answers = vec![0; 65_536];
        for _ in 0..100 {
            stream.write_all(&pings).await?;
            if stream.read(&mut answers).await? == 0 {
                break;
            }
        }
        Ok(())
    }
}
