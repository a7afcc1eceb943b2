use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::alerts::{AlertOptions, WebhookOptions};

/// Thresholds that are crossed, and who is told.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsConfig {
    /// Time between two looks, at least.
    pub pause_ms: u64,
    /// SIMs of one transaction.
    pub slice_sims: u32,
    /// Share of the time that looking takes, at most.
    pub max_busy_percent: u32,
    pub keep_days: u32,
    /// SIMs whose newest alert the embedded broker retains.
    pub retained_max_messages: usize,
    pub webhooks_per_tenant: usize,
    /// For one attempt.
    pub webhook_timeout_ms: u64,
    pub webhook_attempts: u32,
    pub webhook_first_retry_ms: u64,
    pub webhook_longest_retry_ms: u64,
    /// Attempts under way at once.
    pub webhook_concurrency: usize,
    /// Webhooks may lead into private networks and need no TLS. In demo mode they may.
    pub webhook_allow_private: bool,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self {
            pause_ms: 2_000,
            slice_sims: 2_000,
            max_busy_percent: 3,
            keep_days: 400,
            retained_max_messages: 10_000,
            webhooks_per_tenant: 10,
            webhook_timeout_ms: 10_000,
            webhook_attempts: 12,
            webhook_first_retry_ms: 5_000,
            webhook_longest_retry_ms: 3_600_000,
            webhook_concurrency: 32,
            webhook_allow_private: false,
        }
    }
}

impl AlertsConfig {
    /// How alerts are raised and passed on; `open` in demo mode.
    pub fn options(&self, open: bool) -> AlertOptions {
        let small = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        AlertOptions {
            pause: Duration::from_millis(self.pause_ms),
            slice_sims: small(self.slice_sims),
            max_busy_percent: self.max_busy_percent,
            keep: TimeDelta::days(self.keep_days.into()),
            retained_max_messages: self.retained_max_messages,
            webhook: WebhookOptions {
                timeout: Duration::from_millis(self.webhook_timeout_ms),
                attempts: small(self.webhook_attempts),
                first_retry: Duration::from_millis(self.webhook_first_retry_ms),
                longest_retry: Duration::from_millis(self.webhook_longest_retry_ms),
                concurrency: self.webhook_concurrency,
                allow_private: self.webhook_allow_private || open,
            },
        }
    }

    /// The first bound that a value breaks.
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        let bounds: [(&'static str, u64, u64, u64); 10] = [
            ("alerts.pause_ms", self.pause_ms, 10, 3_600_000),
            ("alerts.slice_sims", self.slice_sims.into(), 1, 100_000),
            ("alerts.max_busy_percent", self.max_busy_percent.into(), 1, 100),
            ("alerts.keep_days", self.keep_days.into(), 1, 36_500),
            ("alerts.webhooks_per_tenant", self.webhooks_per_tenant as u64, 0, 1_000),
            ("alerts.webhook_timeout_ms", self.webhook_timeout_ms, 1, 60_000),
            ("alerts.webhook_attempts", self.webhook_attempts.into(), 1, 100),
            ("alerts.webhook_first_retry_ms", self.webhook_first_retry_ms, 1, 86_400_000),
            ("alerts.webhook_longest_retry_ms", self.webhook_longest_retry_ms, 1, 604_800_000),
            ("alerts.webhook_concurrency", self.webhook_concurrency as u64, 1, 1_000),
        ];
        let broken = bounds.into_iter().find(|(_, value, least, most)| !(least..=most).contains(&value));
        broken.map(|(key, _, least, most)| (key, format!("must be from {least} to {most}")))
    }
}
