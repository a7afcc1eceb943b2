//! Who may do what. What a login may do is worked out once, when it connects; a PUBLISH is then compared with a few texts.
//! When anything about the login changes, the connection ends (`watch.rs`) and the next one gets what counts now.

mod covering;
mod watch;

use std::sync::Arc;

use crate::config::AclConfig;
use crate::domain::{Iccid, TopicNames, TopicRule};
use crate::ingest::topics::UsageTopic;

#[cfg(fuzzing)]
pub(super) use covering::covers as covers_all;
use covering::covers;
pub use watch::{LoginChecks, LoginWatch};

/// Who logged in. Sessions and client identifiers belong to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    #[default]
    Anonymous,
    /// By user name.
    User(Arc<str>),
    /// By number of an API key.
    Key(i32),
}

/// Somebody who logged in, in the state in which the login was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    pub principal: Principal,
    /// Changes with everything that is stored of the login.
    pub revision: i64,
}

/// What is stored about what a login may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Everything.
    Open,
    User {
        username: Arc<str>,
        /// A device: sends usage of this SIM only.
        iccid: Option<Iccid>,
        /// `None`: what is configured for its kind.
        publish: Option<Vec<TopicRule>>,
        subscribe: Option<Vec<TopicRule>>,
    },
    Key {
        name: String,
        /// `usage:write`
        usage: bool,
        /// `mqtt:publish`
        publish: bool,
        /// `mqtt:subscribe`
        subscribe: bool,
    },
}

/// What is configured for users without lists of their own, and for keys.
#[derive(Debug)]
pub(super) struct DefaultRules {
    device_publish: Vec<TopicRule>,
    device_subscribe: Vec<TopicRule>,
    service_publish: Vec<TopicRule>,
    service_subscribe: Vec<TopicRule>,
}

impl DefaultRules {
    pub(super) fn new(config: &AclConfig) -> Self {
        // A pattern that cannot be used was refused when the configuration was loaded.
        let rules = |list: &[String]| list.iter().filter_map(|text| text.parse().ok()).collect();
        Self {
            device_publish: rules(&config.device_publish),
            device_subscribe: rules(&config.device_subscribe),
            service_publish: rules(&config.service_publish),
            service_subscribe: rules(&config.service_subscribe),
        }
    }
}

/// Topics that are allowed.
#[derive(Debug, PartialEq, Eq)]
enum Topics {
    All,
    /// Those that one of these filters matches.
    Only(Box<[Box<str>]>),
}

impl Topics {
    fn bound(rules: &[TopicRule], names: TopicNames<'_>) -> Self {
        Self::Only(rules.iter().filter_map(|rule| rule.bind(names)).collect())
    }

    /// A topic, or a filter that is allowed as a whole. That several rules together cover a filter does not count.
    fn allow(&self, filter: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(rules) => rules.iter().any(|rule| covers(rule, filter)),
        }
    }
}

/// What a connection may do.
#[derive(Debug)]
pub(super) struct Rights {
    publish: Topics,
    subscribe: Topics,
    usage: bool,
    ordinary: bool,
    tenant_name: String,
    pub(super) iccid: Option<Iccid>,
}

impl Rights {
    pub(super) fn new(grant: &Grant, tenant_name: &str, client_id: &str, defaults: &DefaultRules) -> Self {
        let names = |iccid, username| TopicNames { iccid, username, client_id, tenant: tenant_name };
        let all = Self {
            publish: Topics::All,
            subscribe: Topics::All,
            usage: true,
            ordinary: true,
            tenant_name: tenant_name.to_owned(),
            iccid: None,
        };
        match grant {
            Grant::Open => all,
            Grant::User { username, iccid, publish, subscribe } => {
                let names = names(iccid.as_ref().map(Iccid::as_str), username);
                let (to_publish, to_subscribe) = match iccid {
                    Some(_) => (&defaults.device_publish, &defaults.device_subscribe),
                    None => (&defaults.service_publish, &defaults.service_subscribe),
                };
                Self {
                    publish: Topics::bound(publish.as_ref().unwrap_or(to_publish), names),
                    subscribe: Topics::bound(subscribe.as_ref().unwrap_or(to_subscribe), names),
                    iccid: iccid.clone(),
                    ..all
                }
            }
            Grant::Key { name, usage, publish, subscribe } => {
                let names = names(None, name);
                let readable: &[TopicRule] = if *subscribe { &defaults.service_subscribe } else { &[] };
                Self {
                    publish: Topics::bound(&defaults.service_publish, names),
                    subscribe: Topics::bound(readable, names),
                    usage: *usage,
                    ordinary: *publish,
                    ..all
                }
            }
        }
    }

    /// `usage` is what the topic says about usage, if it carries any: its tenant must be the client's own, and for a device
    /// its ICCID too.
    pub(super) fn may_publish(&self, topic: &str, usage: Option<UsageTopic<'_>>) -> bool {
        let kind = match usage {
            Some(usage) => {
                let own = self.iccid.as_ref().map(Iccid::as_str);
                self.usage
                    && usage.tenant.is_none_or(|tenant| tenant == self.tenant_name)
                    && usage.iccid.is_none_or(|iccid| own.is_none_or(|own| own == iccid))
            }
            None => self.ordinary,
        };
        kind && self.publish.allow(topic)
    }

    /// `filter` is without a group.
    pub(super) fn may_subscribe(&self, filter: &str) -> bool {
        self.subscribe.allow(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "8941000000000000001";
    const OTHER: &str = "8941000000000000002";

    fn rights(grant: &Grant) -> Rights {
        Rights::new(grant, "acme", "client", &DefaultRules::new(&AclConfig::default()))
    }

    fn user(iccid: Option<&str>, publish: Option<&[&str]>) -> Grant {
        Grant::User {
            username: "meter".into(),
            iccid: iccid.and_then(Iccid::parse),
            publish: publish.map(|rules| rules.iter().map(|rule| rule.parse().unwrap()).collect()),
            subscribe: None,
        }
    }

    fn usage<'t>(tenant: Option<&'t str>, iccid: Option<&'t str>) -> Option<UsageTopic<'t>> {
        Some(UsageTopic { iccid, tenant })
    }

    /// Catches rules that are asked alone: a list that allows all topics makes no device another one.
    #[test]
    fn a_device_publishes_usage_of_its_own_sim_and_tenant_whatever_its_rules_allow() {
        for publish in [None, Some(&["#"][..])] {
            let device = rights(&user(Some(OWN), publish));
            let topic = |iccid: &str| format!("simportal/sims/{iccid}/usage");
            assert!(device.may_publish(&topic(OWN), usage(None, Some(OWN))));
            assert!(!device.may_publish(&topic(OTHER), usage(None, Some(OTHER))));
            assert!(device.may_publish("simportal/sims/usage/batch", usage(None, None)));
            let named = |tenant: &str| format!("sim/{tenant}/{OWN}/usage");
            assert!(device.may_publish(&named("acme"), usage(Some("acme"), Some(OWN))));
            assert!(!device.may_publish(&named("other"), usage(Some("other"), Some(OWN))));
        }
        let gateway = rights(&user(None, None));
        assert!(gateway.may_publish("simportal/sims/x/usage", usage(None, Some(OTHER))));
        assert!(!gateway.may_publish("sim/other/x/usage", usage(Some("other"), Some(OTHER))));
    }

    #[test]
    fn lists_of_its_own_count_instead_of_what_is_configured() {
        let device = rights(&user(Some(OWN), Some(&["x/{clientid}", "y/+"])));
        assert!(device.may_publish("x/client", None) && device.may_publish("y/1", None));
        for refused in ["x/other", "y", "y/1/2", "simportal/devices/meter/status"] {
            assert!(!device.may_publish(refused, None), "{refused}");
        }
        assert!(device.may_subscribe("simportal/devices/meter/#"), "this list is the configured one");
        assert!(!rights(&user(Some(OWN), Some(&[]))).may_publish("x", None));
    }

    #[test]
    fn a_key_may_do_what_its_permissions_say() {
        for n in 0..8 {
            let [usage_, publish, subscribe] = [n & 1 > 0, n & 2 > 0, n & 4 > 0];
            let key = rights(&Grant::Key { name: "k".into(), usage: usage_, publish, subscribe });
            assert_eq!(key.may_publish("simportal/sims/x/usage", usage(None, Some(OWN))), usage_);
            assert_eq!(key.may_publish("x", None), publish);
            assert_eq!(key.may_subscribe("#"), subscribe);
        }
    }

    #[test]
    fn the_topics_of_the_broker_itself_are_for_services() {
        assert!(rights(&user(None, None)).may_subscribe("$SYS/#"));
        assert!(!rights(&user(Some(OWN), None)).may_subscribe("$SYS/#"));
    }
}
