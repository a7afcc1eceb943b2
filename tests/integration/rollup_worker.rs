//! The worker that keeps charts up to date, and those who ask for it: the command line and other readers.

use std::sync::Arc;
use std::time::Duration;

use simbridge::domain::Clock;
use simbridge::rollup::metrics::RollupMetrics;
use simbridge::rollup::{RollupOptions, work};
use tokio_util::sync::CancellationToken;

use crate::harness::bridge::command;
use crate::harness::database::{TestDatabase, sim};
use crate::harness::eventually;
use crate::harness::pipeline::{TestPipeline, record_at};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";
const OPTIONS: RollupOptions = RollupOptions {
    chunk_records: 5,
    zone_chunk_sims: 2,
    flush_after: Duration::ZERO,
    run_limit: Duration::from_secs(60),
};

fn clock() -> Clock {
    Clock::Fixed(NOW.parse().expect("a time"))
}

async fn drained(database: &TestDatabase) {
    eventually("an empty backlog", async || {
        let backlog = database.store.rollup_backlog().await.expect("a backlog");
        (backlog.markers == 0 && backlog.zone_changes == 0).then_some(())
    })
    .await;
}

/// Catches a worker that waits for its schedule although something has waited for long, one that gives up after an error,
/// and two that count a batch twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_two_instances_keep_the_charts_up_to_date_through_errors() {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let stop = CancellationToken::new();
    let workers: Vec<_> = [database.another_store(), database.another_store()]
        .map(|store| {
            let metrics = Arc::new(RollupMetrics::default());
            tokio::spawn(work(store, clock(), OPTIONS, metrics, stop.clone()))
        })
        .into();
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for n in 0..20 {
        let record = record_at(&format!("r-{n}"), &format!("2026-03-{:02}T10:00:00Z", n % 9 + 1), 1);
        pipeline.one(ICCID, record).await;
        if n == 10 {
            // Whatever the workers are at, their connections are gone.
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE datname = current_database() AND query LIKE '%roll%' AND pid <> pg_backend_pid()";
            database.run(kill).await;
        }
    }
    drained(&database).await;
    assert_eq!(database.number("SELECT sum(data_bytes) FROM daily_usage").await, 20);
    database.run("UPDATE tenants SET time_zone = 'Asia/Kolkata' WHERE id = 1").await;
    drained(&database).await;
    assert_eq!(database.number("SELECT sum(data_bytes) FROM daily_usage").await, 20);
    database.assert_reconciled().await;
    stop.cancel();
    for worker in workers {
        worker.await.expect("it ends");
    }
}

/// Catches a function that other readers cannot call, or that reports what it did not change.
#[tokio::test]
async fn another_reader_may_refresh_daily_usage_by_itself() {
    let database = TestDatabase::new().await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (n, day) in ["08", "09", "09"].into_iter().enumerate() {
        pipeline.one(ICCID, record_at(&format!("r-{n}"), &format!("2026-03-{day}T10:00:00Z"), 4)).await;
    }
    let refresh = "SELECT aggregate_usage_to_daily()";
    assert_eq!(database.number(refresh).await, 2);
    assert_eq!(database.number(refresh).await, 0);
    assert_eq!(database.number("SELECT sum(data_bytes) FROM daily_usage").await, 12);
    database.assert_reconciled().await;
}

#[tokio::test]
async fn the_commands_roll_up_what_waits_and_make_days_anew() {
    let database = TestDatabase::new().await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    for (n, day) in ["02-27", "03-09", "03-09"].into_iter().enumerate() {
        pipeline.one(ICCID, record_at(&format!("r-{n}"), &format!("2026-{day}T10:00:00Z"), 4)).await;
    }
    let (code, said, _) = command(&database, &["rollup"]).await;
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "3 records of 3 batches added, 2 rows of daily_usage refreshed")
    );
    let (code, said, _) = command(&database, &["rollup"]).await;
    assert_eq!((code, said.as_str()), (Some(0), "nothing waited: every chart shows every record"));

    database.run("UPDATE daily_usage SET data_bytes = 1; UPDATE hourly_usage SET sms_count = 7").await;
    let (code, said, _) = command(&database, &["rebuild", "--from", "2026-03-01"]).await;
    assert_eq!(code, Some(0));
    assert_eq!(said, "default: 2026-03-01 to 2026-03-09 made anew from 2 records");
    assert_eq!(database.number("SELECT sum(data_bytes) FROM daily_usage").await, 9, "February is left alone");
    assert_eq!(command(&database, &["rebuild"]).await.0, Some(0));
    database.assert_reconciled().await;

    let (code, _, said) =
        command(&database, &["rebuild", "--from", "2026-03-02", "--to", "2026-03-01"]).await;
    assert!(code == Some(2) && said.contains("--from lies after --to"), "{said}");
    let (code, _, said) = command(&database, &["rebuild", "--tenant", "nobody"]).await;
    assert!(code == Some(1) && said.contains("`nobody`"), "{said}");
    let (code, said, _) = command(&database, &["rebuild", "--to", "2020-01-01"]).await;
    assert_eq!((code, said.as_str()), (Some(0), "default: no records in these days"));
}
