//! Soft stop and hard stop.

use super::client::{Client, Connect};
use super::harness::{TestBroker, USAGE};
use super::wire::publish;

#[tokio::test]
async fn a_soft_stop_answers_what_was_received_and_says_good_bye() {
    let mut broker = TestBroker::start().await;
    let mut new = Client::connect(&broker, &Connect::v5("new")).await;
    let mut old = Client::connect(&broker, &Connect::v311("old")).await;
    let mut idle = Client::connect(&broker, &Connect::v5("idle")).await;
    new.publish(&publish(USAGE, "a").qos1(1)).await;
    old.publish(&publish(USAGE, "b").qos2(1)).await;
    let taken = broker.writer.take_many(2).await;
    broker.soft.cancel();
    assert_eq!(idle.ended().await, Some(0x8b));
    for taken in taken {
        taken.commit();
    }
    assert_eq!(new.puback().await, 1);
    assert_eq!(new.ended().await, Some(0x8b));
    assert_eq!(old.pubrec().await.pkid, 1);
    assert_eq!(old.ended().await, None);
    broker.has_stopped().await;
}

#[tokio::test]
async fn a_hard_stop_waits_for_nothing() {
    let setup = super::harness::Setup { queue_messages: 1, ..super::harness::Setup::default() };
    let mut broker = TestBroker::with(setup).await;
    let hello = Connect::v5("d").persistent();
    let mut client = Client::connect(&broker, &hello).await;
    for pkid in 1..=5 {
        client.publish(&publish(USAGE, "a").qos1(pkid)).await;
    }
    client.ping().await;
    broker.soft.cancel();
    broker.hard.cancel();
    assert_eq!(client.ended().await, None);
    // Nobody takes the four that wait for room in the queue.
    broker.has_stopped().await;
}

#[tokio::test]
async fn a_hard_stop_does_not_wait_for_what_clients_left_behind() {
    let setup = super::harness::Setup { queue_messages: 1, ..super::harness::Setup::default() };
    let mut broker = TestBroker::with(setup).await;
    let mut client = Client::connect(&broker, &Connect::v311("d")).await;
    for pkid in 1..=5 {
        client.publish(&publish(USAGE, "a").qos1(pkid)).await;
    }
    client.leave().await;
    broker.soft.cancel();
    broker.hard.cancel();
    broker.has_stopped().await;
}

#[tokio::test]
async fn nobody_connects_after_the_soft_stop() {
    let mut broker = TestBroker::start().await;
    let mut silent = Client::silent(&broker, true).await;
    broker.soft.cancel();
    assert!(silent.packet().await.is_none());
    broker.has_stopped().await;
    assert!(tokio::net::TcpStream::connect(broker.address).await.is_err());
}
