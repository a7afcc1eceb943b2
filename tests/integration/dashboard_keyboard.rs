//! The dashboard in Chromium without a mouse, and without motion.

use fantoccini::key::Key;
use serde_json::json;

use crate::harness::browser::Browser;
use crate::harness::customer::{POOL, SIMS, customer};

const FOCUSED: &str = "(({dataset, className, tagName}) => dataset.testid ?? (String(className) || tagName))(document.activeElement)";

/// Presses Tab until something has the focus that `is` an expression of.
async fn tab_to(browser: &Browser, is: &str) {
    let mut passed = Vec::new();
    for _ in 0..60 {
        browser.press(Key::Tab).await;
        if browser.value(is).await == true {
            return;
        }
        passed.push(browser.value(FOCUSED).await);
    }
    panic!("Tab does not lead to {is}: {passed:?}");
}

/// Catches a chart that the keyboard cannot reach or leave, and one that says nothing of what it points at.
#[tokio::test]
async fn the_chart_is_read_and_left_by_keyboard() {
    let (_database, api) = customer().await;
    let browser = Browser::at(&api.base).await;
    browser.open("/consumption?range=7d&by=daily").await;
    browser.settled().await;
    tab_to(&browser, "document.activeElement.classList.contains('time-plot')").await;
    let tooltip = "document.activeElement.querySelector('.chart-tooltip, .tooltip')?.hidden";
    assert_eq!(browser.value(tooltip).await, true);
    browser.press(Key::Home).await;
    assert_eq!(browser.value(tooltip).await, false);
    let said = "document.getElementById('announce').textContent";
    let first = browser.value(said).await;
    browser.press(Key::Right).await;
    let second = browser.value(said).await;
    assert!(first != second && second.as_str().is_some_and(|words| words.contains("MB")), "{first} {second}");
    browser.press(Key::Escape).await;
    assert_eq!(browser.value(tooltip).await, true);
    browser.press(Key::Tab).await;
    assert_eq!(browser.value("document.activeElement.classList.contains('time-plot')").await, false);
    browser.close().await;
    api.close().await;
}

/// Catches a menu or a question whose end leaves the focus at the top of the page, and one that Tab walks out of.
#[tokio::test]
async fn the_focus_returns_to_where_it_was() {
    let (_database, api) = customer().await;
    let browser = Browser::at(&api.base).await;
    browser.open("/consumption").await;
    browser.settled().await;
    for menu in ["filter-range", "filter-sim", "filter-network"] {
        let button = format!("document.activeElement.matches('button[data-testid={menu}]')");
        tab_to(&browser, &button).await;
        browser.press(Key::Enter).await;
        browser.wait("document.activeElement.closest('[role=dialog]') !== null").await;
        browser.press(Key::Escape).await;
        browser.wait_for(&button, &json!(true)).await;
        assert_eq!(browser.value("document.querySelectorAll('[role=dialog]:not([hidden])').length").await, 0);
    }
    browser.open("/quarantine").await;
    browser.settled().await;
    tab_to(&browser, "document.activeElement.dataset.record === 'parked-11'").await;
    browser.press(Key::Enter).await;
    browser.wait("document.querySelector('[data-testid=discard]') !== null").await;
    browser.settled().await;
    tab_to(&browser, "document.activeElement.dataset.testid === 'discard'").await;
    for end in [Key::Escape, Key::Enter] {
        browser.press(Key::Enter).await;
        browser.wait_for(FOCUSED, &json!("dialog-cancel")).await;
        for _ in 0..5 {
            browser.press(Key::Tab).await;
            let inside = "document.activeElement === document.body || document.activeElement.closest('dialog') !== null";
            assert_eq!(browser.value(inside).await, true, "nothing behind a question has the focus");
        }
        browser.value("document.querySelector('[data-testid=dialog-cancel]').focus()").await;
        browser.press(end).await;
        browser.wait_for(FOCUSED, &json!("discard")).await;
    }
    browser.close().await;
    api.close().await;
}

/// Catches a page that begins anywhere but at its content, and a link past the navigation that leads nowhere.
#[tokio::test]
async fn navigation_can_be_skipped_and_leads_into_the_page() {
    let (_database, api) = customer().await;
    let browser = Browser::at(&api.base).await;
    browser.open("/invoices").await;
    browser.settled().await;
    tab_to(&browser, "document.activeElement.dataset.testid === 'nav-sims'").await;
    browser.press(Key::Enter).await;
    browser.wait_for("location.pathname", &json!("/sims")).await;
    browser.settled().await;
    assert_eq!(browser.value("document.activeElement.id").await, "main");
    browser.open("/sims").await;
    browser.settled().await;
    tab_to(&browser, "document.activeElement.classList.contains('skip')").await;
    browser.press(Key::Enter).await;
    browser.wait_for("document.activeElement.id", &json!("main")).await;
    browser.close().await;
    api.close().await;
}

/// Catches motion for people who asked for none.
#[tokio::test]
async fn nothing_moves_for_those_who_want_no_motion() {
    let (_database, api) = customer().await;
    let browser = Browser::at(&api.base).await;
    let features = json!({"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]});
    let one = format!("/sims/{}", SIMS[0]);
    let running = "document.getAnimations().filter(({playState, effect}) => \
        playState === 'running' && effect.getComputedTiming().duration > 0).map(({animationName, transitionProperty}) => \
        animationName ?? transitionProperty)";
    browser.open("/").await;
    browser.wait_for(&format!("{running}.includes('pulse')"), &json!(true)).await;
    browser.devtools("Emulation.setEmulatedMedia", features).await;
    for page in ["/", "/consumption", "/sims", one.as_str(), "/pools", POOL, "/operations", "/quarantine"] {
        browser.open(page).await;
        browser.wait("document.querySelector('#main h1') !== null").await;
        assert_eq!(browser.value(running).await, json!([]), "{page} while it loads");
        browser.settled().await;
        assert_eq!(browser.value(running).await, json!([]), "{page}");
    }
    browser.close().await;
    api.close().await;
}
