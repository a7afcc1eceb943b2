//! The dashboard in Chromium: nothing moves under the eyes or the pointer of whoever looks, while a page loads and while it renews itself.

use serde_json::json;

use crate::harness::api::{DEMO_KEY, TestApi};
use crate::harness::browser::Browser;
use crate::harness::customer::{POOL, SIMS, customer, park};
use crate::harness::database::now;

/// The largest sum of shifts that nobody notices; Chromium calls 0.1 good.
const SHIFT_AT_MOST: f64 = 0.02;
/// Answers take a while, as over a network, so that what stands there before them is painted. Each shift is noted, and what moved.
const WATCH: &str = "window.asking = 0; const ask = window.fetch.bind(window); window.fetch = async (...words) => { \
        window.asking += 1; await new Promise((done) => setTimeout(done, 300)); \
        try { return await ask(...words); } finally { setTimeout(() => (window.asking -= 1)); } }; \
    window.shifts = []; new PerformanceObserver((list) => { \
    for (const entry of list.getEntries()) { if (entry.hadRecentInput) continue; \
        const of = (node) => node?.className?.baseVal ?? node?.className ?? node?.nodeName; \
        window.shifts.push([entry.value, Math.round(entry.startTime), ...entry.sources.map(({node, previousRect: a, currentRect: b}) => \
            `${of(node)} in ${of(node?.parentElement)}: ${[a.x, a.y, a.width, a.height]} > ${[b.x, b.y, b.width, b.height]}`)]); } \
    }).observe({type: 'layout-shift', buffered: true});";
/// What pages take for half a minute, when they ask again.
const LATER: &str =
    "(() => { const before = Date.now.bind(Date); Date.now = () => before() + 120_000; return true; })()";
const ANSWERS: &str =
    "performance.getEntriesByType('resource').filter(({name}) => name.includes('/api/')).length";

/// The sum of all shifts; what moved is told when it is too much.
async fn is_steady(browser: &Browser, what: &str) {
    let shifts = browser.value("window.shifts").await;
    let sum: f64 = shifts.as_array().expect("shifts").iter().filter_map(|shift| shift[0].as_f64()).sum();
    assert!(sum < SHIFT_AT_MOST, "{what} moves by {sum}: {shifts:#}");
}

async fn pages_are_steady(width: u32) {
    let (_database, api) = customer().await;
    let browser = Browser::at(&api.base).await;
    browser.resize(width).await;
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({"source": WATCH})).await;
    let one = format!("/sims/{}", SIMS[0]);
    for (page, renews) in [
        ("/", true),
        ("/consumption", true),
        ("/consumption?range=12w&split=carrier", true),
        ("/invoices", false),
        ("/sims", true),
        (one.as_str(), true),
        ("/pools", true),
        (POOL, true),
        ("/operations", true),
        ("/quarantine", true),
        ("/quarantine?state=discarded", true),
        ("/sign-in", false),
    ] {
        browser.open(page).await;
        answered(&browser).await;
        is_steady(&browser, &format!("{page} at {width}")).await;
        if renews {
            renewed(&api, &browser, page).await;
            is_steady(&browser, &format!("{page} at {width}, renewed,")).await;
        }
    }
    assert_eq!(browser.console().await, [""; 0]);
    browser.close().await;
    api.close().await;
}

/// Lets something happen, and waits until the page has asked what.
async fn renewed(api: &TestApi, browser: &Browser, page: &str) {
    let before = browser.value(ANSWERS).await;
    browser.value(LATER).await;
    let at = now();
    let record = json!({"recordId": format!("new {page}"), "iccid": SIMS[1], "periodStart": at, "periodEnd": at,
                        "usage": {"totalBytes": 3_000_000_000_i64}});
    assert_eq!(api.post_as(DEMO_KEY, "/api/v1/usage", &record).await.status, 202);
    park(api, &format!("new {page}"), 2).await;
    browser.wait(&format!("{ANSWERS} > {before}")).await;
    answered(browser).await;
}

async fn answered(browser: &Browser) {
    browser.settled().await;
    browser.wait("window.asking === 0").await;
    browser.settled().await;
}

/// Catches a place that is not kept for what comes later: a toolbar that wraps, a note that appears, a list that grows from above.
#[tokio::test]
async fn nothing_moves_on_a_desk() {
    pages_are_steady(1440).await;
}

#[tokio::test]
async fn nothing_moves_on_a_phone() {
    pages_are_steady(390).await;
}
