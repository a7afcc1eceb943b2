use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;
use rumqttd::protocol::{PublishProperties, QoS};

use crate::domain::TenantId;

use super::Hub;
use super::publication::Publication;

/// Publishes JSON to clients in the program's own name. It does not keep the broker: after its end nothing is published.
#[derive(Clone)]
pub struct Publisher(Weak<Hub>);

impl Publisher {
    pub(super) fn new(hub: &Arc<Hub>) -> Self {
        Self(Arc::downgrade(hub))
    }

    /// Delivers to subscribers of the tenant and retains; an empty payload takes back what is retained.
    pub fn retain(&self, tenant: TenantId, topic: String, payload: Bytes) {
        let Some(hub) = self.0.upgrade() else { return };
        let properties = (!payload.is_empty()).then(|| PublishProperties {
            payload_format_indicator: Some(1),
            content_type: Some("application/json".into()),
            ..PublishProperties::default()
        });
        let mut publication = Publication::new(tenant, topic.into(), payload, properties, Instant::now());
        publication.qos = QoS::AtLeastOnce;
        publication.retain = true;
        hub.publish(publication);
    }
}
