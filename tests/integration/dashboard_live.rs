//! The dashboard in Chromium: figures that arrive by themselves, and what it asks of the network.

use serde_json::{Value, json};

use crate::harness::api::{DEMO_KEY, TestApi};
use crate::harness::browser::Browser;
use crate::harness::database::{TestDatabase, now, sim};
use crate::harness::front::Front;

const ICCID: &str = "8941000000000000001";
const GB: i64 = 1 << 30;

async fn demo() -> (TestDatabase, TestApi) {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    let api = TestApi::demo(&database).await;
    (database, api)
}

async fn post(api: &TestApi, id: &str, bytes: i64) {
    // Sent again, it is the same record.
    let at = now().date_naive();
    let at = format!("{at}T00:00:00Z");
    let record = json!({"recordId": id, "iccid": ICCID, "periodStart": at, "periodEnd": at, "usage": {"totalBytes": bytes}});
    let answer = api.post_as(DEMO_KEY, "/api/v1/usage", &record).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
}

fn connection() -> &'static str {
    "document.querySelector('[data-testid=connection]')?.dataset.state"
}

/// What was pushed, in GB.
fn total() -> &'static str {
    "Number(document.querySelector('[data-testid=live-data_usage]')?.dataset.value)"
}

#[tokio::test]
async fn figures_change_by_themselves_when_usage_comes() {
    let (_database, api) = demo().await;
    let browser = Browser::at(&api.base).await;
    browser.open("/").await;
    browser.wait_for(connection(), &json!("live")).await;
    browser.wait_for(total(), &json!(0)).await;
    browser.value("window.sameDocument = true").await;
    for (id, sum) in [("a", 1), ("b", 2)] {
        post(&api, id, GB).await;
        browser.wait_for(total(), &json!(sum)).await;
    }
    // What is computed from rollups follows, to the byte.
    let shown = "document.querySelector('[data-testid=kpi-usage] [data-bytes]')?.dataset.bytes";
    browser.wait_for(shown, &json!((2 * GB).to_string())).await;
    assert_eq!(browser.value("window.sameDocument").await, true, "nothing was loaded anew");
    assert_eq!(browser.value(connection()).await, "live");
    browser.close().await;
    api.close().await;
}

/// Catches a page that stands still when its stream is lost, and one that asks for ever although the stream is back.
#[tokio::test]
async fn without_the_stream_it_asks_and_with_it_listens_again() {
    let (_database, api) = demo().await;
    let front = Front::to(api.bridge.http_addr.expect("HTTP is on")).await;
    let browser = Browser::at(&front.base).await;
    browser.open("/").await;
    browser.wait_for(connection(), &json!("live")).await;
    front.let_streams_through(false);
    browser.wait_for(connection(), &json!("polling")).await;
    post(&api, "a", 3 * GB).await;
    browser.wait_for(total(), &json!(3)).await;
    assert_eq!(browser.value(connection()).await, "polling");
    front.let_streams_through(true);
    browser.wait_for(connection(), &json!("live")).await;
    post(&api, "b", GB).await;
    browser.wait_for(total(), &json!(4)).await;
    browser.close().await;
    api.close().await;
}

/// Browsers open six connections to a server and keep pages that were left for the way back. Catches a page that keeps its
/// stream when it is left, so that the seventh finds no connection, and one that is not live again after the way back.
#[tokio::test]
async fn a_page_that_is_left_keeps_no_connection_and_is_live_again_on_the_way_back() {
    let (_database, api) = demo().await;
    let front = Front::to(api.bridge.http_addr.expect("HTTP is on")).await;
    let browser = Browser::at(&front.base).await;
    let pages = ["/consumption", "/sims", "/invoices", "/", "/operations"];
    for page in pages {
        browser.open(page).await;
        browser.wait_for(connection(), &json!("live")).await;
        browser.value(&format!("window.visited = '{page}'")).await;
    }
    let most = front.most_streams();
    assert!(most <= 2, "{most} streams at once: of a page and at most of the one before");
    browser.value("history.back()").await;
    browser.wait_for("window.visited", &json!("/")).await;
    post(&api, "a", GB).await;
    browser.wait_for(total(), &json!(1)).await;
    browser.wait_for(connection(), &json!("live")).await;
    browser.close().await;
    api.close().await;
}

/// Catches a font, script or picture from elsewhere, and anything that the content security policy has to stop.
#[tokio::test]
async fn no_page_asks_elsewhere_or_complains() {
    let (_database, api) = demo().await;
    post(&api, "a", GB).await;
    let browser = Browser::at(&api.base).await;
    let one = format!("/sims/{ICCID}");
    let made = api.post_as(DEMO_KEY, "/api/v1/pools", &json!({"name": "p", "limitBytes": 2 * GB})).await;
    assert_eq!(made.header("location"), Some("/api/v1/pools/1"), "{}", made.text);
    let pages = [
        "/",
        "/consumption",
        "/invoices",
        "/sims",
        one.as_str(),
        "/pools",
        "/pools/1",
        "/operations",
        "/quarantine",
        "/sign-in",
    ];
    for page in pages {
        let answer = api.get(page).await;
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{page}: {policy}");
        browser.open(page).await;
        browser.wait("document.querySelector('#main h1') !== null").await;
        // What a page asks for later is asked for too.
        let settled = "document.querySelectorAll('[aria-busy=true]').length === 0";
        browser.wait(settled).await;
        let console = browser.console().await;
        assert!(console.is_empty(), "{page}: {console:?}");
    }
    let asked = browser.requests().await;
    assert!(asked.len() > 40, "{asked:?}");
    let foreign: Vec<&String> =
        asked.iter().filter(|url| !url.starts_with(&format!("{}/", api.base))).collect();
    assert!(foreign.iter().all(|url| url.starts_with("data:")), "{foreign:?}");
    browser.close().await;
    api.close().await;
}

/// Catches a figure of operations that is not the API's.
#[tokio::test]
async fn operations_shows_what_the_api_says_and_renews_it() {
    let (_database, api) = demo().await;
    let browser = Browser::at(&api.base).await;
    browser.open("/operations").await;
    let part = |name: &str| {
        format!("Number(document.querySelector('[data-part={name}] [data-value]')?.dataset.value)")
    };
    browser.wait_for(&part("stored"), &json!(0)).await;
    for id in ["a", "b", "a"] {
        post(&api, id, 7).await;
    }
    browser.wait_for(&part("stored"), &json!(2)).await;
    browser.wait_for(&part("duplicate"), &json!(1)).await;
    let told: Value = api.get("/api/v1/operations").await.json();
    assert_eq!((&told["ingest"]["stored"], &told["ingest"]["duplicate"]), (&json!(2), &json!(1)));
    let gauge = |name: &str| format!("document.querySelector('[data-testid=gauge-{name}]')?.dataset");
    let runway = json!(told["partitions"]["runwayDays"].as_f64().expect("a number"));
    browser.wait_for(&format!("Number({}.value)", gauge("runway")), &runway).await;
    assert_eq!(browser.value(&format!("{}.level", gauge("runway"))).await, "good");
    assert_eq!(browser.value(&format!("{}.level", gauge("puback"))).await, "idle");
    let invariants =
        "[...document.querySelectorAll('[data-invariant]')].map(({dataset}) => dataset.invariant)";
    assert_eq!(browser.value(invariants).await, json!(simbridge::reconcile::NAMES), "none goes unseen");
    let status = "document.querySelector('[data-testid=operations-status]').textContent";
    // How fast this machine commits is no matter.
    let status = browser.value(status).await;
    let status = status.as_str().expect("a text");
    assert!(status == "All well" || status.starts_with("Nothing wrong, "), "{status}");
    browser.close().await;
    api.close().await;
}
