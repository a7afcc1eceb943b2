use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeZone, Utc};
use simulator::fleet::FleetSpec;
use simulator::load::{LoadError, LoadOptions, LoadProgress, run};
use simulator::publisher::Protocol;
use tokio_util::sync::CancellationToken;

use crate::fake_broker::{FakeBroker, Packet, Publish, counts};

fn load(port: u16, connections: u32, records: u64) -> LoadOptions {
    LoadOptions {
        addr: format!("127.0.0.1:{port}"),
        protocol: Protocol::V311,
        qos: 1,
        credentials: None,
        connections,
        window: 3,
        records_per_message: 1,
        rate: None,
        records: Some(records),
        duration: None,
        fleet: FleetSpec { sims: 7, seed: 1 },
        run_id: "load".parse().unwrap(),
        until: Utc.with_ymd_and_hms(2026, 11, 20, 12, 0, 0).unwrap(),
        drain_timeout: Duration::from_secs(60),
    }
}

async fn acknowledge_all(broker: FakeBroker, connections: usize) -> Vec<Publish> {
    let mut peers = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let mut peer = broker.accept().await;
        peers.spawn(async move {
            let mut publishes = Vec::new();
            while let Some(packet) = peer.next().await {
                match packet {
                    Packet::Publish(publish) => {
                        peer.ack(publish.packet_id).await;
                        publishes.push(publish);
                    }
                    Packet::PubRel(packet_id) => peer.complete(packet_id).await,
                    Packet::Disconnect => break,
                }
            }
            publishes
        });
    }
    peers.join_all().await.concat()
}

#[tokio::test]
async fn load_sends_every_record_once_and_counts_every_acknowledgement() {
    let broker = FakeBroker::bind().await;
    let options = load(broker.port(), 4, 101);
    let server = tokio::spawn(acknowledge_all(broker, 4));
    let report = run(options, Arc::new(LoadProgress::default()), CancellationToken::new()).await.unwrap();
    let publishes = server.await.unwrap();
    assert_eq!((report.messages_sent, report.messages_acked, report.connections_lost), (101, 101, 0));
    let counts: HashMap<String, usize> = counts(&publishes);
    assert_eq!((counts.len(), counts.values().max()), (101, Some(&1)));
}

#[tokio::test]
async fn load_reports_a_lost_connection_and_its_unacknowledged_messages() {
    let broker = FakeBroker::bind().await;
    let options = load(broker.port(), 1, 10);
    let server = tokio::spawn(async move {
        let mut peer = broker.accept().await;
        let publishes = peer.publishes(3).await;
        peer.ack(publishes[1].packet_id).await;
    });
    let report = run(options, Arc::new(LoadProgress::default()), CancellationToken::new()).await.unwrap();
    server.await.unwrap();
    assert_eq!((report.messages_acked, report.connections_lost), (1, 1));
    assert_eq!(report.messages_unacknowledged, report.messages_sent - 1);
}

#[tokio::test]
async fn load_says_when_the_broker_turns_it_away() {
    let broker = FakeBroker::bind().await;
    let options = load(broker.port(), 1, 10);
    let server = tokio::spawn(async move { broker.refuse(5).await });
    let result = run(options, Arc::new(LoadProgress::default()), CancellationToken::new()).await;
    server.abort();
    assert!(matches!(result, Err(LoadError::Connect { .. })));
}
