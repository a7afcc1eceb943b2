use serde::{Deserialize, Serialize};

use crate::domain::{TopicRule, TopicRuleError};

/// Who may publish and subscribe where on the embedded broker: `[mqtt.acl]`.
///
/// A level may be `{iccid}`, `{username}`, `{clientid}` or `{tenant}`. A list that a user has of its own (`devices add
/// --publish`) counts instead. Tenants never hear each other, whatever stands here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AclConfig {
    /// Users with an ICCID.
    pub device_publish: Vec<String>,
    pub device_subscribe: Vec<String>,
    /// Users without one, and API keys as far as their permissions go.
    pub service_publish: Vec<String>,
    pub service_subscribe: Vec<String>,
    /// Default 250 milliseconds between two looks for changed or revoked logins, each of them a row that is read.
    pub check_milliseconds: u64,
}

impl Default for AclConfig {
    fn default() -> Self {
        let own = |patterns: &[&str]| patterns.iter().map(|text| (*text).to_owned()).collect();
        Self {
            device_publish: own(&[
                "simportal/sims/{iccid}/#",
                "simportal/sims/usage/batch",
                "sim/{tenant}/{iccid}/#",
                "simportal/devices/{username}/#",
            ]),
            device_subscribe: own(&[
                "simportal/sims/{iccid}/#",
                "sim/{tenant}/{iccid}/#",
                "simportal/devices/{username}/#",
            ]),
            service_publish: own(&["#"]),
            service_subscribe: own(&["#", "$SYS/#"]),
            check_milliseconds: 250,
        }
    }
}

impl AclConfig {
    /// The name of the first list that holds a pattern which cannot be used, and what is wrong with it.
    pub(super) fn fault(&self) -> Option<(&'static str, TopicRuleError)> {
        let lists = [
            ("device_publish", &self.device_publish),
            ("device_subscribe", &self.device_subscribe),
            ("service_publish", &self.service_publish),
            ("service_subscribe", &self.service_subscribe),
        ];
        lists.into_iter().find_map(|(name, list)| {
            let fault = list.iter().find_map(|text| text.parse::<TopicRule>().err());
            fault.map(|fault| (name, fault))
        })
    }
}
