//! Live figures: whose they are, who may watch, for how long and how many.

use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use simbridge::config::Config;
use simbridge::domain::Clock;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::harness::api::TestApi;
use crate::harness::bridge::command;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, record_at, word};
use crate::harness::{PATIENCE, eventually};

const NOW: &str = "2026-03-10T12:00:00Z";
const ICCID: &str = "8941000000000000001";
const PATHS: [&str; 3] = ["/api/dashboard/stats", "/api/live/dashboard", "/ws"];

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(api: &TestApi, key: &str) -> Result<Socket, Error> {
    let mut request =
        format!("{}/ws", api.base.replace("http://", "ws://")).into_client_request().expect("a request");
    request.headers_mut().insert("X-API-Key", key.parse().expect("a header"));
    tokio_tungstenite::connect_async(request).await.map(|(socket, _)| socket)
}

async fn subscribe(socket: &mut Socket, tenant: i32) {
    let wanted = json!({"subscribe": format!("tenant.{tenant}.dashboard-stats")});
    socket.send(Message::text(wanted.to_string())).await.expect("it takes it");
    assert!(next(socket).await["subscribed"].is_string());
}

async fn next(socket: &mut Socket) -> Value {
    let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time");
    let text = message.expect("a message").expect("no error").into_text().expect("text");
    serde_json::from_str(&text).expect("JSON")
}

/// The figures of the first event.
async fn first_event(api: &TestApi, key: &str) -> Value {
    let request = api.request(Method::GET, "/api/live/dashboard").bearer_auth(key);
    let mut chunks = request.send().await.expect("an answer").bytes_stream();
    let mut text = String::new();
    while !text.contains("\n\n") {
        let chunk = tokio::time::timeout(PATIENCE, chunks.next()).await.expect("in time");
        text.push_str(std::str::from_utf8(&chunk.expect("an event").expect("no error")).expect("UTF-8"));
    }
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
    serde_json::from_str(data).expect("JSON")
}

/// Catches a stream or a socket that shows the figures of another tenant, also of one that was asked for a moment ago.
#[tokio::test]
async fn who_watches_sees_the_figures_of_its_own_tenant() {
    let database = TestDatabase::new().await;
    let acme = database.tenant("acme", "UTC").await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    assert_eq!(word(&pipeline.one(ICCID, record_at("a", NOW, 1 << 30)).await), "stored");
    database.roll_up().await;
    let api = TestApi::start_at(&database, NOW).await;
    let (ours, theirs) =
        (api.key(&["consumption:read"]).await, api.key_of("acme", &["consumption:read"]).await);
    for (key, tenant, used) in [(&ours, 1, json!(1.0)), (&theirs, acme.0, json!(0.0)), (&ours, 1, json!(1.0))]
    {
        assert_eq!(first_event(&api, key).await["data"]["data_usage"], used);
        assert_eq!(api.get_as(key, PATHS[0]).await.json()["data"]["data_usage"], used);
        let mut socket = connect(&api, key).await.expect("it opens");
        subscribe(&mut socket, tenant).await;
        assert_eq!(next(&mut socket).await["message"]["data"]["data_usage"], used);
    }
    api.close().await;
}

/// Catches a way to the figures for which any key, or none, will do.
#[tokio::test]
async fn every_way_to_the_figures_needs_the_permission() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let others = ["usage:*", "sims:*", "admin:*", "mqtt:*"];
    let wrong = api.key(&others).await;
    for path in PATHS {
        assert_eq!(api.get(path).await.status, 401, "{path}");
        let refused = api.get_as(&wrong, path).await;
        let lacks = "this API key lacks the permission consumption:read";
        assert!(refused.status == 403 && refused.text.contains(lacks), "{path}: {refused:?}");
    }
    let Err(Error::Http(refused)) = connect(&api, &wrong).await else { panic!("it has to be refused") };
    assert_eq!(refused.status().as_u16(), 403);
    api.close().await;
}

/// Catches a watcher that goes on to see figures with a key that was revoked, or no longer has the permission.
#[tokio::test(flavor = "multi_thread")]
async fn who_watches_is_sent_away_when_the_key_is_revoked() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    for end in ["", "UPDATE api_keys SET permissions = '{usage:read}'", "DELETE FROM api_keys"] {
        let create = ["keys", "create", "portal", "--permission", "consumption:read"];
        let (code, key, said) = command(&database, &create).await;
        assert_eq!(code, Some(0), "{said}");
        let stays = api.key_of("default", &["consumption:read"]).await;
        let mut kept = connect(&api, &stays).await.expect("it opens");
        let request = api.request(Method::GET, "/api/live/dashboard").bearer_auth(&key);
        let mut chunks = request.send().await.expect("an answer").bytes_stream();
        assert!(chunks.next().await.expect("an event").is_ok());
        let mut socket = connect(&api, &key).await.expect("it opens");
        subscribe(&mut socket, 1).await;
        assert_eq!(next(&mut socket).await["channel"], "tenant.1.dashboard-stats");
        subscribe(&mut kept, 1).await;
        if end.is_empty() {
            assert_eq!(command(&database, &["keys", "revoke", "portal"]).await.0, Some(0));
        } else {
            database.run(&format!("{end} WHERE name = 'portal'")).await;
        }
        // The client of the tests gives up too, with an error.
        let ending = async {
            while let Some(chunk) = chunks.next().await {
                chunk.expect("the program ends it");
            }
        };
        tokio::time::timeout(PATIENCE, ending).await.expect("the stream ends");
        let closed = async {
            loop {
                match socket.next().await.expect("a close frame comes first").expect("no error") {
                    Message::Close(frame) => return frame.expect("a code"),
                    _ => continue,
                }
            }
        };
        let frame = tokio::time::timeout(PATIENCE, closed).await.expect("the socket is closed");
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1008, "the key or session ended"));
        // Another key of the tenant is not concerned.
        assert_eq!(next(&mut kept).await["channel"], "tenant.1.dashboard-stats");
        assert_eq!(next(&mut kept).await["channel"], "tenant.1.dashboard-stats");
        database.run("DELETE FROM api_keys").await;
    }
    api.close().await;
}

/// Catches sockets that are not counted, or whose slot stays taken, and messages without bound.
#[tokio::test]
async fn sockets_take_the_same_slots_as_streams_and_small_messages_only() {
    let database = TestDatabase::new().await;
    let one = |config: &mut Config| config.http.live_max_watchers = 1;
    let api = TestApi::start_with(&database, Clock::System, false, one).await;
    let key = api.key_with("default", &["consumption:read"], &[("reading", 0)]).await;
    let mut socket = connect(&api, &key).await.expect("it opens");
    let Err(Error::Http(busy)) = connect(&api, &key).await else { panic!("it has to wait") };
    assert_eq!(busy.status().as_u16(), 503);
    let stream = api.get_as(&key, PATHS[1]).await;
    assert_eq!(stream.status, 503);
    socket.send(Message::text("x".repeat(5 << 10))).await.expect("it is sent");
    let ended = async {
        while let Some(Ok(message)) = socket.next().await {
            assert!(message.is_close(), "a message of 5 KB was read: {message:?}");
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("it is closed");
    drop(socket);
    eventually("the slot is free", async || connect(&api, &key).await.ok()).await;
    api.close().await;
}
