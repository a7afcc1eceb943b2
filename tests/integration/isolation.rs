//! A row that PostgreSQL refuses is found and parked alone.

use simbridge::ingest::queue::RecordStatus;

use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, record_at, word, words};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";
const AT: &str = "2026-03-10T11:00:00Z";

/// A database whose table of records refuses the record `bad` with an error of `code`.
async fn that_refuses(code: &str) -> (TestDatabase, TestPipeline) {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    database
        .run(&format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.record_id LIKE 'bad%' THEN RAISE 'not this one' USING ERRCODE = '{code}'; END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON usage_records FOR EACH ROW EXECUTE FUNCTION refuse();"
        ))
        .await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    (database, pipeline)
}

fn array(ids: impl Iterator<Item = String>) -> String {
    format!("[{}]", ids.map(|id| record_at(&id, AT, 1)).collect::<Vec<_>>().join(","))
}

/// Catches parking a whole batch for one row, a bisection that loses or doubles a range, and 23514 of a trigger taken for
/// a missing partition (which would be tried again for ever).
#[tokio::test]
async fn the_one_row_that_is_refused_is_parked_and_its_neighbours_are_stored_once() {
    for code in ["22023", "23514"] {
        let (database, pipeline) = that_refuses(code).await;
        let ids = |n: usize| if n == 137 { "bad".to_owned() } else { format!("r-{n:03}") };
        let receipt = pipeline.decide(Some(ICCID), array((0..200).map(ids))).await;
        for (n, record) in receipt.records.iter().enumerate() {
            let expected = if n == 137 { "refused_by_database" } else { "stored" };
            assert_eq!((word(&record.status), record.record_id.as_deref()), (expected, Some(&*ids(n))));
        }
        let RecordStatus::Parked(why) = &receipt.records[137].status else { panic!("it is parked") };
        assert_eq!(why.to_string(), format!("not this one (SQLSTATE {code})"));
        assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 199);
        assert_eq!(database.number("SELECT sum(record_count) FROM usage_cycles").await, 199);
        assert_eq!(database.number("SELECT count(*) FROM record_keys WHERE record_id = 'bad'").await, 0);
        let parked = "SELECT reason || ' ' || record_id FROM quarantine";
        assert_eq!(database.text(parked, &[]).await, "refused_by_database bad");
        assert!(pipeline.metrics.balance().holds());
        database.assert_reconciled().await;
    }
}

/// Catches a bisection that stops at the first culprit.
#[tokio::test]
async fn several_refused_rows_are_each_found() {
    let (database, pipeline) = that_refuses("22003").await;
    let bad = |n: usize| [0, 1, 50, 99].contains(&n);
    let ids = (0..100).map(|n| if bad(n) { format!("bad-{n:02}") } else { format!("good-{n:02}") });
    let receipt = pipeline.decide(Some(ICCID), array(ids)).await;
    let expected: Vec<_> = (0..100).map(|n| if bad(n) { "refused_by_database" } else { "stored" }).collect();
    assert_eq!(words(&receipt), expected);
    assert_eq!(database.number("SELECT count(*) FROM quarantine").await, 4);
    assert_eq!(word(&pipeline.one(ICCID, record_at("bad-00", AT, 1)).await), "refused_by_database");
    assert_eq!(database.number("SELECT max(seen_count) FROM quarantine").await, 2, "only counted up");
    database.assert_reconciled().await;
}

/// Catches parking what only has to be tried again.
#[tokio::test]
async fn an_error_that_passes_is_waited_for() {
    for code in ["40001", "53100", "57P01", "58030", "XX000"] {
        let (database, pipeline) = that_refuses(code).await;
        let receipt =
            pipeline.send(Some(ICCID), array(["bad".to_owned(), "good".to_owned()].into_iter())).await;
        if code != "40001" {
            let noticed = async || (!pipeline.database.is_working()).then_some(());
            crate::harness::eventually("the outage is noticed", noticed).await;
        }
        // The batch that is tried again locks the same partitions in another order, and one of the two gives way.
        let drop = "DROP TRIGGER refuse ON usage_records";
        let dropped = async || database.client.batch_execute(drop).await.ok();
        crate::harness::eventually("the trigger is gone", dropped).await;
        let receipt = crate::harness::pipeline::decided(receipt).await;
        assert_eq!(words(&receipt), ["stored", "stored"], "{code}");
        assert_eq!(database.number("SELECT count(*) FROM quarantine").await, 0);
        database.assert_reconciled().await;
    }
}

/// Catches parking a record for a month that nobody has made a partition for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_partition_is_made_when_a_record_needs_it() {
    let database = TestDatabase::new().await;
    database.import_at("2031-05-10T12:00:00Z", &[sim(ICCID)]).await;
    let first = TestPipeline::start_at(&database.store, "2031-05-10T12:00:00Z");
    let second = TestPipeline::start_at(&database.another_store(), "2031-05-10T12:00:00Z");
    let mut receipts = Vec::new();
    for (n, month) in ["2031-05", "2030-05", "2031-01", "2030-12"].into_iter().enumerate() {
        for (of, pipeline) in [&first, &second].into_iter().enumerate() {
            let record = record_at(&format!("r-{n}-{of}"), &format!("{month}-10T00:00:00Z"), 1);
            receipts.push(pipeline.send(Some(ICCID), record).await);
        }
    }
    for receipt in receipts {
        assert_eq!(words(&crate::harness::pipeline::decided(receipt).await), ["stored"]);
    }
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 8);
    database.assert_reconciled().await;
}
