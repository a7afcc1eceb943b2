//! Sessions as their cumulative counters tell them (contract §4).

use serde_json::{Value, json};

use crate::harness::api::TestApi;
use crate::harness::database::{TestDatabase, sim};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";

fn reading(session: &str, at: &str, upload: i64, download: i64) -> Value {
    json!({"recordId": format!("{session} {at}"), "iccid": ICCID, "periodStart": at, "periodEnd": at,
           "counters": {"sessionId": session, "uploadBytes": upload, "downloadBytes": download}})
}

async fn with_sim() -> (TestDatabase, TestApi, String) {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["usage:write", "usage:read"]).await;
    (database, api, key)
}

#[tokio::test]
async fn a_session_shows_the_sum_of_its_readings() {
    let (database, api, key) = with_sim().await;
    let readings = [
        reading("vpn 1/ä", "2026-03-10T11:00:00Z", 1_000, 70_000_000_000),
        // It began anew.
        reading("vpn 1/ä", "2026-03-10T11:45:00Z", 500, 2_405_502_500),
        // Late: included already.
        reading("vpn 1/ä", "2026-03-10T11:30:00Z", 2_000, 70_000_000_500),
        reading("other", "2026-03-10T11:00:00Z", 1, 1),
    ];
    for body in readings {
        assert_eq!(api.post_as(&key, "/api/v1/usage", &body).await.status, 202);
    }
    let usage = api.get_as(&key, "/session/vpn%201%2F%C3%A4/usage").await;
    assert_eq!((usage.status, usage.json()), (200, json!({"dataUsedBytes": 72_405_504_000i64})));
    let created = "SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
                   FROM usage_sessions WHERE session_id = 'vpn 1/ä'";
    let created = database.text(created, &[]).await;
    let info = api.get_as(&key, "/session/vpn%201%2F%C3%A4/info").await;
    let expected = json!({
        "session_id": "vpn 1/ä", "iccid": ICCID, "data_used_bytes": 72_405_504_000i64, "data_upload_bytes": 1_500,
        "data_download_bytes": 72_405_502_500i64, "created_at": created, "expires_at": "2026-03-10T12:15:00Z",
        "status": "active",
    });
    assert_eq!((info.status, info.json()), (200, expected));
    let other = api.get_as(&key, "/session/other/info").await.json();
    assert_eq!((&other["status"], &other["expires_at"]), (&json!("expired"), &json!("2026-03-10T11:30:00Z")));
    api.close().await;
}

/// Catches a session that is looked up without its tenant.
#[tokio::test]
async fn a_session_that_the_tenant_does_not_have_is_a_problem() {
    let (database, api, key) = with_sim().await;
    database.tenant("other", "UTC").await;
    api.post_as(&key, "/api/v1/usage", &reading("s", "2026-03-10T11:00:00Z", 1, 1)).await;
    let other = api.key_of("other", &["usage:read"]).await;
    let long = format!("/session/{}/info", "x".repeat(101));
    for (key, path) in [
        (&other, "/session/s/usage"),
        (&other, "/session/s/info"),
        (&key, "/session/t/usage"),
        (&key, "/session/a%00b/info"),
        (&key, &long),
    ] {
        let answer = api.get_as(key, path).await;
        let id = answer.header("x-request-id").expect("an id");
        let expected = json!({"type": "about:blank", "title": "Not Found", "status": 404, "code": "NOT_FOUND",
                              "detail": "there is no such session", "requestId": id});
        assert_eq!((answer.status, answer.json()), (404, expected), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(api.get_as(&key, "/session/%FF/info").await.status, 400);
    let writer = api.key(&["usage:write"]).await;
    assert_eq!(api.get("/session/s/usage").await.status, 401);
    assert_eq!(api.get_as(&writer, "/session/s/usage").await.status, 403);
    api.close().await;
}

/// Catches a sum that leaves 64 bits and is rounded without a word.
#[tokio::test]
async fn a_sum_beyond_2_to_the_53rd_is_also_text() {
    let (database, api, key) = with_sim().await;
    database
        .run(
            "INSERT INTO usage_sessions (tenant_id, iccid, session_id, last_sample_at, data_upload_bytes)
              VALUES (1, '8941000000000000001', 's', '2026-03-10T11:59:00Z', 9007199254740993)",
        )
        .await;
    let usage = api.get_as(&key, "/session/s/usage").await;
    assert_eq!(usage.text, r#"{"dataUsedBytes":9007199254740993,"dataUsedBytesExact":"9007199254740993"}"#);
    let info = api.get_as(&key, "/session/s/info").await.json();
    assert_eq!(info["data_upload_bytes_exact"], "9007199254740993");
    assert_eq!((&info["data_download_bytes"], info.get("data_download_bytes_exact")), (&json!(0), None));
    api.close().await;
}
