//! What a SIM used hour by hour, day by day, month by month.

use serde_json::{Value, json};
use simbridge::domain::TenantId;
use simbridge::ingest::queue::{Sender, Via};

use crate::harness::api::TestApi;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, record_at, time, word};

const ICCID: &str = "8941000000000000009";
const NOW: &str = "2026-04-02T12:30:00Z";

/// A SIM of a tenant in a time zone, with these records, rolled up.
async fn used(zone: &str, records: &[(&str, i64)]) -> (TestDatabase, TenantId) {
    let database = TestDatabase::new().await;
    let tenant = database.tenant("acme", zone).await;
    database.store.import_sims(tenant, &[sim(ICCID)], time(NOW)).await.expect("an import");
    send(&database, tenant, "r", records).await;
    database.roll_up().await;
    (database, tenant)
}

async fn send(database: &TestDatabase, tenant: TenantId, prefix: &str, records: &[(&str, i64)]) {
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (n, (at, bytes)) in records.iter().enumerate() {
        let sender = Sender { tenant, may_correct: false, iccid: None, via: Via::Mqtt, name: "test".into() };
        let record = record_at(&format!("{prefix}{n}"), at, *bytes);
        assert_eq!(word(&pipeline.one_as(sender, ICCID, record).await), "stored");
    }
}

async fn start(database: &TestDatabase) -> (TestApi, String) {
    let api = TestApi::start_at(database, NOW).await;
    let key = api.key_of("acme", &["usage:read"]).await;
    (api, key)
}

async fn history(api: &TestApi, key: &str, query: &str) -> Value {
    let answer = api.get_as(key, &format!("/api/v1/sims/{ICCID}/usage/history?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    answer.json()
}

/// `period start end bytes` of each point.
fn lines(history: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let points = history["data"].as_array().expect("points").iter();
    points
        .map(|p| {
            format!("{} {} {} {}", text(&p["period"]), text(&p["start"]), text(&p["end"]), p["totalBytes"])
        })
        .collect()
}

#[tokio::test]
async fn days_are_those_of_the_tenants_zone_also_when_clocks_change() {
    let records = [
        ("2026-03-28T22:59:59Z", 1),     // 28 March, 23:59:59
        ("2026-03-28T23:00:00Z", 10),    // 29 March, 00:00
        ("2026-03-29T21:59:59Z", 100),   // 29 March, 23:59:59
        ("2026-03-29T22:00:00Z", 1_000), // 30 March, 00:00
    ];
    let (database, _) = used("Europe/Zurich", &records).await;
    let (api, key) = start(&database).await;
    let daily = history(&api, &key, "granularity=daily&start=2026-03-27&end=2026-03-30").await;
    assert_eq!(
        lines(&daily),
        [
            "2026-03-27 2026-03-26T23:00:00Z 2026-03-27T23:00:00Z 0",
            "2026-03-28 2026-03-27T23:00:00Z 2026-03-28T23:00:00Z 1",
            "2026-03-29 2026-03-28T23:00:00Z 2026-03-29T22:00:00Z 110",
            "2026-03-30 2026-03-29T22:00:00Z 2026-03-30T22:00:00Z 1000",
        ]
    );
    let hourly = history(&api, &key, "granularity=hourly&start=2026-03-29&end=2026-03-29").await;
    let hours = lines(&hourly);
    assert_eq!(hours.len(), 23, "{hours:?}");
    assert_eq!(hours[0], "2026-03-28T23:00:00Z 2026-03-28T23:00:00Z 2026-03-29T00:00:00Z 10");
    assert_eq!(hours[22], "2026-03-29T21:00:00Z 2026-03-29T21:00:00Z 2026-03-29T22:00:00Z 100");
    // A time that ends a range is the first moment left out.
    let query = "granularity=daily&start=2026-03-28T23:00:00%2B00:00&end=2026-03-30T00:00:00%2B02:00";
    assert_eq!(lines(&history(&api, &key, query).await), lines(&daily)[2..3]);
    api.close().await;
}

#[tokio::test]
async fn the_hour_that_clocks_go_back_makes_a_day_of_twenty_five() {
    let (database, _) =
        used("Europe/Zurich", &[("2025-10-26T00:30:00Z", 1), ("2025-10-26T01:30:00Z", 10)]).await;
    let (api, key) = start(&database).await;
    let hourly = history(&api, &key, "granularity=hourly&start=2025-10-26&end=2025-10-26").await;
    let hours = lines(&hourly);
    assert_eq!(hours.len(), 25);
    assert_eq!(
        hours[2..4],
        [
            "2025-10-26T00:00:00Z 2025-10-26T00:00:00Z 2025-10-26T01:00:00Z 1",
            "2025-10-26T01:00:00Z 2025-10-26T01:00:00Z 2025-10-26T02:00:00Z 10",
        ]
    );
    let daily = history(&api, &key, "start=2025-10-26&end=2025-10-26").await;
    assert_eq!(lines(&daily), ["2025-10-26 2025-10-25T22:00:00Z 2025-10-26T23:00:00Z 11"]);
    api.close().await;
}

#[tokio::test]
async fn months_count_the_days_that_were_asked_for() {
    let records = [
        ("2026-01-31T23:30:00Z", 1), // 1 February in Zürich
        ("2026-02-09T12:00:00Z", 10),
        ("2026-02-10T12:00:00Z", 100),
        ("2026-04-01T12:00:00Z", 1_000),
    ];
    let (database, _) = used("Europe/Zurich", &records).await;
    let (api, key) = start(&database).await;
    let whole = history(&api, &key, "granularity=monthly&start=2026-01-01&end=2026-04-30").await;
    let expected = [
        "2026-01-01 2025-12-31T23:00:00Z 2026-01-31T23:00:00Z 0",
        "2026-02-01 2026-01-31T23:00:00Z 2026-02-28T23:00:00Z 111",
        "2026-03-01 2026-02-28T23:00:00Z 2026-03-31T22:00:00Z 0",
        "2026-04-01 2026-03-31T22:00:00Z 2026-04-30T22:00:00Z 1000",
    ];
    assert_eq!(lines(&whole), expected);
    let part = history(&api, &key, "granularity=monthly&start=2026-02-10&end=2026-03-05").await;
    assert_eq!(
        lines(&part),
        [
            "2026-02-01 2026-02-09T23:00:00Z 2026-02-28T23:00:00Z 100",
            "2026-03-01 2026-02-28T23:00:00Z 2026-03-05T23:00:00Z 0",
        ]
    );
    api.close().await;
}

#[tokio::test]
async fn a_point_has_all_amounts_and_the_answer_says_what_it_is() {
    let (database, tenant) = used("UTC", &[]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let record = json!({"recordId": "a", "periodStart": "2026-04-02T11:00:00Z", "periodEnd": "2026-04-02T11:30:00Z",
        "usage": {"totalBytes": 7, "dataUploadBytes": 3, "dataDownloadBytes": 4, "smsCount": 2, "voiceSeconds": 60}});
    let sender = Sender { tenant, may_correct: false, iccid: None, via: Via::Mqtt, name: "test".into() };
    assert_eq!(word(&pipeline.one_as(sender, ICCID, record.to_string()).await), "stored");
    database.roll_up().await;
    let (api, key) = start(&database).await;
    let id = database.text("SELECT sim_id FROM provisioned_sims", &[]).await;
    let hourly =
        history(&api, &key, "granularity=hourly&start=2026-04-02T11:00:00Z&end=2026-04-02T12:00:00Z").await;
    let point = json!({"period": "2026-04-02T11:00:00Z", "start": "2026-04-02T11:00:00Z", "end": "2026-04-02T12:00:00Z",
        "dataUploadBytes": 3, "dataDownloadBytes": 4, "totalBytes": 7, "smsCount": 2, "voiceSeconds": 60});
    let expected =
        json!({"simId": id, "iccid": ICCID, "granularity": "hourly", "timeZone": "UTC", "data": [point]});
    assert_eq!(hourly, expected);
    for (query, points, last) in [
        ("granularity=hourly", 24, "2026-04-02T12:00:00Z"),
        ("", 30, "2026-04-02"),
        ("granularity=daily", 30, "2026-04-02"),
        ("granularity=monthly", 12, "2026-04-01"),
    ] {
        let history = history(&api, &key, query).await;
        let data = history["data"].as_array().expect("points");
        assert_eq!(
            (data.len(), data.last().expect("a point")["period"].as_str()),
            (points, Some(last)),
            "{query}"
        );
        let sum: i64 = data.iter().filter_map(|point| point["totalBytes"].as_i64()).sum();
        assert_eq!(sum, 7, "{query}");
    }
    api.close().await;
}

/// Catches hours that count records which days do not count yet.
#[tokio::test]
async fn hours_and_days_show_what_is_rolled_up_and_no_more() {
    let (database, tenant) = used("UTC", &[("2026-03-20T10:00:00Z", 1)]).await;
    let (api, key) = start(&database).await;
    // Nobody else rolls up meanwhile.
    let holder = crate::harness::server::connect(&database.another_config()).await;
    holder
        .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(hashtext('simbridge.rollup'))")
        .await
        .expect("the lock");
    send(&database, tenant, "late", &[("2026-03-20T10:30:00Z", 10)]).await;
    let ranges = ["granularity=hourly&start=2026-03-20&end=2026-03-20", "start=2026-03-20&end=2026-03-20"];
    let sums = async || {
        let mut sums = Vec::new();
        for range in ranges {
            let history = history(&api, &key, range).await;
            let points = history["data"].as_array().expect("points").iter();
            sums.push(points.filter_map(|point| point["totalBytes"].as_i64()).sum::<i64>());
        }
        sums
    };
    assert_eq!(sums().await, [1, 1]);
    holder.batch_execute("ROLLBACK").await.expect("the lock is given back");
    database.roll_up().await;
    assert_eq!(sums().await, [11, 11]);
    api.close().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_range_is_told() {
    let (database, _) = used("UTC", &[]).await;
    database.run("UPDATE inventory_version SET raw_floor = '2026-02-01T00:00:00Z'").await;
    let (api, key) = start(&database).await;
    let edge = "must be a date such as 2026-11-21, or a time such as 2026-11-21T12:00:00Z, from 2000 to 2199";
    for (query, details) in [
        (
            "granularity=weekly&start=x&end=2026-02-30",
            json!([
            {"field": "granularity", "message": "must be one of hourly, daily, monthly"},
            {"field": "start", "message": edge}, {"field": "end", "message": edge}]),
        ),
        (
            "start=1999-12-31&end=2026-01-01T00:00:00",
            json!([
            {"field": "start", "message": edge}, {"field": "end", "message": edge}]),
        ),
        ("start=2026-03-02&end=2026-03-01", json!([{"field": "end", "message": "must not be before start"}])),
        (
            "start=2026-03-01T00:00:00Z&end=2026-03-01T00:00:00Z&granularity=hourly",
            json!([{"field": "end", "message": "must not be before start"}]),
        ),
        (
            "start=2025-01-01&end=2026-02-05",
            json!([{"field": "start", "message": "the range has 401 days, and at most 400 are answered"}]),
        ),
        (
            "granularity=hourly&start=2026-03-01&end=2026-04-01",
            json!([{"field": "start", "message": "the range has 768 hours, and at most 744 are answered"}]),
        ),
        (
            "granularity=monthly&start=2000-01-01&end=2199-12-31",
            json!([{"field": "start", "message": "the range has 2400 months, and at most 60 are answered"}]),
        ),
        (
            "granularity=hourly&start=2026-01-31&end=2026-02-01",
            json!([{"field": "start", "message": "hours are kept from 2026-02-01T00:00:00Z on; ask for days"}]),
        ),
    ] {
        let answer = api.get_as(&key, &format!("/api/v1/sims/{ICCID}/usage/history?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text);
        assert_eq!(answer.json()["error"]["details"], details, "{query}");
    }
    let reader = api.key_of("acme", &["sims:read"]).await;
    for path in ["usage", "usage/history", "usage/records"] {
        assert_eq!(api.get_as(&reader, &format!("/api/v1/sims/{ICCID}/{path}")).await.status, 403, "{path}");
        assert_eq!(api.get(&format!("/api/v1/sims/{ICCID}/{path}")).await.status, 401, "{path}");
        let unknown = api.get_as(&key, &format!("/api/v1/sims/8941000000000000000/{path}")).await;
        assert_eq!(
            (unknown.status, &unknown.json()["error"]["code"]),
            (404, &json!("SIM_NOT_FOUND")),
            "{path}"
        );
    }
    api.close().await;
}
