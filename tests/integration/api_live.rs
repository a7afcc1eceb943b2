//! Live figures: asked for, streamed and over a WebSocket (contract §5).

use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use simbridge::config::Config;
use simbridge::domain::Clock;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::harness::PATIENCE;
use crate::harness::api::TestApi;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, record_at, word};

const NOW: &str = "2026-03-10T12:00:00Z";
const GB: u64 = 1 << 30;

/// Usage yesterday, today and last month, in a zone in which the day began at 23:00 UTC.
async fn used(database: &TestDatabase) {
    database.run("UPDATE tenants SET time_zone = 'Europe/Zurich'; DELETE FROM zone_changes").await;
    database.import_at(NOW, &[sim("8941000000000000001"), sim("8941000000000000002")]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (iccid, id, at, bytes) in [
        ("8941000000000000001", "a", "2026-03-09T23:30:00Z", GB / 4),
        ("8941000000000000001", "b", "2026-03-09T22:30:00Z", GB),
        ("8941000000000000002", "c", "2026-02-10T12:00:00Z", 2 * GB),
    ] {
        assert_eq!(word(&pipeline.one(iccid, record_at(id, at, bytes as i64)).await), "stored");
    }
    database.roll_up().await;
    let session = "INSERT INTO usage_sessions (tenant_id, iccid, session_id, last_sample_at) VALUES
        (1, '8941000000000000001', 'on', '2026-03-10T11:45:00Z'), (1, '8941000000000000001', 'off', '2026-03-10T11:15:00Z')";
    database.run(session).await;
}

fn expected() -> Value {
    json!({"success": true, "data": {
        "data_usage": 3.25, "data_usage_upload": 0.0, "data_usage_download": 0.0, "monthly_data_usage": 1.25,
        "today_data_usage": 0.25, "active_sims": 1, "active_sessions": 1, "last_updated": NOW}})
}

#[tokio::test]
async fn figures_are_those_of_the_tenants_day_and_month() {
    let database = TestDatabase::new().await;
    used(&database).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["consumption:read"]).await;
    let answer = api.get_as(&key, "/api/dashboard/stats").await;
    assert_eq!((answer.status, answer.json()), (200, expected()));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    database.tenant("acme", "UTC").await;
    let other = api.key_of("acme", &["consumption:read"]).await;
    let none = api.get_as(&other, "/api/dashboard/stats").await.json();
    assert_eq!((&none["data"]["data_usage"], &none["data"]["active_sessions"]), (&json!(0.0), &json!(0)));
    api.close().await;
}

/// Catches a stream that waits for the first interval, one that keeps the program from ending, and one that is packed and so
/// held back.
#[tokio::test]
async fn a_stream_begins_at_once_goes_on_and_ends_with_the_program() {
    let database = TestDatabase::new().await;
    used(&database).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["consumption:read"]).await;
    let request = api.request(Method::GET, "/api/live/dashboard").bearer_auth(&key);
    let response = request.header("Accept-Encoding", "gzip").send().await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers().get("content-encoding"), None);
    let mut chunks = response.bytes_stream();
    let mut event = async || {
        let mut text = String::new();
        while !text.contains("\n\n") {
            let chunk = tokio::time::timeout(PATIENCE, chunks.next()).await.expect("in time")?;
            text.push_str(std::str::from_utf8(&chunk.ok()?).expect("UTF-8"));
        }
        Some(text)
    };
    let first = event().await.expect("an event");
    assert!(first.contains("id: 1\n") && first.contains("retry: 5000\n"), "{first}");
    let data = first.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
    assert_eq!(serde_json::from_str::<Value>(data).expect("JSON"), expected());
    assert!(event().await.expect("a second event").contains("id: 2\n"));
    tokio::time::timeout(PATIENCE, api.close()).await.expect("it ends");
    assert_eq!(event().await, None);
}

#[tokio::test]
async fn a_socket_gets_its_own_tenants_channel_and_no_other() {
    let database = TestDatabase::new().await;
    used(&database).await;
    let acme = database.tenant("acme", "UTC").await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["consumption:read"]).await;
    let connect = async |key: Option<&str>| {
        let url = format!("{}/ws", api.base.replace("http://", "ws://"));
        let mut request = url.into_client_request().expect("a request");
        if let Some(key) = key {
            request.headers_mut().insert("X-API-Key", key.parse().expect("a header"));
        }
        tokio_tungstenite::connect_async(request).await.map(|(socket, _)| socket)
    };
    let Err(Error::Http(refused)) = connect(None).await else { panic!("it has to be refused") };
    assert_eq!(refused.status().as_u16(), 401);

    let mut socket = connect(Some(&key)).await.expect("it opens");
    let say = async |socket: &mut tokio_tungstenite::WebSocketStream<_>, text: &str| {
        socket.send(Message::text(text)).await.expect("it takes it");
    };
    say(&mut socket, "hello").await;
    let wrong = socket.next().await.expect("an answer").expect("a message").into_text().expect("text");
    assert_eq!(wrong.as_str(), r#"{"error":"send {\"subscribe\":\"tenant.1.dashboard-stats\"}"}"#);
    say(&mut socket, r#"{"subscribe":"tenant.1.dashboard-stats"}"#).await;
    let mut next = async || -> Value {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time");
        let text = message.expect("a message").expect("no error").into_text().expect("text");
        serde_json::from_str(&text).expect("JSON")
    };
    assert_eq!(next().await, json!({"subscribed": "tenant.1.dashboard-stats"}));
    let pushed = json!({"channel": "tenant.1.dashboard-stats", "message": expected()});
    assert_eq!(next().await, pushed);
    assert_eq!(next().await, pushed);

    let mut socket = connect(Some(&key)).await.expect("it opens");
    say(&mut socket, &format!(r#"{{"subscribe":"tenant.{}.dashboard-stats"}}"#, acme.0)).await;
    let refusal = socket.next().await.expect("an answer").expect("a message").into_text().expect("text");
    assert_eq!(refusal.as_str(), r#"{"code":"FORBIDDEN","error":"this channel is not yours"}"#);
    let Some(Ok(Message::Close(Some(frame)))) = socket.next().await else { panic!("it has to be closed") };
    assert_eq!(u16::from(frame.code), 1008);
    tokio::time::timeout(PATIENCE, api.close()).await.expect("it ends");
}

/// Catches a slot that is not given back, and watchers without bound.
#[tokio::test]
async fn those_beyond_the_limit_are_told_to_come_again() {
    let database = TestDatabase::new().await;
    let one = |config: &mut Config| config.http.live_max_watchers = 1;
    let api = TestApi::start_with(&database, Clock::System, true, one).await;
    let watch = async || api.request(Method::GET, "/api/live/dashboard").send().await.expect("an answer");
    let first = watch().await;
    assert_eq!(first.status().as_u16(), 200);
    let second = watch().await;
    assert_eq!(second.status().as_u16(), 503);
    assert!(second.headers().contains_key("retry-after"));
    drop(first);
    crate::harness::eventually("the slot is free", async || (watch().await.status() == 200).then_some(()))
        .await;
    api.close().await;
}

/// Catches figures that are computed for every one who asks.
#[tokio::test]
async fn many_who_ask_at_once_get_the_same_figures() {
    let database = TestDatabase::new().await;
    let api = TestApi::demo(&database).await;
    let answers = futures_util::future::join_all((0..50).map(|_| api.get("/api/dashboard/stats"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    // An event's id is the number of the computation.
    let response = api.request(Method::GET, "/api/live/dashboard").send().await.expect("an answer");
    let first = response.bytes_stream().next().await.expect("an event").expect("bytes");
    assert!(first.windows(6).any(|part| part == b"id: 1\n"), "{first:?}");
    api.close().await;
}
