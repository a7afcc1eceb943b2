/// Whether `rule` matches every topic that `filter` matches. Both are valid topic filters without a group; a topic is a
/// filter that matches itself.
pub(super) fn covers(rule: &str, filter: &str) -> bool {
    // Wildcards of the first level do not match topics with `$`.
    if filter.starts_with('$') && rule.starts_with(['+', '#']) {
        return false;
    }
    // Every topic has a first level, so these two are the same.
    if filter == "#" && rule == "+/#" {
        return true;
    }
    let mut asked = filter.split('/');
    for allowed in rule.split('/') {
        if allowed == "#" {
            return true;
        }
        match asked.next() {
            None | Some("#") => return false,
            Some(_) if allowed == "+" => {}
            // Also a `+` that is asked for where one level is allowed.
            Some(level) if level != allowed => return false,
            Some(_) => {}
        }
    }
    asked.next().is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::topic;
    use super::*;

    const LEVELS: [&str; 5] = ["a", "b", "", "$x", "é"];

    /// Every topic of one to four levels.
    fn topics() -> Vec<String> {
        let mut all = Vec::new();
        let mut longest: Vec<String> = LEVELS.iter().map(|level| (*level).to_owned()).collect();
        for _ in 0..4 {
            all.extend(longest.iter().filter(|topic| !topic.is_empty()).cloned());
            longest = longest.iter().flat_map(|head| LEVELS.map(|level| format!("{head}/{level}"))).collect();
        }
        all
    }

    /// Filters of at most three levels beside a last `#`, so that topics of four tell them apart. `é` stands in no filter: it
    /// is the level that only a wildcard matches.
    fn filter() -> impl Strategy<Value = String> {
        let level =
            prop_oneof![3 => Just("a"), 2 => Just("b"), 1 => Just(""), 1 => Just("$x"), 3 => Just("+")];
        (prop::collection::vec(level, 0..=3), any::<bool>()).prop_filter_map("empty", |(levels, rest)| {
            let mut text = levels.join("/");
            if rest {
                text = if levels.is_empty() { "#".into() } else { text + "/#" };
            }
            (!text.is_empty()).then_some(text)
        })
    }

    fn is_covered(rule: &str, filter: &str, topics: &[String]) -> bool {
        let mut matched = topics.iter().filter(|topic| topic::matches(topic, filter));
        matched.all(|topic| topic::matches(topic, rule))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Catches every mistake that this function is prone to: `a/#` taken for covered by `a/+` or by `a/+/#`, `a` forgotten
        /// below `a/#`, `$` topics below `#`, and a rule that is shorter or longer than the filter.
        #[test]
        fn a_rule_covers_a_filter_when_it_matches_every_topic_of_it(rule in filter(), asked in filter()) {
            thread_local! {
                static TOPICS: Vec<String> = topics();
            }
            let expected = TOPICS.with(|topics| is_covered(&rule, &asked, topics));
            prop_assert_eq!(covers(&rule, &asked), expected, "{} {}", rule, asked);
        }
    }

    #[test]
    fn a_topic_is_covered_when_it_matches() {
        for topic in topics() {
            for rule in ["a", "a/b", "a/+", "+", "+/b", "#", "a/#", "$x/#", "$x", "/+", "//#"] {
                assert_eq!(covers(rule, &topic), topic::matches(&topic, rule), "{rule} {topic}");
            }
        }
    }
}
