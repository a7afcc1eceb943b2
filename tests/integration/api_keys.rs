//! Keys of the HTTP API: made, shown once, revoked, guessed, limited and audited.

use reqwest::Method;
use serde_json::json;
use simbridge::config::Config;
use simbridge::domain::Clock;

use crate::harness::api::{TestApi, sent};
use crate::harness::bridge::command;
use crate::harness::database::TestDatabase;
use crate::harness::eventually;

const INVOICES: &str = "/api/consumption/invoices";

#[tokio::test]
async fn a_key_works_from_its_creation_to_its_revocation() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let create = ["keys", "create", "portal", "--permission", "consumption:read", "--limit", "reading=5"];
    let (code, key, told) = command(&database, &create).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(key.starts_with("mqs_") && key.len() == 47, "{key}");
    assert!(told.contains("shown this once"), "{told}");
    let answer = api.get_as(&key, INVOICES).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        (answer.header("x-ratelimit-limit"), answer.header("x-ratelimit-remaining")),
        (Some("5"), Some("4"))
    );

    let (_, list, _) = command(&database, &["keys", "list"]).await;
    assert!(list.contains("portal") && list.contains("reading=5") && list.contains("enabled"), "{list}");
    assert!(!list.contains(&key[4..]), "{list}");
    let (code, _, err) = command(&database, &create).await;
    let taken =
        "simbridge: tenant `default` has a key `portal` already; a name is used once, also after revocation";
    assert_eq!((code, err.as_str()), (Some(1), taken));

    let (code, out, _) = command(&database, &["keys", "revoke", "portal"]).await;
    assert_eq!((code, out.as_str()), (Some(0), "`portal` of tenant `default` is refused within seconds"));
    let refused = eventually("the revocation counts", async || {
        let answer = api.get_as(&key, INVOICES).await;
        (answer.status == 403).then_some(answer)
    })
    .await;
    assert_eq!(refused.json(), json!({"success": false, "error": "this API key was revoked"}));
    api.close().await;
}

#[tokio::test]
async fn what_a_key_needs_is_told() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let none = api.get(INVOICES).await;
    assert_eq!((none.status, none.header("www-authenticate")), (401, Some("Bearer")));
    let needed = "an API key is needed: send Authorization: Bearer <key>, or X-API-Key";
    assert_eq!(none.json(), json!({"success": false, "error": needed}));
    let wrong = api.key(&["usage:*"]).await;
    let missing = api.get_as(&wrong, INVOICES).await;
    let lacks = "this API key lacks the permission consumption:read";
    assert_eq!((missing.status, missing.json()), (403, json!({"success": false, "error": lacks})));
    let right = api.key(&["*"]).await;
    let header = sent(api.request(Method::GET, INVOICES).header("X-API-Key", &right)).await;
    assert_eq!(header.status, 200);
    // The demo's key is one of the demo.
    assert_eq!(api.get_as("test_provisioning_key_12345", INVOICES).await.status, 401);
    api.close().await;
}

#[tokio::test]
async fn a_limit_is_told_before_and_after_it_is_reached() {
    let database = TestDatabase::new().await;
    let api = TestApi::start_at(&database, "2026-03-10T12:00:00Z").await;
    let key = api.key_with("default", &["consumption:read"], &[("reading", 2)]).await;
    let standing = |answer: &crate::harness::api::Answer| {
        ["limit", "remaining", "reset"]
            .map(|name| answer.header(&format!("x-ratelimit-{name}")).expect("a header").to_owned())
    };
    let now = 1_773_144_000;
    let first = api.get_as(&key, INVOICES).await;
    assert_eq!(standing(&first), ["2".to_owned(), "1".into(), (now + 30).to_string()]);
    assert_eq!(api.get_as(&key, INVOICES).await.status, 200);
    let third = api.get_as(&key, INVOICES).await;
    assert_eq!((third.status, standing(&third)[1].as_str()), (429, "0"));
    let wait: u64 = third.header("retry-after").expect("a header").parse().expect("seconds");
    assert!((1..=30).contains(&wait), "{wait}");
    // Another key is not concerned.
    let other = api.key(&["consumption:read"]).await;
    assert_eq!(api.get_as(&other, INVOICES).await.status, 200);
    api.close().await;
}

/// Catches guesses that are not counted: each of them would ask the database. The right key stays right, also where the
/// guesses come from.
#[tokio::test]
async fn ten_thousand_wrong_keys_are_slowed_and_a_right_one_is_not() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let right = api.key_with("default", &["consumption:read"], &[("reading", 0)]).await;
    assert_eq!(api.get_as(&right, INVOICES).await.status, 200);
    let (mut unknown, mut slowed) = (0, 0);
    for number in 0..10_000 {
        let answer = api.get_as(&format!("mqs_{number:043}"), INVOICES).await;
        match answer.status {
            401 => unknown += 1,
            429 => {
                assert!(answer.header("retry-after").is_some());
                slowed += 1;
            }
            other => panic!("{other}: {}", answer.text),
        }
        if number % 1_000 == 0 {
            assert_eq!(api.get_as(&right, INVOICES).await.status, 200);
        }
    }
    // 30 at once and one more every two seconds.
    assert!((31..300).contains(&unknown), "{unknown} unknown, {slowed} slowed");
    api.close().await;
}

/// Catches an audit that is lost at the end.
#[tokio::test]
async fn every_use_of_a_key_is_in_the_audit() {
    let database = TestDatabase::new().await;
    let api = TestApi::start(&database).await;
    let create = ["keys", "create", "audited", "--permission", "consumption:read"];
    let (_, key, _) = command(&database, &create).await;
    let (_, before, _) = command(&database, &["keys", "uses", "audited"]).await;
    assert_eq!(before.lines().count(), 1, "{before}");
    for _ in 0..3 {
        assert_eq!(api.get_as(&key, INVOICES).await.status, 200);
    }
    assert_eq!(api.post_as(&key, "/api/settings/currency", &json!({"currency": "EUR"})).await.status, 403);
    api.close().await;
    let uses = "SELECT host(address), action, accepted, refused FROM api_key_uses ORDER BY action";
    assert_eq!(database.rows(uses).await, ["127.0.0.1|admin:settings|0|1", "127.0.0.1|consumption:read|3|0"]);
    let (_, table, _) = command(&database, &["keys", "uses", "audited"]).await;
    assert!(table.contains("admin:settings") && table.contains("127.0.0.1"), "{table}");
    let (code, _, err) = command(&database, &["keys", "uses", "nothing"]).await;
    assert_eq!((code, err.as_str()), (Some(1), "simbridge: tenant `default` has no key `nothing`"));
}

/// Catches a key, whole or in part, in a log event, at the level at which everything is logged.
#[tokio::test]
async fn no_key_is_logged() {
    use crate::harness::bridge::{BridgeOptions, BridgeProcess};
    let database = TestDatabase::new().await;
    let (_, key, _) = command(&database, &["keys", "create", "quiet", "--permission", "*"]).await;
    let bridge =
        BridgeProcess::start(&BridgeOptions { log: "trace".into(), ..BridgeOptions::new(database.url()) })
            .await;
    let client = crate::harness::api::client();
    let guess = "mqs_guessedguessedguessedguessedguessedguessedgues";
    for key in [key.as_str(), guess] {
        let url = format!("http://{}{INVOICES}", bridge.http);
        client.get(&url).bearer_auth(key).send().await.expect("an answer");
        client.get(&url).header("X-API-Key", key).send().await.expect("an answer");
    }
    let log = bridge.log().join("\n");
    assert!(!log.contains(&key[4..]) && !log.contains(&guess[4..]), "a key is in the log");
    assert_eq!(bridge.terminate().await, Some(0));
}

#[tokio::test]
async fn in_demo_mode_the_old_key_works_and_reading_needs_none() {
    let database = TestDatabase::new().await;
    let api = TestApi::demo(&database).await;
    assert_eq!(api.get(INVOICES).await.status, 200);
    assert_eq!(api.get_as("test_provisioning_key_12345", INVOICES).await.status, 200);
    let unlimited = api.get(INVOICES).await;
    assert_eq!(unlimited.header("x-ratelimit-limit"), None);
    // A key that nobody has is wrong here too.
    assert_eq!(api.get_as("mqs_wrong", INVOICES).await.status, 401);
    api.close().await;
}

/// Catches a limit that is one of another instance's configuration.
#[tokio::test]
async fn limits_are_configured() {
    let database = TestDatabase::new().await;
    let one = |config: &mut Config| config.http.rate_limit.reading_per_minute = 1;
    let api = TestApi::start_with(&database, Clock::System, false, one).await;
    let key = api.key(&["consumption:read"]).await;
    let statuses = [api.get_as(&key, INVOICES).await.status, api.get_as(&key, INVOICES).await.status];
    assert_eq!(statuses, [200, 429]);
    api.close().await;
}
