//! Wills that wait for their delay, as they stand in a table.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttd::protocol::PublishProperties;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::Iccid;
use crate::ingest::queue::{Sender, Via};

use super::registry::ClientKey;
use super::stored_message;
use super::will::Will;

/// A will without the broker's own types.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredWill {
    /// What is left of its delay.
    pub due_in: Duration,
    pub payload: Bytes,
    /// Everything else, as JSON.
    pub message: Value,
}

/// A will that waits, in the broker.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PendingWill {
    due: Instant,
    payload: Bytes,
    message: Value,
}

/// A will as JSON. What its client was allowed when it connected goes with it, because it may carry usage.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WillMessage {
    topic: String,
    qos: u8,
    retain: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    properties: Option<Value>,
    /// Message expiry interval, which begins when it is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expiry_seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iccid: Option<String>,
    #[serde(default)]
    may_correct: bool,
}

impl PendingWill {
    pub(super) fn of(will: &Will, due: Instant) -> Self {
        let message = WillMessage {
            topic: will.topic.to_string(),
            qos: will.qos as u8,
            retain: will.retain,
            properties: stored_message::properties_as_json(&will.properties),
            expiry_seconds: will.properties.message_expiry_interval,
            iccid: will.sender.iccid.as_ref().map(ToString::to_string),
            may_correct: will.sender.may_correct,
        };
        // It is made of texts and numbers.
        let message = serde_json::to_value(message).unwrap_or_default();
        Self { due, payload: will.payload.clone(), message }
    }

    pub(super) fn restored(will: &StoredWill) -> Self {
        let StoredWill { due_in, payload, message } = will.clone();
        Self { due: Instant::now() + due_in, payload, message }
    }

    pub(super) fn stored(&self, now: Instant) -> StoredWill {
        StoredWill {
            due_in: self.due.saturating_duration_since(now),
            payload: self.payload.clone(),
            message: self.message.clone(),
        }
    }
}

impl StoredWill {
    /// The will of this client, and when it is due. `None` if it cannot be read.
    pub(super) fn into_will(self, (tenant, client): &ClientKey) -> Option<(Will, Instant)> {
        let message: WillMessage = serde_json::from_value(self.message).ok()?;
        let iccid = match &message.iccid {
            // A device whose ICCID is lost would speak for all SIMs of its tenant.
            Some(text) => Some(Iccid::parse(text)?),
            None => None,
        };
        let sender = Sender {
            tenant: *tenant,
            may_correct: message.may_correct,
            iccid,
            via: Via::Mqtt,
            name: client.to_string(),
        };
        let properties = message.properties.and_then(stored_message::properties_of_json);
        let will = Will {
            sender: Arc::new(sender),
            topic: message.topic.into(),
            payload: self.payload,
            qos: stored_message::qos(message.qos),
            retain: message.retain,
            properties: PublishProperties {
                message_expiry_interval: message.expiry_seconds,
                ..properties.unwrap_or_default()
            },
            delay: Duration::ZERO,
            publisher: client.clone(),
        };
        Some((will, Instant::now() + self.due_in))
    }
}
