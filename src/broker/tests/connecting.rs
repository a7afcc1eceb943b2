//! CONNECT and its answers.

use std::sync::Arc;

use crate::broker::auth::{Access, Authenticator, Lookup, LookupError, hash_password};
use crate::broker::credential::Credential;
use crate::config::mqtt::MqttConfig;
use crate::domain::TenantId;

use super::client::{Client, Connect};
use super::harness::{Setup, TestBroker, USAGE};
use super::wire::property::{ASSIGNED_CLIENT_ID, AUTHENTICATION_METHOD, SERVER_KEEP_ALIVE, SESSION_EXPIRY};
use super::wire::{frame, publish};

/// Sends a CONNECT whose bytes were changed and returns the code of CONNACK.
async fn code_of(broker: &TestBroker, v5: bool, bytes: &[u8]) -> u8 {
    let mut client = Client::silent(broker, v5).await;
    client.send(bytes).await;
    client.read_connack().await;
    assert!(client.packet().await.is_none());
    client.connack.code
}

async fn refused(broker: &TestBroker, connect: Connect) -> u8 {
    code_of(broker, connect.v5, &connect.encoded()).await
}

#[tokio::test]
async fn other_protocols_and_versions_are_refused() {
    let broker = TestBroker::start().await;
    let mut level = Connect::v311("d").encoded();
    level[8] = 3;
    assert_eq!(code_of(&broker, false, &level).await, 1);
    level[8] = 6;
    assert_eq!(code_of(&broker, true, &level).await, 0x84);
    let old = frame(0x10, &[&[0, 6][..], b"MQIsdp", &[3, 2, 0, 0, 0, 1, b'd']].concat());
    assert_eq!(code_of(&broker, false, &old).await, 1);
    let mut name = Connect::v311("d").encoded();
    name[4] = b'X';
    assert_eq!(code_of(&broker, false, &name).await, 1);
}

#[tokio::test]
async fn broken_connects_are_refused() {
    let broker = TestBroker::start().await;
    for (v5, code) in [(false, 4), (true, 0x81)] {
        let mut reserved = Connect::of(v5, "d").encoded();
        reserved[9] |= 1;
        assert_eq!(code_of(&broker, v5, &reserved).await, code);
        // The will flag without a will.
        let mut will = Connect::of(v5, "d").encoded();
        will[9] |= 4;
        assert_eq!(code_of(&broker, v5, &will).await, code);
        let mut truncated = Connect::of(v5, "device").encoded();
        truncated[1] -= 3;
        truncated.truncate(truncated.len() - 3);
        assert_eq!(code_of(&broker, v5, &truncated).await, code);
    }
}

#[tokio::test]
async fn an_empty_client_identifier_is_replaced_where_the_standard_allows_it() {
    let broker = TestBroker::start().await;
    assert_eq!(refused(&broker, Connect::v311("").persistent()).await, 2);
    Client::connect(&broker, &Connect::v311("")).await.ping().await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(&broker, &Connect::v5("").persistent()).await;
        client.ping().await;
        clients.push(client);
    }
    let ids: Vec<_> =
        clients.iter().map(|c| c.connack.properties.text(ASSIGNED_CLIENT_ID).unwrap()).collect();
    assert!(!ids[0].is_empty() && ids[0] != ids[1]);
    // The client comes back under the name that it was given.
    let again = Client::connect(&broker, &Connect::v5(ids[0]).persistent()).await;
    assert!(again.connack.session_present);
    assert_eq!(again.connack.properties.text(ASSIGNED_CLIENT_ID), None);
}

/// Defect B7 of stock rumqttd: a client identifier such as `dev/1` is refused.
#[tokio::test]
async fn a_client_identifier_may_hold_any_character_but_not_too_many() {
    let broker = TestBroker::start().await;
    for id in ["dev/1", "a+b#c", "$share", "é", " "] {
        Client::connect(&broker, &Connect::v311(id)).await.ping().await;
    }
    let long = "x".repeat(257);
    assert_eq!(refused(&broker, Connect::v311(&long)).await, 2);
    assert_eq!(refused(&broker, Connect::v5(&long)).await, 0x85);
}

#[tokio::test]
async fn enhanced_authentication_is_refused() {
    let broker = TestBroker::start().await;
    let hello = Connect::v5("d").with(|p| p.text(AUTHENTICATION_METHOD, "SCRAM"));
    assert_eq!(refused(&broker, hello).await, 0x8c);
}

#[tokio::test]
async fn a_client_learns_what_the_broker_changed() {
    let broker = TestBroker::configured(|config| {
        config.server_keep_alive_max_seconds = 60;
        config.session_expiry_max_seconds = 100;
    })
    .await;
    for (asked, told) in [(0, Some(60)), (120, Some(60)), (60, None), (30, None)] {
        let hello = Connect::v5("d").keep_alive(asked).persistent();
        let client = Client::connect(&broker, &hello).await;
        assert_eq!(client.connack.properties.number(SERVER_KEEP_ALIVE), told, "{asked}");
        assert_eq!(client.connack.properties.number(SESSION_EXPIRY), Some(100));
    }
}

fn password_broker(found: Result<Option<Credential>, LookupError>) -> Setup {
    let lookup: Lookup = Arc::new(move |user| {
        let found = found.clone().map(|credential| credential.filter(|_| user == "device"));
        Box::pin(async move { found })
    });
    let mut setup = Setup::default();
    setup.access = Access::Password(Authenticator::new(lookup, &setup.config).unwrap());
    setup
}

fn stored() -> Credential {
    Credential {
        password_hash: hash_password("secret").unwrap(),
        tenant: TenantId(7),
        tenant_name: "seven".into(),
        may_correct: true,
        enabled: true,
        iccid: None,
        publish: None,
        subscribe: None,
        revision: 1,
    }
}

#[tokio::test]
async fn only_the_right_password_opens_and_it_decides_the_tenant() {
    let mut broker = TestBroker::with(password_broker(Ok(Some(stored())))).await;
    for (v5, code) in [(false, 4), (true, 0x86)] {
        let hello = Connect::of(v5, "d");
        assert_eq!(refused(&broker, hello.clone()).await, code);
        assert_eq!(refused(&broker, hello.clone().login("device", "Secret")).await, code);
        assert_eq!(refused(&broker, hello.clone().login("other", "secret")).await, code);
        let mut client = Client::connect(&broker, &hello.login("device", "secret")).await;
        client.publish(&publish(USAGE, "a")).await;
        let taken = broker.writer.take().await;
        assert_eq!((taken.0.sender.tenant, taken.0.sender.may_correct), (TenantId(7), true));
        assert_eq!(taken.0.sender.name, "d");
    }
}

/// Defect B5 of stock rumqttd: the connection is closed without CONNACK.
#[tokio::test]
async fn a_binary_password_is_answered() {
    let broker = TestBroker::with(password_broker(Ok(Some(stored())))).await;
    assert_eq!(refused(&broker, Connect::v311("d").login("device", [0xff, 0xfe])).await, 4);
    assert!(refused(&broker, Connect::v5("d").login("device", [0xff, 0xfe])).await >= 0x80);
}

#[tokio::test]
async fn a_login_that_cannot_be_checked_may_try_again() {
    let broker = TestBroker::with(password_broker(Err(LookupError("down".into())))).await;
    assert_eq!(refused(&broker, Connect::v311("d").login("device", "secret")).await, 3);
    assert_eq!(refused(&broker, Connect::v5("d").login("device", "secret")).await, 0x88);
}

#[tokio::test]
async fn a_socket_without_connect_is_closed_in_time() {
    let broker = TestBroker::configured(|config: &mut MqttConfig| config.connect_timeout_seconds = 1).await;
    let mut client = Client::silent(&broker, true).await;
    client.send(&[0x10]).await;
    assert!(client.packet().await.is_none());
}
