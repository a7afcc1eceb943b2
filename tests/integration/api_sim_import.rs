//! Files of SIMs over HTTP.

use reqwest::{Body, Method};
use serde_json::{Value, json};

use crate::harness::api::{Answer, TestApi, sent};
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::pipeline::{TestPipeline, record_at, time, word};

const NOW: &str = "2026-03-10T12:00:00Z";
const CSV: &str = "text/csv; charset=utf-8";
const NDJSON: &str = "application/x-ndjson";

async fn start(database: &TestDatabase) -> (TestApi, String) {
    let api = TestApi::start_at(database, NOW).await;
    let key = api.key(&["sims:write"]).await;
    (api, key)
}

async fn post(api: &TestApi, key: &str, kind: &str, body: impl Into<Body>) -> Answer {
    let request = api.request(Method::POST, "/api/v1/sims/import").bearer_auth(key);
    sent(request.header("content-type", kind).body(body)).await
}

async fn sims(database: &TestDatabase) -> Vec<String> {
    database
        .rows("SELECT iccid, coalesce(device_name, '-'), cycle_day FROM provisioned_sims ORDER BY 1")
        .await
}

#[tokio::test]
async fn good_rows_of_a_csv_file_count_and_bad_ones_are_told_with_their_lines() {
    let database = TestDatabase::new().await;
    let acme = database.tenant("acme", "UTC").await;
    database.store.import_sims(acme, &[sim("8941000000000000005")], time(NOW)).await.expect("an import");
    database.import_at(NOW, &[sim("8941000000000000001")]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let early = record_at("a", "2026-03-10T11:00:00Z", 1);
    assert_eq!(word(&pipeline.one("8941000000000000002", early).await), "stored");
    let (api, key) = start(&database).await;
    let csv = "\u{feff}iccid,deviceName,cycle_day,currency\n\
               8941000000000000001,\"pump, 1\",,CHF\n\
               894100000,,,\n\
               8941000000000000002,two,32,\n\
               8941000000000000002,two,15,\n\
               8941000000000000003,,,EUR\n\
               8941000000000000005,mine,,\n\
               8941000000000000002,three,,\n";
    let answer = post(&api, &key, CSV, csv).await;
    let expected = json!({"rowsReceived": 7, "created": 1, "updated": 2, "failed": 4, "recordsAttached": 1, "errors": [
        {"line": 3, "error": "iccid must be 10 to 20 digits"},
        {"line": 4, "error": "cycle_day must be a number from 1 to 31"},
        {"line": 6, "error": "currency must be CHF, in which the tenant bills"},
        {"line": 7, "error": "this ICCID is in use already"},
    ], "complete": true, "lastLine": 8});
    assert_eq!((answer.status, answer.json()), (200, expected));
    let expected =
        ["8941000000000000001|pump, 1|1", "8941000000000000002|three|15", "8941000000000000005|-|1"];
    assert_eq!(sims(&database).await, expected);
    database.roll_up().await;
    database.assert_reconciled().await;
    api.close().await;
}

#[tokio::test]
async fn good_lines_of_ndjson_count_and_bad_ones_are_told_with_all_their_faults() {
    let database = TestDatabase::new().await;
    let (api, key) = start(&database).await;
    let long = format!(r#"{{"iccid": "8941000000000000004", "deviceName": "{}"}}"#, "x".repeat(70_000));
    let ndjson = format!(
        "{}\n\n{}\nnothing\n[]\n{long}\n{}",
        r#"{"iccid": "8941000000000000001", "deviceName": "one", "cycleDay": 15}"#,
        r#"{"iccid": "1", "latitude": 91}"#,
        r#"{"iccid": "8941000000000000002", "deviceName": null}"#,
    );
    let answer = post(&api, &key, NDJSON, ndjson).await;
    let expected = json!({"rowsReceived": 6, "created": 2, "updated": 0, "failed": 4, "recordsAttached": 0, "errors": [
        {"line": 3, "error": "iccid: must be a text of 10 to 20 digits; latitude: must be a number from -90 to 90"},
        {"line": 4, "error": "is not JSON"},
        {"line": 5, "error": "must be a JSON object"},
        {"line": 6, "error": "has more than 65536 bytes"},
    ], "complete": true, "lastLine": 7});
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_eq!(sims(&database).await, ["8941000000000000001|one|15", "8941000000000000002|-|1"]);
    database.assert_reconciled().await;
    api.close().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_refused_as_a_whole() {
    let database = TestDatabase::new().await;
    let (api, key) = start(&database).await;
    let refused = async |kind: &str, body: &'static str| {
        let answer = post(&api, &key, kind, body).await;
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        (answer.status, text(&answer.json()["error"]["code"]), text(&answer.json()["message"]))
    };
    let (status, code, message) = refused(CSV, "").await;
    assert_eq!((status, code.as_str()), (400, "VALIDATION_ERROR"));
    assert!(message.starts_with("the header names no column `iccid`; it knows iccid, imsi"), "{message}");
    let (status, _, message) = refused(CSV, "iccid,colour\n8941000000000000001,red\n").await;
    assert!(status == 400 && message.starts_with("the header names `colour`"), "{message}");
    let (status, code, message) = refused("application/json", "[]").await;
    assert_eq!((status, code.as_str()), (415, "UNSUPPORTED_MEDIA_TYPE"));
    assert_eq!(message, "the body must be sent as text/csv or application/x-ndjson");
    let empty = post(&api, &key, NDJSON, "").await;
    assert_eq!((empty.status, &empty.json()["rowsReceived"]), (200, &json!(0)));
    assert_eq!(database.number("SELECT count(*) FROM provisioned_sims").await, 0);
    api.close().await;
}

/// Catches a bound that holds for declared lengths alone, and a row that counts although its end was cut off.
#[tokio::test]
async fn a_file_beyond_the_limit_is_refused_also_when_its_length_is_not_told() {
    let database = TestDatabase::new().await;
    let api = TestApi::start_with(&database, simbridge::domain::Clock::Fixed(time(NOW)), false, |config| {
        config.http.import_max_bytes = 1_024;
    })
    .await;
    let key = api.key(&["sims:write"]).await;
    let csv = |rows: usize| {
        let rows = (0..rows).map(|n| format!("{}\n", 8_941_000_000_000_000_000_u64 + n as u64));
        "iccid\n".to_owned() + &rows.collect::<String>()
    };
    assert_eq!(post(&api, &key, CSV, csv(50)).await.status, 200);
    let expected = (413, json!("PAYLOAD_TOO_LARGE"), json!("the body is larger than 1024 bytes"));
    let told = |answer: &Answer| {
        (answer.status, answer.json()["error"]["code"].clone(), answer.json()["message"].clone())
    };
    assert_eq!(told(&post(&api, &key, CSV, csv(100)).await), expected);
    let (client, mut server) = tokio::io::duplex(64);
    let text = csv(100);
    let writing = tokio::spawn(async move {
        tokio::io::AsyncWriteExt::write_all(&mut server, text.as_bytes()).await.ok();
    });
    let pieces = futures_util::stream::unfold(client, |mut from| async {
        let mut piece = vec![0; 64];
        let read = tokio::io::AsyncReadExt::read(&mut from, &mut piece).await.ok()?;
        piece.truncate(read);
        (read > 0).then_some((Ok::<_, std::io::Error>(piece), from))
    });
    assert_eq!(told(&post(&api, &key, CSV, Body::wrap_stream(pieces)).await), expected);
    writing.abort();
    assert_eq!(database.number("SELECT count(*) FROM provisioned_sims").await, 50);
    api.close().await;
}

/// Catches a body that is collected before anything of it is stored, and the last row of one that breaks off.
#[tokio::test]
async fn rows_are_stored_while_the_file_arrives_and_a_cut_off_row_never() {
    let database = TestDatabase::new().await;
    let (api, key) = start(&database).await;
    let (pieces, receiver) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(4);
    let body = Body::wrap_stream(futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece| (piece, receiver))
    }));
    let request = api.request(Method::POST, "/api/v1/sims/import").bearer_auth(&key);
    let sending = tokio::spawn(request.header("content-type", NDJSON).body(body).send());
    let line = |n: u32| format!("{{\"iccid\": \"{}\"}}\n", 8_941_000_000_000_000_000_u64 + u64::from(n));
    pieces.send(Ok((0..600).map(line).collect())).await.expect("it is read");
    let count = "SELECT count(*) FROM provisioned_sims";
    eventually("the first chunk", async || (database.number(count).await == 500).then_some(())).await;
    pieces.send(Err(std::io::Error::other("gone"))).await.expect("it is read");
    sending.await.expect("a task").expect_err("the client broke it off");
    // A new import waits for nobody.
    assert_eq!(post(&api, &key, CSV, "iccid\n8941000000000009999\n").await.status, 200);
    assert_eq!(database.number(count).await, 501);
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches a list of errors that grows with the file.
#[tokio::test]
async fn ten_thousand_faults_are_listed_and_all_are_counted() {
    let database = TestDatabase::new().await;
    let (api, key) = start(&database).await;
    let answer =
        post(&api, &key, CSV, format!("iccid\n{}8941000000000000001\n", "x\n".repeat(12_345))).await.json();
    assert_eq!((&answer["failed"], &answer["created"]), (&json!(12_345), &json!(1)));
    let errors = answer["errors"].as_array().expect("errors");
    assert_eq!((errors.len(), &errors[9_999]["line"]), (10_000, &json!(10_001)));
    api.close().await;
}

/// Catches an import that is cut off by the time limit of requests without a word of how far it came.
#[tokio::test]
async fn an_import_that_takes_too_long_tells_how_far_it_came() {
    let database = TestDatabase::new().await;
    let api = TestApi::start_with(&database, simbridge::domain::Clock::Fixed(time(NOW)), false, |config| {
        config.http.request_timeout_ms = 4_000;
    })
    .await;
    let key = api.key(&["sims:write"]).await;
    let (pieces, receiver) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(4);
    let body = Body::wrap_stream(futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece| (piece, receiver))
    }));
    let rows = (0..600).map(|n| format!("{}\n", 8_941_000_000_000_000_000_u64 + n));
    pieces.send(Ok("iccid\n".to_owned() + &rows.collect::<String>())).await.expect("it is read");
    // The rest never comes.
    let answer = post(&api, &key, CSV, body).await;
    let expected = json!({"rowsReceived": 500, "created": 500, "updated": 0, "failed": 0, "recordsAttached": 0, "errors": [],
        "complete": false, "lastLine": 501});
    assert_eq!((answer.status, answer.json()), (200, expected));
    drop(pieces);
    api.close().await;
}
