//! The chart of consumption in Chromium: zoom, what is said when there is nothing to draw, and names from outside.

use chrono::{Days, NaiveDate, TimeDelta};
use serde_json::{Value, json};
use simbridge::store::sims::SimRow;

use crate::harness::api::{DEMO_KEY, TestApi};
use crate::harness::browser::Browser;
use crate::harness::database::{TestDatabase, now, sim};

const SIM: &str = "8941000000000000001";
const HOSTILE: &str = "<img src=x onerror=\"document.title='owned'\">";
const PLOT: &str = "document.querySelector('[data-testid=\"chart-trends\"] .time-plot')";

/// A demo with a SIM of a carrier at a place, which used data on each of the last five days.
async fn demo(database: &TestDatabase, carrier: &str, place: &str) -> TestApi {
    let api = TestApi::demo(database).await;
    let row = SimRow {
        carrier: Some(carrier.into()),
        mccmnc: Some("22801".into()),
        location_name: Some(place.into()),
        latitude: Some(47.38),
        longitude: Some(8.54),
        ..sim(SIM)
    };
    database.import(&[row]).await;
    let record = |days: i64| {
        let at = now() - TimeDelta::days(days);
        json!({"recordId": format!("r{days}"), "iccid": SIM, "periodStart": at, "periodEnd": at,
            "usage": {"totalBytes": 1_000_003 + days}})
    };
    let batch = json!({"batchId": "b", "records": (0..5).map(record).collect::<Vec<_>>()});
    let answer = api.post_as(DEMO_KEY, "/api/v1/usage/batch", &batch).await;
    assert_eq!((answer.status, &answer.json()["recordsFailed"]), (202, &json!(0)), "{}", answer.text);
    database.roll_up().await;
    api
}

/// `[[first moment, bytes], …]` of what is drawn.
const DRAWN: &str = "[...document.querySelectorAll('[data-testid=\"chart-trends\"] tbody tr')].map(row => \
                     [row.dataset.start, row.querySelector('td[data-bytes]').dataset.bytes])";

/// The same of the API's days.
async fn days(api: &TestApi, first: NaiveDate, last: NaiveDate) -> Value {
    let path = format!("/api/consumption/trends?granularity=daily&start_date={first}&end_date={last}");
    let answer = api.get(&path).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let point = |row: &Value| json!([row["start"], row["bytes"].to_string()]);
    answer.json()["data"].as_array().expect("points").iter().map(point).collect()
}

async fn press(browser: &Browser, key: &str, shift: bool) {
    let event = format!("new KeyboardEvent('keydown', {{key: '{key}', shiftKey: {shift}, bubbles: true}})");
    browser.value(&format!("{PLOT}.dispatchEvent({event})")).await;
}

/// Catches a zoom that is off by one, one that only the chart follows, and one without a way back.
#[tokio::test]
async fn a_stretch_is_zoomed_into_by_keyboard_and_undone() {
    let database = TestDatabase::new().await;
    let api = demo(&database, "North Mobile", "Zurich").await;
    let browser = Browser::at(&api.base).await;
    let today = now().date_naive();
    let (first, zoomed) = (today - Days::new(9), today - Days::new(2));
    browser.open(&format!("/consumption?from={first}&to={today}&by=daily")).await;
    browser.wait_for(DRAWN, &days(&api, first, today).await).await;
    // The table is there before the chart knows its size, and keys mean nothing until it does.
    browser.wait(&format!("{PLOT}.querySelector('svg[viewBox]') !== null")).await;
    press(&browser, "End", false).await;
    press(&browser, "ArrowLeft", true).await;
    press(&browser, "ArrowLeft", true).await;
    // Screen readers hear where they are.
    let said =
        browser.wait("document.getElementById('announce').textContent.includes('976.6') || null").await;
    assert_eq!(said, true);
    press(&browser, "Enter", false).await;
    browser.wait_for(DRAWN, &days(&api, zoomed, today).await).await;
    assert!(browser.path().await.ends_with(&format!("zoom={zoomed}..{today}")), "{}", browser.path().await);
    let sum = 3 * 1_000_003 + 3;
    browser
        .wait_for("document.querySelector('[data-testid=kpi-usage]').dataset.bytes", &json!(sum.to_string()))
        .await;
    browser.click("[data-testid=undo-zoom]").await;
    browser.wait_for(DRAWN, &days(&api, first, today).await).await;
    assert!(!browser.path().await.contains("zoom"), "{}", browser.path().await);
    assert_eq!(browser.value("document.querySelector('[data-testid=undo-zoom]').hidden").await, true);

    // Who selects before pointing anywhere begins at the newest day.
    press(&browser, "ArrowLeft", true).await;
    press(&browser, "ArrowLeft", true).await;
    press(&browser, "Enter", false).await;
    let newest = format!("zoom={}..{today}", today - Days::new(1));
    browser.wait(&format!("location.search.endsWith({newest:?})")).await;
    browser.close().await;
    api.close().await;
}

/// Catches a failure that looks like a fleet that rests, and the other way round.
#[tokio::test]
async fn nothing_is_told_apart_from_a_failure() {
    let database = TestDatabase::new().await;
    let api = demo(&database, "North Mobile", "Zurich").await;
    let browser = Browser::at(&api.base).await;
    let panel = "document.querySelector('[data-testid=panel-trends]')";
    browser.open("/consumption?from=2020-01-01&to=2020-01-10").await;
    browser.wait_for(&format!("{panel}?.dataset.state"), &json!("empty")).await;
    // More days than the API gives at once.
    browser.open("/consumption?from=2015-01-01&to=2025-12-31").await;
    browser.wait_for(&format!("{panel}?.dataset.state"), &json!("failed")).await;
    let said = browser.value(&format!("{panel}.querySelector('[role=alert]').textContent")).await;
    assert!(said.as_str().is_some_and(|said| said.contains("at most 1830")), "{said}");
    browser.close().await;
    api.close().await;
}

/// Catches a name that is put into the page as markup.
#[tokio::test]
async fn names_from_outside_are_shown_as_they_are() {
    let database = TestDatabase::new().await;
    let api = demo(&database, HOSTILE, HOSTILE).await;
    let browser = Browser::at(&api.base).await;
    browser.open("/consumption?range=7d&split=carrier").await;
    for table in ["carriers", "regions"] {
        let name = format!("document.querySelector('[data-testid=table-{table}] tbody th')?.textContent");
        browser.wait_for(&name, &json!(HOSTILE)).await;
    }
    browser.wait_for("document.querySelector('.map-label')?.textContent", &json!(HOSTILE)).await;
    assert_eq!(browser.value("document.querySelectorAll('main img').length").await, 0);
    assert_eq!(browser.value("document.title").await, "Consumption · simbridge");
    browser.close().await;
    api.close().await;
}
