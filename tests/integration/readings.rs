//! Cumulative readings of accounts, whatever reads them: which SIM they count for, and that each byte counts once.

use std::slice::from_ref;

use chrono::{DateTime, TimeDelta, Utc};
use simbridge::source::readings::{FirstReading, Outcome, Reading, Readings, session_id};
use simbridge::store::accounts::AccountKey;
use simbridge::store::sims::SimRow;

use crate::harness::bridge::command;
use crate::harness::database::{TENANT, TestDatabase, now, sim};
use crate::harness::pipeline::TestPipeline;

const ONE: &str = "8941000000000000001";
const TWO: &str = "8941000000000000002";

pub(crate) async fn account(database: &TestDatabase, account: &str, source: &str, iccid: &str) {
    let key = AccountKey { tenant: "default".into(), account: account.into(), source: source.into() };
    let iccid = sim(iccid).iccid;
    assert!(database.owner().save_account(&key, &iccid).await.expect("it is stored"));
}

/// Two SIMs, of which `alice` stands for the first.
async fn with_sims() -> (TestDatabase, TestPipeline) {
    let database = TestDatabase::new().await;
    database.import(&[sim(ONE), sim(TWO)]).await;
    account(&database, "alice", "", ONE).await;
    let pipeline = TestPipeline::start(&database.store);
    (database, pipeline)
}

fn reader(database: &TestDatabase, pipeline: &TestPipeline, first: FirstReading) -> Readings {
    Readings::new(database.store.clone(), pipeline.queue.clone(), TENANT, "hq", first)
}

/// To the second, an hour ago.
fn began() -> DateTime<Utc> {
    DateTime::from_timestamp(now().timestamp() - 3_600, 0).expect("a time")
}

/// A reading of `account`'s only session, `minute` minutes after `began`.
fn reading(account: &str, began: DateTime<Utc>, minute: i64, upload: i64, download: i64) -> Reading {
    Reading {
        account: account.into(),
        session_id: session_id("hq", account, "1"),
        upload_bytes: upload,
        download_bytes: download,
        began_at: began,
        before: None,
        taken_at: began + TimeDelta::minutes(minute),
        mccmnc: None,
        from: None,
    }
}

async fn deliver(readings: &Readings, some: &[Reading]) -> Vec<Outcome> {
    readings.deliver(some, now()).await.expect("the database is there")
}

/// Bytes up and down by SIM, as its cycles have them.
async fn totals(database: &TestDatabase) -> Vec<String> {
    database.assert_reconciled().await;
    let cycles = "SELECT iccid, sum(total_upload_bytes), sum(total_download_bytes) FROM usage_cycles
                  GROUP BY iccid HAVING sum(total_bytes) > 0 ORDER BY iccid";
    database.rows(cycles).await
}

async fn resolved(database: &TestDatabase, source: &str, accounts: &[&str]) -> Vec<String> {
    let found = database.store.resolve_accounts(TENANT, source, accounts).await.expect("it is there");
    let of = |account: &&str| found.get(*account).map_or("none".to_owned(), |iccid| iccid.to_string());
    accounts.iter().map(of).collect()
}

/// Catches an order in which a number that happens to be somebody's goes before what was said by hand.
#[tokio::test]
async fn an_account_is_what_was_said_of_it_and_else_a_number_of_one_sim() {
    let database = TestDatabase::new().await;
    let numbered = |iccid: &str, imsi: &str, msisdn: &str| SimRow {
        imsi: Some(imsi.into()),
        msisdn: Some(msisdn.into()),
        ..sim(iccid)
    };
    database
        .import(&[
            numbered(ONE, "228010000000001", "+41790000001"),
            numbered(TWO, "228010000000002", "+41790000099"),
            numbered("8941000000000000003", "228010000000003", "+41790000099"),
        ])
        .await;
    let unknown = "8949000000000000009";
    assert_eq!(
        resolved(&database, "hq", &[ONE, "228010000000001", "+41790000001", "41790000001"]).await,
        [ONE, ONE, ONE, ONE]
    );
    // Two SIMs have this number; nobody has the others, of which one is the ICCID of a SIM that is not provisioned yet.
    let others =
        ["+41790000099", "alice", "228010000000009", unknown, "894900000000000000", "8949000000000000"];
    assert_eq!(
        resolved(&database, "hq", &others).await,
        ["none", "none", "none", unknown, "894900000000000000", "none"]
    );
    account(&database, ONE, "", TWO).await;
    account(&database, "alice", "", ONE).await;
    account(&database, "alice", "hq", TWO).await;
    assert_eq!(resolved(&database, "hq", &[ONE, "alice", "Alice"]).await, [TWO, TWO, "none"]);
    assert_eq!(resolved(&database, "depot", &["alice"]).await, [ONE]);
    let other = database.tenant("other", "UTC").await;
    let theirs = database.store.resolve_accounts(other, "hq", &["alice", "228010000000001"]).await;
    assert_eq!(
        theirs.expect("it is there").len(),
        0,
        "accounts and SIMs of one tenant are nothing to another"
    );
}

#[tokio::test]
async fn each_byte_counts_once_through_repeats_wraps_and_restarts() {
    let (database, pipeline) = with_sims().await;
    let (readings, began) = (reader(&database, &pipeline, FirstReading::Counts), began());
    let top = (1i64 << 32) - 10;
    let steps = [
        (1, 100, 7, Outcome::Stored),
        (2, 100, 7, Outcome::Nothing),
        (3, top, 8, Outcome::Stored),
        (3, top, 8, Outcome::Nothing),
        (2, 50, 1, Outcome::Nothing),
        // It wraps at 2^32, and then begins anew.
        (4, 20, 9, Outcome::Stored),
        (5, 3, 2, Outcome::Stored),
    ];
    for (minute, upload, download, expected) in steps {
        let one = reading("alice", began, minute, upload, download);
        assert_eq!(deliver(&readings, from_ref(&one)).await, [expected], "{minute} {upload}");
    }
    assert_eq!(totals(&database).await, [format!("{ONE}|{}|{}", top + 30 + 3, 9 + 2)]);
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 4);
    let periods = "SELECT period_start FROM usage_records WHERE data_download_bytes = 7";
    let first = database.rows(&format!("SELECT extract(epoch FROM ({periods}))::bigint")).await;
    assert_eq!(first, [began.timestamp().to_string()], "the first one counts from the beginning");
}

/// Catches a counter that has run for long and is taken for usage of today.
#[tokio::test]
async fn a_counter_that_ran_before_counts_from_its_first_reading() {
    let (database, pipeline) = with_sims().await;
    let (readings, began) = (reader(&database, &pipeline, FirstReading::IsTheBase), began());
    let base = reading("alice", began, 1, 5_000, 9_000);
    assert_eq!(deliver(&readings, from_ref(&base)).await, [Outcome::Base]);
    assert_eq!(deliver(&readings, from_ref(&base)).await, [Outcome::Nothing]);
    assert_eq!(totals(&database).await, Vec::<String>::new());
    let next = reading("alice", began, 2, 5_010, 9_001);
    assert_eq!(deliver(&readings, from_ref(&next)).await, [Outcome::Stored]);
    assert_eq!(totals(&database).await, [format!("{ONE}|10|1")]);
}

/// Catches a session that counts from its beginning again for the SIM that its account stands for now.
#[tokio::test]
async fn a_session_whose_account_moves_to_another_sim_goes_on_there() {
    let (database, pipeline) = with_sims().await;
    let (readings, began) = (reader(&database, &pipeline, FirstReading::Counts), began());
    for (minute, upload, iccid) in [(1, 100, ONE), (2, 130, TWO), (3, 135, ONE), (4, 1_135, TWO)] {
        account(&database, "alice", "", iccid).await;
        let one = reading("alice", began, minute, upload, 0);
        assert_eq!(deliver(&readings, from_ref(&one)).await, [Outcome::Stored]);
    }
    assert_eq!(totals(&database).await, [format!("{ONE}|105|0"), format!("{TWO}|1030|0")]);
    let late = reading("alice", began, 3, 135, 0);
    assert_eq!(deliver(&readings, from_ref(&late)).await, [Outcome::Nothing]);
}

/// Catches a mended reading that counts what the session's others counted, and one that cannot be mended at all.
#[tokio::test]
async fn what_an_unknown_account_used_is_parked_and_counts_with_an_iccid_put_in() {
    let (database, pipeline) = with_sims().await;
    let (readings, began) = (reader(&database, &pipeline, FirstReading::Counts), began());
    let bob = [reading("bob", began, 1, 100, 1), reading("bob", began, 9, 400, 4)];
    let all = [bob[0].clone(), reading("alice", began, 1, 7, 0)];
    assert_eq!(deliver(&readings, &all).await, [Outcome::UnknownAccount, Outcome::Stored]);
    for one in &bob {
        readings.park_unknown(one, now()).await.expect("it is parked");
    }
    let parked = "SELECT reason, detail, sender, topic FROM quarantine ORDER BY id";
    let detail = "the account `bob` stands for no SIM; say which with `simbridge accounts set`";
    let expected = format!("unknown_account|account: {detail}|hq|");
    assert_eq!(database.rows(parked).await, [expected.clone(), expected]);
    assert_eq!(totals(&database).await, [format!("{ONE}|7|0")]);

    let (code, _, wrong) = command(&database, &["quarantine", "replay", "1"]).await;
    assert_eq!((code, wrong.contains("iccid")), (Some(1), true), "{wrong}");
    // The last one first: the other was in it.
    for id in ["2", "1"] {
        let query = format!("SELECT convert_from(payload, 'UTF8') FROM quarantine WHERE id = {id}");
        let payload = database.text(&query, &[]).await;
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mended = payload.replacen('{', &format!("{{\"iccid\":\"{TWO}\","), 1);
        std::fs::write(file.path(), mended).expect("it is ours");
        let path = file.path().display().to_string();
        let (code, told, wrong) = command(&database, &["quarantine", "replay", id, "--payload", &path]).await;
        assert_eq!((code, told), (Some(0), format!("{id}: 1 stored, 0 stored before")), "{wrong}");
    }
    assert_eq!(totals(&database).await, [format!("{ONE}|7|0"), format!("{TWO}|400|4")]);
}

/// Catches names that the database or a topic pattern takes for something else: a reading that blocks all others, or a replay
/// that finds a SIM in a name that anybody chose.
#[tokio::test]
async fn a_hostile_name_is_an_unknown_account_and_nothing_more() {
    let (database, pipeline) = with_sims().await;
    let (readings, began) = (reader(&database, &pipeline, FirstReading::Counts), began());
    let topic = format!("simportal/sims/{ONE}/usage");
    let names = ["a\0b", "' OR 1=1 --", &topic, "\u{202e}ecila", "{\"iccid\":1}"];
    let some: Vec<Reading> = names.iter().map(|name| reading(name, began, 1, 5, 5)).collect();
    assert_eq!(deliver(&readings, &some).await, vec![Outcome::UnknownAccount; names.len()]);
    for one in &some {
        readings.park_unknown(one, now()).await.expect("it is parked");
    }
    assert_eq!(database.number("SELECT count(*) FROM quarantine").await, 5);
    for id in ["1", "2", "3", "4", "5"] {
        let (code, ..) = command(&database, &["quarantine", "replay", id]).await;
        assert_eq!(code, Some(1), "{id}");
    }
    assert_eq!(totals(&database).await, Vec::<String>::new());
}

/// Catches two instances whose records collide: totals would be right, and the quarantine full of conflicts.
#[tokio::test(flavor = "multi_thread")]
async fn instances_that_read_the_same_sessions_count_every_byte_once_and_park_nothing() {
    let (database, first) = with_sims().await;
    let second = TestPipeline::start(&database.another_store());
    let began = began();
    let one = reader(&database, &first, FirstReading::Counts);
    let other =
        Readings::new(database.another_store(), second.queue.clone(), TENANT, "hq", FirstReading::Counts);
    for minute in 1..=20 {
        // They looked before at different moments, and within the same second not at the same time.
        let ours = Reading {
            before: Some(began + TimeDelta::minutes(minute - 1)),
            ..reading("alice", began, minute, minute * 100, minute)
        };
        let theirs = Reading {
            before: Some(began + TimeDelta::minutes(minute - 1) + TimeDelta::seconds(30)),
            upload_bytes: minute * 100 + minute % 3,
            ..ours.clone()
        };
        let (ours, theirs) = ([ours], [theirs]);
        let (ours, theirs) = tokio::join!(deliver(&one, &ours), deliver(&other, &theirs));
        for outcome in ours.iter().chain(&theirs) {
            assert!(matches!(outcome, Outcome::Stored | Outcome::Nothing), "{outcome:?}");
        }
    }
    let last = reading("alice", began, 21, 5_000, 50);
    deliver(&one, from_ref(&last)).await;
    assert_eq!(totals(&database).await, [format!("{ONE}|5000|50")]);
    assert_eq!(database.number("SELECT count(*) FROM quarantine").await, 0);
}
