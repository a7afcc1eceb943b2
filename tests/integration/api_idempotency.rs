//! `Idempotency-Key` on POST (draft-ietf-httpapi-idempotency-key-header).

use reqwest::Method;
use serde_json::{Value, json};
use simbridge::domain::Clock;

use crate::harness::api::{Answer, TestApi, sent};
use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::time;

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";
const AT: &str = "2026-03-10T11:00:00Z";

fn record(record_id: &str, bytes: i64) -> Value {
    json!({"recordId": record_id, "iccid": ICCID, "periodStart": AT, "periodEnd": AT, "usage": {"totalBytes": bytes}})
}

async fn with_sim() -> (TestDatabase, TestApi, String) {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["usage:write"]).await;
    (database, api, key)
}

async fn post(api: &TestApi, key: &str, path: &str, header: &str, body: &Value) -> Answer {
    let request = api.request(Method::POST, path).bearer_auth(key).header("Idempotency-Key", header);
    sent(request.json(body)).await
}

/// Catches a key that is not compared with its request, and one that is forgotten by another instance.
#[tokio::test]
async fn a_key_stands_for_one_request_on_every_instance() {
    let (database, api, key) = with_sim().await;
    let other = TestApi::start_at(&database, NOW).await;
    let first = post(&api, &key, "/api/v1/usage", "\"k-1\"", &record("a", 1)).await;
    assert_eq!((first.status, first.header("idempotency-key")), (202, Some("\"k-1\"")));
    // Bare or quoted it is the same key.
    let again = post(&other, &key, "/api/v1/usage", "k-1", &record("a", 1)).await;
    assert_eq!((again.status, &again.json()["status"]), (202, &json!("DUPLICATE")));
    let batch = json!({"batchId": "b", "records": [record("b", 2)]});
    for (path, body) in [("/api/v1/usage", record("b", 2)), ("/api/v1/usage/batch", batch.clone())] {
        let reused = post(&other, &key, path, "k-1", &body).await;
        let id = reused.header("x-request-id").expect("an id").to_owned();
        let message = "this Idempotency-Key was sent with another request before";
        let expected = json!({"error": {"code": "IDEMPOTENCY_KEY_REUSED", "message": message, "requestId": id}, "message": message});
        assert_eq!((reused.status, reused.json()), (422, expected));
    }
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_records").await, 1);
    // Another sender's keys are another sender's.
    let second = api.key(&["usage:write"]).await;
    assert_eq!(post(&api, &second, "/api/v1/usage/batch", "k-1", &batch).await.status, 202);
    other.close().await;
    api.close().await;
}

/// Catches a key that is used up by a request that was refused for its form.
#[tokio::test]
async fn a_request_that_was_at_fault_may_be_mended_under_its_key() {
    let (database, api, key) = with_sim().await;
    assert_eq!(post(&api, &key, "/api/v1/usage", "k", &record("a", -1)).await.status, 400);
    assert_eq!(post(&api, &key, "/api/v1/usage", "k", &record("a", 1)).await.status, 202);
    for bad in ["", "\"open", &"x".repeat(256)] {
        let answer = post(&api, &key, "/api/v1/usage", bad, &record("a", 1)).await;
        let message = "must be one key of 1 to 255 visible ASCII characters";
        let details = json!([{"field": "Idempotency-Key", "message": message}]);
        assert_eq!((answer.status, &answer.json()["error"]["details"]), (400, &details), "{bad}");
    }
    assert_eq!(database.number("SELECT count(*) FROM idempotency_keys").await, 1);
    api.close().await;
}

/// Catches a table that only grows, and a key that is refused for ever.
#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let (database, api, key) = with_sim().await;
    for n in 0..30 {
        post(&api, &key, "/api/v1/usage", &format!("k-{n}"), &record("a", 1)).await;
    }
    let clock = Clock::Fixed(time("2026-03-11T12:00:00.000001Z"));
    let later = TestApi::start_with(&database, clock, false, |_| ()).await;
    assert_eq!(post(&later, &key, "/api/v1/usage", "k-0", &record("b", 1)).await.status, 202);
    assert_eq!(post(&later, &key, "/api/v1/usage", "k-0", &record("a", 1)).await.status, 422);
    for n in 0..3 {
        post(&later, &key, "/api/v1/usage", &format!("new-{n}"), &record("a", 1)).await;
    }
    assert_eq!(database.number("SELECT count(*) FROM idempotency_keys").await, 4);
    later.close().await;
    api.close().await;
}

/// Catches looking before inserting: both would find nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_different_requests_under_one_key_at_once_one_counts() {
    let (database, api, _) = with_sim().await;
    let key = api.key_with("default", &["usage:write"], &[("usage_single", 0)]).await;
    for round in 0..10 {
        let posts = (0..8).map(|n| {
            let request = api.request(Method::POST, "/api/v1/usage").bearer_auth(&key);
            let body = record(&format!("r-{round}-{n}"), 1);
            tokio::spawn(sent(request.header("Idempotency-Key", format!("k-{round}")).json(&body)))
        });
        let posts: Vec<_> = posts.collect();
        let mut statuses = Vec::new();
        for post in posts {
            statuses.push(post.await.expect("it ends").status);
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [202, 422, 422, 422, 422, 422, 422, 422]);
    }
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 10);
    api.close().await;
}
