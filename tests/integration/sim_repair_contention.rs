//! A repair of a SIM that deadlocks with somebody else.

use simbridge::domain::Iccid;
use simbridge::store::StoreError;
use simbridge::store::sim_repair::SimRepair;

use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, record_at, time, word};
use crate::harness::server::connect;
use crate::harness::{PATIENCE, eventually};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";

/// A SIM whose cycle says something else than its record.
async fn altered() -> TestDatabase {
    let database = TestDatabase::new().await;
    database.import_at("2026-03-01T00:00:00Z", &[sim(ICCID)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    assert_eq!(word(&pipeline.one(ICCID, record_at("a", "2026-03-05T10:00:00Z", 100)).await), "stored");
    database.roll_up().await;
    database.run("UPDATE usage_cycles SET total_bytes = 5").await;
    database
}

async fn repair(database: &TestDatabase) -> Result<SimRepair, StoreError> {
    let iccid = Iccid::parse(ICCID).expect("an ICCID");
    database.another_store().repair_sim(&iccid, time(NOW), PATIENCE).await
}

async fn waiting(database: &TestDatabase, locks: i64) {
    let sql = "SELECT count(*) FROM pg_locks WHERE NOT granted
               AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
    eventually("they wait for each other", async || (database.number(sql).await >= locks).then_some(()))
        .await;
}

/// Catches a repair that gives up at its first deadlock.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_deadlocks_is_tried_again() {
    let database = altered().await;
    // Who looks first for a deadlock is the one that is ended: the repair looks late enough to find one, and the other never.
    database
        .run(&format!("ALTER ROLE bridge IN DATABASE {} SET deadlock_timeout = '5s'", database.name))
        .await;
    let other = connect(&database.another_config()).await;
    other
        .batch_execute("SET deadlock_timeout = '120s'; BEGIN; UPDATE usage_cycles SET last_updated = now()")
        .await
        .expect("it is valid");
    let crossing = async {
        waiting(&database, 1).await;
        let wanted = "SELECT pg_advisory_xact_lock_shared(hashtext('simbridge.inventory')); COMMIT";
        other.batch_execute(wanted).await.expect("it is the repair that is ended");
    };
    let before =
        database.number("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").await;
    let (repaired, ()) = tokio::join!(repair(&database), crossing);
    assert_eq!(repaired.expect("a second attempt").cycles_set, 1);
    database.assert_reconciled().await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    eventually("there was a deadlock", async || (database.number(deadlocks).await > before).then_some(()))
        .await;
}

/// Catches a repair that is tried again for ever, and one that is tried again whatever the fault.
#[tokio::test]
async fn a_repair_that_always_deadlocks_ends_and_changes_nothing() {
    let database = altered().await;
    for (fault, attempts) in [("40P01", 6), ("40001", 12), ("P0001", 13)] {
        let refuse = format!(
            "CREATE SEQUENCE IF NOT EXISTS attempts; GRANT ALL ON SEQUENCE attempts TO PUBLIC;
             CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM nextval('attempts');
                 RAISE EXCEPTION 'in the way' USING ERRCODE = '{fault}';
             END $$;
             CREATE OR REPLACE TRIGGER refuse BEFORE UPDATE ON usage_cycles FOR EACH ROW EXECUTE FUNCTION refuse()"
        );
        database.run(&refuse).await;
        let error = repair(&database).await.expect_err("it fails each time");
        assert_eq!(error.code(), Some(fault));
        assert_eq!(database.number("SELECT last_value FROM attempts").await, attempts, "{fault}");
    }
    assert_eq!(database.rows("SELECT total_bytes FROM usage_cycles WHERE record_count > 0").await, ["5"]);
}
