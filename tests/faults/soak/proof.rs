//! What must be in the database when everything was acknowledged.

use std::collections::HashMap;
use std::time::Duration;

use simulator::fleet::Fleet;
use tokio_postgres::Client;

use super::ledger::{Ledger, Tally};
use super::plan::Plan;
use crate::harness::bridge::simbridge;
use crate::harness::patience::eventually_within;

/// Records, cycles, charts and quarantine hold what was acknowledged, once, and nothing else.
pub(super) async fn assert_exact(client: &Client, fleet: &Fleet, ledger: &Ledger, malformed: &[String]) {
    let expected: HashMap<(String, String), Tally> = ledger
        .cycles()
        .map(|(sim, cycle, tally)| ((fleet.sims()[sim as usize].iccid.clone(), cycle), tally))
        .collect();
    let records =
        "SELECT iccid, cycle_id, count(*), sum(total_bytes)::bigint FROM usage_records GROUP BY 1, 2";
    assert_same("records", &expected, &tallies(client, records).await);
    let cycles =
        "SELECT iccid, cycle_id, record_count, total_bytes::bigint FROM usage_cycles WHERE record_count <> 0";
    assert_same("cycles", &expected, &tallies(client, cycles).await);
    let days = "SELECT iccid, cycle_id, sum(record_count)::bigint, sum(total_bytes)::bigint FROM sim_daily_usage GROUP BY 1, 2";
    assert_same("days", &expected, &tallies(client, days).await);

    let parked = client.query("SELECT payload FROM quarantine", &[]).await.expect("the quarantine");
    let mut parked: Vec<Vec<u8>> = parked.iter().map(|row| row.get(0)).collect();
    let mut malformed: Vec<Vec<u8>> = malformed.iter().map(|payload| payload.clone().into_bytes()).collect();
    parked.sort();
    malformed.sort();
    assert_eq!(parked.len(), malformed.len(), "parked and malformed");
    assert!(parked == malformed, "what is parked is what was malformed");
}

async fn tallies(client: &Client, sql: &str) -> HashMap<(String, String), Tally> {
    let rows = client.query(sql, &[]).await.expect("tallies");
    let one = |row: &tokio_postgres::Row| {
        let cycle: Option<String> = row.get(1);
        let key = (row.get(0), cycle.unwrap_or_else(|| "none".into()));
        (key, Tally { records: row.get(2), bytes: row.get(3) })
    };
    let tallies: HashMap<_, _> = rows.iter().map(one).collect();
    assert_eq!(tallies.len(), rows.len(), "a row for each SIM and cycle");
    tallies
}

fn assert_same(
    what: &str,
    expected: &HashMap<(String, String), Tally>,
    stored: &HashMap<(String, String), Tally>,
) {
    let keys = expected.keys().chain(stored.keys().filter(|key| !expected.contains_key(*key)));
    let wrong: Vec<_> = keys
        .filter(|key| expected.get(*key) != stored.get(*key))
        .map(|key| (key, expected.get(key), stored.get(key)))
        .collect();
    assert!(
        wrong.is_empty(),
        "{what}: {} SIMs and cycles differ (acknowledged, stored): {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
}

/// Every batch is rolled up: no marker is left.
pub(super) async fn settle(client: &Client, plan: &Plan) {
    let sql = "SELECT count(*) FROM rollup_markers";
    eventually_within(plan.patience, "rollups of everything", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        (client.query_one(sql, &[]).await.ok()?.get::<_, i64>(0) == 0).then_some(())
    })
    .await;
}

/// `simbridge reconcile` finds nothing; returns how long it took.
pub(super) async fn reconcile(url: &str, plan: &Plan) -> Duration {
    let began = tokio::time::Instant::now();
    let mut command = simbridge();
    command.arg("reconcile").env("DATABASE_URL", url);
    let ended = tokio::time::timeout(plan.patience * 2, command.output()).await;
    let output = ended.expect("it ends").expect("it starts");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    began.elapsed()
}
