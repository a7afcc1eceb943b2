//! Which alerts pools and their members raise, and when they are raised again.

use reqwest::Method;
use serde_json::{Value, json};
use simbridge::domain::Clock;
use simbridge::store::Store;
use simbridge::store::pools::PoolPlace;

use crate::alerts_api::quiet;
use crate::harness::api::TestApi;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::pipeline::{TestPipeline, record_at, time, word};
use crate::pools::{FIRST, SECOND, THIRD, join, make};

const NOW: &str = "2026-03-10T12:00:00Z";

/// Looks at every pool and limited member, two at a time; returns how many alerts were raised.
async fn raise(store: &Store, at: &str) -> i32 {
    let (mut after, mut raised) = (PoolPlace::default(), 0);
    loop {
        let look = async || store.raise_pool_alerts(&after, 2, time(at), 3).await.expect("a look");
        let seen = eventually("the lock", look).await;
        raised += seen.raised;
        match seen.last {
            Some(last) => after = last,
            None => return raised,
        }
    }
}

const TOLD: &str =
    "SELECT pool_name, iccid, cycle_id, threshold_percent, threshold_bytes, used_bytes, limit_bytes
                    FROM usage_alerts ORDER BY id";

async fn start() -> (TestDatabase, TestApi, String) {
    let database = TestDatabase::new().await;
    database.import_at("2026-02-01T00:00:00Z", &[sim(FIRST), sim(SECOND), sim(THIRD)]).await;
    let api = quiet(&database).await;
    let key = api.key(&["sims:*", "usage:read", "admin:alerts"]).await;
    (database, api, key)
}

async fn use_bytes(
    database: &TestDatabase,
    pipeline: &TestPipeline,
    iccid: &str,
    id: &str,
    at: &str,
    bytes: i64,
) {
    assert_eq!(word(&pipeline.one(iccid, record_at(id, at, bytes)).await), "stored");
    database.roll_up().await;
}

/// Catches telling a threshold again with each look, telling every one below the highest, a member's limit that is compared with
/// what the pool used, and a SIM that is told of as the pool (drop `noted`, or `NOT EXISTS` from `fresh`, of `raise_pool_alerts`).
#[tokio::test]
async fn a_pool_and_a_member_with_a_limit_are_told_once_for_each_level() {
    let (database, api, key) = start().await;
    let pool = make(&api, &key, "p", 1_000, 1).await;
    join(
        &api,
        &key,
        &pool,
        json!([{"sim": FIRST, "limitBytes": 500}, {"sim": SECOND}, {"sim": THIRD, "limitBytes": 10_000}]),
    )
    .await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let mut told: Vec<String> = Vec::new();
    for (n, (iccid, bytes, expected)) in [
        (FIRST, 399, &[][..]),
        (FIRST, 1, &["p|8941000000000000001|2026-03|80|400|400|500"][..]),
        (SECOND, 399, &[]),
        (SECOND, 1, &["p||2026-03|80|800|800|1000"]),
        (THIRD, 1, &[]),
        (FIRST, 100, &["p||2026-03|90|900|901|1000", "p|8941000000000000001|2026-03|100|500|500|500"]),
        (SECOND, 5_000, &["p||2026-03|100|1000|5901|1000"]),
        (SECOND, 5_000, &[]),
    ]
    .into_iter()
    .enumerate()
    {
        use_bytes(&database, &pipeline, iccid, &format!("r-{n}"), NOW, bytes).await;
        assert_eq!(raise(&database.store, NOW).await as usize, expected.len(), "after record {n}");
        assert_eq!(raise(&database.store, NOW).await, 0, "again after record {n}");
        told.extend(expected.iter().map(|line| (*line).to_owned()));
        assert_eq!(database.rows(TOLD).await, told);
    }
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches a threshold that stays told in the next period, late usage of a period that is over, and terms that are compared by
/// their values alone (drop the triggers `usage_pools_terms_changed` and `usage_pool_members_limit_changed`).
#[tokio::test]
async fn a_new_period_and_other_terms_arm_anew_and_a_closed_period_tells_nothing() {
    let (database, api, key) = start().await;
    let pool = make(&api, &key, "p", 1_000, 5).await;
    join(&api, &key, &pool, json!([{"sim": FIRST, "limitBytes": 900, "from": "2026-02-01"}])).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    use_bytes(&database, &pipeline, FIRST, "late", "2026-03-04T23:59:59Z", 5_000).await;
    assert_eq!(raise(&database.store, NOW).await, 0, "that period is over");
    assert_eq!(raise(&database.store, "2026-03-04T23:59:59Z").await, 2, "it was not then");
    use_bytes(&database, &pipeline, FIRST, "a", "2026-03-05T00:00:00Z", 850).await;
    assert_eq!(raise(&database.store, NOW).await, 2, "80 percent of the pool, 90 of the member");
    let again = async |method: Method, path: &str, body: Value, expected: i32| {
        let answer = api.send_as(&key, method, path, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(raise(&database.store, NOW).await, expected, "after {body}");
    };
    let member = format!("{pool}/members/{FIRST}");
    again(Method::PATCH, &pool, json!({"limitBytes": 2_000}), 0).await;
    again(Method::PATCH, &pool, json!({"limitBytes": 1_000}), 1).await;
    again(Method::PATCH, &pool, json!({"limitBytes": 1_000, "name": "q"}), 0).await;
    again(Method::PUT, &member, json!({"limitBytes": null}), 0).await;
    again(Method::PUT, &member, json!({"limitBytes": 900}), 1).await;
    let thresholds = pool.replace("/api/v1/pools/", "/api/v1/alerts/thresholds/pools/");
    let own = json!({"thresholds": [{"percent": 10}, {"bytes": 850}]});
    again(Method::PUT, &thresholds, own.clone(), 2).await;
    again(Method::PUT, &thresholds, own.clone(), 0).await;
    assert_eq!(
        api.get_as(&key, &thresholds).await.json(),
        json!({"thresholds": [{"percent": 10}, {"bytes": 850}], "statedFor": "pool"})
    );
    // Those of the tenant are of no effect beside them, and hold again without them; its bytes are of a SIM.
    again(
        Method::PUT,
        "/api/v1/alerts/thresholds",
        json!({"thresholds": [{"percent": 20}, {"bytes": 1}]}),
        0,
    )
    .await;
    assert_eq!(api.send_as(&key, Method::DELETE, &thresholds, &json!({})).await.status, 204);
    assert_eq!(
        api.get_as(&key, &thresholds).await.json(),
        json!({"thresholds": [{"percent": 20}], "statedFor": "tenant"})
    );
    assert_eq!(raise(&database.store, NOW).await, 2);
    again(Method::PUT, "/api/v1/alerts/thresholds", json!({"thresholds": []}), 0).await;
    assert_eq!(api.send_as(&key, Method::DELETE, "/api/v1/alerts/thresholds", &json!({})).await.status, 204);
    assert_eq!(raise(&database.store, NOW).await, 2);
    // A member that left is told of no more.
    assert_eq!(api.send_as(&key, Method::DELETE, &member, &json!({})).await.status, 204);
    use_bytes(&database, &pipeline, FIRST, "b", "2026-03-06T00:00:00Z", 5_000).await;
    assert_eq!(raise(&database.store, NOW).await, 1, "the pool alone");
    api.close().await;
}

/// Catches an alert of a pool that is retained as one of a SIM, and one that webhooks and lists show without its pool.
#[tokio::test]
async fn lists_and_webhooks_carry_the_pool_and_the_boards_of_sims_do_not() {
    let (database, api, key) = start().await;
    let pool = make(&api, &key, "Trucks", 1_000, 1).await;
    let id: i64 = pool.rsplit('/').next().and_then(|id| id.parse().ok()).expect("a number");
    join(&api, &key, &pool, json!([{"sim": FIRST, "limitBytes": 1_000}])).await;
    database.run("INSERT INTO alert_webhooks (tenant_id, url, secret, created_at) VALUES (1, 'https://alerts.example/', 's', now())").await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    use_bytes(&database, &pipeline, FIRST, "a", NOW, 850).await;
    assert_eq!(raise(&database.store, NOW).await, 2);
    let list = api.get_as(&key, &format!("/api/v1/alerts?pool={id}")).await.json();
    let sim_id = database.text("SELECT sim_id FROM provisioned_sims WHERE iccid = $1", &[&FIRST]).await;
    let alert = |n: i64, iccid: Value, sim_id: Value| {
        json!({
            "id": n, "iccid": iccid, "simId": sim_id, "pool": {"id": id, "name": "Trucks"},
            "cycle": {"id": "2026-03", "start": "2026-03-01T00:00:00Z", "end": "2026-04-01T00:00:00Z"},
            "threshold": {"percent": 80, "bytes": 800}, "usedBytes": 850, "limitBytes": 1000,
            "percentOfLimit": 85.0, "raisedAt": NOW, "exhaustedOn": "2026-03-12",
        })
    };
    assert_eq!(
        list["alerts"],
        json!([alert(2, json!(FIRST), json!(sim_id)), alert(1, Value::Null, Value::Null)])
    );
    let count = async |query: &str| {
        api.get_as(&key, &format!("/api/v1/alerts?{query}")).await.json()["alerts"].as_array().map(Vec::len)
    };
    let other = id + 1;
    assert_eq!(
        (count(&format!("pool={other}")).await, count(&format!("iccid={FIRST}")).await),
        (Some(0), Some(1))
    );
    let claim = database.store.claim_alert_deliveries(time(NOW), 5, time("2026-03-10T12:01:00Z"), &[]).await;
    let claimed = claim.expect("deliveries");
    let pools: Vec<_> =
        claimed.iter().map(|delivery| delivery.alert.pool.clone().expect("a pool").name).collect();
    assert_eq!(pools, ["Trucks", "Trucks"]);
    assert_eq!(database.store.alerts_after(0, 10).await.expect("alerts"), []);
    assert_eq!(database.store.current_alerts(time(NOW), 10).await.expect("alerts"), []);
    api.close().await;
}

/// Catches a worker that looks at SIMs alone.
#[tokio::test]
async fn the_program_itself_looks_at_pools() {
    let database = TestDatabase::new().await;
    database.import_at("2026-02-01T00:00:00Z", &[sim(FIRST)]).await;
    let fast = |config: &mut simbridge::config::Config| config.alerts.pause_ms = 100;
    let api = TestApi::start_with(&database, Clock::Fixed(time(NOW)), false, fast).await;
    let key = api.key(&["sims:*"]).await;
    let pool = make(&api, &key, "p", 1_000, 1).await;
    join(&api, &key, &pool, json!([{"sim": FIRST}])).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    use_bytes(&database, &pipeline, FIRST, "a", NOW, 1_000).await;
    eventually("an alert", async || (database.rows(TOLD).await.len() == 1).then_some(())).await;
    assert_eq!(database.rows(TOLD).await, ["p||2026-03|100|1000|1000|1000"]);
    api.close().await;
}
