//! Usage that is posted: one record, a batch, the end of a cycle (contract §4).

mod batch;
mod hand_over;
mod post;
mod reset;
mod schema;

use std::time::Duration;

use chrono::TimeDelta;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::HttpConfig;
use crate::payload::PayloadLimits;

use super::ApiState;

/// How usage is taken and shown.
pub(crate) struct UsageRules {
    /// What the pipeline's decoder accepts too.
    pub(crate) payload: PayloadLimits,
    /// For how long a POST waits for its COMMIT.
    pub(crate) post_timeout: Duration,
    /// For how long an Idempotency-Key is remembered.
    pub(crate) idempotency: TimeDelta,
    /// A session without a reading for so long is expired.
    pub(crate) session_idle: TimeDelta,
}

impl UsageRules {
    pub(super) fn new(config: &HttpConfig, payload: PayloadLimits) -> Self {
        Self {
            payload,
            post_timeout: Duration::from_millis(config.post_timeout_ms),
            idempotency: TimeDelta::hours(config.idempotency_hours.into()),
            session_idle: TimeDelta::minutes(config.session_idle_minutes.into()),
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(post::post_usage))
        .routes(routes!(batch::post_batch))
        .routes(routes!(reset::reset_cycle))
}

#[cfg(fuzzing)]
pub(super) fn read_reset(body: &[u8], tenant: crate::domain::TenantId, now: chrono::DateTime<chrono::Utc>) {
    reset::read(body, tenant, now).err();
}
