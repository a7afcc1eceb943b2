//! Packets that break the protocol end the connection they came on and nothing else.

use super::client::{Client, Connect};
use super::harness::{TestBroker, USAGE, until};
use super::wire::{PUBREC, PUBREL, Properties, frame, property, publish, text, varint};

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
        ("reserved type 15 of MQTT 3.1.1, AUTH of MQTT 5", vec![0xf0, 0], 0x82),
        ("PUBLISH of QoS 3", frame(0x36, &[&text("t")[..], &[0, 1, 0]].concat()), 0x81),
        ("PUBREL with wrong flags", vec![0x60, 2, 0, 1], 0x81),
        ("SUBSCRIBE with wrong flags", vec![0x80, 6, 0, 1, 0, 1, b'a', 0], 0x81),
        ("UNSUBSCRIBE with wrong flags", vec![0xa0, 6, 0, 1, 0, 0, 1, b'a'], 0x81),
        ("PUBACK with flags", vec![0x42, 2, 0, 1], 0x81),
        ("PUBREC with flags", vec![0x51, 2, 0, 1], 0x81),
        ("PUBCOMP with flags", vec![0x78, 2, 0, 1], 0x81),
        ("PINGREQ with flags", vec![0xc1, 0], 0x81),
        ("PINGREQ with a body", vec![0xc0, 1, 0], 0x81),
        ("DISCONNECT with flags", vec![0xe1, 0], 0x81),
        ("PUBLISH of QoS 0 with DUP", publish("t", "").dup().encoded(false), 0x81),
        ("PUBLISH with packet id 0", frame(0x32, &[&text("t")[..], &[0, 0, 0]].concat()), 0x82),
        ("SUBSCRIBE with packet id 0", subscribe(0, &[0, 0, 1, b'a', 0]), 0x82),
        ("PUBLISH of QoS 2 with packet id 0", publish("t", "").qos2(0).encoded(false), 0x82),
        ("UNSUBSCRIBE with packet id 0", frame(0xa2, &[0, 0, 0, 0, 1, b'a']), 0x82),
        ("PUBACK with packet id 0", vec![0x40, 2, 0, 0], 0x82),
        ("PUBREL with packet id 0", vec![0x62, 2, 0, 0], 0x82),
        ("remaining length of five bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01], 0x81),
        ("PUBLISH shorter than its topic", frame(0x30, &[0, 200, b'a']), 0x81),
        ("empty PUBLISH", vec![0x30, 0], 0x81),
        ("PUBACK without a packet id", vec![0x40, 0], 0x82),
        ("PUBLISH that ends in its packet id", frame(0x32, &[&text("t")[..], &[1]].concat()), 0),
        ("SUBSCRIBE without a filter", subscribe(1, &[0]), 0x81),
        ("SUBSCRIBE without options", subscribe(1, &[0, 0, 1, b'a']), 0x81),
        ("SUBSCRIBE shorter than its filter", subscribe(1, &[0, 0, 200, b'a', 0]), 0x81),
        ("empty SUBSCRIBE", vec![0x82, 0], 0x82),
        ("empty UNSUBSCRIBE", vec![0xa2, 0], 0x82),
        ("UNSUBSCRIBE shorter than its filter", frame(0xa2, &[0, 1, 0, 0, 200, b'a']), 0x81),
        ("topic of bad UTF-8", frame(0x30, &[&text([0xc3, 0x28])[..], &[0]].concat()), 0x90),
        ("topic with a surrogate", frame(0x30, &[&text([0xed, 0xa0, 0x80])[..], &[0]].concat()), 0x90),
        ("topic with NUL", frame(0x30, &[&text("a\0b")[..], &[0]].concat()), 0x90),
        ("topic with +", frame(0x30, &[&text("a/+")[..], &[0]].concat()), 0x90),
        ("topic with #", frame(0x30, &[&text("#")[..], &[0]].concat()), 0x90),
        ("empty topic", frame(0x30, &[&text("")[..], &[0]].concat()), 0x90),
        ("topic without end", publish_topic(&vec![b'a'; 60_000]), 0),
    ]
}

/// Broken in MQTT 3.1.1 only, where there are no properties.
fn broken_in_v311() -> Vec<(&'static str, Vec<u8>)> {
    let one = |filter: &[u8], options: u8| subscribe(1, &[&text(filter)[..], &[options]].concat());
    vec![
        ("SUBSCRIBE without a filter", subscribe(1, &[])),
        ("SUBSCRIBE of QoS 3", one(b"a", 3)),
        ("SUBSCRIBE with reserved options", one(b"a", 4)),
        ("filter of bad UTF-8", one(&[0xc3, 0x28], 0)),
        ("filter with a surrogate", one(&[0xed, 0xa0, 0x80], 0)),
        ("UNSUBSCRIBE without a filter", frame(0xa2, &[0, 1])),
        ("UNSUBSCRIBE of bad UTF-8", frame(0xa2, &[&[0, 1][..], &text([0xff])].concat())),
        ("DISCONNECT with a body", vec![0xe0, 1, 0]),
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
        ("SUBSCRIBE of QoS 3", subscribe(1, &[0, 0, 1, b'a', 3]), 0x81),
        ("SUBSCRIBE with reserved options", subscribe(1, &[0, 0, 1, b'a', 0x40]), 0x81),
        ("SUBSCRIBE with retain handling 3", subscribe(1, &[0, 0, 1, b'a', 0x30]), 0x81),
        ("filter of bad UTF-8", subscribe(1, &[&[0][..], &text([0xc3, 0x28]), &[0]].concat()), 0x81),
        (
            "filter with a surrogate",
            subscribe(1, &[&[0][..], &text([0xed, 0xa0, 0x80]), &[0]].concat()),
            0x81,
        ),
        ("SUBSCRIBE with truncated properties", subscribe(1, &[9, property::USER_PROPERTY]), 0x81),
        ("UNSUBSCRIBE without a filter", frame(0xa2, &[0, 1, 0]), 0),
        ("UNSUBSCRIBE of bad UTF-8", frame(0xa2, &[&[0, 1, 0][..], &text([0xff])].concat()), 0x81),
        ("PUBACK with truncated properties", frame(0x40, &[0, 1, 0, 9, property::REASON_STRING]), 0x81),
        ("PUBACK with an unknown reason", frame(0x40, &[0, 1, 0x55]), 0x81),
        ("user property of bad UTF-8", raw(&[7, property::USER_PROPERTY, 0, 1, 0xff, 0, 1, b'v']), 0x81),
        ("payload format 2", raw(&[2, 1, 2]), 0x82),
        (
            "content type with a null character",
            with(Properties::default().text(property::CONTENT_TYPE, "a\0b")),
            0x81,
        ),
        ("user property with a null character", with(Properties::default().pair("k", "\0")), 0x81),
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
    let v311_only: Vec<Sample> = broken_in_v311().into_iter().map(|(name, bytes)| (name, bytes, 0)).collect();
    let samples = samples.chain(v311_only.iter().map(|sample| (false, sample)));
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

/// Catches a session that keeps every identifier that is never released.
#[tokio::test]
async fn a_client_that_never_releases_its_qos_2_messages_is_stopped_and_may_release_them_later() {
    let mut broker = TestBroker::start().await;
    let mut bystander = Client::connect(&broker, &Connect::v5("bystander")).await;
    let hello = Connect::v311("flood").persistent();
    let mut client = Client::connect(&broker, &hello).await;
    let mut received = 0;
    // PUBRECs are read between the bursts, as this client waits for nothing else.
    'flood: for burst in (1..=65_535u16).collect::<Vec<_>>().chunks(500) {
        let packets: Vec<u8> =
            burst.iter().flat_map(|pkid| publish("t", "").qos2(*pkid).encoded(false)).collect();
        client.try_send(&packets).await;
        for _ in burst {
            match client.packet().await {
                Some((first, _)) => assert_eq!(first >> 4, PUBREC),
                None => break 'flood,
            }
            received += 1;
        }
    }
    assert_eq!(received, 10_000);
    assert_eq!(broker.metrics.disconnect_count("receive_maximum"), 1);
    bystander.publish(&publish(USAGE, "unaffected").qos1(1)).await;
    broker.writer.take().await.commit();
    assert_eq!(bystander.puback().await, 1);
    let mut client = Client::connect(&broker, &hello).await;
    assert!(client.connack.session_present);
    for pkid in 1..=received {
        client.send_ack(PUBREL, pkid).await;
        assert_eq!(client.pubcomp().await.pkid, pkid);
    }
    client.publish(&publish("t", "").qos2(65_535)).await;
    assert_eq!(client.pubrec().await.pkid, 65_535);
}

/// Catches a window that grows with each resend of a message that is not committed yet.
#[tokio::test]
async fn replays_and_all_identifiers_at_once_are_bounded_while_the_database_is_slow() {
    let mut broker =
        TestBroker::configured(|config| config.max_unacked_bytes_per_connection = 64 * 1024).await;
    let mut bystander = Client::connect(&broker, &Connect::v5("bystander")).await;
    let mut client = Client::connect(&broker, &Connect::v311("flood")).await;
    client.publish(&publish(USAGE, "replayed").qos2(1)).await;
    let replayed = broker.writer.take().await;
    let again = publish(USAGE, "replayed").qos2(1).dup().encoded(false);
    client.send(&again.repeat(10_000)).await;
    client.ping().await;
    assert!(broker.writer.is_empty());
    replayed.commit();
    assert_eq!(client.pubrec().await.pkid, 1);
    let flood: Vec<u8> =
        (2..=65_535u16).flat_map(|pkid| publish(USAGE, "x").qos2(pkid).encoded(false)).collect();
    let mut stopped = std::pin::pin!(client.try_send(&flood));
    tokio::select! {
        () = &mut stopped => {}
        () = until("reading stops", || broker.metrics.paused_readers.get() == 1) => {}
    }
    until("reading stops", || broker.metrics.paused_readers.get() == 1).await;
    bystander.publish(&publish(USAGE, "unaffected").qos1(1)).await;
    let mut queued = 0;
    loop {
        let taken = broker.writer.take().await;
        if taken.payload() == b"unaffected" {
            taken.commit();
            break;
        }
        queued += 1;
    }
    assert_eq!(bystander.puback().await, 1);
    // A charge of 512 bytes and more for each message, and what one read holds beyond the limit.
    assert!(queued < 1000, "{queued}");
}
