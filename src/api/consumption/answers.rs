//! Answers that were given before, for as long as nothing that they show changed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Debug;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::OnceCell;

use crate::domain::TenantId;
use crate::store::consumption::Standing;

use super::super::error::ApiError;

/// Bodies by question. PostgreSQL counts every change of what they show (migration V14), so an answer is exact however old
/// it is, and a page that many look at is computed once.
#[derive(Debug)]
pub(crate) struct Answers {
    max_bytes: usize,
    kept: Mutex<HashMap<String, Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    standing: Standing,
    /// Filled by whoever asks first; the others wait for it.
    answer: Arc<OnceCell<Answer>>,
}

/// Shorter ones fit into a packet or two.
const GZIP_FROM_BYTES: usize = 2_048;

/// A body of JSON, also compressed: for a long one that takes longer than everything else, so it is done once.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) plain: Bytes,
    gzip: Option<Bytes>,
}

impl Answer {
    async fn of(plain: Bytes) -> Result<Self, ApiError> {
        if plain.len() < GZIP_FROM_BYTES {
            return Ok(Self { plain, gzip: None });
        }
        let compress = move || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            let packed = encoder.write_all(&plain).and_then(|()| encoder.finish());
            packed.map(|packed| Self { plain, gzip: Some(packed.into()) })
        };
        match tokio::task::spawn_blocking(compress).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(ApiError::Internal),
        }
    }

    fn size(&self) -> usize {
        self.plain.len() + self.gzip.as_ref().map_or(0, Bytes::len)
    }

    pub(super) fn respond(self, gzip: AcceptsGzip) -> Response {
        let kind = (header::CONTENT_TYPE, "application/json");
        match self.gzip.filter(|_| gzip.0) {
            Some(packed) => {
                let headers = [kind, (header::CONTENT_ENCODING, "gzip"), (header::VARY, "accept-encoding")];
                (headers, Body::from(packed)).into_response()
            }
            None => ([kind], Body::from(self.plain)).into_response(),
        }
    }
}

/// Extractor: whether the client named gzip among what it can unpack.
#[derive(Clone, Copy, Debug)]
pub(super) struct AcceptsGzip(bool);

impl<S: Sync> FromRequestParts<S> for AcceptsGzip {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let named = parts.headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
        let mut codings = named.flat_map(|value| value.split(','));
        // With a weight, possibly 0, the layer around all answers decides.
        Ok(Self(codings.any(|coding| coding.trim().eq_ignore_ascii_case("gzip"))))
    }
}

impl Answers {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, kept: Mutex::default() }
    }

    /// The answer of `route` to a question, made by `make` unless it is known; and whether it was.
    pub(super) async fn get<Made: Future<Output = Result<Bytes, ApiError>>>(
        &self,
        (tenant, standing): (TenantId, &Standing),
        route: &str,
        question: impl Debug,
        make: impl FnOnce() -> Made,
    ) -> Result<(Answer, bool), ApiError> {
        let key = format!("{} {route} {question:?}", tenant.0);
        let answer = self.slot(key, standing);
        if let Some(known) = answer.get() {
            return Ok((known.clone(), true));
        }
        let made = answer.get_or_try_init(async || Answer::of(make().await?).await).await?.clone();
        self.bound();
        Ok((made, false))
    }

    fn slot(&self, key: String, standing: &Standing) -> Arc<OnceCell<Answer>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.get(&key) {
            Some(known) if known.standing == *standing => known.answer.clone(),
            _ => {
                let answer = Arc::<OnceCell<Answer>>::default();
                kept.insert(key, Kept { standing: standing.clone(), answer: answer.clone() });
                answer
            }
        }
    }

    /// Forgets everything when it is too much: the pages that are looked at come back at once.
    fn bound(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // What the table itself takes is counted roughly.
        let size =
            |(key, kept): (&String, &Kept)| key.len() + 300 + kept.answer.get().map_or(0, Answer::size);
        if kept.iter().map(size).sum::<usize>() > self.max_bytes {
            kept.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(version: i64) -> Standing {
        Standing {
            tenant: "a".into(),
            time_zone: "UTC".into(),
            currency: "CHF".into(),
            today: chrono::NaiveDate::MIN,
            raw_floor: None,
            version,
        }
    }

    async fn ask(answers: &Answers, tenant: i32, version: i64, question: &str) -> bool {
        let made = async || Ok(Bytes::from_static(&[b'x'; 100]));
        let known = answers.get((TenantId(tenant), &standing(version)), "route", question, made).await;
        known.expect("an answer").1
    }

    /// Catches an answer for another tenant, and one from before a change.
    #[tokio::test]
    async fn an_answer_is_known_until_something_changes() {
        let answers = Answers::new(1 << 20);
        assert!(!ask(&answers, 1, 1, "a").await);
        assert!(ask(&answers, 1, 1, "a").await);
        assert!(!ask(&answers, 1, 1, "b").await);
        assert!(!ask(&answers, 2, 1, "a").await);
        assert!(!ask(&answers, 1, 2, "a").await);
        assert!(ask(&answers, 1, 2, "a").await);
    }

    /// Catches a table that grows with every question that anybody thinks of.
    #[tokio::test]
    async fn no_more_is_kept_than_allowed() {
        let answers = Answers::new(2_000);
        for n in 0..100 {
            ask(&answers, 1, 1, &n.to_string()).await;
            assert!(answers.kept.lock().expect("nobody panics").len() <= 5);
        }
    }
}
