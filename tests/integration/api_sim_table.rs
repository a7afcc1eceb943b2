//! SIMs as a table: searched, filtered, sorted, in pages and as a file; and the sessions of one SIM.

use serde_json::{Value, json};
use simbridge::store::sim_moves::SimMove;
use simbridge::store::sims::SimRow;

use crate::harness::api::TestApi;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, record_at, time, word};

const NOW: &str = "2026-03-10T12:00:00Z";
const GB: i64 = 1 << 30;
const PUMP: &str = "8941000000000000001";
const METER: &str = "8941000000000000002";
const TRUCK: &str = "8949000000000000003";

fn fleet() -> [SimRow; 3] {
    let pump = SimRow {
        imsi: Some("228010000000077".into()),
        carrier: Some("Swisscom".into()),
        rate_plan: Some("IoT 1 GB".into()),
        data_limit_bytes: Some(GB),
        device_name: Some("Pump Ä 100%".into()),
        location_name: Some("=Zürich".into()),
        ..sim(PUMP)
    };
    let meter = SimRow {
        msisdn: Some("+41790000009".into()),
        carrier: Some("Salt".into()),
        rate_plan: Some("IoT 5 GB".into()),
        status: Some("Suspended".into()),
        device_name: Some("meter_1".into()),
        ..sim(METER)
    };
    let truck = SimRow {
        msisdn: Some("+491700000003".into()),
        carrier: Some("Swisscom".into()),
        data_limit_bytes: Some(4 * GB),
        device_name: Some("meter 2".into()),
        ..sim(TRUCK)
    };
    [pump, meter, truck]
}

async fn stored(database: &TestDatabase, records: &[(&str, &str, &str, i64)]) {
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (iccid, id, at, bytes) in records {
        assert_eq!(word(&pipeline.one(iccid, record_at(id, at, *bytes)).await), "stored");
    }
    database.roll_up().await;
}

async fn with_fleet() -> (TestDatabase, TestApi, String) {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &fleet()).await;
    let used = [
        (PUMP, "a", "2026-03-02T00:00:00Z", 3 * GB / 4),
        (METER, "b", "2026-03-03T00:00:00Z", 2 * GB),
        (TRUCK, "c", "2026-03-04T00:00:00Z", GB),
        (TRUCK, "d", "2026-02-04T00:00:00Z", 9 * GB),
    ];
    stored(&database, &used).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["sims:read", "usage:read"]).await;
    (database, api, key)
}

async fn table(api: &TestApi, key: &str, query: &str) -> Value {
    let answer = api.get_as(key, &format!("/api/v1/sims?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    answer.json()
}

/// The ICCIDs of a page, in their order.
async fn iccids(api: &TestApi, key: &str, query: &str) -> Vec<String> {
    let body = table(api, key, query).await;
    let sims = body["sims"].as_array().expect("a list").iter();
    sims.map(|sim| sim["iccid"].as_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn a_row_tells_what_a_sim_used_of_its_limit_in_the_current_cycle() {
    let (database, api, key) = with_fleet().await;
    let id = |iccid: &'static str| {
        let database = &database;
        async move { database.text("SELECT sim_id FROM provisioned_sims WHERE iccid = $1", &[&iccid]).await }
    };
    let body = table(&api, &key, "limit=2").await;
    let expected = json!({
        "sims": [
            {"simId": id(PUMP).await, "iccid": PUMP, "imsi": "228010000000077", "msisdn": null, "status": "Active",
             "deviceName": "Pump Ä 100%", "locationName": "=Zürich", "carrier": "Swisscom", "ratePlan": "IoT 1 GB",
             "billingCycleId": "2026-03", "usedBytes": 3 * GB / 4, "dataLimitBytes": GB, "percentOfLimit": 75,
             "lastRecordAt": "2026-03-02T00:00:00Z"},
            {"simId": id(METER).await, "iccid": METER, "imsi": null, "msisdn": "+41790000009", "status": "Suspended",
             "deviceName": "meter_1", "locationName": null, "carrier": "Salt", "ratePlan": "IoT 5 GB",
             "billingCycleId": "2026-03", "usedBytes": 2 * GB, "dataLimitBytes": null, "percentOfLimit": null,
             "lastRecordAt": "2026-03-03T00:00:00Z"},
        ],
        "pagination": {"page": 1, "limit": 2, "total": 3, "totalPages": 2},
    });
    assert_eq!(body, expected);
    // It is what the SIM itself tells.
    let alone = api.get_as(&key, &format!("/api/v1/sims/{PUMP}/usage")).await.json();
    assert_eq!(alone["usage"]["totalBytes"], body["sims"][0]["usedBytes"]);
    assert_eq!(alone["usage"]["percentOfLimit"], body["sims"][0]["percentOfLimit"]);
    assert_eq!(iccids(&api, &key, "limit=2&page=2").await, [TRUCK]);
    assert_eq!(iccids(&api, &key, "limit=2&page=3").await, [""; 0]);
    api.close().await;
}

/// Catches a search with the wildcards of LIKE, one that minds the case, and one that reads beyond the end of a field.
#[tokio::test]
async fn a_search_finds_a_part_of_any_number_or_name() {
    let (_database, api, key) = with_fleet().await;
    for (search, found) in [
        ("8941", vec![PUMP, METER]),
        ("0077", vec![PUMP]),
        ("%2B4179", vec![METER]),
        ("METER", vec![METER, TRUCK]),
        ("pump+%C3%84", vec![PUMP]),
        ("%25", vec![PUMP]),
        ("meter_", vec![METER]),
        ("++meter+2+", vec![TRUCK]),
        ("01228", vec![]),
        ("nobody", vec![]),
    ] {
        let query = format!("search={search}");
        assert_eq!(iccids(&api, &key, &query).await, found, "{search}");
        let backwards: Vec<&str> = found.iter().rev().copied().collect();
        assert_eq!(iccids(&api, &key, &format!("{query}&sort=-iccid")).await, backwards, "{search}");
        for sort in ["status", "usedBytes"] {
            let total = &table(&api, &key, &format!("{query}&sort={sort}")).await["pagination"]["total"];
            assert_eq!(total, found.len(), "{search} by {sort}");
            let mut sorted = iccids(&api, &key, &format!("{query}&sort={sort}")).await;
            sorted.sort();
            assert_eq!(sorted, found, "{search} by {sort}");
        }
    }
    api.close().await;
}

/// Catches a sort that puts SIMs without a value first, goes one way only or by another field, and a share that takes no limit for a
/// limit.
#[tokio::test]
async fn filters_and_orders_go_together() {
    let (_database, api, key) = with_fleet().await;
    for (query, expected) in [
        ("status=Suspended", vec![METER]),
        ("status=Suspended&status=Active", vec![PUMP, METER, TRUCK]),
        ("carrier=Swisscom", vec![PUMP, TRUCK]),
        ("carrier=Salt&status=Active", vec![]),
        ("carrier=Nobody", vec![]),
        ("carrier=Swisscom&search=meter&status=Active", vec![TRUCK]),
        ("sort=-iccid&carrier=Swisscom", vec![TRUCK, PUMP]),
        ("sort=usedBytes", vec![PUMP, TRUCK, METER]),
        ("sort=-usedBytes", vec![METER, TRUCK, PUMP]),
        ("sort=percentOfLimit", vec![TRUCK, PUMP, METER]),
        ("sort=-percentOfLimit", vec![PUMP, TRUCK, METER]),
        ("sort=-percentOfLimit&carrier=Swisscom&limit=1&page=2", vec![TRUCK]),
        ("sort=ratePlan", vec![PUMP, METER, TRUCK]),
        ("sort=-ratePlan", vec![METER, PUMP, TRUCK]),
        ("sort=msisdn", vec![METER, TRUCK, PUMP]),
        ("sort=-msisdn", vec![TRUCK, METER, PUMP]),
        ("sort=status", vec![PUMP, TRUCK, METER]),
        ("sort=-status", vec![METER, PUMP, TRUCK]),
        ("sort=carrier", vec![METER, PUMP, TRUCK]),
        ("sort=-carrier", vec![PUMP, TRUCK, METER]),
        ("sort=deviceName", vec![PUMP, TRUCK, METER]),
        ("sort=-deviceName", vec![METER, TRUCK, PUMP]),
        ("sort=-deviceName&carrier=Swisscom", vec![TRUCK, PUMP]),
        ("sort=carrier&carrier=Swisscom&limit=1&page=2", vec![TRUCK]),
    ] {
        assert_eq!(iccids(&api, &key, query).await, expected, "{query}");
    }
    let choices = api.get_as(&key, "/api/v1/sims/filters").await.json();
    let expected = json!({"statuses": [{"name": "Active", "simCount": 2}, {"name": "Suspended", "simCount": 1}],
                          "carriers": [{"name": "Swisscom", "simCount": 2}, {"name": "Salt", "simCount": 1}]});
    assert_eq!(choices, expected);
    let wrong = api
        .get_as(&key, &format!("/api/v1/sims?sort=cost&page=0&limit=201&search={}", "x".repeat(101)))
        .await;
    assert_eq!(wrong.status, 400, "{}", wrong.text);
    let details = wrong.json()["error"]["details"].clone();
    let fields: Vec<&str> =
        details.as_array().expect("faults").iter().filter_map(|fault| fault["field"].as_str()).collect();
    assert_eq!(fields, ["search", "sort", "page", "limit"]);
    api.close().await;
}

/// Catches amounts and places in the order that count what the former owner used, and a list without its tenant.
#[tokio::test]
async fn a_sim_that_changed_hands_shows_its_new_owner_its_own_usage_alone() {
    let (database, api, key) = with_fleet().await;
    let acme = database.tenant("acme", "UTC").await;
    let other = SimRow { data_limit_bytes: Some(GB), ..sim("8941000000000000008") };
    database.store.import_sims(acme, &[other], time(NOW)).await.expect("the import succeeds");
    stored(&database, &[(METER, "e", "2026-03-08T00:00:00Z", 50)]).await;
    let at = "2026-03-08T00:00:00Z";
    let own = json!({"recordId": "f", "iccid": "8941000000000000008", "periodStart": at, "periodEnd": at,
                     "usage": {"totalBytes": 60}});
    let writer = api.key_of("acme", &["usage:write"]).await;
    assert_eq!(api.post_as(&writer, "/api/v1/usage", &own).await.status, 202);
    let to = SimMove {
        iccid: sim(METER).iccid,
        tenant: Some(acme),
        carrier: None,
        rate_plan: None,
        from: time("2026-03-05T00:00:00Z"),
    };
    database.store.move_sim(&to, time(NOW)).await.expect("a move");
    database.roll_up().await;
    let theirs = api.key_of("acme", &["sims:read"]).await;
    let body = table(&api, &theirs, "sort=-usedBytes").await;
    let used: Vec<_> = body["sims"].as_array().expect("a list").iter().map(|sim| &sim["usedBytes"]).collect();
    assert_eq!(used, [60, 50], "{body}");
    assert_eq!(body["pagination"]["total"], 2);
    assert_eq!(iccids(&api, &key, "").await, [PUMP, TRUCK]);
    assert_eq!(iccids(&api, &theirs, "search=meter").await, [METER]);
    let choices = api.get_as(&theirs, "/api/v1/sims/filters").await.json();
    assert_eq!(choices["carriers"], json!([{"name": "Salt", "simCount": 1}]));
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches a file of one page only, one without the filter, and a text that a spreadsheet runs as a formula.
#[tokio::test]
async fn the_file_holds_every_sim_that_matches() {
    let (database, api, key) = with_fleet().await;
    let answer = api.get_as(&key, "/api/v1/sims.csv?carrier=Swisscom&search=pump").await;
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"sims.csv\""));
    let expected = "iccid,imsi,msisdn,deviceName,locationName,status,carrier,ratePlan,billingCycleId,usedBytes,\
                    dataLimitBytes,percentOfLimit,lastRecordAt\r\n\
                    8941000000000000001,228010000000077,,Pump Ä 100%,'=Zürich,Active,Swisscom,IoT 1 GB,2026-03,805306368,\
                    1073741824,75,2026-03-02T00:00:00Z\r\n";
    assert_eq!(answer.text, expected);
    let many: Vec<SimRow> = (0..2_100).map(|n| sim(&format!("77{n:010}"))).collect();
    database.import_at(NOW, &many).await;
    let answer = api.get_as(&key, "/api/v1/sims.csv?search=77000").await;
    let lines: Vec<&str> = answer.text.lines().skip(1).map(|line| &line[..12]).collect();
    let all: Vec<String> = many.iter().map(|sim| sim.iccid.to_string()).collect();
    assert_eq!(lines.len(), all.len());
    assert!(lines == all, "another order");
    assert_eq!(api.get_as(&key, "/api/v1/sims.csv?page=1&search=%00").await.status, 400);
    api.close().await;
}

/// Catches sessions of another SIM, and a page that leaves one out where two were read at the same moment.
#[tokio::test]
async fn sessions_of_a_sim_are_told_page_by_page() {
    let (database, api, key) = with_fleet().await;
    let writer = api.key(&["usage:write"]).await;
    let reading = |iccid: &str, session: &str, at: &str| {
        json!({"recordId": format!("{session} {at}"), "iccid": iccid, "periodStart": at, "periodEnd": at,
               "counters": {"sessionId": session, "uploadBytes": 5, "downloadBytes": 7}})
    };
    let (early, late) = ("2026-03-10T09:00:00Z", "2026-03-10T11:59:00Z");
    for (iccid, session, at) in [
        (PUMP, "vpn.1", early),
        (PUMP, "vpn.3", early),
        (PUMP, "vpn 2/ä", early),
        (PUMP, "hotspot", late),
        (TRUCK, "x", late),
    ] {
        assert_eq!(api.post_as(&writer, "/api/v1/usage", &reading(iccid, session, at)).await.status, 202);
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/sims/{PUMP}/sessions?limit=1&cursor={cursor}");
        let page = api.get_as(&key, &path).await.json();
        seen.extend(page["sessions"].as_array().expect("a list").iter().cloned());
        let Some(next) = page["nextCursor"].as_str() else { break };
        next.clone_into(&mut cursor);
    }
    let names: Vec<_> = seen.iter().filter_map(|session| session["sessionId"].as_str()).collect();
    assert_eq!(names, ["hotspot", "vpn.3", "vpn.1", "vpn 2/ä"]);
    let newest = json!({
        "sessionId": "hotspot", "status": "active", "dataUploadBytes": 5, "dataDownloadBytes": 7, "totalBytes": 12,
        "createdAt": seen[0]["createdAt"], "lastReadingAt": late, "expiresAt": "2026-03-10T12:29:00Z",
    });
    assert_eq!((&seen[0], &seen[1]["status"]), (&newest, &json!("expired")));
    assert_eq!(api.get_as(&key, "/api/v1/sims/8941999999999999999/sessions").await.status, 404);
    let wrong = api.get_as(&key, &format!("/api/v1/sims/{PUMP}/sessions?limit=501&cursor=!")).await;
    assert_eq!(wrong.status, 400);
    database.tenant("acme", "UTC").await;
    let other = api.key_of("acme", &["*"]).await;
    assert_eq!(api.get_as(&other, &format!("/api/v1/sims/{PUMP}/sessions")).await.status, 404);
    api.close().await;
}
