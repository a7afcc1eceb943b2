//! What is answered instead of a resource.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::domain::Permission;
use crate::store::StoreError;

/// After so long a request may be sent again when the database is away.
const RETRY_SECONDS: u64 = 5;

/// What is wrong with one field or parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Path of the field as the client wrote it; empty for the body as a whole.
    pub(crate) field: String,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Why a request is refused. Which body says so depends on the path (`envelope.rs`).
#[derive(Clone, Debug)]
pub(crate) enum ApiError {
    /// 400, all faults at once.
    Validation(Vec<Fault>),
    /// 401: no key, or an unknown one.
    Unauthorized,
    /// 403: the key was revoked.
    KeyDisabled,
    /// 403
    Missing(Permission),
    /// 403: a page of another origin wants something changed with the cookie of ours.
    OtherOrigin,
    /// 404: no SIM of this tenant has this id.
    SimNotFound,
    /// 404, with what was looked for.
    NotFound(&'static str),
    MethodNotAllowed,
    /// 409: the same identity with other content, or a state that does not allow it; in words for the client.
    Conflict {
        code: &'static str,
        message: String,
    },
    /// 413 with the limit in bytes.
    TooLarge {
        max_bytes: usize,
    },
    /// 415
    MediaType,
    /// 415: no file of rows.
    FileType,
    /// 429 with the seconds to wait.
    RateLimited {
        retry_after_seconds: u64,
    },
    /// 422: the Idempotency-Key stood for another request (draft-ietf-httpapi-idempotency-key-header).
    KeyReused,
    /// 503: as many clients as may are connected.
    Busy,
    /// 503: something that is needed is away for now.
    Unavailable,
    /// 503: it was taken over and is not committed yet; it may be stored later.
    Undecided,
    /// 503 or 500, logged once, when it is answered; never shown.
    Store(Arc<StoreError>),
    /// 500: a defect, logged where it was noticed.
    Internal,
}

/// Code of conflicting content under one `recordId`.
pub(crate) const USAGE_RECORD_DUPLICATE: &str = "USAGE_RECORD_DUPLICATE";
/// Code of any other conflict.
pub(crate) const CONFLICT: &str = "CONFLICT";

impl ApiError {
    /// One fault of one field.
    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Validation(vec![Fault::new(field, message)])
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Validation(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::KeyDisabled | Self::Missing(_) | Self::OtherOrigin => StatusCode::FORBIDDEN,
            Self::SimNotFound | Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType | Self::FileType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unavailable | Self::Undecided | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(error) if is_outage(error) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(_) | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Stable, for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Validation(_) => "VALIDATION_ERROR",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::KeyDisabled | Self::Missing(_) | Self::OtherOrigin => "FORBIDDEN",
            Self::SimNotFound => "SIM_NOT_FOUND",
            Self::NotFound(_) => "NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::Conflict { code, .. } => code,
            Self::TooLarge { .. } => "PAYLOAD_TOO_LARGE",
            Self::MediaType | Self::FileType => "UNSUPPORTED_MEDIA_TYPE",
            Self::RateLimited { .. } => "RATE_LIMIT_EXCEEDED",
            Self::KeyReused => "IDEMPOTENCY_KEY_REUSED",
            _ if self.status() == StatusCode::SERVICE_UNAVAILABLE => "SERVICE_UNAVAILABLE",
            _ => "INTERNAL_ERROR",
        }
    }

    /// For people; says nothing of the inside.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Validation(faults) => {
                let one = |fault: &Fault| match fault.field.as_str() {
                    "" => fault.message.clone(),
                    field => format!("{field}: {}", fault.message),
                };
                faults.iter().map(one).collect::<Vec<_>>().join("; ")
            }
            Self::Unauthorized => {
                "an API key is needed: send Authorization: Bearer <key>, or X-API-Key".into()
            }
            Self::KeyDisabled => "this API key was revoked".into(),
            Self::Missing(permission) => format!("this API key lacks the permission {permission}"),
            Self::OtherOrigin => {
                "with a cookie this has to be asked by the dashboard itself; send an API key instead".into()
            }
            Self::SimNotFound => "there is no such SIM".into(),
            Self::NotFound(what) => format!("there is no such {what}"),
            Self::MethodNotAllowed => "this method is not allowed here; see the Allow header".into(),
            Self::Conflict { message, .. } => message.clone(),
            Self::TooLarge { max_bytes } => format!("the body is larger than {max_bytes} bytes"),
            Self::MediaType => "the body must be sent as application/json".into(),
            Self::FileType => "the body must be sent as text/csv or application/x-ndjson".into(),
            Self::RateLimited { retry_after_seconds } => {
                format!("too many requests; try again in {retry_after_seconds} s")
            }
            Self::Busy => "too many clients are connected; try again".into(),
            Self::KeyReused => "this Idempotency-Key was sent with another request before".into(),
            Self::Undecided => {
                "this was taken over and is not stored yet; send the same again, what was stored then is \
                                a duplicate"
                    .into()
            }
            _ if self.status() == StatusCode::SERVICE_UNAVAILABLE => {
                "this cannot be done at the moment; send the same request again".into()
            }
            _ => "something went wrong here; it was logged under this request id".into(),
        }
    }

    /// Seconds after which the same request may succeed.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_seconds } => Some(*retry_after_seconds),
            _ if self.status() == StatusCode::SERVICE_UNAVAILABLE => Some(RETRY_SECONDS),
            _ => None,
        }
    }

    /// What an answer without a body of ours means, for example of a library's layer.
    pub(crate) fn of_status(status: StatusCode, max_bytes: usize) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            StatusCode::NOT_FOUND => Self::NotFound("resource"),
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge { max_bytes },
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::MediaType,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => Self::Unavailable,
            status if status.is_client_error() => Self::invalid("", "the request cannot be read"),
            _ => Self::Internal,
        }
    }
}

/// The database is away or busy, in contrast to a statement that it refuses.
fn is_outage(error: &StoreError) -> bool {
    match error {
        StoreError::Pool(_) | StoreError::Timeout(_) | StoreError::CommitUnconfirmed(_) => true,
        StoreError::Config(_) | StoreError::CyclesMissing(_) | StoreError::TotalsIncomplete { .. } => false,
        // No code: the connection broke. 08 connection, 53 resources, 57 shutdown, 40 and 55P03 contention.
        StoreError::Postgres(_) => error.code().is_none_or(|code| {
            ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class)) || code == "55P03"
        }),
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl IntoResponse for ApiError {
    /// The body is written by `envelope.rs`, which knows the path and the request id.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}
