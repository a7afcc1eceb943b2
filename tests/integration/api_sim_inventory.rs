//! SIMs that clients look at, add and change, one by one (contract §4).

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::api::{Answer, TestApi, sent};
use crate::harness::database::{TestDatabase, now, sim};
use crate::harness::pipeline::{TestPipeline, record_at, time, word};

const ICCID: &str = "8941000000000000009";
const NOW: &str = "2026-03-10T12:00:00Z";

async fn start(database: &TestDatabase) -> (TestApi, String) {
    let api = TestApi::start_at(database, NOW).await;
    let key = api.key(&["sims:*", "usage:read"]).await;
    (api, key)
}

/// A SIM without its id and times, which nobody can foresee.
fn known(answer: &Answer) -> Value {
    let mut body = answer.json();
    let fields = body.as_object_mut().expect("an object");
    let id = fields.remove("simId").expect("it is told");
    let hex = id.as_str().and_then(|id| id.strip_prefix("sim_")).expect("a SIM id");
    assert!(hex.len() == 24 && hex.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    for name in ["createdAt", "updatedAt"] {
        let at = fields.remove(name).expect("it is told");
        assert!(time(at.as_str().expect("text")) <= now());
    }
    body
}

fn full() -> Value {
    json!({"iccid": ICCID, "imsi": "228010000000009", "msisdn": "+41790000009", "carrier": "Swisscom", "ratePlan": "IoT",
        "dataLimitBytes": 1_073_741_824, "customerId": "c-1", "status": "Suspended", "deviceName": "pump 9", "latitude": 47.37,
        "longitude": 8.54, "locationName": "Zürich", "cycleDay": 15})
}

fn bare() -> Value {
    json!({"iccid": ICCID, "imsi": null, "msisdn": null, "carrier": null, "ratePlan": null, "dataLimitBytes": null,
        "customerId": null, "status": "Active", "deviceName": null, "latitude": null, "longitude": null, "locationName": null,
        "cycleDay": 1})
}

#[tokio::test]
async fn a_new_sim_is_answered_and_shown_with_every_field() {
    let database = TestDatabase::new().await;
    let (api, key) = start(&database).await;
    let created = api.post_as(&key, "/api/v1/sims", &full()).await;
    assert_eq!((created.status, known(&created)), (201, full()));
    let id = created.json()["simId"].as_str().expect("text").to_owned();
    assert_eq!(created.header("location"), Some(&*format!("/api/v1/sims/{id}")));
    for sim in [ICCID, &id] {
        let shown = api.get_as(&key, &format!("/api/v1/sims/{sim}")).await;
        assert_eq!((shown.status, shown.json()), (200, created.json()));
    }
    let other = api
        .post_as(&key, "/api/v1/sims", &json!({"iccid": "8941000000", "imsi": null, "colour": "red"}))
        .await;
    let mut expected = bare();
    expected["iccid"] = json!("8941000000");
    assert_eq!((other.status, known(&other)), (201, expected));
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches a SIM that is inserted without its records being attached.
#[tokio::test]
async fn records_that_came_before_their_sim_count_once_it_is_posted() {
    let database = TestDatabase::new().await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (id, at, bytes) in [("a", "2026-03-10T11:00:00Z", 1), ("b", "2025-12-10T00:00:00Z", 4)] {
        assert_eq!(word(&pipeline.one(ICCID, record_at(id, at, bytes)).await), "stored");
    }
    database.roll_up().await;
    let (api, key) = start(&database).await;
    assert_eq!(api.post_as(&key, "/api/v1/sims", &json!({"iccid": ICCID})).await.status, 201);
    for (cycle, bytes) in [("2026-03", 1), ("2025-12", 4), ("2026-01", 0)] {
        let usage = api.get_as(&key, &format!("/api/v1/sims/{ICCID}/usage?cycle={cycle}")).await.json();
        assert_eq!(usage["usage"]["totalBytes"], bytes, "{cycle}");
    }
    assert_eq!(word(&pipeline.one(ICCID, record_at("c", "2026-03-10T11:30:00Z", 8)).await), "stored");
    let usage = api.get_as(&key, &format!("/api/v1/sims/{ICCID}/usage")).await.json();
    assert_eq!(usage["usage"]["totalBytes"], 9);
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches an answer that tells a stranger's SIM from one's own, and one that changes a SIM that is there.
#[tokio::test]
async fn an_iccid_in_use_is_refused_in_the_same_words_whoever_has_it() {
    let database = TestDatabase::new().await;
    database.tenant("acme", "UTC").await;
    let (api, key) = start(&database).await;
    let acme = api.key_of("acme", &["sims:*"]).await;
    assert_eq!(api.post_as(&key, "/api/v1/sims", &full()).await.status, 201);
    let before = database.rows("SELECT * FROM provisioned_sims").await;
    let message = "this ICCID is in use already";
    let expected =
        json!({"error": {"code": "CONFLICT", "message": message, "requestId": "r"}, "message": message});
    for key in [&key, &acme] {
        let body = json!({"iccid": ICCID, "status": "Mine", "carrier": "New", "ratePlan": "New"});
        let request = api.request(Method::POST, "/api/v1/sims").bearer_auth(key).header("X-Request-ID", "r");
        let answer = sent(request.json(&body)).await;
        assert_eq!((answer.status, answer.json()), (409, expected.clone()));
    }
    assert_eq!(database.rows("SELECT * FROM provisioned_sims").await, before);
    assert_eq!(
        database.rows("SELECT name FROM carriers UNION ALL SELECT name FROM rate_plans ORDER BY 1").await,
        ["IoT", "Swisscom"]
    );
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches a check before the insert without a lock: two would be answered 201, or one with 500.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_posts_of_one_sim_at_once_one_adds_it() {
    let database = TestDatabase::new().await;
    let (api, key) = start(&database).await;
    for round in 0..5 {
        let body =
            json!({"iccid": format!("89410000000000001{round:02}"), "ratePlan": format!("plan {round}")});
        let post = async || api.post_as(&key, "/api/v1/sims", &body).await.status;
        let (a, b, c, d, e, f) = tokio::join!(post(), post(), post(), post(), post(), post());
        let mut statuses = [a, b, c, d, e, f];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409, 409, 409]);
    }
    database.assert_reconciled().await;
    api.close().await;
}

#[tokio::test]
async fn every_fault_of_a_sim_is_told_under_the_name_of_its_field() {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let (api, key) = start(&database).await;
    let bad = json!({"iccid": "894100000", "imsi": 22801, "msisdn": "0041 79", "carrier": "", "mccmnc": "228", "ratePlan": "x\u{0}",
        "pricePerMb": 0.1, "includedBytes": -1, "dataLimitBytes": 1.5, "customerId": [], "status": " ", "deviceName": {},
        "latitude": 91, "longitude": "8.5", "locationName": "x".repeat(201), "cycleDay": 32});
    let whole = "must be a whole number from 0 to 9007199254740992";
    let text = "must be a text of 1 to 200 characters";
    let faults = [
        ("imsi", "must be a text of 5 to 15 digits"),
        ("msisdn", "must be a text of 3 to 15 digits, with or without a +"),
        ("carrier", text),
        ("mccmnc", "must be a text of 5 to 6 digits"),
        ("ratePlan", text),
        ("pricePerMb", "must be a text with a decimal number such as 0.0125"),
        ("includedBytes", whole),
        ("dataLimitBytes", whole),
        ("customerId", text),
        ("status", text),
        ("deviceName", text),
        ("latitude", "must be a number from -90 to 90"),
        ("longitude", "must be a number from -180 to 180"),
        ("locationName", text),
        ("cycleDay", "must be a whole number from 1 to 31"),
    ];
    let details = |iccid: &'static str| -> Vec<Value> {
        let all = [("iccid", iccid)].into_iter().chain(faults);
        all.map(|(field, message)| json!({"field": field, "message": message})).collect()
    };
    let posted = api.post_as(&key, "/api/v1/sims", &bad).await;
    assert_eq!((posted.status, &posted.json()["error"]["code"]), (400, &json!("VALIDATION_ERROR")));
    assert_eq!(posted.json()["error"]["details"], json!(details("must be a text of 10 to 20 digits")));
    let path = format!("/api/v1/sims/{ICCID}");
    let patched = api.send_as(&key, Method::PATCH, &path, &bad).await;
    assert_eq!(
        (patched.status, &patched.json()["error"]["details"]),
        (400, &json!(details("cannot be changed")))
    );
    for (body, message) in [
        (json!([]), "must be a JSON object"),
        (json!({"status": null}), "status: must be a text of 1 to 200 characters"),
        (json!({"mccmnc": "22801"}), "mccmnc: belongs to a carrier, and none is named"),
        (
            json!({"pricePerMb": "1", "ratePlan": null}),
            "pricePerMb: belongs to a ratePlan, and none is named",
        ),
    ] {
        let answer = api.send_as(&key, Method::PATCH, &path, &body).await;
        assert_eq!((answer.status, answer.json()["message"].as_str()), (400, Some(message)));
    }
    let request = api
        .request(Method::POST, "/api/v1/sims")
        .bearer_auth(&key)
        .header("content-type", "application/json");
    assert_eq!(sent(request.body("{")).await.status, 400);
    let request =
        api.request(Method::POST, "/api/v1/sims").bearer_auth(&key).header("content-type", "text/plain");
    assert_eq!(sent(request.body("{}")).await.status, 415);
    assert_eq!(database.number("SELECT count(*) FROM provisioned_sims").await, 1);
    api.close().await;
}

#[tokio::test]
async fn sims_are_written_with_the_permission_to_and_by_their_tenant() {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let (api, key) = start(&database).await;
    let reader = api.key(&["sims:read"]).await;
    let path = format!("/api/v1/sims/{ICCID}");
    let (post, patch) = ((Method::POST, "/api/v1/sims"), (Method::PATCH, path.as_str()));
    for (method, path) in [post, patch, (Method::POST, "/api/v1/sims/import")] {
        let answer = api.send_as(&reader, method.clone(), path, &json!({})).await;
        let message = "this API key lacks the permission sims:write";
        assert_eq!((answer.status, answer.json()["message"].as_str()), (403, Some(message)), "{path}");
        assert_eq!(sent(api.request(method, path).json(&json!({}))).await.status, 401, "{path}");
    }
    for path in ["/api/v1/sims/8941000000000000000", "/api/v1/sims/x"] {
        let answer = api.send_as(&key, Method::PATCH, path, &json!({"status": "x"})).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (404, &json!("SIM_NOT_FOUND")),
            "{path}"
        );
        assert_eq!(api.get_as(&key, path).await.status, 404, "{path}");
    }
    api.close().await;
}

#[tokio::test]
async fn a_change_leaves_what_is_missing_and_clears_what_is_null() {
    let database = TestDatabase::new().await;
    let (api, key) = start(&database).await;
    let created = api.post_as(&key, "/api/v1/sims", &full()).await.json();
    let path = format!("/api/v1/sims/{}", created["simId"].as_str().expect("text"));
    let patch = async |body: Value| {
        let answer = api.send_as(&key, Method::PATCH, &path, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        known(&answer)
    };
    assert_eq!(patch(json!({})).await, full());
    assert_eq!(patch(json!({"iccid": ICCID, "nothing": 1})).await, full());
    let mut expected = full();
    for (field, value) in [
        ("imsi", json!("228010000000010")),
        ("msisdn", json!("41790000010")),
        ("carrier", json!("Salt")),
        ("ratePlan", json!("Pool")),
        ("dataLimitBytes", json!(0)),
        ("customerId", json!("c-2")),
        ("status", json!("Active")),
        ("deviceName", json!("pump 10")),
        ("latitude", json!(-90.0)),
        ("longitude", json!(180.0)),
        ("locationName", json!("Genève")),
        ("cycleDay", json!(1)),
    ] {
        expected[field] = value.clone();
        assert_eq!(patch(json!({ field: value })).await, expected, "{field}");
    }
    let mut cleared = bare();
    cleared["status"] = json!("Active");
    let nulls: serde_json::Map<String, Value> = bare()
        .as_object()
        .expect("an object")
        .iter()
        .filter(|(_, value)| value.is_null())
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    assert_eq!(patch(Value::Object(nulls)).await, cleared);
    let shown = api.get_as(&key, &path).await;
    assert_eq!(known(&shown), cleared);
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches a changed carrier or plan that rewrites what was billed, or that leaves out what lies ahead.
#[tokio::test]
async fn another_carrier_and_plan_count_from_now_on() {
    let database = TestDatabase::new().await;
    database
        .import_at(
            "2026-03-01T00:00:00Z",
            &[simbridge::store::sims::SimRow {
                carrier: Some("Salt".into()),
                rate_plan: Some("old".into()),
                price_per_mb: Some("1".into()),
                ..sim(ICCID)
            }],
        )
        .await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (id, at) in [("past", "2026-03-10T11:00:00Z"), ("ahead", "2026-03-10T13:00:00Z")] {
        assert_eq!(word(&pipeline.one(ICCID, record_at(id, at, 1 << 20)).await), "stored");
    }
    database.roll_up().await;
    let (api, key) = start(&database).await;
    let body = json!({"carrier": "Sunrise", "mccmnc": "22802", "ratePlan": "new", "pricePerMb": "0.25", "includedBytes": 0});
    let answer = api.send_as(&key, Method::PATCH, &format!("/api/v1/sims/{ICCID}"), &body).await;
    assert_eq!((answer.status, &answer.json()["ratePlan"]), (200, &json!("new")));
    assert_eq!(
        word(&pipeline.one(ICCID, record_at("next", "2026-03-10T12:00:00Z", 1 << 20)).await),
        "stored"
    );
    database.roll_up().await;
    let records = "SELECT r.record_id, c.name, c.mccmnc, p.name, trim_scale(p.price_per_mb) FROM usage_records r
                   JOIN carriers c ON c.id = r.carrier_id JOIN rate_plans p ON p.id = r.rate_plan_id ORDER BY r.period_start";
    let expected = ["past|Salt|NULL|old|1", "next|Sunrise|22802|new|0.25", "ahead|Sunrise|22802|new|0.25"];
    assert_eq!(database.rows(records).await, expected);
    let costs = "SELECT c.name, trim_scale(d.cost) FROM daily_usage d JOIN carriers c ON c.id = d.carrier_id ORDER BY 1";
    assert_eq!(database.rows(costs).await, ["Salt|1", "Sunrise|0.5"]);
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches a cycle day that moves the bounds of cycles which hold records already (ADR 0004).
#[tokio::test]
async fn another_cycle_day_counts_from_the_end_of_the_newest_cycle_on() {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    assert_eq!(word(&pipeline.one(ICCID, record_at("a", "2026-03-10T11:00:00Z", 1)).await), "stored");
    let (api, key) = start(&database).await;
    let path = format!("/api/v1/sims/{ICCID}");
    assert_eq!(api.send_as(&key, Method::PATCH, &path, &json!({"cycleDay": 15})).await.status, 200);
    for (cycle, start, end) in [
        ("current", "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"),
        ("2026-04", "2026-04-01T00:00:00Z", "2026-05-15T00:00:00Z"),
        ("2026-05", "2026-05-15T00:00:00Z", "2026-06-15T00:00:00Z"),
    ] {
        let usage = api.get_as(&key, &format!("{path}/usage?cycle={cycle}")).await.json();
        let bounds = (&usage["billingCycle"]["start"], &usage["billingCycle"]["end"]);
        assert_eq!(bounds, (&json!(start), &json!(end)), "{cycle}");
    }
    database.store.roll_cycles(time("2026-06-01T00:00:00Z")).await.expect("cycles roll");
    let chain = "SELECT cycle_id, cycle_start::date FROM usage_cycles ORDER BY 1";
    assert_eq!(
        database.rows(chain).await,
        ["2026-03|2026-03-01", "2026-04|2026-04-01", "2026-05|2026-05-15"]
    );
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches a tenant that changes what others see of a carrier.
#[tokio::test]
async fn a_carrier_that_exists_stays_as_it_is() {
    let database = TestDatabase::new().await;
    database.run("INSERT INTO carriers (name, mccmnc) VALUES ('Salt', '22803')").await;
    let (api, key) = start(&database).await;
    let body = json!({"iccid": ICCID, "carrier": "Salt", "mccmnc": "99999"});
    assert_eq!(api.post_as(&key, "/api/v1/sims", &body).await.status, 201);
    let csv = format!("iccid,carrier,mccmnc\n{ICCID},Salt,99998\n");
    let request = api.request(Method::POST, "/api/v1/sims/import").header("content-type", "text/csv");
    assert_eq!(sent(request.bearer_auth(&key).body(csv)).await.status, 200);
    assert_eq!(database.rows("SELECT name, mccmnc FROM carriers").await, ["Salt|22803"]);
    api.close().await;
}
