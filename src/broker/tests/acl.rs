//! Who may publish and subscribe where.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::broker::acl::{LoginChecks, LoginWatch, Principal};
use crate::broker::auth::{Access, Authenticator, Credential, Lookup, LookupError, hash_password};
use crate::broker::topic;
use crate::domain::{Iccid, TenantId, TopicRule};

use super::client::{Client, Connect};
use super::harness::{Setup, TestBroker, until};
use super::wire::property::RESPONSE_TOPIC;
use super::wire::{Properties, publish};

const OWN: &str = "8941000000000000001";
const FOREIGN: &str = "8941000000000000002";
const CLIENT: &str = "client";
const DENIED: u8 = 0x87;

/// One hash for all: making it is slow on purpose.
static HASH: LazyLock<String> = LazyLock::new(|| hash_password("secret").unwrap());

/// A user of a test.
#[derive(Clone, Debug)]
struct User {
    name: String,
    tenant: (i32, &'static str),
    iccid: Option<&'static str>,
    publish: Option<Vec<&'static str>>,
    subscribe: Option<Vec<&'static str>>,
}

fn user(name: &str, tenant: (i32, &'static str), iccid: Option<&'static str>) -> User {
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
async fn broker(users: &[User]) -> TestBroker {
    let known: Known = Arc::default();
    known.lock().unwrap().extend(users.iter().map(|user| (user.name.clone(), credential(user))));
    broker_of(&known).await
}

async fn broker_of(known: &Known) -> TestBroker {
    let known = known.clone();
    let lookup: Lookup = Arc::new(move |name| {
        let found = known.lock().unwrap().get(&name).cloned();
        Box::pin(async move { Ok(found) })
    });
    let mut setup = Setup::default();
    setup.access = Access::Password(Authenticator::new(lookup, &setup.config).unwrap());
    TestBroker::with(setup).await
}

fn hello(v5: bool, user: &str) -> Connect {
    Connect::of(v5, CLIENT).login(user, "secret")
}

/// What PUBACK says to a PUBLISH of QoS 1; MQTT 3.1.1 is told by the end of the connection, which is made anew then.
async fn publish_code(broker: &TestBroker, client: &mut Option<Client>, hello: &Connect, topic: &str) -> u8 {
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

const PATTERNS: [&str; 12] = [
    "simportal/sims/{iccid}/usage",
    "simportal/sims/+/usage",
    "simportal/#",
    "#",
    "+/#",
    "sim/{tenant}/{iccid}/usage",
    "sim/+/+/usage",
    "x/{username}",
    "x/{clientid}/#",
    "x/+",
    "x",
    "$SYS/#",
];
const FILTERS: [&str; 10] = [
    "#",
    "+/#",
    "+",
    "x/#",
    "x/+",
    "x/+/#",
    "simportal/#",
    "simportal/sims/+/usage",
    "sim/+/+/usage",
    "$SYS/#",
];

/// Topics that tell patterns and filters apart, for a client of this name.
fn topics(name: &str) -> Vec<String> {
    let mut topics = Vec::new();
    for iccid in [OWN, FOREIGN] {
        topics.push(format!("simportal/sims/{iccid}/usage"));
        topics.extend(["acme", "other"].map(|tenant| format!("sim/{tenant}/{iccid}/usage")));
    }
    let others = ["simportal/devices/7/status", "x", "x/client", "x/client/deep", "x/whoever", "y", "x/y/z"];
    topics.extend(others.map(str::to_owned));
    topics.push(format!("x/{name}"));
    topics
}

/// What a pattern is for this user, made in another way than the broker makes it.
fn bound(pattern: &str, user: &User) -> Option<String> {
    if pattern.contains("{iccid}") && user.iccid.is_none() {
        return None;
    }
    let values = [("iccid", user.iccid.unwrap_or_default()), ("username", &user.name)];
    let values = values.into_iter().chain([("clientid", CLIENT), ("tenant", user.tenant.1)]);
    Some(values.fold(pattern.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value)))
}

fn expect_publish(pattern: &str, user: &User, topic: &str) -> bool {
    let levels: Vec<&str> = topic.split('/').collect();
    let own = match levels.as_slice() {
        ["simportal", "sims", iccid, "usage"] => user.iccid.is_none_or(|own| own == *iccid),
        ["sim", tenant, iccid, "usage"] => {
            *tenant == user.tenant.1 && user.iccid.is_none_or(|own| own == *iccid)
        }
        _ => true,
    };
    own && bound(pattern, user).is_some_and(|rule| topic::matches(topic, &rule))
}

/// A filter is covered when each topic that it matches is; some topics more tell `+` from a level.
fn expect_subscribe(pattern: &str, user: &User, filter: &str) -> bool {
    let mut all = topics(&user.name);
    all.extend(["$SYS/a", "$SYS/a/b", "z/z", "z/z/z", "sim/z/z/usage", "sim/z/z/usage/z"].map(str::to_owned));
    all.extend(["simportal", "simportal/sims/z/usage", "x/z", "x/z/z", "z", "x/client/z"].map(str::to_owned));
    let mut asked = all.iter().filter(|topic| topic::matches(topic, filter));
    bound(pattern, user).is_some_and(|rule| asked.all(|topic| topic::matches(topic, &rule)))
}

/// Every pattern × device or gateway × tenant, for both versions of MQTT.
fn everybody() -> Vec<(&'static str, User)> {
    let mut all = Vec::new();
    for (n, pattern) in PATTERNS.into_iter().enumerate() {
        for tenant in [(1, "acme"), (2, "other")] {
            for iccid in [Some(OWN), None] {
                let kind = if iccid.is_some() { "device" } else { "gateway" };
                let name = format!("{kind}-{n}-{}", tenant.1);
                let lists = (Some(vec![pattern]), Some(vec![pattern]));
                all.push((
                    pattern,
                    User { publish: lists.0, subscribe: lists.1, ..user(&name, tenant, iccid) },
                ));
            }
        }
    }
    all
}

/// Catches an own ICCID or tenant that is not asked for (`usage.iccid`, `usage.tenant` in `Rights::may_publish`), a name that
/// is not put into its pattern, and a refusal that MQTT 3.1.1 gets as a PUBACK.
#[tokio::test]
async fn the_matrix_of_publishing() {
    let everybody = everybody();
    let users: Vec<User> = everybody.iter().map(|(_, user)| user.clone()).collect();
    let mut broker = broker(&users).await;
    let writer = std::mem::replace(&mut broker.writer, super::harness::Writer::none());
    writer.commit_everything();
    let (mut allowed, mut refused) = (0, 0);
    for (pattern, user) in &everybody {
        for v5 in [false, true] {
            let (hello, mut client) = (hello(v5, &user.name), None);
            for topic in topics(&user.name) {
                let code = publish_code(&broker, &mut client, &hello, &topic).await;
                let expected = expect_publish(pattern, user, &topic);
                assert_eq!(code, if expected { 0 } else { DENIED }, "{pattern} {user:?} {topic} {v5}");
                *(if expected { &mut allowed } else { &mut refused }) += 1;
            }
        }
    }
    assert!(allowed > 100 && refused > 100, "{allowed} {refused}");
    assert_eq!(broker.metrics.refused_count("publish"), refused);
}

/// Catches a filter that is taken for allowed because some of its topics are (`covers` replaced by `topic::matches` of the
/// filter's text).
#[tokio::test]
async fn the_matrix_of_subscribing() {
    let everybody = everybody();
    let users: Vec<User> = everybody.iter().map(|(_, user)| user.clone()).collect();
    let broker = broker(&users).await;
    let (mut allowed, mut refused) = (0, 0);
    for (pattern, user) in &everybody {
        for v5 in [false, true] {
            let mut client = Client::connect(&broker, &hello(v5, &user.name)).await;
            let filters = topics(&user.name).into_iter().chain(FILTERS.map(str::to_owned));
            for filter in filters {
                let code = client.subscribe(&filter, 1).await;
                let expected = expect_subscribe(pattern, user, &filter);
                let no = if v5 { DENIED } else { 0x80 };
                assert_eq!(code, if expected { 1 } else { no }, "{pattern} {user:?} {filter} {v5}");
                *(if expected { &mut allowed } else { &mut refused }) += 1;
            }
            client.leave().await;
        }
    }
    assert!(allowed > 100 && refused > 100, "{allowed} {refused}");
    assert_eq!(broker.metrics.refused_count("subscribe"), refused);
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
        assert!(broker.hub.filters.matching(TenantId(1), "a/x").is_empty());
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

/// Catches any part of the way (index of filters, router, retained messages, sessions, wills, take-over) that forgets whose
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

/// What is stored of logins, as a test says it: their version, and `None` when the database goes away after that question.
type Stored = Arc<Mutex<(i64, Option<HashMap<Principal, i64>>)>>;

fn checks(stored: &Stored) -> LoginChecks {
    let (of_version, of_revisions) = (stored.clone(), stored.clone());
    LoginChecks {
        version: Arc::new(move || {
            let version = of_version.lock().unwrap().0;
            Box::pin(async move { Ok(version) })
        }),
        revisions: Arc::new(move |asked| {
            let known = of_revisions.lock().unwrap().1.clone();
            let answer =
                |known: HashMap<_, _>| known.into_iter().filter(|(p, _)| asked.contains(p)).collect();
            let found = known.map(answer).ok_or_else(|| LookupError("away".into()));
            Box::pin(async move { found })
        }),
    }
}

/// Catches a revocation that is forgotten when the database is away in the middle of it, and connections that end because it
/// is away.
#[tokio::test]
async fn a_database_that_is_away_ends_nobody_and_its_changes_count_when_it_is_back() {
    let broker = broker(&[user("one", (1, "acme"), None), user("two", (1, "acme"), None)]).await;
    let mut one = Client::connect(&broker, &Connect::v5("one").login("one", "secret")).await;
    let mut two = Client::connect(&broker, &Connect::v5("two").login("two", "secret")).await;
    let known = |names: &[&str]| names.iter().map(|name| (Principal::User((*name).into()), 1)).collect();
    let stored: Stored = Arc::new(Mutex::new((1, Some(known(&["one", "two"])))));
    let looks = Arc::new(AtomicUsize::new(0));
    let (mut counted, count) = (checks(&stored), looks.clone());
    let version = counted.version.clone();
    counted.version = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        version()
    });
    let stop = CancellationToken::new();
    let watch = LoginWatch::new(&broker.hub.registry, &broker.hub.config.acl);
    let watching = tokio::spawn(watch.run(counted, stop.clone()));
    let two_looks = || {
        let from = looks.load(Ordering::SeqCst);
        let looks = looks.clone();
        async move { until("two looks", || looks.load(Ordering::SeqCst) >= from + 2).await }
    };
    two_looks().await;
    *stored.lock().unwrap() = (2, None);
    two_looks().await;
    one.ping().await;
    *stored.lock().unwrap() = (2, Some(known(&["two"])));
    assert_eq!(one.ended().await, Some(0x98));
    two.ping().await;
    stop.cancel();
    watching.await.unwrap();
}

/// Catches an end that waits until its client reads (`dismissed` left out of `flush`, or the whole farewell).
#[tokio::test]
async fn a_revoked_client_that_does_not_read_is_gone_within_a_second_too() {
    let broker = broker(&[user("stuck", (1, "acme"), None), user("gateway", (1, "acme"), None)]).await;
    let mut stuck = Client::connect(&broker, &Connect::v5("stuck").login("stuck", "secret")).await;
    stuck.subscribe("t", 0).await;
    let mut gateway = Client::connect(&broker, &Connect::v5("gateway").login("gateway", "secret")).await;
    // More than the sockets take.
    for pkid in 1..=100 {
        gateway.publish(&publish("t", vec![b'x'; 200_000]).qos1(pkid)).await;
        assert_eq!(gateway.puback().await, pkid);
    }
    let gateway_only = HashMap::from([(Principal::User("gateway".into()), 1)]);
    let stored: Stored = Arc::new(Mutex::new((1, Some(gateway_only))));
    let watch = LoginWatch::new(&broker.hub.registry, &broker.hub.config.acl);
    let stop = CancellationToken::new();
    let watching = tokio::spawn(watch.run(checks(&stored), stop.clone()));
    let began = Instant::now();
    until("it is gone", || broker.metrics.disconnect_count("login_revoked") == 1).await;
    until("it is closed", || broker.metrics.connections.get() == 1).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    gateway.ping().await;
    stop.cancel();
    watching.await.unwrap();
}

/// Catches a watch that holds on to a broker whose end everybody waits for, while the database does not answer it.
#[tokio::test]
async fn a_look_that_hangs_keeps_no_broker() {
    let mut broker = broker(&[]).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let hanging = LoginChecks {
        version: Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            Box::pin(std::future::pending())
        }),
        ..checks(&Stored::default())
    };
    let watch = LoginWatch::new(&broker.hub.registry, &broker.hub.config.acl);
    let stop = CancellationToken::new();
    let watching = tokio::spawn(watch.run(hanging, stop.clone()));
    until("it hangs", || asked.load(Ordering::SeqCst) > 0).await;
    broker.hard.cancel();
    broker.has_stopped().await;
    // The test's own.
    assert_eq!(Arc::strong_count(&broker.hub), 1);
    assert_eq!(Arc::strong_count(&broker.hub.registry), 1);
    stop.cancel();
    watching.await.unwrap();
}
