//! What pools use, against the records themselves: in odd zones and short months, through joins, leaves, corrections, moves of
//! zones and rebuilds.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::api::TestApi;
use crate::harness::database::{TENANT, TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, correction_at, record_at, sender, time, word, words};

pub(crate) const FIRST: &str = "8941000000000000001";
pub(crate) const SECOND: &str = "8941000000000000002";
pub(crate) const THIRD: &str = "8941000000000000003";

/// A program to which it is always `at`, with a key that may do everything with SIMs.
pub(crate) async fn api_at(database: &TestDatabase, at: &str) -> (TestApi, String) {
    let api = TestApi::start_at(database, at).await;
    let key = api.key(&["sims:*", "usage:read", "admin:alerts"]).await;
    (api, key)
}

/// A new pool; returns its path.
pub(crate) async fn make(api: &TestApi, key: &str, name: &str, limit: i64, day: i64) -> String {
    let body = json!({"name": name, "limitBytes": limit, "cycleDay": day});
    let made = api.post_as(key, "/api/v1/pools", &body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.header("location").expect("a path").to_owned()
}

pub(crate) async fn join(api: &TestApi, key: &str, pool: &str, members: Value) {
    let joined = api.post_as(key, &format!("{pool}/members"), &json!({"members": members})).await;
    assert_eq!(joined.status, 200, "{}", joined.text);
}

async fn leave(api: &TestApi, key: &str, pool: &str, iccid: &str) {
    let gone = api.send_as(key, Method::DELETE, &format!("{pool}/members/{iccid}"), &json!({})).await;
    assert_eq!(gone.status, 204, "{}", gone.text);
}

pub(crate) async fn used(api: &TestApi, key: &str, pool: &str, period: &str) -> i64 {
    let answer = api.get_as(key, &format!("{pool}?period={period}")).await.json();
    let days = answer["days"].as_array().expect("days");
    let sum: i64 = days.iter().map(|day| day["usedBytes"].as_i64().expect("a number")).sum();
    let used = answer["usage"]["usedBytes"].as_i64().expect("a number");
    assert_eq!(sum, used, "the days add up");
    let members = api.get_as(key, &format!("{pool}/members?period={period}&limit=200")).await.json();
    let members = members["members"].as_array().expect("members");
    let sum: i64 = members.iter().map(|member| member["usedBytes"].as_i64().expect("a number")).sum();
    assert_eq!(sum, used, "the members add up");
    used
}

/// Stores one record an hour of `iccid`, from `first` on, with 1, 2, 3 … bytes.
async fn hours(pipeline: &TestPipeline, iccid: &str, first: &str, count: i64) {
    let records: Vec<String> = (0..count)
        .map(|n| {
            let at = (time(first) + chrono::TimeDelta::hours(n)).to_rfc3339();
            record_at(&format!("{first}-{n}"), &at, n + 1)
        })
        .collect();
    let receipt = pipeline.decide(Some(iccid), format!("[{}]", records.join(","))).await;
    assert_eq!(words(&receipt), vec!["stored"; records.len()]);
}

/// What the records of a SIM add up to on local days from one and before another.
async fn raw(database: &TestDatabase, iccid: &str, (from, before): (&str, &str)) -> i64 {
    let sql = format!(
        "SELECT coalesce(sum(r.total_bytes), 0) FROM usage_records r JOIN tenants t ON t.id = r.tenant_id
         WHERE r.iccid = '{iccid}' AND (r.period_start AT TIME ZONE t.time_zone)::date >= '{from}'
           AND (r.period_start AT TIME ZONE t.time_zone)::date < '{before}'"
    );
    database.number(&sql).await
}

async fn in_zone(zone: &str) -> TestDatabase {
    let database = TestDatabase::new().await;
    database.run(&format!("ALTER DATABASE {} SET TimeZone = 'Asia/Kolkata'", database.name)).await;
    database.run(&format!("UPDATE tenants SET time_zone = '{zone}' WHERE id = 1")).await;
    database.move_zones().await;
    database.import_at("2026-01-15T12:00:00Z", &[sim(FIRST), sim(SECOND), sim(THIRD)]).await;
    database
}

/// Catches periods of UTC days, a cycle day 31 that leaves out short months, and a period that begins with the second of two
/// midnights (Havana's 1 November). The bounds are written down here, not asked for. Catches leaving out `add_to_pools`, too.
#[tokio::test]
async fn periods_are_whole_local_days_in_short_months_and_when_clocks_change() {
    for zone in ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "America/Havana", "Pacific/Apia"] {
        let database = in_zone(zone).await;
        let (api, key) = api_at(&database, "2026-11-05T12:00:00Z").await;
        let (last, first) =
            (make(&api, &key, "last", 1_000, 31).await, make(&api, &key, "first", 1_000, 1).await);
        join(
            &api,
            &key,
            &last,
            json!([{"sim": FIRST, "from": "2026-01-01"}, {"sim": SECOND, "from": "2026-01-01"}]),
        )
        .await;
        join(&api, &key, &first, json!([{"sim": THIRD, "from": "2026-01-01"}])).await;
        let pipeline = TestPipeline::start_at(&database.store, "2026-11-05T12:00:00Z");
        hours(&pipeline, FIRST, "2026-02-26T20:30:00Z", 80).await;
        hours(&pipeline, SECOND, "2026-03-29T10:15:00Z", 80).await;
        hours(&pipeline, THIRD, "2026-10-30T10:00:00Z", 96).await;
        database.roll_up().await;
        for (period, from, before) in [
            ("2026-01", "2026-01-31", "2026-02-28"),
            ("2026-02", "2026-02-28", "2026-03-31"),
            ("2026-03", "2026-03-31", "2026-04-30"),
        ] {
            let expected =
                raw(&database, FIRST, (from, before)).await + raw(&database, SECOND, (from, before)).await;
            assert!(expected > 0, "{zone} {period} has usage");
            assert_eq!(used(&api, &key, &last, period).await, expected, "{zone} {period}");
        }
        for (period, from, before) in
            [("2026-10", "2026-10-01", "2026-11-01"), ("2026-11", "2026-11-01", "2026-12-01")]
        {
            let expected = raw(&database, THIRD, (from, before)).await;
            assert!(expected > 0, "{zone} {period} has usage");
            assert_eq!(used(&api, &key, &first, period).await, expected, "{zone} {period}");
        }
        let shown = api.get_as(&key, &format!("{last}?period=2026-02")).await.json();
        let period = &shown["period"];
        assert_eq!((&period["firstDay"], &period["lastDay"]), (&json!("2026-02-28"), &json!("2026-03-30")));
        assert_eq!(shown["days"].as_array().map(Vec::len), Some(31));
        // The hour before the first midnight of two is the last one of October.
        if zone == "America/Havana" {
            let november = api.get_as(&key, &first).await.json();
            assert_eq!(november["period"]["start"], "2026-11-01T04:00:00Z");
        }
        database.assert_reconciled().await;
        api.close().await;
    }
}

/// A day counts in the pool in which the SIM is at its end. Catches a pool that takes the past of a member that joins, one that
/// keeps the day of a member that leaves, and late records and corrections of days on which somebody was a member that are
/// counted elsewhere (drop `d.usage_date >= m.joined_on` from `add_to_pools`, or the CTE `counted` from `leave_pool`).
#[tokio::test]
async fn each_day_of_a_sim_counts_in_one_pool_also_when_it_comes_late_or_is_corrected() {
    let database = in_zone("Europe/Berlin").await;
    let (a, b) = {
        let (api, key) = api_at(&database, "2026-03-10T12:00:00Z").await;
        let (a, b) = (make(&api, &key, "a", 1_000, 1).await, make(&api, &key, "b", 1_000, 1).await);
        let pipeline = TestPipeline::start_at(&database.store, "2026-03-10T12:00:00Z");
        for (id, at, bytes) in [
            ("d9", "2026-03-09T12:00:00Z", 1),
            ("d10", "2026-03-10T00:30:00+01:00", 2),
            ("d10b", "2026-03-10T11:00:00Z", 4),
        ] {
            assert_eq!(word(&pipeline.one(FIRST, record_at(id, at, bytes)).await), "stored");
        }
        // What is rolled up when it joins, and what is rolled up later.
        database.roll_up().await;
        assert_eq!(word(&pipeline.one(FIRST, record_at("d10c", "2026-03-10T11:30:00Z", 8)).await), "stored");
        join(&api, &key, &a, json!([{"sim": FIRST}])).await;
        assert_eq!(used(&api, &key, &a, "current").await, 6, "the 10th, as far as it is rolled up");
        database.roll_up().await;
        assert_eq!(used(&api, &key, &a, "current").await, 14, "the whole 10th and not the 9th");
        api.close().await;
        (a, b)
    };
    let (api, key) = api_at(&database, "2026-03-15T12:00:00Z").await;
    let pipeline = TestPipeline::start_at(&database.store, "2026-03-15T12:00:00Z");
    for (id, at, bytes) in [("d12", "2026-03-12T12:00:00Z", 16), ("d15", "2026-03-15T11:00:00Z", 32)] {
        assert_eq!(word(&pipeline.one(FIRST, record_at(id, at, bytes)).await), "stored");
    }
    database.roll_up().await;
    assert_eq!(used(&api, &key, &a, "current").await, 14 + 16 + 32);
    leave(&api, &key, &a, FIRST).await;
    assert_eq!(used(&api, &key, &a, "current").await, 14 + 16, "the 15th does not count any more");
    join(&api, &key, &b, json!([{"sim": FIRST}])).await;
    assert_eq!(used(&api, &key, &b, "current").await, 32);
    // Late records of days in both pools and of a day in none, and corrections of both.
    for (id, at, bytes) in [
        ("late10", "2026-03-10T15:00:00Z", 64),
        ("late14", "2026-03-14T22:59:59Z", 128),
        ("late15", "2026-03-14T23:00:00Z", 256),
        ("late9", "2026-03-09T22:59:59Z", 512),
    ] {
        assert_eq!(word(&pipeline.one(FIRST, record_at(id, at, bytes)).await), "stored");
    }
    let correction = correction_at("c12", "d12", "2026-03-12T12:00:00Z", -10);
    assert_eq!(word(&pipeline.one_as(sender(true), FIRST, correction).await), "stored");
    database.roll_up().await;
    assert_eq!(used(&api, &key, &a, "current").await, 14 + 6 + 64 + 128);
    assert_eq!(used(&api, &key, &b, "current").await, 32 + 256);
    assert_eq!(used(&api, &key, &a, "2026-02").await, 0);
    // Back on the same day: b has nothing of it then.
    leave(&api, &key, &b, FIRST).await;
    join(&api, &key, &a, json!([{"sim": FIRST}])).await;
    assert_eq!(used(&api, &key, &a, "current").await, 14 + 6 + 64 + 128 + 32 + 256);
    assert_eq!(used(&api, &key, &b, "current").await, 0);
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches days of pools that are left behind when days of SIMs move to another zone, are made anew, or go with the SIM to
/// another tenant (drop `sum_pool_days` from `rebuild_days`).
#[tokio::test]
async fn pools_follow_their_members_through_zones_rebuilds_and_moves() {
    let database = in_zone("Europe/Berlin").await;
    let (api, key) = api_at(&database, "2026-03-20T12:00:00Z").await;
    let pool = make(&api, &key, "p", 1_000, 15).await;
    join(
        &api,
        &key,
        &pool,
        json!([{"sim": FIRST, "from": "2026-02-01"}, {"sim": SECOND, "from": "2026-03-15"}]),
    )
    .await;
    let pipeline = TestPipeline::start_at(&database.store, "2026-03-20T12:00:00Z");
    for iccid in [FIRST, SECOND, THIRD] {
        hours(&pipeline, iccid, "2026-03-13T20:30:00Z", 60).await;
    }
    database.roll_up().await;
    let march = ("2026-03-15", "2026-04-15");
    let expect = async |sims: &[&str]| {
        let mut sum = 0;
        for iccid in sims {
            sum += raw(&database, iccid, march).await;
        }
        sum
    };
    let in_berlin = expect(&[FIRST, SECOND]).await;
    assert_eq!(used(&api, &key, &pool, "2026-03").await, in_berlin);
    database.run("UPDATE tenants SET time_zone = 'America/Los_Angeles' WHERE id = 1").await;
    database.move_zones().await;
    let in_los_angeles = expect(&[FIRST, SECOND]).await;
    assert_ne!(in_los_angeles, in_berlin);
    assert_eq!(used(&api, &key, &pool, "2026-03").await, in_los_angeles);
    database.assert_reconciled().await;

    // Somebody spoilt it: a rebuild heals it, and what the members have of other days stays.
    database
        .run("UPDATE usage_pool_days SET total_bytes = total_bytes + 7 WHERE usage_date = '2026-03-15'")
        .await;
    let rebuilt = "SELECT rebuild_days(1, '2026-03-15', '2026-03-15')";
    assert!(database.number(rebuilt).await > 0);
    assert_eq!(used(&api, &key, &pool, "2026-03").await, in_los_angeles);
    database.assert_reconciled().await;

    // What another tenant uses with the SIM is nothing of this pool's.
    let other = database.tenant("other", "UTC").await;
    let moved = format!("INSERT INTO sim_ownership (iccid, valid_from, tenant_id, sim_id) SELECT iccid, '2026-03-15T12:00:00Z', {}, sim_id
                         FROM provisioned_sims WHERE iccid = '{SECOND}'; UPDATE provisioned_sims SET tenant_id = {} WHERE iccid = '{SECOND}';
                         SELECT stamp_records(ARRAY['{SECOND}'], '2026-03-15T12:00:00Z', '2026-03-20T12:00:00Z')", other.0, other.0);
    database.run(&moved).await;
    let own = format!(
        "SELECT coalesce(sum(total_bytes), 0) FROM usage_records WHERE iccid = '{SECOND}' AND tenant_id = {}
                       AND (period_start AT TIME ZONE 'America/Los_Angeles')::date >= '2026-03-15'",
        TENANT.0
    );
    let rest = raw(&database, FIRST, march).await + database.number(&own).await;
    assert!(rest < in_los_angeles);
    assert_eq!(used(&api, &key, &pool, "2026-03").await, rest);
    let members = api.get_as(&key, &format!("{pool}/members?period=2026-03")).await.json();
    assert_eq!(members["members"][1]["simId"], Value::Null, "it is of no tenant's any more but by its ICCID");
    leave(&api, &key, &pool, SECOND).await;
    assert_eq!(used(&api, &key, &pool, "2026-03").await, rest, "what it used until then stays");
    database.assert_reconciled().await;
    api.close().await;
}

/// Catches an invariant that cannot fail.
#[tokio::test]
async fn reconcile_finds_a_pool_whose_days_are_not_those_of_its_members() {
    let database = in_zone("UTC").await;
    let (api, key) = api_at(&database, "2026-03-10T12:00:00Z").await;
    let pool = make(&api, &key, "p", 1_000, 1).await;
    join(&api, &key, &pool, json!([{"sim": FIRST}])).await;
    let pipeline = TestPipeline::start_at(&database.store, "2026-03-10T12:00:00Z");
    assert_eq!(word(&pipeline.one(FIRST, record_at("r", "2026-03-10T11:00:00Z", 5)).await), "stored");
    database.roll_up().await;
    database.assert_reconciled().await;
    let i11 = include_str!("../../src/store/sql/reconcile_i11.sql")
        .replace("/* from */ $1", "'2026-03-01'")
        .replace("/* before */ $2", "'2026-04-01'")
        .replace("$1", "'2026-03-01'")
        .replace("$2", "'2026-04-01'");
    for broken in [
        "UPDATE usage_pool_days SET total_bytes = 4",
        "DELETE FROM usage_pool_days",
        "INSERT INTO usage_pool_days (pool_id, usage_date, tenant_id, total_bytes) VALUES (1, '2026-03-10', 1, 5), (1, '2026-03-11', 1, 1)",
    ] {
        database.run(broken).await;
        assert_eq!(database.rows(&i11).await.len(), 1, "{broken}");
    }
    database.run("DELETE FROM usage_pool_days WHERE total_bytes = 1").await;
    database.assert_reconciled().await;
    api.close().await;
}
