//! Packets that break the protocol end the connection they came on and nothing else.

use super::client::{Client, Connect};
use super::harness::{TestBroker, USAGE};
use super::wire::{Properties, frame, property, publish, text, varint};

/// A packet, and the reason code of the DISCONNECT that it earns in MQTT 5.
type Sample = (&'static str, Vec<u8>, u8);

fn subscribe(pkid: u16, rest: &[u8]) -> Vec<u8> {
    frame(0x82, &[&pkid.to_be_bytes(), rest].concat())
}

fn second_connect() -> Vec<u8> {
    Connect::v5("other").encoded()
}

/// Broken in both versions.
fn broken_everywhere() -> Vec<Sample> {
    let publish_topic = |topic: &[u8]| frame(0x30, &text(topic));
    vec![
        ("second CONNECT", second_connect(), 0x82),
        ("reserved type 0", vec![0x00, 0], 0x82),
        ("CONNACK", vec![0x20, 2, 0, 0], 0x82),
        ("SUBACK", vec![0x90, 3, 0, 1, 0], 0x82),
        ("UNSUBACK", vec![0xb0, 2, 0, 1], 0x82),
        ("PINGRESP", vec![0xd0, 0], 0x82),
        ("AUTH", vec![0xf0, 0], 0x82),
        ("PUBLISH of QoS 3", frame(0x36, &[&text("t")[..], &[0, 1, 0]].concat()), 0x81),
        ("PUBREL with wrong flags", vec![0x60, 2, 0, 1], 0x81),
        ("SUBSCRIBE with wrong flags", vec![0x80, 6, 0, 1, 0, 1, b'a', 0], 0x81),
        ("PINGREQ with flags", vec![0xc1, 0], 0x81),
        ("PUBLISH with packet id 0", frame(0x32, &[&text("t")[..], &[0, 0, 0]].concat()), 0x82),
        ("SUBSCRIBE with packet id 0", subscribe(0, &[0, 0, 1, b'a', 0]), 0x82),
        ("PUBACK with packet id 0", vec![0x40, 2, 0, 0], 0x82),
        ("remaining length of five bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01], 0x81),
        ("PUBLISH shorter than its topic", frame(0x30, &[0, 200, b'a']), 0x81),
        ("empty PUBLISH", vec![0x30, 0], 0x81),
        ("PUBACK without a packet id", vec![0x40, 0], 0x82),
        ("SUBSCRIBE without a filter", subscribe(1, &[0]), 0x81),
        ("topic of bad UTF-8", frame(0x30, &[&text([0xc3, 0x28])[..], &[0]].concat()), 0x90),
        ("topic with a surrogate", frame(0x30, &[&text([0xed, 0xa0, 0x80])[..], &[0]].concat()), 0x90),
        ("topic with NUL", frame(0x30, &[&text("a\0b")[..], &[0]].concat()), 0x90),
        ("topic with +", frame(0x30, &[&text("a/+")[..], &[0]].concat()), 0x90),
        ("topic with #", frame(0x30, &[&text("#")[..], &[0]].concat()), 0x90),
        ("empty topic", frame(0x30, &[&text("")[..], &[0]].concat()), 0x90),
        ("topic without end", publish_topic(&vec![b'a'; 60_000]), 0),
    ]
}

/// Broken in MQTT 5 only.
fn broken_in_v5() -> Vec<Sample> {
    let with = |properties: Properties| publish("t", "").with(properties).encoded(true);
    let raw = |properties: &[u8]| frame(0x30, &[&text("t")[..], properties].concat());
    vec![
        ("property length beyond the packet", raw(&[100, 1, 0]), 0x81),
        ("huge property length", raw(&[0xff, 0xff, 0xff, 0x7f]), 0x81),
        ("property length of five bytes", raw(&[0xff, 0xff, 0xff, 0xff, 0x01]), 0x81),
        ("truncated property", raw(&[2, property::RESPONSE_TOPIC, 0]), 0x81),
        ("text property beyond the packet", raw(&[3, property::RESPONSE_TOPIC, 0xff, 0xff]), 0x81),
        ("unknown property", raw(&[2, 0x7f, 0]), 0x81),
        ("truncated user property", raw(&[5, property::USER_PROPERTY, 0, 1, b'a', 0]), 0x81),
        ("property of another packet", with(Properties::default().long(property::SESSION_EXPIRY, 1)), 0x81),
        (
            "subscription identifier from a client",
            with(Properties::default().varint(property::SUBSCRIPTION_ID, 1)),
            0x82,
        ),
        ("alias 0", with(Properties::default().short(property::TOPIC_ALIAS, 0)), 0x94),
        ("alias too large", with(Properties::default().short(property::TOPIC_ALIAS, 65)), 0x94),
        (
            "unknown alias",
            publish("", "").with(Properties::default().short(property::TOPIC_ALIAS, 1)).encoded(true),
            0x94,
        ),
        ("subscription identifier 0", subscribe(1, &[2, property::SUBSCRIPTION_ID, 0, 0, 1, b'a', 0]), 0x82),
        ("session expiry from nothing", frame(0xe0, &[0, 5, 0x11, 0, 0, 0, 9]), 0x82),
    ]
}

/// Defect P4 of stock rumqttd: CONNACK and UNSUBACK from an MQTT 5 client panic, and leave a connection that nobody serves.
#[tokio::test]
async fn a_broken_packet_ends_only_its_connection() {
    let mut broker = TestBroker::start().await;
    let mut bystander = Client::connect(&broker, &Connect::v5("bystander")).await;
    bystander.subscribe("#", 1).await;
    let everywhere = broken_everywhere();
    let samples = everywhere.iter().flat_map(|sample| [(false, sample), (true, sample)]);
    let v5_only = broken_in_v5();
    for (v5, (name, bytes, reason)) in samples.chain(v5_only.iter().map(|sample| (true, sample))) {
        let mut client = Client::connect(&broker, &Connect::of(v5, "hostile")).await;
        client.try_send(bytes).await;
        let told = client.ended().await;
        match (v5, *reason) {
            (false, _) => assert_eq!(told, None, "{name}"),
            // Whichever of several rules it breaks is named.
            (true, 0) => assert!(told.is_some(), "{name}"),
            (true, reason) => assert_eq!(told, Some(reason), "{name}"),
        }
    }
    bystander.publish(&publish(USAGE, "still here").qos1(1)).await;
    assert_eq!(bystander.heard().await.1, "still here");
    broker.writer.take().await.commit();
    assert_eq!(bystander.puback().await, 1);
    assert!(broker.writer.is_empty());
}

/// Defect P1 of stock rumqttd: a topic that begins with such a letter kills the router, and the broker with it.
#[tokio::test]
async fn a_topic_that_begins_with_a_letter_of_two_bytes_is_delivered() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v5("d")).await;
    client.subscribe("é/+", 1).await;
    client.publish(&publish("é/x", "a").qos1(1)).await;
    assert_eq!(client.puback().await, 1);
    assert_eq!(client.heard().await, ("é/x".into(), "a".into()));
    assert_eq!(broker.metrics.router_restarts.get(), 0);
}

#[tokio::test]
async fn what_is_no_connect_is_closed_without_an_answer() {
    let broker = TestBroker::start().await;
    let endless = [&[0x10][..], &[0xff; 5]].concat();
    let large = [&[0x10][..], &varint(300_000)[..]].concat();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xc0, 0], &[0x16, 3, 1, 2, 0, 1, 0], &endless, &large] {
        let mut client = Client::silent(&broker, true).await;
        client.try_send(bytes).await;
        assert!(client.packet().await.is_none());
    }
    Client::connect(&broker, &Connect::v5("d")).await.ping().await;
}

#[tokio::test]
async fn packets_in_pieces_are_put_together() {
    let mut broker = TestBroker::start().await;
    let mut client = Client::silent(&broker, true).await;
    let hello = Connect::v5("d").encoded();
    let bytes = [hello, publish(USAGE, "whole").qos1(1).encoded(true)].concat();
    for byte in bytes {
        client.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    client.read_connack().await;
    let taken = broker.writer.take().await;
    assert_eq!(taken.payload(), b"whole");
    taken.commit();
    assert_eq!(client.puback().await, 1);
}
