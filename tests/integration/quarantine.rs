//! What cannot be stored is parked with its reason, can be mended and replayed, and costs its neighbours nothing.

use bytes::Bytes;
use simbridge::config::Config;
use simbridge::domain::Clock;
use simbridge::ingest::queue::{RecordStatus, Sender};
use simbridge::replay::{Replay, ReplayError, ReplayRules};
use simbridge::store::quarantine::{QuarantineEntry, Resolution};

use crate::harness::database::{TestDatabase, sim};
use crate::harness::pipeline::{TestPipeline, decided, record_at, sender, time, word, words};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-03-10T12:00:00Z";
const AT: &str = "2026-03-10T11:00:00Z";

async fn with_sim() -> (TestDatabase, TestPipeline) {
    let database = TestDatabase::new().await;
    database.import_at(NOW, &[sim(ICCID)]).await;
    let pipeline = TestPipeline::start_at(&database.store, NOW);
    (database, pipeline)
}

async fn entries(database: &TestDatabase) -> Vec<QuarantineEntry> {
    let mut entries = database.store.list_quarantine("", "", i64::MAX, 100).await.expect("a list");
    entries.reverse();
    entries
}

fn with_total(total: &str) -> Bytes {
    record_at("bad", AT, 0).replace(":0}", &format!(":{total}}}")).into()
}

/// Each kind of bad record, its code and a part of its reason.
fn bad_records() -> Vec<(Bytes, &'static str, &'static str)> {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let at = |moment: &str| Bytes::from(record_at("bad", moment, 0));
    let bad_utf8 = [b"{\"recordId\":\"\xff\",", &record_at("x", AT, 0).as_bytes()[16..]].concat();
    vec![
        ("{\"recordId\":".into(), "malformed", "not JSON"),
        (deep.into(), "invalid", "recordId: is required"),
        (with_total("1e400"), "invalid", "must be an integer, not a fraction or exponent"),
        (with_total("NaN"), "malformed", "not JSON"),
        (bad_utf8.into(), "malformed", "not JSON"),
        (with_total("-1"), "invalid", "usage.totalBytes: must not be negative"),
        (with_total("1.5"), "invalid", "must be an integer, not a fraction"),
        (with_total("\"7\""), "invalid", "must be an integer, not text"),
        (with_total("35184372088833"), "invalid", "must be at most 2^45"),
        (at("0001-01-01T00:00:00Z"), "invalid", "is more than 400 days old"),
        (at("9999-12-31T23:59:59Z"), "invalid", "lies more than 24 hours ahead of now"),
        (
            record_at("bad", AT, 0).replacen('{', r#"{"iccid":"8941000000000000002","#, 1).into(),
            "iccid_mismatch",
            "iccid: differs from the ICCID of the topic",
        ),
        (Bytes::new(), "malformed", "the payload is empty"),
        (vec![b'x'; 300 << 10].into(), "malformed", "a usage payload is a JSON object or array"),
        (record_at(&"r".repeat(300 << 10), AT, 0).into(), "invalid", "at most 100 characters"),
    ]
}

/// Catches a payload that ends the writer, and an acknowledgement without a trace.
#[tokio::test]
async fn every_kind_of_bad_record_is_parked_with_its_reason_and_its_bytes() {
    let (database, pipeline) = with_sim().await;
    for (payload, code, _) in bad_records() {
        assert_eq!(word(&pipeline.one(ICCID, payload).await), code);
    }
    assert_eq!(word(&pipeline.one(ICCID, record_at("good", AT, 7)).await), "stored");
    let entries = entries(&database).await;
    assert_eq!(entries.len(), bad_records().len());
    for ((payload, code, reason), entry) in bad_records().into_iter().zip(entries) {
        assert_eq!((&*entry.reason, &entry.payload), (code, &payload));
        assert!(entry.detail.contains(reason), "{}", entry.detail);
        assert_eq!(
            (&*entry.topic, entry.iccid.as_deref()),
            ("simportal/sims/8941000000000000001/usage", Some(ICCID))
        );
    }
    assert!(pipeline.metrics.balance().holds());
    database.assert_reconciled().await;
}

/// Catches parking an array whole because of one element.
#[tokio::test]
async fn neighbours_of_a_bad_element_are_stored() {
    let (database, pipeline) = with_sim().await;
    for (n, (bad, code, _)) in bad_records().into_iter().enumerate() {
        if bad.is_empty() || bad.starts_with(b"{\"recordId\":") && bad.len() < 20 {
            continue; // No element of an array can be cut off in its middle.
        }
        let [left, right] = ["left", "right"].map(|side| record_at(&format!("{side}-{n}"), AT, 1));
        let payload = [b"[", left.as_bytes(), b",", &bad, b",", right.as_bytes(), b"]"].concat();
        assert_eq!(words(&pipeline.decide(Some(ICCID), payload).await), ["stored", code, "stored"]);
    }
    let parked = entries(&database).await.len() as i64;
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 2 * parked);
    let balance = pipeline.metrics.balance();
    assert!(balance.holds(), "{balance:?}");
    assert_eq!((balance.stored as i64, balance.parked as i64), (2 * parked, parked));
    database.assert_reconciled().await;
}

/// Catches a row for each repetition, which would fill the table, and an INSERT that meets one row twice.
#[tokio::test]
async fn the_same_fault_again_only_counts_up() {
    let (database, pipeline) = with_sim().await;
    pipeline.one(ICCID, with_total("-1")).await;
    let thrice =
        [b"[".as_slice(), &with_total("-1"), b",", &with_total("-1"), b",", &with_total("-2"), b"]"].concat();
    pipeline.decide(Some(ICCID), thrice).await;
    let counts: Vec<_> = entries(&database).await.iter().map(|entry| entry.seen_count).collect();
    assert_eq!(counts, [3, 1]);
    pipeline.one("8941000000000000002", with_total("-1")).await;
    assert_eq!(entries(&database).await.len(), 3, "on another topic it is another fault");
}

/// Catches batches that lock entries in different orders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_park_the_same_at_once_count_each() {
    let (database, pipeline) = with_sim().await;
    let other = TestPipeline::start_at(&database.another_store(), NOW);
    let mut receipts = Vec::new();
    for round in 0..20 {
        for n in 0..20 {
            let payload = with_total(&format!("-{}", 1 + (n * (round % 7 + 1)) % 20));
            let to = if (round + n) % 2 == 0 { &pipeline } else { &other };
            receipts.push(to.send(Some(ICCID), payload).await);
        }
    }
    for receipt in receipts {
        assert_eq!(words(&decided(receipt).await), ["invalid"]);
    }
    assert_eq!(database.number("SELECT sum(seen_count) FROM quarantine").await, 400);
    assert!(entries(&database).await.len() <= 20);
}

/// Catches text that PostgreSQL cannot hold: the whole batch would be refused.
#[tokio::test]
async fn nul_and_control_characters_are_parked_like_anything_else() {
    let (database, pipeline) = with_sim().await;
    let by = Sender { name: "a\0b\u{1b}[31m".into(), ..sender(false) };
    let payload = record_at("x\\u0000y", AT, 1);
    assert_eq!(word(&pipeline.one_as(by.clone(), ICCID, payload).await), "invalid");
    assert_eq!(word(&pipeline.one_as(by.clone(), ICCID, "\0\u{1b}]0;title\u{7}").await), "malformed");
    assert_eq!(word(&pipeline.one_as(by, ICCID, record_at("esc-\\u001b[2J", AT, 1)).await), "stored");
    let entries = entries(&database).await;
    assert_eq!(&*entries[0].sender, "a\u{fffd}b\u{1b}[31m");
    assert_eq!(&entries[1].payload[..], b"\0\x1b]0;title\x07");
}

/// Catches judging good records by the parked rows beside them.
#[tokio::test]
async fn a_parked_row_that_the_database_refuses_takes_no_record_with_it() {
    let (database, pipeline) = with_sim().await;
    // As in a database whose encoding lacks the character.
    database
        .run(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.sender LIKE '%漢%' THEN RAISE 'no such character' USING ERRCODE = '22P05'; END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON quarantine FOR EACH ROW EXECUTE FUNCTION refuse();",
        )
        .await;
    let by = Sender { name: "漢-gateway".into(), ..sender(false) };
    let payload = format!("[{},{{}},{}]", record_at("a", AT, 1), record_at("b", AT, 2));
    let receipt = decided(pipeline.send_as(by, Some(ICCID), payload).await).await;
    assert_eq!(words(&receipt), ["stored", "invalid", "stored"]);
    let entries = entries(&database).await;
    assert_eq!(entries.iter().map(|entry| &*entry.sender).collect::<Vec<_>>(), ["?-gateway"]);
    database.assert_reconciled().await;
}

fn replay<'a>(database: &'a TestDatabase, rules: &'a ReplayRules) -> Replay<'a> {
    Replay { store: &database.store, rules, clock: Clock::Fixed(time(NOW)), allow_corrections: false }
}

#[tokio::test]
async fn a_mended_record_is_stored_and_its_entry_marked() {
    let (database, pipeline) = with_sim().await;
    pipeline.one(ICCID, with_total("-1")).await;
    let rules = ReplayRules::new(&Config::default());
    let entry = entries(&database).await.remove(0);
    let mended = with_total("5");
    let stored = replay(&database, &rules).run(&entry, Some(mended.clone())).await.expect("it is stored");
    assert!(matches!(stored[0].status, RecordStatus::Stored { .. }));
    let entry = entries(&database).await.remove(0);
    assert_eq!(entry.state, "replayed");
    let again = replay(&database, &rules).run(&entry, Some(mended)).await;
    assert!(matches!(again, Err(ReplayError::NotParked(state)) if state == "replayed"));
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 5);

    pipeline.one(ICCID, with_total("-1")).await;
    let states: Vec<_> = entries(&database).await.into_iter().map(|entry| entry.state).collect();
    assert_eq!(states, ["replayed", "parked"], "the same fault after that is a new entry");
    database.assert_reconciled().await;
}

/// Catches a replay that parks what it could not store once more.
#[tokio::test]
async fn a_record_that_still_cannot_be_stored_stays_parked_and_is_not_parked_twice() {
    let (database, pipeline) = with_sim().await;
    pipeline.one(ICCID, with_total("-1")).await;
    pipeline.one(ICCID, record_at("r", AT, 7)).await;
    pipeline.one(ICCID, record_at("r", AT, 8)).await;
    let rules = ReplayRules::new(&Config::default());
    let before = entries(&database).await;
    let edited = [Some(with_total("-2")), Some(record_at("r", AT, 9).into())];
    for (entry, edited) in before.iter().zip(edited) {
        for mended in [None, edited] {
            let refused = replay(&database, &rules).run(entry, mended).await;
            assert!(matches!(refused, Err(ReplayError::StillRefused(_))), "{refused:?}");
        }
    }
    let after = entries(&database).await;
    let told = |entries: &[QuarantineEntry]| -> Vec<_> {
        entries.iter().map(|e| (e.id, e.reason.clone(), e.state.clone(), e.seen_count)).collect()
    };
    assert_eq!(told(&after), told(&before));
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 7);
}

/// Catches storing the good part of a payload whose entry stays parked.
#[tokio::test]
async fn a_payload_is_replayed_whole_or_not_at_all() {
    let (database, pipeline) = with_sim().await;
    pipeline.one(ICCID, record_at("r", AT, 7)).await;
    pipeline.one(ICCID, "[").await;
    let entry = entries(&database).await.remove(0);
    let rules = ReplayRules::new(&Config::default());
    let mended = format!("[{},{}]", record_at("new", AT, 1), record_at("r", AT, 8));
    let refused = replay(&database, &rules).run(&entry, Some(mended.into())).await;
    assert!(matches!(refused, Err(ReplayError::StillRefused(_))), "{refused:?}");
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 1);
    assert_eq!(entries(&database).await.len(), 1);
    let mended = format!("[{},{}]", record_at("new", AT, 1), record_at("r", AT, 7));
    let stored = replay(&database, &rules).run(&entry, Some(mended.into())).await.expect("it is stored");
    assert_eq!(stored.iter().map(|record| word(&record.status)).collect::<Vec<_>>(), ["stored", "duplicate"]);
    database.assert_reconciled().await;
}

#[tokio::test]
async fn a_discarded_entry_is_gone_from_the_list_of_parked_ones_and_cannot_be_replayed() {
    let (database, pipeline) = with_sim().await;
    pipeline.one(ICCID, with_total("-1")).await;
    let entry = entries(&database).await.remove(0);
    let discard = async || database.store.resolve_quarantine(entry.id, Resolution::Discarded).await.unwrap();
    assert!(discard().await);
    assert!(!discard().await, "once");
    assert!(database.store.list_quarantine("parked", "", i64::MAX, 9).await.unwrap().is_empty());
    let entry = database.store.show_quarantine(entry.id).await.unwrap().unwrap();
    let refused =
        replay(&database, &ReplayRules::new(&Config::default())).run(&entry, Some(with_total("1"))).await;
    assert!(matches!(refused, Err(ReplayError::NotParked(state)) if state == "discarded"));
}
