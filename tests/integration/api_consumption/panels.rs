//! Exact bodies.

use serde_json::{Value, json};

use super::{MB, NOW, READ, SALT_SIM, SUNRISE_SIM, two_carriers};
use crate::harness::api::TestApi;
use crate::harness::database::TestDatabase;

async fn asked(paths: &[&str]) -> Vec<Value> {
    let database = TestDatabase::new().await;
    two_carriers(&database).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(READ).await;
    let mut answers = Vec::new();
    for path in paths {
        let answer = api.get_as(&key, &format!("/api/consumption/{path}")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{path}");
        answers.push(answer.json());
    }
    api.close().await;
    answers
}

#[tokio::test]
async fn figures_compare_with_the_days_before_and_project_the_cost() {
    let answers =
        asked(&["kpis", "kpis?start_date=2026-03-10&end_date=2026-03-10", "kpis?imsi=1234567890"]).await;
    let money = |value: f64, trend: f64| json!({"value": value, "trend": trend, "currency": "CHF"});
    // The 31 days of March at 11.5 in 10 days: 35.65, against the 14 of the 31 days before.
    assert_eq!(
        answers[0],
        json!({"success": true, "data": {
            "totalSpend": money(11.5, 0.0),
            "dataUsage": {"value": 15 * MB, "valueGB": 0.015, "trend": 0.0},
            "activeSims": {"value": 2, "trend": 0.0},
            "avgDataPerSim": {"value": 7_864_320, "valueGB": 0.007, "trend": 0.0},
            "estimatedCost": money(35.65, 154.6),
        }, "period": {"start": "2026-03-01", "end": "2026-03-10"}})
    );
    // Against the 8 MB of one SIM for 6 the day before; the day counts as over.
    assert_eq!(
        answers[1],
        json!({"success": true, "data": {
            "totalSpend": money(5.5, -8.3),
            "dataUsage": {"value": 7 * MB, "valueGB": 0.007, "trend": -12.5},
            "activeSims": {"value": 2, "trend": 100.0},
            "avgDataPerSim": {"value": 3_670_016, "valueGB": 0.003, "trend": -56.3},
            "estimatedCost": money(5.5, -8.3),
        }, "period": {"start": "2026-03-10", "end": "2026-03-10"}})
    );
    assert_eq!(
        answers[2],
        json!({"success": true, "data": {
            "totalSpend": money(0.0, 0.0),
            "dataUsage": {"value": 0, "valueGB": 0.0, "trend": 0.0},
            "activeSims": {"value": 0, "trend": 0.0},
            "avgDataPerSim": {"value": 0, "valueGB": 0.0, "trend": 0.0},
            "estimatedCost": money(0.0, 0.0),
        }, "period": {"start": "2026-03-01", "end": "2026-03-10"}})
    );
}

/// Megabytes, cost and SIMs of each point; what is derived from them is checked here.
fn points(answer: &Value, granularity: &str) -> Vec<(String, i64, f64, i64)> {
    assert_eq!(
        (&answer["success"], &answer["granularity"], &answer["currency"]),
        (&json!(true), &json!(granularity), &json!("CHF"))
    );
    let points = answer["data"].as_array().expect("points");
    let point = |point: &Value| {
        let bytes = point["bytes"].as_i64().expect("bytes");
        let gigabytes = point["dataUsageGB"].as_f64().expect("GB");
        assert!((gigabytes - bytes as f64 / f64::from(1 << 30)).abs() < 1e-9, "{point}");
        assert_eq!(point.as_object().map(serde_json::Map::len), Some(7), "{point}");
        let period = point["period"].as_str().expect("a period").to_owned();
        (
            period,
            bytes / MB,
            point["cost"].as_f64().expect("a cost"),
            point["simCount"].as_i64().expect("SIMs"),
        )
    };
    points.iter().map(point).collect()
}

#[tokio::test]
async fn charts_end_with_the_current_period_and_have_no_gaps() {
    let answers =
        asked(&["trends", "trends?granularity=weekly", "trends?granularity=daily", "trends?granularity=24h"])
            .await;
    let zero = |period: &str| (period.to_owned(), 0, 0.0, 0);
    assert_eq!(
        points(&answers[0], "monthly"),
        [
            zero("2025-10-01"),
            zero("2025-11-01"),
            zero("2025-12-01"),
            zero("2026-01-01"),
            ("2026-02-01".into(), 16, 14.0, 1),
            ("2026-03-01".into(), 15, 11.5, 2),
        ]
    );
    assert_eq!(
        points(&answers[1], "weekly"),
        [
            ("2026-W07".to_owned(), 16, 14.0, 1),
            zero("2026-W08"),
            zero("2026-W09"),
            zero("2026-W10"),
            ("2026-W11".into(), 15, 11.5, 2),
        ]
    );
    let days = points(&answers[2], "daily");
    assert_eq!((days.len(), days[0].0.as_str()), (7, "2026-03-04"));
    assert_eq!(days[5..], [("2026-03-09".to_owned(), 8, 6.0, 1), ("2026-03-10".into(), 7, 5.5, 2)]);
    assert_eq!(
        answers[2]["data"][6],
        json!({"period": "2026-03-10", "start": "2026-03-10T00:00:00Z", "end": "2026-03-11T00:00:00Z",
               "bytes": 7 * MB, "dataUsageGB": 0.006_835_938, "cost": 5.5, "simCount": 2})
    );
    let hours = points(&answers[3], "24h");
    assert_eq!((hours.len(), hours[0].0.as_str(), hours[23].0.as_str()), (24, "13:00", "12:00"));
    // Of the day's 4 for 4 MB in 22801, and 0.5 and 1 of the other SIM.
    assert_eq!(hours[21..23], [("10:00".to_owned(), 1, 0.5, 1), ("11:00".into(), 6, 5.0, 2)]);
    assert_eq!(hours.iter().map(|hour| hour.1).sum::<i64>(), 7);
}

/// Catches periods that are not cut to the range, and hours that are cut to the server's day.
#[tokio::test]
async fn a_chart_of_given_days_holds_these_days_only() {
    let range = "start_date=2026-02-20&end_date=2026-03-09";
    let answers = asked(&[
        &format!("trends?{range}"),
        &format!("trends?{range}&granularity=weekly&mccmnc=22801"),
        "trends?start_date=2026-03-10&end_date=2026-03-10&granularity=hourly&imsi=8941000000000000001&mccmnc=22802",
    ])
    .await;
    assert_eq!(
        points(&answers[0], "monthly"),
        [("2026-02-01".to_owned(), 0, 0.0, 0), ("2026-03-01".into(), 8, 6.0, 1)]
    );
    assert_eq!(
        (&answers[0]["data"][0]["start"], &answers[0]["data"][1]["end"]),
        (&json!("2026-02-20T00:00:00Z"), &json!("2026-03-10T00:00:00Z"))
    );
    let weeks = points(&answers[1], "weekly");
    assert_eq!((weeks.len(), &weeks[3]), (4, &("2026-W11".to_owned(), 8, 6.0, 1)));
    let hours = points(&answers[2], "hourly");
    assert_eq!((hours.len(), &hours[11]), (24, &("11:00".to_owned(), 2, 1.0, 1)));
    assert_eq!(hours.iter().map(|hour| hour.1).sum::<i64>(), 2);
}

#[tokio::test]
async fn carriers_and_places_show_who_used_what_where() {
    let answers = asked(&[
        "carriers",
        "carrier-locations",
        "regional",
        "carriers?mccmnc=22802",
        "carrier-locations?mccmnc=22802",
    ])
    .await;
    let salt = json!({"id": 1, "name": "Salt", "mccmnc": "22803", "simCount": 1, "simPercentage": 50.0, "bytes": 3 * MB,
        "dataUsageGB": 0.002_929_688, "cost": 1.5, "costPercentage": 13.04, "dataPercentage": 20.0, "percentage": 20.0});
    let sunrise = json!({"id": 2, "name": "Sunrise", "mccmnc": "22802", "simCount": 1, "simPercentage": 50.0, "bytes": 12 * MB,
        "dataUsageGB": 0.011_718_75, "cost": 10.0, "costPercentage": 86.96, "dataPercentage": 80.0, "percentage": 80.0});
    assert_eq!(answers[0], json!({"success": true, "currency": "CHF", "data": [sunrise, salt]}));
    let place = |at: &Value, name: &str, carrier: &str, iccid: &str| {
        let id = at["id"].as_str().expect("an id");
        assert!(id.starts_with("sim_"), "{id}");
        let (latitude, longitude) = if carrier == "Salt" { (47.3769, 8.5417) } else { (46.9481, 7.4474) };
        json!({"id": id, "name": name, "latitude": latitude, "longitude": longitude, "carrier": carrier, "iccid": iccid,
               "simStatus": "Active"})
    };
    let places = &answers[1]["data"];
    let gate = place(&places[0], "Gate 4", "Salt", SALT_SIM);
    let bern = place(&places[1], SUNRISE_SIM, "Sunrise", SUNRISE_SIM);
    assert_eq!(answers[1], json!({"success": true, "truncated": false, "data": [gate, bern]}));
    assert_eq!(answers[4], json!({"success": true, "truncated": false, "data": [gate]}));
    let region = |at: &Value, name: &str, latitude: f64, longitude: f64, megabytes: i64, gigabytes: f64| {
        json!({"id": at["id"], "name": name, "latitude": latitude, "longitude": longitude, "bytes": megabytes * MB,
               "dataUsageMB": megabytes as f64, "dataUsageGB": gigabytes, "deviceCount": 1, "locationName": name})
    };
    let regions = &answers[2]["data"];
    assert_eq!(
        answers[2],
        json!({"success": true, "truncated": false, "data": [
            region(&regions[0], "46.95, 7.45", 46.9481, 7.4474, 12, 0.011_718_75),
            region(&regions[1], "Zurich", 47.3769, 8.5417, 3, 0.002_929_688),
        ]})
    );
    let whole = json!({"id": 1, "name": "Salt", "mccmnc": "22803", "simCount": 1, "simPercentage": 100.0, "bytes": 2 * MB,
        "dataUsageGB": 0.001_953_125, "cost": 1.0, "costPercentage": 100.0, "dataPercentage": 100.0, "percentage": 100.0});
    assert_eq!(answers[3], json!({"success": true, "currency": "CHF", "data": [whole]}));
}

#[tokio::test]
async fn details_have_one_row_for_each_sim_network_and_period() {
    let range = "usage-details?start_date=2026-02-01&end_date=2026-03-10";
    let answers = asked(&[
        range,
        &format!("{range}&granularity=monthly"),
        &format!("{range}&granularity=weekly&imsi={SUNRISE_SIM}"),
        &format!("{range}&granularity=24h&limit=2&offset=1"),
        "unique-imsis",
        "unique-imsis",
        "unique-imsis?limit=1",
    ])
    .await;
    let row = |imsi: &str, network: &str, megabytes: i64, period: (&str, &str), at: &str| json!({"imsi": imsi, "mccmnc": network, "bytes": megabytes * MB, period.0: period.1, "latestEventAt": at});
    let days = [
        row(SUNRISE_SIM, "", 16, ("day", "2026-02-09"), "2026-02-09T11:30:00Z"),
        row(SUNRISE_SIM, "22801", 8, ("day", "2026-03-09"), "2026-03-09T11:30:00Z"),
        row(SALT_SIM, "22801", 1, ("day", "2026-03-10"), "2026-03-10T10:00:00Z"),
        row(SUNRISE_SIM, "22801", 4, ("day", "2026-03-10"), "2026-03-10T11:30:00Z"),
        row(SALT_SIM, "22802", 2, ("day", "2026-03-10"), "2026-03-10T11:00:00Z"),
    ];
    assert_eq!(answers[0], json!({"success": true, "truncated": false, "data": days}));
    assert_eq!(
        answers[1]["data"],
        json!([
            row(SUNRISE_SIM, "", 16, ("month", "2026-02"), "2026-02-09T11:30:00Z"),
            row(SALT_SIM, "22801", 1, ("month", "2026-03"), "2026-03-10T10:00:00Z"),
            row(SUNRISE_SIM, "22801", 12, ("month", "2026-03"), "2026-03-10T11:30:00Z"),
            row(SALT_SIM, "22802", 2, ("month", "2026-03"), "2026-03-10T11:00:00Z"),
        ])
    );
    assert_eq!(
        answers[2]["data"],
        json!([
            row(SUNRISE_SIM, "", 16, ("day", "2026-02-09"), "2026-02-09T11:30:00Z"),
            row(SUNRISE_SIM, "22801", 12, ("day", "2026-03-09"), "2026-03-10T11:30:00Z"),
        ])
    );
    assert_eq!(answers[3], json!({"success": true, "truncated": true, "data": days[1..3]}));
    let sims = json!([{"imsi": SALT_SIM}, {"imsi": SUNRISE_SIM}]);
    let list = |cached: bool| json!({"success": true, "cached": cached, "data": sims, "truncated": false});
    assert_eq!(answers[4..6], [list(false), list(true)]);
    assert_eq!(
        answers[6],
        json!({"success": true, "cached": false, "data": [{"imsi": SALT_SIM}], "truncated": true})
    );
}
