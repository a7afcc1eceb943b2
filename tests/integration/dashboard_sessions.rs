//! Sign-in at the dashboard: the cookie, what it counts for, and how it ends.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use simbridge::config::Config;
use simbridge::domain::Clock;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::api::{Answer, TestApi, sent};
use crate::harness::bridge::command;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::pipeline::time;

const NOW: &str = "2026-03-10T12:00:00Z";
const STREAM_ENDS_WITHIN: Duration = Duration::from_secs(10);
const INVOICES: &str = "/api/consumption/invoices";

async fn sign_in(api: &TestApi, key: &str) -> Answer {
    sent(api.request(Method::POST, "/api/session").json(&json!({"key": key}))).await
}

/// Signs in; returns what the browser sends from then on.
async fn cookie(api: &TestApi, key: &str) -> String {
    let answer = sign_in(api, key).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let set = answer.header("set-cookie").expect("a cookie");
    set.split(';').next().expect("a pair").to_owned()
}

fn with(api: &TestApi, cookie: &str, method: Method, path: &str) -> RequestBuilder {
    api.request(method, path).header("Cookie", cookie)
}

async fn get_with(api: &TestApi, cookie: &str, path: &str) -> Answer {
    sent(with(api, cookie, Method::GET, path)).await
}

/// Catches a cookie that scripts or other sites can use: HttpOnly or SameSite left out; and a table that holds what a browser sends, or
/// anything from which that is found sooner than by guessing 256 bits.
#[tokio::test]
async fn a_key_becomes_a_cookie_that_only_the_browser_reads() {
    let database = TestDatabase::new().await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["consumption:read", "sims:*"]).await;
    let nobody = json!({"success": true, "data": {"mode": "keys", "signedIn": false, "tenant": null, "permissions": [],
        "keyName": null, "expiresAt": null}});
    assert_eq!(api.get("/api/session").await.json(), nobody);
    let answer = sign_in(&api, &format!(" {key}\n")).await;
    let known = json!({"success": true, "data": {"mode": "keys", "signedIn": true,
        "tenant": {"id": 1, "name": "default", "timeZone": "UTC", "currency": "CHF"},
        "permissions": ["sims:read", "sims:write", "consumption:read"], "keyName": key,
        "expiresAt": "2026-03-11T00:00:00Z"}});
    assert_eq!((answer.status, answer.json()), (200, known.clone()));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let set = answer.header("set-cookie").expect("a cookie");
    let (pair, attributes) = set.split_once("; ").expect("attributes");
    assert_eq!(attributes, "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict");
    let token = pair.strip_prefix("simbridge_session=").expect("its name");
    assert_eq!(token.len(), 43, "{token}");
    assert!(!answer.text.contains(token) && !set.contains(&key[4..]));
    let hash: String = Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect();
    let held = database.rows("SELECT encode(token_hash, 'hex') FROM dashboard_sessions").await;
    assert_eq!(held, [hash]);

    assert_eq!(get_with(&api, pair, "/api/session").await.json(), known);
    assert_eq!(get_with(&api, pair, INVOICES).await.status, 200);
    let missing = get_with(&api, pair, "/api/v1/alerts").await;
    assert_eq!(missing.status, 403, "{}", missing.text);
    api.close().await;
}

#[tokio::test]
async fn behind_tls_the_cookie_never_goes_in_the_clear() {
    let database = TestDatabase::new().await;
    let secure = |config: &mut Config| {
        config.http.secure_cookies = true;
        config.http.dashboard_session_hours = 1;
    };
    let api = TestApi::start_with(&database, Clock::System, false, secure).await;
    let answer = sign_in(&api, &api.key(&["*"]).await).await;
    let set = answer.header("set-cookie").expect("a cookie");
    assert!(set.ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Strict; Secure"), "{set}");
    api.close().await;
}

/// Catches a session that outlives its key: the trigger dropped and `enabled` not asked for. What is asked a second after the
/// revocation is refused, however slow the machine is.
#[tokio::test]
async fn a_revoked_key_ends_its_sessions_within_a_second() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let (_, key, _) = command(&database, &["keys", "create", "portal", "--permission", "*"]).await;
    let cookie = cookie(&api, &key).await;
    let response = with(&api, &cookie, Method::GET, "/api/live/dashboard").send().await.expect("an answer");
    let mut stream = response.bytes_stream();
    stream.next().await.expect("figures").expect("bytes");
    assert_eq!(get_with(&api, &cookie, INVOICES).await.status, 200);
    let (code, _, told) = command(&database, &["keys", "revoke", "portal"]).await;
    assert_eq!(code, Some(0), "{told}");
    let revoked = Instant::now();
    loop {
        let late = revoked.elapsed() >= Duration::from_secs(1);
        let status = get_with(&api, &cookie, INVOICES).await.status;
        if status == 401 {
            break;
        }
        assert!(status == 200 && !late, "{status} after more than a second");
    }
    // What is pushed after that ends within the ten seconds that are promised, however seldom it would be pushed.
    let ended = async { while stream.next().await.is_some() {} };
    let left = STREAM_ENDS_WITHIN.saturating_sub(revoked.elapsed());
    tokio::time::timeout(left, ended).await.expect("the stream ends with the key");
    assert_eq!(database.number("SELECT count(*) FROM dashboard_sessions").await, 0);
    let again = sign_in(&api, &key).await;
    assert_eq!((again.status, again.header("set-cookie")), (403, None));
    api.close().await;
}

/// Catches a cookie that is enough for a change, whichever page made the browser send it.
#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let key = api.key(&["*"]).await;
    let cookie = cookie(&api, &key).await;
    let host = api.base.trim_start_matches("http://").to_owned();
    let change = async |name: &'static str, value: &str| {
        let request = with(&api, &cookie, Method::POST, "/api/settings/currency").header(name, value);
        sent(request.json(&json!({"currency": "EUR"}))).await.status
    };
    assert_eq!(change("x-nothing", "").await, 403);
    assert_eq!(change("Origin", "http://evil.example").await, 403);
    assert_eq!(change("Origin", "null").await, 403);
    assert_eq!(change("Sec-Fetch-Site", "same-site").await, 403);
    assert_eq!(change("Sec-Fetch-Site", "cross-site").await, 403);
    assert_eq!(database.rows("SELECT currency FROM tenants").await, ["CHF"]);
    assert_eq!(change("Sec-Fetch-Site", "same-origin").await, 200);
    assert_eq!(change("Origin", &format!("http://{host}")).await, 200);
    // With a key it is no matter of browsers.
    let body = json!({"currency": "CHF"});
    assert_eq!(api.post_as(&key, "/api/settings/currency", &body).await.status, 200);

    let shown = api.request(Method::POST, "/api/session").header("Origin", "http://evil.example");
    assert_eq!(sent(shown.json(&json!({"key": key}))).await.status, 403);
    let out = with(&api, &cookie, Method::DELETE, "/api/session").header("Origin", "http://evil.example");
    assert_eq!(sent(out).await.status, 403);
    let socket = async |origin: &str| {
        let url = format!("ws://{host}/ws");
        let mut request = url.into_client_request().expect("a request");
        request.headers_mut().insert("Cookie", cookie.parse().expect("a header"));
        request.headers_mut().insert("Origin", origin.parse().expect("a header"));
        tokio_tungstenite::connect_async(request).await.is_ok()
    };
    assert!(!socket("http://evil.example").await, "any page could read the figures");
    assert!(socket(&format!("http://{host}")).await);
    assert_eq!(get_with(&api, &cookie, INVOICES).await.status, 200);
    api.close().await;
}

/// Catches a session that never ends, and one that is kept in the table for ever.
#[tokio::test]
async fn a_session_ends_at_its_time_and_is_forgotten() {
    let database = TestDatabase::new().await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["*"]).await;
    let cookie = cookie(&api, &key).await;
    let at = |at| TestApi::start_with(&database, Clock::Fixed(time(at)), false, |_| ());
    let before = at("2026-03-10T23:59:59Z").await;
    assert_eq!(get_with(&before, &cookie, INVOICES).await.status, 200);
    let used = database.rows("SELECT last_used_at = '2026-03-10T23:59:59Z' FROM dashboard_sessions").await;
    assert_eq!(used, ["t"]);
    before.close().await;
    let after = at("2026-03-11T00:00:00Z").await;
    assert_eq!(get_with(&after, &cookie, INVOICES).await.status, 401);
    assert_eq!(get_with(&after, &cookie, "/api/session").await.json()["data"]["signedIn"], false);
    eventually("it is forgotten", async || {
        (database.number("SELECT count(*) FROM dashboard_sessions").await == 0).then_some(())
    })
    .await;
    after.close().await;
    api.close().await;
}

#[tokio::test]
async fn a_cookie_that_nobody_was_given_counts_for_nothing() {
    let database = TestDatabase::new().await;
    let patient = |config: &mut Config| config.http.rate_limit.wrong_keys_per_minute = 3;
    let api = TestApi::start_with(&database, Clock::System, false, patient).await;
    let key = api.key(&["*"]).await;
    let cookie = cookie(&api, &key).await;
    let last = if cookie.ends_with('A') { "B" } else { "A" };
    let tampered = format!("{}{last}", &cookie[..cookie.len() - 1]);
    let empty = "simbridge_session=";
    let as_key = format!("simbridge_session={key}");
    for wrong in [tampered.as_str(), empty, &as_key, &format!("{cookie}A")] {
        assert_eq!(get_with(&api, wrong, INVOICES).await.status, 401, "{wrong}");
    }
    // Guessing ends soon. Who is signed in goes on, and others can sign in.
    for _ in 0..10 {
        get_with(&api, &tampered, INVOICES).await;
    }
    assert_eq!(get_with(&api, &tampered, INVOICES).await.status, 429);
    assert_eq!(get_with(&api, &cookie, INVOICES).await.status, 200);
    assert_eq!(sign_in(&api, &key).await.status, 200);
    for _ in 0..10 {
        sign_in(&api, "mqs_wrong").await;
    }
    let slowed = sign_in(&api, "mqs_wrong").await;
    assert!(slowed.status == 429 && slowed.header("retry-after").is_some(), "{slowed:?}");
    let empty = sign_in(&api, " ").await;
    assert_eq!((empty.status, empty.json()["error"].clone()), (400, json!("key: must not be empty")));
    api.close().await;
}

/// Catches a sign-out that only takes the cookie away.
#[tokio::test]
async fn who_signs_out_is_out_everywhere() {
    let database = TestDatabase::new().await;
    let (api, other) = (TestApi::start(&database).await, TestApi::start(&database).await);
    let key = api.key(&["*"]).await;
    let (first, second) = (cookie(&api, &key).await, cookie(&api, &key).await);
    let out = with(&api, &first, Method::DELETE, "/api/session").header("Sec-Fetch-Site", "same-origin");
    let out = sent(out).await;
    assert_eq!((out.status, out.text.as_str()), (204, ""));
    let gone = "simbridge_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict";
    assert_eq!(out.header("set-cookie"), Some(gone));
    assert_eq!(get_with(&api, &first, INVOICES).await.status, 401);
    assert_eq!(get_with(&other, &first, INVOICES).await.status, 401);
    assert_eq!(get_with(&other, &second, INVOICES).await.status, 200);
    assert_eq!(sent(api.request(Method::DELETE, "/api/session")).await.status, 204);
    for api in [api, other] {
        api.close().await;
    }
}

/// Catches one that was opened first and is used still, ended in place of one that nobody uses; and the ones of other keys.
#[tokio::test]
async fn of_too_many_sessions_those_used_least_recently_end() {
    let database = TestDatabase::new().await;
    let two = |config: &mut Config| config.http.dashboard_sessions_per_key = 2;
    let at = |at: &str| TestApi::start_with(&database, Clock::Fixed(time(at)), false, two);
    let first = at(NOW).await;
    let (key, another) = (first.key(&["*"]).await, first.key(&["*"]).await);
    let (elsewhere, used) = (cookie(&first, &another).await, cookie(&first, &key).await);
    first.close().await;
    let later = at("2026-03-10T12:10:00Z").await;
    let idle = cookie(&later, &key).await;
    later.close().await;
    let later = at("2026-03-10T12:20:00Z").await;
    assert_eq!(get_with(&later, &used, INVOICES).await.status, 200);
    later.close().await;
    let last = at("2026-03-10T12:30:00Z").await;
    let newest = cookie(&last, &key).await;
    assert_eq!(get_with(&last, &idle, INVOICES).await.status, 401);
    for cookie in [&used, &newest, &elsewhere] {
        assert_eq!(get_with(&last, cookie, INVOICES).await.status, 200);
    }
    assert_eq!(database.number("SELECT count(*) FROM dashboard_sessions").await, 3);
    last.close().await;
}

/// Catches a session that forgets whose key it was.
#[tokio::test]
async fn two_tenants_who_are_signed_in_see_only_their_own() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let mut cookies = Vec::new();
    for (tenant, iccid) in [("north", "8941000000000007701"), ("south", "8941000000000007702")] {
        let id = database.tenant(tenant, "UTC").await;
        let now = crate::harness::database::now();
        database.store.import_sims(id, &[sim(iccid)], now).await.expect("the import succeeds");
        cookies.push(cookie(&api, &api.key_of(tenant, &["*"]).await).await);
    }
    let seen = async |cookie: &str| -> (Value, Value) {
        let sims = get_with(&api, cookie, "/api/v1/provisioned-sims").await.json();
        let session = get_with(&api, cookie, "/api/session").await.json();
        (session["data"]["tenant"]["name"].clone(), sims["data"].clone())
    };
    for (cookie, tenant, iccid) in
        [(&cookies[0], "north", "8941000000000007701"), (&cookies[1], "south", "8941000000000007702")]
    {
        let (name, sims) = seen(cookie).await;
        assert_eq!((&name, sims.as_array().map(Vec::len)), (&json!(tenant), Some(1)), "{sims}");
        assert_eq!(sims[0]["iccid"], iccid);
    }
    api.close().await;
}

#[tokio::test]
async fn in_demo_mode_everybody_looks_and_a_key_adds_what_it_may() {
    let database = TestDatabase::new().await;
    let api = TestApi::demo(&database).await;
    let open = api.get("/api/session").await.json();
    assert_eq!((&open["data"]["mode"], &open["data"]["signedIn"]), (&json!("open"), &json!(false)));
    assert_eq!(open["data"]["tenant"]["name"], "default");
    assert!(open["data"]["permissions"].to_string().contains("consumption:read"), "{open}");
    let known = sign_in(&api, "test_provisioning_key_12345").await;
    assert_eq!((known.status, known.header("set-cookie")), (200, None));
    assert_eq!(known.json()["data"]["signedIn"], false);
    // A cookie that is left over of another program on this host.
    let stale = format!("simbridge_session={}", "A".repeat(43));
    assert_eq!(get_with(&api, &stale, INVOICES).await.status, 200);
    assert_eq!(get_with(&api, &stale, "/api/session").await.json(), open);
    let mine = cookie(&api, &api.key(&["admin:alerts"]).await).await;
    let signed_in = get_with(&api, &mine, "/api/session").await.json();
    assert_eq!(signed_in["data"]["permissions"], json!(["admin:alerts"]));
    api.close().await;
}
