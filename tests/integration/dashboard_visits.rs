//! The dashboard in Chromium: what the first visit and those after it ask for.

use std::collections::HashSet;

use serde_json::json;

use crate::harness::browser::Browser;
use crate::harness::customer::customer;
use crate::harness::front::Front;

/// Files among what was asked for.
fn files(asked: &[String]) -> Vec<&str> {
    asked.iter().filter(|path| path.starts_with("/assets/")).map(String::as_str).collect()
}

/// Catches files that are asked for again although nothing changed, files that are asked for twice, and pages whose modules are only
/// found when they are opened.
#[tokio::test]
async fn the_second_visit_asks_for_the_page_and_its_figures_alone() {
    let (_database, api) = customer().await;
    let front = Front::to(api.bridge.http_addr.expect("HTTP is on")).await;
    let browser = Browser::at(&front.base).await;
    browser.open("/").await;
    browser.settled().await;
    let first = front.asked();
    let (all, different) = (files(&first), files(&first).into_iter().collect::<HashSet<_>>());
    assert!(all.len() > 50 && all.len() == different.len(), "each once: {first:?}");
    browser.click("[data-testid=nav-quarantine]").await;
    browser.settled().await;
    let opened = front.asked();
    assert_eq!(files(&opened), [""; 0], "a page that is opened later: {opened:?}");
    for again in ["reload", "/", "/consumption", "/sims"] {
        match again {
            "reload" => browser.reload().await,
            path => browser.open(path).await,
        }
        browser.settled().await;
        let asked = front.asked();
        assert_eq!(files(&asked), [""; 0], "{again}: {asked:?}");
        assert!(asked.iter().any(|path| path.starts_with("/api/")), "its figures are new: {asked:?}");
        let page = if again == "reload" { "/quarantine" } else { again };
        assert_eq!(asked.iter().filter(|path| *path == page).count(), 1, "{asked:?}");
    }
    browser.close().await;
    api.close().await;
}

/// Catches a module that waits for another one before it is asked for: each step of such a chain takes a round trip.
#[tokio::test]
async fn the_first_visit_finds_all_modules_in_the_page() {
    let (_database, api) = customer().await;
    let browser = Browser::at(&api.base).await;
    browser.open("/").await;
    browser.settled().await;
    let sent = browser.sent().await;
    let modules =
        sent.iter().filter(|sent| sent["request"]["url"].as_str().is_some_and(|url| url.ends_with(".js")));
    let page = json!(format!("{}/", api.base));
    let mut count = 0;
    for module in modules {
        let by = &module["initiator"];
        assert_eq!((&by["type"], &by["url"]), (&json!("parser"), &page), "{}", module["request"]["url"]);
        count += 1;
    }
    assert!(count > 50, "{count}");
    browser.close().await;
    api.close().await;
}
