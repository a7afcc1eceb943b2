//! Retained messages.

use std::time::{Duration, Instant};

use super::client::{Client, Connect};
use super::harness::TestBroker;
use super::wire::property::MESSAGE_EXPIRY;
use super::wire::{Properties, publish};

/// Subscription options (MQTT 5, 3.8.3.1).
const RETAIN_AS_PUBLISHED: u8 = 8;
const ONLY_IF_NEW: u8 = 16;
const NEVER: u8 = 32;

async fn retained(broker: &TestBroker) -> Client {
    let mut client = Client::connect(broker, &Connect::v5("p")).await;
    client.publish(&publish("r/1", "one").qos1(1).retained()).await;
    client.publish(&publish("r/2", "two").qos2(2).retained()).await;
    assert_eq!(client.puback().await, 1);
    client.pubrec().await;
    client
}

#[tokio::test]
async fn a_new_subscription_gets_the_retained_messages_with_their_qos() {
    let broker = TestBroker::start().await;
    let _publisher = retained(&broker).await;
    for v5 in [false, true] {
        for (options, expected) in [(0, [0, 0]), (1, [1, 1]), (2, [1, 2])] {
            let mut client = Client::connect(&broker, &Connect::of(v5, "s")).await;
            assert_eq!(client.subscribe("r/+", options).await, options);
            let heard = [client.published().await, client.published().await];
            assert_eq!([heard[0].qos, heard[1].qos], expected);
            assert!(heard[0].retain && heard[1].retain);
            assert_eq!((&heard[0].payload[..], &heard[1].payload[..]), (&b"one"[..], &b"two"[..]));
            client.ping().await;
        }
    }
}

/// Defect of stock rumqttd: an empty payload forgets what is retained also without the retain flag.
#[tokio::test]
async fn the_last_message_replaces_and_an_empty_one_clears() {
    let broker = TestBroker::start().await;
    let mut publisher = retained(&broker).await;
    publisher.publish(&publish("r/1", "").qos1(3).retained()).await;
    publisher.publish(&publish("r/2", "new").qos1(4).retained()).await;
    publisher.publish(&publish("r/2", "").qos1(5)).await;
    for pkid in 3..=5 {
        assert_eq!(publisher.puback().await, pkid);
    }
    let mut client = Client::connect(&broker, &Connect::v5("s")).await;
    client.subscribe("#", 0).await;
    assert_eq!(client.heard().await.1, "new");
    client.ping().await;
}

#[tokio::test]
async fn retain_handling_decides_when_retained_messages_come() {
    let broker = TestBroker::start().await;
    let _publisher = retained(&broker).await;
    let mut client = Client::connect(&broker, &Connect::v5("s")).await;
    client.subscribe("r/1", NEVER).await;
    client.ping().await;
    client.subscribe("r/1", ONLY_IF_NEW).await;
    client.ping().await;
    client.subscribe("r/1", 0).await;
    assert_eq!(client.heard().await.1, "one");
    client.subscribe("r/2", ONLY_IF_NEW).await;
    assert_eq!(client.heard().await.1, "two");
    client.ping().await;
}

#[tokio::test]
async fn the_retain_flag_is_kept_on_live_messages_only_when_asked_for() {
    let broker = TestBroker::start().await;
    for (v5, options, kept) in [(false, 0, false), (true, 0, false), (true, RETAIN_AS_PUBLISHED, true)] {
        let mut client = Client::connect(&broker, &Connect::of(v5, "s")).await;
        client.subscribe("r", options).await;
        client.publish(&publish("r", "a").retained()).await;
        client.publish(&publish("r", "b")).await;
        assert_eq!(client.published().await.retain, kept);
        assert!(!client.published().await.retain);
        client.publish(&publish("r", "").retained()).await;
        client.published().await;
    }
}

#[tokio::test]
async fn a_retained_message_expires() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v5("s")).await;
    let expiring = Properties::default().long(MESSAGE_EXPIRY, 60);
    client.publish(&publish("r", "a").qos1(1).retained().with(expiring)).await;
    assert_eq!(client.puback().await, 1);
    client.subscribe("r", 0).await;
    let left = client.published().await.properties.number(MESSAGE_EXPIRY).unwrap();
    assert!((40..=60).contains(&left), "{left}");
    broker.hub.retained.remove_expired(Instant::now() + Duration::from_secs(61));
    client.subscribe("r", 0).await;
    client.ping().await;
}

#[tokio::test]
async fn more_retained_messages_than_wait_for_one_client_are_all_delivered() {
    let broker = TestBroker::configured(|config| config.max_outbound_messages = 10).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    for pkid in 1..=500u16 {
        publisher.publish(&publish(format!("r/{pkid:03}"), "x").qos1(pkid).retained()).await;
        publisher.puback().await;
    }
    let mut client = Client::connect(&broker, &Connect::v5("s")).await;
    client.subscribe("r/#", 1).await;
    for n in 1..=500 {
        let heard = client.published().await;
        assert_eq!(heard.topic, format!("r/{n:03}"));
        client.send_ack(super::wire::PUBACK, heard.pkid).await;
    }
}
