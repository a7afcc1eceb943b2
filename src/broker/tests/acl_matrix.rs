//! Every pattern × publish or subscribe × own or foreign ICCID × tenant, against rules written in another way.

use crate::broker::topic;

use super::acl::{CLIENT, DENIED, FOREIGN, OWN, User, broker, hello, publish_code, user};
use super::client::Client;
use super::harness::Writer;

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
    let writer = std::mem::replace(&mut broker.writer, Writer::none());
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
