//! What one client may send, and what the others feel of it.

use std::time::{Duration, Instant};

use crate::config::admission::TrafficConfig;

use super::client::{Client, Connect};
use super::harness::{TestBroker, USAGE, until};
use super::wire::property::RECEIVE_MAXIMUM;
use super::wire::publish;

const PING: [u8; 2] = [0xc0, 0];

async fn limited(change: impl FnOnce(&mut TrafficConfig)) -> TestBroker {
    TestBroker::configured(|config| change(&mut config.traffic)).await
}

/// Catches a rate that does not slow, and a client that is never read again.
#[tokio::test]
async fn packets_beyond_the_rate_wait_and_none_is_lost() {
    let broker = limited(|traffic| {
        traffic.packets_per_second = 50;
        traffic.packet_burst = 5;
    })
    .await;
    let mut client = Client::connect(&broker, &Connect::v5("fast")).await;
    let began = Instant::now();
    for pkid in 1..=20 {
        client.publish(&publish("t", "x").qos1(pkid)).await;
    }
    Client::connect(&broker, &Connect::v5("other")).await.ping().await;
    for pkid in 1..=20 {
        assert_eq!(client.puback().await, pkid);
    }
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    assert!(broker.metrics.throttled.get() > 0);
    until("it is read again", || broker.metrics.throttled_readers.get() == 0).await;
}

#[tokio::test]
async fn bytes_beyond_the_rate_wait_too() {
    let broker = limited(|traffic| {
        traffic.bytes_per_second = 100_000;
        traffic.burst_bytes = 1000;
    })
    .await;
    let mut client = Client::connect(&broker, &Connect::v5("large")).await;
    let began = Instant::now();
    for pkid in 1..=3 {
        client.publish(&publish("t", vec![b'x'; 20_000]).qos1(pkid)).await;
    }
    for pkid in 1..=3 {
        assert_eq!(client.puback().await, pkid);
    }
    assert!(began.elapsed() >= Duration::from_millis(350), "{:?}", began.elapsed());
}

/// Catches subscriptions, pings and refused messages that cost nothing.
#[tokio::test]
async fn everything_that_makes_work_counts() {
    let subscribe = [&[0x82, 7, 0, 1, 0][..], &[0, 1, b'a', 0]].concat();
    let unsubscribe = vec![0xa2, 6, 0, 1, 0, 0, 1, b'a'];
    let release = vec![0x62, 2, 0, 7];
    let reserved = publish("$SYS/x", "").encoded(true);
    for packet in [PING.to_vec(), subscribe, unsubscribe, release, reserved] {
        let broker = limited(|traffic| {
            traffic.packets_per_second = 1;
            traffic.packet_burst = 2;
        })
        .await;
        let mut client = Client::connect(&broker, &Connect::v5("d")).await;
        client.send(&packet.repeat(12)).await;
        until("it has to wait", || broker.metrics.throttled_readers.get() == 1).await;
    }
}

/// Catches usage that is slowed like ordinary traffic.
#[tokio::test]
async fn usage_has_its_window_instead() {
    let broker = limited(|traffic| {
        traffic.packets_per_second = 1;
        traffic.packet_burst = 1;
        traffic.bytes_per_second = 1;
        traffic.burst_bytes = 1;
    })
    .await;
    let mut client = Client::connect(&broker, &Connect::v5("d")).await;
    broker.writer.commit_everything();
    for pkid in 1..=200 {
        client.publish(&publish(USAGE, "x").qos1(pkid)).await;
    }
    for pkid in 1..=200 {
        assert_eq!(client.puback().await, pkid);
    }
    assert_eq!(broker.metrics.throttled.get(), 0);
}

/// Catches a flood that connects again for a new burst.
#[tokio::test]
async fn who_comes_back_has_no_new_burst() {
    let broker = limited(|traffic| {
        traffic.bytes_per_second = 1;
        traffic.burst_bytes = 1;
    })
    .await;
    let mut client = Client::connect(&broker, &Connect::v5("d")).await;
    client.publish(&publish("t", vec![b'x'; 1000])).await;
    until("it has to wait", || broker.metrics.throttled.get() == 1).await;
    let _again = Client::connect(&broker, &Connect::v5("d")).await;
    until("it still has to", || broker.metrics.throttled.get() == 2).await;
    assert_eq!(broker.metrics.throttled_readers.get(), 1);
    Client::connect(&broker, &Connect::v5("other")).await.ping().await;
}

/// Catches a client whose whole read is handled before anybody else's packet (`turn_packets` without effect, or no `yield_now` between
/// two turns). This runs in one thread, and tokio lets others in after so many packets by itself.
#[tokio::test]
async fn a_client_with_much_to_do_takes_turns_with_the_others() {
    const PINGS: usize = 8000;
    let broker = limited(|traffic| {
        traffic.packets_per_second = 0;
        traffic.turn_packets = 1;
    })
    .await;
    let mut busy = Client::connect(&broker, &Connect::v5("busy")).await;
    let mut other = Client::connect(&broker, &Connect::v5("other")).await;
    busy.send(&PING.repeat(PINGS)).await;
    other.ping().await;
    let answered = busy.take_what_is_there() / PING.len();
    assert!(answered < 32, "{answered} were answered first");
    for _ in answered..PINGS {
        busy.packet().await.unwrap();
    }
}

/// Catches a turn that counts packets alone: what goes to many subscribers takes as much longer (`handled` without takers).
#[tokio::test]
async fn a_packet_for_many_subscribers_takes_as_much_of_a_turn_as_many_packets() {
    const SUBSCRIBERS: usize = 40;
    const PACKETS: u16 = 900;
    let broker = limited(|traffic| {
        traffic.packets_per_second = 0;
        traffic.turn_packets = SUBSCRIBERS;
    })
    .await;
    let mut listening = Vec::new();
    for n in 0..SUBSCRIBERS {
        let mut client = Client::connect(&broker, &Connect::v5(&format!("listening-{n}"))).await;
        client.subscribe("busy", 0).await;
        listening.push(client);
    }
    let mut busy = Client::connect(&broker, &Connect::v5("busy")).await;
    let mut other = Client::connect(&broker, &Connect::v5("other")).await;
    let packets: Vec<u8> =
        (1..=PACKETS).flat_map(|pkid| publish("busy", "").qos1(pkid).encoded(true)).collect();
    busy.send(&packets).await;
    other.ping().await;
    let mut answered = 0;
    let mut pings = 1;
    // A turn is one packet here; by packets alone it would be forty, and the other were answered twenty times in all.
    while answered < usize::from(PACKETS) {
        answered += busy.take_what_is_there() / 4;
        other.ping().await;
        pings += 1;
    }
    assert!(
        pings > usize::from(PACKETS) / 20,
        "{PACKETS} were handled within {pings} turns of another client"
    );
}

/// Catches a client that has a new burst because a subscriber held it up for a while (`stood_still` without effect): all whom one
/// subscriber holds up go on in the same moment.
#[tokio::test]
async fn who_was_held_up_has_no_new_burst() {
    let broker = TestBroker::configured(|config| {
        (config.traffic.packets_per_second, config.traffic.packet_burst) = (10, 40);
        config.subscriber_patience_milliseconds = 3_000;
        config.max_outbound_messages = 4;
    })
    .await;
    let one_at_a_time = Connect::v5("s").with(|properties| properties.short(RECEIVE_MAXIMUM, 1));
    let mut unread = Client::connect(&broker, &one_at_a_time).await;
    unread.subscribe("t", 1).await;
    let mut client = Client::connect(&broker, &Connect::v5("d")).await;
    let messages = (1..=5).flat_map(|pkid| publish("t", "").qos1(pkid).encoded(true)).collect();
    client.send(&[PING.repeat(30), messages, PING.repeat(29)].concat()).await;
    until("it is held up", || broker.metrics.held_readers.get() == 1).await;
    assert_eq!(broker.metrics.throttled.get(), 0);
    // It has five left; in three seconds of rest it would have had thirty more.
    until("it is too fast", || broker.metrics.throttled.get() == 1).await;
}
