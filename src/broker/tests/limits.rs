//! Limits that both sides announce.

use super::client::{Client, Connect};
use super::harness::{TestBroker, USAGE};
use super::wire::property::{MAXIMUM_PACKET_SIZE, RECEIVE_MAXIMUM, TOPIC_ALIAS, TOPIC_ALIAS_MAXIMUM};
use super::wire::{PUBACK, Properties, publish};

#[tokio::test]
async fn a_client_may_shorten_its_topics_with_aliases() {
    let mut broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v5("d")).await;
    assert_eq!(client.connack.properties.number(TOPIC_ALIAS_MAXIMUM), Some(64));
    let alias = Properties::default().short(TOPIC_ALIAS, 64);
    client.publish(&publish(USAGE, "a").with(alias.clone())).await;
    client.publish(&publish("", "b").with(alias.clone())).await;
    // An alias may be given to another topic.
    let other = "simportal/sims/usage/batch";
    client.publish(&publish(other, "c").with(alias.clone())).await;
    client.publish(&publish("", "d").with(alias.clone())).await;
    for (topic, payload) in [(USAGE, b"a"), (USAGE, b"b"), (other, b"c"), (other, b"d")] {
        let taken = broker.writer.take().await;
        assert_eq!((taken.0.topic.as_str(), taken.payload()), (topic, &payload[..]));
    }
    // Aliases live as long as the connection.
    client.leave().await;
    let mut client = Client::connect(&broker, &Connect::v5("d")).await;
    client.publish(&publish("", "e").with(alias)).await;
    assert_eq!(client.ended().await, Some(0x94));
}

/// Defect B1 of stock rumqttd: one topic alias for a whole filter, so that `a/2` and `a/3` come as `a/1`.
#[tokio::test]
async fn the_broker_shortens_topics_for_clients_that_allow_it() {
    let broker = TestBroker::start().await;
    let hello = Connect::v5("s").with(|p| p.short(TOPIC_ALIAS_MAXIMUM, 2));
    let mut client = Client::connect(&broker, &hello).await;
    client.subscribe("a/+", 0).await;
    for topic in ["a/1", "a/2", "a/3", "a/1", "a/2", "a/3"] {
        client.publish(&publish(topic, topic)).await;
    }
    let mut heard = Vec::new();
    for _ in 0..6 {
        let p = client.published().await;
        heard.push((p.topic, p.properties.number(TOPIC_ALIAS), String::from_utf8(p.payload).unwrap()));
    }
    let expected = [
        ("a/1", Some(1), "a/1"),
        ("a/2", Some(2), "a/2"),
        ("a/3", None, "a/3"),
        ("", Some(1), "a/1"),
        ("", Some(2), "a/2"),
        ("a/3", None, "a/3"),
    ];
    assert_eq!(heard, expected.map(|(t, a, p)| (t.to_string(), a, p.to_string())));
}

#[tokio::test]
async fn more_open_messages_than_the_receive_maximum_end_the_connection() {
    for qos in [1, 2] {
        let mut broker = TestBroker::configured(|config| config.receive_maximum = 2).await;
        let mut client = Client::connect(&broker, &Connect::v5("d")).await;
        assert_eq!(client.connack.properties.number(RECEIVE_MAXIMUM), Some(2));
        let mut message = publish(USAGE, "a");
        message.qos = qos;
        for pkid in 1..=2 {
            message.pkid = pkid;
            client.publish(&message).await;
        }
        let taken = broker.writer.take_many(2).await;
        client.ping().await;
        message.pkid = 3;
        client.publish(&message).await;
        assert_eq!(client.ended().await, Some(0x93));
        drop(taken);
    }
}

#[tokio::test]
async fn the_window_opens_again_with_every_puback() {
    let broker = TestBroker::configured(|config| config.receive_maximum = 1).await;
    let mut client = Client::connect(&broker, &Connect::v5("d")).await;
    broker.writer.commit_everything();
    for pkid in 1..=50 {
        client.publish(&publish(USAGE, "a").qos1(pkid)).await;
        assert_eq!(client.puback().await, pkid);
    }
}

#[tokio::test]
async fn an_oversized_packet_ends_the_connection_before_it_is_read() {
    let broker = TestBroker::configured(|config| config.max_packet_bytes = 1024).await;
    let mut client = Client::connect(&broker, &Connect::v5("d")).await;
    assert_eq!(client.connack.properties.number(MAXIMUM_PACKET_SIZE), Some(1024));
    client.subscribe("t", 0).await;
    let largest = 1024 - 3 - 3 - 1;
    client.publish(&publish("t", vec![b'x'; largest])).await;
    assert_eq!(client.published().await.payload.len(), largest);
    client.publish(&publish("t", vec![b'x'; largest + 1])).await;
    assert_eq!(client.ended().await, Some(0x95));
    assert_eq!(broker.metrics.disconnect_count("packet_too_large"), 1);
}

#[tokio::test]
async fn a_client_gets_no_packet_larger_than_it_takes() {
    let broker = TestBroker::start().await;
    let hello = Connect::v5("s").with(|p| p.long(MAXIMUM_PACKET_SIZE, 100));
    let mut client = Client::connect(&broker, &hello).await;
    client.subscribe("t", 1).await;
    client.publish(&publish("t", vec![b'x'; 200]).qos1(1)).await;
    client.publish(&publish("t", "small").qos1(2)).await;
    assert_eq!((client.puback().await, client.puback().await), (1, 2));
    assert_eq!(client.heard().await.1, "small");
    assert_eq!(broker.metrics.dropped_count("packet_too_large"), 1);
}

#[tokio::test]
async fn a_client_gets_no_more_unacknowledged_messages_than_it_takes() {
    let broker = TestBroker::start().await;
    let hello = Connect::v5("s").with(|p| p.short(RECEIVE_MAXIMUM, 2));
    let mut subscriber = Client::connect(&broker, &hello).await;
    subscriber.subscribe("t", 1).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    for pkid in 1..=5 {
        publisher.publish(&publish("t", pkid.to_string()).qos1(pkid)).await;
        publisher.puback().await;
    }
    let mut open = vec![subscriber.published().await, subscriber.published().await];
    subscriber.ping().await;
    for payload in ["3", "4", "5"] {
        subscriber.send_ack(PUBACK, open.remove(0).pkid).await;
        open.push(subscriber.published().await);
        assert_eq!(open[1].payload, payload.as_bytes());
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let broker = TestBroker::configured(|config| config.max_connections = 1).await;
    let client = Client::connect(&broker, &Connect::v5("a")).await;
    let mut second = Client::silent(&broker, true).await;
    assert!(second.packet().await.is_none());
    client.leave().await;
    super::harness::until("the place is free", || broker.metrics.connections.get() == 0).await;
    Client::connect(&broker, &Connect::v5("b")).await.ping().await;
}
