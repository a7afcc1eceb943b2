use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::moment;
use crate::store::alerts::{Alert, AlertPool};

/// An alert as everybody sees it: over HTTP, on MQTT and in webhooks.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertDocument {
    /// Grows with time; the same wherever the alert is seen.
    #[schema(example = 4711)]
    pub id: i64,
    /// `null` for a pool as a whole.
    #[schema(example = "8941000000000000009")]
    pub iccid: Option<String>,
    #[schema(example = "sim_0123456789abcdef01234567")]
    pub sim_id: Option<String>,
    /// Left out for a limit of the SIM itself. With an `iccid` it is of a member that has a limit of its own in the pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<AlertedPool>,
    /// The billing cycle of the SIM, or the period of the pool.
    pub cycle: AlertCycle,
    pub threshold: AlertThreshold,
    /// Total of the cycle when the alert was raised.
    #[schema(example = 912_680_551)]
    pub used_bytes: i64,
    /// The same as text, when it is more than a JSON number holds exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_bytes_exact: Option<String>,
    /// `null` without a limit.
    #[schema(example = 1_073_741_824)]
    pub limit_bytes: Option<i64>,
    /// Of the limit, two decimals; `null` without one.
    #[schema(example = 85.0)]
    pub percent_of_limit: Option<f64>,
    #[serde(serialize_with = "moment::to_the_second")]
    pub raised_at: DateTime<Utc>,
    /// Day in the tenant's time zone on which the limit is reached if usage goes on as in the cycle so far, or was found to be
    /// reached; `null` if that is not in this cycle.
    #[schema(example = "2026-11-26")]
    pub exhausted_on: Option<NaiveDate>,
}

/// The pool of an alert.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AlertedPool {
    #[schema(example = 3)]
    pub id: i32,
    /// As it was called then.
    #[schema(example = "Trucks north")]
    pub name: String,
}

/// The billing cycle of an alert.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AlertCycle {
    #[schema(example = "2026-11")]
    pub id: String,
    pub start: DateTime<Utc>,
    /// First moment of the next cycle.
    pub end: DateTime<Utc>,
}

/// What was crossed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AlertThreshold {
    /// Left out when the threshold is one in bytes.
    #[schema(example = 80)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
    #[schema(example = 858_993_460)]
    pub bytes: i64,
}

impl From<Alert> for AlertDocument {
    fn from(alert: Alert) -> Self {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            id: alert.id,
            iccid: some(alert.iccid),
            sim_id: some(alert.sim_id),
            pool: alert.pool.map(|AlertPool { id, name }| AlertedPool { id, name }),
            cycle: AlertCycle { id: alert.cycle_id, start: alert.cycle_start, end: alert.cycle_end },
            threshold: AlertThreshold { percent: alert.threshold_percent, bytes: alert.threshold_bytes },
            used_bytes: alert.used_bytes,
            used_bytes_exact: alert.used_bytes_exact,
            limit_bytes: alert.limit_bytes,
            percent_of_limit: alert.percent,
            raised_at: alert.raised_at,
            exhausted_on: alert.exhausted_on,
        }
    }
}

impl AlertDocument {
    /// As JSON.
    pub(super) fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a document of strings and numbers")
    }
}

/// What a webhook is sent.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WebhookBody {
    /// `usage.alert`
    #[serde(rename = "type")]
    #[schema(example = "usage.alert")]
    pub kind: &'static str,
    pub alert: AlertDocument,
}

impl WebhookBody {
    pub(super) fn json(alert: Alert) -> Vec<u8> {
        let body = Self { kind: "usage.alert", alert: alert.into() };
        serde_json::to_vec(&body).expect("a document of strings and numbers")
    }
}
