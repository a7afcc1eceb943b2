//! Clients that mean harm, and what those that do not feel of it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::brokers::BrokerProcess;
use crate::wire::{connect_packet, connected, publish_packet, publish_slowly};

const GOOD: usize = 50;
const HOSTILE: usize = 100;
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) async fn run(quiet: Duration, attack: Duration) {
    let broker = BrokerProcess::simbridge().await;
    let address = broker.address;
    // Once for nothing: what stays allocated after the first clients is no leak.
    percentiles(address, Duration::from_secs(2)).await;
    settle().await;
    let before = (broker.memory(), broker.descriptors());
    let calm = percentiles(address, quiet).await;
    let until = Instant::now() + attack;
    let hostile: Vec<_> = (0..HOSTILE).map(|n| tokio::spawn(harm(address, n, until))).collect();
    let attacked = percentiles(address, attack).await;
    for client in hostile {
        client.await.expect("no panic");
    }
    settle().await;
    let after = (broker.memory(), broker.descriptors());
    let ms = |(p50, p99): (Duration, Duration)| {
        format!("p50 {:.2} ms, p99 {:.2} ms", p50.as_secs_f64() * 1e3, p99.as_secs_f64() * 1e3)
    };
    println!("hostile: {GOOD} publishers of 20 messages/s, PUBACK quiet: {}", ms(calm));
    println!("hostile: the same beside {HOSTILE} hostile clients for {attack:?}: {}", ms(attacked));
    println!(
        "hostile: p99 {:.2} times the quiet one; none was disconnected",
        attacked.1.as_secs_f64() / calm.1.as_secs_f64()
    );
    println!(
        "hostile: RSS {} then {} KB, descriptors {} then {}",
        before.0 / 1024,
        after.0 / 1024,
        before.1,
        after.1
    );
}

/// Connections that were closed are gone.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(15)).await;
}

async fn percentiles(broker: SocketAddr, during: Duration) -> (Duration, Duration) {
    let until = Instant::now() + during;
    let clients: Vec<_> = (0..GOOD)
        .map(|n| {
            let topic = format!("simportal/sims/89410000000000{n:05}/usage");
            tokio::spawn(publish_slowly(broker, format!("good-{n}"), topic, PAUSE, until))
        })
        .collect();
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await.expect("no panic").expect("nobody disconnects it"));
    }
    took.sort_unstable();
    (took[took.len() / 2], took[took.len() * 99 / 100])
}

/// One kind of harm again and again; that the broker ends it is no surprise.
async fn harm(broker: SocketAddr, n: usize, until: Instant) {
    while Instant::now() < until {
        let left = until.saturating_duration_since(Instant::now());
        let act = async {
            match n % 7 {
                0 => drip(broker, &connect_packet("slow")).await,
                1 => half_packets(broker, n).await,
                2 => flood(broker, n).await,
                3 => oversize(broker, n).await,
                4 => connected(broker, "taken").await.map(drop),
                5 => unread(broker, n).await,
                // What begins like TLS.
                _ => drip(broker, &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await,
            }
        };
        tokio::time::timeout(left, act).await.ok();
        // An attacker on the same two cores would take the time of those whom it is measured by.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn drip(broker: SocketAddr, bytes: &[u8]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(broker).await?;
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn half_packets(broker: SocketAddr, n: usize) -> std::io::Result<()> {
    let mut stream = connected(broker, &format!("half-{n}")).await?;
    let packet = publish_packet("simportal/sims/8941000000000000001/usage", 1, 1, &[b'x'; 10_000]);
    stream.write_all(&packet[..5_000]).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}

/// As much as goes into the socket, without reading an answer.
async fn flood(broker: SocketAddr, n: usize) -> std::io::Result<()> {
    let mut stream = connected(broker, &format!("flood-{n}")).await?;
    for pkid in 1..2_000 {
        stream.write_all(&publish_packet("t/flood", 1, pkid, &[b'x'; 1_000])).await?;
    }
    Ok(())
}

async fn oversize(broker: SocketAddr, n: usize) -> std::io::Result<()> {
    let mut stream = connected(broker, &format!("large-{n}")).await?;
    stream.write_all(&[0x30, 0xff, 0xff, 0xff, 0x7f]).await?;
    let mut rest = [0; 16];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Subscribes to everything and reads nothing.
async fn unread(broker: SocketAddr, n: usize) -> std::io::Result<()> {
    let mut stream = connected(broker, &format!("unread-{n}")).await?;
    stream.write_all(&[0x82, 6, 0, 1, 0, 1, b'#', 1]).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    Ok(())
}
