use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::alerts::check_target;
use crate::api::ApiState;
use crate::api::body::JsonBody;
use crate::api::caller::{Allowed, ChangeAlerts};
use crate::api::error::{ApiError, CONFLICT};
use crate::api::query::Query;
use crate::domain::moment;
use crate::store::alert_webhooks::{DeliverySummary, Webhook, WebhookSecret};

use super::{cut, id, page};

/// Where alerts shall be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewWebhook {
    /// `https://` and an address of the public internet, without user name and password.
    #[schema(example = "https://alerts.example/simbridge")]
    url: String,
}

/// A new webhook.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedWebhook {
    #[schema(example = 3)]
    id: i32,
    url: String,
    /// Key of the signatures, shown here and never again.
    #[schema(example = "whsec_4fzzz5cRz2Cz8c0nU0mD0yEJ0b1G3nYk8b2m3h4x5yA")]
    secret: String,
    #[serde(serialize_with = "moment::to_the_second")]
    created_at: DateTime<Utc>,
}

/// A webhook, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebhookEntry {
    #[schema(example = 3)]
    id: i32,
    url: String,
    #[serde(serialize_with = "moment::to_the_second")]
    created_at: DateTime<Utc>,
    /// Deliveries that are still to be made.
    #[schema(example = 0)]
    waiting: i64,
    /// Deliveries that were given up and can be replayed.
    #[schema(example = 0)]
    failed: i64,
}

/// Every webhook of the tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookList {
    webhooks: Vec<WebhookEntry>,
}

/// What was or will be sent to a webhook.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryEntry {
    /// The header `X-Simbridge-Delivery`.
    #[schema(example = 815)]
    id: i64,
    #[schema(example = 4711)]
    alert_id: i64,
    /// `waiting`, `delivered` or `failed`.
    #[schema(example = "delivered")]
    state: String,
    /// Attempts so far, replays included.
    #[schema(example = 1)]
    attempts: i32,
    #[serde(serialize_with = "moment::if_any")]
    next_attempt_at: Option<DateTime<Utc>>,
    /// HTTP status of the last answer.
    #[schema(example = 200)]
    last_status: Option<i32>,
    /// Why the last attempt failed.
    last_error: Option<String>,
    #[serde(serialize_with = "moment::if_any")]
    finished_at: Option<DateTime<Utc>>,
}

/// A page of deliveries.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryPage {
    deliveries: Vec<DeliveryEntry>,
    /// Gives the next page as `cursor`; `null` on the last one.
    next_cursor: Option<String>,
}

/// What is sent again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Replayed {
    /// Deliveries that wait again.
    #[schema(example = 2)]
    replayed: i64,
}

impl From<Webhook> for WebhookEntry {
    fn from(webhook: Webhook) -> Self {
        let Webhook { id, url, created_at, waiting, failed } = webhook;
        Self { id, url, created_at, waiting, failed }
    }
}

impl From<DeliverySummary> for DeliveryEntry {
    fn from(delivery: DeliverySummary) -> Self {
        Self {
            id: delivery.id,
            alert_id: delivery.alert_id,
            state: delivery.state,
            attempts: delivery.attempts,
            next_attempt_at: delivery.next_attempt_at,
            last_status: delivery.last_status,
            last_error: delivery.last_error,
            finished_at: delivery.finished_at,
        }
    }
}

/// Send alerts to an address
///
/// Every alert that is raised from now on is sent as a POST of a `WebhookBody`, with the headers `X-Simbridge-Delivery` (the same
/// for every attempt: what was seen before can be ignored), `X-Simbridge-Timestamp` (Unix seconds of the attempt) and
/// `X-Simbridge-Signature`: `v1=` and the HMAC-SHA256 in hexadecimal digits of timestamp, a full stop and the body as received,
/// with the whole secret as the key. Any answer from 200 to 299 in time ends it; otherwise it is tried again with growing pauses,
/// and at last given up. Redirects are not followed.
#[utoipa::path(post, path = "/api/v1/alerts/webhooks", tag = "Alerts", operation_id = "addWebhook",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    request_body(content = NewWebhook),
    responses(
        (status = 201, description = "The webhook, with its secret", body = CreatedWebhook),
        (status = 409, description = "There is one with this address, or there are as many as a tenant may have")))]
pub(super) async fn add(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
    JsonBody(new): JsonBody<NewWebhook>,
) -> Result<(StatusCode, Json<CreatedWebhook>), ApiError> {
    let limits = state.alerts;
    let url = check_target(&new.url, limits.webhook_allow_private)
        .map_err(|fault| ApiError::invalid("url", fault.to_string()))?
        .to_string();
    let conflict = |message: String| ApiError::Conflict { code: CONFLICT, message };
    if state.store.alert_webhooks(caller.tenant).await?.len() >= limits.webhooks_per_tenant {
        return Err(conflict(format!("there are {} webhooks already", limits.webhooks_per_tenant)));
    }
    let bits: [u8; 32] = rand::rng().random();
    let secret = WebhookSecret(format!("whsec_{}", BASE64_URL_SAFE_NO_PAD.encode(bits)));
    let created_at = state.clock.now();
    let added = state.store.add_alert_webhook(caller.tenant, &url, &secret, created_at).await?;
    let id = added.ok_or_else(|| conflict("there is a webhook with this address".into()))?;
    Ok((StatusCode::CREATED, Json(CreatedWebhook { id, url, secret: secret.0, created_at })))
}

/// Webhooks
#[utoipa::path(get, path = "/api/v1/alerts/webhooks", tag = "Alerts", operation_id = "listWebhooks",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    responses((status = 200, description = "Every webhook of the tenant", body = WebhookList)))]
pub(super) async fn list(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
) -> Result<Json<WebhookList>, ApiError> {
    let webhooks = state.store.alert_webhooks(caller.tenant).await?;
    Ok(Json(WebhookList { webhooks: webhooks.into_iter().map(WebhookEntry::from).collect() }))
}

/// Send nothing more to an address
///
/// What waits for it is forgotten, and so is what became of earlier deliveries.
#[utoipa::path(delete, path = "/api/v1/alerts/webhooks/{id}", tag = "Alerts", operation_id = "deleteWebhook",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    params(("id" = i32, Path, description = "Id of the webhook")),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
    Path(webhook): Path<String>,
) -> Result<StatusCode, ApiError> {
    let webhook = id(&webhook, "webhook")?;
    match state.store.delete_alert_webhook(caller.tenant, webhook).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::NotFound("webhook")),
    }
}

/// Deliveries to a webhook, newest first
#[utoipa::path(get, path = "/api/v1/alerts/webhooks/{id}/deliveries", tag = "Alerts", operation_id = "listDeliveries",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    params(
        ("id" = i32, Path, description = "Id of the webhook"),
        ("state" = Option<String>, Query, description = "waiting, delivered or failed"),
        ("limit" = Option<i64>, Query, description = "Deliveries of a page, from 1 to 500, 50 if left out"),
        ("cursor" = Option<String>, Query, description = "nextCursor of the page before")),
    responses((status = 200, description = "A page of deliveries", body = DeliveryPage)))]
pub(super) async fn deliveries(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
    Path(webhook): Path<String>,
    mut query: Query,
) -> Result<Json<DeliveryPage>, ApiError> {
    let states = ["waiting", "delivered", "failed"].map(|word| (word, word));
    let wanted = query.choice("state", &states).unwrap_or("");
    let (limit, before) = page(&mut query);
    query.finish()?;
    let webhook = id(&webhook, "webhook")?;
    if !state.store.has_alert_webhook(caller.tenant, webhook).await? {
        return Err(ApiError::NotFound("webhook"));
    }
    let mut found = state.store.alert_deliveries(caller.tenant, webhook, wanted, before, limit + 1).await?;
    let next_cursor = cut(&mut found, limit, |delivery| delivery.id);
    Ok(Json(DeliveryPage { deliveries: found.into_iter().map(DeliveryEntry::from).collect(), next_cursor }))
}

/// Send again
///
/// Everything that was given up, or with `alert` that one alert, also if it was delivered. Ids of deliveries stay the same.
#[utoipa::path(post, path = "/api/v1/alerts/webhooks/{id}/replay", tag = "Alerts", operation_id = "replayDeliveries",
    security(("bearer" = ["admin:alerts"]), ("apiKey" = ["admin:alerts"])),
    params(
        ("id" = i32, Path, description = "Id of the webhook"),
        ("alert" = Option<i64>, Query, description = "Id of the one alert to be sent again")),
    responses((status = 200, description = "How many deliveries wait again", body = Replayed)))]
pub(super) async fn replay(
    Allowed(caller, _): Allowed<ChangeAlerts>,
    State(state): State<ApiState>,
    Path(webhook): Path<String>,
    mut query: Query,
) -> Result<Json<Replayed>, ApiError> {
    let alert = query.number("alert", 1, i64::MAX);
    query.finish()?;
    let webhook = id(&webhook, "webhook")?;
    let (tries, at) = (state.alerts.webhook_attempts, state.clock.now());
    let replayed = state.store.replay_alert_deliveries(caller.tenant, webhook, alert, tries, at).await?;
    Ok(Json(Replayed { replayed: replayed.ok_or(ApiError::NotFound("webhook"))? }))
}
