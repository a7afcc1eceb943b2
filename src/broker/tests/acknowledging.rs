//! PUBACK means COMMIT.

use super::client::{Client, Connect};
use super::harness::{TestBroker, USAGE};
use super::wire::publish;

#[tokio::test]
async fn puback_comes_after_the_commit() {
    for v5 in [false, true] {
        let mut broker = TestBroker::start().await;
        let mut client = Client::connect(&broker, &Connect::of(v5, "d")).await;
        client.publish(&publish(USAGE, "a").qos1(7)).await;
        let taken = broker.writer.take().await;
        assert_eq!((taken.0.topic.as_str(), taken.payload()), (USAGE, &b"a"[..]));
        assert_eq!(taken.0.topic_iccid.as_deref(), Some("8988247000000000012"));
        client.ping().await;
        taken.commit();
        assert_eq!(client.puback().await, 7);
    }
}

#[tokio::test]
async fn acknowledgements_keep_the_order_of_the_messages_when_commits_do_not() {
    let mut broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v5("d")).await;
    for pkid in 1..=4 {
        client.publish(&publish(USAGE, pkid.to_string()).qos1(pkid)).await;
    }
    let mut taken = broker.writer.take_many(4).await;
    taken.pop().unwrap().commit();
    taken.remove(1).commit();
    client.ping().await;
    taken.remove(0).commit();
    assert_eq!((client.puback().await, client.puback().await), (1, 2));
    client.ping().await;
    taken.remove(0).commit();
    assert_eq!((client.puback().await, client.puback().await), (3, 4));
}

#[tokio::test]
async fn an_ordinary_message_waits_for_the_usage_before_it() {
    let mut broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v311("d")).await;
    client.publish(&publish("other", "x").qos1(1)).await;
    assert_eq!(client.puback().await, 1);
    client.publish(&publish(USAGE, "a").qos1(2)).await;
    client.publish(&publish("other", "x").qos1(3)).await;
    let taken = broker.writer.take().await;
    client.ping().await;
    taken.commit();
    assert_eq!((client.puback().await, client.puback().await), (2, 3));
}

#[tokio::test]
async fn a_resend_on_the_same_connection_is_answered_once_and_not_queued_again() {
    let mut broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v311("d")).await;
    client.publish(&publish(USAGE, "a").qos1(1)).await;
    let taken = broker.writer.take().await;
    client.publish(&publish(USAGE, "a").qos1(1).dup()).await;
    client.ping().await;
    assert!(broker.writer.is_empty());
    taken.commit();
    assert_eq!(client.puback().await, 1);
    client.ping().await;
    // The identifier is free again: this is another message.
    client.publish(&publish(USAGE, "a").qos1(1)).await;
    broker.writer.take().await.commit();
    assert_eq!(client.puback().await, 1);
}

#[tokio::test]
async fn a_resend_on_the_next_connection_of_the_session_is_not_queued_again() {
    for v5 in [false, true] {
        let mut broker = TestBroker::start().await;
        let hello = Connect::of(v5, "d").persistent();
        let mut client = Client::connect(&broker, &hello).await;
        client.publish(&publish(USAGE, "a").qos1(1)).await;
        client.publish(&publish(USAGE, "b").qos1(2)).await;
        let mut taken = broker.writer.take_many(2).await;
        client.drop_connection(&broker).await;
        // One is committed while the client is away and one when it is back.
        taken.remove(0).commit();
        let mut client = Client::connect(&broker, &hello).await;
        assert!(client.connack.session_present);
        client.publish(&publish(USAGE, "a").qos1(1).dup()).await;
        client.publish(&publish(USAGE, "b").qos1(2).dup()).await;
        assert_eq!(client.puback().await, 1);
        client.ping().await;
        taken.remove(0).commit();
        assert_eq!(client.puback().await, 2);
        assert!(broker.writer.is_empty());
    }
}

#[tokio::test]
async fn a_reused_identifier_with_other_content_is_another_message() {
    let mut broker = TestBroker::start().await;
    let hello = Connect::v311("d").persistent();
    let mut client = Client::connect(&broker, &hello).await;
    client.publish(&publish(USAGE, "a").qos1(1)).await;
    let first = broker.writer.take().await;
    client.drop_connection(&broker).await;
    let mut client = Client::connect(&broker, &hello).await;
    client.publish(&publish(USAGE, "b").qos1(1)).await;
    broker.writer.take().await.commit();
    assert_eq!(client.puback().await, 1);
    first.commit();
    client.ping().await;
}

#[tokio::test]
async fn a_message_that_the_pipeline_gave_up_is_queued_again_when_it_is_resent() {
    let mut broker = TestBroker::start().await;
    let hello = Connect::v5("d").persistent();
    let mut client = Client::connect(&broker, &hello).await;
    client.publish(&publish(USAGE, "a").qos1(1)).await;
    drop(broker.writer.take().await);
    assert_eq!(client.ended().await, Some(0x80));
    let mut client = Client::connect(&broker, &hello).await;
    client.publish(&publish(USAGE, "a").qos1(1).dup()).await;
    broker.writer.take().await.commit();
    assert_eq!(client.puback().await, 1);
}

#[tokio::test]
async fn qos_0_usage_is_stored_and_not_answered() {
    let mut broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v311("d")).await;
    client.publish(&publish(USAGE, "a")).await;
    let taken = broker.writer.take().await;
    assert!(taken.0.acknowledge.is_none());
    taken.commit();
    client.ping().await;
}

#[tokio::test]
async fn usage_of_a_client_that_closed_right_after_it_is_stored_all_the_same() {
    let mut broker = TestBroker::start().await;
    let mut client = Client::connect(&broker, &Connect::v311("d")).await;
    client.publish(&publish(USAGE, "a").qos1(1)).await;
    client.leave().await;
    assert_eq!(broker.writer.take().await.payload(), b"a");
}
