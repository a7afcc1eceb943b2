//! Chunks that touch a good part of a day's SIMs are added beside the index, others row by row (ADR 0033); charts cannot tell which.

use simbridge::store::rollups::Lock;
use simbridge::store::sims::SimRow;
use tokio_postgres::Client;

use crate::harness::PATIENCE;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, correction_at, decided, record_at, sender, words};
use crate::harness::server::connect;

const NOW: &str = "2026-03-10T12:00:00Z";
const AT: &str = "2026-03-10T11:00:00Z";
/// In the cycle before.
const LAST_MONTH: &str = "2026-02-20T11:00:00Z";
/// Of them half have a plan that includes 3,000 bytes.
const SIMS: u64 = 4_400;

fn iccid(n: u64) -> String {
    (8_941_000_000_000_000_000 + n).to_string()
}

async fn fleet() -> TestDatabase {
    let database = TestDatabase::new().await;
    let sims: Vec<SimRow> = (0..SIMS)
        .map(|n| SimRow {
            carrier: Some(if n % 3 == 0 { "Salt" } else { "Sunrise" }.into()),
            rate_plan: Some(if n % 2 == 0 { "volume" } else { "flat" }.into()),
            price_per_mb: Some("1".into()),
            included_bytes: Some(if n % 2 == 0 { 3_000 } else { 0 }),
            ..sim(&iccid(n))
        })
        .collect();
    database.import_at(NOW, &sims).await;
    database
}

/// Stores a record of each of these SIMs, in messages of 500.
async fn report(pipeline: &TestPipeline, sims: impl Iterator<Item = u64>, record: impl Fn(&str) -> String) {
    let records: Vec<String> = sims
        .map(|n| {
            let iccid = iccid(n);
            record(&iccid).replacen('{', &format!(r#"{{"iccid":"{iccid}","#), 1)
        })
        .collect();
    for part in records.chunks(500) {
        let receipt =
            decided(pipeline.send_as(sender(true), None, format!("[{}]", part.join(","))).await).await;
        assert_eq!(words(&receipt), vec!["stored"; part.len()]);
    }
}

/// Rolls up whatever waits in one chunk; tells how many days of networks and how many cycles were taken as a whole.
async fn roll_up(client: &mut Client) -> (i64, i64) {
    let (dense, _) = roll_up_watched(client).await;
    dense
}

/// The same, and how often days of SIMs and included volumes were looked up.
async fn roll_up_watched(client: &mut Client) -> ((i64, i64), i64) {
    let transaction = client.transaction().await.expect("a transaction");
    transaction.execute("SELECT roll_up_chunk(1000000)", &[]).await.expect("a roll-up");
    let dense = "SELECT (SELECT count(*) FROM rollup_dense_days), (SELECT count(*) FROM rollup_dense_cycles)";
    let row = transaction.query_one(dense, &[]).await.expect("counts");
    let lookups = "SELECT sum(idx_scan)::bigint FROM pg_stat_xact_user_tables
                   WHERE relname LIKE 'sim_daily_usage%' OR relname = 'sim_allowances'";
    let lookups = transaction.query_one(lookups, &[]).await.expect("a count").get(0);
    transaction.commit().await.expect("a commit");
    ((row.get(0), row.get(1)), lookups)
}

async fn charts(database: &TestDatabase) -> Vec<String> {
    let everything = "SELECT 'SIM', to_jsonb(s)::text FROM sim_daily_usage s UNION ALL SELECT 'hour', to_jsonb(h)::text FROM hourly_usage h
        UNION ALL SELECT 'set', to_jsonb(h)::text FROM hourly_active_sims h UNION ALL SELECT 'days', to_jsonb(d)::text FROM daily_active_sims d
        UNION ALL SELECT 'day', (to_jsonb(d) - 'updated_at' - 'id')::text FROM daily_usage d
        UNION ALL SELECT 'volume', to_jsonb(a)::text FROM sim_allowances a ORDER BY 1, 2";
    database.rows(everything).await
}

/// Catches rows that are added twice (dense and then looked up again), days or cycles that are left out because others of the
/// chunk were dense, rows that are new among dense ones and not inserted, and plans that look up each row of a dense day.
#[tokio::test]
async fn a_chunk_of_most_sims_adds_what_chunks_of_few_add() {
    let database = fleet().await;
    let mut client = connect(&database.another_config()).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);

    report(&pipeline, 0..3_300, |iccid| record_at(&format!("a-{iccid}"), AT, 1_000)).await;
    report(&pipeline, 0..50, |iccid| record_at(&format!("z-{iccid}"), LAST_MONTH, 2_400)).await;
    assert_eq!(roll_up(&mut client).await, (1, 1), "the first chunk of a day is all that the day has");
    database.assert_reconciled().await;

    // Nobody goes over a volume, and so no day has to be priced.
    report(&pipeline, 0..3_000, |iccid| record_at(&format!("y-{iccid}"), AT, 1)).await;
    let (dense, lookups) = roll_up_watched(&mut client).await;
    assert_eq!(dense, (1, 1));
    assert!(lookups < 100, "3,000 rows were found by {lookups} lookups");
    database.assert_reconciled().await;

    // All of today, a third of them for the first time, every volume used up; and few of last month.
    report(&pipeline, 0..SIMS, |iccid| record_at(&format!("b-{iccid}"), AT, 2_500)).await;
    report(&pipeline, 20..70, |iccid| record_at(&format!("c-{iccid}"), LAST_MONTH, 700)).await;
    assert_eq!(roll_up(&mut client).await, (1, 1));
    database.assert_reconciled().await;

    // Among many, some take back what they used; others have to be looked at for what they took back.
    report(&pipeline, 0..200, |iccid| {
        correction_at(&format!("d-{iccid}"), &format!("b-{iccid}"), AT, -2_500)
    })
    .await;
    report(&pipeline, 100..SIMS, |iccid| record_at(&format!("e-{iccid}"), AT, 10)).await;
    assert_eq!(roll_up(&mut client).await, (1, 1));
    database.assert_reconciled().await;

    report(&pipeline, 1_000..1_900, |iccid| record_at(&format!("f-{iccid}"), AT, 5)).await;
    assert_eq!(roll_up(&mut client).await, (0, 0), "looking up 900 of 4,400 costs less");
    database.assert_reconciled().await;

    let charted = charts(&database).await;
    for day in ["2026-02-20", "2026-03-10"] {
        let rebuild = format!("SELECT rebuild_days(1, '{day}', '{day}')");
        client.execute(&rebuild, &[]).await.expect("days made anew");
    }
    assert_eq!(charts(&database).await, charted, "nothing differs from days that are made anew");
    pipeline.finish().await;
}

/// Catches a connection that goes on with temporary tables of the shape that an earlier schema gave them: during an upgrade the
/// version before may have taken chunks on it.
#[tokio::test]
async fn a_connection_that_is_older_than_the_schema_makes_its_temporary_tables_anew() {
    let database = fleet().await;
    let client = connect(&database.another_config()).await;
    client
        .batch_execute(
            "CREATE TEMPORARY TABLE rollup_changes (tenant_id integer); CREATE TEMPORARY TABLE rollup_days (used boolean);
             CREATE TEMPORARY TABLE rollup_updated (day_row tid); CREATE TEMPORARY TABLE rollup_transitions (tenant_id integer);
             CREATE TEMPORARY TABLE rollup_costs (tenant_id integer); CREATE TEMPORARY TABLE rollup_allowances (tenant_id integer);
             CREATE TEMPORARY TABLE rollup_volumes (row_number bigint);
             CREATE TEMPORARY TABLE rollup_volumes_updated (row_number bigint)",
        )
        .await
        .expect("tables as version 36 made them");
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    report(&pipeline, 0..10, |iccid| record_at(&format!("a-{iccid}"), AT, 1_000)).await;
    client.execute("SELECT roll_up_chunk(1000000)", &[]).await.expect("a roll-up");
    database.assert_reconciled().await;
    let done =
        database.store.roll_up(1_000, PATIENCE, Lock::Wait).await.expect("a roll-up").expect("the lock");
    assert_eq!(done.markers, 0);
    assert_eq!(database.number("SELECT sum(record_count)::bigint FROM daily_usage").await, 10);
    pipeline.finish().await;
}
