//! Which alerts are raised, and when they are raised again.

use serde_json::{Value, json};
use simbridge::store::Store;
use simbridge::store::sims::SimRow;

use crate::alerts_api::quiet;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::pipeline::{TestPipeline, correction_at, record_at, sender, time, word};
use crate::harness::server::connect;

pub(crate) const ICCID: &str = "8941000000000000001";
const OTHER: &str = "8941000000000000002";
pub(crate) const BEGIN: &str = "2026-03-01T00:00:00Z";
pub(crate) const NOW: &str = "2026-03-10T12:00:00Z";

pub(crate) fn limited(iccid: &str, limit: i64) -> SimRow {
    SimRow { data_limit_bytes: Some(limit), ..sim(iccid) }
}

/// Looks at every SIM, two at a time; returns how many alerts were raised.
pub(crate) async fn raise(store: &Store, at: &str) -> i32 {
    let (mut after, mut raised) = (String::new(), 0);
    loop {
        // A program looks once when it starts, and holds the lock then.
        let look = async || store.raise_alerts(&after, 2, time(at), 3).await.expect("a look");
        let seen = eventually("the lock", look).await;
        raised += seen.raised;
        match seen.last_iccid {
            Some(last) => after = last,
            None => return raised,
        }
    }
}

const TOLD: &str =
    "SELECT iccid, cycle_id, threshold_percent, threshold_bytes, used_bytes FROM usage_alerts ORDER BY id";

async fn use_bytes(pipeline: &TestPipeline, iccid: &str, id: &str, at: &str, bytes: i64) {
    assert_eq!(word(&pipeline.one(iccid, record_at(id, at, bytes)).await), "stored");
}

/// Catches telling every threshold below the highest one, and telling one again with each look or each record.
#[tokio::test]
async fn only_the_highest_newly_crossed_threshold_is_told_and_only_once() {
    let database = TestDatabase::new().await;
    database
        .import_at(BEGIN, &[limited(ICCID, 1000), limited(OTHER, 1000), sim("8941000000000000003")])
        .await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let mut told = Vec::new();
    for (n, (bytes, expected)) in [
        (799, None),
        (1, Some("80|800|800")),
        (50, None),
        (149, Some("90|900|999")),
        (1, Some("100|1000|1000")),
        (900, None),
    ]
    .into_iter()
    .enumerate()
    {
        use_bytes(&pipeline, ICCID, &format!("r-{n}"), NOW, bytes).await;
        assert_eq!(raise(&database.store, NOW).await, i32::from(expected.is_some()), "after record {n}");
        assert_eq!(raise(&database.store, NOW).await, 0, "again after record {n}");
        told.extend(expected.map(|expected| format!("{ICCID}|2026-03|{expected}")));
        assert_eq!(database.rows(TOLD).await, told);
    }
    // From nothing beyond the last one in one step: one alert. A SIM without a limit has nothing to cross.
    use_bytes(&pipeline, OTHER, "o", NOW, 5000).await;
    use_bytes(&pipeline, "8941000000000000003", "n", NOW, 5000).await;
    assert_eq!(raise(&database.store, NOW).await, 1);
    assert_eq!(
        database.rows(TOLD).await.last().expect("an alert"),
        &format!("{OTHER}|2026-03|100|1000|5000")
    );
    database.assert_reconciled().await;
}

/// Catches comparing terms by their values alone: a limit that comes back would not be told again (remove the trigger
/// `provisioned_sims_limit_changed`).
#[tokio::test]
async fn another_limit_arms_the_thresholds_anew_also_when_it_comes_back() {
    let database = TestDatabase::new().await;
    database.import_at(BEGIN, &[limited(ICCID, 1000)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    use_bytes(&pipeline, ICCID, "a", NOW, 850).await;
    assert_eq!(raise(&database.store, NOW).await, 1);
    // The same limit again is no change.
    database.import_at(NOW, &[limited(ICCID, 1000)]).await;
    assert_eq!(raise(&database.store, NOW).await, 0);
    database.import_at(NOW, &[limited(ICCID, 2000)]).await;
    assert_eq!(raise(&database.store, NOW).await, 0);
    database.import_at(NOW, &[limited(ICCID, 1000)]).await;
    assert_eq!(raise(&database.store, NOW).await, 1);
    database.import_at(NOW, &[limited(ICCID, 900)]).await;
    assert_eq!(raise(&database.store, NOW).await, 1);
    let told = "SELECT threshold_percent, limit_bytes FROM usage_alerts ORDER BY id";
    assert_eq!(database.rows(told).await, ["80|1000", "80|1000", "90|900"]);
}

/// Catches alerts about bills that are closed, and a threshold that stays told in the cycle after.
#[tokio::test]
async fn late_usage_of_an_archived_cycle_tells_nothing_and_a_new_cycle_begins_anew() {
    let database = TestDatabase::new().await;
    database.import_at("2026-02-15T00:00:00Z", &[limited(ICCID, 1000)]).await;
    let pipeline = TestPipeline::start_at(&database.store, "2026-02-28T23:00:00Z");
    use_bytes(&pipeline, ICCID, "a", "2026-02-28T22:00:00Z", 850).await;
    // The cycle is over and nobody has ended it yet.
    assert_eq!(raise(&database.store, BEGIN).await, 0);
    assert_eq!(raise(&database.store, "2026-02-28T23:00:00Z").await, 1);
    // Ahead of its cycle: told when that has begun.
    use_bytes(&pipeline, ICCID, "b", "2026-03-01T01:00:00Z", 950).await;
    assert_eq!(raise(&database.store, "2026-02-28T23:30:00Z").await, 0);
    database.store.roll_cycles(time(BEGIN)).await.expect("a new cycle");
    assert_eq!(raise(&database.store, BEGIN).await, 1);
    use_bytes(&pipeline, ICCID, "late", "2026-02-20T00:00:00Z", 5000).await;
    assert_eq!(raise(&database.store, NOW).await, 0);
    let told = "SELECT cycle_id, threshold_percent FROM usage_alerts ORDER BY id";
    assert_eq!(database.rows(told).await, ["2026-02|80", "2026-03|90"]);
    database.assert_reconciled().await;
}

/// Catches a state that follows usage down, and one that is compared for equality: the same or a lower threshold would be told.
#[tokio::test]
async fn usage_that_a_correction_takes_back_is_not_told_a_second_time() {
    let database = TestDatabase::new().await;
    database.import_at(BEGIN, &[limited(ICCID, 1000)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    use_bytes(&pipeline, ICCID, "a", NOW, 850).await;
    assert_eq!(raise(&database.store, NOW).await, 1);
    let correction = pipeline.one_as(sender(true), ICCID, correction_at("c", "a", NOW, -400)).await;
    assert_eq!(word(&correction), "stored");
    assert_eq!(raise(&database.store, NOW).await, 0);
    use_bytes(&pipeline, ICCID, "b", NOW, 400).await;
    assert_eq!(raise(&database.store, NOW).await, 0);
    use_bytes(&pipeline, ICCID, "d", NOW, 100).await;
    assert_eq!(raise(&database.store, NOW).await, 1);
    // Down to between the two: the lower one was passed on the way up.
    let correction = pipeline.one_as(sender(true), ICCID, correction_at("e", "b", NOW, -100)).await;
    assert_eq!(word(&correction), "stored");
    assert_eq!(raise(&database.store, NOW).await, 0);
    let told = "SELECT threshold_percent, used_bytes FROM usage_alerts ORDER BY id";
    assert_eq!(database.rows(told).await, ["80|850", "90|950"]);
    database.assert_reconciled().await;
}

/// Catches raising without the lock: both would find the same SIM untold.
#[tokio::test]
async fn two_instances_that_look_at_once_tell_once() {
    let database = TestDatabase::new().await;
    let sims: Vec<SimRow> = (0..40).map(|n| limited(&format!("89410000000000000{n:02}"), 1000)).collect();
    database.import_at(BEGIN, &sims).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for sim in &sims {
        use_bytes(&pipeline, sim.iccid.as_str(), "a", NOW, 950).await;
    }
    let other = database.another_store();
    let looks = async |store: &Store| {
        for _ in 0..20 {
            store.raise_alerts("", 100, time(NOW), 3).await.expect("a look");
        }
    };
    tokio::join!(looks(&database.store), looks(&other));
    raise(&database.store, NOW).await;
    assert_eq!(database.number("SELECT count(*) FROM usage_alerts").await, 40);
}

/// Catches a forecast from the end of the cycle, in UTC, or beyond the cycle.
#[tokio::test]
async fn the_forecast_names_the_day_in_the_tenants_zone_or_nothing() {
    let database = TestDatabase::new().await;
    let day = async |used: &str, limit: &str, zone: &str| {
        let sql = format!(
            "SELECT forecast_exhaustion({used}, {limit}, '2026-03-01T00:00Z', '2026-04-01T00:00Z', '2026-03-11T00:00Z', '{zone}')"
        );
        database.text(&sql, &[]).await
    };
    // 800 in 10 days: 1000 after 12.5 days.
    assert_eq!(day("800", "1000", "UTC").await, "2026-03-13");
    assert_eq!(day("800", "1000", "Pacific/Kiritimati").await, "2026-03-14");
    assert_eq!(day("1000", "1000", "UTC").await, "2026-03-11");
    assert_eq!(day("1000", "1000", "America/New_York").await, "2026-03-10");
    // 31 days of 100 a day are 3100.
    assert_eq!(day("1000", "3099", "UTC").await, "2026-03-31");
    for (used, limit) in [("1000", "3100"), ("1", "9223372036854775807"), ("0", "0"), ("800", "NULL::bigint")]
    {
        assert_eq!(day(used, limit, "UTC").await, "NULL", "{used} of {limit}");
    }
}

#[tokio::test]
async fn thresholds_of_a_sim_count_before_those_of_its_plan_and_these_before_the_tenants() {
    let database = TestDatabase::new().await;
    let planned = SimRow { rate_plan: Some("pool a/b".into()), ..limited(ICCID, 1000) };
    database.import_at(BEGIN, &[planned, sim(OTHER)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for iccid in [ICCID, OTHER] {
        use_bytes(&pipeline, iccid, "a", NOW, 600).await;
    }
    let api = quiet(&database).await;
    let key = api.key(&["admin:alerts"]).await;
    let (tenant, plan, own) = (
        "/api/v1/alerts/thresholds",
        "/api/v1/alerts/thresholds/plans/pool%20a%2Fb",
        "/api/v1/alerts/thresholds/sims/8941000000000000001",
    );
    let held = async |path: &str| {
        let answer = api.get_as(&key, path).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    };
    let put = async |path: &str, thresholds: Value| {
        let body = json!({"thresholds": thresholds});
        api.send_as(&key, reqwest::Method::PUT, path, &body).await
    };
    let standard =
        json!({"statedFor": "default", "thresholds": [{"percent": 80}, {"percent": 90}, {"percent": 100}]});
    for path in [tenant, plan, own] {
        assert_eq!(held(path).await, standard);
    }
    let first = database.number("SELECT count(*) FROM usage_alerts").await;
    assert_eq!(first, 0);
    // In bytes, also without a limit; and percents of a limit.
    let answer =
        put(tenant, json!([{"bytes": 500}, {"percent": 50}, {"percent": 40}, {"percent": 50}])).await;
    let stated =
        json!({"statedFor": "tenant", "thresholds": [{"percent": 40}, {"percent": 50}, {"bytes": 500}]});
    assert_eq!((answer.status, answer.json()), (200, stated.clone()));
    assert_eq!((held(plan).await, held(own).await), (stated.clone(), stated));
    assert_eq!(raise(&database.store, NOW).await, 2);
    assert_eq!(put(tenant, json!([{"percent": 40}, {"percent": 50}, {"bytes": 500}])).await.status, 200);
    assert_eq!(raise(&database.store, NOW).await, 0, "the same thresholds are no change");
    assert_eq!(put(plan, json!([{"percent": 55}])).await.json()["statedFor"], "ratePlan");
    assert_eq!(raise(&database.store, NOW).await, 1);
    assert_eq!(put(own, json!([])).await.json(), json!({"statedFor": "sim", "thresholds": []}));
    assert_eq!(raise(&database.store, NOW).await, 0, "none at all: silence");
    let delete = async |path: &str| api.send_as(&key, reqwest::Method::DELETE, path, &json!({})).await.status;
    assert_eq!((delete(own).await, delete(own).await), (204, 404));
    assert_eq!(raise(&database.store, NOW).await, 1, "those of the plan hold again, armed anew");
    assert_eq!(
        database.rows(TOLD).await,
        [
            format!("{ICCID}|2026-03|50|500|600"),
            format!("{OTHER}|2026-03|NULL|500|600"),
            format!("{ICCID}|2026-03|55|550|600"),
            format!("{ICCID}|2026-03|55|550|600"),
        ]
    );
    let refused = put(own, json!([{"percent": 0}, {"bytes": 0}, {"percent": 1, "bytes": 1}, {}])).await;
    let details = &refused.json()["error"]["details"];
    let fields: Vec<_> = (0..4).map(|n| details[n]["field"].as_str().expect("a field").to_owned()).collect();
    assert_eq!(refused.status, 400);
    assert_eq!(fields, ["thresholds[0].percent", "thresholds[1].bytes", "thresholds[2]", "thresholds[3]"]);
    assert_eq!(put(plan, json!(vec![json!({"percent": 1}); 21])).await.status, 400);
    let unknown = api.get_as(&key, "/api/v1/alerts/thresholds/sims/8941000000000000009").await;
    assert_eq!((unknown.status, &unknown.json()["error"]["code"]), (404, &json!("SIM_NOT_FOUND")));
    assert_eq!(api.get_as(&key, "/api/v1/alerts/thresholds/plans/other").await.status, 404);
    let reader = api.key(&["usage:read"]).await;
    assert_eq!(api.get_as(&reader, tenant).await.status, 403);
    api.close().await;
}

/// Catches a plan that begins with all current cycles, because the planner was told that none of them has used anything: it compared
/// each with each SIM. What it is told is as of a moment in which a month had just begun.
#[tokio::test]
async fn a_look_reads_one_cycle_for_each_sim_whatever_the_planner_was_told() {
    const SIMS: i64 = 500;
    let database = TestDatabase::new().await;
    let sims: Vec<_> = (0..SIMS).map(|n| sim(&format!("8941000000000{n:06}"))).collect();
    database.import_at(BEGIN, &sims).await;
    let mut owner = connect(&database.another_config()).await;
    owner.batch_execute("ANALYZE").await.expect("it may");
    let look = owner.transaction().await.expect("BEGIN");
    look.batch_execute("UPDATE usage_cycles SET total_bytes = 1").await.expect("it may");
    let scans = async |index: &str| -> i64 {
        let sql = "SELECT pg_stat_get_xact_numscans($1::text::regclass)";
        look.query_one(sql, &[&index]).await.expect("a number").get(0)
    };
    let before = scans("usage_cycles_one_current").await;
    let sql = "SELECT sims FROM raise_alerts('', 1000, $1, 3)";
    let looked = async || -> Option<i32> { look.query_one(sql, &[&time(NOW)]).await.expect("a look").get(0) };
    assert_eq!(i64::from(eventually("the lock", looked).await), SIMS);
    assert_eq!(scans("usage_cycles_one_current").await - before, SIMS);
    assert_eq!(scans("usage_cycles_due").await, 0);
}
