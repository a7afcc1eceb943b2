use simulator::publisher::PublisherOptions;

use crate::fake_broker::{FakeBroker, Packet};
use crate::{Publisher, ids, options};

#[tokio::test]
async fn a_qos_2_message_counts_when_its_pubcomp_is_there() {
    let broker = FakeBroker::bind().await;
    let publisher =
        Publisher::start("qos2_pubcomp", PublisherOptions { qos: 2, ..options(broker.port(), 10) });
    let mut peer = broker.accept().await;
    let mut completed = 0;
    while let Some(packet) = peer.next().await {
        match packet {
            Packet::Publish(publish) => peer.received(publish.packet_id).await,
            Packet::PubRel(packet_id) => {
                peer.complete(packet_id).await;
                completed += 1;
            }
            Packet::Disconnect => break,
        }
    }
    let (summary, ledger) = publisher.end().await;
    assert_eq!((completed, summary.unwrap().acked), (10, 10));
    assert_eq!(ledger.sent, ledger.acked);
}

#[tokio::test]
async fn a_qos_2_message_that_was_only_received_is_sent_again() {
    let broker = FakeBroker::bind().await;
    let publisher = Publisher::start("qos2_cut", PublisherOptions { qos: 2, ..options(broker.port(), 1) });
    let mut peer = broker.accept().await;
    let first = peer.publish().await;
    peer.received(first.packet_id).await;
    assert_eq!(peer.next().await, Some(Packet::PubRel(first.packet_id)));
    drop(peer);
    let mut peer = broker.accept().await;
    let again = peer.publish().await;
    assert_eq!(again.payload, first.payload);
    peer.received(again.packet_id).await;
    assert_eq!(peer.next().await, Some(Packet::PubRel(again.packet_id)));
    peer.complete(again.packet_id).await;
    let (summary, ledger) = publisher.end().await;
    assert_eq!(summary.unwrap().acked, 1);
    assert!(ids(&ledger.acked).contains(&first.record_id()));
}

#[tokio::test]
async fn at_qos_0_everything_is_written_and_nothing_is_acknowledged() {
    let broker = FakeBroker::bind().await;
    let publisher = Publisher::start("qos0", PublisherOptions { qos: 0, ..options(broker.port(), 10) });
    let mut peer = broker.accept().await;
    peer.publishes(10).await;
    let (summary, ledger) = publisher.end().await;
    let summary = summary.unwrap();
    assert_eq!((summary.sent, summary.unconfirmed, summary.acked, summary.in_flight), (10, 10, 0, 0));
    assert_eq!((ledger.sent.len(), ledger.acked.len()), (10, 0));
}
