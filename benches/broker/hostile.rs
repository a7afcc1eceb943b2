//! What well-behaved clients feel of those that mean harm.
//!
//! Three slices in turn, so that all of them see the same background of the machine: nobody harms anybody; the attack goes to
//! another broker, which costs the machine as much and the measured broker nothing; the attack goes to the measured broker.
//! What the third has beyond the second is what a broker's clients feel because the attackers are in the same broker. What the
//! second has beyond the first is the price of attackers, brokers and publishers on the same two cores.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::attackers::{Attack, KINDS};
use crate::brokers::BrokerProcess;
use crate::figure;
use crate::wire::publish_slowly;

const GOOD: usize = 50;
const PAUSE: Duration = Duration::from_millis(50);

/// Attacks for `attack` in all, in `rounds` slices. `kinds` is `all` (each attacker one kind), `each` (one kind after the
/// other, and then all), or names with `+` between them.
pub(crate) async fn run(kinds: &str, rounds: usize, attack: Duration) {
    let slice = attack / rounds as u32;
    match kinds {
        "all" => side_by_side(&KINDS, rounds, slice).await,
        "each" => {
            for kind in KINDS {
                side_by_side(&[kind], rounds, slice).await;
            }
            side_by_side(&KINDS, rounds, slice).await;
        }
        named => side_by_side(&named.split('+').collect::<Vec<_>>(), rounds, slice).await,
    }
}

#[derive(Default)]
struct Took {
    quiet: Vec<Duration>,
    control: Vec<Duration>,
    attacked: Vec<Duration>,
}

async fn side_by_side(kinds: &[&str], rounds: usize, slice: Duration) {
    let (broker, other) =
        (BrokerProcess::simbridge_as_shipped().await, BrokerProcess::simbridge_as_shipped().await);
    // Once for nothing: what stays allocated after the first clients is no leak.
    publish(broker.address, Duration::from_secs(2)).await;
    settle().await;
    let before = (broker.memory(), broker.descriptors());
    let mut took = Took::default();
    let mut highest = 0;
    for _ in 0..rounds {
        took.quiet.extend(publish(broker.address, slice).await);
        let attack = Attack::start(other.address, kinds);
        took.control.extend(publish(broker.address, slice).await);
        attack.end().await;
        let attack = Attack::start(broker.address, kinds);
        took.attacked.extend(publish(broker.address, slice).await);
        highest = highest.max(broker.memory());
        attack.end().await;
    }
    settle().await;
    let after = (broker.memory(), broker.descriptors());
    report(&kinds.join("+"), took, slice * rounds as u32);
    println!(
        "hostile: RSS {} KB, under attack {}, then {}; descriptors {} then {}",
        before.0 / 1024,
        highest / 1024,
        after.0 / 1024,
        before.1,
        after.1
    );
}

fn report(kinds: &str, took: Took, during: Duration) {
    let [quiet, control, attacked] = [took.quiet, took.control, took.attacked].map(percentiles);
    let ms = |took: Duration| took.as_secs_f64() * 1e3;
    println!(
        "hostile: {kinds}: {GOOD} publishers of 20 messages/s, {during:?} of each, none was disconnected"
    );
    for (name, (p50, p99)) in [("quiet", quiet), ("attack on another broker", control), ("attack", attacked)]
    {
        println!("hostile:   PUBACK p50 {:.2} ms, p99 {:.2} ms: {name}", ms(p50), ms(p99));
    }
    println!(
        "hostile:   p99 {:.2} times the quiet one, {:.2} times the one beside an attack on another broker",
        attacked.1.as_secs_f64() / quiet.1.as_secs_f64(),
        attacked.1.as_secs_f64() / control.1.as_secs_f64()
    );
    let about = format!("{:.2} ms, in quiet {:.2} ms", ms(attacked.1), ms(quiet.1));
    figure::tell("hostile_p99", attacked.1.as_secs_f64() / quiet.1.as_secs_f64(), "", &about);
}

/// Connections that were closed are gone.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(15)).await;
}

/// How long each PUBACK of the well-behaved took.
async fn publish(broker: SocketAddr, during: Duration) -> Vec<Duration> {
    let until = Instant::now() + during;
    let clients: Vec<_> = (0..GOOD)
        .map(|n| {
            let topic = format!("simportal/sims/89410000000000{n:05}/usage");
            let from = Ipv4Addr::new(127, 0, 1, n as u8 + 1);
            tokio::spawn(publish_slowly(from, broker, format!("good-{n}"), topic, PAUSE, until))
        })
        .collect();
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await.expect("no panic").expect("nobody disconnects it"));
    }
    took
}

/// The median and the 99th percentile.
fn percentiles(mut took: Vec<Duration>) -> (Duration, Duration) {
    took.sort_unstable();
    (took[took.len() / 2], took[took.len() * 99 / 100])
}
