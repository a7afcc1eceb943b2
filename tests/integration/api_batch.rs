//! POST of a batch of usage records (contract §4).

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::api::{Answer, TestApi, sent};
use crate::harness::database::{TestDatabase, sim};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";
const AT: &str = "2026-03-10T11:00:00Z";
const PATH: &str = "/api/v1/usage/batch";

fn record(record_id: &str, bytes: i64) -> Value {
    json!({"recordId": record_id, "iccid": ICCID, "periodStart": AT, "periodEnd": AT, "usage": {"totalBytes": bytes}})
}

async fn with_sim() -> (TestDatabase, TestApi, String) {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key_with("default", &["usage:write"], &[("usage_batch", 0)]).await;
    (database, api, key)
}

async fn post_text(api: &TestApi, key: &str, body: impl Into<String>) -> Answer {
    let request = api.request(Method::POST, PATH).bearer_auth(key).header("content-type", "application/json");
    sent(request.body(body.into())).await
}

async fn total(database: &TestDatabase) -> i64 {
    database.assert_reconciled().await;
    database.number("SELECT coalesce(sum(total_bytes), 0) FROM usage_cycles").await
}

#[tokio::test]
async fn a_batch_is_stored_with_its_id_and_source() {
    let (database, api, key) = with_sim().await;
    let mut own = record("r-2", 2);
    own["source"] = "gateway".into();
    let body = json!({"batchId": "b-1", "source": "billing", "records": [record("r-1", 1), own]});
    let answer = api.post_as(&key, PATH, &body).await;
    let expected = json!({"batchId": "b-1", "recordsReceived": 2, "recordsProcessed": 2, "recordsFailed": 0,
                          "processedAt": NOW});
    assert_eq!((answer.status, answer.json()), (202, expected));
    let stored = "SELECT concat_ws(' ', record_id, source, batch_id) FROM usage_records ORDER BY record_id";
    assert_eq!(database.rows(stored).await, ["r-1 billing b-1", "r-2 gateway b-1"]);
    assert_eq!(total(&database).await, 3);
    api.close().await;
}

/// Catches a batch that fails with its first bad record, errors out of order, and duplicates that count as failed.
#[tokio::test]
async fn good_records_are_stored_and_bad_ones_listed_in_their_order() {
    let (database, api, key) = with_sim().await;
    api.post_as(&key, PATH, &json!({"batchId": "b-0", "records": [record("old", 10)]})).await;
    let unnamed = json!({"iccid": ICCID, "usage": 7});
    let mut correction = record("fix", -1);
    correction["corrects"] = "old".into();
    let records = [
        record("z", 1),
        record("bad", -1),
        record("old", 10),
        record("a", 2),
        record("a", 2),
        unnamed,
        json!("text"),
        record("a", 3),
        correction,
        record("old", 11),
    ];
    let answer = api.post_as(&key, PATH, &json!({"batchId": "b-1", "records": records})).await;
    let conflict =
        "recordId: was stored before with other content; a change needs a correction or a new recordId";
    let unnamed =
        "recordId: is required; periodStart: is required; periodEnd: is required; usage: must be an object";
    let expected = json!({
        "batchId": "b-1", "recordsReceived": 10, "recordsProcessed": 4, "recordsFailed": 6,
        "errors": [
            {"recordId": "bad", "error": "usage.totalBytes: must not be negative"},
            {"recordId": null, "error": unnamed},
            {"recordId": null, "error": "must be an object"},
            {"recordId": "a", "error": conflict},
            {"recordId": "fix", "error": "corrects: needs the permission usage:correct; usage.totalBytes: must not be negative"},
            {"recordId": "old", "error": conflict},
        ],
        "processedAt": NOW,
    });
    assert_eq!((answer.status, answer.json()), (202, expected));
    assert_eq!(total(&database).await, 13);
    assert_eq!(database.number("SELECT count(*) FROM quarantine WHERE via = 'http'").await, 6);
    assert!(api.bridge.metrics.ingest.balance().holds());
    api.close().await;
}

/// Catches errors that are cut, for example after 100.
#[tokio::test]
async fn a_thousand_records_may_fail_and_all_of_them_are_listed() {
    let (database, api, key) = with_sim().await;
    let bad: Vec<Value> = (0..1_000).map(|n| record(&format!("r-{n}"), -1)).collect();
    let answer = api.post_as(&key, PATH, &json!({"batchId": "b", "records": bad})).await.json();
    assert_eq!((&answer["recordsReceived"], &answer["recordsFailed"]), (&json!(1_000), &json!(1_000)));
    let errors = answer["errors"].as_array().expect("a list");
    let listed: Vec<_> = errors.iter().map(|error| error["recordId"].as_str().unwrap_or("")).collect();
    let expected: Vec<String> = (0..1_000).map(|n| format!("r-{n}")).collect();
    assert_eq!(listed, expected);
    assert_eq!(total(&database).await, 0);
    api.close().await;
}

/// Catches a batch of which a part is stored although it is refused, and one fault that hides another.
#[tokio::test]
async fn a_batch_that_is_none_is_refused_as_a_whole() {
    let (database, api, key) = with_sim().await;
    let one = record("r-1", 7);
    let many: Vec<Value> = (0..1_001).map(|n| record(&format!("r-{n}"), 1)).collect();
    let object = "a batch is a JSON object with batchId and records";
    for (body, faults) in [
        (json!([one]), vec![("", object)]),
        (json!("batch"), vec![("", object)]),
        (one.clone(), vec![("batchId", "is required"), ("records", "is required")]),
        (json!({}), vec![("batchId", "is required"), ("records", "is required")]),
        (json!({"batchId": "b", "records": []}), vec![("records", "must hold at least one record")]),
        (json!({"batchId": "b", "records": one}), vec![("records", "must be an array of records")]),
        (json!({"batchId": "b", "records": null}), vec![("records", "is required")]),
        (json!({"records": [one]}), vec![("batchId", "is required")]),
        (json!({"batchId": "", "records": [one]}), vec![("batchId", "must not be empty")]),
        (
            json!({"batchId": 7, "source": "x".repeat(101), "records": many}),
            vec![
                ("batchId", "must be text, not a number"),
                ("source", "must have at most 100 characters"),
                ("records", "1001 records, at most 1000 are accepted"),
            ],
        ),
    ] {
        let answer = api.post_as(&key, PATH, &body).await;
        let details: Vec<Value> = faults.iter().map(|(f, m)| json!({"field": f, "message": m})).collect();
        assert_eq!((answer.status, &answer.json()["error"]["details"]), (400, &json!(details)));
    }
    for text in ["", "{\"batchId\":\"b\",\"records\":[", "{\"batchId\":\"b\",\"recor\\u0064s\":[{}]}"] {
        assert_eq!(post_text(&api, &key, text).await.status, 400, "{text}");
    }
    let large = post_text(&api, &key, format!("{{\"batchId\":\"{}\"}}", "x".repeat(1 << 20))).await;
    assert_eq!((large.status, large.json()["error"]["code"].as_str()), (413, Some("PAYLOAD_TOO_LARGE")));
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 0);
    assert_eq!(api.bridge.metrics.ingest.balance().received, 0);
    api.close().await;
}

/// Catches one number that is none costing a thousand records.
#[tokio::test]
async fn a_record_that_is_no_json_costs_only_itself() {
    let (database, api, key) = with_sim().await;
    let bad = record("bad", 7).to_string().replace(":7}", ":NaN}");
    let body = format!(r#"{{"batchId":"b","records":[{},{bad},{}]}}"#, record("a", 1), record("b", 2));
    let answer = post_text(&api, &key, body).await;
    assert_eq!(answer.status, 202);
    let body = answer.json();
    assert_eq!((&body["recordsProcessed"], &body["recordsFailed"]), (&json!(2), &json!(1)));
    assert_eq!(body["errors"][0]["recordId"], Value::Null);
    assert!(body["errors"][0]["error"].as_str().expect("text").starts_with("not JSON: "), "{body}");
    assert_eq!(total(&database).await, 3);
    api.close().await;
}

/// Catches keys that are claimed out of order: batches that overlap would deadlock and end in errors.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn equal_batches_at_once_are_stored_once_and_none_fails() {
    let (database, api, key) = with_sim().await;
    let records: Vec<Value> = (0..200).map(|n| record(&format!("r-{n}"), 1)).collect();
    let posts = (0..8).map(|n| {
        let mut records = records.clone();
        records.rotate_left(n * 23);
        let body = json!({"batchId": format!("b-{n}"), "records": records});
        tokio::spawn(sent(api.request(Method::POST, PATH).bearer_auth(&key).json(&body)))
    });
    let posts: Vec<_> = posts.collect();
    for post in posts {
        let answer = post.await.expect("it ends");
        assert_eq!(
            (answer.status, &answer.json()["recordsProcessed"]),
            (202, &json!(200)),
            "{}",
            answer.text
        );
    }
    assert_eq!(total(&database).await, 200);
    let balance = api.bridge.metrics.ingest.balance();
    assert_eq!((balance.received, balance.stored, balance.duplicate), (1_600, 200, 1_400));
    api.close().await;
}
