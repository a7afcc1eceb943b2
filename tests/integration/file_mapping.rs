//! Files as other systems write them, each with its mapping; `tests/fixtures/files` holds both.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use simbridge::config::{Flags, load};
use simbridge::domain::{Clock, Iccid};
use simbridge::source::file::{ImportRequest, Opened, RunOptions, UsageFile};
use simbridge::store::accounts::AccountKey;
use simbridge::store::roles::RoleKind;
use simbridge::store::sims::SimRow;
use tokio_util::sync::CancellationToken;

use crate::database_roles_commands::url_of;
use crate::harness::PATIENCE;
use crate::harness::bridge::{BridgeProcess, command, command_as};
use crate::harness::database::{TENANT, TestDatabase, sim};
use crate::harness::pipeline::{options, time};
use crate::harness::spool::{Spool, minutes_ago};

const ICCID: &str = "8941000000000000001";
const NOW: &str = "2026-11-01T12:00:00Z";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/files").join(name)
}

/// A SIM that is known by all its numbers, since before the files.
async fn database() -> TestDatabase {
    let database = TestDatabase::new().await;
    let row =
        SimRow { imsi: Some("228011234567890".into()), msisdn: Some("+41791234567".into()), ..sim(ICCID) };
    database.import_at("2026-01-01T00:00:00Z", &[row]).await;
    database
}

/// Stored, duplicates, parked.
async fn import(database: &TestDatabase, file: &str, mapping: &str) -> (u64, u64, u64) {
    let flags = Flags { config: Some(fixture("mapping.toml")), ..Flags::default() };
    let config = load(&flags, &[]).expect("the mappings can be used").config;
    let mapping = config.file_mapping(mapping).expect("it is there");
    let file = UsageFile::open_mapped(&fixture(file), Arc::new(mapping)).await.expect("it fits");
    let request = ImportRequest { tenant: TENANT, may_correct: true, again: true };
    let opened = file.import(request, &database.store).await.expect("the database works");
    let Opened::Ready(import) = opened else { panic!("it was asked for again") };
    let options = RunOptions {
        store: database.store.clone(),
        pipeline: options(),
        metrics: Default::default(),
        database: Default::default(),
        clock: Clock::Fixed(time(NOW)),
        stop: CancellationToken::new(),
        grace: PATIENCE,
    };
    let report = tokio::time::timeout(PATIENCE, import.run(options, |_| {})).await.expect("it ends in time");
    let committed = report.expect("it ends well").committed;
    (committed.stored, committed.duplicate, committed.parked)
}

async fn records(database: &TestDatabase) -> Vec<String> {
    let sql = "SELECT record_id, to_char(period_start AT TIME ZONE 'UTC', 'MM-DD HH24:MI:SS'),
                      extract(epoch FROM period_end - period_start)::bigint, total_bytes, data_upload_bytes,
                      data_download_bytes, sms_count, voice_seconds, mccmnc, source
               FROM usage_records ORDER BY period_start, record_id";
    database.rows(sql).await
}

async fn parked(database: &TestDatabase) -> Vec<String> {
    let sql = "SELECT reason, topic, detail FROM quarantine ORDER BY split_part(topic, ':', 2)::integer";
    database.rows(sql).await
}

/// Catches a comma that is dropped, a wall clock that is taken for UTC, an hour of the change that is the other one, and a line
/// that counts the others and is taken for one of them.
#[tokio::test]
async fn an_operators_file_is_read_with_its_clock_its_comma_and_its_imsi() {
    let database = database().await;
    assert_eq!(import(&database, "operator.csv", "operator").await, (3, 1, 3));
    let expected = [
        "77:1|10-24 21:59:30|60|1750000|500000|1250000|0|0|22801|operator",
        "77:2|10-25 00:30:00|90|2001000|1000|2000000|0|0|22801|operator",
        "78:|10-25 02:30:00|10|3000000|0|3000000|0|0|NULL|operator",
    ];
    assert_eq!(records(&database).await, expected);
    let parked = parked(&database).await;
    let said = [
        ("invalid|operator.csv:7|", "periodStart: `29.03.2026 02:30:00` never was in Europe/Zurich"),
        ("unknown_account|operator.csv:8|", "the account `901700000000001` stands for no SIM"),
        ("invalid|operator.csv:9|", "usage.dataUploadBytes: `1.000,5` of MB gesendet is no number"),
    ];
    assert_eq!(parked.len(), said.len(), "{parked:#?}");
    for (parked, (place, detail)) in parked.iter().zip(said) {
        assert!(parked.starts_with(place) && parked.contains(detail), "{parked}");
    }
    assert_eq!(import(&database, "operator.csv", "operator").await, (0, 4, 3), "nothing counts again");
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 6_751_000);
    database.assert_reconciled().await;
}

/// Catches a last column that is lost with the line's end, and rows without an id that count twice or not at all.
#[tokio::test]
async fn a_hubs_file_without_a_header_and_ids_is_read_by_column() {
    let database = database().await;
    assert_eq!(import(&database, "hub.txt", "hub").await, (3, 1, 1));
    let records = records(&database).await;
    let behind: Vec<&str> =
        records.iter().filter_map(|record| record.split_once('|')).map(|(_, b)| b).collect();
    let expected = [
        "10-20 10:00:00|300|1536|0|0|0|0|NULL|roaming",
        "10-20 10:05:00|300|2048|0|0|0|0|NULL|roaming",
        "10-20 10:10:00|60|4096|0|0|0|0|NULL|roaming",
    ];
    assert_eq!(behind, expected);
    assert!(records.iter().all(|record| record.find('|') == Some(64)), "a digest: {records:?}");
    let short = "malformed|hub.txt:4|the line has 4 fields, and the mapping names column 7";
    assert_eq!(parked(&database).await, [short]);
    database.assert_reconciled().await;
}

#[tokio::test]
async fn a_message_centres_rows_are_a_message_each() {
    let database = database().await;
    assert_eq!(import(&database, "smsc.tsv", "smsc").await, (2, 0, 1));
    let expected = ["m1|10-21 06:00:00|0|0|0|0|1|0|NULL|smsc", "m2|10-21 06:00:01|0|0|0|0|1|0|NULL|smsc"];
    assert_eq!(records(&database).await, expected);
    assert_eq!(parked(&database).await, ["invalid|smsc.tsv:4|recordId: the row tells none"]);
    database.assert_reconciled().await;
}

/// Catches an account that is asked for under another name than the mapping's, and a row that is lost because its account was
/// named too late.
#[tokio::test]
async fn a_platforms_json_is_read_by_pointers_and_what_an_unknown_account_used_can_be_replayed() {
    let database = database().await;
    let iccid = Iccid::parse(ICCID).expect("an ICCID");
    let key = |account: &str, source: &str| AccountKey {
        tenant: "default".into(),
        account: account.into(),
        source: source.into(),
    };
    assert!(database.store.save_account(&key("alice", "platform"), &iccid).await.expect("it works"));
    assert!(database.store.save_account(&key("bob", "another"), &iccid).await.expect("it works"));
    assert_eq!(import(&database, "platform.ndjson", "platform").await, (3, 0, 3));
    let before = [
        "1001|10-22 08:00:00|3600|5000|0|0|0|0|NULL|platform",
        "1003|10-22 08:00:00|0|-1000|0|0|0|0|NULL|platform",
        "1002|10-22 09:00:00|30|0|0|0|0|30|NULL|platform",
    ];
    assert_eq!(records(&database).await, before);
    let parked = parked(&database).await;
    assert!(parked[0].starts_with("unknown_account|platform.ndjson:4|"), "{parked:#?}");
    let detail = "/usage/total is neither text nor a number";
    assert_eq!(parked[1], format!("invalid|platform.ndjson:5|{detail}"));
    assert!(parked[2].starts_with("malformed|platform.ndjson:6|the line is not JSON"), "{parked:#?}");
    let id = database.text("SELECT id FROM quarantine WHERE reason = 'unknown_account'", &[]).await;
    let replay = ["quarantine", "replay", &id];
    let (_, told, wrong) = command(&database, &replay).await;
    assert_eq!(records(&database).await, before, "still unknown: {told}{wrong}");
    assert!(database.store.save_account(&key("bob", "platform"), &iccid).await.expect("it works"));
    let (_, told, wrong) = command(&database, &replay).await;
    let after = [&before[..], &["1004|10-22 11:00:00|0|70|0|0|0|0|NULL|platform"]].concat();
    assert_eq!(records(&database).await, after, "{told}{wrong}");
    assert_eq!(import(&database, "platform.ndjson", "platform").await, (0, 4, 2), "it is a duplicate then");
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 4_070);
    database.assert_reconciled().await;
}

/// Catches a directory that reads with simbridge's own columns although it names a mapping, and a file of another kind of which
/// some columns are read.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_reads_with_its_mapping_and_puts_files_of_another_kind_aside() {
    let (database, spool) = (database().await, Spool::new());
    let at = minutes_ago(30);
    let mut options = spool.instance(&database, "mapping = \"op\", endings = [\".CDR\"]");
    let mapping = "[{name = \"op\", delimiter = \";\", record_id = [\"id\"], account = \"who\", start = [\"at\"], \
                   total = \"kB\", unit = \"KB\", unit_base = 1000}]";
    options.env.push(("SIMBRIDGE__MAPPING".into(), mapping.into()));
    spool.put("a.cdr", format!("id;who;at;kB;more\n1;228011234567890;{at};1.5;x\n2;41791234567;{at};2;y\n"));
    spool.put("b.cdr", format!("id;whom;at\n3;228011234567890;{at}\n"));
    spool.put("c.csv", "not asked for");
    let bridge = BridgeProcess::start(&options).await;
    spool.holds("done", &["a.cdr"]).await;
    spool.holds("failed", &["b.cdr", "b.cdr.reason.txt"]).await;
    let reason = std::fs::read_to_string(spool.path("failed/b.cdr.reason.txt")).expect("it is there");
    let said = "b.cdr: the header lacks `who`, `kB`, which the mapping `op` names; it has `id`, `whom`, `at`";
    assert!(reason.starts_with(said), "{reason}");
    assert_eq!(database.number("SELECT sum(total_bytes) FROM usage_cycles").await, 3_500);
    assert_eq!(spool.names(""), ["c.csv"]);
    assert_eq!(bridge.terminate().await, Some(0));
    database.assert_reconciled().await;
}

#[tokio::test]
async fn the_command_names_the_mapping_and_the_check_what_is_wrong_with_one() {
    let database = database().await;
    let config = fixture("mapping.toml").display().to_string();
    let hub = fixture("hub.txt").display().to_string();
    let with = |arguments: &[&'static str]| {
        let mut all = vec!["--config".to_owned(), config.clone(), "import".into()];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        all.push(hub.clone());
        all
    };
    let run = async |arguments: Vec<String>| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        command(&database, &arguments).await
    };
    let (code, _, wrong) = run(with(&["--mapping", "nobody"])).await;
    assert_eq!((code, wrong.as_str()), (Some(2), "simbridge: the configuration has no [[mapping]] `nobody`"));
    let (code, _, wrong) = run(with(&["--mapping", "operator"])).await;
    assert_eq!(code, Some(2), "{wrong}");
    assert!(wrong.contains("hub.txt: the header lacks `IMSI`, `Datensatz`, `Teil`"), "{wrong}");
    let (_, told, wrong) = run(with(&["--mapping", "hub"])).await;
    assert!(told.starts_with("hub.txt: 5 records read, "), "{told}{wrong}");
    let broken = tempfile::NamedTempFile::new().expect("a file");
    let text =
        "[[mapping]]\nname = \"op\"\niccid = \"SIM\"\nstart = [\"At\"]\ntime_format = \"%d.%m.%Y %H:%M\"\n";
    std::fs::write(broken.path(), text).expect("it is ours");
    let path = broken.path().display().to_string();
    let (code, _, wrong) = command(&database, &["--config", &path, "check"]).await;
    assert_eq!(code, Some(78), "{wrong}");
    assert!(wrong.contains("`mapping[0].total`"), "{wrong}");
}

/// Catches a login that may import and may not look up accounts: it would wait for ever for what it is never given.
#[tokio::test]
async fn a_login_with_the_role_ingest_imports_rows_of_accounts() {
    let database = database().await;
    let url = url_of(&database, RoleKind::Ingest, &[]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (config, file) = (directory.path().join("c.toml"), directory.path().join("a.csv"));
    let mapping = "[[mapping]]\nname = \"op\"\naccount = \"who\"\nstart = [\"at\"]\ntotal = \"bytes\"\n";
    std::fs::write(&config, mapping).expect("it is ours");
    let at = minutes_ago(30);
    std::fs::write(&file, format!("who,at,bytes\n228011234567890,{at},5\nnobody,{at},6\n"))
        .expect("it is ours");
    let [config, file] = [config, file].map(|path| path.display().to_string());
    let import = ["--config", &config, "import", "--mapping", "op", &file];
    let (code, told, wrong) = command_as(&url, &import).await;
    assert_eq!(code, Some(1), "{wrong}");
    assert!(told.starts_with("a.csv: 2 records read, 1 stored, 0 duplicates, 1 parked"), "{told}");
    database.assert_reconciled().await;
}
