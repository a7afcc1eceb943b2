//! Where alerts are sent, and what became of it.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::domain::TenantId;

use super::alerts::Alert;
use super::{Statement, Store, StoreError, statement};

static ADD: Statement = statement!("add_alert_webhook", INT4, TEXT, TEXT, TIMESTAMPTZ);
static LIST: Statement = statement!("list_alert_webhooks", INT4);
static DELETE: Statement = statement!("delete_alert_webhook", INT4, INT4);
static HAS: Statement = statement!("has_alert_webhook", INT4, INT4);
static REPLAY: Statement = statement!("replay_alert_deliveries", INT4, INT4, INT8, INT4, TIMESTAMPTZ);
static DELIVERIES: Statement = statement!("list_alert_deliveries", INT4, INT4, TEXT, INT8, INT8);
static CLAIM: Statement = statement!("claim_alert_deliveries", TIMESTAMPTZ, INT8, TIMESTAMPTZ, INT4_ARRAY);
static FINISH: Statement =
    statement!("finish_alert_delivery", INT8, INT4, BOOL, TIMESTAMPTZ, INT4, TEXT, TIMESTAMPTZ);
static BACKLOG: Statement = statement!("alert_delivery_backlog");

/// A webhook, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub id: i32,
    pub url: String,
    pub created_at: DateTime<Utc>,
    /// Deliveries that are to be made.
    pub waiting: i64,
    /// Deliveries that were given up.
    pub failed: i64,
}

/// Signs what is sent; never shown in a log.
#[derive(Clone)]
pub struct WebhookSecret(pub String);

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// One attempt that this instance has to make.
#[derive(Clone, Debug)]
pub struct ClaimedDelivery {
    pub id: i64,
    /// This one included.
    pub attempts: i32,
    /// After this one.
    pub tries_left: i32,
    pub webhook_id: i32,
    pub url: String,
    pub secret: WebhookSecret,
    pub alert: Alert,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryResult {
    pub delivered: bool,
    /// Without one, and not delivered, it is given up.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// HTTP status, when there was an answer.
    pub status: Option<u16>,
    pub error: Option<String>,
}

/// A delivery in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverySummary {
    pub id: i64,
    pub alert_id: i64,
    /// `waiting`, `delivered` or `failed`.
    pub state: String,
    pub attempts: i32,
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub last_status: Option<i32>,
    pub last_error: Option<String>,
    pub finished_at: Option<DateTime<Utc>>,
}

impl Store {
    /// `None` when the tenant has a webhook with this address.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn add_alert_webhook(
        &self,
        tenant: TenantId,
        url: &str,
        secret: &WebhookSecret,
        at: DateTime<Utc>,
    ) -> Result<Option<i32>, StoreError> {
        let client = self.client().await?;
        let rows = ADD.rows(&client, self.mode, &[&tenant.0, &url, &secret.0, &at]).await?;
        Ok(rows.first().map(|row| row.get("id")))
    }

    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn alert_webhooks(&self, tenant: TenantId) -> Result<Vec<Webhook>, StoreError> {
        let client = self.client().await?;
        let rows = LIST.rows(&client, self.mode, &[&tenant.0]).await?;
        Ok(rows
            .iter()
            .map(|row| Webhook {
                id: row.get("id"),
                url: row.get("url"),
                created_at: row.get("created_at"),
                waiting: row.get("waiting"),
                failed: row.get("failed"),
            })
            .collect())
    }

    /// False when the tenant has no such webhook.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn delete_alert_webhook(&self, tenant: TenantId, id: i32) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(DELETE.execute(&client, self.mode, &[&tenant.0, &id]).await? == 1)
    }

    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn has_alert_webhook(&self, tenant: TenantId, id: i32) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(!HAS.rows(&client, self.mode, &[&tenant.0, &id]).await?.is_empty())
    }

    /// Sends again what was given up, or one alert that was delivered or given up; returns how many deliveries. `None`
    /// when the tenant has no such webhook.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub async fn replay_alert_deliveries(
        &self,
        tenant: TenantId,
        webhook: i32,
        alert: Option<i64>,
        tries: i32,
        at: DateTime<Utc>,
    ) -> Result<Option<i64>, StoreError> {
        let client = self.client().await?;
        let rows = REPLAY.rows(&client, self.mode, &[&tenant.0, &webhook, &alert, &tries, &at]).await?;
        Ok(rows.first().map(|row| row.get("replayed")))
    }

    /// A page of deliveries, newest first; an empty state matches all.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn alert_deliveries(
        &self,
        tenant: TenantId,
        webhook: i32,
        state: &str,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<DeliverySummary>, StoreError> {
        let client = self.client().await?;
        let before = before.unwrap_or(i64::MAX);
        let rows =
            DELIVERIES.rows(&client, self.mode, &[&tenant.0, &webhook, &state, &before, &limit]).await?;
        Ok(rows
            .iter()
            .map(|row| DeliverySummary {
                id: row.get("id"),
                alert_id: row.get("alert_id"),
                state: row.get("state"),
                attempts: row.get("attempts"),
                next_attempt_at: row.get("next_attempt_at"),
                last_status: row.get("last_status"),
                last_error: row.get("last_error"),
                finished_at: row.get("finished_at"),
            })
            .collect())
    }

    /// Takes deliveries that are due at `at`, a few of each webhook and none of `busy` ones. Of what is not finished by
    /// `lost_at`, another attempt is made.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was taken then, or it is taken again at `lost_at`.
    pub async fn claim_alert_deliveries(
        &self,
        at: DateTime<Utc>,
        at_most: i64,
        lost_at: DateTime<Utc>,
        busy: &[i32],
    ) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let client = self.client().await?;
        let rows = CLAIM.rows(&client, self.mode, &[&at, &at_most, &lost_at, &busy]).await?;
        Ok(rows
            .iter()
            .map(|row| ClaimedDelivery {
                id: row.get("delivery_id"),
                attempts: row.get("attempts"),
                tries_left: row.get("tries_left"),
                webhook_id: row.get("webhook_id"),
                url: row.get("url"),
                secret: WebhookSecret(row.get("secret")),
                alert: Alert::from_row(row),
            })
            .collect())
    }

    /// Notes how an attempt ended. False when it was taken for lost and a later one was begun.
    ///
    /// # Errors
    /// [`StoreError`]; another attempt will be made then.
    pub async fn finish_alert_delivery(
        &self,
        claimed: &ClaimedDelivery,
        result: &DeliveryResult,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let status = result.status.map(i32::from);
        #[rustfmt::skip]
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] = [
            &claimed.id, &claimed.attempts, &result.delivered, &result.next_attempt_at, &status, &result.error, &at,
        ];
        Ok(FINISH.execute(&client, self.mode, &params).await? == 1)
    }

    /// Deliveries that wait.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be reached.
    pub async fn alert_delivery_backlog(&self) -> Result<i64, StoreError> {
        let client = self.client().await?;
        Ok(BACKLOG.rows(&client, self.mode, &[]).await?[0].get("waiting"))
    }
}
