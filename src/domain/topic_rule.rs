use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Longest rule in bytes; topics are no longer either.
const MAX_BYTES: usize = 1024;
const NAMES: [&str; 4] = ["{iccid}", "{username}", "{clientid}", "{tenant}"];

/// Where somebody may publish or subscribe over MQTT: a topic filter in which a level may be `{iccid}`, `{username}`,
/// `{clientid}` or `{tenant}`, which stand for what is known of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRule(Box<str>);

/// What is known of a client.
#[derive(Clone, Copy, Debug)]
pub struct TopicNames<'n> {
    /// Of a device; `None` for whoever speaks for all SIMs of its tenant.
    pub iccid: Option<&'n str>,
    pub username: &'n str,
    pub client_id: &'n str,
    pub tenant: &'n str,
}

/// Why a rule is refused, with what to write instead.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TopicRuleError {
    #[error("a topic pattern cannot be empty")]
    Empty,
    #[error("a topic pattern has at most {MAX_BYTES} bytes and no NUL")]
    Length,
    #[error(
        "`{0}`: `#` takes everything below and so stands last, and it and `+` fill a level by themselves"
    )]
    Wildcard(String),
    #[error("`{0}`: a level in braces is {names}, by itself", names = NAMES.join(", "))]
    Name(String),
    #[error("`{0}`: a pattern is about topics; it holds for `$share/…` of them too")]
    Shared(String),
}

impl TopicRule {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The topic filter that the rule is for this client. `None` when it names what the client does not have, or what
    /// is no level: a name with a wildcard or `/` in it must not reach further than one without.
    pub fn bind(&self, names: TopicNames<'_>) -> Option<Box<str>> {
        if !self.0.contains('{') {
            return Some(self.0.clone());
        }
        let mut bound = String::with_capacity(self.0.len() + 20);
        for (n, level) in self.0.split('/').enumerate() {
            if n > 0 {
                bound.push('/');
            }
            let value = match level {
                "{iccid}" => names.iccid?,
                "{username}" => names.username,
                "{clientid}" => names.client_id,
                "{tenant}" => names.tenant,
                literal => {
                    bound.push_str(literal);
                    continue;
                }
            };
            if value.is_empty() || value.starts_with('$') || value.contains(['/', '+', '#', '\0']) {
                return None;
            }
            bound.push_str(value);
        }
        Some(bound.into())
    }
}

impl FromStr for TopicRule {
    type Err = TopicRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(TopicRuleError::Empty);
        }
        if text.len() > MAX_BYTES || text.contains('\0') {
            return Err(TopicRuleError::Length);
        }
        if text.starts_with("$share/") {
            return Err(TopicRuleError::Shared(text.into()));
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            if level.contains(['+', '#']) && level.len() > 1 || level == "#" && levels.peek().is_some() {
                return Err(TopicRuleError::Wildcard(text.into()));
            }
            if level.contains(['{', '}']) && !NAMES.contains(&level) {
                return Err(TopicRuleError::Name(text.into()));
            }
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for TopicRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES_OF_A_DEVICE: TopicNames<'_> = TopicNames {
        iccid: Some("8941000000000000001"),
        username: "meter",
        client_id: "c-1",
        tenant: "acme",
    };

    fn rule(text: &str) -> TopicRule {
        text.parse().unwrap()
    }

    #[test]
    fn names_become_levels() {
        let bound = |text: &str| rule(text).bind(NAMES_OF_A_DEVICE);
        assert_eq!(bound("a/{iccid}/#").as_deref(), Some("a/8941000000000000001/#"));
        assert_eq!(bound("{tenant}/{username}/{clientid}").as_deref(), Some("acme/meter/c-1"));
        assert_eq!(bound("a/+").as_deref(), Some("a/+"));
        assert_eq!(rule("{iccid}").bind(TopicNames { iccid: None, ..NAMES_OF_A_DEVICE }), None);
    }

    /// Catches a client that widens its rights by the name that it gives itself.
    #[test]
    fn a_name_that_is_more_than_a_level_opens_nothing() {
        for client_id in ["#", "+", "a/b", "", "$SYS", "a#", "a\0b"] {
            assert_eq!(rule("x/{clientid}").bind(TopicNames { client_id, ..NAMES_OF_A_DEVICE }), None);
        }
    }

    #[test]
    fn a_rule_that_cannot_be_meant_is_refused_with_its_text() {
        use TopicRuleError::{Empty, Length, Name, Shared, Wildcard};
        let refused = |text: &str| text.parse::<TopicRule>().unwrap_err();
        assert_eq!(refused(""), Empty);
        assert_eq!(refused("a\0"), Length);
        assert_eq!(refused(&"x".repeat(1025)), Length);
        for wild in ["a/#/b", "a#", "+a", "##"] {
            assert_eq!(refused(wild), Wildcard(wild.into()));
        }
        for name in ["{ICCID}", "a{iccid}", "{iccid", "{}", "{imsi}/x"] {
            assert_eq!(refused(name), Name(name.into()));
        }
        assert_eq!(refused("$share/g/a"), Shared("$share/g/a".into()));
        assert_eq!(rule("$SYS/#").as_str(), "$SYS/#");
    }
}
