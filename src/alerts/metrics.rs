use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// How an attempt to call a webhook ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// What was raised and what became of it.
#[derive(Debug, Default)]
pub struct AlertMetrics {
    pub raised: Counter,
    pub published: Counter,
    attempts: Family<ResultLabel, Counter>,
    pub waiting: Gauge,
    pub looks: Counter,
    pub failures: Counter,
}

impl AlertMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        // A counter that appears with its first event has no increase that a query could see.
        for result in ["delivered", "retried", "given_up"] {
            drop(self.attempts.get_or_create(&ResultLabel { result }));
        }
        let registry = registry.sub_registry_with_prefix("alerts");
        registry.register("raised", "Alerts raised by this instance", self.raised.clone());
        registry.register(
            "published",
            "Alerts retained on the embedded broker, after a start once more",
            self.published.clone(),
        );
        registry.register(
            "webhook_attempts",
            "Attempts to call a webhook: delivered, retried, or given up",
            self.attempts.clone(),
        );
        registry.register("webhook_waiting", "Deliveries to webhooks that wait", self.waiting.clone());
        registry.register("looks", "Looks for alerts that ended, failed ones included", self.looks.clone());
        registry.register("failures", "Looks for alerts that failed", self.failures.clone());
    }

    /// Counts an attempt as `delivered`, `retried` or `given_up`.
    pub(super) fn attempt(&self, result: &'static str) {
        self.attempts.get_or_create(&ResultLabel { result }).inc();
    }
}
