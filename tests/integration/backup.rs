//! Backups that are made while records arrive, and their way back.

use std::path::{Path, PathBuf};

use serde_json::Value;
use simbridge::store::embedded;
use simbridge::store::roles::RoleKind;

use crate::database_roles::{NOTHING, differing, rights};
use crate::database_roles_readers::three_tenants;
use crate::harness::PATIENCE;
use crate::harness::bridge::{BridgeOptions, BridgeProcess, command_as, simbridge};
use crate::harness::database::TestDatabase;
use crate::harness::fleet::{FleetOptions, TestFleet, assert_nothing_lost_or_invented};
use crate::harness::mqtt::{Answer, Hello, MqttClient};
use crate::harness::pipeline::record;
use crate::harness::server::{TestServer, connect, open_to_others, store};

const ICCID: &str = "8941000000000000001";

/// A directory that the account of a private PostgreSQL can enter.
pub(crate) fn open_directory() -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix("simbridge-test-").tempdir().expect("a directory");
    open_to_others(directory.path());
    directory
}

/// Runs a command on the private database of a data directory: exit code, standard output, standard error.
pub(crate) async fn command_in(data: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = simbridge();
    command.args(arguments).arg("--data-dir").arg(data);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

async fn start_in(data: &Path) -> BridgeProcess {
    let mut options = BridgeOptions::new("");
    options.set("data_dir", data.to_str().expect("UTF-8"));
    BridgeProcess::start(&options).await
}

async fn publish(bridge: &BridgeProcess, record_id: &str) {
    let hello = Hello { v5: false, id: "backup", user: None, password: None };
    let mut client = MqttClient::connect(bridge.mqtt, hello).await;
    let topic = format!("simportal/sims/{ICCID}/usage");
    assert_eq!(client.publish(&topic, &record(record_id, 60, 1, 2)).await, Answer::Acknowledged);
}

pub(crate) fn manifest(backup: &Path) -> Value {
    let text = std::fs::read(backup.join("manifest.json")).expect("a manifest");
    serde_json::from_slice(&text).expect("JSON")
}

/// What lies in a directory.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
}

/// Catches a dump of another moment than the figures (without `--snapshot` the records that arrive meanwhile make them differ),
/// figures that are taken before the snapshot, and sequences that begin anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_while_records_arrive_is_gone_on_with_elsewhere() {
    let directory = open_directory();
    let (data, elsewhere) = (directory.path().join("data"), directory.path().join("elsewhere"));
    let backup = directory.path().join("backup");
    let place = backup.to_str().expect("UTF-8");
    let bridge = start_in(&data).await;
    publish(&bridge, "before").await;
    let original = embedded::running(&data).await.expect("a directory").expect("it runs");
    let fleet = TestFleet::provision(&store(original.clone()), &FleetOptions::default()).await;
    let fleet = TestFleet::start(bridge.mqtt, fleet, &FleetOptions::default());
    fleet.more_acked(500).await;
    let (before, acked) = (fleet.ledger(), fleet.acked());
    let (code, said, problem) = command_in(&data, &["backup", place]).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    assert!(fleet.acked() > acked, "records arrive while the backup is made");
    let (_, mut ledger) = fleet.finish().await;
    let stored = connect(&original).await;
    let stored: i64 =
        stored.query_one("SELECT count(*) FROM usage_records", &[]).await.expect("a row").get(0);
    assert_eq!(bridge.terminate().await, Some(0));

    let (code, said, problem) = command_in(&elsewhere, &["restore", place]).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    let figures = &manifest(&backup)["figures"];
    let held = figures["records"].as_i64().expect("a number");
    assert!((before.acked.len() as i64..=stored).contains(&held), "{held} of {stored}");
    let (code, proof, problem) = command_in(&elsewhere, &["reconcile"]).await;
    assert_eq!(code, Some(0), "{proof}{problem}");
    let sum = format!("{held} records, {} bytes, ", figures["total_bytes"].as_str().expect("text"));
    assert!(proof.starts_with(&sum), "{proof}");

    let bridge = start_in(&elsewhere).await;
    let restored =
        connect(&embedded::running(&elsewhere).await.expect("a directory").expect("it runs")).await;
    let count = async |sql: &str| restored.query_one(sql, &[]).await.expect("a row").get::<_, i64>(0);
    publish(&bridge, "before").await;
    publish(&bridge, "after").await;
    assert_eq!(count("SELECT count(*) FROM usage_records").await, held + 1, "one is a repetition");
    assert_eq!(count("SELECT count(DISTINCT id) FROM usage_records").await, held + 1);
    let (code, proof, problem) = command_in(&elsewhere, &["reconcile"]).await;
    assert_eq!(code, Some(0), "{proof}{problem}");
    ledger.acked = before.acked;
    let others = format!("DELETE FROM usage_records WHERE iccid = '{ICCID}'");
    restored.execute(&others, &[]).await.expect("what the fleet did not send");
    assert_nothing_lost_or_invented(&ledger, &restored).await;
}

/// Catches rights that a restored database lacks or has too many, and policies for roles that the other server lacks.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_yours_comes_back_with_its_roles() {
    let server = TestServer::shared();
    let original = three_tenants().await;
    let roles = format!("{}_kept", original.name);
    original.owner().create_roles(&roles).await.expect("roles of its own");
    let before = rights(&original).await;
    let directory = tempfile::tempdir().expect("a directory");
    let backup = directory.path().join("it's a backup");
    let place = backup.to_str().expect("UTF-8");
    let url = server.owner_url_for(&original.name);
    let (code, said, problem) = command_as(&url, &["backup", place]).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    assert_eq!(manifest(&backup)["roles"], roles.as_str());
    // Another server has none of the roles.
    let kinds = RoleKind::ALL.map(|kind| format!("{roles}_{}", kind.as_str())).join(", ");
    original.run(&format!("DROP OWNED BY {kinds}; DROP ROLE {kinds}")).await;

    let restored = TestDatabase::empty().await;
    let url = server.owner_url_for(&restored.name);
    let (code, said, problem) = command_as(&url, &["restore", place]).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    assert_eq!(differing(&rights(&restored).await, &before), NOTHING);
    let records = "SELECT * FROM usage_records ORDER BY id";
    assert_eq!(restored.rows(records).await, original.rows(records).await);
    let (code, said, problem) = command_as(&url, &["reconcile"]).await;
    assert_eq!(code, Some(0), "{said}{problem}");
}

/// Catches a backup that others of the machine can read: it holds hashes of passwords, secrets of webhooks, payloads.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let database = TestDatabase::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let backup = directory.path().join("backup");
    let url = TestServer::shared().owner_url_for(&database.name);
    let (code, _, problem) = command_as(&url, &["backup", backup.to_str().expect("UTF-8")]).await;
    assert_eq!(code, Some(0), "{problem}");
    let mode = |path: PathBuf| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(backup.clone()), 0o700);
    for file in ["database.dump", "manifest.json"] {
        assert_eq!(mode(backup.join(file)), 0o600, "{file}");
    }
    assert_eq!(names(directory.path()), ["backup"], "nothing else is left");
}
