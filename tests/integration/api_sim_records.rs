//! Raw records of a SIM, page by page.

use serde_json::{Value, json};

use crate::harness::api::TestApi;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, correction_at, record_at, sender, time, word};

const ICCID: &str = "8941000000000000009";
const NOW: &str = "2026-03-10T12:00:00Z";

async fn fleet() -> (TestDatabase, TestPipeline, TestApi, String) {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["usage:read"]).await;
    (database, pipeline, api, key)
}

async fn store(pipeline: &TestPipeline, id: &str, at: &str) {
    assert_eq!(word(&pipeline.one(ICCID, record_at(id, at, 1)).await), "stored");
}

async fn page(api: &TestApi, key: &str, query: &str) -> Value {
    let answer = api.get_as(key, &format!("/api/v1/sims/{ICCID}/usage/records?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

fn ids(page: &Value) -> Vec<&str> {
    let records = page["records"].as_array().expect("records").iter();
    records.map(|record| record["recordId"].as_str().expect("text")).collect()
}

#[tokio::test]
async fn a_record_is_shown_as_it_was_sent_with_what_became_of_it() {
    let (database, pipeline, api, key) = fleet().await;
    let sent = json!({"recordId": "a", "periodStart": "2026-03-02T00:00:00Z", "periodEnd": "2026-03-02T01:00:00.5Z",
        "usage": {"totalBytes": 8, "dataUploadBytes": 3, "dataDownloadBytes": 4, "smsCount": 2, "voiceSeconds": 60},
        "source": "gateway", "mccmnc": "22801"});
    assert_eq!(word(&pipeline.one(ICCID, sent.to_string()).await), "stored");
    let correction = correction_at("b", "a", "2026-03-02T00:00:00Z", -5);
    assert_eq!(word(&pipeline.one_as(sender(true), ICCID, correction).await), "stored");
    let id = database.text("SELECT sim_id FROM provisioned_sims", &[]).await;
    let mut body = page(&api, &key, "").await;
    for record in body["records"].as_array_mut().expect("records") {
        let processed = record.as_object_mut().expect("a record").remove("processedAt").expect("it is told");
        assert!(time(processed.as_str().expect("text")) <= crate::harness::database::now());
    }
    let expected = json!({"simId": id, "iccid": ICCID, "nextCursor": null, "records": [
        {"recordId": "b", "periodStart": "2026-03-02T00:00:00Z", "periodEnd": "2026-03-02T00:00:00Z",
         "usage": {"totalBytes": -5, "dataUploadBytes": 0, "dataDownloadBytes": 0, "smsCount": 0, "voiceSeconds": 0},
         "source": null, "mccmnc": null, "corrects": "a", "batchId": null, "billingCycleId": "2026-03", "status": "PROCESSED"},
        {"recordId": "a", "periodStart": "2026-03-02T00:00:00Z", "periodEnd": "2026-03-02T01:00:00.500Z",
         "usage": {"totalBytes": 8, "dataUploadBytes": 3, "dataDownloadBytes": 4, "smsCount": 2, "voiceSeconds": 60},
         "source": "gateway", "mccmnc": "22801", "corrects": null, "batchId": null, "billingCycleId": "2026-03", "status": "PROCESSED"},
    ]});
    assert_eq!(body, expected);
    api.close().await;
}

/// Catches pages by offset: what comes in between would move records from one page to the next.
#[tokio::test]
async fn pages_neither_repeat_nor_skip_while_records_come_in() {
    let (_database, pipeline, api, key) = fleet().await;
    for (id, at) in [
        ("a", "2026-01-31T23:59:59Z"),
        ("b", "2026-02-01T00:00:00Z"),
        ("c", "2026-03-01T00:00:00Z"),
        // Of one moment.
        ("d", "2026-03-05T00:00:00Z"),
        ("e", "2026-03-05T00:00:00Z"),
        ("f", "2026-03-05T00:00:00Z"),
    ] {
        store(&pipeline, id, at).await;
    }
    let first = page(&api, &key, "limit=2").await;
    assert_eq!(ids(&first), ["f", "e"]);
    // Newer ones, and one of the moment at which the page ends.
    store(&pipeline, "x", "2026-03-09T00:00:00Z").await;
    store(&pipeline, "y", "2026-03-05T00:00:00Z").await;
    let (mut seen, mut cursor) = (Vec::new(), first["nextCursor"].clone());
    while let Some(next) = cursor.as_str() {
        let page = page(&api, &key, &format!("limit=2&cursor={next}")).await;
        seen.extend(ids(&page).iter().map(|id| (*id).to_owned()));
        cursor = page["nextCursor"].clone();
    }
    assert_eq!(seen, ["d", "c", "b", "a"]);
    api.close().await;
}

#[tokio::test]
async fn a_cursor_of_elsewhere_is_refused() {
    let (_database, _pipeline, api, key) = fleet().await;
    for query in ["cursor=x", "cursor=OA", "cursor=%00&limit=0"] {
        let answer = api.get_as(&key, &format!("/api/v1/sims/{ICCID}/usage/records?{query}")).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (400, &json!("VALIDATION_ERROR")),
            "{query}"
        );
    }
    let answer = api.get_as(&key, &format!("/api/v1/sims/{ICCID}/usage/records?cursor=x&limit=1001")).await;
    let details = json!([
        {"field": "limit", "message": "must be a whole number from 1 to 1000"},
        {"field": "cursor", "message": "must be the nextCursor of the page before"},
    ]);
    assert_eq!(answer.json()["error"]["details"], details);
    api.close().await;
}

/// Catches a page that costs as much as all records of the SIM, or of all SIMs.
#[tokio::test]
async fn a_page_goes_by_the_primary_key_alone() {
    let (database, _pipeline, api, _key) = fleet().await;
    database
        .run(
            "INSERT INTO usage_records (write_id, period_start, period_end, key_tenant_id, tenant_id, iccid, record_id, total_bytes)
             SELECT 1, at, at, 1, 1, (8941000000000000000 + n % 50)::text, n::text, 1
             FROM generate_series(1, 50000) n, LATERAL (SELECT timestamptz '2026-02-01Z' + n * interval '1 minute' AS at) t;
             ANALYZE usage_records",
        )
        .await;
    let sql = include_str!("../../src/store/sql/sim_usage_records.sql");
    database.run(&format!("PREPARE page (int, text, timestamptz, bigint, bigint) AS {sql}")).await;
    for mode in ["force_generic_plan", "force_custom_plan"] {
        database.run(&format!("SET plan_cache_mode = {mode}")).await;
        let execute = format!(
            "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE page (1, '{ICCID}', '2026-03-03Z', 40000, 101)"
        );
        let plan = database.rows(&execute).await.join("\n");
        assert!(
            !plan.contains("Seq Scan") && !plan.contains("Sort") && plan.contains("Index Scan Backward"),
            "{plan}"
        );
        // Of a thousand records of the SIM no more are read than are shown.
        let read = plan.lines().filter(|line| line.contains("Index Scan")).all(|line| {
            let rows = line.split("actual rows=").nth(1).and_then(|rest| rest.split(['.', ' ']).next());
            rows.is_none_or(|rows| rows.parse::<u32>().expect("a number") <= 101)
        });
        assert!(read, "{plan}");
    }
    api.close().await;
}
