//! Records of SIMs that are not provisioned yet, or not the sender's, or that change hands of carriers.

use simbridge::ingest::queue::Sender;
use simbridge::store::sims::SimRow;

use crate::harness::database::{TENANT, TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, decided, record_at, sender, time, word, words};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";
const AT: &str = "2026-03-10T11:00:00Z";

fn on_plan(carrier: &str, plan: &str) -> SimRow {
    SimRow { carrier: Some(carrier.into()), rate_plan: Some(plan.into()), ..sim(ICCID) }
}

/// Catches refusing what comes before its SIM, and attaching it without its totals.
#[tokio::test]
async fn records_of_an_unknown_sim_are_stored_and_count_once_it_is_imported() {
    let database = TestDatabase::new().await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let late = record_at("old", "2025-12-10T00:00:00Z", 4);
    let payload = format!("[{},{},{late}]", record_at("a", AT, 1), record_at("b", AT, 2));
    assert_eq!(words(&pipeline.decide(Some(ICCID), payload).await), ["stored"; 3]);
    let loose =
        "SELECT count(*) FROM usage_records WHERE sim_id IS NULL AND cycle_id IS NULL AND tenant_id = 1";
    assert_eq!(database.number(loose).await, 3);
    assert_eq!(database.number("SELECT count(*) FROM usage_cycles").await, 0);
    database.assert_reconciled().await;

    let imported = database.import_at(NOW, &[on_plan("Salt", "flat")]).await;
    assert_eq!((imported.created, imported.stamped), (1, 3));
    let totals = "SELECT cycle_id || ' ' || total_bytes FROM usage_cycles WHERE record_count > 0 ORDER BY 1";
    assert_eq!(database.rows(totals).await, ["2025-12 4", "2026-03 3"]);
    assert_eq!(database.number("SELECT count(*) FROM usage_cycles").await, 4, "without a gap");
    database.assert_reconciled().await;

    // What an instance remembers of the SIM is of before the import.
    assert_eq!(word(&pipeline.one(ICCID, record_at("c", AT, 8)).await), "stored");
    assert_eq!(database.import_at(NOW, &[sim(ICCID)]).await.stamped, 0);
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 15);
    database.assert_reconciled().await;
}

/// Catches a batch that looks its SIMs up before an import commits and stores them after: I1, I6.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_races_with_its_records_leaves_each_in_its_cycle() {
    const SIMS: usize = 60;
    let database = TestDatabase::new().await;
    let iccids: Vec<String> = (0..SIMS).map(|n| format!("89410000000000003{n:02}")).collect();
    let pipelines = [&database.store, &database.another_store()].map(|s| TestPipeline::start_at(s, NOW));
    let send = async |from: usize| {
        let mut receipts = Vec::new();
        for n in (from..12 * SIMS).step_by(4) {
            let at = if n % 3 == 0 { "2026-01-10T00:00:00Z" } else { AT };
            let record = record_at(&format!("r-{n}"), at, 1);
            receipts.push(pipelines[n % 2].send(Some(&iccids[n * 7 % SIMS]), record).await);
            if n % 60 < 4 {
                // Lets the imports come between.
                decided(receipts.pop().expect("just pushed")).await;
            }
        }
        for receipt in receipts {
            assert_eq!(words(&decided(receipt).await), ["stored"]);
        }
    };
    let import = async {
        let mut stamped = 0;
        for chunk in iccids.chunks(5) {
            let rows: Vec<_> = chunk.iter().map(|iccid| sim(iccid)).collect();
            stamped += database.import_at(NOW, &rows).await.stamped;
        }
        stamped
    };
    tokio::join!(send(0), send(1), send(2), send(3), import);
    assert_eq!(database.number("SELECT count(*) FROM usage_records WHERE sim_id IS NULL").await, 0);
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 12 * SIMS as i64);
    database.assert_reconciled().await;
}

/// Catches a tenant that writes into another's totals.
#[tokio::test]
async fn a_sim_of_another_tenant_stays_unknown_to_the_sender() {
    let database = TestDatabase::new().await;
    let other = database.tenant("other", "UTC").await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    let foreign = Sender { tenant: other, ..sender(false) };
    assert_eq!(word(&pipeline.one_as(foreign.clone(), ICCID, record_at("r", AT, 9)).await), "stored");
    assert_eq!(word(&pipeline.one(ICCID, record_at("r", AT, 1)).await), "stored");
    let loose =
        format!("SELECT tenant_id = {} AND sim_id IS NULL FROM usage_records WHERE total_bytes = 9", other.0);
    assert_eq!(database.text(&loose, &[]).await, "true");
    assert_eq!(
        database.import_at(NOW, &[sim(ICCID)]).await.stamped,
        0,
        "an import of the owner changes nothing"
    );
    let imported = database.store.import_sims(other, &[sim(ICCID)], time(NOW)).await.expect("an import");
    assert_eq!((imported.foreign, imported.created, imported.stamped), (1, 0, 0));
    assert_eq!(word(&pipeline.one_as(foreign, ICCID, record_at("s", AT, 9)).await), "stored");
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 1);
    database.assert_reconciled().await;
    assert_ne!(other, TENANT);
}

/// Catches a change that counts for the past or not for what is remembered, and one that misses records which lie ahead of
/// it: a period may start after now, and records are stored while an import waits.
#[tokio::test]
async fn a_new_carrier_counts_from_the_change_on_and_not_before() {
    let database = TestDatabase::new().await;
    database.import_at("2026-03-01T00:00:00Z", &[on_plan("Salt", "flat")]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    pipeline.one(ICCID, record_at("past", AT, 1)).await;
    pipeline.one(ICCID, record_at("ahead", "2026-03-10T12:00:01Z", 2)).await;
    database.import_at(NOW, &[on_plan("Sunrise", "volume")]).await;
    pipeline.one(ICCID, record_at("late", AT, 4)).await;
    pipeline.one(ICCID, record_at("now", NOW, 8)).await;
    let carriers = "SELECT r.record_id || ' ' || c.name || ' ' || p.name FROM usage_records r
                    JOIN carriers c ON c.id = r.carrier_id JOIN rate_plans p ON p.id = r.rate_plan_id ORDER BY 1";
    let expected = ["ahead Sunrise volume", "late Salt flat", "now Sunrise volume", "past Salt flat"];
    assert_eq!(database.rows(carriers).await, expected);
    assert_eq!(database.number("SELECT count(*) FROM sim_ownership").await, 2);
    database.assert_reconciled().await;
}

/// Catches a change that is dated before the one that it follows, and so never counts.
#[tokio::test]
async fn a_clock_that_was_set_back_does_not_hide_a_change() {
    let database = TestDatabase::new().await;
    for (at, carrier) in [
        ("2026-03-01T00:00:00Z", "Salt"),
        ("2026-03-05T00:00:00Z", "Sunrise"),
        ("2026-03-04T00:00:00Z", "Swisscom"),
    ] {
        database.import_at(at, &[on_plan(carrier, "flat")]).await;
    }
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    pipeline.one(ICCID, record_at("r", AT, 1)).await;
    let carrier = "SELECT c.name FROM usage_records r JOIN carriers c ON c.id = r.carrier_id";
    assert_eq!(database.text(carrier, &[]).await, "Swisscom");
    database.assert_reconciled().await;
}
