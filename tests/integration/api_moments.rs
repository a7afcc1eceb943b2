//! Moments as answers tell them.

use reqwest::Method;
use serde_json::{Value, json};
use simbridge::store::sims::SimRow;

use crate::harness::api::{Answer, TestApi, sent};
use crate::harness::database::{TestDatabase, sim};

const ICCID: &str = "8941000000000000001";
/// As a machine's clock has it.
const NOW: &str = "2026-03-10T12:00:00.123456789Z";
const AT: &str = "2026-03-10T11:00:00Z";

/// Every text that is a moment, with its place.
fn moments(place: &str, value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) if chrono::DateTime::parse_from_rfc3339(text).is_ok() => {
            found.push((place.to_owned(), text.clone()));
        }
        Value::Array(all) => all.iter().for_each(|one| moments(place, one, found)),
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| moments(&format!("{place}.{name}"), field, found));
        }
        _ => {}
    }
}

/// Catches an answer whose moments have more digits than those of the others; the clock and the database have more.
#[tokio::test]
async fn every_answer_tells_moments_to_the_second() {
    let database = TestDatabase::new().await;
    let limited = SimRow { data_limit_bytes: Some(10), ..sim(ICCID) };
    database.import_at("2026-03-01T00:00:00Z", &[limited]).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["*"]).await;
    let record = |id: &str| json!({"recordId": id, "iccid": ICCID, "periodStart": AT, "periodEnd": AT, "usage": {"totalBytes": 100}});
    let reading = json!({"recordId": "s", "iccid": ICCID, "periodStart": AT, "periodEnd": AT,
                         "counters": {"sessionId": "on", "uploadBytes": 1, "downloadBytes": 1}});
    let post = async |path: &str, body: Value| api.post_as(&key, path, &body).await;
    let webhook = post("/api/v1/alerts/webhooks", json!({"url": "https://alerts.example/x"})).await;
    let deliveries = format!("/api/v1/alerts/webhooks/{}/deliveries", webhook.json()["id"]);
    let mut answers: Vec<(String, Answer)> = vec![
        ("webhook".into(), webhook),
        ("stored".into(), post("/api/v1/usage", record("a")).await),
        ("duplicate".into(), post("/api/v1/usage", record("a")).await),
        (
            "batch".into(),
            post("/api/v1/usage/batch", json!({"batchId": "b", "records": [record("b")]})).await,
        ),
        ("reading".into(), post("/api/v1/usage", reading).await),
    ];
    let parked =
        post("/api/v1/usage/batch", json!({"batchId": "c", "records": [record("p"), {"recordId": "bad"}]}));
    answers.push(("parked".into(), parked.await));
    let mended = database.number("SELECT min(id) FROM quarantine").await;
    let parked = format!("/api/v1/quarantine/{mended}");
    answers.push((parked.clone(), api.get_as(&key, &parked).await));
    let body = json!({"payload": record("mended").to_string()});
    answers.push(("replayed".into(), post(&format!("{parked}/replay"), body).await));
    answers.push(("session".into(), post("/api/session", json!({"key": key})).await));
    database.roll_up().await;
    crate::alerts::raise(&database.store, NOW).await;
    let sim = format!("/api/v1/sims/{ICCID}");
    for path in [
        "/api/v1/health".to_owned(),
        "/api/v1/alerts".into(),
        "/api/v1/alerts/webhooks".into(),
        deliveries,
        "/session/on/info".into(),
        "/api/dashboard/stats".into(),
        "/api/v1/operations".into(),
        "/api/v1/quarantine?state=all".into(),
        "/api/v1/sims".into(),
        format!("{sim}/sessions"),
        format!("{sim}/usage"),
        format!("{sim}/usage/records"),
        format!("{sim}/usage/history"),
        sim.clone(),
    ] {
        let answer = sent(api.request(Method::GET, &path).bearer_auth(&key)).await;
        answers.push((path, answer));
    }
    for (what, answer) in answers {
        assert!((200..300).contains(&answer.status), "{what}: {}", answer.text);
        let mut found = Vec::new();
        moments("", &answer.json(), &mut found);
        assert!(!found.is_empty() || what.ends_with("/deliveries"), "{what}: {}", answer.text);
        for (place, text) in found {
            assert!(text.len() == AT.len() && text.ends_with('Z'), "{what}{place}: {text}");
        }
    }
    api.close().await;
}
