//! Keep alive, and clients that go silent.

use super::client::{Client, Connect};
use super::harness::TestBroker;
use super::wire::publish;

#[tokio::test]
async fn silence_beyond_the_keep_alive_ends_the_connection() {
    let broker = TestBroker::start().await;
    let mut old = Client::connect(&broker, &Connect::v311("old").keep_alive(1)).await;
    let mut new = Client::connect(&broker, &Connect::v5("new").keep_alive(1)).await;
    let (old, new) = tokio::join!(old.ended(), new.ended());
    assert_eq!((old, new), (None, Some(0x8d)));
    assert_eq!(broker.metrics.disconnect_count("keep_alive"), 2);
}

/// Defect B6 of stock rumqttd: keep alive 0 is refused.
#[tokio::test]
async fn every_packet_counts_as_a_sign_of_life_and_keep_alive_0_needs_none() {
    let broker = TestBroker::start().await;
    let mut silent = Client::connect(&broker, &Connect::v311("silent").keep_alive(0)).await;
    let mut client = Client::connect(&broker, &Connect::v311("d").keep_alive(1)).await;
    for pkid in 1..=4 {
        // Below one and a half times the smallest keep alive, and together beyond it.
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        client.publish(&publish("t", "").qos1(pkid)).await;
        assert_eq!(client.puback().await, pkid);
    }
    silent.ping().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let broker = TestBroker::configured(|config| config.write_stall_timeout_seconds = 1).await;
    let mut stuck = Client::connect(&broker, &Connect::v311("stuck")).await;
    stuck.subscribe("t", 0).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    let payload = vec![b'x'; 200_000];
    while broker.metrics.disconnect_count("write_stalled") == 0 {
        publisher.publish(&publish("t", &payload).qos1(1)).await;
        publisher.puback().await;
    }
}
