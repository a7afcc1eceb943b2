//! SUBSCRIBE, UNSUBSCRIBE and what is delivered.

use super::client::{Client, Connect};
use super::harness::{Setup, TestBroker, USAGE, until};
use super::wire::property::{
    CONTENT_TYPE, CORRELATION_DATA, MESSAGE_EXPIRY, RECEIVE_MAXIMUM, RESPONSE_TOPIC, SUBSCRIPTION_ID,
};
use super::wire::{PUBACK, Properties, SUBACK, frame, publish, text};

const NO_LOCAL: u8 = 4;

#[tokio::test]
async fn subscribers_get_usage_before_it_is_committed() {
    let mut broker = TestBroker::start().await;
    let mut subscriber = Client::connect(&broker, &Connect::v311("s")).await;
    subscriber.subscribe("simportal/sims/+/usage", 0).await;
    let mut device = Client::connect(&broker, &Connect::v5("d")).await;
    device.publish(&publish(USAGE, "a").qos1(1)).await;
    assert_eq!(subscriber.heard().await, (USAGE.into(), "a".into()));
    broker.writer.take().await.commit();
    assert_eq!(device.puback().await, 1);
}

/// Defect B4 of stock rumqttd: QoS 0 to a subscription of QoS 2 comes with QoS 2.
#[tokio::test]
async fn the_lower_qos_of_publisher_and_subscription_counts() {
    let broker = TestBroker::start().await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    for granted in 0..=2 {
        let mut subscriber = Client::connect(&broker, &Connect::v311("s")).await;
        assert_eq!(subscriber.subscribe("t", granted).await, granted);
        for message in [publish("t", "0"), publish("t", "1").qos1(1), publish("t", "2").qos2(2)] {
            publisher.publish(&message).await;
            let heard = subscriber.published().await;
            assert_eq!(heard.qos, granted.min(message.qos));
        }
        publisher.puback().await;
        publisher.pubrec().await;
        publisher.send_ack(super::wire::PUBREL, 2).await;
        publisher.pubcomp().await;
    }
}

/// Defect P2 of stock rumqttd: a property on its way to an MQTT 3.1.1 subscriber panics in that subscriber's task.
#[tokio::test]
async fn properties_reach_subscribers_of_mqtt_5_and_do_not_disturb_those_of_mqtt_3() {
    let broker = TestBroker::start().await;
    let mut new = Client::connect(&broker, &Connect::v5("new")).await;
    let mut old = Client::connect(&broker, &Connect::v311("old")).await;
    new.subscribe("t", 0).await;
    old.subscribe("t", 0).await;
    let properties = Properties::default()
        .text(CONTENT_TYPE, "json")
        .text(RESPONSE_TOPIC, "r")
        .text(CORRELATION_DATA, "c")
        .pair("k", "1")
        .pair("k", "2");
    new.publish(&publish("t", "a").with(properties)).await;
    let heard = new.published().await.properties;
    assert_eq!(heard.text(CONTENT_TYPE), Some("json"));
    assert_eq!((heard.text(RESPONSE_TOPIC), heard.text(CORRELATION_DATA)), (Some("r"), Some("c")));
    assert_eq!(heard.all(super::wire::property::USER_PROPERTY), [b"k=1", b"k=2"]);
    assert_eq!(old.heard().await.1, "a");
}

#[tokio::test]
async fn no_local_keeps_a_clients_own_messages_away() {
    let broker = TestBroker::start().await;
    let mut own = Client::connect(&broker, &Connect::v5("own")).await;
    let mut other = Client::connect(&broker, &Connect::v5("other")).await;
    own.subscribe("t", NO_LOCAL).await;
    other.subscribe("t", NO_LOCAL).await;
    own.publish(&publish("t", "from own")).await;
    assert_eq!(other.heard().await.1, "from own");
    other.publish(&publish("t", "from other")).await;
    assert_eq!(own.heard().await.1, "from other");
}

#[tokio::test]
async fn overlapping_filters_give_one_delivery_with_all_identifiers_and_the_highest_qos() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v5("s")).await;
    for (n, (filter, qos)) in [("a/#", 0), ("a/+", 2), ("a/b", 1)].into_iter().enumerate() {
        let identifier = Properties::default().varint(SUBSCRIPTION_ID, 200 + n);
        assert_eq!(client.subscribe_with(filter, qos, &identifier).await, qos);
    }
    client.publish(&publish("a/b", "x").qos2(1)).await;
    client.pubrec().await;
    let heard = client.published().await;
    assert_eq!(heard.qos, 2);
    let mut identifiers = heard.properties.numbers(SUBSCRIPTION_ID);
    identifiers.sort_unstable();
    assert_eq!(identifiers, [200, 201, 202]);
    client.publish(&publish("a/c", "end")).await;
    assert_eq!(client.heard().await.1, "end");
}

#[tokio::test]
async fn overlapping_filters_give_one_delivery_also_from_a_backlog() {
    let broker = TestBroker::start().await;
    let hello = Connect::v5("s").persistent();
    let mut client = Client::connect(&broker, &hello).await;
    // The second filter matches one message in fifty, so that its log runs far ahead of the first one's.
    client.subscribe("a/#", 1).await;
    client.subscribe("a/0", 1).await;
    client.leave().await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    for n in 0..2000u32 {
        publisher.publish(&publish(format!("a/{}", n % 50), n.to_string()).qos1(1)).await;
        publisher.puback().await;
    }
    let mut client = Client::connect(&broker, &hello).await;
    let mut seen = Vec::new();
    for _ in 0..2000 {
        let heard = client.published().await;
        client.send_ack(PUBACK, heard.pkid).await;
        seen.push(String::from_utf8(heard.payload).unwrap().parse::<u32>().unwrap());
    }
    assert_eq!(seen, (0..2000).collect::<Vec<_>>());
    client.ping().await;
}

#[tokio::test]
async fn a_message_expires_while_it_waits() {
    let broker = TestBroker::start().await;
    let hello = Connect::v5("s").with(|p| p.short(RECEIVE_MAXIMUM, 1));
    let mut client = Client::connect(&broker, &hello).await;
    client.subscribe("t", 1).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    let expires = |seconds| Properties::default().long(MESSAGE_EXPIRY, seconds);
    let messages = [
        publish("t", "open").qos1(1),
        publish("t", "expires").qos1(2).with(expires(1)),
        publish("t", "lasts").qos1(3).with(expires(100)),
    ];
    for message in &messages {
        publisher.publish(message).await;
        publisher.puback().await;
    }
    let open = client.published().await;
    // The smallest message expiry that there is.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    client.send_ack(PUBACK, open.pkid).await;
    let next = client.published().await;
    assert_eq!(next.payload, b"lasts");
    assert!(next.properties.number(MESSAGE_EXPIRY).unwrap() < 100);
}

#[tokio::test]
async fn topics_with_a_dollar_are_the_brokers_own() {
    let broker = TestBroker::start().await;
    for v5 in [false, true] {
        let mut client = Client::connect(&broker, &Connect::of(v5, "d")).await;
        client.subscribe("#", 0).await;
        client.subscribe("$x/#", 0).await;
        client.publish(&publish("$x/y", "a").qos1(1)).await;
        let ack = client.any_puback().await;
        assert_eq!((ack.reason, ack.text), (if v5 { 0x87 } else { 0 }, None));
        client.publish(&publish("t", "b")).await;
        assert_eq!(client.heard().await.0, "t");
        client.leave().await;
    }
    assert!(broker.writer.is_empty());
    assert_eq!(broker.metrics.dropped_count("reserved_topic"), 2);
}

/// Defect P6 of stock rumqttd: UNSUBSCRIBE of an unknown filter gets no UNSUBACK, and one of two filters gets two.
#[tokio::test]
async fn unsubscribe_ends_the_delivery_and_is_answered_once_for_all_filters() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v5("s")).await;
    for filter in ["a", "b", "c"] {
        client.subscribe(filter, 0).await;
    }
    assert_eq!(client.unsubscribe(&["a", "unknown", "b"]).await, [0, 0x11, 0]);
    assert_eq!(client.unsubscribe(&["a"]).await, [0x11]);
    for topic in ["a", "b", "c"] {
        client.publish(&publish(topic, "")).await;
    }
    assert_eq!(client.heard().await.0, "c");
    client.ping().await;
    let mut old = Client::connect(&broker, &Connect::v311("old")).await;
    assert_eq!(old.unsubscribe(&["unknown", "a"]).await, [0; 0]);
    old.ping().await;
}

#[tokio::test]
async fn filters_that_cannot_be_subscribed_to_are_refused_one_by_one() {
    let broker = TestBroker::configured(|config| {
        config.denied_subscriptions = vec!["denied".into()];
        config.max_subscriptions_per_client = 2;
    })
    .await;
    let mut client = Client::connect(&broker, &Connect::v5("s")).await;
    let mut body = vec![0, 1, 0];
    for filter in ["a", "a/#/b", "denied", "b+", "c", "d"] {
        body.extend([text(filter), vec![1]].concat());
    }
    client.send(&frame(0x82, &body)).await;
    let (_, suback) = client.packet().await.unwrap();
    assert_eq!(suback[3..], [1, 0x8f, 0x80, 0x8f, 1, 0x97]);
    let mut old = Client::connect(&broker, &Connect::v311("old")).await;
    assert_eq!(old.subscribe("a/#/b", 0).await, 0x80);
    assert_eq!(old.subscribe("denied", 0).await, 0x80);
}

#[tokio::test]
async fn subscriptions_of_all_are_limited() {
    let mut setup = Setup::default();
    setup.config.max_subscriptions = 1;
    let broker = TestBroker::with(setup).await;
    let mut first = Client::connect(&broker, &Connect::v5("a")).await;
    assert_eq!(first.subscribe("t", 0).await, 0);
    let mut second = Client::connect(&broker, &Connect::v5("b")).await;
    assert_eq!(second.subscribe("t", 0).await, 0x97);
    first.leave().await;
    until("the first is gone", || broker.metrics.connections.get() == 1).await;
    assert_eq!(second.subscribe("t", 0).await, 0);
    second.publish(&publish("t", "x")).await;
    assert_eq!(second.heard().await.1, "x");
}

/// Catches a PUBLISH that overtakes a SUBSCRIBE which another connection sent before it: of two tasks that become ready together tokio
/// runs the later one first (no `yield_now` before a message for others).
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_was_subscribed_before_a_publish_hears_it() {
    let broker = TestBroker::start().await;
    let mut subscriber = Client::connect(&broker, &Connect::v5("s")).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    for topic in ["a", "b", "c"] {
        let (busy, is_busy) = std::sync::mpsc::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        // Both packets are there before the broker's only thread looks.
        let holding = tokio::spawn(async move {
            busy.send(()).unwrap();
            released.recv().ok();
        });
        is_busy.recv().unwrap();
        subscriber.send(&frame(0x82, &[&[0, 1, 0][..], &text(topic), &[0]].concat())).await;
        publisher.publish(&publish(topic, "it is heard")).await;
        drop(release);
        holding.await.unwrap();
        assert_eq!(subscriber.packet().await.unwrap().0 >> 4, SUBACK);
        assert_eq!(subscriber.heard().await, (topic.into(), "it is heard".into()));
    }
}
