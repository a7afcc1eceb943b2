//! Who comes in, and what becomes of those who have to wait.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::config::admission::AdmissionConfig;

use super::acl::user;
use super::client::{Client, Connect};
use super::harness::{TestBroker, until};

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

async fn limited(change: impl FnOnce(&mut AdmissionConfig)) -> TestBroker {
    TestBroker::configured(|config| change(&mut config.admission)).await
}

/// Opens connections until one of them is closed at once.
async fn turned_away(broker: &TestBroker, from: Ipv4Addr) {
    let before = broker.metrics.connections.get();
    for _ in 0..1000 {
        let mut client = Client::silent_from(from, broker).await;
        let counted = |result| broker.metrics.connection_count(result);
        let refused = || ["address_rate", "rate", "too_many_of_address"].into_iter().any(|r| counted(r) > 0);
        until("it is in or out", || refused() || broker.metrics.connections.get() > before).await;
        if refused() {
            assert!(client.packet().await.is_none());
            return;
        }
        client.leave().await;
    }
    panic!("nobody is turned away");
}

/// Catches one bucket for all addresses, and a connection that is served although its turn has not come.
#[tokio::test]
async fn an_address_that_exceeds_its_rate_waits_and_others_do_not() {
    let broker = limited(|admission| {
        admission.connections_per_second_per_address = 1;
        admission.connection_burst_per_address = 1;
    })
    .await;
    Client::connect_from(ONE, &broker, &Connect::v5("first")).await.ping().await;
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(Client::silent_from(ONE, &broker).await);
    }
    until("they wait", || broker.metrics.waiting_connections.get() >= 8).await;
    Client::connect_from(OTHER, &broker, &Connect::v5("other")).await.ping().await;
    assert!(broker.metrics.waiting_connections.get() > 0);
}

/// Catches a line that is never served, and a rate that is none.
#[tokio::test]
async fn whoever_waits_gets_in_at_the_rate() {
    let broker = limited(|admission| {
        admission.connections_per_second_per_address = 20;
        admission.connection_burst_per_address = 1;
    })
    .await;
    let began = Instant::now();
    let connects = (0..8).map(|n| {
        let broker = &broker;
        async move { Client::connect(broker, &Connect::v5(&format!("d{n}"))).await.ping().await }
    });
    futures_util::future::join_all(connects).await;
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    assert_eq!(broker.metrics.waiting_connections.get(), 0);
}

/// Catches a line without an end, for an address and for all together.
#[tokio::test]
async fn who_would_wait_too_long_is_closed_at_once() {
    let broker = limited(|admission| {
        admission.connections_per_second_per_address = 1;
        admission.connection_burst_per_address = 1;
        admission.max_wait_seconds = 0;
    })
    .await;
    turned_away(&broker, ONE).await;
    assert!(broker.metrics.connection_count("address_rate") > 0);
    Client::connect_from(OTHER, &broker, &Connect::v5("other")).await.ping().await;
    let broker = limited(|admission| {
        admission.connections_per_second = 1;
        admission.connection_burst = 1;
        admission.max_wait_seconds = 0;
    })
    .await;
    turned_away(&broker, ONE).await;
    assert!(broker.metrics.connection_count("rate") > 0);
}

/// Catches a listener that asks nobody whether one more may wait, and a limit of none, or of one instead of two.
#[tokio::test]
async fn no_more_connections_wait_than_may() {
    let broker = limited(|admission| {
        strict(admission);
        admission.max_wait_seconds = 300;
        admission.max_waiting_connections = 2;
    })
    .await;
    // From now on whoever comes waits for a minute and more, so nobody's turn comes meanwhile.
    for _ in 0..3 {
        let mut client = Client::silent(&broker, true).await;
        client.try_send(b"GET / HTTP/1.1\r\n\r\n").await;
        assert!(client.packet().await.is_none());
    }
    let mut waiting = Vec::new();
    for count in 1..=2 {
        waiting.push(Client::silent(&broker, true).await);
        until("it waits", || broker.metrics.waiting_connections.get() == count).await;
    }
    let mut third = Client::silent(&broker, true).await;
    assert!(third.packet().await.is_none());
    let turned_away = broker.metrics.connection_count("too_many_waiting");
    assert_eq!((turned_away, broker.metrics.waiting_connections.get()), (1, 2));
}

/// Catches a count that is not given back, and one for all addresses.
#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    let broker = limited(|admission| admission.max_connections_per_address = 1).await;
    let client = Client::connect_from(ONE, &broker, &Connect::v5("a")).await;
    let mut second = Client::silent_from(ONE, &broker).await;
    assert!(second.packet().await.is_none());
    assert_eq!(broker.metrics.connection_count("too_many_of_address"), 1);
    Client::connect_from(OTHER, &broker, &Connect::v5("b")).await.ping().await;
    client.leave().await;
    until("the place is free", || broker.hub.admission.connections_of(ONE.into()) == 0).await;
    Client::connect_from(ONE, &broker, &Connect::v5("c")).await.ping().await;
}

/// Catches silent sockets that keep a fleet out for as long as they may be silent, and a client that is connected and still
/// takes up a place.
#[tokio::test]
async fn silent_connections_of_an_address_keep_its_clients_out_for_a_moment_only() {
    let broker = TestBroker::configured(|config| {
        config.connect_timeout_seconds = 300;
        config.admission.max_handshakes_per_address = 1;
        config.admission.crowded_connect_timeout_seconds = 1;
    })
    .await;
    let mut before = Client::connect_from(ONE, &broker, &Connect::v5("before")).await;
    before.ping().await;
    let mut silent = Client::silent_from(ONE, &broker).await;
    until("it has a place", || broker.metrics.connections.get() == 2).await;
    Client::connect_from(OTHER, &broker, &Connect::v5("other")).await.ping().await;
    assert_eq!(broker.metrics.connection_count("timeout"), 0);
    Client::connect_from(ONE, &broker, &Connect::v5("d")).await.ping().await;
    assert_eq!(broker.metrics.connection_count("timeout"), 1);
    assert!(silent.packet().await.is_none());
    before.ping().await;
}

/// Catches places that are counted for each address only.
#[tokio::test]
async fn so_many_handshakes_go_on_in_all() {
    let broker = limited(|admission| {
        admission.max_handshakes = 1;
        admission.max_wait_seconds = 0;
    })
    .await;
    let _silent = Client::silent_from(ONE, &broker).await;
    until("it has a place", || broker.metrics.connections.get() == 1).await;
    let mut second = Client::silent_from(OTHER, &broker).await;
    assert!(second.packet().await.is_none());
    assert_eq!(broker.metrics.connection_count("no_handshake_place"), 1);
}

/// Delays are as long as they may be, so that the next connection shows them by being closed.
fn strict(admission: &mut AdmissionConfig) {
    admission.offences_tolerated_per_address = 2;
    admission.offence_delay_milliseconds = 60_000;
    admission.offence_delay_max_seconds = 300;
    admission.max_wait_seconds = 0;
}

/// Catches broken packets, before CONNECT or after it, that cost nothing.
#[tokio::test]
async fn an_address_whose_clients_break_rules_again_and_again_has_to_wait() {
    let broker = limited(strict).await;
    let mut client = Client::silent_from(ONE, &broker).await;
    client.try_send(b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(client.packet().await.is_none());
    for _ in 0..2 {
        let mut client = Client::connect_from(ONE, &broker, &Connect::v5("d")).await;
        client.try_send(&[0xf0, 0]).await;
        assert_eq!(client.ended().await, Some(0x82));
        // Its ending is noted when its identifier is free.
        let key = (crate::domain::TenantId(1), "d".into());
        until("it is gone", || !broker.hub.registry.is_connected(&key)).await;
    }
    assert_eq!(broker.metrics.offence_count("not_connect"), 1);
    assert_eq!(broker.metrics.offence_count("protocol_error"), 2);
    let mut next = Client::silent_from(ONE, &broker).await;
    assert!(next.packet().await.is_none());
    assert_eq!(broker.metrics.connection_count("address_rate"), 1);
    Client::connect_from(OTHER, &broker, &Connect::v5("other")).await.ping().await;
}

/// Catches guessing that costs nothing.
#[tokio::test]
async fn an_address_that_guesses_passwords_has_to_wait() {
    let broker = super::acl::broker_with(&[user("one", (1, "acme"), None)], |config| {
        strict(&mut config.admission);
    })
    .await;
    for guess in ["a", "b", "c"] {
        let client = Client::try_connect(&broker, &Connect::v5("d").login("one", guess)).await;
        assert_eq!(client.connack.code, 0x86);
    }
    assert_eq!(broker.metrics.offence_count("bad_login"), 3);
    let mut next = Client::silent(&broker, true).await;
    assert!(next.packet().await.is_none());
    assert_eq!(broker.metrics.connection_count("address_rate"), 1);
    let login = Connect::v5("d").login("one", "secret");
    Client::connect_from(OTHER, &broker, &login).await.ping().await;
}

/// Catches a take-over that does not wait, and one that ends the connection before it has waited.
#[tokio::test]
async fn clients_that_take_each_other_over_wait_for_it() {
    let broker = limited(|admission| {
        admission.take_over_burst = 1;
        admission.take_overs_per_minute = 1;
        admission.max_wait_seconds = 300;
    })
    .await;
    let _first = Client::connect(&broker, &Connect::v5("d")).await;
    let mut second = Client::connect(&broker, &Connect::v5("d")).await;
    let mut third = Client::silent(&broker, true).await;
    third.send(&Connect::v5("d").encoded()).await;
    until("it waits", || broker.metrics.delayed_take_overs.get() == 1).await;
    second.ping().await;
    Client::connect(&broker, &Connect::v5("e")).await.ping().await;
    assert_eq!(broker.metrics.disconnect_count("taken_over"), 1);
}

#[tokio::test]
async fn a_take_over_that_would_wait_too_long_is_refused() {
    let broker = limited(|admission| {
        admission.take_over_burst = 1;
        admission.take_overs_per_minute = 1;
        admission.max_wait_seconds = 0;
    })
    .await;
    let _first = Client::connect(&broker, &Connect::v5("d")).await;
    let mut second = Client::connect(&broker, &Connect::v5("d")).await;
    assert_eq!(Client::try_connect(&broker, &Connect::v5("d")).await.connack.code, 0x9f);
    assert_eq!(Client::try_connect(&broker, &Connect::v311("d")).await.connack.code, 3);
    assert_eq!(broker.metrics.connection_count("take_over_rate"), 2);
    second.ping().await;
}
