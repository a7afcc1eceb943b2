//! QoS 2 in both directions.

use super::client::{Client, Connect};
use super::harness::{TestBroker, USAGE};
use super::wire::{PUBACK, PUBCOMP, PUBREC, PUBREL, publish};

#[tokio::test]
async fn pubrec_comes_after_the_commit_and_pubcomp_after_pubrel() {
    for v5 in [false, true] {
        let mut broker = TestBroker::start().await;
        let mut client = Client::connect(&broker, &Connect::of(v5, "d")).await;
        client.publish(&publish(USAGE, "a").qos2(5)).await;
        let taken = broker.writer.take().await;
        client.ping().await;
        taken.commit();
        assert_eq!(client.pubrec().await.pkid, 5);
        client.send_ack(PUBREL, 5).await;
        assert_eq!(client.pubcomp().await.pkid, 5);
    }
}

#[tokio::test]
async fn a_resend_before_or_after_pubrec_is_not_queued_again() {
    let mut broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v311("d")).await;
    client.publish(&publish(USAGE, "a").qos2(5)).await;
    let taken = broker.writer.take().await;
    client.publish(&publish(USAGE, "a").qos2(5).dup()).await;
    client.ping().await;
    taken.commit();
    assert_eq!(client.pubrec().await.pkid, 5);
    client.publish(&publish(USAGE, "a").qos2(5).dup()).await;
    assert_eq!(client.pubrec().await.pkid, 5);
    client.send_ack(PUBREL, 5).await;
    assert_eq!(client.pubcomp().await.pkid, 5);
    assert!(broker.writer.is_empty());
}

#[tokio::test]
async fn what_was_received_is_remembered_over_a_reconnect() {
    for v5 in [false, true] {
        let mut broker = TestBroker::start().await;
        let hello = Connect::of(v5, "d").persistent();
        let mut client = Client::connect(&broker, &hello).await;
        client.publish(&publish(USAGE, "received").qos2(1)).await;
        broker.writer.take().await.commit();
        assert_eq!(client.pubrec().await.pkid, 1);
        client.publish(&publish(USAGE, "pending").qos2(2)).await;
        let pending = broker.writer.take().await;
        client.drop_connection(&broker).await;

        let mut client = Client::connect(&broker, &hello).await;
        client.publish(&publish(USAGE, "received").qos2(1).dup()).await;
        assert_eq!(client.pubrec().await.pkid, 1);
        client.publish(&publish(USAGE, "pending").qos2(2).dup()).await;
        client.ping().await;
        pending.commit();
        assert_eq!(client.pubrec().await.pkid, 2);
        for pkid in [1, 2] {
            client.send_ack(PUBREL, pkid).await;
            assert_eq!(client.pubcomp().await.reason, 0);
        }
        assert!(broker.writer.is_empty());
    }
}

#[tokio::test]
async fn pubrel_of_an_unknown_identifier_is_answered() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v5("d")).await;
    client.send_ack(PUBREL, 77).await;
    let ack = client.pubcomp().await;
    assert_eq!((ack.pkid, ack.reason), (77, 0x92));
    let mut old = Client::connect(&broker, &Connect::v311("old")).await;
    old.send_ack(PUBREL, 77).await;
    assert_eq!(old.pubcomp().await.pkid, 77);
}

#[tokio::test]
async fn a_delivery_is_repeated_after_a_reconnect_where_it_stopped() {
    for v5 in [false, true] {
        let broker = TestBroker::start().await;
        let hello = Connect::of(v5, "s").persistent();
        let mut subscriber = Client::connect(&broker, &hello).await;
        subscriber.subscribe("t", 2).await;
        let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
        for (pkid, payload) in [(1, "a"), (2, "b"), (3, "c")] {
            publisher.publish(&publish("t", payload).qos2(pkid)).await;
            publisher.pubrec().await;
        }
        let ids = [
            subscriber.published().await.pkid,
            subscriber.published().await.pkid,
            subscriber.published().await.pkid,
        ];
        subscriber.send_ack(PUBREC, ids[0]).await;
        assert_eq!(subscriber.pubrel().await.pkid, ids[0]);
        subscriber.send_ack(PUBREC, ids[1]).await;
        assert_eq!(subscriber.pubrel().await.pkid, ids[1]);
        subscriber.send_ack(PUBCOMP, ids[1]).await;
        subscriber.ping().await;
        subscriber.drop_connection(&broker).await;

        let mut subscriber = Client::connect(&broker, &hello).await;
        assert_eq!(subscriber.pubrel().await.pkid, ids[0]);
        let again = subscriber.published().await;
        assert_eq!((again.pkid, again.dup, &again.payload[..]), (ids[2], true, &b"c"[..]));
        subscriber.send_ack(PUBCOMP, ids[0]).await;
        subscriber.send_ack(PUBREC, ids[2]).await;
        assert_eq!(subscriber.pubrel().await.pkid, ids[2]);
        subscriber.send_ack(PUBCOMP, ids[2]).await;
        subscriber.ping().await;
    }
}

#[tokio::test]
async fn a_qos_1_delivery_is_repeated_with_dup_after_a_reconnect() {
    let broker = TestBroker::start().await;
    let hello = Connect::v311("s").persistent();
    let mut subscriber = Client::connect(&broker, &hello).await;
    subscriber.subscribe("t", 1).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    publisher.publish(&publish("t", "a").qos1(1)).await;
    let first = subscriber.published().await;
    assert!(!first.dup);
    subscriber.drop_connection(&broker).await;
    let mut subscriber = Client::connect(&broker, &hello).await;
    let again = subscriber.published().await;
    assert_eq!((again.pkid, again.dup), (first.pkid, true));
    subscriber.send_ack(PUBACK, again.pkid).await;
    subscriber.ping().await;
}
