//! What the broker counts.

use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use rumqttd::protocol::QoS;

use crate::ingest::recent::Recent;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ActionLabel {
    action: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MessageLabel {
    qos: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CertificateLabel {
    certificate: &'static str,
}

/// Whether a PUBLISH carries usage or is ordinary traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Usage,
    Other,
}

const QOS_NAMES: [&str; 3] = ["0", "1", "2"];

/// Counters of the broker.
pub struct BrokerMetrics {
    pub(super) connections: Gauge,
    connection_results: Family<ResultLabel, Counter>,
    disconnects: Family<ReasonLabel, Counter>,
    messages: Family<MessageLabel, Counter>,
    /// The same counters by kind and QoS, so that no label is looked up for a message.
    messages_by_kind: [[Counter; 3]; 2],
    pub(super) messages_sent: Counter,
    puback_seconds: Histogram,
    recent: Recent,
    pub(super) paused_readers: Gauge,
    pub(super) held_readers: Gauge,
    pub(super) throttled_readers: Gauge,
    pub(super) throttled: Counter,
    pub(super) waiting_connections: Gauge,
    offences: Family<ReasonLabel, Counter>,
    pub(super) delayed_take_overs: Counter,
    dropped: Family<ReasonLabel, Counter>,
    refused: Family<ActionLabel, Counter>,
    certificate_expiry: Family<CertificateLabel, Gauge>,
    certificate_reloads: Family<ResultLabel, Counter>,
}

impl Default for BrokerMetrics {
    fn default() -> Self {
        let messages = Family::<MessageLabel, Counter>::default();
        let of = |kind| QOS_NAMES.map(|qos| messages.get_or_create(&MessageLabel { qos, kind }).clone());
        Self {
            connections: Gauge::default(),
            connection_results: Family::default(),
            disconnects: Family::default(),
            messages_by_kind: [of("usage"), of("other")],
            messages,
            messages_sent: Counter::default(),
            puback_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
            recent: Recent::new(Instant::now()),
            paused_readers: Gauge::default(),
            held_readers: Gauge::default(),
            throttled_readers: Gauge::default(),
            throttled: Counter::default(),
            waiting_connections: Gauge::default(),
            offences: Family::default(),
            delayed_take_overs: Counter::default(),
            dropped: Family::default(),
            refused: Family::default(),
            certificate_expiry: Family::default(),
            certificate_reloads: Family::default(),
        }
    }
}

impl BrokerMetrics {
    pub(crate) fn open_connections(&self) -> i64 {
        self.connections.get()
    }

    /// Names follow `simbridge_<what>_<unit>`; the registry adds the prefix and `_total`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("mqtt_connections_open", "Connections open", self.connections.clone());
        registry.register(
            "mqtt_connections",
            "Connections by what became of them",
            self.connection_results.clone(),
        );
        registry.register("mqtt_disconnects", "Connections ended, by reason", self.disconnects.clone());
        registry.register("mqtt_messages_received", "PUBLISH packets received", self.messages.clone());
        registry.register(
            "mqtt_messages_sent",
            "PUBLISH packets sent to subscribers",
            self.messages_sent.clone(),
        );
        registry.register_with_unit(
            "mqtt_puback",
            "Time from reading a QoS 1 or 2 PUBLISH with usage to its PUBACK or PUBREC",
            Unit::Seconds,
            self.puback_seconds.clone(),
        );
        registry.register(
            "mqtt_paused_readers",
            "Connections that are not read because too much of theirs waits for the database",
            self.paused_readers.clone(),
        );
        registry.register(
            "mqtt_held_readers",
            "Connections that are not read because a subscriber does not keep up with them",
            self.held_readers.clone(),
        );
        self.register_admission(registry);
        registry.register(
            "mqtt_dropped",
            "Messages not delivered to a subscriber, by reason",
            self.dropped.clone(),
        );
        registry.register(
            "mqtt_refused",
            "What clients wanted to do and may not, by action",
            self.refused.clone(),
        );
        registry.register(
            "mqtt_certificate_expiry_timestamp_seconds",
            "When the first certificate of a file of mqtt.tls expires: the broker's own with those up to its authority, or authorities of clients",
            self.certificate_expiry.clone(),
        );
        for result in ["ok", "failed"] {
            drop(self.certificate_reloads.get_or_create(&ResultLabel { result }));
        }
        registry.register(
            "mqtt_certificate_reloads",
            "Certificates read again at SIGHUP, by result",
            self.certificate_reloads.clone(),
        );
    }

    fn register_admission(&self, registry: &mut Registry) {
        registry.register(
            "mqtt_connections_waiting",
            "Connections that wait for their turn before anything is read from them",
            self.waiting_connections.clone(),
        );
        registry.register(
            "mqtt_throttled_readers",
            "Connections that are not read because they send faster than a client may",
            self.throttled_readers.clone(),
        );
        registry.register(
            "mqtt_throttled",
            "Times that a connection was not read because it sent faster than a client may",
            self.throttled.clone(),
        );
        registry.register(
            "mqtt_offences",
            "What delays new connections of an address, by reason",
            self.offences.clone(),
        );
        registry.register(
            "mqtt_delayed_take_overs",
            "Connections that had to wait because their client identifier is taken over again and again",
            self.delayed_take_overs.clone(),
        );
    }

    /// Counts what was held against an address.
    pub(super) fn offence(&self, reason: &'static str) {
        self.offences.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Unix time, for `server` or `client_ca`.
    pub(super) fn certificate_expires(&self, certificate: &'static str, at: i64) {
        self.certificate_expiry.get_or_create(&CertificateLabel { certificate }).set(at);
    }

    pub(super) fn certificate_reload(&self, result: &'static str) {
        self.certificate_reloads.get_or_create(&ResultLabel { result }).inc();
    }

    pub(super) fn connection(&self, result: &'static str) {
        self.connection_results.get_or_create(&ResultLabel { result }).inc();
    }

    pub(super) fn disconnected(&self, reason: &'static str) {
        self.disconnects.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(super) fn dropped(&self, reason: &'static str, count: u64) {
        self.dropped.get_or_create(&ReasonLabel { reason }).inc_by(count);
    }

    /// `publish`, `subscribe`, `will` or `reply`.
    pub(super) fn refused(&self, action: &'static str) {
        self.refused.get_or_create(&ActionLabel { action }).inc();
    }

    pub(super) fn message(&self, kind: Kind, qos: QoS) {
        self.messages_by_kind[kind as usize][qos as usize].inc();
    }

    /// PUBLISH packets since the start.
    pub(super) fn messages_received(&self) -> u64 {
        self.messages_by_kind.iter().flatten().map(Counter::get).sum()
    }

    pub(super) fn acknowledged(&self, received: Instant, now: Instant) {
        let latency = now.saturating_duration_since(received);
        self.puback_seconds.observe(latency.as_secs_f64());
        self.recent.record(latency, 1, now);
    }

    /// Quantiles of the time from PUBLISH to PUBACK over the last 10 to 20 seconds; `None` without any.
    pub(crate) fn puback_quantiles<const N: usize>(&self, wanted: [f64; N]) -> Option<[Duration; N]> {
        self.recent.quantiles(wanted, Instant::now())
    }

    /// Connections that are not read because too much of theirs is unacknowledged.
    pub(crate) fn paused_readers(&self) -> i64 {
        self.paused_readers.get()
    }

    #[cfg(test)]
    pub(super) fn dropped_count(&self, reason: &'static str) -> u64 {
        self.dropped.get_or_create(&ReasonLabel { reason }).get()
    }

    #[cfg(test)]
    pub(super) fn refused_count(&self, action: &'static str) -> u64 {
        self.refused.get_or_create(&ActionLabel { action }).get()
    }

    #[cfg(test)]
    pub(super) fn connection_count(&self, result: &'static str) -> u64 {
        self.connection_results.get_or_create(&ResultLabel { result }).get()
    }

    #[cfg(test)]
    pub(super) fn offence_count(&self, reason: &'static str) -> u64 {
        self.offences.get_or_create(&ReasonLabel { reason }).get()
    }

    #[cfg(test)]
    pub(super) fn disconnect_count(&self, reason: &'static str) -> u64 {
        self.disconnects.get_or_create(&ReasonLabel { reason }).get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_registered_once() {
        let mut registry = Registry::with_prefix("simbridge");
        let metrics = BrokerMetrics::default();
        metrics.register(&mut registry);
        metrics.message(Kind::Usage, QoS::AtLeastOnce);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(
            text.contains("simbridge_mqtt_messages_received_total{qos=\"1\",kind=\"usage\"} 1"),
            "{text}"
        );
    }
}
