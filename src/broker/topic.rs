//! Rules for topic names and filters (MQTT 5, chapter 4.7).

use std::fmt;
use std::sync::Arc;

/// Longest topic or filter. They are kept in aliases, sessions and retained messages, and the protocol's limit of
/// 65,535 would let a client fill the memory with them.
const MAX_BYTES: usize = 1024;

/// A topic that may be published on.
pub(super) fn is_valid_name(topic: &str, max_levels: usize) -> bool {
    !topic.is_empty()
        && topic.len() <= MAX_BYTES
        && !topic.contains(['+', '#', '\0'])
        && levels_within(topic, max_levels)
}

fn levels_within(text: &str, max_levels: usize) -> bool {
    text.bytes().filter(|byte| *byte == b'/').count() < max_levels
}

/// A subscription's filter, split from its shared subscription group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicFilter {
    /// `{group}` of `$share/{group}/{plain}`.
    pub(super) group: Option<Arc<str>>,
    pub(super) plain: Arc<str>,
}

impl TopicFilter {
    /// `None` when `text` breaks the rules.
    pub(super) fn parse(text: &str, max_levels: usize) -> Option<Self> {
        let (group, plain) = match text.strip_prefix("$share/") {
            Some(shared) => {
                let (group, plain) = shared.split_once('/')?;
                if group.is_empty() || group.contains(['+', '#', '\0']) {
                    return None;
                }
                (Some(group.into()), plain)
            }
            None => (None, text),
        };
        if text.len() > MAX_BYTES
            || plain.is_empty()
            || plain.contains('\0')
            || !levels_within(plain, max_levels)
        {
            return None;
        }
        let mut levels = plain.split('/').peekable();
        while let Some(level) = levels.next() {
            let wildcard = level.contains(['+', '#']);
            if wildcard && level.len() != 1 || level == "#" && levels.peek().is_some() {
                return None;
            }
        }
        Some(Self { group, plain: plain.into() })
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(group) = &self.group {
            write!(f, "$share/{group}/")?;
        }
        f.write_str(&self.plain)
    }
}

/// Whether `topic` matches a filter without a group. Wildcards in the first level do not match topics with a `$`.
pub(super) fn matches(topic: &str, filter: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// True for a filter that matches one topic only.
pub(super) fn is_literal(filter: &str) -> bool {
    !filter.contains(['+', '#'])
}

/// Whether only the broker itself publishes there: topics with `$`, and alerts, which nobody shall forge.
pub(super) fn is_reserved(name: &str) -> bool {
    let of_alerts = || {
        let sim = name.strip_prefix("simportal/sims/").and_then(|rest| rest.strip_suffix("/alerts"));
        sim.is_some_and(|sim| !sim.contains('/'))
    };
    name.starts_with('$') || of_alerts()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        for (topic, filter) in [
            ("a/b", "a/b"),
            ("a/b", "a/+"),
            ("a/b", "#"),
            ("a", "a/#"),
            ("a/b/c", "a/#"),
            ("/a", "+/+"),
            ("/a", "/+"),
            ("é/x", "é/+"),
            ("$x/y", "$x/#"),
        ] {
            assert!(matches(topic, filter), "{topic} {filter}");
        }
        for (topic, filter) in
            [("a/b", "a"), ("a", "a/+"), ("a/b/c", "a/+"), ("/a", "+"), ("$x/y", "#"), ("$x/y", "+/y")]
        {
            assert!(!matches(topic, filter), "{topic} {filter}");
        }
    }

    #[test]
    fn filters_that_break_the_rules_are_refused() {
        for good in ["a", "+/b", "a/#", "#", "/", "$share/g/a/+", "$SYS/#", "é/+"] {
            assert!(TopicFilter::parse(good, 8).is_some(), "{good}");
        }
        for bad in
            ["", "a#", "a/#/b", "a+/b", "++", "$share/g", "$share//a", "$share/+/a", "a\0", "//////////"]
        {
            assert!(TopicFilter::parse(bad, 8).is_none(), "{bad}");
        }
        let shared = TopicFilter::parse("$share/g/a/+", 8).unwrap();
        assert_eq!((shared.group.as_deref(), &*shared.plain), (Some("g"), "a/+"));
    }

    #[test]
    fn topic_names_have_no_wildcards_and_a_bounded_depth() {
        assert!(is_valid_name("é/x", 8));
        for bad in ["", "a/+", "#", "a\0b", "////////"] {
            assert!(!is_valid_name(bad, 8), "{bad}");
        }
    }
}
