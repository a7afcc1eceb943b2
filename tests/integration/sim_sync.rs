//! One SIM against its records: `sim sync` and its repair.

use serde_json::Value;
use simbridge::domain::Iccid;
use simbridge::store::rollups::Lock;
use simbridge::store::sim_diagnosis::SimDiagnosis;
use simbridge::store::sim_repair::SimRepair;
use simbridge::store::sims::SimRow;

use crate::harness::bridge::command;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, correction_at, record_at, sender, time, word};
use crate::harness::{PATIENCE, eventually};

const ICCID: &str = "8941000000000000001";
const OTHER: &str = "8941000000000000002";
const NOW: &str = "2026-03-10T12:00:00Z";
const FEBRUARY: &str = "2026-02-20T10:00:00Z";

fn on_plan(iccid: &str) -> SimRow {
    SimRow {
        carrier: Some("Salt".into()),
        mccmnc: Some("22803".into()),
        rate_plan: Some("pool".into()),
        price_per_mb: Some("0.5".into()),
        included_bytes: Some(3 << 20),
        data_limit_bytes: Some(64 << 20),
        device_name: Some("pump 1".into()),
        ..sim(iccid)
    }
}

/// Two SIMs of one plan with usage in February, on three days of March, and a correction; all of it rolled up.
async fn fleet() -> (TestDatabase, TestPipeline) {
    let database = TestDatabase::new().await;
    database.import_at("2026-01-05T00:00:00Z", &[on_plan(ICCID), on_plan(OTHER)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for iccid in [ICCID, OTHER] {
        for (id, at) in [
            ("a", FEBRUARY),
            ("b", "2026-03-01T10:00:00Z"),
            ("c", "2026-03-05T10:00:00Z"),
            ("d", "2026-03-05T11:00:00Z"),
            ("e", "2026-03-06T23:30:00Z"),
        ] {
            assert_eq!(word(&pipeline.one(iccid, record_at(id, at, 2 << 20)).await), "stored");
        }
        let correction = correction_at("f", "c", "2026-03-05T10:00:00Z", -(1 << 20));
        assert_eq!(word(&pipeline.one_as(sender(true), iccid, correction).await), "stored");
    }
    database.store.roll_cycles(time(NOW)).await.expect("cycles roll");
    database.roll_up().await;
    database.assert_reconciled().await;
    (database, pipeline)
}

async fn diagnose(database: &TestDatabase, iccid: &str) -> SimDiagnosis {
    let iccid = Iccid::parse(iccid).expect("an ICCID");
    database.store.diagnose_sim(&iccid).await.expect("a diagnosis")
}

async fn repair(database: &TestDatabase, iccid: &str) -> SimRepair {
    let iccid = Iccid::parse(iccid).expect("an ICCID");
    database.store.repair_sim(&iccid, time(NOW), PATIENCE).await.expect("a repair")
}

/// Everything that a repair may touch.
async fn contents(database: &TestDatabase) -> Vec<String> {
    let mut all = Vec::new();
    for table in [
        "usage_records",
        "usage_cycles",
        "rollup_markers",
        "sim_daily_usage",
        "hourly_usage",
        "daily_network_usage",
        "daily_usage",
        "usage_aggregations",
        "hourly_active_sims",
        "daily_active_sims",
        "monthly_active_sims",
    ] {
        all.extend(database.rows(&format!("SELECT '{table}', t::text FROM {table} t ORDER BY 2")).await);
    }
    all
}

/// Catches a repair that counts anything twice, or touches what was right; and a diagnosis that sees ghosts.
#[tokio::test]
async fn a_healthy_sim_agrees_and_its_repair_changes_nothing() {
    let (database, pipeline) = fleet().await;
    pipeline.one(ICCID, record_at("pending", "2026-03-06T10:00:00Z", 5)).await;
    let before = contents(&database).await;
    assert_eq!(repair(&database, ICCID).await, SimRepair::default());
    assert_eq!(contents(&database).await, before);

    let (code, out, err) = command(&database, &["sim", "sync", ICCID]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.ends_with("\neverything agrees"), "{out}");
    for part in [
        "MSISDN        -",
        "device        pump 1",
        "carrier       Salt (home network 22803)",
        "plan          pool: 0.5 CHF per MB, 3.00 MB (3145728 bytes) included in each cycle",
        "data limit    64.00 MB (67108864 bytes), 10.94 % used",
        "cycle now     2026-03, from 2026-03-01 00:00:00 UTC to 2026-04-01 00:00:00 UTC: 7.00 MB (7340037 bytes)",
        "not rolled up 1, 5 bytes, the oldest stored ",
        "rolled up     up to 2026-03-06 23:30:00 UTC",
        "\ne             5 ",
        "\nf             6 ",
    ] {
        assert!(out.contains(part), "{part} in {out}");
    }
    let (code, out, _) = command(&database, &["sims", "sync", ICCID, "--repair"]).await;
    assert_eq!(code, Some(0));
    assert!(out.ends_with("\neverything agrees") && !out.contains("repaired"), "{out}");
    assert_eq!(contents(&database).await, before);
}

/// Catches totals that are compared by their bytes alone, and a repair that leaves one of them.
#[tokio::test]
async fn a_cycle_that_was_altered_is_named_and_set_to_the_sum_of_its_records() {
    let (database, _pipeline) = fleet().await;
    let alter = format!(
        "UPDATE usage_cycles SET total_bytes = total_bytes + 1000, sms_count = 4, record_count = 0
         WHERE iccid = '{ICCID}' AND cycle_id = '2026-02'"
    );
    database.run(&alter).await;
    let (code, out, _) = command(&database, &["sim", "sync", ICCID]).await;
    assert_eq!(code, Some(1));
    assert!(out.contains("what differs:\nI1  not true: each cycle's totals"), "{out}");
    assert!(!out.contains("I4"), "{out}");
    let row = |amount: &str| out.lines().find(|line| line.trim_start().starts_with(amount)).unwrap_or("");
    assert!(row("2026-02").ends_with("2.00 MB (2097152 bytes)  -1000 bytes"), "{out}");
    assert!(row("messages").split_whitespace().eq(["messages", "4", "0", "-4"]), "{out}");

    let (code, out, err) = command(&database, &["sim", "sync", ICCID, "--repair"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("\nrepaired: 0 records stamped, 1 cycles set, 0 days made anew\n"), "{out}");
    assert!(out.contains("cycle 2026-02  messages  4 ") && out.ends_with("\neverything agrees"), "{out}");
    database.assert_reconciled().await;
}

/// Catches a repair of a SIM's day that leaves the sums above it, its hours or its cost; one that reaches for more days than
/// differ, because the included volume runs through all of them; and one that counts what waits for its roll-up.
#[tokio::test]
async fn a_day_that_was_altered_is_made_anew_with_all_sums_above_it() {
    for alter in [
        "UPDATE sim_daily_usage SET total_bytes = 9, record_count = 7 WHERE",
        "UPDATE sim_daily_usage SET cost = 3 WHERE",
        "UPDATE sim_allowances a SET total_bytes = a.total_bytes - 1 FROM sim_daily_usage s WHERE s.cycle_id = a.cycle_id AND a.iccid = s.iccid AND s.",
        "DELETE FROM hourly_usage WHERE hour::date = '2026-03-05'; DELETE FROM sim_daily_usage WHERE",
        "INSERT INTO sim_daily_usage SELECT tenant_id, usage_date, 77, rate_plan_id, record_count, correction_count,
         latest_event_at, iccid, mccmnc, cycle_id, 1, 1, 1, 1, 1, 0 FROM sim_daily_usage WHERE",
    ] {
        let (database, pipeline) = fleet().await;
        pipeline.one(ICCID, record_at("pending", "2026-03-05T10:30:00Z", 5)).await;
        database.run(&format!("{alter} iccid = '{ICCID}' AND usage_date = '2026-03-05'")).await;
        let found = diagnose(&database, ICCID).await;
        assert!(!found.agrees, "{alter}");
        let days: Vec<_> = found.months.iter().map(|month| month.differing_days).collect();
        assert_eq!(days, [0, 1], "{alter}");
        assert!(diagnose(&database, OTHER).await.agrees);
        let repaired = repair(&database, ICCID).await;
        assert_eq!(repaired, SimRepair { records_stamped: 0, cycles_set: 0, days_rebuilt: 1 }, "{alter}");
        database.assert_reconciled().await;
        assert_eq!(database.roll_up().await, 1);
        database.assert_reconciled().await;
    }
}

/// Catches a repair that moves amounts away from where they never were.
#[tokio::test]
async fn records_with_another_stamp_get_the_one_in_force() {
    let (database, _pipeline) = fleet().await;
    let other = database.tenant("acme", "Asia/Tokyo").await;
    let alter = format!(
        "UPDATE usage_records SET carrier_id = NULL WHERE iccid = '{ICCID}' AND record_id = 'a';
         UPDATE usage_records SET tenant_id = {}, rate_plan_id = NULL WHERE iccid = '{ICCID}' AND record_id = 'e';
         UPDATE usage_records SET sim_id = NULL, cycle_id = NULL WHERE iccid = '{ICCID}' AND record_id = 'b'",
        other.0
    );
    database.run(&alter).await;
    let found = diagnose(&database, ICCID).await;
    assert_eq!((found.agrees, found.records.stamped_otherwise), (false, 3));
    let names: Vec<_> = found.differences.iter().map(|difference| difference.name).collect();
    assert_eq!(names, ["I1", "I4", "I6"]);
    assert_eq!(repair(&database, ICCID).await.records_stamped, 3);
    database.assert_reconciled().await;
    assert!(diagnose(&database, ICCID).await.agrees);
    assert_eq!(database.number("SELECT count(*) FROM daily_usage WHERE tenant_id <> 1").await, 0);
}

/// Catches a repair that takes the sums of a moment at which a batch or a roll-up was half done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_does_not_lose_what_is_stored_and_rolled_up_meanwhile() {
    let (database, pipeline) = fleet().await;
    let sending = async {
        for n in 0..200 {
            let record = record_at(&format!("more-{n}"), "2026-03-05T12:00:00Z", 1000);
            assert_eq!(word(&pipeline.one(ICCID, record).await), "stored");
        }
    };
    let rolling_up = async {
        let mut records = 0;
        while records < 150 {
            records += database.roll_up().await;
            tokio::task::yield_now().await;
        }
    };
    let repairing = async {
        let alter = format!(
            "UPDATE usage_cycles SET total_bytes = total_bytes - 1 WHERE iccid = '{ICCID}';
             UPDATE sim_daily_usage SET total_bytes = total_bytes + 1 WHERE iccid = '{ICCID}'"
        );
        for _ in 0..5 {
            database.run(&alter).await;
            repair(&database, ICCID).await;
        }
    };
    tokio::join!(sending, rolling_up, repairing);
    database.roll_up().await;
    database.assert_reconciled().await;
    assert!(diagnose(&database, ICCID).await.agrees);
}

/// Catches sums that miss a batch which is not committed yet: they would overwrite what it added.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_waits_for_a_batch_that_is_under_way() {
    let (database, _pipeline) = fleet().await;
    let batch = "BEGIN; SELECT pg_advisory_xact_lock_shared(hashtext('simbridge.inventory'));
        UPDATE usage_records SET total_bytes = total_bytes + 5 WHERE record_id = 'a';
        UPDATE usage_cycles SET total_bytes = total_bytes + 5 WHERE cycle_id = '2026-02'";
    database.run(batch).await;
    let committing = async {
        eventually("a repair that waits", async || {
            let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN
                           (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
            (database.number(waiting).await > 0).then_some(())
        })
        .await;
        database.run("COMMIT").await;
    };
    let (repaired, ()) = tokio::join!(repair(&database, ICCID), committing);
    assert_eq!((repaired.cycles_set, repaired.days_rebuilt), (0, 1));
    database.assert_reconciled().await;
}

/// Catches days that are compared in the zone where they do not stand yet.
#[tokio::test]
async fn a_sim_agrees_and_can_be_repaired_while_its_days_move() {
    let (database, _pipeline) = fleet().await;
    database.run("UPDATE tenants SET time_zone = 'Asia/Tokyo' WHERE id = 1").await;
    database.store.move_zone(1, PATIENCE, Lock::Wait).await.expect("a move");
    for iccid in [ICCID, OTHER] {
        assert!(diagnose(&database, iccid).await.agrees);
        let alter = format!(
            "UPDATE sim_daily_usage SET total_bytes = 9 WHERE iccid = '{iccid}' AND cycle_id = '2026-03'"
        );
        database.run(&alter).await;
        assert!(!diagnose(&database, iccid).await.agrees);
        repair(&database, iccid).await;
        database.assert_reconciled().await;
    }
    let (_, out, _) = command(&database, &["sim", "sync", OTHER]).await;
    assert!(out.contains("days begin in Asia/Tokyo; its days still count in UTC and will move"), "{out}");
    database.move_zones().await;
    database.assert_reconciled().await;
}

/// Catches a repair that sets to nothing what was added up from records that are gone.
#[tokio::test]
async fn what_the_raw_records_are_gone_of_stays_as_it_is() {
    let (database, _pipeline) = fleet().await;
    database
        .run(
            "UPDATE inventory_version SET raw_floor = '2026-03-01T00:00:00Z';
             DELETE FROM usage_records WHERE period_start < '2026-03-01T00:00:00Z';
             UPDATE usage_cycles SET total_bytes = 1 WHERE cycle_id = '2026-02'",
        )
        .await;
    let found = diagnose(&database, ICCID).await;
    assert!(found.agrees);
    let comparable: Vec<_> = found.cycles.iter().map(|cycle| (&*cycle.cycle_id, cycle.comparable)).collect();
    assert_eq!(comparable, [("2026-01", false), ("2026-02", false), ("2026-03", true)]);
    let before = contents(&database).await;
    assert_eq!(repair(&database, ICCID).await, SimRepair::default());
    assert_eq!(contents(&database).await, before);
}

/// Catches counts of other SIMs, and parked records that were dealt with.
#[tokio::test]
async fn what_waits_and_what_is_parked_is_counted_with_its_ids() {
    let (database, pipeline) = fleet().await;
    for id in ["p1", "p2"] {
        pipeline.one(ICCID, record_at(id, "2026-03-07T10:00:00Z", 100)).await;
    }
    pipeline.one(OTHER, record_at("p1", "2026-03-07T10:00:00Z", 100)).await;
    for iccid in [ICCID, OTHER] {
        assert_eq!(word(&pipeline.one(iccid, record_at("a", FEBRUARY, 3)).await), "conflict");
        assert_eq!(word(&pipeline.one(iccid, record_at("b", FEBRUARY, 3)).await), "conflict");
    }
    database
        .run("UPDATE quarantine SET state = 'discarded', resolved_at = now() WHERE record_id = 'a'")
        .await;
    let found = diagnose(&database, ICCID).await;
    assert!(found.agrees, "what waits is no difference");
    assert_eq!((found.records.pending, found.records.pending_bytes), (2, 200));
    assert!(found.records.pending_since.is_some());
    let id = database
        .number(&format!("SELECT id FROM quarantine WHERE iccid = '{ICCID}' AND record_id = 'b'"))
        .await;
    let parked: Vec<_> = found.parked.iter().map(|p| (p.reason.as_str(), p.entries, p.ids.clone())).collect();
    assert_eq!(parked, [("conflict", 1, vec![id])]);
    let last: Vec<_> = found.last_records.iter().map(|record| (&*record.record_id, record.pending)).collect();
    assert_eq!(last, [("p2", true), ("p1", true), ("e", false), ("d", false), ("f", false)]);
}

/// Catches an answer that leaves open whether anything of an unknown ICCID has arrived.
#[tokio::test]
async fn of_an_unknown_iccid_it_says_what_there_is_all_the_same() {
    let (database, pipeline) = fleet().await;
    let unknown = "8941000000000000009";
    let (code, _, err) = command(&database, &["sim", "sync", unknown]).await;
    let said = format!("simbridge: there is no SIM {unknown} in the inventory");
    assert_eq!((code, err), (Some(1), format!("{said}; no record of it is stored; none is parked")));
    for id in ["a", "b"] {
        assert_eq!(word(&pipeline.one(unknown, record_at(id, "2026-03-05T10:00:00Z", 1024)).await), "stored");
    }
    pipeline.one(unknown, record_at("a", "2026-03-05T10:00:00Z", 7)).await;
    let id = database.number("SELECT id FROM quarantine").await;
    let (code, _, err) = command(&database, &["sim", "sync", unknown, "--repair"]).await;
    assert_eq!(code, Some(1));
    assert_eq!(
        err,
        format!(
            "{said}; 2 records of it, 2.00 KB (2048 bytes), are stored without an owner and count as soon as the SIM is \
             imported; parked: conflict 1 (ids {id})"
        )
    );
    let (code, _, err) = command(&database, &["sim", "sync", ICCID, "--tenant", "acme"]).await;
    assert_eq!((code, err.as_str()), (Some(1), "simbridge: there is no tenant `acme`"));
    database.tenant("acme", "UTC").await;
    let (code, _, err) = command(&database, &["sim", "sync", ICCID, "--tenant", "acme"]).await;
    assert_eq!((code, err), (Some(1), format!("simbridge: SIM {ICCID} is not of tenant `acme`")));
    assert_eq!(command(&database, &["sim", "sync", "abc"]).await.0, Some(2));
}

/// Catches numbers that are texts, and a repair that reports what it found as what it left.
#[tokio::test]
async fn json_says_the_same() {
    let (database, _pipeline) = fleet().await;
    database
        .run(&format!("UPDATE usage_cycles SET total_bytes = 5 WHERE iccid = '{ICCID}' AND is_current"))
        .await;
    let (code, out, _) = command(&database, &["sim", "sync", ICCID, "--json"]).await;
    assert_eq!(code, Some(1));
    let found: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (&found["agrees"], &found["sim"]["plan"]["pricePerMb"]),
        (&Value::from(false), &Value::from("0.5"))
    );
    let cycle = found["cycles"].as_array().and_then(|all| all.last()).expect("a cycle");
    assert_eq!(cycle["cycleId"], "2026-03");
    assert_eq!(cycle["previous"]["totalBytes"], 5);
    assert_eq!(cycle["current"]["totalBytes"], 7 << 20);
    assert_eq!(cycle["delta"]["totalBytes"], (7 << 20) - 5);
    assert_eq!(found["differences"][0]["name"], "I1");

    let (code, out, _) = command(&database, &["sim", "sync", ICCID, "--json", "--repair"]).await;
    assert_eq!(code, Some(0));
    let repaired: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(repaired["repair"]["cyclesSet"], 1);
    let agrees = (&repaired["before"]["agrees"], &repaired["after"]["agrees"]);
    assert_eq!(agrees, (&Value::from(false), &Value::from(true)));
    database.assert_reconciled().await;
}
