use simulator::publisher::PublisherOptions;

use crate::fake_broker::{FakeBroker, Packet, Publish};
use crate::{Protocol, Publisher, ids, options};

const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
const QUOTA_EXCEEDED: u8 = 0x97;

fn v5(port: u16, records: u64) -> PublisherOptions {
    PublisherOptions { protocol: Protocol::V5, ..options(port, records) }
}

#[tokio::test]
async fn a_parked_record_is_acknowledged_and_a_refused_one_is_not() {
    let broker = FakeBroker::bind().await;
    let publisher = Publisher::start("v5_reasons", v5(broker.port(), 3));
    let mut peer = broker.accept().await;
    let publishes = peer.publishes(3).await;
    peer.ack_with(publishes[0].packet_id, PAYLOAD_FORMAT_INVALID).await;
    peer.ack_with(publishes[1].packet_id, QUOTA_EXCEEDED).await;
    peer.ack(publishes[2].packet_id).await;
    let (summary, ledger) = publisher.end().await;
    let summary = summary.unwrap();
    assert_eq!((summary.acked, summary.parked, summary.refused, summary.in_flight), (2, 1, 1, 0));
    assert_eq!(ids(&ledger.refused), [publishes[1].record_id()].into());
    assert_eq!(ids(&ledger.acked), [publishes[0].record_id(), publishes[2].record_id()].into());
}

#[tokio::test]
async fn a_receive_maximum_below_the_window_is_respected_also_with_late_acknowledgements() {
    let broker = FakeBroker::bind().await;
    let publisher = Publisher::start("v5_receive_maximum", v5(broker.port(), 20));
    // Property 0x21 is Receive Maximum.
    let mut peer = broker.accept_with(&[0x21, 0, 2]).await;
    let oldest = peer.publish().await;
    let mut held = vec![peer.publish().await];
    let mut acked = 0;
    peer.ack(oldest.packet_id).await;
    acked += 1;
    while let Some(Packet::Publish(publish)) = peer.next().await {
        held.push(publish);
        assert!(held.len() <= 2, "more than two messages unacknowledged");
        // The newer of the two first.
        while let Some(publish) = held.pop() {
            peer.ack(publish.packet_id).await;
            acked += 1;
        }
    }
    let (summary, ledger) = publisher.end().await;
    assert_eq!((acked, summary.unwrap().acked), (20, 20));
    assert_eq!(ledger.sent, ledger.acked);
}

#[tokio::test]
async fn at_qos_2_many_parked_messages_do_not_stall_the_connection() {
    let broker = FakeBroker::bind().await;
    let publisher = Publisher::start("v5_qos2_parked", PublisherOptions { qos: 2, ..v5(broker.port(), 50) });
    let server = tokio::spawn(async move {
        loop {
            let mut peer = broker.accept().await;
            while let Some(packet) = peer.next().await {
                if let Packet::Publish(publish) = packet {
                    peer.received_with(publish.packet_id, PAYLOAD_FORMAT_INVALID).await;
                }
            }
        }
    });
    let (summary, ledger) = publisher.end().await;
    server.abort();
    let summary = summary.unwrap();
    assert_eq!((summary.acked, summary.parked), (50, 50));
    assert_eq!(ledger.sent, ledger.acked);
}

const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;

/// Catches a message that counts as acknowledged although nobody was there to take it, one that is given up at the end, and one that
/// is sent again without a pause or for ever.
#[tokio::test]
async fn a_message_that_nobody_subscribes_to_is_sent_again_until_somebody_does() {
    let broker = FakeBroker::bind().await;
    let publisher = Publisher::start("v5_unheard", v5(broker.port(), 6));
    let mut peer = broker.accept().await;
    let first = peer.publishes(4).await;
    for publish in &first[..3] {
        peer.ack_with(publish.packet_id, NO_MATCHING_SUBSCRIBERS).await;
    }
    peer.ack(first[3].packet_id).await;
    // Before anything new, in their order, and again when the connection was lost meanwhile.
    let again = peer.publishes(3).await;
    let records = |publishes: &[Publish]| publishes.iter().map(Publish::record_id).collect::<Vec<_>>();
    assert_eq!(records(&again), records(&first[..3]));
    peer.ack_with(again[0].packet_id, NO_MATCHING_SUBSCRIBERS).await;
    drop(peer);
    let mut peer = broker.accept().await;
    let mut heard = Vec::new();
    while let Some(Packet::Publish(publish)) = peer.next().await {
        peer.ack(publish.packet_id).await;
        heard.push(publish.record_id());
    }
    heard.sort();
    heard.dedup();
    assert_eq!(heard.len(), 5, "three of the first, and two new ones");
    let (summary, ledger) = publisher.end().await;
    let summary = summary.unwrap();
    assert_eq!((summary.sent, summary.acked, summary.in_flight), (6, 6, 0));
    assert!(summary.unheard_messages >= 3, "{summary:?}");
    assert_eq!(ledger.sent, ledger.acked);
}

#[tokio::test]
async fn at_qos_2_it_is_sent_again_too() {
    let broker = FakeBroker::bind().await;
    let publisher = Publisher::start("v5_qos2_unheard", PublisherOptions { qos: 2, ..v5(broker.port(), 1) });
    let mut peer = broker.accept().await;
    for reason in [NO_MATCHING_SUBSCRIBERS, 0] {
        let publish = peer.publish().await;
        peer.received_with(publish.packet_id, reason).await;
        assert_eq!(peer.next().await, Some(Packet::PubRel(publish.packet_id)));
        peer.complete(publish.packet_id).await;
    }
    let (summary, _) = publisher.end().await;
    let summary = summary.unwrap();
    assert_eq!((summary.acked, summary.unheard_messages), (1, 1));
}

#[tokio::test]
async fn it_may_be_counted_as_acknowledged_instead() {
    let broker = FakeBroker::bind().await;
    let options = PublisherOptions { repeat_unheard: false, ..v5(broker.port(), 1) };
    let publisher = Publisher::start("v5_accept_unheard", options);
    let mut peer = broker.accept().await;
    let publish = peer.publish().await;
    peer.ack_with(publish.packet_id, NO_MATCHING_SUBSCRIBERS).await;
    assert_eq!(peer.next().await, Some(Packet::Disconnect));
    let (summary, _) = publisher.end().await;
    assert_eq!(summary.unwrap().acked, 1);
}
