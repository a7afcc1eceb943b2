//! Pools over HTTP: what is shown, what is refused, and to whom.

use reqwest::Method;
use serde_json::{Value, json};
use simbridge::store::sims::SimRow;

use crate::harness::api::{Answer, TestApi, sent};
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::pipeline::{TestPipeline, record_at, word};
use crate::pools::{FIRST, SECOND, THIRD, api_at, join, make, used};

const NOW: &str = "2026-03-10T12:00:00Z";

async fn with_sims() -> TestDatabase {
    let database = TestDatabase::new().await;
    let second =
        SimRow { imsi: Some("228010000000002".into()), msisdn: Some("+41790000002".into()), ..sim(SECOND) };
    database.import_at("2026-03-01T00:00:00Z", &[sim(FIRST), second, sim(THIRD)]).await;
    database
}

fn details(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 400, "{}", answer.text);
    let details = answer.json()["error"]["details"].as_array().cloned().unwrap_or_default();
    details.iter().map(|detail| detail["field"].as_str().unwrap_or("").to_owned()).collect()
}

async fn add(api: &TestApi, key: &str, pool: &str, body: Value) -> Answer {
    api.post_as(key, &format!("{pool}/members"), &body).await
}

#[tokio::test]
async fn a_pool_shows_what_is_used_what_is_left_and_where_it_will_end() {
    let database = with_sims().await;
    let (api, key) = api_at(&database, NOW).await;
    let pool = make(&api, &key, "Trucks north", 1_000, 1).await;
    join(
        &api,
        &key,
        &pool,
        json!([{"sim": FIRST, "limitBytes": 400}, {"sim": SECOND, "from": "2026-03-01"}]),
    )
    .await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (iccid, id, at, bytes) in
        [(FIRST, "a", NOW, 100), (SECOND, "b", "2026-03-02T00:00:00Z", 200), (THIRD, "c", NOW, 5_000)]
    {
        assert_eq!(word(&pipeline.one(iccid, record_at(id, at, bytes)).await), "stored");
    }
    database.roll_up().await;
    let shown = api.get_as(&key, &pool).await.json();
    // 9.5 of 31 days: 300 * 31 / 9.5 = 978.9…
    let usage = json!({"usedBytes": 300, "remainingBytes": 700, "percentOfLimit": 30, "projectedBytes": 979, "exhaustedOn": null});
    assert_eq!(shown["usage"], usage);
    let period = json!({"id": "2026-03", "start": "2026-03-01T00:00:00Z", "end": "2026-04-01T00:00:00Z",
                        "firstDay": "2026-03-01", "lastDay": "2026-03-31"});
    assert_eq!((&shown["period"], &shown["memberCount"]), (&period, &json!(2)));
    assert_eq!(shown["days"][1], json!({"date": "2026-03-02", "usedBytes": 200}));
    let members = api.get_as(&key, &format!("{pool}/members?sort=-usedBytes")).await.json();
    let sim_id = database.text("SELECT sim_id FROM provisioned_sims WHERE iccid = $1", &[&FIRST]).await;
    assert_eq!(
        members["members"][1],
        json!({"simId": sim_id, "iccid": FIRST, "msisdn": null, "deviceName": null, "joinedOn": "2026-03-10",
               "leftOn": null, "limitBytes": 400, "usedBytes": 100, "percentOfPool": 33.33, "percentOfLimit": 25})
    );
    assert_eq!(members["members"][0]["iccid"], SECOND);
    assert_eq!(members["pagination"], json!({"page": 1, "limit": 50, "total": 2, "totalPages": 1}));
    // More of them than can be sorted by what they used.
    let many = "INSERT INTO usage_pool_members (pool_id, tenant_id, iccid, joined_on, left_on)
                SELECT 1, 1, (8999000000000000000 + n)::text, '2026-03-01', '2026-03-02' FROM generate_series(1, 999) AS n";
    database.run(many).await;
    let refused = api.get_as(&key, &format!("{pool}/members?sort=-usedBytes")).await;
    assert_eq!(details(&refused), ["sort"]);
    assert_eq!(api.get_as(&key, &format!("{pool}/members")).await.json()["pagination"]["total"], 1_001);
    // A lower limit: it is reached, and nothing is left.
    let lower = api.send_as(&key, Method::PATCH, &pool, &json!({"limitBytes": 250})).await.json();
    let usage = json!({"usedBytes": 300, "remainingBytes": 0, "percentOfLimit": 120, "projectedBytes": 979, "exhaustedOn": "2026-03-10"});
    assert_eq!(lower["usage"], usage);
    // Of a period that is over or has hardly begun nothing is projected.
    let february = api.get_as(&key, &format!("{pool}?period=2026-02")).await.json();
    assert_eq!(
        (&february["usage"]["projectedBytes"], &february["usage"]["exhaustedOn"]),
        (&json!(0), &Value::Null)
    );
    let day = api.send_as(&key, Method::PATCH, &pool, &json!({"cycleDay": 10})).await.json();
    let (usage, id) = (&day["usage"], &day["period"]["id"]);
    assert_eq!(
        (&usage["usedBytes"], &usage["projectedBytes"], id),
        (&json!(100), &Value::Null, &json!("2026-03"))
    );
    api.close().await;
}

#[tokio::test]
async fn pools_are_listed_sorted_and_page_by_page() {
    let database = with_sims().await;
    let (api, key) = api_at(&database, NOW).await;
    let mut paths = Vec::new();
    for (name, limit, iccid) in [("b", 1_000, FIRST), ("a", 100_000, SECOND), ("c", 10, THIRD)] {
        let pool = make(&api, &key, name, limit, 1).await;
        join(&api, &key, &pool, json!([{"sim": iccid}])).await;
        paths.push(pool);
    }
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (iccid, bytes) in [(FIRST, 500), (SECOND, 5_000), (THIRD, 1)] {
        assert_eq!(word(&pipeline.one(iccid, record_at("r", NOW, bytes)).await), "stored");
    }
    database.roll_up().await;
    let names = async |query: &str| {
        let table = api.get_as(&key, &format!("/api/v1/pools?{query}")).await.json();
        let pools = table["pools"].as_array().expect("pools").clone();
        pools.iter().map(|pool| pool["name"].as_str().expect("a name").to_owned()).collect::<String>()
    };
    for (sort, expected) in [
        ("name", "abc"),
        ("-name", "cba"),
        ("usedBytes", "cba"),
        ("-usedBytes", "abc"),
        ("percentOfLimit", "acb"),
        ("-percentOfLimit", "bca"),
    ] {
        assert_eq!(names(&format!("sort={sort}")).await, expected, "{sort}");
    }
    assert_eq!(
        (names("limit=2").await, names("limit=2&page=2").await, names("page=9").await),
        ("ab".into(), "c".into(), String::new())
    );
    assert_eq!(used(&api, &key, &paths[0], "current").await, 500);
    api.close().await;
}

#[tokio::test]
async fn members_are_named_by_id_number_or_account_and_join_all_or_none() {
    let database = with_sims().await;
    database
        .run(&format!("INSERT INTO usage_accounts (tenant_id, account, source, iccid) VALUES (1, 'anna', '', '{THIRD}'), (1, 'anna', 'vpn', '{FIRST}')"))
        .await;
    let (api, key) = api_at(&database, NOW).await;
    let pool = make(&api, &key, "p", 1_000, 1).await;
    let members =
        async || database.rows("SELECT iccid, limit_bytes FROM usage_pool_members ORDER BY iccid").await;
    // One that stands for nothing keeps all others out.
    let faulty = add(&api, &key, &pool, json!({"members": [{"sim": FIRST}, {"sim": "nobody"}, {"sim": FIRST}, {"sim": "8999999999999999999"}]})).await;
    assert_eq!(details(&faulty), ["members[1].sim", "members[2].sim"]);
    let faulty = add(&api, &key, &pool, json!({"members": [{"sim": FIRST}, {"sim": "8999999999999999999"}, {"sim": SECOND, "from": "2026-03-11"}]})).await;
    assert_eq!(details(&faulty), ["members[1].sim", "members[2].from"]);
    assert_eq!(members().await, Vec::<String>::new());
    let sim_id = database.text("SELECT sim_id FROM provisioned_sims WHERE iccid = $1", &[&FIRST]).await;
    let joined = add(
        &api,
        &key,
        &pool,
        json!({"members": [{"sim": sim_id}, {"sim": "41790000002", "limitBytes": 5}, {"sim": "anna"}]}),
    )
    .await;
    assert_eq!((joined.status, joined.json()), (200, json!({"added": 3, "changed": 0, "kept": 0})));
    let all = [format!("{FIRST}|NULL"), format!("{SECOND}|5"), format!("{THIRD}|NULL")];
    assert_eq!(members().await, all);
    // The same again changes nothing; another limit does; the account of a source is another SIM.
    let again = add(
        &api,
        &key,
        &pool,
        json!({"source": "vpn", "members": [{"sim": "anna"}, {"sim": "228010000000002", "limitBytes": 6}]}),
    )
    .await;
    assert_eq!(again.json(), json!({"added": 0, "changed": 1, "kept": 1}));
    let other = make(&api, &key, "q", 1_000, 1).await;
    let taken = add(&api, &key, &other, json!({"members": [{"sim": FIRST}]})).await;
    assert_eq!((taken.status, taken.json()["error"]["code"].clone()), (409, json!("CONFLICT")));
    assert!(taken.text.contains("in the pool `p`"), "{}", taken.text);
    // Days that count elsewhere cannot be claimed later either.
    assert_eq!(
        api.send_as(&key, Method::DELETE, &format!("{pool}/members/{sim_id}"), &json!({})).await.status,
        204
    );
    database
        .run(&format!(
            "INSERT INTO usage_pool_members (pool_id, tenant_id, iccid, joined_on, left_on)
                           SELECT min(id), 1, '{FIRST}', '2026-02-01', '2026-03-05' FROM usage_pools"
        ))
        .await;
    let taken = add(&api, &key, &other, json!({"members": [{"sim": FIRST, "from": "2026-03-04"}]})).await;
    assert_eq!(taken.status, 409);
    assert!(taken.text.contains("until 2026-03-05"), "{}", taken.text);
    let later = add(&api, &key, &other, json!({"members": [{"sim": FIRST, "from": "2026-03-05"}]})).await;
    assert_eq!(later.json(), json!({"added": 1, "changed": 0, "kept": 0}));
    // The limit of a member.
    let member = format!("{pool}/members/{SECOND}");
    let set = api.send_as(&key, Method::PUT, &member, &json!({"limitBytes": null})).await;
    assert_eq!((set.status, set.json()["limitBytes"].clone()), (200, Value::Null));
    for bad in [json!({}), json!({"limitBytes": 0}), json!([])] {
        assert_eq!(details(&api.send_as(&key, Method::PUT, &member, &bad).await), ["limitBytes"]);
    }
    for gone in [FIRST, "8999999999999999999", "sim_0", "%00"] {
        let path = format!("{pool}/members/{gone}");
        assert_eq!(
            api.send_as(&key, Method::PUT, &path, &json!({"limitBytes": 1})).await.status,
            404,
            "{gone}"
        );
        assert_eq!(api.send_as(&key, Method::DELETE, &path, &json!({})).await.status, 404, "{gone}");
    }
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches a limit by name that two requests at once get around, and the exclusion of two pools at once (drop
/// `usage_pool_members_one_pool` and the question before it).
#[tokio::test]
async fn two_pools_cannot_have_one_sim_and_two_requests_at_once_make_one_pool() {
    let database = with_sims().await;
    let (api, key) = api_at(&database, NOW).await;
    let body = json!({"name": "same", "limitBytes": 1});
    let (one, two) =
        tokio::join!(api.post_as(&key, "/api/v1/pools", &body), api.post_as(&key, "/api/v1/pools", &body));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    let (a, b) = (make(&api, &key, "a", 1, 1).await, make(&api, &key, "b", 1, 1).await);
    let member = json!({"members": [{"sim": FIRST}]});
    let (one, two) = tokio::join!(add(&api, &key, &a, member.clone()), add(&api, &key, &b, member));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    let second = "INSERT INTO usage_pool_members (pool_id, tenant_id, iccid, joined_on)
                  SELECT p.id, 1, m.iccid, m.joined_on + 1 FROM usage_pools p, usage_pool_members m WHERE p.name = 'same'";
    let refused = database.client.batch_execute(second).await.expect_err("is refused");
    let refused = refused.as_db_error().and_then(|error| error.constraint()).map(str::to_owned);
    assert_eq!(refused.as_deref(), Some("usage_pool_members_one_pool"));
    api.close().await;
}

/// Catches a SIM whose days are added up while a rollup adds to them (drop the lock from `join_pool` or `leave_pool`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_joins_or_leaves_waits_for_the_rollup_that_runs() {
    let database = with_sims().await;
    let (api, key) = api_at(&database, NOW).await;
    let pool = make(&api, &key, "p", 1_000, 1).await;
    let waits = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                 WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted";
    for (method, path, body) in [
        (Method::POST, format!("{pool}/members"), json!({"members": [{"sim": FIRST}]})),
        (Method::DELETE, format!("{pool}/members/{FIRST}"), json!({})),
    ] {
        // As a rollup does.
        database.run("BEGIN; SELECT pg_advisory_xact_lock(hashtext('simbridge.rollup'))").await;
        let request = api.request(method.clone(), &path).bearer_auth(&key).json(&body);
        let asked = tokio::spawn(sent(request));
        let waiting = eventually("it waits or is done", async || {
            let waiting = database.number(waits).await > 0;
            (waiting || asked.is_finished()).then_some(waiting)
        })
        .await;
        assert!(waiting, "{method} {path} did not wait");
        database.run("COMMIT").await;
        let answer = asked.await.expect("no panic");
        assert!(matches!(answer.status, 200 | 204), "{}", answer.text);
    }
    assert_eq!(database.number("SELECT count(*) FROM usage_pool_members").await, 0);
    api.close().await;
}

#[tokio::test]
async fn every_fault_of_a_pool_is_told_and_nothing_is_made() {
    let database = with_sims().await;
    let (api, key) = api_at(&database, NOW).await;
    let pool = make(&api, &key, "p", 1_000, 1).await;
    make(&api, &key, "q", 1_000, 1).await;
    let faulty =
        api.post_as(&key, "/api/v1/pools", &json!({"name": "", "limitBytes": "1", "cycleDay": 0})).await;
    assert_eq!(details(&faulty), ["name", "limitBytes", "cycleDay"]);
    assert_eq!(api.post_as(&key, "/api/v1/pools", &json!({"name": "p", "limitBytes": 1})).await.status, 409);
    assert_eq!(api.send_as(&key, Method::PATCH, &pool, &json!({"name": "q"})).await.status, 409);
    assert_eq!(api.send_as(&key, Method::PATCH, &pool, &json!({"name": "p2"})).await.json()["name"], "p2");
    for query in ["period=2026-13", "sort=iccid", "page=0", "limit=201"] {
        assert_eq!(api.get_as(&key, &format!("/api/v1/pools?{query}")).await.status, 400, "{query}");
    }
    assert_eq!(
        details(&api.get_as(&key, &format!("{pool}/members?period=x&sort=name")).await),
        ["period", "sort"]
    );
    for none in ["0", "99", "x", "99999999999"] {
        let path = format!("/api/v1/pools/{none}");
        assert_eq!(api.get_as(&key, &path).await.json()["error"]["code"], "NOT_FOUND", "{none}");
        assert_eq!(api.send_as(&key, Method::DELETE, &path, &json!({})).await.status, 404);
        assert_eq!(add(&api, &key, &path, json!({"members": [{"sim": FIRST}]})).await.status, 404);
    }
    assert_eq!(database.number("SELECT count(*) FROM usage_pools").await, 2);
    assert_eq!(api.send_as(&key, Method::DELETE, &pool, &json!({})).await.status, 204);
    assert_eq!(database.number("SELECT count(*) FROM usage_pools").await, 1);
    api.close().await;
}

/// Catches a statement without its tenant: another tenant's pools, members and SIMs are nobody else's (drop `p.tenant_id = tenant`
/// from `join_pool`, or the condition on the tenant from `pool_by_id` of any route).
#[tokio::test]
async fn another_tenant_sees_and_changes_nothing_of_a_pool() {
    let database = with_sims().await;
    let (api, key) = api_at(&database, NOW).await;
    let pool = make(&api, &key, "p", 1_000, 1).await;
    join(&api, &key, &pool, json!([{"sim": FIRST, "limitBytes": 5}])).await;
    let before = database.rows("SELECT * FROM usage_pools, usage_pool_members").await;
    database.tenant("other", "UTC").await;
    let other = api.key_of("other", &["sims:*", "usage:read", "admin:alerts"]).await;
    assert_eq!(api.get_as(&other, "/api/v1/pools").await.json()["pools"], json!([]));
    let thresholds = pool.replace("/api/v1/pools/", "/api/v1/alerts/thresholds/pools/");
    let member = format!("{pool}/members/{FIRST}");
    for (method, path, body) in [
        (Method::GET, pool.clone(), json!({})),
        (Method::PATCH, pool.clone(), json!({"limitBytes": 1})),
        (Method::DELETE, pool.clone(), json!({})),
        (Method::GET, format!("{pool}/members"), json!({})),
        (Method::PUT, member.clone(), json!({"limitBytes": 1})),
        (Method::DELETE, member, json!({})),
        (Method::GET, thresholds.clone(), json!({})),
        (Method::PUT, thresholds.clone(), json!({"thresholds": []})),
        (Method::DELETE, thresholds, json!({})),
    ] {
        let answer = api.send_as(&other, method.clone(), &path, &body).await;
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text);
    }
    // Neither its own SIMs into the pool of another one, nor SIMs of another one into its own pool.
    let own = make(&api, &other, "p", 1_000, 1).await;
    let theirs = add(&api, &other, &own, json!({"members": [{"sim": SECOND}]})).await;
    assert_eq!(details(&theirs), ["members[0].sim"]);
    database.run("INSERT INTO provisioned_sims (iccid, tenant_id) SELECT '8941000000000000009', id FROM tenants WHERE name = 'other'").await;
    let into = add(&api, &other, &pool, json!({"members": [{"sim": "8941000000000000009"}]})).await;
    assert_eq!(into.status, 404, "{}", into.text);
    database.run("DELETE FROM usage_pools WHERE tenant_id <> 1").await;
    assert_eq!(database.rows("SELECT * FROM usage_pools, usage_pool_members").await, before);
    // Who may only read, only reads.
    let reader = api.key(&["sims:read"]).await;
    assert_eq!(api.get_as(&reader, &pool).await.status, 200);
    assert_eq!(
        api.post_as(&reader, "/api/v1/pools", &json!({"name": "x", "limitBytes": 1})).await.status,
        403
    );
    assert_eq!(api.send_as(&reader, Method::DELETE, &pool, &json!({})).await.status, 403);
    assert_eq!(api.get("/api/v1/pools").await.status, 401);
    api.close().await;
}
