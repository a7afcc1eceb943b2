//! What the broker itself costs, beside mosquitto.
//!
//! `cargo bench --bench broker` runs, each in a fresh process:
//!
//! * `sink`: 50 connections publish usage at QoS 1 with a window of 100, 200 bytes each, and nobody listens. simbridge acknowledges when
//!   its commit, which does nothing here, is done; mosquitto when it likes.
//! * `fanout`: the same on an ordinary topic to one subscriber at QoS 1, counted where it arrives.
//! * `idle`: memory for each of `BENCH_IDLE` (default 10000) connections that do nothing.
//! * `connects`: connections that get their CONNACK, for 5 s, from 32 clients that close at once.
//! * `hostile`: how long PUBACKs of 50 publishers take while 100 clients misbehave for `BENCH_SECONDS` (default 60) in all, beside
//!   quiet times and an attack on another broker. `BENCH_KINDS` is `all` (default), `each` or some of the kinds in `attackers.rs` with
//!   `+` between them.
//!
//! Environment: `BENCH_MODES` (default all), `BENCH_ROUNDS` (default 3), `BENCH_TURN_PACKETS` (`mqtt.traffic.turn_packets`). Descriptors:
//! two for each idle connection in all.

mod attackers;
mod brokers;
#[path = "../budgets/figure.rs"]
#[allow(dead_code, reason = "budgets reads what is told here")]
mod figure;
mod hostile;
mod wire;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use brokers::BrokerProcess;

const CONNECTIONS: usize = 50;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);

/// That of the program.
#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        match std::env::var(brokers::ROLE).as_deref() {
            Ok("broker" | brokers::UNLIMITED) => brokers::run_broker().await,
            Ok(_) => attackers::run().await,
            Err(_) => run().await,
        }
    });
}

async fn run() {
    let modes = std::env::var("BENCH_MODES").unwrap_or_else(|_| "sink,fanout,idle,connects,hostile".into());
    for mode in modes.split(',') {
        match mode {
            "sink" => compare("sink", "acknowledged", sink).await,
            "fanout" => compare("fanout", "received", fanout).await,
            "idle" => idle(number("BENCH_IDLE", 10_000)).await,
            "connects" => connects().await,
            "hostile" => {
                let attack = Duration::from_secs(number("BENCH_SECONDS", 60) as u64);
                let kinds = std::env::var("BENCH_KINDS").unwrap_or_else(|_| "all".into());
                hostile::run(&kinds, number("BENCH_ROUNDS", 3), attack).await;
            }
            other => panic!("there is no mode {other}"),
        }
    }
}

/// Side by side, in turn.
async fn compare(mode: &str, what: &str, measure: impl AsyncFn(SocketAddr) -> f64) {
    let mut ratios = Vec::new();
    for round in 1..=number("BENCH_ROUNDS", 3) {
        let ours = measure(BrokerProcess::simbridge().await.address).await;
        let Some(mosquitto) = BrokerProcess::mosquitto().await else {
            println!("{mode} {round}: simbridge {ours:.0}/s {what}; mosquitto is not installed");
            continue;
        };
        let theirs = measure(mosquitto.address).await;
        ratios.push(ours / theirs);
        println!(
            "{mode} {round}: simbridge {ours:.0}/s {what}, mosquitto {theirs:.0}/s: {:.2}",
            ours / theirs
        );
    }
    ratios.sort_by(f64::total_cmp);
    if let Some(median) = ratios.get(ratios.len() / 2) {
        println!("{mode}: median ratio {median:.2}");
    }
}

async fn sink(broker: SocketAddr) -> f64 {
    let until = Instant::now() + MEASURED;
    acknowledged(broker, until, |n| format!("simportal/sims/89410000000000{n:05}/usage")).await
        / MEASURED.as_secs_f64()
}

async fn acknowledged(broker: SocketAddr, until: Instant, topic: impl Fn(usize) -> String) -> f64 {
    let publishers: Vec<_> = (0..CONNECTIONS)
        .map(|n| tokio::spawn(wire::publish(broker, format!("p{n}"), topic(n), until)))
        .collect();
    let mut acknowledged = 0;
    for publisher in publishers {
        acknowledged += publisher.await.expect("no panic");
    }
    acknowledged as f64
}

async fn fanout(broker: SocketAddr) -> f64 {
    let from = Instant::now() + WARM_UP;
    let until = from + MEASURED;
    let subscriber = tokio::spawn(async move { wire::subscribe(broker, "bench/+", 1, from, until).await });
    let published = acknowledged(broker, until, |n| format!("bench/{n}")).await;
    let seconds = (WARM_UP + MEASURED).as_secs_f64();
    println!("fanout: published {:.0}/s", published / seconds);
    subscriber.await.expect("no panic") as f64 / MEASURED.as_secs_f64()
}

async fn idle(connections: usize) {
    let broker = BrokerProcess::simbridge().await;
    // The first ones also pay for what all share.
    let mut open = vec![wire::connected(broker.address, "first").await.expect("a connection")];
    let before = broker.memory();
    for n in 0..connections {
        open.push(wire::connected(broker.address, &format!("idle-{n}")).await.expect("a connection"));
    }
    let each = (broker.memory() - before) / connections as u64;
    println!("idle: {connections} connections, {each} bytes each");
    figure::tell("idle_connection", each as f64 / 1e3, "KB", &format!("of {connections}"));
}

async fn connects() {
    let broker = BrokerProcess::simbridge().await;
    let (address, began) = (broker.address, Instant::now());
    let until = began + MEASURED;
    let clients: Vec<_> = (0..32)
        .map(|n| {
            tokio::spawn(async move {
                let mut count = 0_u64;
                while Instant::now() < until {
                    let mut stream =
                        wire::connected(address, &format!("c{n}-{count}")).await.expect("a connection");
                    stream.write_all(&[0xe0, 0]).await.ok();
                    // Without TIME_WAIT: the ports of a minute would not do.
                    stream.set_zero_linger().ok();
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for client in clients {
        count += client.await.expect("no panic");
    }
    println!("connects: {:.0}/s for {MEASURED:?}", count as f64 / began.elapsed().as_secs_f64());
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
