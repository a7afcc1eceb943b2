//! Somebody is told when a SIM or a pool has used much of what it may use. What is raised is decided in SQL (migrations V15 and
//! V29); here it is looked for, published on the embedded broker and sent to webhooks.

mod deliver;
mod document;
pub mod metrics;
mod publish;
mod raise;
mod sender;
mod target;

use std::time::Duration;

use chrono::TimeDelta;

pub use deliver::run as deliver;
pub use document::{AlertCycle, AlertDocument, AlertThreshold, AlertedPool, WebhookBody};
pub use publish::run as publish;
pub use raise::run as raise;
pub use sender::signature;
pub use target::{TargetFault, check_target};

/// How alerts are raised and passed on.
#[derive(Clone, Debug)]
pub struct AlertOptions {
    /// Between two looks, at least.
    pub pause: Duration,
    /// SIMs of one transaction.
    pub slice_sims: i32,
    /// Share of the time that looking takes, at most.
    pub max_busy_percent: u32,
    /// Older alerts are deleted.
    pub keep: TimeDelta,
    /// SIMs whose newest alert is retained.
    pub retained_max_messages: usize,
    pub webhook: WebhookOptions,
}

/// How webhooks are called.
#[derive(Clone, Copy, Debug)]
pub struct WebhookOptions {
    /// For one attempt.
    pub timeout: Duration,
    /// Attempts before a delivery is given up.
    pub attempts: i32,
    pub first_retry: Duration,
    pub longest_retry: Duration,
    /// Attempts under way at once.
    pub concurrency: usize,
    /// Also to addresses that only this machine or its network reaches, and without TLS.
    pub allow_private: bool,
}
