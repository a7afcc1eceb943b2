/// Whether `rule` matches every topic that `filter` matches. Both are valid topic filters without a group; a topic is a
/// filter that matches itself.
pub(in crate::broker) fn covers(rule: &str, filter: &str) -> bool {
    // Wildcards of the first level do not match topics with `$`.
    if filter.starts_with('$') && rule.starts_with(['+', '#']) {
        return false;
    }
    // No topic is empty, so these match what their longer forms match.
    let filter = match filter {
        "#" => "+/#",
        "/#" => "/+/#",
        other => other,
    };
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
    use super::super::super::topic;
    use super::*;

    /// Every text of one to `most` of these levels.
    fn texts(levels: &[&str], most: usize) -> Vec<String> {
        let (mut all, mut longest) = (Vec::new(), vec![String::new()]);
        for length in 0..most {
            let joined = |head: &String, level: &&str| match length {
                0 => (*level).to_owned(),
                _ => format!("{head}/{level}"),
            };
            longest =
                longest.iter().flat_map(|head| levels.iter().map(move |level| joined(head, level))).collect();
            all.extend(longest.iter().filter(|text| !text.is_empty()).cloned());
        }
        all
    }

    /// Every filter of at most three levels, and those with a `#` behind them.
    fn filters() -> Vec<String> {
        let plain = texts(&["a", "b", "", "$x", "+"], 3);
        let rest: Vec<String> = plain.iter().map(|text| format!("{text}/#")).collect();
        [plain, rest, vec!["#".into(), "/#".into()]].concat()
    }

    /// Catches every mistake that this function is prone to: `a/#` taken for covered by `a/+` or by `a/+/#`, `a` forgotten below
    /// `a/#`, `$` topics below `#`, a `+` taken for a level, and a rule that is shorter or longer than the filter.
    #[test]
    fn a_rule_covers_a_filter_when_it_matches_every_topic_of_it() {
        // One level more than in any filter, and a level that only a wildcard matches.
        let topics = texts(&["a", "b", "", "$x", "é"], 5);
        let matched: Vec<(String, Vec<bool>)> = filters()
            .into_iter()
            .map(|filter| {
                let matched = topics.iter().map(|topic| topic::matches(topic, &filter)).collect();
                (filter, matched)
            })
            .collect();
        let mut covered = 0;
        for (rule, allowed) in &matched {
            for (filter, asked) in &matched {
                let expected = asked.iter().zip(allowed).all(|(asked, allowed)| !asked || *allowed);
                assert_eq!(covers(rule, filter), expected, "{rule} {filter}");
                covered += usize::from(expected);
            }
        }
        assert!(covered > matched.len() && covered < matched.len().pow(2) / 2, "{covered}");
    }

    #[test]
    fn a_topic_is_covered_when_it_matches() {
        for topic in texts(&["a", "b", "", "$x", "é"], 4) {
            for rule in filters() {
                assert_eq!(covers(&rule, &topic), topic::matches(&topic, &rule), "{rule} {topic}");
            }
        }
    }
}
