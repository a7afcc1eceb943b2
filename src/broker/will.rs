use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttd::protocol::{LastWill, LastWillProperties, PublishProperties, QoS};

use crate::ingest::queue::{Message, Sender};

use super::Hub;
use super::ending::Violation;
use super::publication::Publication;
use super::topic;

/// What is published when a connection ends without a DISCONNECT.
#[derive(Debug)]
pub(super) struct Will {
    pub(super) sender: Arc<Sender>,
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) properties: PublishProperties,
    pub(super) delay: Duration,
    pub(super) publisher: Arc<str>,
}

impl Will {
    pub(super) fn new(
        will: LastWill,
        properties: Option<LastWillProperties>,
        sender: Arc<Sender>,
        publisher: Arc<str>,
        max_topic_levels: usize,
    ) -> Result<Self, Violation> {
        let topic = std::str::from_utf8(&will.topic).map_err(|_| Violation::TopicName)?;
        if !topic::is_valid_name(topic, max_topic_levels) || topic::is_reserved(topic) {
            return Err(Violation::TopicName);
        }
        let given = properties.unwrap_or(LastWillProperties {
            delay_interval: None,
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: None,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        });
        Ok(Self {
            topic: topic.into(),
            // A copy, because the original keeps the whole CONNECT in memory.
            payload: Bytes::copy_from_slice(&will.message),
            qos: will.qos,
            retain: will.retain,
            properties: PublishProperties {
                payload_format_indicator: given.payload_format_indicator,
                message_expiry_interval: given.message_expiry_interval,
                content_type: given.content_type,
                response_topic: given.response_topic,
                correlation_data: given.correlation_data,
                user_properties: given.user_properties,
                ..PublishProperties::default()
            },
            delay: Duration::from_secs(given.delay_interval.unwrap_or(0).into()),
            sender,
            publisher,
        })
    }

    /// Goes the way of any PUBLISH: to subscribers, and to the pipeline when its topic carries usage.
    pub(super) async fn publish(self, hub: &Hub) {
        if let Some(usage) = hub.topics.classify(&self.topic) {
            let message = Message {
                sender: self.sender.clone(),
                topic: self.topic.to_string(),
                topic_iccid: usage.iccid.map(str::to_owned),
                payload: self.payload.clone(),
                received_at: hub.clock.now(),
                acknowledge: None,
            };
            // A stopped pipeline means that the program ends; nobody was promised that the will is stored.
            hub.queue.send(message).await.ok();
        }
        let tenant = self.sender.tenant;
        let mut publication =
            Publication::new(tenant, self.topic, self.payload, Some(self.properties), Instant::now());
        publication.qos = self.qos;
        publication.retain = self.retain;
        publication.publisher = self.publisher;
        hub.publish(publication);
    }
}
