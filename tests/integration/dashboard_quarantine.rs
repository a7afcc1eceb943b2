//! The quarantine in Chromium: it renews itself around whoever works with it.

use serde_json::{Value, json};

use crate::harness::api::TestApi;
use crate::harness::browser::Browser;
use crate::harness::customer::{SIMS, customer, park};
use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::TestPipeline;

const LISTED: &str =
    "[...document.querySelectorAll('[data-testid=table-quarantine] a')].map(({dataset}) => dataset.record)";
const FRESH: &str = "document.querySelector('[data-testid=quarantine-fresh]').dataset.count";
const PAYLOAD: &str = "document.querySelector('[data-testid=payload]')";

/// Catches a renewal that draws the list or the record anew: what somebody edits, has selected or points at would be lost; and one
/// that never comes.
#[tokio::test]
async fn what_somebody_edits_stays_while_others_are_parked() {
    let (database, api) = customer().await;
    let browser = Browser::at(&api.base).await;
    browser.open("/quarantine").await;
    browser.settled().await;
    let before = browser.value(LISTED).await;
    assert_eq!(before.as_array().map(Vec::len), Some(12));
    browser.click("[data-record='parked-4']").await;
    browser.wait(&format!("{PAYLOAD} !== null")).await;
    browser.settled().await;
    // Half an edit: characters are selected, and the page is scrolled.
    let edited = "(() => { const area = document.querySelector('[data-testid=payload]'); area.focus(); area.setRangeText('half', 3, 4); \
        area.dispatchEvent(new Event('input', {bubbles: true})); area.setSelectionRange(2, 9); window.scrollTo(0, 120); \
        window.worked = area; window.row = document.querySelector('[data-record=parked-9]'); return true; })()";
    browser.value(edited).await;
    let work = "[document.activeElement === window.worked, window.worked.isConnected, window.worked.value, \
        window.worked.selectionStart, window.worked.selectionEnd, window.scrollY, window.row.isConnected]";
    let worked = browser.value(work).await;
    assert_eq!(worked[5], json!(120), "{worked}");

    for one in ["new-a", "new-b", "new-c"] {
        park(&api, one, 1).await;
    }
    database
        .run("UPDATE quarantine SET seen_count = 7, last_seen_at = now() WHERE record_id = 'parked-11'")
        .await;
    database
        .run("UPDATE quarantine SET state = 'discarded', resolved_at = now() WHERE record_id = 'parked-2'")
        .await;
    browser.wait_for(FRESH, &json!("3")).await;
    // What a renewal asked for has had its effect when the one after the next one came.
    let renewals = "performance.getEntriesByType('resource').filter(({name}) => name.includes('/api/v1/quarantine?')).length";
    let seen = browser.value(renewals).await;
    browser.wait(&format!("{renewals} > {seen} + 1")).await;
    assert_eq!(browser.value(work).await, worked);
    assert_eq!(browser.value(LISTED).await, before, "what is read stays where it is");
    let counts = "[...document.querySelectorAll('[data-testid=filter-reason] button')].map(({dataset}) => [dataset.reason, dataset.count])";
    assert_eq!(browser.value(counts).await, json!([["", "14"], ["invalid", "14"]]));
    let told = |record: &str| {
        format!(
            "document.querySelector('[data-record={record}] .parked-top').innerText.replace(/\\s+/g, ' ')"
        )
    };
    assert!(browser.value(&told("parked-11")).await.as_str().is_some_and(|text| text.contains("7×")));
    let gone = browser.value(&told("parked-2")).await;
    assert!(gone.as_str().is_some_and(|text| text.contains("not parked any more")), "{gone}");

    browser.click("[data-testid=quarantine-fresh]").await;
    let mut after: Vec<Value> = ["new-c-0", "new-b-0", "new-a-0"].map(Value::from).to_vec();
    after.extend(before.as_array().expect("records").iter().filter(|one| **one != "parked-2").cloned());
    browser.wait_for(LISTED, &json!(after)).await;
    browser.wait_for(FRESH, &json!("0")).await;
    browser.wait_for("document.activeElement.dataset.record", &json!("new-c-0")).await;
    let edit = browser.value("[window.worked.isConnected, window.worked.value]").await;
    assert_eq!(edit, json!([true, worked[2]]), "the edit stays");
    assert_eq!(browser.console().await, [""; 0]);
    browser.close().await;
    api.close().await;
}

/// Catches an empty page that stays empty, and a filter that a renewal forgets.
#[tokio::test]
async fn the_first_parked_record_shows_by_itself() {
    let database = TestDatabase::new().await;
    database.import(&[sim(SIMS[0])]).await;
    let api = TestApi::demo(&database).await;
    let browser = Browser::at(&api.base).await;
    let state = "document.querySelector('[data-testid=panel-quarantine]')?.dataset.state";
    browser.open("/quarantine?state=discarded").await;
    browser.wait_for(state, &json!("empty")).await;
    park(&api, "new", 1).await;
    database.run("UPDATE quarantine SET state = 'discarded', resolved_at = now()").await;
    browser.wait_for(LISTED, &json!(["new-0"])).await;
    browser.open("/quarantine").await;
    browser.wait_for(state, &json!("empty")).await;
    park(&api, "more", 1).await;
    browser.wait_for(LISTED, &json!(["more-0"])).await;
    browser.close().await;
    api.close().await;
}

/// Catches bytes that are shown as if they were text, and could be sent changed; and a count that looks exact and is not.
#[tokio::test]
async fn what_is_no_text_and_what_was_not_counted_to_its_end_says_so() {
    let (database, api) = customer().await;
    let pipeline = TestPipeline::start(&database.store);
    pipeline.one(SIMS[0], vec![0xff, 0x00, 0x7b]).await;
    database
        .run(
            "INSERT INTO quarantine (tenant_id, reason, detail, via, sender, topic, payload, digest)
             SELECT 1, 'conflict', 'x', 'http', 'x', 'x', '', int8send(n) FROM generate_series(1, 10001) AS n",
        )
        .await;
    let browser = Browser::at(&api.base).await;
    browser.open("/quarantine?reason=malformed").await;
    browser.click("[data-testid=table-quarantine] a").await;
    browser.wait_for(&format!("{PAYLOAD}?.value"), &json!("/wB7")).await;
    assert_eq!(browser.value(&format!("{PAYLOAD}.readOnly")).await, true);
    let label = browser.value(&format!("{PAYLOAD}.labels[0].innerText")).await;
    assert!(label.as_str().is_some_and(|label| label.contains("base64")), "{label}");
    let chips = "[...document.querySelectorAll('[data-testid=filter-reason] button .count')].map((count) => count.textContent)";
    browser.wait_for(chips, &json!(["10,013+", "10,000+", "12", "1"])).await;
    browser.close().await;
    api.close().await;
}
