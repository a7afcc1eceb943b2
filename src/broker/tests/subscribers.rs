//! Slow subscribers.

use std::time::Duration;

use super::client::{Client, Connect};
use super::harness::{TestBroker, USAGE, until};
use super::wire::property::RECEIVE_MAXIMUM;
use super::wire::{PUBACK, PUBLISH, publish};

/// A broker whose outboxes take so many messages, and whose publishers wait so long for who takes nothing.
async fn broker(messages: usize, patience: Duration) -> TestBroker {
    TestBroker::configured(|config| {
        config.max_outbound_messages = messages;
        config.subscriber_patience_milliseconds = patience.as_millis() as u64;
    })
    .await
}

/// Longer than any test.
const FOREVER: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_slow_subscriber_loses_qos_0_first_and_then_the_oldest_which_is_counted() {
    let broker = broker(20, Duration::ZERO).await;
    let hello = Connect::v5("s").with(|p| p.short(RECEIVE_MAXIMUM, 1));
    let mut slow = Client::connect(&broker, &hello).await;
    slow.subscribe("t", 1).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    publisher.publish(&publish("t", "0").qos1(1)).await;
    assert_eq!(publisher.puback().await, 1);
    let mut open = slow.published().await;
    for n in 1..=20u16 {
        publisher.publish(&publish("t", n.to_string()).qos1(n)).await;
        assert_eq!(publisher.puback().await, n);
    }
    for _ in 0..10 {
        publisher.publish(&publish("t", "dropped")).await;
    }
    publisher.ping().await;
    assert_eq!(broker.metrics.dropped_count("slow_subscriber"), 10);
    assert_eq!(broker.metrics.dropped_count("outbox_full"), 0);
    publisher.publish(&publish("t", "21").qos1(21)).await;
    assert_eq!(publisher.puback().await, 21);
    assert_eq!(broker.metrics.dropped_count("outbox_full"), 1);
    for n in 2..=21 {
        slow.send_ack(PUBACK, open.pkid).await;
        open = slow.published().await;
        assert_eq!(open.payload, n.to_string().as_bytes());
    }
}

/// Catches publishers that go on while a subscriber has no room: what they were promised gives way.
#[tokio::test]
async fn publishers_wait_for_a_busy_subscriber_and_nothing_is_lost() {
    let broker = broker(10, FOREVER).await;
    let mut busy = Client::connect(&broker, &Connect::v311("busy")).await;
    busy.subscribe("t/+", 1).await;
    let mut publishers = Vec::new();
    for n in 0..4 {
        publishers.push(Client::connect(&broker, &Connect::of(n % 2 == 0, &format!("p{n}"))).await);
    }
    let publishing = publishers.into_iter().enumerate().map(async |(at, mut publisher)| {
        for n in 1..=500u16 {
            publisher.publish(&publish(format!("t/{at}"), n.to_string()).qos1(n)).await;
        }
        for n in 1..=500 {
            assert_eq!(publisher.puback().await, n);
        }
    });
    let listening = async {
        let mut last = [0; 4];
        while last != [500; 4] {
            let heard = busy.published().await;
            busy.send_ack(PUBACK, heard.pkid).await;
            let at: usize = heard.topic["t/".len()..].parse().unwrap();
            last[at] += 1;
            assert_eq!(heard.payload, last[at].to_string().as_bytes(), "in order");
        }
    };
    tokio::join!(futures_util::future::join_all(publishing), listening);
    assert_eq!(broker.metrics.dropped_count("outbox_full"), 0);
}

/// Catches clients that wait for each other for ever: what they acknowledge is not read.
#[tokio::test]
async fn clients_that_overrun_each_other_are_both_read() {
    let broker = broker(100, FOREVER).await;
    let mut clients = Vec::new();
    for (own, id) in ["a", "b"].into_iter().enumerate() {
        let hello = Connect::v5(id).with(|p| p.short(RECEIVE_MAXIMUM, 1));
        let mut client = Client::connect(&broker, &hello).await;
        client.subscribe(&format!("to/{own}"), 1).await;
        clients.push(client);
    }
    for (at, client) in clients.iter_mut().enumerate() {
        for n in 1..=80 {
            client.publish(&publish(format!("to/{}", 1 - at), "x").qos1(n)).await;
        }
    }
    let reading = clients.iter_mut().map(async |client| {
        let (mut heard, mut acknowledged) = (0, 0);
        while (heard, acknowledged) != (80, 80) {
            match client.packet().await.unwrap() {
                (first, body) if first >> 4 == PUBLISH => {
                    heard += 1;
                    let at = 2 + "to/0".len();
                    client.send_ack(PUBACK, u16::from_be_bytes([body[at], body[at + 1]])).await;
                }
                _ => acknowledged += 1,
            }
        }
    });
    futures_util::future::join_all(reading).await;
    assert_eq!(broker.metrics.dropped_count("outbox_full"), 0);
}

/// Catches an alarm about the database that ordinary traffic sets off (`paused_readers` for whoever is not read), and a publisher that is
/// counted for ever.
#[tokio::test]
async fn who_waits_for_a_subscriber_is_not_counted_as_waiting_for_the_database() {
    let broker = broker(10, FOREVER).await;
    let hello = Connect::v5("slow").with(|p| p.short(RECEIVE_MAXIMUM, 1));
    let mut slow = Client::connect(&broker, &hello).await;
    slow.subscribe("t", 1).await;
    let mut publisher = Client::connect(&broker, &Connect::v311("p")).await;
    for n in 1..=20 {
        publisher.publish(&publish("t", "x").qos1(n)).await;
    }
    until("the publisher waits", || broker.metrics.held_readers.get() == 1).await;
    assert_eq!(broker.metrics.paused_readers.get(), 0);
    for _ in 1..=20 {
        let heard = slow.published().await;
        slow.send_ack(PUBACK, heard.pkid).await;
    }
    until("it goes on", || broker.metrics.held_readers.get() == 0).await;
}

/// Catches publishers that wait for as long as somebody does not read.
#[tokio::test]
async fn publishers_do_not_wait_for_a_subscriber_that_stands_still() {
    let broker = broker(10, Duration::from_millis(20)).await;
    let hello = Connect::v5("s").with(|p| p.short(RECEIVE_MAXIMUM, 1));
    let mut stuck = Client::connect(&broker, &hello).await;
    stuck.subscribe("t", 1).await;
    let mut publisher = Client::connect(&broker, &Connect::v311("p")).await;
    for n in 1..=100 {
        publisher.publish(&publish("t", "x").qos1(n)).await;
        assert_eq!(publisher.puback().await, n);
    }
    assert_eq!(broker.metrics.dropped_count("outbox_full"), 89);
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
    let broker = TestBroker::configured(|config| config.max_outbound_bytes = 16 * 1024).await;
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
    assert_eq!(broker.metrics.dropped_count("outbox_full"), 1000 - heard);
}
