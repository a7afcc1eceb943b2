//! Slow subscribers.

use super::client::{Client, Connect};
use super::harness::{TestBroker, USAGE};
use super::wire::property::RECEIVE_MAXIMUM;
use super::wire::{PUBACK, publish};

#[tokio::test]
async fn a_slow_subscriber_keeps_qos_1_and_loses_qos_0_which_is_counted() {
    let broker = TestBroker::configured(|config| config.max_outbound_messages = 20).await;
    let hello = Connect::v5("s").with(|p| p.short(RECEIVE_MAXIMUM, 1));
    let mut slow = Client::connect(&broker, &hello).await;
    slow.subscribe("t", 1).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    for n in 1..=100u16 {
        publisher.publish(&publish("t", format!("kept {n}")).qos1(n)).await;
        assert_eq!(publisher.puback().await, n);
    }
    publisher.publish(&publish("t", "lost").qos1(101)).await;
    assert_eq!(publisher.puback().await, 101);
    for n in 1..=100 {
        let heard = slow.published().await;
        assert_eq!(heard.payload, format!("kept {n}").as_bytes());
        slow.send_ack(PUBACK, heard.pkid).await;
    }
    let last = slow.published().await;
    assert_eq!(last.payload, b"lost");
    assert_eq!(broker.metrics.dropped_count("slow_subscriber"), 0);

    // The last one stays open, so QoS 0 finds the room used up by what waits behind it.
    for n in 1..=30u16 {
        publisher.publish(&publish("t", format!("kept {n}")).qos1(n)).await;
        assert_eq!(publisher.puback().await, n);
    }
    for _ in 0..10 {
        publisher.publish(&publish("t", "dropped")).await;
    }
    slow.send_ack(PUBACK, last.pkid).await;
    for n in 1..=30 {
        let heard = slow.published().await;
        assert_eq!(heard.payload, format!("kept {n}").as_bytes());
        slow.send_ack(PUBACK, heard.pkid).await;
    }
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_stops_nobody() {
    let broker = TestBroker::start().await;
    let mut stuck = Client::connect(&broker, &Connect::v311("stuck")).await;
    stuck.subscribe("simportal/#", 1).await;
    let mut device = Client::connect(&broker, &Connect::v5("d")).await;
    let mut listener = Client::connect(&broker, &Connect::v5("listener")).await;
    listener.subscribe("simportal/#", 0).await;
    broker.writer.commit_everything();
    let payload = vec![b'x'; 10_000];
    for n in 1..=2000u16 {
        device.publish(&publish(USAGE, &payload).qos1(n)).await;
        assert_eq!(device.puback().await, n);
        assert_eq!(listener.published().await.payload.len(), payload.len());
    }
}

#[tokio::test]
async fn what_gave_way_while_a_session_was_away_is_counted() {
    let broker = TestBroker::configured(|config| config.subscription_log_bytes = 16 * 1024).await;
    let hello = Connect::v5("s").persistent();
    let mut subscriber = Client::connect(&broker, &hello).await;
    subscriber.subscribe("t", 1).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    publisher.publish(&publish("t", "0").qos1(1)).await;
    publisher.puback().await;
    let first = subscriber.published().await;
    subscriber.send_ack(PUBACK, first.pkid).await;
    subscriber.leave().await;
    for n in 1..=1000u16 {
        publisher.publish(&publish("t", n.to_string()).qos1(n)).await;
        publisher.puback().await;
    }
    let mut subscriber = Client::connect(&broker, &hello).await;
    let mut heard = 0;
    loop {
        let published = subscriber.published().await;
        subscriber.send_ack(PUBACK, published.pkid).await;
        heard += 1;
        if published.payload == b"1000" {
            break;
        }
    }
    assert!(heard < 1000);
    assert_eq!(broker.metrics.dropped_count("log_overwritten"), 1000 - heard);
}
