//! Large batches go by COPY, as far as the server lets them (ADR 0032), and count like small ones.

use simbridge::store::Store;

use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, decided, record_at, sender, words};
use crate::harness::server::connect;

const ICCID: &str = "8941000000000000001";
const OTHER: &str = "8941000000000000002";
const NOW: &str = "2026-03-10T12:00:00Z";
const AT: &str = "2026-03-10T11:00:00Z";
const LARGE: usize = 300;

/// With two SIMs, and a note of how rows of `table` are brought.
async fn noted(table: &str) -> TestDatabase {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID), sim(OTHER)]).await;
    let client = connect(&database.another_config()).await;
    let trigger = format!(
        "CREATE TABLE ways (id serial, way text);
         CREATE FUNCTION note_way() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
         BEGIN
             INSERT INTO ways (way) SELECT (regexp_match(current_query(), '(COPY|INSERT)'))[1];
             RETURN NULL;
         END $$;
         CREATE TRIGGER noted AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION note_way();
         GRANT SELECT ON ways TO PUBLIC"
    );
    client.batch_execute(&trigger).await.expect("a trigger");
    database
}

async fn ways(database: &TestDatabase) -> Vec<String> {
    database.rows("SELECT way FROM ways ORDER BY id").await
}

fn payload(records: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", records.into_iter().collect::<Vec<_>>().join(","))
}

fn fresh(name: &str) -> impl Iterator<Item = String> {
    (0..LARGE).map(move |n| record_at(&format!("{name}-{n:03}"), AT, n as i64))
}

/// One after the other, so that each is a batch of its own.
async fn decide(pipeline: &TestPipeline, iccid: &str, payload: String) -> Vec<&'static str> {
    words(&decided(pipeline.send_as(sender(true), Some(iccid), payload).await).await)
}

fn pipeline(store: &Store) -> TestPipeline {
    TestPipeline::start_at(store, NOW)
}

/// Catches a batch in which one taken key costs the others (the refusal taken for the fault of a record, which is then parked),
/// repetitions that are told as stored, and a program that tries in vain again and again.
#[tokio::test]
async fn a_large_batch_that_holds_repetitions_stores_the_rest_and_the_next_ones_are_careful() {
    let database = noted("record_keys").await;
    let pipeline = pipeline(&database.store);
    assert_eq!(decide(&pipeline, ICCID, payload(fresh("a"))).await, vec!["stored"; LARGE]);
    assert_eq!(ways(&database).await, ["COPY"]);

    let conflict = record_at("a-001", AT, 77);
    let mixed = fresh("a").take(1).chain([conflict]).chain(fresh("b"));
    let told = decide(&pipeline, ICCID, payload(mixed)).await;
    assert_eq!(told[..2], ["duplicate", "conflict"]);
    assert_eq!(told[2..], vec!["stored"; LARGE]);
    assert_eq!(ways(&database).await, ["COPY", "INSERT"], "what was refused left nothing");
    assert_eq!(decide(&pipeline, ICCID, payload(fresh("c"))).await, vec!["stored"; LARGE]);
    assert_eq!(ways(&database).await[2], "INSERT");
    let metrics = pipeline.metrics.balance();
    assert_eq!((metrics.stored, metrics.duplicate, metrics.parked), (3 * LARGE as u64, 1, 1));
    database.assert_reconciled().await;
}

/// Catches a column that COPY puts elsewhere than INSERT does, or leaves out. The owner is somebody whom the server lets copy.
#[tokio::test]
async fn what_is_copied_is_what_would_have_been_inserted() {
    let database = noted("usage_records").await;
    let pipeline = pipeline(&database.owner());
    let full = |n: usize| {
        format!(
            r#"{{"recordId":"r-{n}","periodStart":"{AT}","periodEnd":"{NOW}","mccmnc":"22801","source":"gateway {n}",
                "batchId":"b","usage":{{"totalBytes":{},"dataUploadBytes":{n},"dataDownloadBytes":7,"smsCount":{n},
                "voiceSeconds":9}}}}"#,
            n + 7
        )
    };
    let bare = |n: usize| record_at(&format!("bare-{n}"), AT, 3);
    let corrects = |n: usize| {
        record_at(&format!("less-{n}"), AT, -1).replacen('{', &format!(r#"{{"corrects":"bare-{n}","#), 1)
    };
    let of = |n: usize| [full(n), bare(n)];
    let large = decide(&pipeline, ICCID, payload((0..LARGE).flat_map(of))).await;
    assert_eq!(large, vec!["stored"; 2 * LARGE]);
    assert_eq!(decide(&pipeline, ICCID, payload((0..LARGE).map(corrects))).await, vec!["stored"; LARGE]);
    assert_eq!(ways(&database).await, ["COPY", "COPY"]);
    for n in 0..3 {
        assert_eq!(decide(&pipeline, OTHER, payload(of(n))).await, ["stored"; 2]);
        assert_eq!(decide(&pipeline, OTHER, corrects(n)).await, ["stored"]);
    }
    assert_eq!(ways(&database).await[2..], ["INSERT"; 6]);
    let different = "SELECT record_id FROM (
        SELECT record_id, jsonb_object_agg(c.iccid, c.row) AS rows FROM (
            SELECT r.iccid, r.record_id,
                   to_jsonb(r) - '{id,write_id,iccid,sim_id,processed_at}'::text[] AS row FROM usage_records r) AS c
        GROUP BY record_id HAVING count(*) = 2) AS pairs
        WHERE rows -> '8941000000000000001' <> rows -> '8941000000000000002'";
    assert_eq!(database.rows(different).await, Vec::<String>::new());
    assert_eq!(
        database.number("SELECT count(*) FROM usage_records WHERE iccid = '8941000000000000002'").await,
        9
    );
    database.assert_reconciled().await;
}

/// Catches a login under row-level security, which may not copy records, whose large batches wait for ever.
#[tokio::test]
async fn a_login_that_may_not_copy_records_inserts_them() {
    let database = noted("usage_records").await;
    let pipeline = pipeline(&database.store);
    for name in ["a", "b"] {
        assert_eq!(decide(&pipeline, ICCID, payload(fresh(name))).await, vec!["stored"; LARGE]);
    }
    assert_eq!(ways(&database).await, ["INSERT"; 2]);
    database.assert_reconciled().await;
}
