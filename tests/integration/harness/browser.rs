//! Chromium without a window, driven over WebDriver: the dashboard as people meet it.

use std::process::Stdio;

use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::key::Key;
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
    _profile: Profile,
    _slot: SemaphorePermit<'static>,
}

/// Where a browser keeps its files. Its processes are known by it, and end with it also when a test fails: nobody else ends a
/// browser whose driver is gone.
struct Profile(tempfile::TempDir);

impl Drop for Profile {
    fn drop(&mut self) {
        let mark = format!("--user-data-dir={}", self.0.path().display());
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let ours: Vec<String> = processes
            .filter(|process| {
                let words = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
                words.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
            })
            .map(|process| process.file_name().to_string_lossy().into_owned())
            .collect();
        if ours.is_empty() {
            return;
        }
        // Best effort: they may end by themselves at this moment.
        std::process::Command::new("kill").arg("-KILL").args(&ours).stderr(Stdio::null()).status().ok();
        // Those that still write would keep the directory from being removed.
        for _ in 0..200 {
            if !ours.iter().any(|process| std::path::Path::new("/proc").join(process).exists()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
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

/// What Chromium's developers can do and WebDriver cannot.
#[derive(Debug)]
struct DevTools(&'static str, Value);

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.expect("a session")))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({"cmd": self.0, "params": self.1}).to_string()))
    }
}

impl Browser {
    /// A fresh profile, at the program at `base`.
    pub(crate) async fn at(base: &str) -> Self {
        let slot = BROWSERS.acquire().await.expect("it is never closed");
        let directory = tempfile::Builder::new().prefix("simbridge-browser-").tempdir();
        let profile = Profile(directory.expect("a directory"));
        let (driver, port) = start_driver().await;
        let mut flags = FLAGS.map(str::to_owned).to_vec();
        flags.push(format!("--user-data-dir={}", profile.0.path().display()));
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

    pub(crate) async fn reload(&self) {
        self.client.refresh().await.expect("the page loads");
    }

    /// A command of the Chrome DevTools Protocol.
    pub(crate) async fn devtools(&self, command: &'static str, parameters: Value) -> Value {
        self.client.issue_cmd(DevTools(command, parameters)).await.expect("Chromium knows it")
    }

    /// A window of this width, below 500 a phone's.
    pub(crate) async fn resize(&self, width: u32) {
        let (height, mobile) = if width < 500 { (844, true) } else { (1000, false) };
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// A key for whatever has the focus, as from a keyboard.
    pub(crate) async fn press(&self, key: Key) {
        let value = char::from(key);
        let keys = KeyActions::new("keyboard".into());
        let pressed = keys.then(KeyAction::Down { value }).then(KeyAction::Up { value });
        self.client.perform_actions(pressed).await.expect("there is a keyboard");
    }

    /// Waits until the page has its title and all that it asked for, and has been painted.
    pub(crate) async fn settled(&self) {
        self.wait(
            "document.querySelector('#main h1') !== null && document.querySelector('[aria-busy=true]') === null",
        )
        .await;
        let painted = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => done(true)))))";
        self.value(painted).await;
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

    /// Clicks where a person would, as soon as it can be: not while it is away, covered or being drawn anew.
    pub(crate) async fn click(&self, selector: &str) {
        let mut why = String::new();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            let clicked = match self.client.find(fantoccini::Locator::Css(selector)).await {
                Ok(element) => element.click().await,
                Err(error) => Err(error),
            };
            let Err(error) = clicked else { return };
            why = error.to_string();
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{selector} cannot be clicked: {why}");
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
        let sent = self.sent().await;
        sent.iter().map(|sent| sent["request"]["url"].as_str().expect("an address").to_owned()).collect()
    }

    /// Requests since the last look, as `Network.requestWillBeSent` tells them.
    pub(crate) async fn sent(&self) -> Vec<Value> {
        let mut sent = Vec::new();
        for entry in self.log("performance").await {
            let text = entry["message"].as_str().expect("text");
            let mut event: Value = serde_json::from_str(text).expect("JSON");
            let event = &mut event["message"];
            if event["method"] == "Network.requestWillBeSent" {
                sent.push(event["params"].take());
            }
        }
        sent
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
