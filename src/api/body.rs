//! Bodies that are read.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
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

/// What the parser found, without the library's introduction.
fn inner(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}
