//! Every page of the dashboard in Chromium, without a window: when something was first seen, when all figures were there, and how
//! long scripts ran.

use std::time::Instant;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::program::Program;

/// Turns of each page; the middle one by time of scripts is told.
const TURNS: usize = 5;

/// What one opening of a page took, in milliseconds.
struct Cost {
    /// First Contentful Paint, since the navigation began.
    painted: f64,
    /// Until no panel was waiting for figures any more.
    complete: f64,
    /// JavaScript, that of modules and that of the page.
    script: f64,
    /// Style and layout.
    layout: f64,
}

pub(crate) async fn measure(program: &Program, key: &str, sim: &str) {
    let browser = Browser::at(&format!("http://{}", program.http)).await;
    browser.open("/sign-in").await;
    browser.fill("[data-testid=sign-in-key]", key).await;
    browser.click("[data-testid=sign-in-submit]").await;
    browser.wait("location.pathname === '/'").await;
    browser.settled().await;
    browser.devtools("Performance.enable", json!({"timeDomain": "timeTicks"})).await;

    println!("{:64} {:>10} {:>10} {:>10} {:>10}", "", "painted", "complete", "script", "layout");
    browser.devtools("Network.clearBrowserCache", json!({})).await;
    tell("/ with an empty cache", &open(&browser, "/").await);
    let one = format!("/sims/{sim}");
    let pages = [
        "/",
        "/consumption?range=24h",
        "/consumption?range=7d",
        "/consumption?range=30d&split=carrier",
        "/consumption?range=12w&split=direction",
        "/consumption?range=12w&split=carrier",
        "/consumption?network=22801",
        "/sims",
        &one,
        "/invoices",
        "/operations",
        "/quarantine",
    ];
    for page in pages {
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            turns.push(open(&browser, page).await);
        }
        turns.sort_by(|a, b| a.script.total_cmp(&b.script));
        tell(page, &turns[TURNS / 2]);
    }
    browser.close().await;
}

async fn open(browser: &Browser, page: &str) -> Cost {
    browser.open("/robots.txt").await;
    let before = spent(browser).await;
    let began = Instant::now();
    browser.open(page).await;
    browser.settled().await;
    let complete = began.elapsed().as_secs_f64() * 1e3;
    let after = spent(browser).await;
    let paint =
        browser.value("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1").await;
    // A page in a new process has a count of its own.
    let since = |at: usize| if after[at] < before[at] { after[at] } else { after[at] - before[at] };
    Cost {
        painted: paint.as_f64().expect("a number"),
        complete,
        script: since(0),
        layout: since(1) + since(2),
    }
}

/// Milliseconds of scripts, layout and styles so far.
async fn spent(browser: &Browser) -> [f64; 3] {
    let told = browser.devtools("Performance.getMetrics", json!({})).await;
    let metrics = told["metrics"].as_array().expect("metrics");
    let named = |name: &str| metrics.iter().find(|metric| metric["name"] == name);
    let ms = |name| named(name).and_then(|metric: &Value| metric["value"].as_f64()).unwrap_or(0.0) * 1e3;
    ["ScriptDuration", "LayoutDuration", "RecalcStyleDuration"].map(ms)
}

fn tell(page: &str, cost: &Cost) {
    let Cost { painted, complete, script, layout } = cost;
    let columns = [painted, complete, script, layout].map(|ms| format!("{ms:>7.0} ms"));
    println!("{page:64} {}", columns.join(" "));
}
