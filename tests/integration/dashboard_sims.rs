//! The pages of SIMs in Chromium: the list and one SIM show what the API says, to the byte.

use chrono::TimeDelta;
use serde_json::{Value, json};
use simbridge::store::sims::SimRow;

use crate::harness::api::{DEMO_KEY, TestApi};
use crate::harness::browser::Browser;
use crate::harness::database::{TestDatabase, now, sim};

const METER: &str = "8941000000000000001";
const CAMERA: &str = "8941000000000000002";
const ROUTER: &str = "8941000000000000003";

/// Three SIMs: within its limit, beyond it, and without one; the last of another carrier.
async fn shown() -> (TestDatabase, TestApi, Browser) {
    let database = TestDatabase::new().await;
    let api = TestApi::demo(&database).await;
    let row = |iccid: &str, device: &str, carrier: &str, limit: Option<i64>| SimRow {
        device_name: Some(device.into()),
        carrier: Some(carrier.into()),
        data_limit_bytes: limit,
        ..sim(iccid)
    };
    database
        .import(&[
            row(METER, "meter", "North Mobile", Some(100_000_000)),
            row(CAMERA, "camera <b>", "North Mobile", Some(9_000_000)),
            row(ROUTER, "router", "South Mobile", None),
        ])
        .await;
    let mut records = Vec::new();
    for (number, (iccid, minutes)) in
        [(METER, 1), (METER, 2), (CAMERA, 1), (ROUTER, 3)].into_iter().enumerate()
    {
        let at = now() - TimeDelta::minutes(minutes);
        // Odd digits: a figure that was rounded on its way is another one.
        let (up, down) = (1_234_567 + number * 1_001, 8_654_321 + number * 1_000_003);
        records.push(
            json!({"recordId": format!("r{number}"), "iccid": iccid, "periodStart": at, "periodEnd": at,
            "usage": {"dataUploadBytes": up, "dataDownloadBytes": down, "totalBytes": up + down}}),
        );
    }
    let batch = json!({"batchId": "b", "records": records});
    let answer = api.post_as(DEMO_KEY, "/api/v1/usage/batch", &batch).await;
    assert_eq!((answer.status, &answer.json()["recordsFailed"]), (202, &json!(0)), "{}", answer.text);
    database.roll_up().await;
    let browser = Browser::at(&api.base).await;
    (database, api, browser)
}

async fn asked(api: &TestApi, path: &str) -> Value {
    let answer = api.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json()
}

/// `[[ICCID, bytes, limit or none], …]` of the list, in its order.
const LISTED: &str = "[...document.querySelectorAll('[data-testid=table-sims] tbody tr')].map(row => { \
    const bar = row.querySelector('[data-testid=sim-usage-bar]'); \
    return [row.querySelector('a').getAttribute('href').split('/').pop(), bar.dataset.bytes, bar.dataset.limit ?? 'none']; })";

fn listed(answer: &Value) -> Value {
    let row = |row: &Value| {
        let limit = &row["dataLimitBytes"];
        let limit = if limit.is_null() { "none".to_owned() } else { limit.to_string() };
        json!([row["iccid"], row["usedBytes"].to_string(), limit])
    };
    answer["sims"].as_array().expect("SIMs").iter().map(row).collect()
}

/// Catches a list that shows other SIMs, another order or rounded figures, a filter that is lost on the way back, and a name that
/// becomes markup.
#[tokio::test]
async fn the_list_of_sims_shows_what_the_api_says() {
    let (_database, api, browser) = shown().await;
    browser.open("/sims").await;
    let all = asked(&api, "/api/v1/sims?limit=50").await;
    assert_eq!(all["sims"].as_array().map(Vec::len), Some(3));
    browser.wait_for(LISTED, &listed(&all)).await;
    let levels = "[...document.querySelectorAll('[data-testid=table-sims] [data-testid=sim-usage-bar]')].map(bar => bar.dataset.level)";
    assert_eq!(browser.value(levels).await, json!(["low", "high", "none"]));
    browser.wait("document.body.textContent.includes('camera <b>')").await;
    assert_eq!(browser.value("document.querySelectorAll('[data-testid=table-sims] b').length").await, 0);
    browser.fill("[data-testid=filter-search]", "meter").await;
    browser.wait_for(LISTED, &listed(&asked(&api, "/api/v1/sims?search=meter").await)).await;
    browser.open("/sims?carrier=North%20Mobile&sort=usedBytes").await;
    let filtered = asked(&api, "/api/v1/sims?carrier=North%20Mobile&sort=usedBytes").await;
    assert_eq!(filtered["sims"].as_array().map(Vec::len), Some(2));
    browser.wait_for(LISTED, &listed(&filtered)).await;
    browser.click(&format!("[data-testid=table-sims] a[href$='/{CAMERA}']")).await;
    browser.wait("document.querySelector('[data-testid=cycle-used]') !== null").await;
    browser.value("history.back()").await;
    browser.wait_for(LISTED, &listed(&filtered)).await;
    assert_eq!(browser.console().await, Vec::<String>::new());
    browser.close().await;
    api.close().await;
}

/// Catches one SIM's figures that are another's, rounded or of another cycle, and records that are missing or twice.
#[tokio::test]
async fn one_sim_shows_its_cycle_history_and_records() {
    let (_database, api, browser) = shown().await;
    browser.open(&format!("/sims/{METER}")).await;
    let usage = asked(&api, &format!("/api/v1/sims/{METER}/usage?cycle=current")).await;
    let used = usage["usage"]["totalBytes"].as_i64().expect("bytes");
    assert_eq!(used, 2 * (1_234_567 + 8_654_321) + 1_001 + 1_000_003);
    let shown = "document.querySelector('[data-testid=cycle-used]')?.dataset.bytes";
    browser.wait_for(shown, &json!(used.to_string())).await;
    let history = "[...document.querySelectorAll('[data-testid=chart-sim-history] tbody tr')] \
        .reduce((sum, row) => sum + Number(row.querySelector('td[data-bytes]').dataset.bytes), 0)";
    browser.wait_for(history, &json!(used)).await;
    let records = asked(&api, &format!("/api/v1/sims/{METER}/usage/records")).await;
    let expected: Value =
        records["records"].as_array().expect("records").iter().map(|row| row["recordId"].clone()).collect();
    assert_eq!(expected, json!(["r0", "r1"]));
    let found = "[...document.querySelectorAll('[data-testid=table-records] tbody tr')].map(row => row.dataset.record)";
    browser.wait_for(found, &expected).await;
    assert_eq!(browser.console().await, Vec::<String>::new());
    browser.open("/sims/8941000000000000099").await;
    browser.wait("document.body.textContent.includes('8941000000000000099')").await;
    assert_eq!(browser.value("document.querySelectorAll('[data-testid=cycle-used]').length").await, 0);
    browser.close().await;
    api.close().await;
}
