//! Sessions that outlive connections, and take-over.

use std::time::{Duration, Instant};

use super::client::{Client, Connect};
use super::harness::{TestBroker, USAGE, until};
use super::wire::property::SESSION_EXPIRY;
use super::wire::{Properties, frame, publish};

const HOUR: Duration = Duration::from_secs(3601);

async fn gone(broker: &TestBroker, connections: i64) {
    until("connections are closed", || broker.metrics.connections.get() == connections).await;
}

#[tokio::test]
async fn a_session_gets_what_was_published_while_its_client_was_away() {
    for v5 in [false, true] {
        let broker = TestBroker::start().await;
        let hello = Connect::of(v5, "s").persistent();
        let mut subscriber = Client::connect(&broker, &hello).await;
        assert!(!subscriber.connack.session_present);
        subscriber.subscribe("t/#", 1).await;
        subscriber.leave().await;
        let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
        for pkid in 1..=300 {
            publisher.publish(&publish("t/x", pkid.to_string()).qos1(pkid)).await;
            assert_eq!(publisher.puback().await, pkid);
        }
        let mut subscriber = Client::connect(&broker, &hello).await;
        assert!(subscriber.connack.session_present);
        for n in 1..=300 {
            let published = subscriber.published().await;
            assert_eq!(published.payload, n.to_string().as_bytes());
            subscriber.send_ack(super::wire::PUBACK, published.pkid).await;
        }
        subscriber.ping().await;
    }
}

#[tokio::test]
async fn a_clean_start_forgets_the_session() {
    for v5 in [false, true] {
        let broker = TestBroker::start().await;
        let hello = Connect::of(v5, "s").persistent();
        let mut client = Client::connect(&broker, &hello).await;
        client.subscribe("t", 1).await;
        client.leave().await;
        let mut client = Client::connect(&broker, &hello.clone().clean()).await;
        assert!(!client.connack.session_present);
        client.publish(&publish("t", "a").qos1(1)).await;
        assert_eq!(client.puback().await, 1);
        client.ping().await;
        assert!(broker.hub.subscriptions.is_empty());
    }
}

#[tokio::test]
async fn a_session_without_expiry_ends_with_its_connection() {
    let broker = TestBroker::start().await;
    for v5 in [false, true] {
        let mut client = Client::connect(&broker, &Connect::of(v5, "s")).await;
        client.subscribe("t", 1).await;
        client.drop_connection(&broker).await;
        gone(&broker, 0).await;
        let hello = Connect::of(v5, "s").persistent();
        let client = Client::connect(&broker, &hello).await;
        assert!(!client.connack.session_present);
        client.leave().await;
        // What this one left must not meet the next round.
        Client::connect(&broker, &Connect::of(v5, "s")).await.leave().await;
        gone(&broker, 0).await;
    }
}

#[tokio::test]
async fn a_session_ends_when_its_time_is_over() {
    let broker = TestBroker::start().await;
    let hello = Connect::v5("s").persistent();
    let mut client = Client::connect(&broker, &hello).await;
    client.subscribe("t", 1).await;
    client.leave().await;
    gone(&broker, 0).await;
    let soon = Instant::now() + Duration::from_secs(3590);
    broker.keep_house(soon);
    let client = Client::connect(&broker, &hello).await;
    assert!(client.connack.session_present);
    client.leave().await;
    gone(&broker, 0).await;
    broker.keep_house(Instant::now() + HOUR);
    let client = Client::connect(&broker, &hello).await;
    assert!(!client.connack.session_present);
    assert!(broker.hub.subscriptions.is_empty());
}

#[tokio::test]
async fn disconnect_may_end_the_session_now() {
    let broker = TestBroker::start().await;
    let hello = Connect::v5("s").persistent();
    let mut client = Client::connect(&broker, &hello).await;
    client
        .send(&frame(0xe0, &[&[0][..], &Properties::default().long(SESSION_EXPIRY, 0).encoded()].concat()))
        .await;
    assert_eq!(client.ended().await, None);
    let client = Client::connect(&broker, &hello).await;
    assert!(!client.connack.session_present);
}

#[tokio::test]
async fn the_next_connection_of_a_client_takes_over() {
    for v5 in [false, true] {
        let broker = TestBroker::start().await;
        let hello = Connect::of(v5, "s").persistent();
        let mut first = Client::connect(&broker, &hello).await;
        first.subscribe("t", 1).await;
        let (mut second, told) = tokio::join!(Client::connect(&broker, &hello), first.ended());
        assert_eq!(told, v5.then_some(0x8e));
        assert!(second.connack.session_present);
        second.publish(&publish("t", "a").qos1(1)).await;
        assert_eq!(second.puback().await, 1);
        assert_eq!(second.heard().await.1, "a");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_taken_over_too() {
    let broker = TestBroker::start().await;
    let hello = Connect::v5("s").persistent();
    let mut stuck = Client::connect(&broker, &hello).await;
    stuck.subscribe("t", 0).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    let payload = vec![b'x'; 200_000];
    // More than the sockets take.
    for pkid in 1..=100 {
        publisher.publish(&publish("t", &payload).qos1(pkid)).await;
        publisher.puback().await;
    }
    let mut second = Client::connect(&broker, &hello).await;
    assert!(second.connack.session_present);
    assert_eq!(second.published().await.topic, "t");
    assert_eq!(broker.metrics.disconnect_count("taken_over"), 1);
}

#[tokio::test]
async fn many_take_overs_at_once_leave_one_connection() {
    let broker = TestBroker::start().await;
    let hello = Connect::v5("s");
    let mut waiting = tokio::task::JoinSet::new();
    let broker = std::sync::Arc::new(broker);
    for _ in 0..20 {
        let (broker, hello) = (broker.clone(), hello.clone());
        waiting.spawn(async move { Client::connect(&broker, &hello).await.ended().await });
    }
    for _ in 0..19 {
        let told = super::harness::within(waiting.join_next()).await.unwrap().unwrap();
        assert_eq!(told, Some(0x8e));
    }
    gone(&broker, 1).await;
}

#[tokio::test]
async fn clients_of_two_tenants_may_have_the_same_identifier() {
    use crate::broker::auth::{Access, Authenticator, Lookup, hash_password};
    use crate::broker::credential::Credential;
    let lookup: Lookup = std::sync::Arc::new(move |user| {
        let credential = Credential {
            password_hash: hash_password("secret").unwrap(),
            tenant: crate::domain::TenantId(if user == "one" { 1 } else { 2 }),
            tenant_name: user,
            may_correct: false,
            enabled: true,
            iccid: None,
            publish: None,
            subscribe: None,
            revision: 1,
        };
        Box::pin(async move { Ok(Some(credential)) })
    });
    let mut setup = super::harness::Setup::default();
    setup.access = Access::Password(Authenticator::new(lookup, &setup.config).unwrap());
    let broker = TestBroker::with(setup).await;
    let mut one = Client::connect(&broker, &Connect::v5("d").login("one", "secret")).await;
    let mut two = Client::connect(&broker, &Connect::v5("d").login("two", "secret")).await;
    one.subscribe("#", 1).await;
    two.subscribe("#", 1).await;
    one.publish(&publish("t", "of one").qos1(1).retained()).await;
    assert_eq!(one.puback().await, 1);
    assert_eq!(one.heard().await.1, "of one");
    two.publish(&publish("t", "of two").qos1(1)).await;
    assert_eq!(two.puback().await, 1);
    assert_eq!(two.heard().await.1, "of two");
    one.ping().await;
    assert_eq!(two.subscribe("t", 1).await, 1);
    two.ping().await;
}

#[tokio::test]
async fn unsent_usage_of_a_session_is_not_lost_by_a_take_over() {
    let setup = super::harness::Setup { queue_messages: 1, ..super::harness::Setup::default() };
    let mut broker = TestBroker::with(setup).await;
    let hello = Connect::v5("d").persistent();
    let mut first = Client::connect(&broker, &hello).await;
    for pkid in 1..=5 {
        first.publish(&publish(USAGE, pkid.to_string()).qos1(pkid)).await;
    }
    first.ping().await;
    let (mut second, _) = tokio::join!(Client::connect(&broker, &hello), first.ended());
    for pkid in 1..=5 {
        second.publish(&publish(USAGE, pkid.to_string()).qos1(pkid).dup()).await;
    }
    second.ping().await;
    for pkid in 1..=5u16 {
        let taken = broker.writer.take().await;
        assert_eq!(taken.payload(), pkid.to_string().as_bytes());
        taken.commit();
        assert_eq!(second.puback().await, pkid);
    }
    second.ping().await;
    assert!(broker.writer.is_empty());
}
