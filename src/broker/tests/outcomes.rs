//! What a sender hears about its records.

use serde_json::{Value, json};

use crate::domain::RejectionCode;
use crate::ingest::queue::RecordStatus;

use super::client::{Client, Connect};
use super::harness::{TestBroker, USAGE};
use super::wire::property::{
    CORRELATION_DATA, MAXIMUM_PACKET_SIZE, REQUEST_PROBLEM_INFORMATION, RESPONSE_TOPIC,
};
use super::wire::{Properties, publish};

#[tokio::test]
async fn a_parked_record_is_refused_with_a_reason_in_mqtt_5_and_acknowledged_in_mqtt_3() {
    let mut broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v5("d")).await;
    client.publish(&publish(USAGE, "a").qos1(1)).await;
    broker.writer.take().await.park(RejectionCode::Invalid, "negative");
    let ack = client.any_puback().await;
    assert_eq!((ack.pkid, ack.reason, ack.text.as_deref()), (1, 0x99, Some("usage: negative")));
    client.publish(&publish(USAGE, "a").qos1(2)).await;
    broker.writer.take().await.park(RejectionCode::Conflict, "differs");
    assert_eq!(client.any_puback().await.reason, 0x83);

    let mut old = Client::connect(&broker, &Connect::v311("old")).await;
    old.publish(&publish(USAGE, "a").qos1(1)).await;
    broker.writer.take().await.park(RejectionCode::Invalid, "negative");
    assert_eq!(old.puback().await, 1);
}

#[tokio::test]
async fn a_duplicate_is_a_success() {
    let mut broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v5("d")).await;
    client.publish(&publish(USAGE, "a").qos1(1)).await;
    broker.writer.take().await.answer(RecordStatus::Duplicate { processed_at: chrono::DateTime::UNIX_EPOCH });
    assert_eq!(client.puback().await, 1);
}

#[tokio::test]
async fn a_refused_qos_2_message_ends_with_its_pubrec() {
    let mut broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v5("d")).await;
    client.publish(&publish(USAGE, "a").qos2(1)).await;
    broker.writer.take().await.park(RejectionCode::Invalid, "negative");
    let ack = client.pubrec().await;
    assert_eq!((ack.reason, ack.text.as_deref()), (0x99, Some("usage: negative")));
    // The identifier is free: the same one is another message.
    client.publish(&publish(USAGE, "b").qos2(1)).await;
    broker.writer.take().await.commit();
    assert_eq!(client.pubrec().await.reason, 0);
}

#[tokio::test]
async fn a_client_that_wants_no_reasons_gets_none() {
    let mut broker = TestBroker::start().await;
    let hello = Connect::v5("d").with(|p| p.byte(REQUEST_PROBLEM_INFORMATION, 0));
    let mut client = Client::connect(&broker, &hello).await;
    client.publish(&publish(USAGE, "a").qos1(1)).await;
    broker.writer.take().await.park(RejectionCode::Invalid, "negative");
    let ack = client.any_puback().await;
    assert_eq!((ack.reason, ack.text), (0x99, None));
}

#[tokio::test]
async fn a_reason_does_not_exceed_the_clients_maximum_packet_size() {
    let mut broker = TestBroker::start().await;
    let hello = Connect::v5("d").with(|p| p.long(MAXIMUM_PACKET_SIZE, 40));
    let mut client = Client::connect(&broker, &hello).await;
    client.publish(&publish(USAGE, "a").qos1(1)).await;
    broker.writer.take().await.park(RejectionCode::Invalid, &"long ".repeat(20));
    let ack = client.any_puback().await;
    assert_eq!((ack.reason, ack.text), (0x99, None));
}

fn asks(topic: &str) -> Properties {
    Properties::default().text(RESPONSE_TOPIC, topic).text(CORRELATION_DATA, [0, 159, 146])
}

#[tokio::test]
async fn the_outcome_is_published_on_the_response_topic() {
    for qos in [0, 1, 2] {
        let mut broker = TestBroker::start().await;
        let mut client = Client::connect(&broker, &Connect::v5("d")).await;
        client.subscribe("reply/d", 1).await;
        let mut message = publish(USAGE, "r1").with(asks("reply/d"));
        (message.qos, message.pkid) = (qos, u16::from(qos));
        client.publish(&message).await;
        broker.writer.take().await.park(RejectionCode::Invalid, "negative");
        match qos {
            0 => {}
            1 => assert_eq!(client.any_puback().await.reason, 0x99),
            _ => assert_eq!(client.pubrec().await.reason, 0x99),
        }
        let reply = client.published().await;
        assert_eq!(reply.topic, "reply/d");
        assert_eq!(reply.properties.all(CORRELATION_DATA), [&[0, 159, 146]]);
        let json: Value = serde_json::from_slice(&reply.payload).unwrap();
        assert_eq!(json, json!({"recordId": "r1", "status": "REJECTED", "errors": ["usage: negative"]}));
    }
}

#[tokio::test]
async fn a_response_topic_that_nobody_may_publish_on_is_ignored() {
    let mut broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v5("d")).await;
    client.subscribe("#", 0).await;
    for topic in ["a/+", "$SYS/x", ""] {
        client.publish(&publish("simportal/sims/usage/batch", "r").qos1(1).with(asks(topic))).await;
        // The message itself reaches the subscription, the outcome does not.
        assert_eq!(client.heard().await.1, "r");
        broker.writer.take().await.commit();
        assert_eq!(client.puback().await, 1);
        client.ping().await;
    }
}

#[tokio::test]
async fn another_tenants_topic_is_refused() {
    let mut broker = TestBroker::start().await;
    let (own, foreign) = ("sim/acme/8988247000000000012/usage", "sim/rival/8988247000000000012/usage");
    let mut client = Client::connect(&broker, &Connect::v5("d")).await;
    client.publish(&publish(foreign, "a").qos1(1)).await;
    assert_eq!(client.any_puback().await.reason, 0x87);
    client.publish(&publish(foreign, "a").qos2(2)).await;
    assert_eq!(client.pubrec().await.reason, 0x87);
    client.publish(&publish(foreign, "a")).await;
    client.publish(&publish(own, "b").qos1(3)).await;
    let taken = broker.writer.take().await;
    assert_eq!(taken.payload(), b"b");
    taken.commit();
    assert_eq!(client.puback().await, 3);
    // MQTT 3.1.1 knows no other refusal.
    let mut old = Client::connect(&broker, &Connect::v311("old")).await;
    old.publish(&publish(foreign, "a").qos1(1)).await;
    assert_eq!(old.ended().await, None);
    assert!(broker.writer.is_empty());
}
