//! The dashboard in Chromium: what its panels show is what the API says, to the byte.

use chrono::{Days, TimeDelta};
use serde_json::{Value, json};
use simbridge::store::sims::SimRow;

use crate::harness::api::{DEMO_KEY, TestApi};
use crate::harness::browser::Browser;
use crate::harness::database::{TestDatabase, now, sim};

const FIRST: &str = "8941000000000000001";
const SECOND: &str = "8941000000000000002";

/// Usage of two SIMs of two carriers and places, on three networks, today and before.
async fn used(database: &TestDatabase, api: &TestApi) {
    let row = |iccid: &str, carrier: &str, network: &str, place: (&str, f64, f64)| SimRow {
        carrier: Some(carrier.into()),
        mccmnc: Some(network.into()),
        rate_plan: Some(format!("{carrier} plan")),
        price_per_mb: Some("0.25".into()),
        location_name: Some(place.0.into()),
        latitude: Some(place.1),
        longitude: Some(place.2),
        ..sim(iccid)
    };
    let rows = [
        row(FIRST, "North Mobile", "22801", ("Zurich", 47.38, 8.54)),
        row(SECOND, "South Mobile", "22210", ("Milan", 45.46, 9.19)),
    ];
    database.import(&rows).await;
    let mut records = Vec::new();
    let uses = [
        (FIRST, 1, "22801"),
        (FIRST, 26, "22801"),
        (FIRST, 50, "22802"),
        (FIRST, 300, "22801"),
        (SECOND, 2, "22210"),
        (SECOND, 75, "22210"),
        (SECOND, 900, "22801"),
    ];
    for (number, (iccid, hours, network)) in uses.into_iter().enumerate() {
        let at = now() - TimeDelta::hours(hours);
        // Odd digits: a figure that was rounded on its way is another one.
        let (up, down) = (1_234_567 + number * 1_001, 7_654_321 + number * 1_000_003);
        records.push(json!({"recordId": format!("r{number}"), "iccid": iccid, "periodStart": at, "periodEnd": at, "mccmnc": network,
            "usage": {"dataUploadBytes": up, "dataDownloadBytes": down, "totalBytes": up + down}}));
    }
    let batch = json!({"batchId": "b", "records": records});
    let answer = api.post_as(DEMO_KEY, "/api/v1/usage/batch", &batch).await;
    assert_eq!((answer.status, &answer.json()["recordsFailed"]), (202, &json!(0)), "{}", answer.text);
    database.roll_up().await;
}

/// A demo with usage, a browser at it, and `from=…&to=…` of its days.
async fn shown() -> (TestDatabase, TestApi, Browser, [String; 2]) {
    let database = TestDatabase::new().await;
    let api = TestApi::demo(&database).await;
    used(&database, &api).await;
    let browser = Browser::at(&api.base).await;
    let today = now().date_naive();
    (database, api, browser, [(today - Days::new(40)).to_string(), today.to_string()])
}

async fn asked(api: &TestApi, path: &str) -> Value {
    let answer = api.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json()
}

/// `[[start, bytes, cost, SIMs], …]` of a chart.
fn chart(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('[data-testid=\"chart-{name}\"] tbody tr')].map(row => [row.dataset.start, \
         row.querySelector('td[data-bytes]').dataset.bytes, Number(row.querySelector('[data-cost]').dataset.cost), \
         Number(row.querySelector('[data-sims]').dataset.sims)])"
    )
}

fn points(trends: &Value) -> Value {
    let point =
        |row: &Value| json!([row["start"], row["bytes"].to_string(), row["cost"].as_f64(), row["simCount"]]);
    trends["data"].as_array().expect("points").iter().map(point).collect()
}

/// `[[key, bytes], …]` of a table, sorted; the key is one of `data-…` of its rows.
fn table(name: &str, key: &str) -> String {
    format!(
        "[...document.querySelectorAll('[data-testid=\"table-{name}\"] tbody tr')].map(row => \
         [{key}, row.querySelector('[data-bytes]').dataset.bytes]).sort()"
    )
}

fn sorted(mut rows: Vec<Value>) -> Value {
    rows.sort_by_key(ToString::to_string);
    rows.into()
}

fn rows(answer: &Value, key: impl Fn(&Value) -> Value) -> Value {
    let row = |row: &Value| json!([key(row), row["bytes"].to_string()]);
    sorted(answer["data"].as_array().expect("rows").iter().map(row).collect())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn kpi(name: &str, kind: &str) -> String {
    format!(
        "document.querySelector('[data-testid=\"kpi-{name}\"][data-{kind}], [data-testid=\"kpi-{name}\"] [data-{kind}]')?.dataset.{kind}"
    )
}

async fn assert_kpis(browser: &Browser, kpis: &Value) {
    let data = &kpis["data"];
    for (name, kind, field) in [
        ("usage", "bytes", "dataUsage"),
        ("average", "bytes", "avgDataPerSim"),
        ("spend", "value", "totalSpend"),
        ("sims", "value", "activeSims"),
    ] {
        browser
            .wait_for(
                &format!("Number({})", kpi(name, kind)),
                &json!(data[field]["value"].as_f64().expect("a number")),
            )
            .await;
    }
}

/// Catches a panel that rounds, cuts or asks for other days than the others.
#[tokio::test]
async fn every_panel_of_consumption_shows_what_the_api_says() {
    let (_database, api, browser, [from, to]) = shown().await;
    browser.open(&format!("/consumption?from={from}&to={to}&by=daily")).await;
    let days = format!("start_date={from}&end_date={to}");
    let trends = asked(&api, &format!("/api/consumption/trends?granularity=daily&{days}")).await;
    let sum: i64 =
        trends["data"].as_array().expect("days").iter().filter_map(|day| day["bytes"].as_i64()).sum();
    assert_eq!(sum, 7 * (1_234_567 + 7_654_321) + 21 * (1_001 + 1_000_003), "all of it lies in these days");
    browser.wait_for(&chart("trends"), &points(&trends)).await;
    let kpis = asked(&api, &format!("/api/consumption/kpis?{days}")).await;
    assert_eq!(kpis["data"]["dataUsage"]["value"], sum);
    assert_kpis(&browser, &kpis).await;
    let carriers = asked(&api, &format!("/api/consumption/carriers?{days}")).await;
    browser
        .wait_for(&table("carriers", "row.dataset.carrier"), &rows(&carriers, |row| text(&row["id"]).into()))
        .await;
    let places = asked(&api, &format!("/api/consumption/regional?{days}")).await;
    browser.wait_for(&table("regions", "row.dataset.place"), &rows(&places, |row| row["id"].clone())).await;
    let details = asked(&api, &format!("/api/consumption/usage-details?granularity=daily&{days}")).await;
    assert_eq!(details["data"].as_array().map(Vec::len), Some(7));
    let key = "[row.dataset.iccid, row.dataset.network, row.dataset.period].join(' ')";
    let of_row = |row: &Value| ["imsi", "mccmnc", "day"].map(|name| text(&row[name])).join(" ").into();
    browser.wait_for(&table("details", key), &rows(&details, of_row)).await;
    assert_eq!(browser.console().await, [""; 0]);
    browser.close().await;
    api.close().await;
}

#[tokio::test]
async fn the_overview_shows_the_month_and_the_last_day() {
    let (_database, api, browser, _) = shown().await;
    browser.open("/").await;
    assert_kpis(&browser, &asked(&api, "/api/consumption/kpis").await).await;
    let trends = asked(&api, "/api/consumption/trends?granularity=24h").await;
    browser.wait_for(&chart("last-day"), &points(&trends)).await;
    assert_eq!(browser.console().await, [""; 0]);
    browser.close().await;
    api.close().await;
}

/// Catches a switch that changes the button and not the question, and one that the back button does not undo.
#[tokio::test]
async fn periods_and_filters_are_switched_and_are_in_the_address() {
    let (_database, api, browser, [from, to]) = shown().await;
    let days = format!("start_date={from}&end_date={to}");
    browser.open(&format!("/consumption?from={from}&to={to}&by=daily")).await;
    for (choice, count) in [("weekly", 7), ("monthly", 3), ("daily", 41)] {
        browser.click(&format!("[data-testid=filter-granularity] [data-choice={choice}]")).await;
        let trends = asked(&api, &format!("/api/consumption/trends?granularity={choice}&{days}")).await;
        let least = trends["data"].as_array().map_or(0, Vec::len);
        assert!((count - 1..=count).contains(&least), "{choice}: {least}");
        browser.wait_for(&chart("trends"), &points(&trends)).await;
        assert!(browser.path().await.contains(&format!("by={choice}")), "{}", browser.path().await);
    }
    browser.value("history.back()").await;
    let monthly = asked(&api, &format!("/api/consumption/trends?granularity=monthly&{days}")).await;
    browser.wait_for(&chart("trends"), &points(&monthly)).await;

    browser.click("[data-testid=filter-sim]").await;
    browser.click(&format!("[data-choice='{SECOND}']")).await;
    let one = format!("imsi={SECOND}&{days}");
    let trends = asked(&api, &format!("/api/consumption/trends?granularity=monthly&{one}")).await;
    browser.wait_for(&chart("trends"), &points(&trends)).await;
    assert_kpis(&browser, &asked(&api, &format!("/api/consumption/kpis?{one}")).await).await;
    let details = asked(&api, &format!("/api/consumption/usage-details?granularity=monthly&{one}")).await;
    let only = rows(&details, |row| row["imsi"].clone());
    browser.wait_for(&table("details", "row.dataset.iccid"), &only).await;
    // The address alone says all of it.
    let address = browser.path().await;
    assert!(address.contains(&format!("sim={SECOND}")), "{address}");
    browser.open(&address).await;
    browser.wait_for(&chart("trends"), &points(&trends)).await;
    assert_eq!(browser.console().await, [""; 0]);
    browser.close().await;
    api.close().await;
}
