//! Lists of SIMs and what a SIM used in a cycle (contract §4).

use reqwest::Method;
use serde_json::{Value, json};
use simbridge::store::sims::SimRow;

use crate::harness::api::{Answer, TestApi, sent};
use crate::harness::database::{TENANT, TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, record_at, word};

const ICCID: &str = "8941000000000000009";
const OTHER: &str = "8941000000000000010";
const NOW: &str = "2026-03-10T12:00:00Z";
const GB: i64 = 1 << 30;

fn full(iccid: &str) -> SimRow {
    SimRow {
        imsi: Some("228010000000009".into()),
        msisdn: Some("+41790000009".into()),
        carrier: Some("Swisscom".into()),
        rate_plan: Some("IoT 20 GB".into()),
        data_limit_bytes: Some(20 * GB),
        ..sim(iccid)
    }
}

async fn stored(database: &TestDatabase, records: &[(&str, &str, &str, i64)]) {
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (iccid, id, at, bytes) in records {
        assert_eq!(word(&pipeline.one(iccid, record_at(id, at, *bytes)).await), "stored");
    }
    database.roll_up().await;
}

async fn sim_id(database: &TestDatabase, iccid: &str) -> String {
    database.text("SELECT sim_id FROM provisioned_sims WHERE iccid = $1", &[&iccid]).await
}

/// A body without when it was updated, which is the database's clock.
fn undated(answer: &Answer) -> Value {
    let mut body = answer.json();
    let updated = body.as_object_mut().expect("an object").remove("lastUpdated").expect("it is told");
    chrono::DateTime::parse_from_rfc3339(updated.as_str().expect("text")).expect("RFC 3339");
    body
}

#[tokio::test]
async fn lists_tell_every_sim_in_the_order_of_their_iccids() {
    let database = TestDatabase::new().await;
    let bare = SimRow { status: Some("Suspended".into()), ..sim(OTHER) };
    database.import_at(NOW, &[bare, full(ICCID)]).await;
    stored(
        &database,
        &[(ICCID, "a", "2026-03-01T00:00:00Z", 5 * GB + 1), (ICCID, "b", "2026-02-28T23:00:00Z", 7)],
    )
    .await;
    let (first, second) = (sim_id(&database, ICCID).await, sim_id(&database, OTHER).await);
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["sims:read"]).await;

    let answer = api.get_as(&key, "/api/v1/provisioned-sims").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let data = json!([
        {"simId": first, "iccid": ICCID, "msisdn": "+41790000009", "status": "Active"},
        {"simId": second, "iccid": OTHER, "msisdn": "", "status": "Suspended"},
    ]);
    assert_eq!(answer.json(), json!({"success": true, "data": data}));

    let answer = api.get_as(&key, "/api/simcards").await;
    let data = json!([
        {"id": first, "iccid": ICCID, "imsi": "228010000000009", "msisdn": "+41790000009", "status": "Active",
         "carrier": "Swisscom", "plan": "IoT 20 GB", "dataUsed": "5.00 GB", "dataLimit": "20.00 GB"},
        {"id": second, "iccid": OTHER, "imsi": "", "msisdn": "", "status": "Suspended",
         "carrier": "", "plan": "", "dataUsed": "0.00 GB", "dataLimit": "0.00 GB"},
    ]);
    assert_eq!((answer.status, answer.json()), (200, json!({"success": true, "data": data})));
    api.close().await;
}

#[tokio::test]
async fn lists_are_paged_for_those_who_ask_for_it() {
    let database = TestDatabase::new().await;
    let sims: Vec<SimRow> = (0..5).map(|n| sim(&format!("894100000000000000{n}"))).collect();
    database.import_at(NOW, &sims).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["sims:*"]).await;
    for list in ["/api/v1/provisioned-sims", "/api/simcards"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = api.get_as(&key, &format!("{list}?limit=2&cursor={cursor}")).await.json();
            seen.extend(page["data"].as_array().expect("a list").iter().map(|sim| sim["iccid"].clone()));
            let Some(next) = page["nextCursor"].as_str() else { break };
            next.clone_into(&mut cursor);
        }
        let all: Vec<String> = sims.iter().map(|sim| sim.iccid.to_string()).collect();
        assert_eq!(json!(seen), json!(all), "{list}");
        let answer = api.get_as(&key, &format!("{list}?limit=10001&cursor=!")).await;
        let error = "limit: must be a whole number from 1 to 10000; cursor: must be the nextCursor of the page before";
        assert_eq!((answer.status, answer.json()), (400, json!({"success": false, "error": error})));
    }
    api.close().await;
}

#[tokio::test]
async fn lists_are_open_in_the_demo_and_need_a_key_otherwise() {
    let database = TestDatabase::new().await;
    let demo = TestApi::demo(&database).await;
    for list in ["/api/v1/provisioned-sims", "/api/simcards"] {
        let answer = demo.get(list).await;
        assert_eq!((answer.status, answer.json()), (200, json!({"success": true, "data": []})), "{list}");
    }
    demo.close().await;
    let api = TestApi::start(&database).await;
    let key = api.key(&["usage:read"]).await;
    for list in ["/api/v1/provisioned-sims", "/api/simcards"] {
        assert_eq!(api.get(list).await.status, 401, "{list}");
        let answer = api.get_as(&key, list).await;
        let error = "this API key lacks the permission sims:read";
        assert_eq!((answer.status, answer.json()), (403, json!({"success": false, "error": error})));
    }
    api.close().await;
}

/// Catches any of these queries without its tenant.
#[tokio::test]
async fn no_tenant_sees_the_sims_of_another() {
    let database = TestDatabase::new().await;
    database.tenant("acme", "UTC").await;
    database.import_at(NOW, &[full(ICCID)]).await;
    stored(&database, &[(ICCID, "a", "2026-03-09T00:00:00Z", 1)]).await;
    let id = sim_id(&database, ICCID).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key_of("acme", &["*"]).await;
    for list in ["/api/v1/provisioned-sims", "/api/simcards"] {
        assert_eq!(api.get_as(&key, list).await.json()["data"], json!([]), "{list}");
    }
    for sim in [ICCID, &id] {
        for path in ["", "/usage", "/usage?cycle=2026-03", "/usage/history", "/usage/records"] {
            let answer = api.get_as(&key, &format!("/api/v1/sims/{sim}{path}")).await;
            assert_eq!(answer.status, 404, "{path}");
            assert_eq!(answer.json()["error"]["code"], "SIM_NOT_FOUND", "{path}");
        }
        let path = format!("/api/v1/sims/{sim}");
        assert_eq!(api.send_as(&key, Method::PATCH, &path, &json!({"status": "Lost"})).await.status, 404);
    }
    assert_eq!(database.text("SELECT status FROM provisioned_sims", &[]).await, "Active");
    api.close().await;
}

/// Catches a list that is collected before it is sent: what is deleted while the client reads would still be in it. Each SIM
/// takes so much text that the sockets hold a fraction of all.
#[tokio::test]
async fn fifty_thousand_sims_are_written_while_they_are_read() {
    let database = TestDatabase::new().await;
    database
        .run(
            "INSERT INTO provisioned_sims (iccid, tenant_id, status)
             SELECT (8941000000000000000 + n)::text, 1, repeat('x', 1000) FROM generate_series(1, 50000) n",
        )
        .await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["sims:read"]).await;
    let request = api.request(Method::GET, "/api/v1/provisioned-sims").bearer_auth(&key);
    let mut response = request.header("accept-encoding", "identity").send().await.expect("an answer");
    assert_eq!(response.headers().get("content-length"), None);
    let mut text = response.chunk().await.expect("a piece").expect("a piece").to_vec();
    database.run("DELETE FROM provisioned_sims WHERE iccid = '8941000000000050000'").await;
    while let Some(piece) = response.chunk().await.expect("a piece") {
        text.extend_from_slice(&piece);
    }
    let body: Value = serde_json::from_slice(&text).expect("JSON");
    let sims = body["data"].as_array().expect("a list");
    assert_eq!(sims.len(), 49_999);
    assert!(sims.is_sorted_by_key(|sim| sim["iccid"].as_str().expect("text").to_owned()));
    api.close().await;
}

#[tokio::test]
async fn usage_of_the_current_cycle_is_what_its_records_say() {
    let database = TestDatabase::new().await;
    let limited = SimRow { data_limit_bytes: Some(GB), ..sim(ICCID) };
    database.import_at(NOW, &[limited]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let record = json!({"recordId": "a", "periodStart": "2026-03-02T00:00:00Z", "periodEnd": "2026-03-02T01:00:00Z",
        "usage": {"totalBytes": 4096, "dataUploadBytes": 1024, "dataDownloadBytes": 3072}});
    assert_eq!(word(&pipeline.one(ICCID, record.to_string()).await), "stored");
    let id = sim_id(&database, ICCID).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["usage:read"]).await;
    let expected = json!({
        "simId": id, "iccid": ICCID,
        "billingCycle": {"id": "2026-03", "start": "2026-03-01T00:00:00Z", "end": "2026-04-01T00:00:00Z"},
        "usage": {"dataUploadBytes": 1024, "dataDownloadBytes": 3072, "totalBytes": 4096, "totalFormatted": "4 KB",
                  "percentOfLimit": 0},
        "limit": {"totalBytes": 1_073_741_824, "totalFormatted": "1 GB"},
    });
    for path in [
        format!("/api/v1/sims/{ICCID}/usage"),
        format!("/api/v1/sims/{id}/usage?cycle=current"),
        format!("/api/v1/sims/{id}/usage?cycle=2026-03"),
    ] {
        let answer = api.get_as(&key, &path).await;
        assert_eq!((answer.status, undated(&answer)), (200, expected.clone()), "{path}");
    }
    api.close().await;
}

#[tokio::test]
async fn amounts_are_formatted_and_stay_exact() {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[SimRow { data_limit_bytes: Some(3 * GB), ..sim(ICCID) }, sim(OTHER)]).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["usage:read"]).await;
    for (total, formatted, percent) in [
        ("0", "0 B", json!(0)),
        ("1", "1 B", json!(0)),
        ("1023", "1023 B", json!(0)),
        ("1536", "1.5 KB", json!(0)),
        // 1023.999 KB would be 1024 KB.
        ("1048575", "1 MB", json!(0.03)),
        ("1073741824", "1 GB", json!(33.33)),
        ("2147483648", "2 GB", json!(66.67)),
        ("6442450944", "6 GB", json!(200)),
        ("9007199254740992", "8 PB", json!(279_620_266.67)),
    ] {
        database.run(&format!("UPDATE usage_cycles SET total_bytes = {total}")).await;
        let body = api.get_as(&key, &format!("/api/v1/sims/{ICCID}/usage")).await.json();
        let exact: i64 = total.parse().expect("a number");
        let usage = json!({"dataUploadBytes": 0, "dataDownloadBytes": 0, "totalBytes": exact, "totalFormatted": formatted,
                           "percentOfLimit": percent});
        assert_eq!(body["usage"], usage, "{total}");
    }
    database.run("UPDATE usage_cycles SET total_bytes = 9007199254740993, total_upload_bytes = 10^29").await;
    let body = api.get_as(&key, &format!("/api/v1/sims/{OTHER}/usage")).await.json();
    let usage = json!({
        "dataUploadBytes": 1e29, "dataUploadBytesExact": "100000000000000000000000000000", "dataDownloadBytes": 0,
        "totalBytes": 9_007_199_254_740_993_i64, "totalBytesExact": "9007199254740993", "totalFormatted": "8 PB",
        "percentOfLimit": 0,
    });
    assert_eq!(body["usage"], usage);
    assert_eq!(body["limit"], json!({"totalBytes": 0, "totalFormatted": "0 B"}));
    api.close().await;
}

/// Catches the bounds of the current cycle with another cycle's id, and bounds that no cycle will have.
#[tokio::test]
async fn a_cycle_without_usage_has_zeros_and_its_own_bounds() {
    let database = TestDatabase::new().await;
    let zurich = database.tenant("zurich", "Europe/Zurich").await;
    let row = SimRow { cycle_day: Some(31), ..sim(ICCID) };
    database.store.import_sims(zurich, &[row], NOW.parse().expect("a time")).await.expect("an import");
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key_of("zurich", &["usage:read"]).await;
    let cycle = async |month: &str| {
        let answer = api.get_as(&key, &format!("/api/v1/sims/{ICCID}/usage?cycle={month}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let body = undated(&answer);
        assert_eq!(body["usage"]["totalBytes"], 0);
        let cycle = &body["billingCycle"];
        assert_eq!(cycle["id"], month);
        format!("{} {}", cycle["start"].as_str().expect("text"), cycle["end"].as_str().expect("text"))
    };
    // Clocks go forward on 29 March and back on 25 October.
    let bounds = [
        ("2025-10", "2025-10-30T23:00:00Z 2025-11-29T23:00:00Z"),
        ("2026-01", "2026-01-30T23:00:00Z 2026-02-27T23:00:00Z"),
        ("2026-02", "2026-02-27T23:00:00Z 2026-03-30T22:00:00Z"),
        ("2026-03", "2026-03-30T22:00:00Z 2026-04-29T22:00:00Z"),
    ];
    for (month, expected) in bounds {
        assert_eq!(cycle(month).await, expected, "{month}");
    }
    // Another cycle day counts from the end of the chain on: what is promised is what is made.
    database.run("UPDATE provisioned_sims SET cycle_day = 15").await;
    let (before, after) = (cycle("2026-01").await, cycle("2026-03").await);
    assert_eq!(before, "2026-01-14T23:00:00Z 2026-02-27T23:00:00Z");
    assert_eq!(after, "2026-03-30T22:00:00Z 2026-04-14T22:00:00Z");
    let moments = "ARRAY['2026-02-01', '2026-04-01']::timestamptz[]";
    database.run(&format!("SELECT ensure_cycles(ARRAY['{ICCID}', '{ICCID}'], {moments}, '{NOW}')")).await;
    assert_eq!((cycle("2026-01").await, cycle("2026-03").await), (before, after));
    database.assert_reconciled().await;
    api.close().await;
}

#[tokio::test]
async fn the_current_cycle_is_the_one_that_holds_the_present() {
    let database = TestDatabase::new().await;
    database.import_at("2026-01-10T00:00:00Z", &[sim(ICCID)]).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["usage:read"]).await;
    let body = api.get_as(&key, &format!("/api/v1/sims/{ICCID}/usage")).await.json();
    let cycle = json!({"id": "2026-03", "start": "2026-03-01T00:00:00Z", "end": "2026-04-01T00:00:00Z"});
    assert_eq!(body["billingCycle"], cycle);
    api.close().await;
}

/// Catches a total of the cycle that counts what the SIM's former owner used in it.
#[tokio::test]
async fn who_takes_a_sim_over_sees_what_it_used_since_then() {
    let database = TestDatabase::new().await;
    let acme = database.tenant("acme", "UTC").await;
    database.import_at("2026-03-01T00:00:00Z", &[sim(ICCID)]).await;
    stored(
        &database,
        &[(ICCID, "a", "2026-03-02T00:00:00Z", 1_000), (ICCID, "b", "2026-03-08T00:00:00Z", 50)],
    )
    .await;
    let to = simbridge::store::sim_moves::SimMove {
        iccid: sim(ICCID).iccid,
        tenant: Some(acme),
        carrier: None,
        rate_plan: None,
        from: "2026-03-05T00:00:00Z".parse().expect("a time"),
    };
    database.store.move_sim(&to, NOW.parse().expect("a time")).await.expect("a move");
    assert_ne!(acme, TENANT);
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key_of("acme", &["*"]).await;
    let body = api.get_as(&key, &format!("/api/v1/sims/{ICCID}/usage")).await.json();
    assert_eq!(body["usage"]["totalBytes"], 50);
    let records = api.get_as(&key, &format!("/api/v1/sims/{ICCID}/usage/records")).await.json();
    assert_eq!(records["records"].as_array().map(Vec::len), Some(1));
    let history = api
        .get_as(&key, &format!("/api/v1/sims/{ICCID}/usage/history?start=2026-03-02&end=2026-03-08"))
        .await;
    let sum: i64 = history.json()["data"]
        .as_array()
        .expect("points")
        .iter()
        .filter_map(|p| p["totalBytes"].as_i64())
        .sum();
    assert_eq!(sum, 50);
    let former = api.key(&["*"]).await;
    assert_eq!(api.get_as(&former, &format!("/api/v1/sims/{ICCID}/usage")).await.status, 404);
    database.assert_reconciled().await;
    api.close().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_question_about_usage_is_told() {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["usage:read"]).await;
    for cycle in ["2026-13", "2026-3", "march", "0000-01", "2026-03-01"] {
        let answer = api.get_as(&key, &format!("/api/v1/sims/{ICCID}/usage?cycle={cycle}")).await;
        assert_eq!(answer.status, 400, "{cycle}");
        let details = json!([{"field": "cycle", "message": "must be current, or a month such as 2026-11"}]);
        assert_eq!(answer.json()["error"]["details"], details, "{cycle}");
    }
    for id in
        ["8941000000000000000", "sim_000000000000000000000000", "x", "%00", "%FF", "89410000000000000091234"]
    {
        let request =
            api.request(Method::GET, &format!("/api/v1/sims/{id}/usage")).header("X-Request-ID", "r");
        let answer = sent(request.bearer_auth(&key)).await;
        let (code, message) = ("SIM_NOT_FOUND", "there is no such SIM");
        let expected =
            json!({"error": {"code": code, "message": message, "requestId": "r"}, "message": message});
        assert_eq!((answer.status, answer.json()), (404, expected), "{id}");
    }
    api.close().await;
}
