//! SIMs of a tenant: lists, single ones, their usage, new ones (contract §4).

mod cursor;
mod fields;
mod history;
mod import;
mod lists;
mod records;
mod resource;
mod sessions;
mod table;
mod usage;

use std::time::Duration;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::Iccid;

use super::error::ApiError;
use super::{ApiState, number};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(lists::provisioned_sims))
        .routes(routes!(lists::sim_cards))
        .routes(routes!(table::list, resource::create))
        .routes(routes!(table::choices))
        .routes(routes!(table::export))
        .routes(routes!(import::import))
        .routes(routes!(resource::show, resource::change))
        .routes(routes!(usage::show))
        .routes(routes!(history::show))
        .routes(routes!(records::list))
        .routes(routes!(sessions::list))
}

/// For how long an import may go on within a request that may take so long: the answer needs time too.
pub(super) fn import_time(request: Duration) -> Duration {
    request * 3 / 4
}

/// Extractor: the `{id}` of a path, which is a SIM's id or its ICCID. Anything else is no SIM.
#[derive(Debug)]
struct SimId(String);

impl FromRequestParts<ApiState> for SimId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let Path(id) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|_| ApiError::SimNotFound)?;
        let is_sim_id = id.strip_prefix("sim_").is_some_and(|hex| {
            hex.len() == 24 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        if is_sim_id || Iccid::parse(&id).is_some() { Ok(Self(id)) } else { Err(ApiError::SimNotFound) }
    }
}

#[cfg(fuzzing)]
pub(super) fn read_bodies(body: &serde_json::Value) {
    fields::whole_sim(body).err();
    fields::patch(body, "8941000000000000001").err();
}

#[cfg(fuzzing)]
pub(super) fn read_cursors(text: &str) {
    let (iccid, record, session) = (cursor::iccid(text), cursor::record(text), cursor::session(text));
    if let Some(place) = record {
        assert!(cursor::record(&cursor::of_record(place)).is_some(), "a place leads back to itself");
    }
    drop((iccid, session));
}
