//! The dashboard in Chromium: who signs in, what they see, and parked records that somebody mends.

use serde_json::json;

use crate::harness::api::TestApi;
use crate::harness::browser::Browser;
use crate::harness::database::{TestDatabase, now, sim};

const ICCID: &str = "8941000000000000001";
const KEY_FIELD: &str = "[data-testid=sign-in-key]";

/// Posts records of a SIM, from `(recordId, bytes)`.
async fn post(api: &TestApi, key: &str, iccid: &str, records: &[(&str, i64)]) {
    let at = now();
    let record = |(id, bytes): &(&str, i64)| json!({"recordId": id, "iccid": iccid, "periodStart": at, "periodEnd": at, "usage": {"totalBytes": bytes}});
    let batch = json!({"batchId": "b", "records": records.iter().map(record).collect::<Vec<_>>()});
    assert_eq!(api.post_as(key, "/api/v1/usage/batch", &batch).await.status, 202);
}

async fn sign_in(browser: &Browser, key: &str) {
    browser.fill(KEY_FIELD, key).await;
    browser.click("[data-testid=sign-in-submit]").await;
}

fn used() -> &'static str {
    "document.querySelector('[data-testid=kpi-usage][data-bytes], [data-testid=kpi-usage] [data-bytes]')?.dataset.bytes"
}

fn navigation() -> &'static str {
    "[...document.querySelectorAll('nav [data-testid]')].map(link => link.dataset.testid)"
}

/// Catches figures that are shown before somebody signed in, a session that stays after the sign-out, and a link that leads people
/// who sign in to another site.
#[tokio::test]
async fn who_signs_in_sees_figures_until_they_sign_out() {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    let api = TestApi::start(&database).await;
    let key = api.key(&["*"]).await;
    post(&api, &key, ICCID, &[("a", 12_345)]).await;
    database.roll_up().await;
    let browser = Browser::at(&api.base).await;
    browser.open("/consumption?range=7d").await;
    browser.wait("document.querySelector('[data-testid=panel-sign-in]') !== null").await;
    assert_eq!(browser.path().await, "/sign-in?next=%2Fconsumption%3Frange%3D7d");
    assert_eq!(browser.value(navigation()).await, json!([]));

    let fault = "document.querySelector('[role=alert]:not([hidden])')?.textContent ?? ''";
    sign_in(&browser, "mqs_short").await;
    browser.wait_for(&format!("({fault}).startsWith('This is no key')"), &json!(true)).await;
    sign_in(&browser, &format!("mqs_{}", "x".repeat(43))).await;
    browser.wait_for(fault, &json!("Nobody has this key. Ask for another one.")).await;
    sign_in(&browser, &key).await;
    browser.wait_for(used(), &json!("12345")).await;
    assert_eq!(browser.path().await, "/consumption?range=7d");
    assert_eq!(browser.value("document.cookie").await, "", "no script reads the session");

    browser.click("[data-testid=sign-out]").await;
    browser.wait("document.querySelector('[data-testid=panel-sign-in]') !== null").await;
    assert_eq!(database.number("SELECT count(*) FROM dashboard_sessions").await, 0);
    browser.open("/").await;
    browser.wait("document.querySelector('[data-testid=panel-sign-in]') !== null").await;

    browser.open("/sign-in?next=//elsewhere.example/").await;
    sign_in(&browser, &key).await;
    browser.wait_for("location.pathname", &json!("/")).await;
    browser.wait_for(used(), &json!("12345")).await;
    assert_eq!(browser.console().await, [""; 0]);
    browser.close().await;
    api.close().await;
}

/// Catches an answer that is kept for the one who signs in next, and pages that a key cannot use in the navigation.
#[tokio::test]
async fn two_tenants_see_only_their_own_and_keys_only_what_they_may() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let tenants = [("north", "8941000000000007701", 1_001), ("south", "8941000000000007702", 2_002)];
    for (tenant, iccid, bytes) in tenants {
        let id = database.tenant(tenant, "UTC").await;
        database.store.import_sims(id, &[sim(iccid)], now()).await.expect("the import succeeds");
        let key = api.key_of(tenant, &["*"]).await;
        post(&api, &key, iccid, &[("a", bytes), (&format!("bad-{tenant}"), -1)]).await;
    }
    database.roll_up().await;
    let browser = Browser::at(&api.base).await;
    let parked =
        "[...document.querySelectorAll('[data-testid=table-quarantine] a')].map(row => row.dataset.record)";
    for (tenant, _, bytes) in tenants {
        browser.open("/sign-in").await;
        sign_in(&browser, &api.key_of(tenant, &["*"]).await).await;
        browser.wait_for(used(), &json!(bytes.to_string())).await;
        browser
            .wait_for(
                &format!("document.querySelector('[data-testid=place]').textContent.includes('{tenant}')"),
                &json!(true),
            )
            .await;
        browser.click("[data-testid=nav-quarantine]").await;
        browser.wait_for(parked, &json!([format!("bad-{tenant}")])).await;
        let other = if tenant == "north" { "south" } else { "north" };
        assert_eq!(browser.value(&format!("document.body.innerText.includes('{other}')")).await, false);
    }
    browser.open("/sign-in").await;
    sign_in(&browser, &api.key_of("north", &["consumption:read"]).await).await;
    browser.wait_for(used(), &json!("1001")).await;
    browser.wait_for(navigation(), &json!(["nav-overview", "nav-consumption", "nav-invoices"])).await;
    browser.open("/operations").await;
    browser.wait_for("document.querySelector('#main').innerText.includes('usage:read')", &json!(true)).await;
    browser.close().await;
    api.close().await;
}

/// Catches a replay of what was sent in place of what was edited, and a discard without a question.
#[tokio::test]
async fn a_parked_record_is_edited_and_replayed_and_another_is_discarded() {
    let database = TestDatabase::new().await;
    database.import(&[sim(ICCID)]).await;
    let api = TestApi::start(&database).await;
    let key = api.key(&["*"]).await;
    post(&api, &key, ICCID, &[("mend", -1), ("discard", -2)]).await;
    let browser = Browser::at(&api.base).await;
    browser.open("/sign-in?next=/quarantine").await;
    sign_in(&browser, &key).await;
    let counts = "[...document.querySelectorAll('[data-testid=filter-reason] button')].map(chip => [chip.dataset.reason, chip.dataset.count])";
    browser.wait_for(counts, &json!([["", "2"], ["invalid", "2"]])).await;

    browser.click("[data-record=mend]").await;
    browser.click("[data-testid=replay]").await;
    let result = "document.querySelector('[data-testid=quarantine-result]:not([hidden])')?.innerText";
    browser.wait_for(&format!("({result} ?? '').includes('must not be negative')"), &json!(true)).await;
    let payload = "document.querySelector('[data-testid=payload]')";
    let mended = browser.value(&format!("{payload}.value.replace(': -1', ': 9007199254')")).await;
    browser.fill("[data-testid=payload]", mended.as_str().expect("text")).await;
    browser.click("[data-testid=replay]").await;
    browser.wait_for(&format!("({result} ?? '').startsWith('Stored')"), &json!(true)).await;
    browser.wait_for(counts, &json!([["", "1"], ["invalid", "1"]])).await;
    assert_eq!(database.rows("SELECT record_id, total_bytes FROM usage_records").await, ["mend|9007199254"]);

    browser.click("[data-record=discard]").await;
    browser.wait_for(&format!("{payload}?.value.includes('-2') ?? false"), &json!(true)).await;
    browser.click("[data-testid=discard]").await;
    browser.click("[data-testid=dialog-cancel]").await;
    assert_eq!(database.number("SELECT count(*) FROM quarantine WHERE state = 'parked'").await, 1);
    browser.click("[data-testid=discard]").await;
    browser.click("[data-testid=dialog-confirm]").await;
    browser.wait_for(&format!("({result} ?? '').startsWith('Discarded')"), &json!(true)).await;
    browser
        .wait_for("document.querySelector('[data-testid=panel-quarantine]').dataset.state", &json!("empty"))
        .await;
    let states = database.rows("SELECT record_id, state FROM quarantine ORDER BY id").await;
    assert_eq!(states, ["mend|replayed", "discard|discarded"]);
    assert_eq!(browser.console().await, [""; 0]);
    browser.close().await;
    api.close().await;
}
