//! Lists that portal pages and simulators read whole: written page by page, so that their length costs no memory.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures_util::stream;
use serde::Serialize;
use serde_json::json;
use tracing::warn;
use utoipa::ToSchema;

use crate::domain::TenantId;
use crate::store::sim_lists::{ProvisionedSim, SimCard};
use crate::store::{Store, StoreError};

use super::super::ApiState;
use super::super::caller::{Allowed, ReadSims};
use super::super::error::ApiError;
use super::super::query::Query;
use super::cursor;

/// SIMs that are read at once.
const PAGE: usize = 1_000;
/// SIMs of a page that a client asks for.
const LIMIT_AT_MOST: i64 = 10_000;

/// A SIM for devices and simulators.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Provisioned {
    #[schema(example = "sim_0f1e2d3c4b5a69788796a5b4")]
    sim_id: String,
    #[schema(example = "8941000000000000009")]
    iccid: String,
    /// Empty where unknown.
    #[schema(example = "+41790000009")]
    msisdn: String,
    #[schema(example = "Active")]
    status: String,
}

/// A SIM for pages.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Card {
    #[schema(example = "sim_0f1e2d3c4b5a69788796a5b4")]
    id: String,
    #[schema(example = "8941000000000000009")]
    iccid: String,
    /// Empty where unknown, as are the other texts.
    imsi: String,
    msisdn: String,
    #[schema(example = "Active")]
    status: String,
    carrier: String,
    plan: String,
    /// In the current cycle; GB of 2^30 bytes.
    #[schema(example = "5.00 GB")]
    data_used: String,
    /// `0.00 GB` without a limit.
    #[schema(example = "20.00 GB")]
    data_limit: String,
}

// Describes what is written piece by piece.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "only described")]
pub(super) struct ProvisionedList {
    #[schema(example = true)]
    success: bool,
    data: Vec<Provisioned>,
    /// Only with `limit`: where the next page begins, null after the last one.
    next_cursor: Option<String>,
}

#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "only described")]
pub(super) struct CardList {
    #[schema(example = true)]
    success: bool,
    data: Vec<Card>,
    /// Only with `limit`: where the next page begins, null after the last one.
    next_cursor: Option<String>,
}

/// What a list consists of.
trait Listed: Serialize + Send + Sync + Sized + 'static {
    fn iccid(&self) -> &str;

    fn page(
        source: &Source,
        after: &str,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Self>, StoreError>> + Send;
}

impl Listed for Provisioned {
    fn iccid(&self) -> &str {
        &self.iccid
    }

    async fn page(source: &Source, after: &str, limit: usize) -> Result<Vec<Self>, StoreError> {
        let sims = source.store.provisioned_sims(source.tenant, after, limit as i64).await?;
        Ok(sims
            .into_iter()
            .map(|ProvisionedSim { sim_id, iccid, msisdn, status }| Self { sim_id, iccid, msisdn, status })
            .collect())
    }
}

impl Listed for Card {
    fn iccid(&self) -> &str {
        &self.iccid
    }

    async fn page(source: &Source, after: &str, limit: usize) -> Result<Vec<Self>, StoreError> {
        let sims = source.store.sim_cards(source.tenant, after, limit as i64, source.now).await?;
        let card = |sim: SimCard| {
            let SimCard { sim_id, iccid, imsi, msisdn, status, carrier, plan, data_used, data_limit } = sim;
            Self { id: sim_id, iccid, imsi, msisdn, status, carrier, plan, data_used, data_limit }
        };
        Ok(sims.into_iter().map(card).collect())
    }
}

/// Whose SIMs, seen when.
#[derive(Clone)]
struct Source {
    store: Store,
    tenant: TenantId,
    now: DateTime<Utc>,
}

/// SIMs by ICCID: all of them, or with `limit` a page
#[utoipa::path(get, path = "/api/v1/provisioned-sims", tag = "SIMs", security(("bearer" = ["sims:read"]), ("apiKey" = ["sims:read"])),
    params(("limit" = Option<i64>, Query, minimum = 1, maximum = 10_000, description = "SIMs at most; without it, all"),
           ("cursor" = Option<String>, Query, description = "nextCursor of the page before")),
    responses((status = 200, body = ProvisionedList, description = "SIMs in the order of their ICCIDs")))]
pub(super) async fn provisioned_sims(
    Allowed(caller, ..): Allowed<ReadSims>,
    State(state): State<ApiState>,
    query: Query,
) -> Result<Response, ApiError> {
    list::<Provisioned>(&state, caller.tenant, query).await
}

/// SIMs by ICCID with carrier, plan and usage of the current cycle: all of them, or with `limit` a page
#[utoipa::path(get, path = "/api/simcards", tag = "SIMs", security(("bearer" = ["sims:read"]), ("apiKey" = ["sims:read"])),
    params(("limit" = Option<i64>, Query, minimum = 1, maximum = 10_000, description = "SIMs at most; without it, all"),
           ("cursor" = Option<String>, Query, description = "nextCursor of the page before")),
    responses((status = 200, body = CardList, description = "SIMs in the order of their ICCIDs")))]
pub(super) async fn sim_cards(
    Allowed(caller, ..): Allowed<ReadSims>,
    State(state): State<ApiState>,
    query: Query,
) -> Result<Response, ApiError> {
    list::<Card>(&state, caller.tenant, query).await
}

async fn list<T: Listed>(state: &ApiState, tenant: TenantId, mut query: Query) -> Result<Response, ApiError> {
    let limit = query.number("limit", 1, LIMIT_AT_MOST);
    let after = query.text("cursor").map(cursor::iccid);
    if after == Some(None) {
        query.fault("cursor", cursor::FAULT);
    }
    query.finish()?;
    let after = after.flatten().map_or_else(String::new, |iccid| iccid.to_string());
    let source = Source { store: state.store.clone(), tenant, now: state.clock.now() };
    match limit {
        Some(limit) => page::<T>(&source, &after, limit as usize).await,
        None => whole::<T>(source, &after).await,
    }
}

async fn page<T: Listed>(source: &Source, after: &str, limit: usize) -> Result<Response, ApiError> {
    let mut sims = T::page(source, after, limit + 1).await?;
    let more = sims.len() > limit;
    sims.truncate(limit);
    let next = sims.last().filter(|_| more).map(|last| cursor::of_iccid(last.iccid()));
    Ok(axum::Json(json!({"success": true, "data": sims, "nextCursor": next})).into_response())
}

/// Everything, two pages in memory at a time. A failure in the middle breaks the connection off, so that no client takes a
/// part for the whole.
async fn whole<T: Listed>(source: Source, after: &str) -> Result<Response, ApiError> {
    // Before anything is answered, so that an outage is a 503.
    let first = T::page(&source, after, PAGE).await?;
    let pieces = stream::try_unfold(Some((first, true)), move |step| {
        let source = source.clone();
        async move {
            let Some((sims, begins)) = step else { return Ok(None) };
            let next = match sims.last() {
                Some(last) if sims.len() == PAGE => {
                    let read = T::page(&source, last.iccid(), PAGE).await;
                    Some(read.inspect_err(|cause| warn!(%cause, "a list of SIMs was broken off"))?)
                }
                _ => None,
            };
            let piece = text(&sims, begins, next.is_none());
            Ok::<_, StoreError>(Some((Bytes::from(piece), next.map(|sims| (sims, false)))))
        }
    });
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, Body::from_stream(pieces)).into_response())
}

fn text<T: Listed>(sims: &[T], begins: bool, ends: bool) -> Vec<u8> {
    let mut text = Vec::from(if begins { r#"{"success":true,"data":["# } else { "" });
    for (at, sim) in sims.iter().enumerate() {
        if at > 0 || !begins {
            text.push(b',');
        }
        serde_json::to_writer(&mut text, sim).expect("texts alone");
    }
    if ends {
        text.extend_from_slice(b"]}");
    }
    text
}
