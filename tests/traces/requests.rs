//! Requests over HTTP, and the traces that they belong to.

use reqwest::Method;
use serde_json::{Value, json};
use simbridge::domain::Clock;

use crate::harness::api::{Answer, TestApi, sent};
use crate::harness::collector::{Collector, Seen};
use crate::harness::database::{TestDatabase, now};

const ICCID: &str = "8941000000000000001";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

async fn traced(database: &TestDatabase, collector: &Collector, sample_ratio: f64) -> TestApi {
    TestApi::start_with(database, Clock::System, false, |config| {
        config.traces.endpoint = collector.url();
        config.traces.sample_ratio = sample_ratio;
    })
    .await
}

async fn post(api: &TestApi, key: &str, record_id: &str, traceparent: &str) -> Answer {
    let at = now().to_rfc3339();
    let body: Value = json!({"recordId": record_id, "iccid": ICCID, "periodStart": at, "periodEnd": at,
                             "usage": {"totalBytes": 1}});
    let request = api.request(Method::POST, "/api/v1/usage").bearer_auth(key).json(&body);
    sent(request.header("traceparent", traceparent)).await
}

fn caller(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

fn told(span: &Seen) -> [&str; 3] {
    ["http.request.method", "http.route", "http.response.status_code"].map(|key| span.has(key))
}

/// Catches a request that begins a trace of its own, and a record whose way cannot be found from its request.
#[tokio::test]
async fn a_request_goes_on_with_the_trace_of_its_caller_and_so_does_the_batch_of_its_record() {
    let (database, collector) = (TestDatabase::new().await, Collector::start().await);
    // None that begins here is recorded: the caller decides.
    let api = traced(&database, &collector, 0.0).await;
    let key = api.key(&["usage:write"]).await;
    let answer = post(&api, &key, "one", &caller("01")).await;
    assert_eq!(answer.status / 100, 2, "{}", answer.text);
    api.close().await;

    let request = collector.finds("POST /api/v1/usage", |_| true).await;
    assert_eq!((request.trace.as_str(), request.parent.as_str()), (TRACE, CALLER));
    assert_eq!(told(&request), ["POST", "/api/v1/usage", &answer.status.to_string()]);
    assert_eq!(request.has("simbridge.request_id"), answer.header("x-request-id").expect("an id"));
    let batch = collector.step(&request, "process usage");
    assert_eq!((batch.has("simbridge.via"), batch.has("messaging.system")), ("http", ""));
    collector.step(&collector.step(&batch, "write"), "COMMIT");
    assert!(collector.spans().iter().all(|span| span.trace == TRACE), "{:#?}", collector.spans());
}

/// Catches a span of a request whose caller records nothing, and one with what stands in a path or a query.
#[tokio::test]
async fn a_caller_that_records_nothing_is_followed_and_paths_are_not_told() {
    let (database, collector) = (TestDatabase::new().await, Collector::start().await);
    let api = traced(&database, &collector, 1.0).await;
    let key = api.key(&["usage:write", "sims:read"]).await;
    assert_eq!(post(&api, &key, "one", &caller("00")).await.status / 100, 2);
    let found = api.get_as(&key, &format!("/api/v1/sims/{ICCID}?token=canary")).await;
    let nowhere = api.get(&format!("/nowhere/{ICCID}?token=canary")).await;
    for path in ["/metrics", "/healthz", "/readyz"] {
        api.get(path).await;
    }
    api.close().await;

    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.trace != TRACE && span.name != "POST /api/v1/usage"), "{spans:#?}");
    // Its record is stored all the same, by a batch that begins here.
    let batch = collector.finds("process usage", |_| true).await;
    assert_eq!((batch.parent.as_str(), batch.links.len()), ("", 0));
    let sim = spans.iter().find(|span| span.has("http.route").contains("/sims/{"));
    let sim = sim.unwrap_or_else(|| panic!("{spans:#?}"));
    assert_eq!(told(sim)[2], found.status.to_string());
    assert!(collector.below(sim).iter().any(|step| step.has("db.system.name") == "postgresql"));
    let lost = spans.iter().find(|span| span.name == "GET").expect("a request without a route");
    assert_eq!(told(lost), ["GET", "", &nowhere.status.to_string()]);
    let requests = spans.iter().filter(|span| !span.has("http.request.method").is_empty()).count();
    assert_eq!(requests, 2, "what watches the program is left out");
    let text = collector.text();
    assert!(!text.contains(ICCID) && !text.contains("canary"), "{text}");
}
