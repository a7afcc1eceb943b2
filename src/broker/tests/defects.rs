//! Defects of stock rumqttd 0.20 that no other test here rules out. P7 was never given to a defect; each of the others is named by
//! the test that would find it: `grep -rn 'Defect [PB]'`.

use super::client::{Client, Connect};
use super::harness::{TestBroker, USAGE, until};
use super::wire::property::RECEIVE_MAXIMUM;
use super::wire::{PUBACK, PUBCOMP, PUBREC, PUBREL, publish};

/// The broker takes usage, delivers it and acknowledges it after its commit.
async fn still_serves(broker: &mut TestBroker) {
    let mut probe = Client::connect(broker, &Connect::v5("probe")).await;
    assert_eq!(probe.subscribe(USAGE, 1).await, 1);
    probe.publish(&publish(USAGE, "probe").qos1(1)).await;
    let heard = probe.published().await;
    assert_eq!((heard.topic.as_str(), &heard.payload[..]), (USAGE, &b"probe"[..]));
    probe.send_ack(PUBACK, heard.pkid).await;
    let taken = broker.writer.take().await;
    assert_eq!(taken.payload(), b"probe");
    probe.ping().await;
    taken.commit();
    assert_eq!(probe.puback().await, 1);
    probe.leave().await;
}

/// Defect P5 of stock rumqttd: a client that is blocked on writing is taken over, the new one leaves, the old one goes on reading,
/// and the router is dead.
///
/// Catches a write that a take-over does not end.
#[tokio::test]
async fn a_client_that_was_taken_over_while_it_did_not_read_may_read_again() {
    let mut broker = TestBroker::start().await;
    for hello in [Connect::v5("s").persistent(), Connect::v5("s"), Connect::v311("s").persistent()] {
        let mut stuck = Client::connect(&broker, &hello).await;
        stuck.subscribe("t", 1).await;
        let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
        let payload = vec![b'x'; 200_000];
        // More than the sockets take.
        for pkid in 1..=100 {
            publisher.publish(&publish("t", &payload).qos1(pkid)).await;
            publisher.puback().await;
        }
        Client::connect(&broker, &hello).await.leave().await;
        // It reads what was sent to it before, and finds the connection closed.
        stuck.read_to_end().await;
        publisher.publish(&publish("t", "after").qos1(1)).await;
        assert_eq!(publisher.puback().await, 1);
        publisher.leave().await;
        Client::connect(&broker, &hello.clone().clean()).await.leave().await;
        still_serves(&mut broker).await;
    }
}

/// Defect P8 of stock rumqttd: a QoS 2 PUBLISH that is sent again before its PUBREL is delivered again.
///
/// Catches a PUBLISH that is taken without a look at what was received.
#[tokio::test]
async fn a_qos_2_message_that_is_sent_again_is_delivered_once() {
    for v5 in [false, true] {
        let mut broker = TestBroker::start().await;
        let mut subscriber = Client::connect(&broker, &Connect::v5("s")).await;
        subscriber.subscribe("t", 0).await;
        let mut publisher = Client::connect(&broker, &Connect::of(v5, "p")).await;
        publisher.publish(&publish("t", "once").qos2(1)).await;
        for _ in 0..100 {
            assert_eq!(publisher.pubrec().await.pkid, 1);
            publisher.publish(&publish("t", "once").qos2(1).dup()).await;
        }
        publisher.pubrec().await;
        // PUBREL too may come again.
        for _ in 0..3 {
            publisher.send_ack(PUBREL, 1).await;
            assert_eq!(publisher.pubcomp().await.pkid, 1);
        }
        publisher.publish(&publish("t", "next").qos2(1)).await;
        assert_eq!(publisher.pubrec().await.pkid, 1);
        assert_eq!(subscriber.heard().await.1, "once");
        assert_eq!(subscriber.heard().await.1, "next");
        subscriber.ping().await;
        still_serves(&mut broker).await;
    }
}

/// Defect P9 of stock rumqttd: between PUBREC and PUBREL the client connects anew; the message is lost and the client is closed.
///
/// Catches a session that leaves behind what it has received.
#[tokio::test]
async fn a_qos_2_message_is_released_on_the_next_connection() {
    for v5 in [false, true] {
        let mut broker = TestBroker::start().await;
        let mut subscriber = Client::connect(&broker, &Connect::v5("s")).await;
        subscriber.subscribe("t", 2).await;
        let hello = Connect::of(v5, "p").persistent();
        let mut publisher = Client::connect(&broker, &hello).await;
        publisher.publish(&publish("t", "kept").qos2(7)).await;
        assert_eq!(publisher.pubrec().await.pkid, 7);
        publisher.drop_connection(&broker).await;
        let mut publisher = Client::connect(&broker, &hello).await;
        assert!(publisher.connack.session_present);
        publisher.send_ack(PUBREL, 7).await;
        let released = publisher.pubcomp().await;
        assert_eq!((released.pkid, released.reason), (7, 0));
        publisher.ping().await;
        let heard = subscriber.published().await;
        assert_eq!((heard.qos, &heard.payload[..]), (2, &b"kept"[..]));
        subscriber.send_ack(PUBREC, heard.pkid).await;
        assert_eq!(subscriber.pubrel().await.pkid, heard.pkid);
        subscriber.send_ack(PUBCOMP, heard.pkid).await;
        subscriber.ping().await;
        still_serves(&mut broker).await;
    }
}

/// Defect B8 of stock rumqttd: a subscriber that acknowledges in another order is closed.
///
/// Catches a window that opens at its front only.
#[tokio::test]
async fn a_subscriber_may_acknowledge_in_any_order() {
    for v5 in [false, true] {
        let mut broker = TestBroker::start().await;
        let hello = Connect::of(v5, "s");
        let hello = if v5 { hello.with(|p| p.short(RECEIVE_MAXIMUM, 6)) } else { hello };
        let mut subscriber = Client::connect(&broker, &hello).await;
        subscriber.subscribe("t", 2).await;
        let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
        for round in 0..50u16 {
            for n in 1..=6 {
                let message = publish("t", format!("{round} {n}"));
                if n % 2 == 0 {
                    publisher.publish(&message.qos2(n)).await;
                    publisher.pubrec().await;
                    publisher.send_ack(PUBREL, n).await;
                    publisher.pubcomp().await;
                } else {
                    publisher.publish(&message.qos1(n)).await;
                    publisher.puback().await;
                }
            }
            let mut open = Vec::new();
            for n in 1..=6 {
                let heard = subscriber.published().await;
                assert_eq!(heard.payload, format!("{round} {n}").as_bytes());
                open.push(heard);
            }
            for heard in open.iter().rev() {
                subscriber.send_ack(if heard.qos == 1 { PUBACK } else { PUBREC }, heard.pkid).await;
            }
            // The same again, and some that were never given out.
            for pkid in [open[0].pkid, 65_535] {
                subscriber.send_ack(PUBACK, pkid).await;
                subscriber.send_ack(PUBCOMP, pkid).await;
            }
            for heard in open.iter().rev().filter(|heard| heard.qos == 2) {
                assert_eq!(subscriber.pubrel().await.pkid, heard.pkid);
            }
            for heard in open.iter().filter(|heard| heard.qos == 2) {
                subscriber.send_ack(PUBCOMP, heard.pkid).await;
            }
        }
        subscriber.ping().await;
        still_serves(&mut broker).await;
    }
}

/// Defect of stock rumqttd: the memory for each distinct topic, filter and client identifier is never freed.
///
/// Catches subscriptions and sessions that stay after their client.
#[tokio::test]
async fn topics_filters_and_client_identifiers_leave_nothing_behind() {
    let mut broker = TestBroker::start().await;
    for n in 0..300 {
        let (id, filter, topic) = (format!("client {n}"), format!("t/{n}/#"), format!("t/{n}/topic {n}"));
        let mut client = Client::connect(&broker, &Connect::v5(&id)).await;
        client.subscribe(&filter, 0).await;
        client.publish(&publish(&topic, "x").qos1(1)).await;
        let (mut puback, mut heard) = (false, false);
        while !(puback && heard) {
            match client.packet().await.unwrap().0 >> 4 {
                PUBACK => puback = true,
                _ => heard = true,
            }
        }
        client.leave().await;
    }
    until("all are gone", || broker.metrics.connections.get() == 0).await;
    assert!(broker.hub.subscriptions.is_empty());
    assert_eq!(broker.hub.registry.counts(), (0, 0));
    still_serves(&mut broker).await;
}
