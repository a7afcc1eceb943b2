use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::moment::in_seconds;
use crate::store::dashboard::DashboardStats;

use super::super::ApiState;
use super::super::caller::{Allowed, ReadConsumption};
use super::super::error::ApiError;

/// Live figures in their envelope
#[derive(Serialize, ToSchema)]
pub(super) struct LiveFigures {
    #[schema(example = true)]
    success: bool,
    data: LiveFiguresData,
}

/// Live figures; usage in GB of 2^30 bytes, with two decimals
#[derive(Serialize, ToSchema)]
struct LiveFiguresData {
    /// Of all days that are held.
    #[schema(example = 512.25)]
    data_usage: f64,
    #[schema(example = 112.2)]
    data_usage_upload: f64,
    #[schema(example = 400.05)]
    data_usage_download: f64,
    /// Of this month in the tenant's time zone.
    #[schema(example = 40.5)]
    monthly_data_usage: f64,
    /// Of this day in the tenant's time zone.
    #[schema(example = 2.13)]
    today_data_usage: f64,
    /// SIMs with usage this month.
    #[schema(example = 7)]
    active_sims: i64,
    /// Sessions with a reading not long ago.
    #[schema(example = 3)]
    active_sessions: i64,
    /// When the figures were computed.
    #[schema(example = "2026-11-21T12:00:00Z")]
    last_updated: String,
}

pub(super) fn body(stats: &DashboardStats, now: DateTime<Utc>) -> Bytes {
    let figures = LiveFigures {
        success: true,
        data: LiveFiguresData {
            data_usage: stats.data_usage,
            data_usage_upload: stats.data_usage_upload,
            data_usage_download: stats.data_usage_download,
            monthly_data_usage: stats.monthly_data_usage,
            today_data_usage: stats.today_data_usage,
            active_sims: stats.active_sims,
            active_sessions: stats.active_sessions,
            last_updated: in_seconds(now),
        },
    };
    serde_json::to_vec(&figures).expect("numbers and text").into()
}

/// Shows live figures
///
/// For those who poll; at most a few seconds old, and during an outage of the database up to 30 seconds.
#[utoipa::path(
    get, path = "/api/dashboard/stats", tag = "Live figures",
    security(("bearer" = ["consumption:read"]), ("apiKey" = ["consumption:read"])),
    responses((status = 200, description = "Figures of the tenant", body = LiveFigures)),
)]
pub(super) async fn show(
    Allowed(caller, ..): Allowed<ReadConsumption>,
    State(state): State<ApiState>,
) -> Result<Response, ApiError> {
    let figures = state.feeds.figures(caller.tenant).await?;
    let kind = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((kind, Body::from(figures.body)).into_response())
}
