//! POST of a reset: a client ends a billing cycle (contract §4).

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::api::{Answer, TestApi, sent};
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::pipeline::{TestPipeline, record_at, time};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-11-30T23:00:00Z";
const PATH: &str = "/api/v1/usage/reset";

fn reset(id: &str, start: &str, end: &str) -> Value {
    json!({"iccid": ICCID, "billingCycleId": id, "cycleStart": start, "cycleEnd": end})
}

fn december() -> Value {
    reset("2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z")
}

/// A SIM with records of November and October, rolled up; and the program at `at`.
async fn with_records(at: &str) -> (TestDatabase, TestApi, String) {
    let database = TestDatabase::new().await;
    let row = simbridge::store::sims::SimRow {
        rate_plan: Some("metered".into()),
        price_per_mb: Some("0.01".into()),
        included_bytes: Some(10),
        ..sim(ICCID)
    };
    database.import_at("2026-11-20T00:00:00Z", &[row]).await;
    let pipeline = TestPipeline::start_at(&database.store, "2026-11-30T22:00:00Z");
    for (id, moment, bytes) in [
        ("oct", "2026-10-31T12:00:00Z", 1),
        ("first", "2026-11-01T00:00:00Z", 2),
        ("mid", "2026-11-15T12:00:00Z", 4),
        ("late", "2026-11-28T12:00:00Z", 8),
        ("last", "2026-11-30T21:59:59Z", 16),
    ] {
        pipeline.one(ICCID, record_at(id, moment, bytes)).await;
    }
    pipeline.finish().await;
    database.roll_up().await;
    let api = TestApi::start_at(&database, at).await;
    let key = api.key(&["usage:write"]).await;
    (database, api, key)
}

/// `id start end bytes current archived final`, oldest first.
async fn cycles(database: &TestDatabase) -> Vec<String> {
    database.roll_up().await;
    database.assert_reconciled().await;
    let form = "AT TIME ZONE 'UTC', 'MM-DD HH24:MI:SS'";
    let sql = format!(
        "SELECT concat_ws(' ', cycle_id, to_char(cycle_start {form}), to_char(cycle_end {form}), total_bytes,
                          CASE WHEN is_current THEN 'current' END, CASE WHEN archived_at IS NOT NULL THEN 'archived' END,
                          final_usage ->> 'totalBytes')
         FROM usage_cycles ORDER BY cycle_start"
    );
    database.rows(&sql).await
}

/// What rollups say of each cycle.
async fn rolled_up(database: &TestDatabase) -> Vec<String> {
    database
        .rows("SELECT cycle_id || ' ' || sum(total_bytes) FROM sim_daily_usage GROUP BY cycle_id ORDER BY 1")
        .await
}

fn usage(bytes: i64) -> Value {
    json!({"dataUploadBytes": 0, "dataDownloadBytes": 0, "totalBytes": bytes, "smsCount": 0, "voiceSeconds": 0})
}

fn done(body: &Value, former: Option<(&str, Value)>) -> Value {
    let mut expected = json!({"iccid": ICCID, "newCycle": {"id": body["billingCycleId"], "start": body["cycleStart"], "end": body["cycleEnd"]}});
    if let Some((id, usage)) = former {
        expected["previousCycle"] = json!({"id": id, "archivedUsage": usage});
    }
    expected
}

fn faults(answer: &Answer) -> Vec<String> {
    let details = answer.json()["error"]["details"].as_array().cloned().unwrap_or_default();
    let text = |fault: &Value, name: &str| fault[name].as_str().expect("text").to_owned();
    details.iter().map(|fault| format!("{}: {}", text(fault, "field"), text(fault, "message"))).collect()
}

/// Catches two current cycles, a reset that zeroes when it is repeated, and another answer the second time.
#[tokio::test]
async fn a_reset_archives_the_current_cycle_and_repeated_changes_nothing() {
    let (database, api, key) = with_records(NOW).await;
    let answer = api.post_as(&key, PATH, &december()).await;
    let expected = done(&december(), Some(("2026-11", usage(30))));
    assert_eq!((answer.status, answer.json()), (200, expected.clone()));
    let after = [
        "2026-10 10-01 00:00:00 11-01 00:00:00 1 archived",
        "2026-11 11-01 00:00:00 12-01 00:00:00 30 archived 30",
        "2026-12 12-01 00:00:00 01-01 00:00:00 0 current",
    ];
    assert_eq!(cycles(&database).await, after);

    // A late record changes the totals, and neither what was archived nor the answer.
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    pipeline.one(ICCID, record_at("more", "2026-11-30T22:59:00Z", 32)).await;
    pipeline.one(ICCID, record_at("next", "2026-12-01T00:00:00Z", 64)).await;
    let whole = "SELECT string_agg(c::text, E'\\n' ORDER BY cycle_id) FROM usage_cycles c";
    let before = database.text(whole, &[]).await;
    let again = api.post_as(&key, PATH, &december()).await;
    assert_eq!((again.status, again.json()), (200, expected));
    assert_eq!(database.text(whole, &[]).await, before, "not even a time was touched");
    assert_eq!(
        cycles(&database).await[1..],
        [
            "2026-11 11-01 00:00:00 12-01 00:00:00 62 archived 30",
            "2026-12 12-01 00:00:00 01-01 00:00:00 64 current",
        ]
    );
    api.close().await;
}

/// Catches bounds that leave a gap or an overlap, and records or rollups that stay in the cycle where they were.
#[tokio::test]
async fn records_follow_the_bounds_in_cycles_and_rollups() {
    let (database, api, key) = with_records("2026-12-05T00:00:00Z").await;
    database.store.roll_cycles(time("2026-12-05T00:00:00Z")).await.expect("cycles roll");
    assert_eq!(rolled_up(&database).await, ["2026-10 1", "2026-11 30"]);
    // The cycle began on the last day of November in the sender's zone, and ends a second short.
    let body = reset("2026-12", "2026-11-30T20:00:00Z", "2026-12-31T19:59:59Z");
    let answer = api.post_as(&key, PATH, &body).await;
    assert_eq!((answer.status, answer.json()), (200, done(&body, Some(("2026-11", usage(14))))));
    assert_eq!(
        cycles(&database).await,
        [
            "2026-10 10-01 00:00:00 11-01 00:00:00 1 archived",
            "2026-11 11-01 00:00:00 11-30 20:00:00 14 archived 14",
            "2026-12 11-30 20:00:00 12-31 19:59:59 16 current",
        ]
    );
    assert_eq!(rolled_up(&database).await, ["2026-10 1", "2026-11 14", "2026-12 16"]);
    // The missing second goes to the cycle that the next reset begins.
    let pipeline = TestPipeline::start_at(&database.store, "2026-12-31T23:00:00Z");
    pipeline.one(ICCID, record_at("second", "2026-12-31T19:59:59.5Z", 128)).await;
    let late = TestApi::start_at(&database, "2026-12-31T23:00:00Z").await;
    let next = reset("2027-01", "2026-12-31T20:00:00Z", "2027-01-31T19:59:59Z");
    let answer = late.post_as(&key, PATH, &next).await;
    assert_eq!((answer.status, answer.json()), (200, done(&next, Some(("2026-12", usage(144))))));
    assert_eq!(
        cycles(&database).await[2..],
        [
            "2026-12 11-30 20:00:00 12-31 20:00:00 144 archived 144",
            "2027-01 12-31 20:00:00 01-31 19:59:59 0 current",
        ]
    );
    assert_eq!(rolled_up(&database).await[2..], ["2026-12 144"]);
    // Even the reset of the cycle that is over may be repeated.
    let again = late.post_as(&key, PATH, &body).await;
    assert_eq!((again.status, again.json()), (200, done(&body, Some(("2026-11", usage(14))))));
    api.close().await;
    late.close().await;
}

/// Catches a cycle that nobody makes current when a later one was reset to and the program then goes on by itself.
#[tokio::test]
async fn after_a_reset_cycles_go_on_rolling_by_themselves() {
    let (database, api, key) = with_records(NOW).await;
    assert_eq!(api.post_as(&key, PATH, &december()).await.status, 200);
    let roll = async |at: &str| database.store.roll_cycles(time(at)).await.expect("cycles roll");
    assert_eq!(roll("2026-12-15T00:00:00Z").await, 0);
    assert_eq!(roll("2027-02-15T00:00:00Z").await, 1);
    assert_eq!(
        cycles(&database).await[2..],
        [
            "2026-12 12-01 00:00:00 01-01 00:00:00 0 archived 0",
            "2027-01 01-01 00:00:00 02-01 00:00:00 0 archived 0",
            "2027-02 02-01 00:00:00 03-01 00:00:00 0 current",
        ]
    );
    // Ahead to March and back to January, which goes on for some days: February and March are still to come.
    let later = TestApi::start_at(&database, "2027-02-15T00:00:00Z").await;
    let ahead = reset("2027-03", "2027-03-01T00:00:00Z", "2027-04-01T00:00:00Z");
    let answer = later.post_as(&key, PATH, &ahead).await;
    assert_eq!((answer.status, answer.json()), (200, done(&ahead, Some(("2027-02", usage(0))))));
    let body = reset("2027-01", "2027-01-01T00:00:00Z", "2027-02-20T00:00:00Z");
    let answer = later.post_as(&key, PATH, &body).await;
    assert_eq!((answer.status, answer.json()), (200, done(&body, Some(("2026-12", usage(0))))));
    assert_eq!(
        cycles(&database).await[3..],
        [
            "2027-01 01-01 00:00:00 02-20 00:00:00 0 current",
            "2027-02 02-20 00:00:00 03-01 00:00:00 0",
            "2027-03 03-01 00:00:00 04-01 00:00:00 0",
        ]
    );
    assert_eq!(roll("2027-02-20T00:00:00Z").await, 1);
    assert_eq!(roll("2027-03-01T00:00:00Z").await, 1);
    assert_eq!(
        cycles(&database).await[4..],
        [
            "2027-02 02-20 00:00:00 03-01 00:00:00 0 archived 0",
            "2027-03 03-01 00:00:00 04-01 00:00:00 0 current",
        ]
    );
    api.close().await;
    later.close().await;
}

/// Catches stated amounts that change the totals of records, or that are lost.
#[tokio::test]
async fn stated_amounts_go_before_those_of_the_records_in_what_is_archived() {
    let (database, api, key) = with_records(NOW).await;
    let mut body = december();
    body["finalUsage"] = json!({"totalBytes": 9_007_199_254_740_992i64, "smsCount": 3, "unknown": "x"});
    let answer = api.post_as(&key, PATH, &body).await;
    let mut archived = usage(9_007_199_254_740_992);
    archived["smsCount"] = 3.into();
    assert_eq!((answer.status, answer.json()), (200, done(&body, Some(("2026-11", archived)))));
    assert_eq!(
        cycles(&database).await[1],
        "2026-11 11-01 00:00:00 12-01 00:00:00 30 archived 9007199254740992"
    );
    api.close().await;
}

/// Catches an empty object in place of what there is not.
#[tokio::test]
async fn the_first_cycle_of_a_sim_follows_none() {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let api = TestApi::start_at(&database, NOW).await;
    let key = api.key(&["usage:write"]).await;
    let body = reset("2026-11", "2026-11-10T00:00:00Z", "2026-12-10T00:00:00Z");
    let answer = api.post_as(&key, PATH, &body).await;
    assert_eq!((answer.status, answer.json()), (200, done(&body, None)));
    assert_eq!(cycles(&database).await, ["2026-11 11-10 00:00:00 12-10 00:00:00 0 current"]);
    // What came before it makes the cycle before it, which ends where it begins.
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    pipeline.one(ICCID, record_at("r", "2026-11-09T23:59:59Z", 5)).await;
    assert_eq!(cycles(&database).await[0], "2026-10 10-01 00:00:00 11-10 00:00:00 5 archived");
    api.close().await;
}

/// Catches resets that come in each other's way: a second archive, two current cycles, a deadlock.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn resets_and_records_at_once_leave_one_chain() {
    let (database, api, key) = with_records(NOW).await;
    let pipeline = TestPipeline::start_at(&database.another_store(), NOW);
    let posts = (0..12).map(|n| {
        let body = if n % 3 == 0 {
            reset("2026-12", "2026-11-29T00:00:00Z".replace("29", "30").as_str(), "2027-01-01T00:00:00Z")
        } else {
            december()
        };
        tokio::spawn(sent(api.request(Method::POST, PATH).bearer_auth(&key).json(&body)))
    });
    let posts: Vec<_> = posts.collect();
    let mut receipts = Vec::new();
    for n in 0..100 {
        let at = format!("2026-11-{:02}T12:00:00Z", 27 + n % 4);
        receipts.push(pipeline.send(Some(ICCID), record_at(&format!("r-{n}"), &at, 1)).await);
    }
    for post in posts {
        let answer = post.await.expect("it ends");
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["previousCycle"]["id"], "2026-11");
    }
    for receipt in receipts {
        receipt.await.expect("a decision");
    }
    cycles(&database).await;
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 131);
    api.close().await;
}

/// Catches bounds that move between the moment at which a batch looks for the cycle of a record and its COMMIT.
#[tokio::test]
async fn a_reset_waits_for_the_batches_that_are_under_way() {
    let (database, api, key) = with_records(NOW).await;
    database.run("BEGIN; SELECT pg_advisory_xact_lock_shared(hashtext('simbridge.inventory'))").await;
    let request = api.request(Method::POST, PATH).bearer_auth(&key).json(&december());
    let post = tokio::spawn(sent(request));
    let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                   WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.mode = 'ExclusiveLock' AND NOT l.granted";
    eventually("it waits", async || (database.number(waiting).await == 1).then_some(())).await;
    database.run("COMMIT").await;
    assert_eq!(post.await.expect("it ends").status, 200);
    api.close().await;
}

#[tokio::test]
async fn every_fault_of_a_reset_is_told_at_once() {
    let (database, api, key) = with_records(NOW).await;
    let body = json!({"iccid": "x", "billingCycleId": "2026-13", "cycleStart": 7, "finalUsage": {"totalBytes": -1, "smsCount": 1.5}});
    let answer = api.post_as(&key, PATH, &body).await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        faults(&answer),
        [
            "iccid: must be 10 to 20 digits",
            "billingCycleId: must be a month such as 2026-11",
            "cycleStart: must be an RFC 3339 time with a zone, such as 2026-11-21T10:00:00Z",
            "cycleEnd: is required",
            "finalUsage.totalBytes: must be a whole number from 0 to 9007199254740992",
            "finalUsage.smsCount: must be a whole number from 0 to 9007199254740992",
        ]
    );
    let before = cycles(&database).await;
    for (id, start, end, expected) in [
        (
            "2026-12",
            "2026-11-29T23:59:59Z",
            "2027-01-01T00:00:00Z",
            "cycleStart: must lie in the month that billingCycleId names",
        ),
        (
            "2027-01",
            "2027-01-01T00:00:00Z",
            "2027-02-01T00:00:00Z",
            "cycleStart: lies more than 31 days ahead of now",
        ),
        ("2026-12", "2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z", "cycleEnd: must lie after cycleStart"),
        (
            "2026-12",
            "2026-12-01T00:00:00Z",
            "2027-02-02T00:00:00Z",
            "cycleEnd: lies more than 62 days after cycleStart",
        ),
        (
            "2026-10",
            "2026-10-01T00:00:00Z",
            "2026-11-01T00:00:00Z",
            "cycleEnd: lies in the past: a cycle that is over cannot become the current one",
        ),
        (
            "2026-12",
            "2026-12-01T00:00:00Z",
            "2027-02-01T00:00:00Z",
            "cycleEnd: must lie before 2027-02-01T00:00:00Z, where the cycle after ends, and at most 62 days before it",
        ),
    ] {
        let answer = api.post_as(&key, PATH, &reset(id, start, end)).await;
        assert_eq!((answer.status, faults(&answer)), (400, vec![expected.to_owned()]), "{id} {start} {end}");
    }
    assert_eq!(cycles(&database).await, before, "nothing was changed");
    for body in ["", "[]", "7", "{\"iccid\":NaN}", "{\"iccid\":1e400}", &"[".repeat(10_000)] {
        let request =
            api.request(Method::POST, PATH).bearer_auth(&key).header("content-type", "application/json");
        assert_eq!(sent(request.body(body.to_owned())).await.status, 400, "{body}");
    }
    api.close().await;
}

/// Catches a reset of a SIM of somebody else.
#[tokio::test]
async fn a_sim_that_the_tenant_does_not_have_is_not_found() {
    let (database, api, key) = with_records(NOW).await;
    database.tenant("other", "UTC").await;
    let before = cycles(&database).await;
    let other = api.key_of("other", &["usage:write"]).await;
    let foreign = api.post_as(&other, PATH, &december()).await;
    let id = foreign.header("x-request-id").expect("an id").to_owned();
    let message = "there is no such SIM";
    let expected =
        json!({"error": {"code": "SIM_NOT_FOUND", "message": message, "requestId": id}, "message": message});
    assert_eq!((foreign.status, foreign.json()), (404, expected));
    let mut unknown = december();
    unknown["iccid"] = "8941000000000000009".into();
    assert_eq!(api.post_as(&key, PATH, &unknown).await.json()["error"]["code"], "SIM_NOT_FOUND");
    let reader = api.key(&["usage:read"]).await;
    assert_eq!(api.post_as(&reader, PATH, &december()).await.status, 403);
    assert_eq!(cycles(&database).await, before);
    api.close().await;
}

/// Catches moving the totals of records that are gone.
#[tokio::test]
async fn bounds_do_not_move_where_the_raw_records_are_gone() {
    let (database, api, key) = with_records("2026-12-05T00:00:00Z").await;
    database.store.roll_cycles(time("2026-12-05T00:00:00Z")).await.expect("cycles roll");
    database
        .run("UPDATE inventory_version SET raw_floor = '2026-12-01T00:00:00Z', version = version + 1")
        .await;
    let body = reset("2026-12", "2026-11-30T20:00:00Z", "2027-01-01T00:00:00Z");
    let answer = api.post_as(&key, PATH, &body).await;
    let expected = "cycleStart: would move records of a time of which none are kept";
    assert_eq!((answer.status, faults(&answer)), (400, vec![expected.to_owned()]));
    assert_eq!(api.post_as(&key, PATH, &december()).await.status, 200, "the same bounds move nothing");
    api.close().await;
}
