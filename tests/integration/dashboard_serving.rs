//! The dashboard's files: which paths show it, how they are kept by browsers, and what browsers may do with them.

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::Method;

use crate::harness::api::{Answer, TestApi, sent};
use crate::harness::database::TestDatabase;

const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";
/// Of all files together, compressed, as a browser that knows none of them takes them.
const TRANSFER_MAX_BYTES: usize = 150_000;

/// Every file that is served, below `/assets/`.
fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard/assets");
    let (mut found, mut directories) = (Vec::new(), vec![root.clone()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("text")));
            }
        }
    }
    assert!(found.len() > 15, "{found:?}");
    found
}

fn is_guarded(answer: &Answer, path: &str) {
    assert_eq!(answer.header("content-security-policy"), Some(POLICY), "{path}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
    assert_eq!(answer.header("cache-control"), Some("no-cache"), "{path}");
}

/// Catches a fallback that answers any path with the page, which would hide a wrong address of the API.
#[tokio::test]
async fn pages_are_shown_at_their_paths_and_nowhere_else() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let index = api.get("/").await;
    assert!(index.text.contains("<script type=\"module\" src=\"/assets/app.js\">"), "{}", index.text);
    for path in [
        "/",
        "/consumption?range=7d",
        "/invoices",
        "/sims",
        "/sims/8941000000000000009",
        "/operations",
        "/quarantine",
        "/sign-in",
    ] {
        let page = api.get(path).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, Some("text/html; charset=utf-8")),
            "{path}"
        );
        assert_eq!(page.text, index.text, "{path}");
        is_guarded(&page, path);
    }
    for path in [
        "/index.html",
        "/assets/",
        "/assets/none.js",
        "/assets/../mod.rs",
        "/assets/%2e%2e/mod.rs",
        "/sims/1/2",
        "/api",
    ] {
        let missing = api.get(path).await;
        assert_eq!(missing.status, 404, "{path}");
        assert_eq!(missing.header("content-type"), Some("application/problem+json"), "{path}");
    }
    let posted = sent(api.request(Method::POST, "/consumption")).await;
    assert_eq!((posted.status, posted.header("content-type")), (405, Some("application/problem+json")));
    api.close().await;
}

/// Catches a type that browsers do not run as a module, a header left off, and a transfer that is not small any more.
#[tokio::test]
async fn files_have_their_types_and_are_small() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let mut transferred = 0;
    for (file, text) in files() {
        let path = format!("/assets/{file}");
        let asked = sent(api.request(Method::GET, &path)).await;
        let kind = match file.rsplit_once('.').expect("an ending").1 {
            "html" => "text/html; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            ending => panic!("{file}: .{ending} is not served"),
        };
        assert_eq!((asked.status, asked.header("content-type")), (200, Some(kind)), "{path}");
        assert_eq!(asked.text, text, "{path}");
        is_guarded(&asked, &path);
        transferred += compressed_length(&api, &path).await;
    }
    assert!(transferred < TRANSFER_MAX_BYTES, "{transferred} bytes compressed");
    api.close().await;
}

/// Bytes of the body as they are sent to a browser, which names gzip; a client that unpacks would hide them.
async fn compressed_length(api: &TestApi, path: &str) -> usize {
    let client = reqwest::Client::builder().no_gzip().build().expect("a client");
    let asked = client.get(format!("{}{path}", api.base)).header("Accept-Encoding", "gzip").send().await;
    let answer = asked.expect("an answer");
    let packed = answer.headers().get("content-encoding").is_some_and(|coding| coding == "gzip");
    let length = answer.bytes().await.expect("a body").len();
    assert!(packed || length < 1_000, "{path} is sent as it is: {length} bytes");
    length
}

/// Catches a tag that does not follow the file, and a 304 without the headers that go with it.
#[tokio::test]
async fn a_browser_asks_again_and_is_told_that_nothing_changed() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let tag = |answer: &Answer| answer.header("etag").expect("a tag").to_owned();
    let (script, style) = (api.get("/assets/app.js").await, api.get("/assets/styles/tokens.css").await);
    assert_ne!(tag(&script), tag(&style));
    for given in [tag(&script), format!("\"x\", {}", tag(&script)), "*".into()] {
        let again = sent(api.request(Method::GET, "/assets/app.js").header("If-None-Match", &given)).await;
        assert_eq!((again.status, again.text.as_str(), tag(&again)), (304, "", tag(&script)), "{given}");
        is_guarded(&again, "/assets/app.js");
    }
    let other = sent(api.request(Method::GET, "/assets/app.js").header("If-None-Match", tag(&style))).await;
    assert_eq!((other.status, other.text), (200, script.text));
    let head = sent(api.request(Method::HEAD, "/")).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    api.close().await;
}

/// Catches what the policy would stop in the browser anyway, and data that could become markup.
#[test]
fn files_ask_nobody_else_and_make_no_markup_of_data() {
    for (file, text) in files() {
        for (at, line) in text.lines().enumerate() {
            let place = format!("{file}:{}: {line}", at + 1);
            let outside = line.replace("http://www.w3.org/2000/svg", "");
            assert!(!outside.contains("http://") && !outside.contains("https://"), "{place}");
            for banned in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
            {
                assert!(!line.contains(banned), "{place}");
            }
            let inline = file.ends_with(".html") && (line.contains(" style=") || line.contains(" onclick="));
            assert!(!inline, "{place}");
        }
        let lines = text.lines().count();
        assert!(lines <= 400, "{file} has {lines} lines");
    }
}
