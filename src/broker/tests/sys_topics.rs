//! What the broker says about itself.

use std::collections::BTreeMap;

use crate::broker::auth::{Access, Authenticator, Lookup, hash_password};
use crate::broker::credential::Credential;
use crate::domain::TenantId;

use super::client::{Client, Connect};
use super::harness::{Setup, TestBroker};
use super::wire::publish;

const VERSION: &str = "$SYS/broker/version";

/// One message of each topic.
async fn values(client: &mut Client, topics: usize) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    while values.len() < topics {
        let (topic, value) = client.heard().await;
        values.insert(topic, value);
    }
    values
}

/// Catches values that a new subscription waits an interval for, and numbers that do not move.
#[tokio::test]
async fn a_new_subscription_gets_the_values_at_once_and_then_every_interval() {
    let broker = TestBroker::configured(|config| config.sys_interval_seconds = 3600).await;
    let mut publisher = Client::connect(&broker, &Connect::v5("p")).await;
    for v5 in [false, true] {
        let mut client = Client::connect(&broker, &Connect::of(v5, "s")).await;
        client.subscribe("t", 0).await;
        publisher.publish(&publish("t", "x").qos1(1)).await;
        publisher.puback().await;
        client.published().await;
        assert_eq!(client.subscribe("$SYS/#", 1).await, 1);
        let values = values(&mut client, 7).await;
        assert_eq!(values[VERSION], concat!("simbridge version ", env!("CARGO_PKG_VERSION")));
        assert!(values["$SYS/broker/uptime"].ends_with(" seconds"));
        assert_eq!(values["$SYS/broker/clients/connected"], "2");
        for kind in ["messages", "publish/messages"] {
            let received: u64 = values[&format!("$SYS/broker/{kind}/received")].parse().unwrap();
            assert_eq!(received, broker.metrics.messages_received());
            let sent: u64 = values[&format!("$SYS/broker/{kind}/sent")].parse().unwrap();
            assert!(sent >= received, "{sent}");
        }
        client.leave().await;
    }
    let broker = TestBroker::configured(|config| config.sys_interval_seconds = 1).await;
    let mut client = Client::connect(&broker, &Connect::v5("s")).await;
    client.subscribe("$SYS/broker/uptime", 0).await;
    let mut uptimes = Vec::new();
    while uptimes.len() < 2 {
        uptimes.push(client.heard().await.1);
        uptimes.dedup();
    }
}

/// Catches values for those who asked for everything else, and clients that forge them.
#[tokio::test]
async fn wildcards_at_the_start_do_not_match_and_clients_cannot_publish_there() {
    let broker = TestBroker::start().await;
    let mut other = Client::connect(&broker, &Connect::v5("other")).await;
    for filter in ["#", "+/broker/version", "+/#"] {
        other.subscribe(filter, 0).await;
    }
    let mut client = Client::connect(&broker, &Connect::v5("s")).await;
    client.subscribe(VERSION, 0).await;
    let true_value = client.heard().await.1;
    client.publish(&publish(VERSION, "forged").qos1(1).retained()).await;
    assert_eq!(client.any_puback().await.reason, 0x87);
    let mut late = Client::connect(&broker, &Connect::v5("late")).await;
    late.subscribe(VERSION, 0).await;
    assert_eq!(late.heard().await.1, true_value);
    other.ping().await;
}

#[tokio::test]
async fn nothing_is_said_when_it_is_turned_off() {
    let broker = TestBroker::configured(|config| config.sys_interval_seconds = 0).await;
    let mut client = Client::connect(&broker, &Connect::v5("s")).await;
    assert_eq!(client.subscribe("$SYS/#", 0).await, 0);
    for _ in 0..50 {
        client.ping().await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Catches publishing for tenants of which nobody listens, and one filter index for all of them.
#[tokio::test]
async fn only_tenants_with_a_subscription_are_published_to() {
    let lookup: Lookup = std::sync::Arc::new(move |user| {
        let credential = Credential {
            password_hash: hash_password("secret").unwrap(),
            tenant: TenantId(if user == "one" { 1 } else { 2 }),
            tenant_name: user,
            may_correct: false,
            enabled: true,
            iccid: None,
            publish: None,
            subscribe: Some(["#", "$other/#", "$SYS/#"].map(|rule| rule.parse().unwrap()).into()),
            revision: 1,
        };
        Box::pin(async move { Ok(Some(credential)) })
    });
    let mut setup = Setup::default();
    setup.access = Access::Password(Authenticator::new(lookup, &setup.config).unwrap());
    let broker = TestBroker::with(setup).await;
    let tenants = || broker.hub.subscriptions.tenants_below("$SYS");
    let mut one = Client::connect(&broker, &Connect::v5("d").login("one", "secret")).await;
    one.subscribe("#", 0).await;
    one.subscribe("$other/x", 0).await;
    assert_eq!(tenants(), []);
    let mut two = Client::connect(&broker, &Connect::v5("d").login("two", "secret")).await;
    two.subscribe("$SYS/broker/+", 0).await;
    assert_eq!(tenants(), [TenantId(2)]);
    assert_eq!(values(&mut two, 2).await.len(), 2);
    one.ping().await;
    two.leave().await;
    assert_eq!(tenants(), []);
}
