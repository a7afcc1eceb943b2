//! Bodies that are read.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::ApiState;
use super::error::ApiError;

/// Extractor: a JSON body; what is wrong with it is a validation error, never a page of a library.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<ApiState> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(JsonRejection::JsonDataError(error)) => Err(ApiError::invalid("", inner(&error))),
            Err(JsonRejection::JsonSyntaxError(error)) => {
                Err(ApiError::invalid("", format!("not JSON: {}", inner(&error))))
            }
            Err(JsonRejection::MissingJsonContentType(_)) => Err(ApiError::MediaType),
            Err(other) => Err(ApiError::of_status(other.status(), state.limits.body_max_bytes)),
        }
    }
}

/// Extractor: a body that claims to be JSON, as it was sent; whoever reads it judges it piece by piece.
#[derive(Debug)]
pub(crate) struct JsonBytes(pub(crate) Bytes);

impl FromRequest<ApiState> for JsonBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::MediaType);
        }
        let bytes = Bytes::from_request(request, state).await;
        bytes.map(Self).map_err(|rejection| {
            ApiError::of_status(rejection.into_response().status(), state.limits.body_max_bytes)
        })
    }
}

/// As `axum::Json` decides it.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    essence.strip_prefix("application/").is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
}

/// What the parser found, without the library's introduction.
fn inner(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}
