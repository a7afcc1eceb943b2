//! Answers that were given before, for as long as nothing that they show changed.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
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
    body: Arc<OnceCell<Bytes>>,
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
    ) -> Result<(Bytes, bool), ApiError> {
        let key = format!("{} {route} {question:?}", tenant.0);
        let body = self.slot(key, standing);
        if let Some(known) = body.get() {
            return Ok((known.clone(), true));
        }
        let made = body.get_or_try_init(make).await?.clone();
        self.bound();
        Ok((made, false))
    }

    fn slot(&self, key: String, standing: &Standing) -> Arc<OnceCell<Bytes>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.get(&key) {
            Some(known) if known.standing == *standing => known.body.clone(),
            _ => {
                let body = Arc::<OnceCell<Bytes>>::default();
                kept.insert(key, Kept { standing: standing.clone(), body: body.clone() });
                body
            }
        }
    }

    /// Forgets everything when it is too much: the pages that are looked at come back at once.
    fn bound(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // What the table itself takes is counted roughly.
        let size = |(key, kept): (&String, &Kept)| key.len() + 300 + kept.body.get().map_or(0, Bytes::len);
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
