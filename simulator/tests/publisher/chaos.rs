use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use simulator::publisher::{Protocol, PublisherOptions};

use crate::fake_broker::{FakeBroker, Packet, Peer};
use crate::{Publisher, ids, options};

/// Acknowledges in random order and drops the connection now and then.
async fn misbehave(peer: &mut Peer, rng: &mut ChaCha8Rng, seen: &Mutex<Seen>) {
    let mut unacknowledged = Vec::new();
    while let Some(Packet::Publish(publish)) = peer.next().await {
        seen.lock().unwrap().received.insert(publish.record_id());
        unacknowledged.push(publish);
        while !unacknowledged.is_empty() && (unacknowledged.len() == 4 || rng.random_bool(0.4)) {
            let publish = unacknowledged.swap_remove(rng.random_range(0..unacknowledged.len()));
            seen.lock().unwrap().acknowledged.insert(publish.record_id());
            peer.ack(publish.packet_id).await;
        }
        if rng.random_bool(0.03) {
            return;
        }
        if unacknowledged.len() < 4 && rng.random_bool(0.5) {
            for publish in unacknowledged.drain(..) {
                seen.lock().unwrap().acknowledged.insert(publish.record_id());
                peer.ack(publish.packet_id).await;
            }
        }
    }
}

#[derive(Default)]
struct Seen {
    received: HashSet<String>,
    acknowledged: HashSet<String>,
}

#[tokio::test]
async fn whatever_the_broker_does_the_ledger_agrees_with_it() {
    for (seed, protocol) in [(1, Protocol::V311), (2, Protocol::V5), (3, Protocol::V311), (4, Protocol::V5)] {
        let broker = FakeBroker::bind().await;
        let name = format!("chaos_{seed}");
        let publisher = Publisher::start(&name, PublisherOptions { protocol, ..options(broker.port(), 100) });
        let seen = Arc::new(Mutex::new(Seen::default()));
        let server_seen = Arc::clone(&seen);
        let server = tokio::spawn(async move {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            loop {
                let mut peer = broker.accept().await;
                misbehave(&mut peer, &mut rng, &server_seen).await;
            }
        });
        let (summary, ledger) = publisher.end().await;
        server.abort();
        let summary = summary.unwrap();
        let seen = seen.lock().unwrap();
        assert_eq!((summary.sent, summary.acked, summary.in_flight), (100, 100, 0), "seed {seed}");
        assert_eq!(ids(&ledger.sent), seen.received, "seed {seed}");
        assert_eq!(ids(&ledger.acked), ids(&ledger.sent), "seed {seed}");
        assert!(ids(&ledger.acked).is_subset(&seen.acknowledged), "seed {seed}");
    }
}
