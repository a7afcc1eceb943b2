//! Shared subscriptions (MQTT 5, 4.8.2).

use std::collections::BTreeSet;

use super::client::{Client, Connect};
use super::harness::TestBroker;
use super::wire::property::{RECEIVE_MAXIMUM, SUBSCRIPTION_ID};
use super::wire::{PUBACK, Properties, publish};

const NO_LOCAL: u8 = 4;
const GROUP: &str = "$share/g/t/#";

async fn member(broker: &TestBroker, connect: &Connect, qos: u8) -> Client {
    let mut client = Client::connect(broker, connect).await;
    assert_eq!(client.subscribe(GROUP, qos).await, qos);
    client
}

/// A client that takes `window` messages before it acknowledges.
fn window(id: &str, window: u16) -> Connect {
    Connect::v5(id).with(|properties| properties.short(RECEIVE_MAXIMUM, window))
}

async fn send(publisher: &mut Client, numbers: std::ops::Range<u32>) {
    for number in numbers {
        publisher.publish(&publish("t/x", number.to_string()).qos1(1)).await;
        publisher.puback().await;
    }
}

fn number(payload: &[u8]) -> u32 {
    std::str::from_utf8(payload).unwrap().parse().unwrap()
}

/// Takes and acknowledges `count` messages.
async fn take(client: &mut Client, count: usize) -> Vec<u32> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let heard = client.published().await;
        client.send_ack(PUBACK, heard.pkid).await;
        taken.push(number(&heard.payload));
    }
    taken
}

/// Catches a copy for each member, and one member that gets everything.
#[tokio::test]
async fn each_message_goes_to_one_member_in_turn_and_to_every_other_subscription() {
    let broker = TestBroker::start().await;
    let mut members = Vec::new();
    for (id, v5) in [("a", true), ("b", false), ("c", true)] {
        members.push(member(&broker, &Connect::of(v5, id), 1).await);
    }
    let mut other_group = Client::connect(&broker, &Connect::v5("d")).await;
    assert_eq!(other_group.subscribe("$share/h/t/#", 1).await, 1);
    let mut alone = Client::connect(&broker, &Connect::v311("e")).await;
    alone.subscribe("t/#", 1).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    for round in 0..10 {
        send(&mut publisher, round * 3..round * 3 + 3).await;
        let mut heard = BTreeSet::new();
        for client in &mut members {
            heard.extend(take(client, 1).await);
        }
        assert_eq!(heard, (round * 3..round * 3 + 3).collect());
    }
    for client in &mut members {
        client.ping().await;
    }
    for client in [&mut other_group, &mut alone] {
        assert_eq!(take(client, 30).await, (0..30).collect::<Vec<_>>());
    }
}

/// Defect B2 of stock rumqttd: one member that stops acknowledging stalls the group.
///
/// Catches a member that takes its turns without room for them: what it holds, nobody else gets.
#[tokio::test]
async fn a_member_that_acknowledges_nothing_stalls_only_its_own_window() {
    let broker = TestBroker::start().await;
    let mut stalled = member(&broker, &window("stalled", 5), 1).await;
    let mut busy = member(&broker, &Connect::v5("busy"), 1).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    let heard = async {
        let mut heard = take(&mut busy, 595).await;
        for _ in 0..5 {
            heard.push(number(&stalled.published().await.payload));
        }
        heard.into_iter().collect::<BTreeSet<_>>()
    };
    let (heard, ()) = tokio::join!(heard, send(&mut publisher, 0..600));
    assert_eq!(heard, (0..600).collect());
    stalled.ping().await;
    busy.ping().await;
}

/// Defect B3 of stock rumqttd: any UNSUBSCRIBE leaves all shared groups.
///
/// Catches losing what a member had not acknowledged when it left for good, and an UNSUBSCRIBE that leaves the group by the way.
#[tokio::test]
async fn what_a_member_left_unacknowledged_goes_to_another_one() {
    let broker = TestBroker::start().await;
    let mut leaving = member(&broker, &window("leaving", 5), 1).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    send(&mut publisher, 0..8).await;
    for number_sent in 0..5 {
        assert_eq!(number(&leaving.published().await.payload), number_sent);
    }
    let mut staying = Client::connect(&broker, &Connect::v5("staying")).await;
    staying.subscribe("other", 0).await;
    assert_eq!(staying.subscribe(GROUP, 1).await, 1);
    assert_eq!(take(&mut staying, 3).await, [5, 6, 7]);
    assert_eq!(staying.unsubscribe(&["other", "unknown"]).await, [0, 0x11]);
    leaving.drop_connection(&broker).await;
    assert_eq!(take(&mut staying, 5).await.into_iter().collect::<BTreeSet<_>>(), (0..5).collect());
    send(&mut publisher, 8..9).await;
    assert_eq!(take(&mut staying, 1).await, [8]);
    assert_eq!(staying.unsubscribe(&[GROUP]).await, [0]);
    send(&mut publisher, 9..10).await;
    staying.ping().await;
}

/// Defect P3 of stock rumqttd: the connection of such a member breaks, and the broker is dead.
///
/// Catches a message that is sent to a second member while the first one may come back for it.
#[tokio::test]
async fn what_a_member_that_will_come_back_had_not_acknowledged_waits_for_it() {
    let broker = TestBroker::start().await;
    let mut away = member(&broker, &window("away", 2).persistent(), 1).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    send(&mut publisher, 0..2).await;
    for _ in 0..2 {
        away.published().await;
    }
    away.drop_connection(&broker).await;
    let mut here = member(&broker, &Connect::v5("here"), 1).await;
    send(&mut publisher, 2..4).await;
    assert_eq!(take(&mut here, 2).await, [2, 3]);
    here.ping().await;
    let mut back = Client::connect(&broker, &window("away", 2).persistent()).await;
    for expected in 0..2 {
        let heard = back.published().await;
        assert!(heard.dup);
        assert_eq!(number(&heard.payload), expected);
        back.send_ack(PUBACK, heard.pkid).await;
    }
    // It is still a member.
    here.leave().await;
    send(&mut publisher, 4..5).await;
    assert_eq!(take(&mut back, 1).await, [4]);
}

/// Catches a group that ends when nobody is there: its members' sessions are.
#[tokio::test]
async fn what_comes_while_all_members_are_away_waits_for_the_first_that_returns() {
    let broker = TestBroker::start().await;
    for id in ["a", "b"] {
        member(&broker, &Connect::v5(id).persistent(), 1).await.drop_connection(&broker).await;
    }
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    send(&mut publisher, 0..20).await;
    let mut back = Client::connect(&broker, &Connect::v5("b").persistent()).await;
    assert_eq!(take(&mut back, 20).await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_group_gets_no_retained_messages_and_its_members_their_own_options() {
    let broker = TestBroker::start().await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    publisher.publish(&publish("t/x", "kept").qos1(1).retained()).await;
    publisher.puback().await;
    let mut client = Client::connect(&broker, &Connect::v5("a")).await;
    let identified = Properties::default().varint(SUBSCRIPTION_ID, 7);
    assert_eq!(client.subscribe_with(GROUP, 1, &identified).await, 1);
    assert_eq!(client.subscribe_with(GROUP, 0, &identified).await, 0, "the same again changes it");
    send(&mut publisher, 1..2).await;
    let heard = client.published().await;
    assert_eq!((heard.qos, &*heard.payload, heard.retain), (0, &b"1"[..], false));
    assert_eq!(heard.properties.number(SUBSCRIPTION_ID), Some(7));
    client.ping().await;
    let mut wrong = Client::connect(&broker, &Connect::v5("b")).await;
    wrong
        .send(&super::wire::frame(
            0x82,
            &[&[0, 1, 0][..], &super::wire::text(GROUP), &[1 | NO_LOCAL]].concat(),
        ))
        .await;
    assert_eq!(wrong.ended().await, Some(0x82));
    for malformed in ["$share//t", "$share/g+/t", "$share/g/", "$share/g"] {
        let mut client = Client::connect(&broker, &Connect::v5("c")).await;
        assert_eq!(client.subscribe(malformed, 0).await, 0x8f, "{malformed}");
    }
}

/// Catches groups that are kept when nobody is left: they would use up `max_subscriptions`.
#[tokio::test]
async fn a_group_without_members_is_given_up() {
    let broker = TestBroker::configured(|config| config.max_subscriptions = 2).await;
    for round in 0..5 {
        let mut client = Client::connect(&broker, &Connect::v5("a")).await;
        assert_eq!(client.subscribe(&format!("$share/g{round}/t"), 1).await, 1);
        client.leave().await;
    }
    let mut client = Client::connect(&broker, &Connect::v5("a")).await;
    for (group, code) in [("$share/a/t", 1), ("$share/b/t", 1), ("$share/c/t", 0x97)] {
        assert_eq!(client.subscribe(group, 1).await, code, "{group}");
    }
}
