//! Who may publish and subscribe where; `acl_matrix` tries every combination.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use crate::broker::auth::{Access, Authenticator, Lookup, hash_password};
use crate::broker::credential::Credential;
use crate::config::mqtt::MqttConfig;
use crate::domain::{Iccid, TenantId, TopicRule};

use super::client::{Client, Connect};
use super::harness::{Setup, TestBroker, until};
use super::wire::property::RESPONSE_TOPIC;
use super::wire::{Properties, publish};

pub(super) const OWN: &str = "8941000000000000001";
pub(super) const FOREIGN: &str = "8941000000000000002";
pub(super) const CLIENT: &str = "client";
pub(super) const DENIED: u8 = 0x87;

/// One hash for all: making it is slow on purpose.
static HASH: LazyLock<String> = LazyLock::new(|| hash_password("secret").unwrap());

/// A user of a test.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) tenant: (i32, &'static str),
    pub(super) iccid: Option<&'static str>,
    pub(super) publish: Option<Vec<&'static str>>,
    pub(super) subscribe: Option<Vec<&'static str>>,
}

pub(super) fn user(name: &str, tenant: (i32, &'static str), iccid: Option<&'static str>) -> User {
    User { name: name.into(), tenant, iccid, publish: None, subscribe: None }
}

fn credential(user: &User) -> Credential {
    let rules = |list: &Option<Vec<&str>>| -> Option<Vec<TopicRule>> {
        list.as_ref().map(|list| list.iter().map(|text| text.parse().unwrap()).collect())
    };
    Credential {
        password_hash: HASH.clone(),
        tenant: TenantId(user.tenant.0),
        tenant_name: user.tenant.1.into(),
        may_correct: false,
        enabled: true,
        iccid: user.iccid.and_then(Iccid::parse),
        publish: rules(&user.publish),
        subscribe: rules(&user.subscribe),
        revision: 1,
    }
}

/// Users by name, to be changed while a broker asks for them.
type Known = Arc<Mutex<HashMap<String, Credential>>>;

/// A broker that knows these users, all with the password `secret`.
pub(super) async fn broker(users: &[User]) -> TestBroker {
    broker_with(users, |_| {}).await
}

pub(super) async fn broker_with(users: &[User], change: impl FnOnce(&mut MqttConfig)) -> TestBroker {
    let known: Known = Arc::default();
    known.lock().unwrap().extend(users.iter().map(|user| (user.name.clone(), credential(user))));
    broker_configured(&known, change).await
}

async fn broker_of(known: &Known) -> TestBroker {
    broker_configured(known, |_| {}).await
}

async fn broker_configured(known: &Known, change: impl FnOnce(&mut MqttConfig)) -> TestBroker {
    let known = known.clone();
    let lookup: Lookup = Arc::new(move |name| {
        let found = known.lock().unwrap().get(&name).cloned();
        Box::pin(async move { Ok(found) })
    });
    let mut setup = Setup::default();
    change(&mut setup.config);
    setup.access = Access::Password(Authenticator::new(lookup, &setup.config).unwrap());
    TestBroker::with(setup).await
}

pub(super) fn hello(v5: bool, user: &str) -> Connect {
    Connect::of(v5, CLIENT).login(user, "secret")
}

/// What PUBACK says to a PUBLISH of QoS 1; MQTT 3.1.1 is told by the end of the connection, which is made anew then.
pub(super) async fn publish_code(
    broker: &TestBroker,
    client: &mut Option<Client>,
    hello: &Connect,
    topic: &str,
) -> u8 {
    let connected = match client.take() {
        Some(connected) => connected,
        None => Client::connect(broker, hello).await,
    };
    let connected = client.insert(connected);
    connected.publish(&publish(topic, "x").qos1(1)).await;
    if hello.v5 {
        return connected.any_puback().await.reason;
    }
    match connected.packet().await {
        Some((0x40, _)) => 0,
        Some(other) => panic!("{other:?}"),
        None => {
            *client = None;
            DENIED
        }
    }
}

/// Catches a refused message of QoS 0 or 2 that is passed on or stored all the same.
#[tokio::test]
async fn what_is_refused_reaches_nobody() {
    let broker = broker(&[
        User { publish: Some(vec!["mine"]), ..user("device", (1, "acme"), Some(OWN)) },
        user("gateway", (1, "acme"), None),
    ])
    .await;
    let mut listener = Client::connect(&broker, &Connect::v5("listener").login("gateway", "secret")).await;
    listener.subscribe("#", 1).await;
    let mut device = Client::connect(&broker, &hello(true, "device")).await;
    let foreign = format!("simportal/sims/{FOREIGN}/usage");
    for topic in ["yours", &foreign] {
        device.publish(&publish(topic, "x")).await;
        device.publish(&publish(topic, "x").retained()).await;
        device.publish(&publish(topic, "x").qos2(7)).await;
        let refused = device.pubrec().await;
        assert_eq!((refused.pkid, refused.reason), (7, DENIED));
        assert_eq!(refused.text.as_deref(), Some("not authorized to publish on this topic"));
    }
    device.publish(&publish("mine", "y")).await;
    assert_eq!(listener.heard().await, ("mine".into(), "y".into()));
    // Nothing was retained either.
    listener.subscribe("yours", 1).await;
    listener.ping().await;
    assert!(broker.writer.is_empty());
    assert_eq!(broker.metrics.refused_count("publish"), 6);
}

/// Catches a will that goes where its client may not publish.
#[tokio::test]
async fn a_will_obeys_the_same_rules() {
    let broker = broker(&[user("device", (1, "acme"), Some(OWN)), user("gateway", (1, "acme"), None)]).await;
    let mut listener = Client::connect(&broker, &Connect::v5("listener").login("gateway", "secret")).await;
    listener.subscribe("#", 1).await;
    let foreign = format!("simportal/sims/{FOREIGN}/usage");
    for (v5, code) in [(false, 5), (true, DENIED)] {
        for topic in ["elsewhere", &foreign, "sim/other/8941000000000000001/usage"] {
            let refused = hello(v5, "device").will(publish(topic, "gone"));
            let client = Client::try_connect(&broker, &refused).await;
            assert_eq!(client.connack.code, code, "{topic}");
        }
        let own = hello(v5, "device").will(publish("simportal/devices/device/status", "gone"));
        Client::connect(&broker, &own).await.drop_connection(&broker).await;
        assert_eq!(listener.heard().await.0, "simportal/devices/device/status");
    }
    assert_eq!(broker.metrics.refused_count("will"), 6);
}

/// Catches a Response Topic by which a client makes the broker publish where it may not.
#[tokio::test]
async fn an_outcome_goes_only_where_its_client_may_publish() {
    let mut broker =
        broker(&[user("device", (1, "acme"), Some(OWN)), user("gateway", (1, "acme"), None)]).await;
    let mut listener = Client::connect(&broker, &Connect::v5("listener").login("gateway", "secret")).await;
    listener.subscribe("simportal/devices/#", 0).await;
    let mut device = Client::connect(&broker, &hello(true, "device")).await;
    let usage = format!("simportal/sims/{OWN}/usage");
    for (pkid, to) in [(1, "simportal/devices/other/commands"), (2, "simportal/devices/device/outcome")] {
        let asked = Properties::default().text(RESPONSE_TOPIC, to);
        device.publish(&publish(&usage, "r").qos1(pkid).with(asked)).await;
        broker.writer.take().await.commit();
        assert_eq!(device.puback().await, pkid);
    }
    assert_eq!(listener.heard().await.0, "simportal/devices/device/outcome");
    assert_eq!(broker.metrics.refused_count("reply"), 1);
}

/// Catches a session that another login takes over by its client identifier, which is no secret.
#[tokio::test]
async fn a_session_belongs_to_the_login_that_left_it() {
    for v5 in [false, true] {
        let broker = broker(&[user("one", (1, "acme"), None), user("two", (1, "acme"), None)]).await;
        let mut one = Client::connect(&broker, &hello(v5, "one").persistent()).await;
        one.subscribe("private/one", 1).await;
        one.leave().await;
        let mut sender = Client::connect(&broker, &Connect::v5("sender").login("one", "secret")).await;
        sender.publish(&publish("private/one", "for one").qos1(1)).await;
        assert_eq!(sender.puback().await, 1);
        let mut two = Client::connect(&broker, &hello(v5, "two").persistent()).await;
        assert!(!two.connack.session_present);
        sender.publish(&publish("private/one", "for one").qos1(2)).await;
        assert_eq!(sender.puback().await, 2);
        two.ping().await;
    }
}

/// Catches a session that goes on with a subscription that was forbidden meanwhile, and one that ends without need.
#[tokio::test]
async fn a_session_goes_on_while_all_that_it_subscribes_to_is_allowed() {
    for (v5, group) in [(false, ""), (true, ""), (true, "$share/g/")] {
        let known: Known = Arc::default();
        let allow = |filters: &[&'static str]| {
            let user = User { subscribe: Some(filters.to_vec()), ..user("one", (1, "acme"), None) };
            known.lock().unwrap().insert("one".into(), credential(&user));
        };
        allow(&["a/#", "b"]);
        let broker = broker_of(&known).await;
        let hello = hello(v5, "one").persistent();
        let mut client = Client::connect(&broker, &hello).await;
        for filter in ["a/+", "b"] {
            assert_eq!(client.subscribe(&format!("{group}{filter}"), 1).await, 1);
        }
        client.leave().await;
        allow(&["b", "a/+"]);
        let client = Client::connect(&broker, &hello).await;
        assert!(client.connack.session_present);
        client.leave().await;
        allow(&["b", "a/x"]);
        let mut client = Client::connect(&broker, &hello).await;
        assert!(!client.connack.session_present);
        assert!(broker.hub.subscriptions.is_empty());
        client.ping().await;
    }
}

/// Catches a client that ends the connections of others by their identifiers, and one that can no longer take over itself.
#[tokio::test]
async fn nobody_takes_over_the_connection_of_another_login() {
    let broker = broker(&[user("one", (1, "acme"), None), user("two", (1, "acme"), None)]).await;
    for (v5, code) in [(false, 2), (true, 0x85)] {
        let mut one = Client::connect(&broker, &hello(v5, "one")).await;
        assert_eq!(Client::try_connect(&broker, &hello(v5, "two")).await.connack.code, code);
        one.ping().await;
        let again = Client::connect(&broker, &hello(v5, "one")).await;
        assert_eq!(one.ended().await, v5.then_some(0x8e));
        again.leave().await;
        until("it is gone", || broker.metrics.connections.get() == 0).await;
        Client::connect(&broker, &hello(v5, "two")).await.drop_connection(&broker).await;
    }
}

/// Catches any part of the way (index of subscriptions, outboxes, retained messages, sessions, wills, take-over) that forgets whose
/// topic it is.
#[tokio::test]
async fn three_tenants_on_the_same_topics_and_client_identifiers_never_hear_each_other() {
    let tenants = [(1, "acme"), (2, "other"), (3, "third")];
    let users = tenants.map(|tenant| user(tenant.1, tenant, None));
    let mut broker = broker(&users).await;
    let writer = std::mem::replace(&mut broker.writer, super::harness::Writer::none());
    writer.commit_everything();
    let usage = format!("simportal/sims/{OWN}/usage");
    let mut listeners = Vec::new();
    let mut away = Vec::new();
    for (n, user) in users.iter().enumerate() {
        let v5 = n % 2 == 0;
        let login = |id: &str| Connect::of(v5, id).login(&user.name, "secret");
        let mut sleeper = Client::connect(&broker, &login("sleeper").persistent()).await;
        for filter in ["t/+", "simportal/sims/+/usage"] {
            sleeper.subscribe(filter, 1).await;
        }
        sleeper.leave().await;
        away.push(login("sleeper").persistent());
        let mut listener = Client::connect(&broker, &login("listener")).await;
        assert_eq!(listener.subscribe("#", 0).await, 0);
        listeners.push(listener);
    }
    for (n, user) in users.iter().enumerate() {
        let will = publish("t/will", format!("will of {}", user.name)).retained();
        let hello = Connect::of(n % 2 == 1, "sender").login(&user.name, "secret").will(will);
        let mut sender = Client::connect(&broker, &hello).await;
        for (pkid, topic) in [(1, "t/x"), (2, usage.as_str())] {
            let said = format!("{topic} of {}", user.name);
            sender.publish(&publish(topic, said).qos1(pkid).retained()).await;
            assert_eq!(sender.puback().await, pkid);
        }
        sender.drop_connection(&broker).await;
    }
    until("the wills are out", || broker.metrics.connections.get() == 3).await;
    for (n, user) in users.iter().enumerate() {
        let mut expected = [
            ("t/x".to_owned(), format!("t/x of {}", user.name)),
            (usage.clone(), format!("{usage} of {}", user.name)),
            ("t/will".to_owned(), format!("will of {}", user.name)),
        ];
        let listener = &mut listeners[n];
        let mut heard = [listener.heard().await, listener.heard().await, listener.heard().await];
        expected.sort();
        heard.sort();
        assert_eq!(heard, expected, "live");
        listener.ping().await;
        listener.subscribe("+/#", 0).await;
        let mut retained = [listener.heard().await, listener.heard().await, listener.heard().await];
        retained.sort();
        assert_eq!(retained, expected, "retained");
        listener.ping().await;
        let mut sleeper = Client::connect(&broker, &away[n]).await;
        assert!(sleeper.connack.session_present);
        let mut kept = [sleeper.heard().await, sleeper.heard().await, sleeper.heard().await];
        kept.sort();
        assert_eq!(kept, expected, "kept for a session");
    }
}
