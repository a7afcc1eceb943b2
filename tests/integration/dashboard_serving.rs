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

const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// Every file of the dashboard, by its path below the directory of assets.
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

/// Where the page says that the files are, such as `/assets/0123456789abcdef01234567/`.
fn place_of_files(index: &str) -> String {
    let (_, rest) = index.split_once("<script type=\"module\" src=\"").expect("a script");
    let (place, _) = rest.split_once("app.js\">").expect("the one that starts it");
    let name = place.strip_prefix("/assets/").and_then(|rest| rest.strip_suffix('/'));
    assert!(
        name.is_some_and(|name| name.len() == 24 && name.bytes().all(|b| b.is_ascii_hexdigit())),
        "{place}"
    );
    place.to_owned()
}

fn is_guarded(answer: &Answer, kept: &str, path: &str) {
    assert_eq!(answer.header("content-security-policy"), Some(POLICY), "{path}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
    assert_eq!(answer.header("cache-control"), Some(kept), "{path}");
}

/// Catches a fallback that answers any path with the page, which would hide a wrong address of the API.
#[tokio::test]
async fn pages_are_shown_at_their_paths_and_nowhere_else() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let index = api.get("/").await;
    let place = place_of_files(&index.text);
    for path in [
        "/",
        "/consumption?range=7d",
        "/invoices",
        "/sims",
        "/sims/8941000000000000009",
        "/pools",
        "/pools/1",
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
        is_guarded(&page, "no-cache", path);
    }
    let below = |path: &str| format!("{place}{path}");
    for path in [
        "/index.html".to_owned(),
        "/assets/".into(),
        "/assets/app.js".into(),
        below("index.html"),
        below("none.js"),
        below("../mod.rs"),
        below("%2e%2e/mod.rs"),
        below("..%2fmod.rs"),
        "/sims/1/2".into(),
        "/api".into(),
    ] {
        let missing = api.get(&path).await;
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
    let place = place_of_files(&api.get("/").await.text);
    let mut transferred = compressed_length(&api, "/").await;
    for (file, text) in files().into_iter().filter(|(file, _)| file != "index.html") {
        let path = format!("{place}{file}");
        let asked = sent(api.request(Method::GET, &path)).await;
        let kind = match file.rsplit_once('.').expect("an ending").1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            ending => panic!("{file}: .{ending} is not served"),
        };
        assert_eq!((asked.status, asked.header("content-type")), (200, Some(kind)), "{path}");
        assert_eq!(asked.text, text, "{path}");
        is_guarded(&asked, FOR_EVER, &path);
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

/// Catches a page that is kept for ever, so that no new version shows; a tag that does not follow the content; and a 304 without the
/// headers that go with it.
#[tokio::test]
async fn a_browser_asks_for_the_page_again_and_is_told_that_nothing_changed() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let tag = |answer: &Answer| answer.header("etag").expect("a tag").to_owned();
    let index = api.get("/").await;
    let place = place_of_files(&index.text);
    let (script, style) = (format!("{place}app.js"), format!("{place}styles/tokens.css"));
    let (script, style) = (api.get(&script).await, api.get(&style).await);
    assert!(tag(&script) != tag(&style) && tag(&script) != tag(&index));
    for given in [tag(&index), format!("\"x\", {}", tag(&index)), "*".into()] {
        let again = sent(api.request(Method::GET, "/sims").header("If-None-Match", &given)).await;
        assert_eq!((again.status, again.text.as_str(), tag(&again)), (304, "", tag(&index)), "{given}");
        is_guarded(&again, "no-cache", "/sims");
    }
    let other = sent(api.request(Method::GET, "/").header("If-None-Match", tag(&style))).await;
    assert_eq!((other.status, other.text), (200, index.text));
    let head = sent(api.request(Method::HEAD, "/")).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    api.close().await;
}

/// Catches a file that is kept for ever under the name of another build, which a page of that build would then run for ever.
#[tokio::test]
async fn a_page_of_another_build_gets_files_that_are_not_kept() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let place = place_of_files(&api.get("/").await.text);
    let own = api.get(&format!("{place}app.js")).await;
    let other = api.get(&format!("/assets/{}/app.js", "0".repeat(24))).await;
    assert_eq!((other.status, &other.text), (200, &own.text));
    is_guarded(&own, FOR_EVER, "its own");
    is_guarded(&other, "no-cache", "of another");
    api.close().await;
}

/// Catches a module that is found only by following imports, and a preload of what is none.
#[tokio::test]
async fn the_page_names_every_module_so_that_no_import_waits_for_another() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let index = api.get("/").await.text;
    let place = place_of_files(&index);
    let prefix = format!("<link rel=\"modulepreload\" href=\"{place}");
    let named: Vec<&str> = index
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix("\">")))
        .collect();
    let mut modules: Vec<String> = files().into_iter().map(|(file, _)| file).collect();
    modules.retain(|file| file.ends_with(".js") && file != "theme.js");
    modules.sort();
    assert_eq!(named, modules);
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
