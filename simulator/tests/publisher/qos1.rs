use std::collections::HashSet;
use std::time::Duration;

use simulator::faults::FaultPlan;
use simulator::publisher::{PublisherError, PublisherOptions};

use crate::fake_broker::{FakeBroker, Packet, counts};
use crate::{Publisher, ids, options};

#[tokio::test]
async fn every_acknowledged_message_is_counted_once() {
    let broker = FakeBroker::bind().await;
    let publisher = Publisher::start("every_ack", options(broker.port(), 20));
    let mut peer = broker.accept().await;
    let mut publishes = Vec::new();
    for _ in 0..20 {
        let publish = peer.publish().await;
        peer.ack(publish.packet_id).await;
        publishes.push(publish);
    }
    assert_eq!(peer.next().await, Some(Packet::Disconnect));
    let (summary, ledger) = publisher.end().await;
    let summary = summary.unwrap();
    assert_eq!((summary.sent, summary.acked, summary.in_flight, summary.reconnects), (20, 20, 0, 0));
    let received: HashSet<String> = counts(&publishes).into_keys().collect();
    assert_eq!(received.len(), 20);
    assert_eq!(ids(&ledger.sent), received);
    assert_eq!(ids(&ledger.acked), received);
}

#[tokio::test]
async fn acknowledgements_out_of_order_belong_to_their_own_messages() {
    let broker = FakeBroker::bind().await;
    let options = PublisherOptions { drain_timeout: Duration::from_millis(100), ..options(broker.port(), 4) };
    let publisher = Publisher::start("out_of_order", options);
    let mut peer = broker.accept().await;
    let publishes = peer.publishes(4).await;
    for place in [3, 1] {
        peer.ack(publishes[place].packet_id).await;
    }
    drop((peer, broker));
    publisher.stop.cancel();
    let (summary, ledger) = publisher.end().await;
    let summary = summary.unwrap();
    assert_eq!((summary.sent, summary.acked, summary.in_flight), (4, 2, 2));
    let acked = HashSet::from([publishes[3].record_id(), publishes[1].record_id()]);
    assert_eq!(ids(&ledger.acked), acked);
    assert_eq!(ledger.sent.len(), 4);
}

#[tokio::test]
async fn what_was_cut_before_its_acknowledgement_is_sent_again_in_order_and_counted_once() {
    let broker = FakeBroker::bind().await;
    let publisher = Publisher::start("cut_before_ack", options(broker.port(), 6));
    let mut peer = broker.accept().await;
    let first = peer.publishes(4).await;
    drop(peer);
    let mut peer = broker.accept().await;
    let again = peer.publishes(4).await;
    let payloads = |publishes: &[crate::fake_broker::Publish]| -> Vec<Vec<u8>> {
        publishes.iter().map(|publish| publish.payload.clone()).collect()
    };
    assert_eq!(payloads(&first), payloads(&again));
    for publish in &again {
        peer.ack(publish.packet_id).await;
    }
    for publish in peer.publishes(2).await {
        peer.ack(publish.packet_id).await;
    }
    let (summary, ledger) = publisher.end().await;
    let summary = summary.unwrap();
    assert_eq!((summary.sent, summary.acked, summary.resent_messages, summary.reconnects), (6, 6, 4, 1));
    assert_eq!(ledger.sent, ledger.acked);
}

#[tokio::test]
async fn an_acknowledgement_that_arrived_with_the_end_of_the_connection_counts() {
    let broker = FakeBroker::bind().await;
    let publisher = Publisher::start("ack_and_cut", options(broker.port(), 4));
    let mut peer = broker.accept().await;
    let first = peer.publishes(4).await;
    peer.ack(first[0].packet_id).await;
    peer.ack(first[2].packet_id).await;
    drop(peer);
    let mut peer = broker.accept().await;
    let again = peer.publishes(2).await;
    assert_eq!(again[0].payload, first[1].payload);
    assert_eq!(again[1].payload, first[3].payload);
    for publish in again {
        peer.ack(publish.packet_id).await;
    }
    let (summary, ledger) = publisher.end().await;
    assert_eq!(summary.unwrap().acked, 4);
    assert_eq!(ledger.sent, ledger.acked);
}

#[tokio::test]
async fn an_acknowledgement_of_nothing_counts_for_nothing() {
    let broker = FakeBroker::bind().await;
    let publisher = Publisher::start("ack_of_nothing", options(broker.port(), 2));
    let mut peer = broker.accept().await;
    let publishes = peer.publishes(2).await;
    peer.ack(publishes[0].packet_id).await;
    peer.ack(publishes[0].packet_id).await;
    let mut peer = broker.accept().await;
    let again = peer.publish().await;
    assert_eq!(again.payload, publishes[1].payload);
    peer.ack(again.packet_id).await;
    let (summary, ledger) = publisher.end().await;
    assert_eq!(summary.unwrap().acked, 2);
    assert_eq!(ledger.acked.len(), 2);
}

#[tokio::test]
async fn at_the_stop_publishing_ends_and_outstanding_acknowledgements_are_awaited() {
    let broker = FakeBroker::bind().await;
    let publisher = Publisher::start("stop", options(broker.port(), u64::MAX));
    let mut peer = broker.accept().await;
    let publishes = peer.publishes(4).await;
    publisher.stop.cancel();
    for publish in &publishes {
        peer.ack(publish.packet_id).await;
    }
    let mut extra = 0;
    while let Some(Packet::Publish(publish)) = peer.next().await {
        // The stop and the first acknowledgement race for the publisher's attention.
        peer.ack(publish.packet_id).await;
        extra += 1;
    }
    let (summary, ledger) = publisher.end().await;
    let summary = summary.unwrap();
    assert_eq!((summary.sent, summary.acked, summary.in_flight), (4 + extra, 4 + extra, 0));
    assert_eq!(ledger.sent, ledger.acked);
}

#[tokio::test]
async fn without_a_broker_a_stopped_publisher_ends() {
    let broker = FakeBroker::bind().await;
    let port = broker.port();
    drop(broker);
    let publisher = Publisher::start("no_broker", options(port, u64::MAX));
    publisher.stop.cancel();
    let (summary, ledger) = publisher.end().await;
    assert_eq!(summary.unwrap().sent, 0);
    assert!(ledger.sent.is_empty());
}

#[tokio::test]
async fn wrong_credentials_end_the_publisher_with_the_reason() {
    let broker = FakeBroker::bind().await;
    let publisher = Publisher::start("denied", options(broker.port(), 1));
    broker.refuse(4).await;
    let (summary, _) = publisher.end().await;
    assert!(matches!(summary, Err(PublisherError::Denied(reason)) if reason == "BadUserNamePassword"));
}

#[tokio::test]
async fn a_busy_broker_is_tried_again() {
    let broker = FakeBroker::bind().await;
    let publisher = Publisher::start("busy", options(broker.port(), 1));
    broker.refuse(3).await;
    let mut peer = broker.accept().await;
    let publish = peer.publish().await;
    peer.ack(publish.packet_id).await;
    let (summary, _) = publisher.end().await;
    let summary = summary.unwrap();
    assert_eq!((summary.acked, summary.reconnects), (1, 0));
}

#[tokio::test]
async fn a_cut_fault_drops_the_connection_once_for_each_message_and_loses_nothing() {
    let broker = FakeBroker::bind().await;
    let faults = FaultPlan { cut: 1.0, ..FaultPlan::default() };
    let publisher = Publisher::start("cut_fault", PublisherOptions { faults, ..options(broker.port(), 3) });
    let stats = std::sync::Arc::clone(&publisher.stats);
    let server = tokio::spawn(async move {
        loop {
            let mut peer = broker.accept().await;
            while let Some(packet) = peer.next().await {
                if let Packet::Publish(publish) = packet {
                    peer.ack(publish.packet_id).await;
                }
            }
        }
    });
    let (summary, ledger) = publisher.end().await;
    server.abort();
    let summary = summary.unwrap();
    assert_eq!((summary.sent, summary.acked, summary.reconnects), (3, 3, 3));
    assert_eq!(stats.snapshot().connected, 0);
    assert_eq!(ledger.sent, ledger.acked);
}
