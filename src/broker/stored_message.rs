//! Messages as they stand in a table.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rumqttd::protocol::{PublishProperties, QoS};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::TenantId;

use super::publication::Publication;

pub(super) fn qos(number: u8) -> QoS {
    match number {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

/// What a table says of a message, without QoS and retain. `expires_in` is what is left of the message expiry interval.
pub(super) fn publication(
    (tenant, topic): (TenantId, String),
    payload: Bytes,
    properties: Option<Value>,
    expires_in: Option<Duration>,
) -> Publication {
    let mut properties = properties.and_then(properties_of_json).unwrap_or_default();
    // Rounded up: a message does not expire because it was written down.
    let seconds = expires_in.map(|left| left.as_secs() + u64::from(left.subsec_nanos() > 0));
    properties.message_expiry_interval = seconds.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
    Publication::new(tenant, topic.into(), payload, Some(properties), Instant::now())
}

/// The properties of a message as JSON; `None` without any.
pub(super) fn properties(publication: &Publication) -> Option<Value> {
    publication.properties.as_deref().and_then(properties_as_json)
}

pub(super) fn properties_as_json(properties: &PublishProperties) -> Option<Value> {
    StoredProperties::of(properties)
}

/// What was written by `properties_as_json`.
pub(super) fn properties_of_json(json: Value) -> Option<PublishProperties> {
    serde_json::from_value::<StoredProperties>(json).ok().map(StoredProperties::into_properties)
}

/// The properties of a PUBLISH that belong to the message (MQTT 5, 3.3.2.3).
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StoredProperties {
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_format: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_data: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user_properties: Vec<(String, String)>,
}

impl StoredProperties {
    fn of(properties: &PublishProperties) -> Option<serde_json::Value> {
        // MQTT forbids U+0000 in texts (1.5.4) and PostgreSQL cannot store it: one such text must not keep others from the table.
        let clean = |text: &String| (!text.contains('\0')).then(|| text.clone());
        let pairs = properties.user_properties.iter();
        let stored = Self {
            payload_format: properties.payload_format_indicator,
            content_type: properties.content_type.as_ref().and_then(clean),
            response_topic: properties.response_topic.as_ref().and_then(clean),
            correlation_data: properties.correlation_data.as_ref().map(|data| STANDARD.encode(data)),
            user_properties: pairs.filter_map(|(key, value)| Some((clean(key)?, clean(value)?))).collect(),
        };
        serde_json::to_value(stored).ok()
    }

    fn into_properties(self) -> PublishProperties {
        PublishProperties {
            payload_format_indicator: self.payload_format,
            content_type: self.content_type,
            response_topic: self.response_topic,
            correlation_data: self
                .correlation_data
                .and_then(|data| STANDARD.decode(data).ok())
                .map(Bytes::from),
            user_properties: self.user_properties,
            ..PublishProperties::default()
        }
    }
}
