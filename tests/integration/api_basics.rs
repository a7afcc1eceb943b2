//! What all of HTTP has in common: envelopes, request ids, CORS, limits of bodies, permissions (contract §3).

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use simbridge::config::Config;
use simbridge::domain::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::PATIENCE;
use crate::harness::api::{TestApi, sent};
use crate::harness::database::TestDatabase;

#[tokio::test]
async fn what_is_not_there_is_told_in_the_envelope_of_its_path() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let portal = api.get("/api/consumption/nothing").await;
    assert_eq!(
        (portal.status, portal.json()),
        (404, json!({"success": false, "error": "there is no such resource"}))
    );
    let resource = api.get("/api/v1/nothing").await;
    let id = resource.header("x-request-id").expect("an id").to_owned();
    let message = "there is no such resource";
    let expected =
        json!({"error": {"code": "NOT_FOUND", "message": message, "requestId": id}, "message": message});
    assert_eq!((resource.status, resource.json()), (404, expected));
    let problem = api.get("/nothing").await;
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
    assert_eq!((problem.status, problem.json()["title"].as_str()), (404, Some("Not Found")));
    api.close().await;
}

#[tokio::test]
async fn a_request_keeps_the_id_that_its_client_gave_it() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let answer = sent(api.request(Method::GET, "/api/v1/nothing").header("X-Request-ID", "abc-1")).await;
    assert_eq!(answer.header("x-request-id"), Some("abc-1"));
    assert_eq!(answer.json()["error"]["requestId"], "abc-1");
    let long = "x".repeat(129);
    let answer = sent(api.request(Method::GET, "/healthz").header("X-Request-ID", &long)).await;
    assert_eq!(answer.header("x-request-id").map(str::len), Some(20));
    api.close().await;
}

/// Catches a stop that waits for a client that never finishes its request.
#[tokio::test]
async fn a_half_sent_request_does_not_keep_the_program_from_ending() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let mut socket = TcpStream::connect(api.bridge.http_addr.expect("HTTP is on")).await.expect("it listens");
    socket
        .write_all(b"POST /api/v1/usage HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{")
        .await
        .expect("it reads");
    assert_eq!(api.get("/healthz").await.status, 200);
    tokio::time::timeout(PATIENCE, api.close()).await.expect("it ends");
}

/// Catches connections that are not counted: those beyond the limit are served when others end, not before.
#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_a_slot() {
    let database = TestDatabase::new().await;
    let one = |config: &mut Config| config.http.max_connections = 1;
    let api = TestApi::start_with(&database, Clock::System, false, one).await;
    let address = api.bridge.http_addr.expect("HTTP is on");
    let mut first = TcpStream::connect(address).await.expect("it listens");
    let ask = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    first.write_all(ask).await.expect("it reads");
    let mut byte = [0; 1];
    first.read_exact(&mut byte).await.expect("an answer");
    let mut second = TcpStream::connect(address).await.expect("the kernel accepts");
    second.write_all(ask).await.expect("the kernel takes it");
    let early = tokio::time::timeout(Duration::from_millis(50), second.read_exact(&mut byte)).await;
    assert!(early.is_err(), "the second connection was served while the first one held the only slot");
    drop(first);
    tokio::time::timeout(PATIENCE, second.read_exact(&mut byte)).await.expect("in time").expect("an answer");
    drop(second);
    api.close().await;
}

/// Catches a head that may take for ever.
#[tokio::test]
async fn a_head_that_does_not_end_closes_its_connection() {
    let database = TestDatabase::new().await;
    let brief = |config: &mut Config| config.http.head_timeout_ms = 100;
    let api = TestApi::start_with(&database, Clock::System, false, brief).await;
    let mut socket = TcpStream::connect(api.bridge.http_addr.expect("HTTP is on")).await.expect("it listens");
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost").await.expect("it reads");
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("in time").expect("an end");
    api.close().await;
}
