use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use simbridge::domain::Clock;
use tokio::net::UdpSocket;
use tokio::time::timeout_at;

use crate::database::BenchDatabase;
use crate::program::Program;
use crate::workload::{Row, Workload};

const SECRET: &str = "a secret of the benchmark";
/// Sockets that requests come from, each with its own identifiers.
const CLIENTS: usize = 4;
/// Requests of a client that are not answered yet; an identifier has 8 bits.
const UNDER_WAY: usize = 200;
/// As a NAS repeats, only sooner.
const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// What it took to be answered.
pub(crate) struct Told {
    pub(crate) elapsed: Duration,
    pub(crate) median: Duration,
    /// Requests that were sent again.
    pub(crate) repeated: usize,
}

/// The program, answering the clients; the file holds their secret.
pub(crate) async fn program(database: &BenchDatabase) -> (Program, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), SECRET).expect("it is ours");
    let source = format!(
        "[{{ name = \"bench\", listen = \"127.0.0.1:0\", clients = \
         [{{ name = \"nas\", addresses = [\"127.0.0.1\"], secret_file = \"{}\" }}] }}]",
        file.path().display()
    );
    (Program::launch(database, &[("SIMBRIDGE__SOURCE__RADIUS", source)], true).await, file)
}

/// Sends the workload and waits for every answer. A SIM's rows are one session whose counters grow; one client sends them.
pub(crate) async fn tell(program: &Program, workload: &Workload) -> Told {
    let server = program.radius.expect("it was started with a source");
    let mut counters: HashMap<Arc<str>, (u64, u64)> = HashMap::new();
    let mut shares: Vec<Vec<Vec<u8>>> = vec![Vec::new(); CLIENTS];
    let now = Clock::System.now().timestamp();
    // From the oldest to the newest, as they were counted.
    for (n, row) in workload.rows.iter().enumerate() {
        let (upload, download) = counters.entry(row.iccid.clone()).or_default();
        *upload += u64::try_from(row.upload).expect("it is positive");
        *download += u64::try_from(row.download).expect("it is positive");
        let share = row.iccid.bytes().map(usize::from).sum::<usize>() % CLIENTS;
        let at = now - 86_400 + i64::try_from(n * 80_000 / workload.len()).expect("a day has few seconds");
        shares[share].push(attributes(row, *upload, *download, at));
    }
    let started = Instant::now();
    let clients: Vec<_> = shares.into_iter().map(|share| tokio::spawn(client(server, share))).collect();
    let (mut took, mut repeated) = (Vec::with_capacity(workload.len()), 0);
    for client in clients {
        let (times, again) = client.await.expect("no panic");
        took.extend(times);
        repeated += again;
    }
    let elapsed = started.elapsed();
    took.sort_unstable();
    Told { elapsed, median: took[took.len() / 2], repeated }
}

/// An Interim-Update.
fn attributes(row: &Row, upload: u64, download: u64, at: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut number = |kind: u8, value: u64| {
        bytes.extend([kind, 6]);
        bytes.extend(u32::try_from(value).expect("32 bits").to_be_bytes());
    };
    number(40, 3);
    number(42, upload & 0xffff_ffff);
    number(52, upload >> 32);
    number(43, download & 0xffff_ffff);
    number(53, download >> 32);
    number(55, u64::try_from(at).expect("after 1970"));
    for (kind, text) in [(31, &*row.iccid), (44, &*row.iccid), (32, "bench")] {
        bytes.extend([kind, u8::try_from(text.len() + 2).expect("it is short")]);
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// Times of all requests, and how many were sent again.
async fn client(server: SocketAddr, share: Vec<Vec<u8>>) -> (Vec<Duration>, usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket.connect(server).await.expect("an address");
    let mut free: Vec<u8> = (0..UNDER_WAY).map(|n| u8::try_from(n).expect("a byte")).collect();
    let mut open: BTreeMap<u8, (Instant, Instant, Vec<u8>)> = BTreeMap::new();
    let (mut took, mut repeated) = (Vec::with_capacity(share.len()), 0);
    let mut requests = share.into_iter();
    let mut buffer = [0; 64];
    loop {
        while let Some(identifier) = free.pop() {
            let Some(attributes) = requests.next() else {
                free.push(identifier);
                break;
            };
            let packet = sign(identifier, &attributes);
            socket.send(&packet).await.ok();
            let now = Instant::now();
            open.insert(identifier, (now, now, packet));
        }
        let Some(oldest) = open.values().map(|(_, sent, _)| *sent).min() else { return (took, repeated) };
        match timeout_at((oldest + REPEAT_AFTER).into(), socket.recv(&mut buffer)).await {
            Ok(received) => {
                assert!(received.is_ok_and(|bytes| bytes == 20) && buffer[0] == 5, "an Accounting-Response");
                if let Some((first, ..)) = open.remove(&buffer[1]) {
                    took.push(first.elapsed());
                    free.push(buffer[1]);
                }
            }
            Err(_) => {
                for (_, sent, packet) in
                    open.values_mut().filter(|(_, sent, _)| sent.elapsed() >= REPEAT_AFTER)
                {
                    *sent = Instant::now();
                    repeated += 1;
                    socket.send(packet).await.ok();
                }
            }
        }
    }
}

fn sign(identifier: u8, attributes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + attributes.len()).expect("it is short");
    let mut packet = vec![4, identifier];
    packet.extend(length.to_be_bytes());
    packet.extend([0; 16]);
    packet.extend(attributes);
    let digest = Md5::new().chain_update(&packet).chain_update(SECRET).finalize();
    packet[4..20].copy_from_slice(&digest);
    packet
}
