//! Which MQTT topics carry usage, and what their levels mean.

use thiserror::Error;

/// A pattern such as `simportal/sims/{iccid}/usage`: `{iccid}` and `{tenant}` stand for one level each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPattern {
    levels: Vec<Level>,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Literal(String),
    Iccid,
    Tenant,
    Any,
}

/// What a topic says about the usage published on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageTopic<'t> {
    pub iccid: Option<&'t str>,
    pub tenant: Option<&'t str>,
}

/// Why a pattern in the configuration is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TopicPatternError {
    #[error("a usage topic cannot be empty")]
    Empty,
    #[error("`{0}`: `#` would take every topic below; name each level, with + or {{iccid}} for one level")]
    MultiLevel(String),
    #[error("`{0}`: a level is either text, +, {{iccid}} or {{tenant}}")]
    BadLevel(String),
    #[error("`{0}`: {{iccid}} and {{tenant}} may each stand once")]
    Repeated(String),
}

impl TopicPattern {
    /// # Errors
    /// [`TopicPatternError`] naming the pattern and what to write instead.
    pub fn parse(text: &str) -> Result<Self, TopicPatternError> {
        if text.is_empty() {
            return Err(TopicPatternError::Empty);
        }
        let mut levels = Vec::new();
        for level in text.split('/') {
            levels.push(match level {
                "#" => return Err(TopicPatternError::MultiLevel(text.into())),
                "+" => Level::Any,
                "{iccid}" => Level::Iccid,
                "{tenant}" => Level::Tenant,
                other if other.contains(['+', '#', '{', '}', '\0']) => {
                    return Err(TopicPatternError::BadLevel(text.into()));
                }
                other => Level::Literal(other.into()),
            });
        }
        for named in [Level::Iccid, Level::Tenant] {
            if levels.iter().filter(|level| **level == named).count() > 1 {
                return Err(TopicPatternError::Repeated(text.into()));
            }
        }
        Ok(Self { levels, text: text.into() })
    }

    /// The pattern as written in the configuration.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What to subscribe to in the name of `tenant`: at a broker of others its level holds the name itself.
    fn filter(&self, tenant: &str) -> String {
        let levels = self.levels.iter().map(|level| match level {
            Level::Literal(text) => text.as_str(),
            Level::Tenant => tenant,
            Level::Iccid | Level::Any => "+",
        });
        levels.collect::<Vec<_>>().join("/")
    }

    fn matches<'t>(&self, topic: &'t str) -> Option<UsageTopic<'t>> {
        let mut found = UsageTopic { iccid: None, tenant: None };
        let mut given = topic.split('/');
        for level in &self.levels {
            let part = given.next()?;
            match level {
                Level::Literal(text) if text == part => {}
                Level::Literal(_) => return None,
                Level::Any => {}
                Level::Iccid => found.iccid = Some(part),
                Level::Tenant => found.tenant = Some(part),
            }
        }
        given.next().is_none().then_some(found)
    }
}

/// All usage topics of a source. The first pattern that matches counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageTopics(Vec<TopicPattern>);

impl UsageTopics {
    /// # Errors
    /// The first pattern that cannot be used.
    pub fn parse<S: AsRef<str>>(patterns: &[S]) -> Result<Self, TopicPatternError> {
        patterns.iter().map(|p| TopicPattern::parse(p.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Filters to subscribe to in the name of `tenant`.
    pub fn filters(&self, tenant: &str) -> Vec<String> {
        self.0.iter().map(|pattern| pattern.filter(tenant)).collect()
    }

    /// What `topic` says, or `None` when it does not carry usage.
    pub fn classify<'t>(&self, topic: &'t str) -> Option<UsageTopic<'t>> {
        self.0.iter().find_map(|pattern| pattern.matches(topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_that_holds_the_iccid_is_found_by_name() {
        let topics = UsageTopics::parse(&[
            "simportal/sims/{iccid}/usage",
            "simportal/sims/usage/batch",
            "sim/{tenant}/{iccid}/usage",
        ])
        .unwrap();
        let of = |t| topics.classify(t).map(|u: UsageTopic<'_>| (u.tenant, u.iccid));
        assert_eq!(of("simportal/sims/8941000000000000001/usage"), Some((None, Some("8941000000000000001"))));
        assert_eq!(of("simportal/sims/usage/batch"), Some((None, None)));
        assert_eq!(of("sim/acme/8941000000/usage"), Some((Some("acme"), Some("8941000000"))));
        for other in ["simportal/sims/1/usage/x", "simportal/sims/1", "simportal/devices/7/status", ""] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_filter_leaves_open_what_the_pattern_names_and_holds_the_tenant() {
        let topics = UsageTopics::parse(&["simportal/sims/{iccid}/usage", "sim/{tenant}/+/x"]).unwrap();
        assert_eq!(topics.filters("acme"), ["simportal/sims/+/usage", "sim/acme/+/x"]);
    }

    #[test]
    fn a_pattern_that_cannot_be_used_is_refused_with_its_text() {
        assert_eq!(TopicPattern::parse(""), Err(TopicPatternError::Empty));
        assert_eq!(TopicPattern::parse("a/#"), Err(TopicPatternError::MultiLevel("a/#".into())));
        assert_eq!(TopicPattern::parse("a/{x}"), Err(TopicPatternError::BadLevel("a/{x}".into())));
        assert_eq!(
            TopicPattern::parse("{iccid}/{iccid}"),
            Err(TopicPatternError::Repeated("{iccid}/{iccid}".into()))
        );
    }
}
