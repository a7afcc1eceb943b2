//! Retained messages as they are stored: what the broker tells a table, and what it is told by one at its start.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::domain::TenantId;

use super::retained::{Change, RetainedStore};
use super::stored_message;

/// A retained message without the broker's own types.
#[derive(Clone, Debug, PartialEq)]
pub struct RetainedMessage {
    pub tenant: TenantId,
    pub topic: String,
    pub payload: Bytes,
    /// 0, 1 or 2.
    pub qos: u8,
    /// As JSON; `None` without any.
    pub properties: Option<serde_json::Value>,
    /// What is left of the message expiry interval; `None` without one.
    pub expires_in: Option<Duration>,
}

/// What changed since it was asked last.
#[derive(Default)]
pub struct RetainedChanges {
    pub kept: Vec<RetainedMessage>,
    pub forgotten: Vec<(TenantId, String)>,
    changes: Vec<Change>,
}

impl RetainedChanges {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// The retained messages of a broker. It outlives the broker, so that the last changes can be stored after it has ended.
#[derive(Clone)]
pub struct RetainedLog(Arc<RetainedStore>);

impl RetainedLog {
    pub(super) fn new(store: &Arc<RetainedStore>) -> Self {
        Self(store.clone())
    }

    /// Takes a stored message over. False when there is no room for it.
    pub fn restore(&self, message: RetainedMessage) -> bool {
        let mut publication = stored_message::publication(
            (message.tenant, message.topic),
            message.payload,
            message.properties,
            message.expires_in,
        );
        publication.qos = stored_message::qos(message.qos);
        publication.retain = true;
        self.0.restore(&Arc::new(publication))
    }

    /// At most `limit` topics that changed. The caller stores them or gives them back.
    pub fn take(&self, limit: usize) -> RetainedChanges {
        let changes = self.0.take_changes(limit);
        let now = Instant::now();
        let mut taken = RetainedChanges::default();
        for change in &changes {
            let left =
                change.message.as_ref().and_then(|message| Some((message, message.remaining_expiry(now)?)));
            match left {
                Some((message, left)) => taken.kept.push(RetainedMessage {
                    tenant: message.tenant,
                    topic: message.topic.to_string(),
                    payload: message.payload.clone(),
                    qos: message.qos as u8,
                    properties: stored_message::properties(message),
                    expires_in: left.map(|seconds| Duration::from_secs(seconds.into())),
                }),
                None => taken.forgotten.push((change.key.0, change.key.1.to_string())),
            }
        }
        taken.changes = changes;
        taken
    }

    pub fn give_back(&self, changes: RetainedChanges) {
        self.0.give_back(changes.changes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rumqttd::protocol::{PublishProperties, QoS};

    use super::super::publication::Publication;
    use super::*;

    fn log() -> (Arc<RetainedStore>, RetainedLog) {
        let store = Arc::new(RetainedStore::new(10, 1 << 20));
        let log = RetainedLog::new(&store);
        (store, log)
    }

    fn publication(topic: &str, payload: &'static str, properties: PublishProperties) -> Arc<Publication> {
        let payload = Bytes::from_static(payload.as_bytes());
        let mut publication =
            Publication::new(TenantId(1), topic.into(), payload, Some(properties), Instant::now());
        publication.qos = QoS::AtLeastOnce;
        publication.retain = true;
        publication.publisher = "d".into();
        Arc::new(publication)
    }

    /// Catches an alert that comes back although its cycle ended while the program was away.
    #[test]
    fn what_the_program_retains_is_not_stored() {
        let (store, log) = log();
        let own = Publication {
            publisher: "".into(),
            ..(*publication("t", "x", PublishProperties::default())).clone()
        };
        store.retain(&Arc::new(own));
        assert!(log.take(10).is_empty());
        store.retain(&publication("t", "y", PublishProperties::default()));
        assert_eq!(log.take(10).kept.len(), 1);
    }

    #[test]
    fn a_message_comes_back_as_it_was() {
        let properties = PublishProperties {
            payload_format_indicator: Some(1),
            message_expiry_interval: Some(100),
            response_topic: Some("r".into()),
            correlation_data: Some(Bytes::from_static(&[0, 255])),
            user_properties: vec![
                ("k".into(), "1".into()),
                ("k".into(), "2".into()),
                ("z".into(), "\0".into()),
            ],
            content_type: Some("json".into()),
            ..PublishProperties::default()
        };
        let (store, before) = log();
        store.retain(&publication("t", "x", properties));
        let changes = before.take(10);
        assert_eq!((changes.kept.len(), changes.forgotten.len()), (1, 0));
        let (_, after) = log();
        assert!(after.restore(changes.kept[0].clone()));
        assert!(after.take(10).is_empty(), "the table has it");
        let held = after.0.next(
            TenantId(1),
            &super::super::retained::Turn {
                filter: "t".into(),
                after: None,
                qos: QoS::AtMostOnce,
                identifier: None,
            },
        );
        let held = held.expect("it is retained");
        let given = held.properties.as_deref().expect("properties");
        assert_eq!(given.user_properties, [("k".into(), "1".into()), ("k".into(), "2".into())]);
        assert_eq!(given.correlation_data.as_deref(), Some(&[0, 255][..]));
        assert_eq!((held.qos, held.retain, &*held.payload), (QoS::AtLeastOnce, true, &b"x"[..]));
        assert!(
            held.remaining_expiry(Instant::now()).flatten().is_some_and(|left| (98..=100).contains(&left))
        );
    }

    /// Catches topics that come and go while there is no database: each would be remembered for ever.
    #[test]
    fn what_the_table_never_had_leaves_no_trace() {
        let (store, log) = log();
        for n in 0..100 {
            let topic = format!("t/{n}");
            store.retain(&publication(&topic, "x", PublishProperties::default()));
            store.retain(&publication(&topic, "", PublishProperties::default()));
        }
        assert!(log.take(1_000).is_empty());
    }

    /// Catches a deletion that is lost because the message was being written, and one that overtakes a newer message.
    #[test]
    fn what_is_given_back_is_taken_again_as_it_is_then() {
        let (store, log) = log();
        for topic in ["a", "b"] {
            store.retain(&publication(topic, "1", PublishProperties::default()));
        }
        let taken = log.take(10);
        store.retain(&publication("a", "", PublishProperties::default()));
        store.retain(&publication("b", "", PublishProperties::default()));
        store.retain(&publication("b", "2", PublishProperties::default()));
        log.give_back(taken);
        let taken = log.take(10);
        assert_eq!(taken.forgotten, [(TenantId(1), "a".to_owned())]);
        assert_eq!(taken.kept.iter().map(|kept| &*kept.payload).collect::<Vec<_>>(), [b"2"]);
        assert!(log.take(10).is_empty());
    }
}
