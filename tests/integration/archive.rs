//! Months of records that go into files, and come back.

use std::path::Path;

use chrono::{Days, NaiveDate};
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use simbridge::domain::{Iccid, Setting};
use simbridge::store::archive::{Archive, ArchiveError, Returned, Written};
use simbridge::store::retention::FloorAdvance;
use simbridge::store::sim_moves::{Moved, SimMove};

use crate::harness::bridge::command_as;
use crate::harness::database::{TENANT, TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, correction_at, record_at, sender, time, word};
use crate::harness::server::{TestServer, connect};
use crate::harness::{PATIENCE, eventually};

pub(crate) const ICCID: &str = "8941000000000000001";
const OTHER: &str = "8941000000000000002";
const UNKNOWN: &str = "8941000000000000003";
/// Months below February can be archived.
pub(crate) const NOW: &str = "2026-03-10T12:00:00Z";
pub(crate) const FEBRUARY: &str = "2026-02-01T00:00:00Z";
pub(crate) const JANUARY: NaiveDate = NaiveDate::from_ymd_opt(2026, 1, 1).expect("a date");
const DECEMBER: NaiveDate = NaiveDate::from_ymd_opt(2025, 12, 1).expect("a date");

/// All that is made of records, and their keys.
const MADE_OF_RECORDS: [&str; 8] = [
    "SELECT * FROM record_keys ORDER BY tenant_id, iccid, record_id",
    "SELECT * FROM usage_cycles ORDER BY sim_id, cycle_id",
    "SELECT * FROM sim_daily_usage ORDER BY tenant_id, iccid, usage_date, carrier_id, rate_plan_id, mccmnc, cycle_id",
    "SELECT * FROM hourly_usage ORDER BY tenant_id, hour, carrier_id, mccmnc",
    "SELECT * FROM daily_network_usage ORDER BY tenant_id, usage_date, carrier_id, mccmnc",
    "SELECT * FROM daily_usage ORDER BY tenant_id, usage_date, carrier_id",
    "SELECT * FROM usage_aggregations ORDER BY tenant_id, period_start, carrier_id",
    "SELECT * FROM invoices ORDER BY id",
];
pub(crate) const RECORDS: &str = "SELECT * FROM usage_records ORDER BY iccid, period_start, id";
/// Tables and indexes by name, with what they look like.
const SHAPE: &str = "SELECT c.relname, c.relkind, pg_get_expr(c.relpartbound, c.oid), coalesce(pg_get_indexdef(i.indexrelid), ''),
        (SELECT string_agg(k.conname || ' ' || pg_get_constraintdef(k.oid), ', ' ORDER BY k.conname) FROM pg_constraint k
         WHERE k.conrelid = c.oid AND k.contype = 'c')
    FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
    WHERE c.relname LIKE 'usage\\_%' AND c.relname NOT LIKE 'usage\\_archives%' ORDER BY 1";

/// SHA-256 of what a query gives, as PostgreSQL's COPY writes it.
pub(crate) async fn digest(database: &TestDatabase, query: &str) -> String {
    let rows =
        database.client.copy_out(&format!("COPY ({query}) TO STDOUT")).await.expect("the query is valid");
    let mut rows = std::pin::pin!(rows);
    let mut digest = Sha256::new();
    while let Some(row) = rows.try_next().await.expect("rows") {
        digest.update(&row);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) async fn digests(database: &TestDatabase) -> Vec<String> {
    let mut all = Vec::new();
    for query in MADE_OF_RECORDS {
        all.push(digest(database, query).await);
    }
    all
}

pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("simbridge-test-").tempdir().expect("a directory")
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Tenant 1 in UTC with records of December, January and later, rolled up; one of an unknown SIM, one correction.
pub(crate) async fn with_history() -> (TestDatabase, TestPipeline) {
    let database = TestDatabase::new().await;
    database.import_at("2025-11-01T00:00:00Z", &[sim(ICCID), sim(OTHER)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let moments = [
        "2025-12-20T10:00:00Z",
        "2026-01-01T00:00:00Z",
        "2026-01-16T10:00:00.000001Z",
        "2026-01-31T23:59:59.999999Z",
        FEBRUARY,
        "2026-03-10T10:00:00Z",
    ];
    for iccid in [ICCID, OTHER, UNKNOWN] {
        for (n, at) in moments.into_iter().enumerate() {
            assert_eq!(word(&pipeline.one(iccid, record_at(&format!("r-{n}"), at, 2 << 20)).await), "stored");
        }
    }
    let correction = correction_at("fix", "r-2", "2026-01-16T10:00:00.000001Z", -1_000);
    assert_eq!(word(&pipeline.one_as(sender(true), ICCID, correction).await), "stored");
    database.roll_up().await;
    (database, pipeline)
}

pub(crate) async fn archive_next(
    database: &TestDatabase,
    into: &Path,
) -> Result<Option<Written>, ArchiveError> {
    database.owner().archive_next(time(FEBRUARY), into, time(NOW)).await
}

/// December and January.
pub(crate) async fn archive_both(database: &TestDatabase, into: &Path) {
    for month in [DECEMBER, JANUARY] {
        let written = archive_next(database, into).await.expect("an archive").expect("a month");
        assert_eq!(written.month, month);
    }
    assert!(archive_next(database, into).await.expect("an answer").is_none());
}

pub(crate) async fn archive_of(database: &TestDatabase, month: NaiveDate) -> Archive {
    let archives = database.store.archives().await.expect("archives");
    archives.into_iter().rev().find(|archive| archive.month == month).expect("it is archived")
}

async fn restore(database: &TestDatabase, month: NaiveDate) -> Result<Returned, ArchiveError> {
    let archive = archive_of(database, month).await;
    database.owner().restore_month(&archive, None, time(NOW)).await
}

const NOTHING_CHANGED: Returned = Returned { stamped: 0, remembered: 0 };

/// Catches a value that is rounded, shifted or lost, totals that follow the records away, a floor that stays where it was, and
/// indexes that a restored month lacks.
#[tokio::test]
async fn months_come_back_with_everything_as_it_was() {
    let (database, _pipeline) = with_history().await;
    // Only what has records comes back as a table.
    database.run("SELECT ensure_partitions('2025-12-01', '2026-01-01')").await;
    let directory = directory();
    database.assert_reconciled().await;
    let before = (digest(&database, RECORDS).await, digests(&database).await, database.rows(SHAPE).await);
    archive_both(&database, directory.path()).await;
    let left = "SELECT count(*), min(period_start) = '2026-02-01T00:00:00Z' FROM usage_records";
    assert_eq!(database.rows(left).await, ["6|t"]);
    assert_eq!(database.store.raw_floor().await.expect("an answer"), Some(time(FEBRUARY)));
    assert_eq!(digests(&database).await, before.1);
    database.assert_reconciled().await;

    let early = restore(&database, DECEMBER).await.expect_err("refused").to_string();
    assert!(early.contains("what lies between has to be restored first"), "{early}");
    for month in [JANUARY, DECEMBER] {
        assert_eq!(restore(&database, month).await.expect("it is back"), NOTHING_CHANGED);
        database.assert_reconciled().await;
    }
    assert_eq!(database.store.raw_floor().await.expect("an answer"), None);
    let after = database.rows(SHAPE).await;
    let lost: Vec<&String> = before.2.iter().filter(|line| !after.contains(line)).collect();
    assert!(
        lost.iter().all(|line| line.starts_with("usage_records_y2025m")
            && !line.starts_with("usage_records_y2025m12")
            || line.starts_with("usage_records_y2024")),
        "{lost:?}"
    );
    assert_eq!((digest(&database, RECORDS).await, digests(&database).await), (before.0, before.1));
}

/// Catches a late record that is stored in an archived month or lost, a rebuild that makes days anew from nothing, and a month that
/// takes no late records once it is back.
#[tokio::test]
async fn late_records_of_an_archived_month_are_parked_until_it_is_back() {
    let (database, pipeline) = with_history().await;
    let directory = directory();
    archive_both(&database, directory.path()).await;
    let late = record_at("late", "2026-01-20T00:00:00Z", 77);
    assert_eq!(word(&pipeline.one(ICCID, late.clone()).await), "too_old");
    assert_eq!(
        word(&pipeline.one(ICCID, record_at("r-2", "2026-01-16T10:00:00.000001Z", 2 << 20)).await),
        "duplicate"
    );
    let refused = database.store.rebuild_days(TENANT, JANUARY, JANUARY, PATIENCE).await.expect_err("refused");
    assert!(refused.to_string().contains("the raw records of 2026-01-01 are gone"), "{refused}");
    database.assert_reconciled().await;
    restore(&database, JANUARY).await.expect("it is back");
    assert_eq!(word(&pipeline.one(ICCID, late).await), "stored");
    database.roll_up().await;
    assert_eq!(database.assert_reconciled().await.records, 17);
    let day = NaiveDate::from_ymd_opt(2026, 1, 10).expect("a date");
    database.store.rebuild_days(TENANT, day, day + Days::new(15), PATIENCE).await.expect("a rebuild");
    database.assert_reconciled().await;
    // Archived again with the late record, in the place of the older file.
    let again = archive_next(&database, directory.path()).await.expect("an archive").expect("a month");
    assert_eq!((again.month, again.manifest.figures.records), (JANUARY, 11));
    restore(&database, JANUARY).await.expect("it is back");
    assert_eq!(database.assert_reconciled().await.records, 17);
}

/// Catches records that come back under an owner who has not been theirs since, and those of a SIM that was provisioned meanwhile: I6
/// fails then, or totals count them for nobody.
#[tokio::test]
async fn records_follow_sims_that_were_moved_or_provisioned_meanwhile() {
    let (database, _pipeline) = with_history().await;
    let other = database.tenant("other", "UTC").await;
    let directory = directory();
    archive_both(&database, directory.path()).await;
    let to = SimMove {
        iccid: Iccid::parse(ICCID).expect("an ICCID"),
        tenant: Some(other),
        carrier: None,
        rate_plan: None,
        from: time("2026-01-10T00:00:00Z"),
    };
    assert_eq!(database.store.move_sim(&to, time(NOW)).await.expect("a move"), Moved::Done { records: 2 });
    database.import_at("2025-11-01T00:00:00Z", &[sim(UNKNOWN)]).await;
    database.assert_reconciled().await;
    let returned = restore(&database, JANUARY).await.expect("it is back");
    // Two records and a correction of the one that moved, three of the one that was unknown.
    assert_eq!(returned.stamped, 6);
    database.assert_reconciled().await;
    assert_eq!(restore(&database, DECEMBER).await.expect("it is back").stamped, 1);
    database.assert_reconciled().await;
    let theirs = "SELECT sum(total_bytes), count(*) FROM sim_daily_usage WHERE tenant_id = 2 AND usage_date < '2026-02-01'";
    assert_eq!(database.rows(theirs).await, [format!("{}|2", 2 * (2 << 20) - 1_000)]);
}

/// Catches records without keys (I2), keys that do not know their record again, and a record that counts twice because it was sent and
/// stored anew while nobody remembered it.
#[tokio::test]
async fn forgotten_keys_are_made_anew_and_are_the_same() {
    let (database, pipeline) = with_history().await;
    let directory = directory();
    let keys = MADE_OF_RECORDS[0];
    let before = digest(&database, keys).await;
    archive_both(&database, directory.path()).await;
    assert_eq!(
        database.store.delete_old_keys(time("2027-01-01T00:00:00Z")).await.expect("an answer"),
        Some(13)
    );
    assert_eq!(restore(&database, JANUARY).await.expect("it is back").remembered, 10);
    assert_eq!(restore(&database, DECEMBER).await.expect("it is back").remembered, 3);
    assert_eq!(digest(&database, keys).await, before);
    database.assert_reconciled().await;

    archive_both(&database, directory.path()).await;
    database.store.delete_old_keys(time("2027-01-01T00:00:00Z")).await.expect("an answer");
    assert_eq!(word(&pipeline.one(ICCID, record_at("r-2", "2026-02-16T10:00:00Z", 2 << 20)).await), "stored");
    database.roll_up().await;
    let refused = restore(&database, JANUARY).await.expect_err("refused").to_string();
    assert!(refused.contains("record r-2 of SIM 8941000000000000001 was stored anew"), "{refused}");
    assert_eq!(
        database.number("SELECT count(*) FROM record_keys WHERE period_start < '2026-02-01'").await,
        0
    );
    database.assert_reconciled().await;
}

/// Catches days that are compared with records which fall on other days by now.
#[tokio::test]
async fn a_month_does_not_come_back_into_another_time_zone() {
    let (database, _pipeline) = with_history().await;
    let directory = directory();
    archive_both(&database, directory.path()).await;
    database.run("UPDATE tenants SET time_zone = 'Asia/Kolkata' WHERE id = 1").await;
    for _ in 0..2 {
        let refused = restore(&database, JANUARY).await.expect_err("refused").to_string();
        assert!(refused.contains("the time zone of tenant default was UTC and is Asia/Kolkata"), "{refused}");
        assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 6);
        database.move_zones().await;
    }
    database.assert_reconciled().await;
    database.run("UPDATE tenants SET time_zone = 'UTC' WHERE id = 1").await;
    database.move_zones().await;
    assert_eq!(restore(&database, JANUARY).await.expect("it is back"), NOTHING_CHANGED);
    database.assert_reconciled().await;
}

/// Catches retention that drops what was to be archived first, in this program or in one that does not know the setting, and archives
/// that are in the way of it for ever.
#[tokio::test]
async fn retention_drops_nothing_that_has_to_be_archived_first() {
    let (database, _pipeline) = with_history().await;
    let directory = directory();
    database.store.set_setting(Setting::ArchiveFirst, 1).await.expect("it is set");
    let advance = async || database.store.advance_raw_floor(time(NOW), 32).await.expect("an answer");
    assert_eq!(advance().await, FloorAdvance::WaitsForArchive);
    let unaware = "SELECT pg_advisory_xact_lock(hashtext('simbridge.inventory')); SELECT kept_from FROM advance_raw_floor('2026-03-10T12:00:00Z', 32)";
    let refused = database.client.batch_execute(unaware).await.expect_err("refused");
    let refused = refused.as_db_error().expect("by the database").message().to_owned();
    assert_eq!(refused, "usage_records_y2025m12 is not archived");
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 19);
    archive_both(&database, directory.path()).await;
    assert!(matches!(advance().await, FloorAdvance::NothingDue | FloorAdvance::Done { .. }));
    // Without the setting what lies above the archives goes for good, and nothing returns below the gap.
    database.store.set_setting(Setting::ArchiveFirst, 0).await.expect("it is set");
    let later = database.store.advance_raw_floor(time("2026-04-10T00:00:00Z"), 32).await.expect("an answer");
    assert!(matches!(later, FloorAdvance::Done { .. }), "{later:?}");
    let refused = restore(&database, JANUARY).await.expect_err("refused").to_string();
    assert!(
        refused.contains("what lies between has to be restored first, and is archived or gone"),
        "{refused}"
    );
    database.assert_reconciled().await;
}

/// Runs `simbridge archive …` as the owner.
pub(crate) async fn archive(database: &TestDatabase, arguments: &[&str]) -> (Option<i32>, String, String) {
    let url = TestServer::shared().owner_url_for(&database.name);
    command_as(&url, &[&["archive"], arguments].concat()).await
}

/// Catches a restore that trusts what it saw of SIMs before it had the lock.
#[tokio::test]
async fn a_sim_that_is_changed_while_its_month_returns_takes_its_records_along() {
    let (database, _pipeline) = with_history().await;
    let directory = directory();
    archive_both(&database, directory.path()).await;
    let mover = connect(&database.another_config()).await;
    mover
        .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(hashtext('simbridge.inventory'))")
        .await
        .expect("a lock");
    let (owner, archive) = (database.owner(), archive_of(&database, JANUARY).await);
    let restoring = tokio::spawn(async move { owner.restore_month(&archive, None, time(NOW)).await });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually("a restore that waits", async || (database.number(waiting).await == 1).then_some(())).await;
    let change = format!(
        "INSERT INTO carriers (id, name) VALUES (77, 'Other Mobile');
         UPDATE sim_ownership SET carrier_id = 77 WHERE iccid = '{ICCID}';
         SELECT stamp_records(ARRAY['{ICCID}'], '-infinity', now()); COMMIT"
    );
    mover.batch_execute(&change).await.expect("a change");
    let returned = restoring.await.expect("it ends").expect("it is back");
    assert_eq!(returned, Returned { stamped: 4, remembered: 0 });
    database.assert_reconciled().await;
}
