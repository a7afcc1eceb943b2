//! Answers are kept while nothing that they show changes, and leave out alike what waits for its roll-up.

use serde_json::{Value, json};

use super::{MB, NOW, READ, SALT_SIM, SUNRISE_SIM, record_in, two_carriers};
use crate::harness::api::TestApi;
use crate::harness::database::TestDatabase;
use crate::harness::pipeline::{TestPipeline, word};

/// Catches an answer from before a change: of usage, of the inventory, of the tenant.
#[tokio::test]
async fn every_change_is_seen_at_once() {
    let database = TestDatabase::new().await;
    two_carriers(&database).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(READ).await;
    let get = async |path: &str| api.get_as(&key, &format!("/api/consumption/{path}")).await.json();
    let bytes = async || get("kpis").await["data"]["dataUsage"]["value"].as_i64();
    let cached = async || get("unique-imsis").await["cached"].as_bool();
    assert_eq!((bytes().await, cached().await, cached().await), (Some(15 * MB), Some(false), Some(true)));

    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let record = record_in("late", "2026-03-02T10:00:00Z", MB, None);
    assert_eq!(word(&pipeline.one(SALT_SIM, record).await), "stored");
    database.roll_up().await;
    assert_eq!((bytes().await, cached().await, cached().await), (Some(16 * MB), Some(false), Some(true)));

    let status = async || get("carrier-locations").await["data"][0]["simStatus"].clone();
    assert_eq!(status().await, "Active");
    database
        .run(&format!("UPDATE provisioned_sims SET status = 'Suspended' WHERE iccid = '{SALT_SIM}'"))
        .await;
    assert_eq!(status().await, "Suspended");
    let name = async || get("carriers").await["data"][1]["name"].clone();
    assert_eq!(name().await, "Salt");
    database.run("UPDATE carriers SET name = 'Pepper' WHERE name = 'Salt'").await;
    assert_eq!(name().await, "Pepper");
    let first = async || get("trends?granularity=daily").await["data"][0]["start"].clone();
    assert_eq!(first().await, "2026-03-04T00:00:00Z");
    database.run("UPDATE tenants SET time_zone = 'Europe/Zurich' WHERE id = 1").await;
    assert_eq!(first().await, "2026-03-03T23:00:00Z");
    api.close().await;
}

/// Catches a view that shows records which no other panel shows yet.
#[tokio::test]
async fn what_waits_for_its_roll_up_is_left_out_everywhere() {
    let database = TestDatabase::new().await;
    two_carriers(&database).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(READ).await;
    // Nobody rolls up meanwhile.
    database.run("SELECT pg_advisory_lock(hashtext('simbridge.rollup'))").await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let record = record_in("new", "2026-03-10T10:30:00Z", MB, Some("22801"));
    assert_eq!(word(&pipeline.one(SALT_SIM, record).await), "stored");
    let range = format!("start_date=2026-03-10&end_date=2026-03-10&imsi={SALT_SIM}");
    let sum = async |path: &str| {
        let answer = api.get_as(&key, &format!("/api/consumption/{path}&{range}")).await.json();
        let rows = answer["data"].as_array().expect("rows").clone();
        rows.iter().filter_map(|row| row["bytes"].as_i64()).sum::<i64>()
    };
    let all = async || {
        let mut sums = Vec::new();
        for path in ["trends?granularity=hourly", "trends?granularity=daily", "carriers?", "usage-details?"] {
            sums.push(sum(path).await);
        }
        sums
    };
    assert_eq!(all().await, [3 * MB; 4]);
    database.run("SELECT pg_advisory_unlock(hashtext('simbridge.rollup'))").await;
    database.roll_up().await;
    assert_eq!(all().await, [4 * MB; 4]);
    api.close().await;
}

/// Catches zeros where there is nothing left to read.
#[tokio::test]
async fn hours_of_a_sim_are_refused_where_its_records_are_gone() {
    let database = TestDatabase::new().await;
    two_carriers(&database).await;
    database.run("UPDATE inventory_version SET raw_floor = '2026-03-01T00:00:00Z'").await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(READ).await;
    let of = |day: &str, filter: &str| {
        format!("/api/consumption/trends?granularity=hourly&start_date={day}&end_date={day}&{filter}")
    };
    let sim = format!("imsi={SUNRISE_SIM}");
    let answer = api.get_as(&key, &of("2026-02-28", &sim)).await;
    let told = "start_date: hours of single SIMs are kept from 2026-03-01T00:00:00Z on; ask by day";
    assert_eq!((answer.status, answer.json()), (400, json!({"success": false, "error": told})));
    assert_eq!(api.get_as(&key, &of("2026-03-01", &sim)).await.status, 200);
    let all: Value = api.get_as(&key, &of("2026-02-09", "mccmnc=")).await.json();
    assert_eq!(all["data"][11]["bytes"], 16 * MB, "the hours of all SIMs stay");
    api.close().await;
}
