use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What somebody may do over HTTP, and with an API key over MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    UsageWrite,
    UsageRead,
    /// Signed corrections.
    UsageCorrect,
    SimsRead,
    SimsWrite,
    ConsumptionRead,
    /// Settings of the tenant, such as its currency.
    AdminSettings,
    /// Where alerts are sent.
    AdminAlerts,
    /// Parked records: to mend and replay them, or to discard them.
    AdminQuarantine,
    /// Messages over MQTT that are not usage.
    MqttPublish,
    MqttSubscribe,
}

impl Permission {
    pub const ALL: [Self; 11] = [
        Self::UsageWrite,
        Self::UsageRead,
        Self::UsageCorrect,
        Self::SimsRead,
        Self::SimsWrite,
        Self::ConsumptionRead,
        Self::AdminSettings,
        Self::AdminAlerts,
        Self::AdminQuarantine,
        Self::MqttPublish,
        Self::MqttSubscribe,
    ];

    /// `category:action`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UsageWrite => "usage:write",
            Self::UsageRead => "usage:read",
            Self::UsageCorrect => "usage:correct",
            Self::SimsRead => "sims:read",
            Self::SimsWrite => "sims:write",
            Self::ConsumptionRead => "consumption:read",
            Self::AdminSettings => "admin:settings",
            Self::AdminAlerts => "admin:alerts",
            Self::AdminQuarantine => "admin:quarantine",
            Self::MqttPublish => "mqtt:publish",
            Self::MqttSubscribe => "mqtt:subscribe",
        }
    }

    fn category(self) -> &'static str {
        self.as_str().split_once(':').map_or("", |(category, _)| category)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a key was granted: one permission, all of a category (`usage:*`), or all (`*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PermissionPattern {
    One(Permission),
    Category(&'static str),
    All,
}

/// There is no such permission.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("there is no permission `{0}`; there are {list}, `*`, and each category with `:*`", list = Permission::ALL.map(Permission::as_str).join(", "))]
pub struct UnknownPermission(pub String);

impl PermissionPattern {
    pub fn grants(self, permission: Permission) -> bool {
        match self {
            Self::One(one) => one == permission,
            Self::Category(category) => category == permission.category(),
            Self::All => true,
        }
    }
}

impl FromStr for PermissionPattern {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::All);
        }
        let found = match text.strip_suffix(":*") {
            Some(wanted) => {
                let mut categories = Permission::ALL.map(Permission::category).into_iter();
                categories.find(|category| *category == wanted).map(Self::Category)
            }
            None => Permission::ALL.into_iter().find(|one| one.as_str() == text).map(Self::One),
        };
        found.ok_or_else(|| UnknownPermission(text.to_owned()))
    }
}

impl fmt::Display for PermissionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(permission) => permission.fmt(f),
            Self::Category(category) => write!(f, "{category}:*"),
            Self::All => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_grants_what_it_names_and_nothing_else() {
        let granted = |text: &str| {
            let pattern: PermissionPattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), text);
            Permission::ALL.into_iter().filter(|p| pattern.grants(*p)).collect::<Vec<_>>()
        };
        assert_eq!(granted("usage:write"), [Permission::UsageWrite]);
        assert_eq!(granted("sims:*"), [Permission::SimsRead, Permission::SimsWrite]);
        assert_eq!(granted("*"), Permission::ALL);
        for unknown in ["", ":*", "usage", "usage:", "usage:erase", "us:*", "*:read", "USAGE:READ"] {
            assert_eq!(unknown.parse::<PermissionPattern>(), Err(UnknownPermission(unknown.into())));
        }
    }
}
