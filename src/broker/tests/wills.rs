//! What is published when a client goes without good-bye.

use std::time::{Duration, Instant};

use super::client::{Client, Connect};
use super::harness::{TestBroker, USAGE, until};
use super::wire::property::{CONTENT_TYPE, WILL_DELAY};
use super::wire::{Properties, publish};

async fn listener(broker: &TestBroker) -> Client {
    let mut listener = Client::connect(broker, &Connect::v5("listener")).await;
    listener.subscribe("will/#", 2).await;
    listener
}

/// Fails when the listener has heard anything before.
async fn hears_nothing(listener: &mut Client) {
    listener.publish(&publish("will/marker", "")).await;
    assert_eq!(listener.heard().await.0, "will/marker");
}

#[tokio::test]
async fn the_will_is_published_when_the_connection_breaks() {
    for v5 in [false, true] {
        let broker = TestBroker::start().await;
        let mut listener = listener(&broker).await;
        let properties = Properties::default().text(CONTENT_TYPE, "text/plain").pair("k", "v");
        let will = publish("will/d", "gone").qos1(0).with(properties);
        Client::connect(&broker, &Connect::of(v5, "d").will(will)).await.drop_connection(&broker).await;
        let heard = listener.published().await;
        assert_eq!((heard.topic.as_str(), &heard.payload[..], heard.qos), ("will/d", &b"gone"[..], 1));
        assert_eq!(heard.properties.text(CONTENT_TYPE), v5.then_some("text/plain"));
    }
}

/// Defect P10 of stock rumqttd: after an MQTT 5 DISCONNECT that is only a reason code the will is published.
#[tokio::test]
async fn disconnect_deletes_the_will_unless_it_asks_for_it() {
    for (v5, disconnect, sent) in [
        (false, vec![0xe0, 0], false),
        (true, vec![0xe0, 0], false),
        (true, vec![0xe0, 1, 0], false),
        (true, vec![0xe0, 1, 4], true),
        (true, vec![0xe0, 2, 4, 0], true),
    ] {
        let broker = TestBroker::start().await;
        let mut listener = listener(&broker).await;
        let hello = Connect::of(v5, "d").will(publish("will/d", "gone"));
        let mut client = Client::connect(&broker, &hello).await;
        client.send(&disconnect).await;
        assert_eq!(client.ended().await, None);
        until("the client is gone", || broker.metrics.connections.get() == 1).await;
        if sent {
            assert_eq!(listener.heard().await.1, "gone");
        }
        hears_nothing(&mut listener).await;
    }
}

#[tokio::test]
async fn a_protocol_error_and_a_take_over_send_the_will() {
    let broker = TestBroker::start().await;
    let mut listener = listener(&broker).await;
    let hello = Connect::v5("d").will(publish("will/d", "gone"));
    let mut client = Client::connect(&broker, &hello).await;
    client.send(&[0x00, 0]).await;
    assert_eq!(client.ended().await, Some(0x82));
    assert_eq!(listener.heard().await.1, "gone");
    let mut first = Client::connect(&broker, &hello).await;
    let (_second, _) = tokio::join!(Client::connect(&broker, &hello), first.ended());
    assert_eq!(listener.heard().await.1, "gone");
    hears_nothing(&mut listener).await;
}

#[tokio::test]
async fn a_delayed_will_waits_for_its_delay_and_for_a_client_that_comes_back() {
    let broker = TestBroker::start().await;
    let mut listener = listener(&broker).await;
    let will = publish("will/d", "gone").with(Properties::default().long(WILL_DELAY, 60));
    let hello = Connect::v5("d").persistent().will(will);
    Client::connect(&broker, &hello).await.drop_connection(&broker).await;
    until("the client is gone", || broker.metrics.connections.get() == 1).await;
    broker.keep_house(Instant::now() + Duration::from_secs(50));
    hears_nothing(&mut listener).await;
    // It comes back in time, and goes again.
    Client::connect(&broker, &hello).await.drop_connection(&broker).await;
    until("the client is gone", || broker.metrics.connections.get() == 1).await;
    hears_nothing(&mut listener).await;
    broker.keep_house(Instant::now() + Duration::from_secs(61));
    assert_eq!(listener.heard().await.1, "gone");
}

#[tokio::test]
async fn the_end_of_the_session_does_not_wait_for_the_delay() {
    let broker = TestBroker::start().await;
    let mut listener = listener(&broker).await;
    let will = publish("will/d", "gone").with(Properties::default().long(WILL_DELAY, 60));
    Client::connect(&broker, &Connect::v5("d").will(will.clone())).await.drop_connection(&broker).await;
    assert_eq!(listener.heard().await.1, "gone");
    // A clean start ends the session that waits.
    Client::connect(&broker, &Connect::v5("d").persistent().will(will)).await.drop_connection(&broker).await;
    until("the client is gone", || broker.metrics.connections.get() == 1).await;
    let client = Client::connect(&broker, &Connect::v5("d")).await;
    assert!(!client.connack.session_present);
    assert_eq!(listener.heard().await.1, "gone");
}

#[tokio::test]
async fn a_will_on_a_usage_topic_is_stored() {
    let mut broker = TestBroker::start().await;
    let hello = Connect::v5("d").will(publish(USAGE, "last words"));
    Client::connect(&broker, &hello).await.drop_connection(&broker).await;
    let taken = broker.writer.take().await;
    assert_eq!((taken.0.topic.as_str(), taken.payload()), (USAGE, &b"last words"[..]));
    assert_eq!(taken.0.topic_iccid.as_deref(), Some("8988247000000000012"));
}

#[tokio::test]
async fn a_will_that_the_client_may_not_publish_is_refused() {
    let broker = TestBroker::start().await;
    for (topic, code) in [("a/+", 0x90), ("", 0x90), ("$SYS/x", 0x90), ("sim/rival/8988/usage", 0x87)] {
        let hello = Connect::v5("d").will(publish(topic, "x"));
        let client = Client::try_connect(&broker, &hello).await;
        assert_eq!(client.connack.code, code, "{topic}");
    }
}

#[tokio::test]
async fn a_will_may_be_retained() {
    let broker = TestBroker::start().await;
    let mut listener = listener(&broker).await;
    let hello = Connect::v311("d").will(publish("will/d", "gone").retained());
    Client::connect(&broker, &hello).await.drop_connection(&broker).await;
    assert_eq!(listener.heard().await.1, "gone");
    let mut late = Client::connect(&broker, &Connect::v311("late")).await;
    late.subscribe("will/d", 0).await;
    let heard = late.published().await;
    assert!(heard.retain && heard.payload == b"gone");
}
