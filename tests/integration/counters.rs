//! Cumulative readings become amounts once, whatever order they come in.

use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, decided, words};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";

async fn with_sim() -> (TestDatabase, TestPipeline) {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    (database, pipeline)
}

/// A reading of session `s`, `minute` minutes after ten.
pub(crate) fn reading(id: &str, minute: u32, upload: i64, download: i64) -> String {
    let at = format!("2026-03-10T10:{minute:02}:00Z");
    format!(
        r#"{{"recordId":"{id}","periodStart":"{at}","periodEnd":"{at}","counters":{{"sessionId":"s","uploadBytes":{upload},"downloadBytes":{download}}}}}"#
    )
}

/// Stored amounts as `id upload download total`, and the session's sums and newest reading.
async fn stored(database: &TestDatabase) -> (Vec<String>, String) {
    let records = "SELECT concat_ws(' ', record_id, data_upload_bytes, data_download_bytes, total_bytes)
                   FROM usage_records ORDER BY record_id";
    let session =
        "SELECT concat_ws(' ', data_upload_bytes, data_download_bytes, upload_counter, download_counter)
                   FROM usage_sessions";
    let records = database.rows(records).await;
    database.assert_reconciled().await;
    (records, database.text(session, &[]).await)
}

/// Catches storing the reading as an amount, and a wrap or reset that counts negative.
#[tokio::test]
async fn readings_are_stored_as_what_was_used_since_the_one_before() {
    let (database, pipeline) = with_sim().await;
    let top = (1i64 << 32) - 10;
    for (n, (upload, download)) in
        [(100, 7), (150, 7), (top, 8), (20, 9), (5, 1), (6, 1)].into_iter().enumerate()
    {
        pipeline.one(ICCID, reading(&format!("r-{n}"), n as u32, upload, download)).await;
    }
    let (records, session) = stored(&database).await;
    let third = top - 150;
    let expected = [
        "r-0 100 7 107".to_owned(),
        "r-1 50 0 50".into(),
        format!("r-2 {third} 1 {}", third + 1),
        "r-3 30 1 31".into(),
        "r-4 5 1 6".into(),
        "r-5 1 0 1".into(),
    ];
    assert_eq!(records, expected);
    assert_eq!(session, format!("{} 10 6 1", 150 + third + 30 + 6));
}

/// Catches a reading that was decided upon before another one was stored, and is taken for a reset of the counter.
#[tokio::test]
async fn a_reading_that_says_from_where_it_counts_adds_nothing_elsewhere() {
    let (database, pipeline) = with_sim().await;
    let from = |id, minute, download, from: i64| {
        let place =
            format!(r#""downloadBytes":{download},"from":{{"uploadBytes":0,"downloadBytes":{from}}}"#);
        reading(id, minute, 0, download).replace(&format!(r#""downloadBytes":{download}"#), &place)
    };
    for (id, minute, download, place) in
        [("a", 0, 100, 0), ("b", 1, 120, 100), ("c", 2, 110, 100), ("d", 3, 130, 120), ("e", 4, 9, 130)]
    {
        pipeline.one(ICCID, from(id, minute, download, place)).await;
    }
    let (records, session) = stored(&database).await;
    assert_eq!(records, ["a 0 100 100", "b 0 20 20", "c 0 0 0", "d 0 10 10", "e 0 9 9"]);
    assert_eq!(session, "0 139 0 9");
}

/// Catches comparing readings in the order of their ids or of arrival.
#[tokio::test]
async fn readings_out_of_order_in_one_batch_and_across_batches_never_count_twice() {
    let (database, pipeline) = with_sim().await;
    let batch =
        format!("[{},{},{}]", reading("a", 30, 300, 3), reading("b", 10, 100, 1), reading("c", 20, 200, 2));
    assert_eq!(words(&pipeline.decide(Some(ICCID), batch).await), ["stored", "stored", "stored"]);
    pipeline.one(ICCID, reading("late", 15, 150, 1)).await;
    pipeline.one(ICCID, reading("next", 40, 400, 4)).await;
    let (records, session) = stored(&database).await;
    assert_eq!(records, ["a 100 1 101", "b 100 1 101", "c 100 1 101", "late 0 0 0", "next 100 1 101"]);
    assert_eq!(session, "400 4 400 4");
}

/// Catches advancing the session for a record that is not stored.
#[tokio::test]
async fn a_repeated_or_conflicting_reading_changes_nothing() {
    let (database, pipeline) = with_sim().await;
    let first = reading("a", 10, 100, 1);
    let batch = format!("[{first},{first},{}]", reading("a", 20, 900, 9));
    assert_eq!(words(&pipeline.decide(Some(ICCID), batch).await), ["stored", "duplicate", "conflict"]);
    assert_eq!(words(&pipeline.decide(Some(ICCID), first).await), ["duplicate"]);
    let (records, session) = stored(&database).await;
    assert_eq!((records, &*session), (vec!["a 100 1 101".to_owned()], "100 1 100 1"));
}

/// Catches reading a session without locking it: two writers would count from the same reading.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_meet_in_one_session_count_every_byte_once() {
    let (database, first) = with_sim().await;
    let second = TestPipeline::start_at(&database.another_store(), NOW);
    let mut receipts = Vec::new();
    for n in 0..60u32 {
        // Never backwards, so that the last reading is the sum whatever order they are committed in.
        let reading = reading(&format!("r-{n:02}"), n, i64::from(n) * 10, i64::from(n));
        receipts.push([&first, &second][n as usize % 2].send(Some(ICCID), reading).await);
    }
    for receipt in receipts {
        assert_eq!(words(&decided(receipt).await), ["stored"]);
    }
    let (_, session) = stored(&database).await;
    assert_eq!(session, "590 59 590 59");
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_records").await, 649);
}
