//! What the pages of pools show, against what the API says.

use chrono::{Datelike, TimeDelta};
use serde_json::{Value, json};

use crate::harness::api::{DEMO_KEY, TestApi};
use crate::harness::browser::Browser;
use crate::harness::customer::{POOL, SIMS, customer};
use crate::harness::database::now;

const LISTED: &str = "[...document.querySelectorAll('[data-testid=table-pools] tbody tr')].map(row => { \
    const bar = row.querySelector('[data-testid=pool-usage-bar]'); \
    return [row.querySelector('a').textContent, row.querySelector('a').getAttribute('href'), bar.dataset.bytes, \
        bar.dataset.limit, bar.dataset.level]; })";
const MEMBERS: &str = "[...document.querySelectorAll('[data-testid=table-pool-members] tbody tr')].map(row => { \
    const bar = row.querySelector('[data-testid=member-usage-bar]'); \
    return [row.dataset.iccid, row.querySelector('[data-share]').dataset.bytes, row.querySelector('[data-share]').dataset.share, \
        bar.dataset.limit ?? 'none', bar.dataset.level]; })";

async fn asked(api: &TestApi, path: &str) -> Value {
    let answer = api.get_as(DEMO_KEY, path).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

fn level(percent: &Value) -> &'static str {
    match percent.as_f64() {
        None => "none",
        Some(percent) if percent > 90.0 => "high",
        Some(percent) if percent >= 70.0 => "middle",
        Some(_) => "low",
    }
}

fn pools(answer: &Value) -> Value {
    let row = |pool: &Value| {
        let usage = &pool["usage"];
        json!([
            pool["name"],
            format!("/pools/{}", pool["id"]),
            usage["usedBytes"].to_string(),
            pool["limitBytes"].to_string(),
            level(&usage["percentOfLimit"])
        ])
    };
    answer["pools"].as_array().expect("pools").iter().map(row).collect()
}

fn members(answer: &Value) -> Value {
    let row = |member: &Value| {
        let limit = &member["limitBytes"];
        let limit = if limit.is_null() { "none".to_owned() } else { limit.to_string() };
        let (used, share) = (member["usedBytes"].to_string(), member["percentOfPool"].to_string());
        json!([member["iccid"], used, share, limit, level(&member["percentOfLimit"])])
    };
    answer["members"].as_array().expect("members").iter().map(row).collect()
}

/// A pool for each colour, beside the customer's own, which is not full of its members' days.
async fn more_pools(api: &TestApi, used: i64) {
    for (name, limit) in [("<b>green</b>", used * 2), ("amber", used * 10 / 8), ("red", used)] {
        let body = json!({"name": name, "limitBytes": limit});
        let made = api.post_as(DEMO_KEY, "/api/v1/pools", &body).await;
        assert_eq!(made.status, 201, "{}", made.text);
    }
}

/// Catches a list that shows other figures than the API, a bar of another colour than its share, and a name that becomes markup.
#[tokio::test]
async fn the_list_of_pools_shows_what_the_api_says() {
    let (database, api) = customer().await;
    let used = asked(&api, "/api/v1/pools/1").await["usage"]["usedBytes"].as_i64().expect("bytes");
    more_pools(&api, used).await;
    // What the first one used, they did too.
    database
        .run("INSERT INTO usage_pool_days SELECT p.id, d.usage_date, 1, d.total_bytes FROM usage_pool_days d, usage_pools p WHERE p.id > 1")
        .await;
    let browser = Browser::at(&api.base).await;
    browser.open("/pools").await;
    let all = asked(&api, "/api/v1/pools?sort=-percentOfLimit").await;
    let levels: Vec<&str> = all["pools"]
        .as_array()
        .expect("pools")
        .iter()
        .map(|pool| level(&pool["usage"]["percentOfLimit"]))
        .collect();
    assert!(["high", "middle", "low"].iter().all(|level| levels.contains(level)), "{levels:?}");
    browser.wait_for(LISTED, &pools(&all)).await;
    assert_eq!(browser.value("document.querySelectorAll('[data-testid=table-pools] b').length").await, 0);
    browser.click("[data-testid=table-pools] th:first-child .sort").await;
    browser.wait_for(LISTED, &pools(&asked(&api, "/api/v1/pools?sort=name").await)).await;
    assert_eq!(browser.path().await, "/pools?sort=name");
    browser.click("[data-testid=table-pools] a[href='/pools/1']").await;
    browser.wait("document.querySelector('[data-testid=pool-used]') !== null").await;
    browser.value("history.back()").await;
    browser.wait_for(LISTED, &pools(&asked(&api, "/api/v1/pools?sort=name").await)).await;
    assert_eq!(browser.console().await, Vec::<String>::new());
    browser.close().await;
    api.close().await;
}

/// Catches figures of another pool or period, members that are missing or in another order, and a page that does not say that there
/// is no such pool.
#[tokio::test]
async fn one_pool_shows_its_period_and_its_members() {
    let (_database, api) = customer().await;
    let browser = Browser::at(&api.base).await;
    browser.open(POOL).await;
    let pool = asked(&api, "/api/v1/pools/1").await;
    let used = pool["usage"]["usedBytes"].as_i64().expect("bytes");
    assert!(used > 0);
    browser
        .wait_for(
            "document.querySelector('[data-testid=pool-used]')?.dataset.bytes",
            &json!(used.to_string()),
        )
        .await;
    let left = "document.querySelector('[data-testid=pool-left]')?.dataset.bytes";
    browser.wait_for(left, &json!(pool["usage"]["remainingBytes"].to_string())).await;
    let share = "Number(document.querySelector('[data-testid=pool-share]')?.dataset.percent)";
    browser.wait_for(share, &json!(pool["usage"]["percentOfLimit"].as_f64())).await;
    let by_usage = asked(&api, "/api/v1/pools/1/members?sort=-usedBytes").await;
    assert_eq!(by_usage["members"].as_array().map(Vec::len), Some(3));
    browser.wait_for(MEMBERS, &members(&by_usage)).await;
    browser.click("[data-testid=table-pool-members] th:first-child .sort").await;
    let by_iccid = asked(&api, "/api/v1/pools/1/members?sort=iccid").await;
    assert_eq!(by_iccid["members"][0]["iccid"], SIMS[0]);
    assert_ne!(by_iccid["members"], by_usage["members"]);
    browser.wait_for(MEMBERS, &members(&by_iccid)).await;
    assert_eq!(browser.path().await, format!("{POOL}?sort=iccid"));
    // The period before, and back.
    let before =
        (now().date_naive().with_day(1).expect("a first") - TimeDelta::days(1)).format("%Y-%m").to_string();
    let then = asked(&api, &format!("/api/v1/pools/1?period={before}")).await;
    let used_then = then["usage"]["usedBytes"].as_i64().expect("bytes");
    assert!(used_then > 0 && used_then != used);
    browser.click("[data-testid=period-previous]").await;
    let shown = "document.querySelector('[data-testid=pool-used]')?.dataset.bytes";
    browser.wait_for(shown, &json!(used_then.to_string())).await;
    assert_eq!(browser.path().await, format!("{POOL}?sort=iccid&period={before}"));
    let members_then = asked(&api, &format!("/api/v1/pools/1/members?sort=iccid&period={before}")).await;
    browser.wait_for(MEMBERS, &members(&members_then)).await;
    browser.click("[data-testid=period-next]").await;
    browser.wait_for(shown, &json!(used.to_string())).await;
    browser.wait_for("document.querySelector('[data-testid=period-next]').disabled", &json!(true)).await;
    for none in ["99", "x"] {
        browser.open(&format!("/pools/{none}")).await;
        browser.wait(&format!("document.body.textContent.includes('There is no pool {none}')")).await;
    }
    browser.close().await;
    api.close().await;
}
