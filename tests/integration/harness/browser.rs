//! Chromium without a window, driven over WebDriver: the dashboard as people meet it.

use std::process::Stdio;

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{PATIENCE, eventually};

/// Browsers at once: each takes a few processes and 200 MB.
static BROWSERS: Semaphore = Semaphore::const_new(2);
const INSTALL: &str = "install it with: apt-get install chromium chromium-driver";
/// Nothing that talks to others, and nothing that needs a screen, a sandbox or much of /dev/shm.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1440,1000",
];

/// A browser of one test.
pub(crate) struct Browser {
    client: Client,
    driver: Child,
    /// Where the program under test is.
    base: String,
    _profile: tempfile::TempDir,
    _slot: SemaphorePermit<'static>,
}

/// What a browser keeps of a kind since it was last asked.
#[derive(Debug)]
struct ReadLog(&'static str);

impl WebDriverCompatibleCommand for ReadLog {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.expect("a session")))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({"type": self.0}).to_string()))
    }
}

impl Browser {
    /// A fresh profile, at the program at `base`.
    pub(crate) async fn at(base: &str) -> Self {
        let slot = BROWSERS.acquire().await.expect("it is never closed");
        let profile = tempfile::Builder::new().prefix("simbridge-browser-").tempdir().expect("a directory");
        let (driver, port) = start_driver().await;
        let mut flags = FLAGS.map(str::to_owned).to_vec();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        let capabilities = json!({
            "goog:chromeOptions": {"args": flags, "binary": chromium()},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        });
        let capabilities = capabilities.as_object().expect("an object").clone();
        let mut connector = ClientBuilder::new(HttpConnector::new());
        let place = format!("http://127.0.0.1:{port}");
        let client = connector.capabilities(capabilities).connect(&place).await.expect("a browser");
        let browser = Self { client, driver, base: base.to_owned(), _profile: profile, _slot: slot };
        // The page that a browser begins with is one of its own, and no matter of ours.
        browser.client.goto("about:blank").await.expect("a blank page");
        browser.requests().await;
        browser
    }

    pub(crate) async fn open(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.base)).await.expect("the page loads");
    }

    pub(crate) async fn path(&self) -> String {
        let url = self.client.current_url().await.expect("an address");
        url[url::Position::BeforePath..].to_owned()
    }

    /// The value of an expression.
    pub(crate) async fn value(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        self.client.execute(&script, Vec::new()).await.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Waits until an expression is neither null nor false nor empty.
    pub(crate) async fn wait(&self, expression: &str) -> Value {
        eventually(expression, async || {
            let value = self.value(expression).await;
            let nothing = value.is_null() || value == false || value == "" || value == json!([]);
            (!nothing).then_some(value)
        })
        .await
    }

    /// Waits until an expression has this value; the last other one is told when it never has.
    pub(crate) async fn wait_for(&self, expression: &str, wanted: &Value) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let value = self.value(expression).await;
            if same(&value, wanted) {
                return;
            }
            let late = tokio::time::Instant::now() >= deadline;
            assert!(!late, "{expression}\n is {value}\n not {wanted}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Clicks where a person would: what is covered or away fails.
    pub(crate) async fn click(&self, selector: &str) {
        self.wait(&format!("document.querySelector({selector:?}) !== null")).await;
        let found = self.client.find(fantoccini::Locator::Css(selector)).await;
        let element = found.unwrap_or_else(|error| panic!("{selector}: {error}"));
        element.click().await.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Types into a field in place of what is there.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        self.wait(&format!("document.querySelector({selector:?}) !== null")).await;
        let element = self.client.find(fantoccini::Locator::Css(selector)).await.expect("a field");
        element.clear().await.expect("it can be emptied");
        element.send_keys(text).await.expect("it takes keys");
    }

    /// What the console says, beside hints that Chromium itself calls verbose. A line for each answer of 4xx is Chromium's too.
    pub(crate) async fn console(&self) -> Vec<String> {
        let lines = self.log("browser").await;
        let loud = lines.into_iter().filter(|line| line["level"] != "DEBUG" && line["source"] != "network");
        loud.map(|line| line["message"].as_str().unwrap_or("").to_owned()).collect()
    }

    /// Addresses that the page asked for since the last look.
    pub(crate) async fn requests(&self) -> Vec<String> {
        let mut urls = Vec::new();
        for entry in self.log("performance").await {
            let text = entry["message"].as_str().expect("text");
            let event: Value = serde_json::from_str(text).expect("JSON");
            let event = &event["message"];
            if event["method"] == "Network.requestWillBeSent" {
                urls.push(event["params"]["request"]["url"].as_str().expect("an address").to_owned());
            }
        }
        urls
    }

    async fn log(&self, kind: &'static str) -> Vec<Value> {
        let entries = self.client.issue_cmd(ReadLog(kind)).await.expect("a log");
        entries.as_array().expect("entries").clone()
    }

    pub(crate) async fn close(mut self) {
        self.client.close().await.expect("the browser ends");
        self.driver.kill().await.expect("the driver ends");
    }
}

/// On a free port, which it tells itself. It ends with the test.
async fn start_driver() -> (Child, u16) {
    let mut command = Command::new("chromedriver");
    command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut driver =
        command.spawn().unwrap_or_else(|error| panic!("chromedriver cannot be started ({error}); {INSTALL}"));
    let mut lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines();
    let told = async {
        while let Some(line) = lines.next_line().await.expect("UTF-8") {
            if let Some((_, rest)) = line.split_once("successfully on port ") {
                return rest.trim_end_matches('.').parse().ok();
            }
        }
        None
    };
    let port = tokio::time::timeout(PATIENCE, told).await.expect("it tells its port in time");
    let port = port.expect("chromedriver tells its port");
    // What it writes later must find a reader.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (driver, port)
}

/// A browser has one kind of numbers: its 0 is our 0.0.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => one == other,
    }
}

fn chromium() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut places = std::env::split_paths(&path).flat_map(|place| names.map(|name| place.join(name)));
    let found = places.find(|place| place.is_file());
    let found = found.unwrap_or_else(|| panic!("there is no Chromium; {INSTALL}"));
    found.to_string_lossy().into_owned()
}
