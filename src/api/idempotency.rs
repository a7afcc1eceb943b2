//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).
//!
//! Every POST that takes it is idempotent by itself: a record by its ICCID and `recordId`, a batch by its records, a reset
//! by its cycle. So no answer is kept and replayed: the same request is carried out again and finds everything done. What
//! the header adds is the proof that it is the same request: with another one the key is refused.

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::response::{IntoResponseParts, ResponseParts};
use sha2::{Digest, Sha256};
use utoipa::IntoParams;

use crate::store::idempotency::{RequestHash, SentKey};

use super::ApiState;
use super::caller::Caller;
use super::error::ApiError;

const NAME: &str = "idempotency-key";
/// A UUID has 36.
const MAX_CHARS: usize = 255;

/// The header as the document describes it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only described")]
pub(crate) struct IdempotencyHeader {
    /// Quoted or bare. Refused with 422 when it came with another request in the last hours.
    #[param(rename = "Idempotency-Key", required = false, nullable = false, value_type = String, min_length = 1,
            max_length = 255, pattern = r#"^("[ !#-\[\]-~]+"|[!#-~][ -~]*)$"#)]
    key: Option<String>,
}

/// Extractor: the key, if the client sent one, and for which path. In an answer: the key as it was sent.
#[derive(Debug)]
pub(crate) struct IdempotencyKey {
    sent: Option<(String, HeaderValue)>,
    path: String,
}

impl FromRequestParts<ApiState> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, ApiError> {
        let path = parts.uri.path().to_owned();
        let mut values = parts.headers.get_all(NAME).iter();
        let Some(value) = values.next() else { return Ok(Self { sent: None, path }) };
        let key = value.to_str().ok().and_then(key_in).filter(|_| values.next().is_none());
        let Some(key) = key else {
            let message = format!("must be one key of 1 to {MAX_CHARS} visible ASCII characters");
            return Err(ApiError::invalid("Idempotency-Key", message));
        };
        Ok(Self { sent: Some((key, value.clone())), path })
    }
}

impl IdempotencyKey {
    /// Lets the key stand for this request. Called when the request is known to be well formed, so that a client may mend
    /// one and send it under the same key.
    ///
    /// # Errors
    /// [`ApiError::KeyReused`], or an outage.
    pub(crate) async fn claim(&self, state: &ApiState, caller: &Caller, body: &[u8]) -> Result<(), ApiError> {
        let Some((key, _)) = &self.sent else { return Ok(()) };
        if !state.database.is_working() {
            return Err(ApiError::Unavailable);
        }
        let sent = SentKey { tenant: caller.tenant, sender: caller.name(), key };
        let now = state.clock.now();
        let since = now - state.usage.idempotency;
        let request = self.request(body);
        let claim = state.store.claim_idempotency_key(sent, &request, now, since);
        match tokio::time::timeout(state.usage.post_timeout, claim).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(ApiError::KeyReused),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ApiError::Unavailable),
        }
    }

    fn request(&self, body: &[u8]) -> RequestHash {
        let mut hash = Sha256::new();
        hash.update((self.path.len() as u64).to_be_bytes());
        hash.update(&self.path);
        hash.update(body);
        hash.finalize().into()
    }
}

impl IntoResponseParts for IdempotencyKey {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Self::Error> {
        if let Some((_, value)) = self.sent {
            response.headers_mut().insert(NAME, value);
        }
        Ok(response)
    }
}

/// The key in a header's value: a quoted string (RFC 8941) as the draft has it, or bare as most clients send it.
fn key_in(value: &str) -> Option<String> {
    let value = value.trim();
    let key = match value.strip_prefix('"') {
        Some(rest) => unquoted(rest)?,
        None => value.to_owned(),
    };
    let visible = key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    ((1..=MAX_CHARS).contains(&key.len()) && visible).then_some(key)
}

/// What stands before the closing quote, which has to be the last character.
fn unquoted(rest: &str) -> Option<String> {
    let mut key = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(key),
            '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            other => key.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_be_quoted_or_bare() {
        for (value, key) in [("abc-1", "abc-1"), (r#""abc-1""#, "abc-1"), (r#""a\"b\\c""#, r#"a"b\c"#)] {
            assert_eq!(key_in(value).as_deref(), Some(key));
        }
        let long = "x".repeat(256);
        for bad in ["", "\"\"", "\"abc", "\"abc\"x", r#""a\b""#, "a\tb", &long] {
            assert_eq!(key_in(bad), None, "{bad}");
        }
    }
}
