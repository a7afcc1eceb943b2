//! Everything that touches rollups, at once.

use chrono::{NaiveDate, TimeDelta};
use simbridge::domain::Iccid;
use simbridge::store::Store;
use simbridge::store::rollups::Lock;
use simbridge::store::sim_moves::SimMove;
use simbridge::store::sims::SimRow;

use crate::harness::PATIENCE;
use crate::harness::database::{TENANT, TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, correction_at, decided, record_at, sender, time, words};

const NOW: &str = "2026-11-05T12:00:00Z";
const SIMS: usize = 12;
const ROUNDS: usize = 25;

fn iccid(n: usize) -> String {
    format!("89410000000000000{:02}", n % SIMS)
}

fn on_plan(n: usize) -> SimRow {
    SimRow {
        carrier: Some(["Salt", "Sunrise"][n % 2].into()),
        rate_plan: Some("pool".into()),
        price_per_mb: Some("0.5".into()),
        included_bytes: Some(1_000),
        ..sim(&iccid(n))
    }
}

/// Writes records around a change of clocks, and takes every third one back.
async fn write(pipeline: &TestPipeline, writer: usize) {
    for round in 0..ROUNDS {
        let mut receipts = Vec::new();
        for n in 0..SIMS {
            let at = time("2026-10-31T12:00:00Z")
                + TimeDelta::minutes(((round * 7 + n * 11 + writer) % 96) as i64 * 20);
            let (at, id) = (at.to_rfc3339(), format!("r-{writer}-{round}"));
            let mut records = vec![record_at(&id, &at, 500 + n as i64)];
            if (round + n).is_multiple_of(3) {
                records.push(correction_at(&format!("{id}-back"), &id, &at, -500 - n as i64));
            }
            let payload = format!("[{}]", records.join(","));
            receipts.push((pipeline.send_as(sender(true), Some(&iccid(n)), payload).await, records.len()));
        }
        for (receipt, count) in receipts {
            assert_eq!(words(&decided(receipt).await), vec!["stored"; count]);
        }
    }
}

async fn work(store: &Store, lock: Lock) {
    for round in 0..ROUNDS {
        store.roll_up([1, 5, 50][round % 3], PATIENCE, lock).await.expect("a roll-up");
        store.move_zone(2, PATIENCE, lock).await.expect("a move");
    }
}

async fn rebuild(store: &Store) {
    let day = |text: &str| text.parse::<NaiveDate>().expect("a date");
    for _ in 0..ROUNDS / 5 {
        let (first, last) = (day("2026-10-31"), day("2026-11-01"));
        store.rebuild_days(TENANT, first, last, PATIENCE).await.expect("a rebuild");
    }
}

async fn change_hands(store: &Store) {
    for round in 0..ROUNDS {
        store.import_sims(TENANT, &[on_plan(round)], time(NOW)).await.expect("an import");
        let to = SimMove {
            iccid: Iccid::parse(&iccid(round / 2)).expect("an ICCID"),
            tenant: None,
            carrier: Some(["Sunrise", "Salt"][round % 2].into()),
            rate_plan: None,
            from: time("2026-11-01T00:00:00Z"),
        };
        store.move_sim(&to, time(NOW)).await.expect("a move");
    }
}

/// Catches a change of rollups without the lock, deadlocks, and whatever the named interleavings leave out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_workers_imports_moves_and_rebuilds_at_once_keep_every_invariant() {
    let database = TestDatabase::new().await;
    let others = [database.another_store(), database.another_store()];
    let pipelines = [&database.store, &others[0]].map(|store| TestPipeline::start_at(store, NOW));
    let zones = async {
        for zone in ["America/New_York", "Asia/Kolkata", "America/Havana", "UTC"] {
            // Refused while the one before is under way.
            let change = format!("UPDATE tenants SET time_zone = '{zone}' WHERE id = 1");
            database.client.batch_execute(&change).await.ok();
            for _ in 0..4 {
                database.assert_reconciled().await;
            }
        }
    };
    tokio::join!(
        write(&pipelines[0], 0),
        write(&pipelines[1], 1),
        work(&database.store, Lock::Wait),
        work(&others[1], Lock::Skip),
        rebuild(&others[0]),
        change_hands(&others[1]),
        zones,
    );
    database.assert_reconciled().await;
    database.roll_up().await;
    database.move_zones().await;
    let taken_back = (0..ROUNDS * SIMS).filter(|n| (n / SIMS + n % SIMS).is_multiple_of(3)).count();
    let records = 2 * (ROUNDS * SIMS + taken_back);
    assert_eq!(database.assert_reconciled().await.records, records as i64);
    assert_eq!(database.number("SELECT sum(record_count) FROM daily_usage").await, records as i64);
}
