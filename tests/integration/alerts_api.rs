//! What is told over HTTP, and to whom.

use reqwest::Method;
use serde_json::json;
use simbridge::config::Config;
use simbridge::domain::Clock;

use crate::alerts::{BEGIN, ICCID, NOW, limited, raise};
use crate::harness::api::{TestApi, sent};
use crate::harness::database::{TENANT, TestDatabase};
use crate::harness::eventually;
use crate::harness::pipeline::{TestPipeline, record_at, time};

/// A program that leaves looking to the test: its first look is over, and the next one is far.
pub(crate) async fn quiet(database: &TestDatabase) -> TestApi {
    let later = |config: &mut Config| config.alerts.pause_ms = 3_600_000;
    let api = TestApi::start_with(database, Clock::Fixed(time(NOW)), false, later).await;
    eventually("the first look for alerts is over", async || {
        (api.bridge.metrics.alerts.looks.get() > 0).then_some(())
    })
    .await;
    api
}

#[tokio::test]
async fn alerts_are_listed_newest_first_with_everything_that_is_known() {
    let database = TestDatabase::new().await;
    database.import_at(BEGIN, &[limited(ICCID, 1000)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (id, bytes) in [("a", 800), ("b", 100), ("c", 150)] {
        pipeline.one(ICCID, record_at(id, NOW, bytes)).await;
        assert_eq!(raise(&database.store, NOW).await, 1);
    }
    // After them: its first look finds nothing new.
    let api = quiet(&database).await;
    let key = api.key(&["usage:read"]).await;
    let sim_id = database.text("SELECT sim_id FROM provisioned_sims", &[]).await;
    let page = api.get_as(&key, "/api/v1/alerts?limit=2").await;
    let alert = |id: i64, percent: i64, used: i64, share: f64, day: &str| {
        json!({
            "id": id, "iccid": ICCID, "simId": sim_id,
            "cycle": {"id": "2026-03", "start": BEGIN, "end": "2026-04-01T00:00:00Z"},
            "threshold": {"percent": percent, "bytes": percent * 10}, "usedBytes": used, "limitBytes": 1000,
            "percentOfLimit": share, "raisedAt": NOW, "exhaustedOn": day,
        })
    };
    let newest = [alert(3, 100, 1050, 105.0, "2026-03-10"), alert(2, 90, 900, 90.0, "2026-03-11")];
    assert_eq!((page.status, page.json()), (200, json!({"alerts": newest, "nextCursor": "2"})));
    let last = api.get_as(&key, "/api/v1/alerts?limit=2&cursor=2").await.json();
    assert_eq!(last, json!({"alerts": [alert(1, 80, 800, 80.0, "2026-03-12")], "nextCursor": null}));
    let count = async |query: &str| {
        let answer = api.get_as(&key, &format!("/api/v1/alerts?{query}")).await;
        answer.json()["alerts"].as_array().expect("a list").len()
    };
    assert_eq!(count(&format!("iccid={ICCID}&cycle=2026-03")).await, 3);
    assert_eq!((count("iccid=8941000000000000002").await, count("cycle=2026-02").await), (0, 0));
    assert_eq!((count(&format!("since={NOW}")).await, count(&format!("until={NOW}")).await), (3, 0));
    let refused = api.get_as(&key, "/api/v1/alerts?cycle=x&since=y&limit=501&cursor=z").await;
    assert_eq!((refused.status, refused.json()["error"]["details"].as_array().map(Vec::len)), (400, Some(4)));
    assert_eq!(api.get("/api/v1/alerts").await.status, 401);
    api.close().await;
}

/// Catches a total that is rounded on its way: 2^53 + 1 is no JSON number for everybody.
#[tokio::test]
async fn a_total_beyond_what_a_json_number_holds_is_also_told_as_text() {
    let database = TestDatabase::new().await;
    database.import_at(BEGIN, &[limited(ICCID, 1000)]).await;
    database.run("UPDATE usage_cycles SET total_bytes = 9007199254740993").await;
    assert_eq!(raise(&database.store, NOW).await, 1);
    let api = quiet(&database).await;
    let key = api.key(&["usage:read"]).await;
    let alert = api.get_as(&key, "/api/v1/alerts").await.json()["alerts"][0].clone();
    assert_eq!(
        (&alert["usedBytes"], &alert["usedBytesExact"]),
        (&json!(9007199254740991_i64), &json!("9007199254740993"))
    );
    api.close().await;
}

/// Catches a query of alerts without its tenant.
#[tokio::test]
async fn three_tenants_see_and_change_nothing_of_each_other() {
    let database = TestDatabase::new().await;
    let api = quiet(&database).await;
    let tenants = [TENANT, database.tenant("second", "UTC").await, database.tenant("third", "UTC").await];
    let names = ["default", "second", "third"];
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let (mut keys, mut webhooks) = (Vec::new(), Vec::new());
    for (n, tenant) in tenants.into_iter().enumerate() {
        let iccid = format!("894100000000000001{n}");
        database.store.import_sims(tenant, &[limited(&iccid, 1000)], time(BEGIN)).await.expect("an import");
        let by = simbridge::ingest::queue::Sender { tenant, ..crate::harness::pipeline::sender(false) };
        pipeline.one_as(by, &iccid, record_at("same", NOW, 950)).await;
        let key = api.key_of(names[n], &["usage:read", "admin:alerts"]).await;
        let made =
            api.post_as(&key, "/api/v1/alerts/webhooks", &json!({"url": "https://alerts.example/x"})).await;
        assert_eq!(made.status, 201, "{}", made.text);
        webhooks.push(made.json()["id"].as_i64().expect("an id"));
        keys.push(key);
    }
    let put = json!({"thresholds": [{"percent": 10}]});
    assert_eq!(api.send_as(&keys[0], Method::PUT, "/api/v1/alerts/thresholds", &put).await.status, 200);
    assert_eq!(raise(&database.store, NOW).await, 3);
    for (n, key) in keys.iter().enumerate() {
        let alerts = api.get_as(key, "/api/v1/alerts").await.json();
        assert_eq!(alerts["alerts"].as_array().map(Vec::len), Some(1));
        assert_eq!(alerts["alerts"][0]["iccid"], format!("894100000000000001{n}"));
        assert_eq!(alerts["alerts"][0]["threshold"]["percent"], if n == 0 { 10 } else { 90 });
        let listed = api.get_as(key, "/api/v1/alerts/webhooks").await.json();
        let expected = json!({"id": webhooks[n], "url": "https://alerts.example/x", "createdAt": NOW, "waiting": 1, "failed": 0});
        assert_eq!(listed, json!({"webhooks": [expected]}), "and no secret");
        let foreign = webhooks[(n + 1) % 3];
        let path = format!("/api/v1/alerts/webhooks/{foreign}");
        assert_eq!(api.get_as(key, &format!("{path}/deliveries")).await.status, 404);
        assert_eq!(api.post_as(key, &format!("{path}/replay"), &json!({})).await.status, 404);
        assert_eq!(sent(api.request(Method::DELETE, &path).bearer_auth(key)).await.status, 404);
        let sim = format!("/api/v1/alerts/thresholds/sims/894100000000000001{}", (n + 1) % 3);
        assert_eq!(api.get_as(key, &sim).await.status, 404);
        assert_eq!(api.send_as(key, Method::PUT, &sim, &put).await.status, 404);
    }
    assert_eq!(database.number("SELECT count(*) FROM alert_deliveries d JOIN alert_webhooks w ON w.id = d.webhook_id AND w.tenant_id = d.tenant_id").await, 3);
    assert_eq!(database.number("SELECT count(*) FROM alert_deliveries").await, 3);
    api.close().await;
}

#[tokio::test]
async fn a_webhook_must_lead_to_the_public_internet_and_there_are_not_too_many() {
    let database = TestDatabase::new().await;
    let api = TestApi::start_with(&database, Clock::Fixed(time(NOW)), false, |config| {
        config.alerts.pause_ms = 3_600_000;
        config.alerts.webhooks_per_tenant = 1;
    })
    .await;
    let key = api.key(&["admin:alerts"]).await;
    let add = async |url: &str| api.post_as(&key, "/api/v1/alerts/webhooks", &json!({"url": url})).await;
    for (url, message) in [
        ("https://127.0.0.1/", "must not be an address of a private network"),
        ("https://[::1]/", "must not be an address of a private network"),
        ("http://alerts.example/", "must begin with https://"),
        (
            "https://me:secret@alerts.example/",
            "must not hold a user name or password; check the signature instead",
        ),
        (
            "file:///etc/passwd",
            "must be an address such as https://alerts.example/hook, of at most 2000 characters",
        ),
    ] {
        let refused = add(url).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["details"][0]["message"]),
            (400, &json!(message))
        );
    }
    let made = add("https://alerts.example/hook").await;
    let secret = made.json()["secret"].as_str().expect("a secret").to_owned();
    assert_eq!((made.status, secret.len(), secret.starts_with("whsec_")), (201, 49, true));
    let second = add("https://other.example/").await;
    assert_eq!(
        (second.status, &second.json()["error"]["message"]),
        (409, &json!("there are 1 webhooks already"))
    );
    let path = format!("/api/v1/alerts/webhooks/{}", made.json()["id"]);
    assert_eq!(sent(api.request(Method::DELETE, &path).bearer_auth(&key)).await.status, 204);
    assert_eq!(sent(api.request(Method::DELETE, &path).bearer_auth(&key)).await.status, 404);
    api.close().await;
}
