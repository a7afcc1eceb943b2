//! Hours, days, weeks and months against SQL over the raw records, around the changes of the clocks of 2026.

use serde_json::Value;

use super::{MB, READ, SALT_SIM, SUNRISE_SIM, on_plan, record_in};
use crate::harness::api::TestApi;
use crate::harness::database::TestDatabase;
use crate::harness::pipeline::{TestPipeline, time, words};

const NOW: &str = "2026-11-05T12:00:00Z";
const OTHER: &str = "8941000000000000003";

/// Three SIMs of two carriers on one price, and a record every 40 minutes from the 26th to the 31st of March and from the
/// 22nd to the 27th of October, of another SIM, network and size each time.
async fn around_the_changes(zone: &str) -> TestDatabase {
    let database = TestDatabase::new().await;
    // Whatever day or hour is the server's, it is none of ours.
    database.run(&format!("ALTER DATABASE {} SET TimeZone = 'Asia/Kathmandu'", database.name)).await;
    database.run(&format!("UPDATE tenants SET time_zone = '{zone}' WHERE id = 1")).await;
    database.move_zones().await;
    let sims = [(SALT_SIM, "Salt"), (SUNRISE_SIM, "Sunrise"), (OTHER, "Salt")];
    let rows = sims.map(|(iccid, carrier)| on_plan(iccid, carrier, "22803", "flat", "0.5", 0));
    database.import_at("2026-01-01T00:00:00Z", &rows).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for first in ["2026-03-26T00:10:00Z", "2026-10-22T00:10:00Z"] {
        for (turn, iccid) in [SALT_SIM, SUNRISE_SIM, OTHER].into_iter().enumerate() {
            let record = |n: usize| {
                let at = (time(first) + chrono::TimeDelta::minutes(40 * n as i64)).to_rfc3339();
                let network = [Some("22801"), Some("22802"), None][n % 5 % 3];
                record_in(&format!("{first}-{n}"), &at, (n as i64 % 37 + 1) * MB / 4, network)
            };
            // SIM after SIM pauses for some hours, so that distinct SIMs differ from hour to hour.
            let chosen = (0..216).filter(|n| n % 3 == turn || n / 20 % 3 == turn);
            let records: Vec<String> = chosen.map(record).collect();
            let receipt = pipeline.decide(Some(iccid), format!("[{}]", records.join(","))).await;
            assert_eq!(words(&receipt), vec!["stored"; records.len()]);
        }
    }
    database.roll_up().await;
    database
}

/// What raw records say: label, bytes, cost and SIMs of each period with usage.
async fn expected(
    database: &TestDatabase,
    zone: &str,
    label: &str,
    days: (&str, &str),
    filter: &str,
) -> Vec<String> {
    database
        .rows(&format!(
            "SELECT {label}, sum(total_bytes), (sum(total_bytes) * 0.5 / 1048576)::float8, count(DISTINCT iccid)
             FROM (SELECT r.*, r.period_start AT TIME ZONE '{zone}' AS local FROM usage_records r) AS r
             WHERE local >= '{}' AND local < date '{}' + 1 AND {filter} GROUP BY 1 ORDER BY min(period_start)",
            days.0, days.1
        ))
        .await
}

/// The same of an answer, and how many points it has in all.
fn shown(answer: &Value, by_start: bool) -> (Vec<String>, usize) {
    let points = answer["data"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let with_usage = points.iter().filter(|point| point["simCount"] != 0);
    let line = |point: &Value| {
        let label = if by_start { &point["start"] } else { &point["period"] };
        let cost = point["cost"].as_f64().expect("a cost");
        format!("{}|{}|{cost}|{}", label.as_str().expect("text"), point["bytes"], point["simCount"])
    };
    for point in points {
        assert_eq!(point["simCount"] == 0, point["bytes"] == 0, "{point}");
    }
    (with_usage.map(line).collect(), points.len())
}

/// Catches days of 24 hours, hours that are cut at the wrong midnight, weeks of the wrong year, and labels in a local zone.
async fn charts_equal_raw_records(zone: &str, march_hours: usize, october_hours: usize) {
    let database = around_the_changes(zone).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(READ).await;
    let hour = r#"to_char(period_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:00:00"Z"')"#;
    let month = r#"to_char(local, 'YYYY-MM-"01"')"#;
    let cases = [
        ("hourly", hour, true, ("2026-03-28", "2026-03-30"), march_hours),
        ("24h", hour, true, ("2026-10-24", "2026-10-26"), october_hours),
        ("daily", "to_char(local, 'YYYY-MM-DD')", false, ("2026-03-28", "2026-03-30"), 3),
        ("daily", "to_char(local, 'YYYY-MM-DD')", false, ("2026-10-20", "2026-10-26"), 7),
        ("weekly", r#"to_char(local, 'IYYY-"W"IW')"#, false, ("2026-03-25", "2026-10-25"), 31),
        ("monthly", month, false, ("2026-03-29", "2026-10-25"), 8),
    ];
    let filters = [
        (String::new(), "true".to_owned()),
        ("&mccmnc=22801&mccmnc=22802".into(), "mccmnc IN ('22801', '22802')".into()),
        (format!("&imsi={OTHER}&imsi={SALT_SIM}"), format!("iccid IN ('{OTHER}', '{SALT_SIM}')")),
        (format!("&imsi={SALT_SIM}&mccmnc=22802"), format!("iccid = '{SALT_SIM}' AND mccmnc = '22802'")),
    ];
    for (granularity, label, by_start, days, points) in cases {
        for (query, condition) in &filters {
            let path = format!(
                "/api/consumption/trends?granularity={granularity}&start_date={}&end_date={}{query}",
                days.0, days.1
            );
            let answer = api.get_as(&key, &path).await.json();
            let expected = expected(&database, zone, label, days, condition).await;
            assert!(!expected.is_empty());
            assert_eq!(shown(&answer, by_start), (expected, points), "{zone} {path}");
        }
    }
    api.close().await;
}

#[tokio::test]
async fn charts_in_utc_equal_sql_over_raw_records() {
    charts_equal_raw_records("UTC", 72, 72).await;
}

#[tokio::test]
async fn charts_in_zurich_equal_sql_over_raw_records() {
    charts_equal_raw_records("Europe/Zurich", 71, 73).await;
}

/// Catches days that begin with the hour in India.
#[tokio::test]
async fn days_of_a_zone_of_half_hours_begin_at_its_midnight() {
    let zone = "Asia/Kolkata";
    let database = around_the_changes(zone).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(READ).await;
    let range = "start_date=2026-03-28&end_date=2026-03-30";
    let get = async |granularity: &str| {
        let path = format!("/api/consumption/trends?granularity={granularity}&{range}");
        api.get_as(&key, &path).await.json()
    };
    let days =
        expected(&database, zone, "to_char(local, 'YYYY-MM-DD')", ("2026-03-28", "2026-03-30"), "true").await;
    let daily = get("daily").await;
    assert_eq!(shown(&daily, false), (days, 3));
    assert_eq!(daily["data"][0]["start"], "2026-03-27T18:30:00Z");
    let hourly = get("hourly").await;
    let hours = hourly["data"].as_array().expect("points");
    assert_eq!(
        (hours.len(), &hours[0]["start"]),
        (73, &Value::from("2026-03-27T18:00:00Z")),
        "whole hours at both ends"
    );
    api.close().await;
}

/// Catches the year of the Monday: the first week of 2025 began in 2024.
#[tokio::test]
async fn weeks_are_named_by_the_year_that_most_of_their_days_are_in() {
    let database = TestDatabase::new().await;
    let api = TestApi::start_at(&database, "2025-01-02T12:00:00Z").await;
    let key = api.key(READ).await;
    let answer = api.get_as(&key, "/api/consumption/trends?granularity=weekly").await.json();
    let periods: Vec<&str> =
        answer["data"].as_array().expect("points").iter().filter_map(|p| p["period"].as_str()).collect();
    assert_eq!(periods, ["2024-W49", "2024-W50", "2024-W51", "2024-W52", "2025-W01"]);
    api.close().await;
}
