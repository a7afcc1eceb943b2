//! What all of HTTP has in common: envelopes, request ids, CORS, limits of bodies, permissions (contract §3).

use reqwest::Method;
use serde_json::json;

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
