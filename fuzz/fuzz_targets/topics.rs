//! Rules, filters, topics and names of clients: four lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use simbridge::ingest::topics::UsageTopics;

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(4, '\n');
    let mut next = || lines.next().unwrap_or_default();
    let (rule, filter, topic, name) = (next(), next(), next(), next());
    simbridge::fuzz::topics(rule, filter, topic, name);
    if let Ok(topics) = UsageTopics::parse(&[rule]) {
        if let Some(iccid) = topics.classify(topic).and_then(|usage| usage.iccid) {
            assert!(!iccid.contains('/'), "an ICCID is one level");
        }
        topics.filters(name);
    }
});
