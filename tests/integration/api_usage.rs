//! POST of one usage record (contract §4).

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::api::{Answer, TestApi, sent};
use crate::harness::database::{TestDatabase, sim};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";
const AT: &str = "2026-03-10T11:00:00Z";
const PATH: &str = "/api/v1/usage";

fn record(record_id: &str, bytes: i64) -> Value {
    json!({"recordId": record_id, "iccid": ICCID, "periodStart": AT, "periodEnd": AT, "usage": {"totalBytes": bytes}})
}

async fn with_sim() -> (TestDatabase, TestApi) {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let api = TestApi::start_at(&database, NOW).await;
    (database, api)
}

/// Sends bytes that claim to be JSON.
async fn post_bytes(api: &TestApi, key: &str, body: impl Into<Vec<u8>>) -> Answer {
    let request = api.request(Method::POST, PATH).bearer_auth(key).header("content-type", "application/json");
    sent(request.body(body.into())).await
}

/// The error body with this code, message and details.
fn error(answer: &Answer, code: &str, message: &str, details: Option<Value>) -> Value {
    let id = answer.header("x-request-id").expect("an id");
    let mut body = json!({"error": {"code": code, "message": message, "requestId": id}, "message": message});
    if let Some(details) = details {
        body["error"]["details"] = details;
    }
    body
}

async fn total(database: &TestDatabase) -> i64 {
    database.assert_reconciled().await;
    database.number("SELECT coalesce(sum(total_bytes), 0) FROM usage_cycles").await
}

/// Catches an answer before COMMIT, and a duplicate that is told its own time.
#[tokio::test]
async fn a_record_is_accepted_and_the_same_again_is_a_duplicate() {
    let (database, api) = with_sim().await;
    let key = api.key(&["usage:write"]).await;
    let first = api.post_as(&key, PATH, &record("r-1", 7)).await;
    let stored = "SELECT to_char(processed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM usage_records";
    let at = database.text(stored, &[]).await;
    let expected = json!({"recordId": "r-1", "status": "ACCEPTED", "processedAt": at});
    assert_eq!((first.status, first.json()), (202, expected));
    let before = "2026-03-10T11:30:00Z";
    database.run(&format!("UPDATE record_keys SET processed_at = '{before}'")).await;
    let again = api.post_as(&key, PATH, &record("r-1", 7)).await;
    let expected = json!({"recordId": "r-1", "status": "DUPLICATE", "processedAt": before});
    assert_eq!((again.status, again.json()), (202, expected));
    assert_eq!(total(&database).await, 7);
    assert!(api.bridge.metrics.ingest.balance().holds());
    api.close().await;
}

/// Catches last one wins, and a conflict that nobody can look at.
#[tokio::test]
async fn other_content_under_the_same_id_is_a_conflict_and_changes_nothing() {
    let (database, api) = with_sim().await;
    let key = api.key(&["usage:write"]).await;
    api.post_as(&key, PATH, &record("r-1", 7)).await;
    let other = api.post_as(&key, PATH, &record("r-1", 8)).await;
    let message =
        "recordId: was stored before with other content; a change needs a correction or a new recordId";
    let expected = error(&other, "USAGE_RECORD_DUPLICATE", message, None);
    assert_eq!((other.status, other.json()), (409, expected));
    assert_eq!(total(&database).await, 7);
    let parked = "SELECT reason || ' ' || via || ' ' || record_id FROM quarantine";
    assert_eq!(database.rows(parked).await, ["conflict http r-1"]);
    let balance = api.bridge.metrics.ingest.balance();
    assert!(balance.holds(), "{balance:?}");
    assert_eq!((balance.received, balance.stored, balance.parked), (2, 1, 1));
    api.close().await;
}

/// Catches telling one fault at a time, and a quarantine that fills with what its senders were told.
#[tokio::test]
async fn every_fault_of_a_record_is_told_and_nothing_is_taken_over() {
    let (database, api) = with_sim().await;
    let key = api.key(&["usage:write"]).await;
    let body = json!({
        "recordId": "", "periodStart": "2026-03-10T11:00:00", "periodEnd": "2026-03-10T10:00:00Z", "mccmnc": "1",
        "usage": {"totalBytes": -1, "smsCount": "2", "voiceSeconds": 1.5},
    });
    let answer = api.post_as(&key, PATH, &body).await;
    let faults = [
        ("recordId", "must not be empty"),
        ("iccid", "is required where no topic names it"),
        ("periodStart", "must be an RFC 3339 time with a zone, such as 2026-11-21T10:00:00Z"),
        ("usage.totalBytes", "must not be negative"),
        ("usage.smsCount", "must be an integer, not text"),
        ("usage.voiceSeconds", "must be an integer, not a fraction or exponent"),
        ("mccmnc", "must be 5 or 6 digits"),
    ];
    let details: Vec<Value> = faults.iter().map(|(f, m)| json!({"field": f, "message": m})).collect();
    let message = faults.map(|(field, message)| format!("{field}: {message}")).join("; ");
    let expected = error(&answer, "VALIDATION_ERROR", &message, Some(details.into()));
    assert_eq!((answer.status, answer.json()), (400, expected));
    assert_eq!(database.number("SELECT count(*) FROM quarantine").await, 0);
    assert_eq!(api.bridge.metrics.ingest.balance().received, 0);
    api.close().await;
}

/// Catches a batch that comes in by the door for single records, past the limit for batches.
#[tokio::test]
async fn what_is_not_one_record_is_refused() {
    let (database, api) = with_sim().await;
    let key = api.key(&["usage:write"]).await;
    let one = record("r-1", 7).to_string();
    let many = "must be one usage record; /api/v1/usage/batch takes many";
    for (body, message) in [
        (format!("[{one}]"), many),
        ("[]".into(), many),
        (format!(r#"{{"batchId":"b","records":[{one}]}}"#), many),
        (format!(r#"{{"records":[{one}]}}"#), many),
        (format!(r#"{{"records":[{one},{one}]}}"#), many),
        (String::new(), "the payload is empty"),
        ("7".into(), "a usage payload is a JSON object or array"),
        ("null".into(), "a usage payload is a JSON object or array"),
        (r#"{"recordId":"#.into(), "not JSON: EOF while parsing a value at line 1 column 12"),
    ] {
        let answer = post_bytes(&api, &key, body.clone()).await;
        let details = json!([{"field": "", "message": message}]);
        let expected = error(&answer, "VALIDATION_ERROR", message, Some(details));
        assert_eq!((answer.status, answer.json()), (400, expected), "{body}");
    }
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 0);
    api.close().await;
}

/// Catches a parser that panics, recurses or lets a number through that is none.
#[tokio::test]
async fn a_hostile_body_is_a_client_error() {
    let (database, api) = with_sim().await;
    let key = api.key(&["usage:write"]).await;
    let with = |amount: &str| record("r", 7).to_string().replace(r#""totalBytes":7"#, amount).into_bytes();
    let mut not_utf8 = record("r", 7).to_string().into_bytes();
    let at = not_utf8.iter().position(|byte| *byte == b'r').expect("a letter");
    not_utf8[at] = 0xff;
    let deep = format!(r#"{{"usage":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let bodies = [
        with(r#""totalBytes":NaN"#),
        with(r#""totalBytes":1e400"#),
        with(r#""totalBytes":7e0"#),
        with(r#""totalBytes":99999999999999999999999999"#),
        with(r#""totalBytes":-0.0"#),
        with(r#""totalBytes":7,"totalBytes":8"#),
        not_utf8,
        deep.clone().into_bytes(),
        deep.replace('[', "{\"usage\":").replace(']', "}").into_bytes(),
        "[".repeat(10_000).into_bytes(),
        "{\"a\":".repeat(10_000).into_bytes(),
        vec![0; 100],
    ];
    for body in bodies {
        let answer = post_bytes(&api, &key, body.clone()).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (400, Some("VALIDATION_ERROR")),
            "{shown}"
        );
    }
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 0);
    assert_eq!(api.post_as(&key, PATH, &record("r", 7)).await.status, 202);
    api.close().await;
}

/// Catches a limit that counts packed bytes: 2 kB that become 2 MiB.
#[tokio::test]
async fn a_body_is_measured_after_unpacking() {
    let (database, api) = with_sim().await;
    let key = api.key(&["usage:write"]).await;
    let packed: &[u8] = include_bytes!("../fixtures/record_after_2_mib_of_spaces.json.gz");
    let request = || {
        let request = api.request(Method::POST, PATH).bearer_auth(&key);
        request.header("content-type", "application/json")
    };
    let bomb = sent(request().header("content-encoding", "gzip").body(packed)).await;
    let expected = error(&bomb, "PAYLOAD_TOO_LARGE", "the body is larger than 1048576 bytes", None);
    assert_eq!((bomb.status, bomb.json()), (413, expected));
    let plain = sent(request().body(" ".repeat((1 << 20) + 1))).await;
    assert_eq!((plain.status, plain.json()["error"]["code"].as_str()), (413, Some("PAYLOAD_TOO_LARGE")));
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 0);
    api.close().await;
}

#[tokio::test]
async fn who_may_not_write_usage_is_told_why() {
    let (database, api) = with_sim().await;
    let body = record("r-1", 7);
    let without = sent(api.request(Method::POST, PATH).json(&body)).await;
    let message = "an API key is needed: send Authorization: Bearer <key>, or X-API-Key";
    assert_eq!((without.status, without.json()), (401, error(&without, "UNAUTHORIZED", message, None)));
    let reader = api.key(&["usage:read"]).await;
    let refused = api.post_as(&reader, PATH, &body).await;
    let message = "this API key lacks the permission usage:write";
    assert_eq!((refused.status, refused.json()), (403, error(&refused, "FORBIDDEN", message, None)));
    let writer = api.key(&["usage:write"]).await;
    let request = api.request(Method::POST, PATH).bearer_auth(&writer).header("content-type", "text/plain");
    let text = sent(request.body(body.to_string())).await;
    let message = "the body must be sent as application/json";
    assert_eq!((text.status, text.json()), (415, error(&text, "UNSUPPORTED_MEDIA_TYPE", message, None)));
    let other = sent(api.request(Method::PUT, PATH).bearer_auth(&writer).json(&body)).await;
    assert_eq!((other.status, other.header("allow")), (405, Some("POST")));
    let by_header = sent(api.request(Method::POST, PATH).header("X-API-Key", &writer).json(&body)).await;
    assert_eq!(by_header.status, 202);
    assert_eq!(total(&database).await, 7);
    api.close().await;
}

/// Catches a correction from anybody.
#[tokio::test]
async fn a_correction_needs_its_permission_and_a_record_that_it_fits() {
    let (database, api) = with_sim().await;
    let (writer, corrector) = (api.key(&["usage:write"]).await, api.key(&["usage:*"]).await);
    api.post_as(&writer, PATH, &record("r-1", 100)).await;
    let correction = |id: &str, bytes: i64| {
        let mut body = record(id, bytes);
        body["corrects"] = "r-1".into();
        body
    };
    let refused = api.post_as(&writer, PATH, &correction("fix", -40)).await;
    let message = "this API key lacks the permission usage:correct";
    assert_eq!((refused.status, refused.json()), (403, error(&refused, "FORBIDDEN", message, None)));
    assert_eq!(api.post_as(&corrector, PATH, &correction("fix", -40)).await.json()["status"], "ACCEPTED");
    let below = api.post_as(&corrector, PATH, &correction("more", -61)).await;
    let words = "would take more than the record and its other corrections add up to";
    let details = json!([{"field": "corrects", "message": words}]);
    let expected = error(&below, "VALIDATION_ERROR", &format!("corrects: {words}"), Some(details));
    assert_eq!((below.status, below.json()), (400, expected));
    assert_eq!(total(&database).await, 60);
    api.close().await;
}

/// Catches readings that are stored as amounts.
#[tokio::test]
async fn readings_of_counters_become_what_was_used_between_them() {
    let (database, api) = with_sim().await;
    let key = api.key(&["usage:write"]).await;
    for (minute, upload) in [(10, 100), (20, 150), (15, 120)] {
        let at = format!("2026-03-10T10:{minute}:00Z");
        let counters = json!({"sessionId": "s", "uploadBytes": upload, "downloadBytes": 0});
        let body =
            json!({"recordId": at, "iccid": ICCID, "periodStart": at, "periodEnd": at, "counters": counters});
        assert_eq!(api.post_as(&key, PATH, &body).await.json()["status"], "ACCEPTED");
    }
    let amounts = "SELECT total_bytes FROM usage_records ORDER BY record_id";
    assert_eq!(database.rows(amounts).await, ["100", "0", "50"]);
    assert_eq!(total(&database).await, 150);
    api.close().await;
}

/// Catches check-then-insert: two of them would find nothing and one would end in an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_eight_equal_posts_at_once_one_is_accepted_and_seven_are_duplicates() {
    let (database, api) = with_sim().await;
    let key = api.key_with("default", &["usage:write"], &[("usage_single", 0)]).await;
    for round in 0..20 {
        let body = record(&format!("r-{round}"), 1);
        let posts = (0..8).map(|_| {
            let request = api.request(Method::POST, PATH).bearer_auth(&key).json(&body);
            tokio::spawn(sent(request))
        });
        let posts: Vec<_> = posts.collect();
        let (mut words, mut times) = (Vec::new(), Vec::new());
        for post in posts {
            let answer = post.await.expect("it ends");
            assert_eq!(answer.status, 202, "{}", answer.text);
            words.push(answer.json()["status"].as_str().expect("a status").to_owned());
            times.push(answer.json()["processedAt"].clone());
        }
        words.sort_unstable();
        let expected: Vec<_> = ["ACCEPTED"].into_iter().chain(["DUPLICATE"; 7]).collect();
        assert_eq!(words, expected, "round {round}");
        times.dedup();
        assert_eq!(times.len(), 1, "all are told when it was stored");
    }
    assert_eq!(total(&database).await, 20);
    assert!(api.bridge.metrics.ingest.balance().holds());
    api.close().await;
}

/// Catches a SIM that is looked up without its tenant, and a key that one tenant takes from another.
#[tokio::test]
async fn the_sim_of_another_tenant_is_an_unknown_one() {
    let (database, api) = with_sim().await;
    database.tenant("other", "UTC").await;
    let (own, other) = (api.key(&["usage:write"]).await, api.key_of("other", &["usage:write"]).await);
    assert_eq!(api.post_as(&other, PATH, &record("r-1", 9)).await.json()["status"], "ACCEPTED");
    assert_eq!(total(&database).await, 0);
    assert_eq!(api.post_as(&own, PATH, &record("r-1", 7)).await.json()["status"], "ACCEPTED");
    assert_eq!(total(&database).await, 7);
    let stored =
        "SELECT concat_ws(' ', tenant_id, total_bytes, sim_id IS NULL) FROM usage_records ORDER BY tenant_id";
    assert_eq!(database.rows(stored).await, ["1 7 f", "2 9 t"]);
    api.close().await;
}
