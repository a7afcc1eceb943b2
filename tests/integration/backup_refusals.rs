//! When there is no backup, and when it is not restored: each says why, and changes nothing.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::backup::{command_in, manifest, names, open_directory};
use crate::database_roles::NOTHING;
use crate::harness::bridge::{command, command_as};
use crate::harness::database::TestDatabase;
use crate::harness::server::TestServer;

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs a command that is to be refused.
async fn refused(url: &str, arguments: &[&str], code: i32, why: &str) {
    let (found, said, problem) = command_as(url, arguments).await;
    assert_eq!(found, Some(code), "{arguments:?}: {said}{problem}");
    assert!(problem.contains(why), "{problem}");
}

/// A migrated database with its owner's address, and a backup of it.
async fn backed_up(directory: &Path) -> (TestDatabase, String, PathBuf) {
    let database = TestDatabase::new().await;
    let url = TestServer::shared().owner_url_for(&database.name);
    let backup = directory.join("backup");
    let (code, said, problem) = command_as(&url, &["backup", text(&backup)]).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    (database, url, backup)
}

async fn tables(database: &TestDatabase) -> i64 {
    database.number("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace").await
}

/// Catches a backup that replaces another one: renaming a directory over an empty one succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_overwrites_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_database, url, backup) = backed_up(directory.path()).await;
    let first = manifest(&backup);
    let (empty, file) = (directory.path().join("empty"), directory.path().join("file"));
    std::fs::create_dir(&empty).expect("a directory");
    std::fs::write(&file, "mine").expect("a file");
    for place in [&backup, &empty, &file] {
        refused(&url, &["backup", text(place)], 2, "is there already").await;
    }
    assert_eq!(manifest(&backup), first);
    assert_eq!(names(&empty), NOTHING);
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "mine");
}

/// Catches directories that a refused backup leaves behind, and a private database that is made to be backed up.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_cannot_be_made_leaves_nothing() {
    let directory = open_directory();
    let place = directory.path().join("backup");
    let data = directory.path().join("data");
    let (code, _, problem) = command_in(&data, &["backup", text(&place)]).await;
    assert_eq!((code, problem.contains("there is no database in")), (Some(78), true), "{problem}");

    let server = TestServer::shared();
    let empty = TestDatabase::empty().await;
    let url = server.owner_url_for(&empty.name);
    refused(&url, &["backup", text(&place)], 78, "nothing to back up").await;

    let database = TestDatabase::new().await;
    let (code, _, problem) = command(&database, &["backup", text(&place)]).await;
    assert_eq!((code, problem.contains("as the owner of the tables")), (Some(78), true), "{problem}");

    let url = server.owner_url_for(&database.name);
    refused(&url, &["backup", text(&directory.path().join("no/backup"))], 2, "No such file").await;
    // Nobody makes directories there, root neither.
    refused(&url, &["backup", "/sys/backup"], 2, "cannot make /sys/").await;
    database.run("INSERT INTO schema_history (version, name, checksum) VALUES (9999, 'later', 'x')").await;
    refused(&url, &["backup", text(&place)], 78, "schema version 9999").await;
    assert_eq!(names(directory.path()), NOTHING);
}

/// Catches a restore that trusts what it is given: a file that changed since, another format, another version.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_cannot_be_used_is_not_begun_with() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_original, _, backup) = backed_up(directory.path()).await;
    let target = TestDatabase::empty().await;
    let url = TestServer::shared().owner_url_for(&target.name);
    let restore = ["restore", text(&backup)];
    refused(&url, &["restore", text(directory.path())], 2, "is no backup").await;

    let (manifest_file, dump) = (backup.join("manifest.json"), backup.join("database.dump"));
    let (good, mut bytes) = (manifest(&backup), std::fs::read(&dump).expect("a dump"));
    for (field, value, code, why) in [
        ("format", json!(2), 78, "newer simbridge"),
        ("schema_version", json!(9999), 78, "schema version 9999"),
        ("server_version", json!(990_000), 78, "PostgreSQL 99"),
        ("dump_bytes", json!(1), 2, "is damaged"),
    ] {
        let mut changed = good.clone();
        changed[field] = value;
        std::fs::write(&manifest_file, changed.to_string()).expect("a manifest");
        refused(&url, &restore, code, why).await;
    }
    std::fs::write(&manifest_file, good.to_string()).expect("a manifest");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&dump, &bytes).expect("a dump");
    refused(&url, &restore, 2, "is not what was written").await;
    assert_eq!(tables(&target).await, 0);
}

/// Catches a restore in several transactions, and one that believes the program of PostgreSQL without counting.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_does_everything_or_nothing_and_is_counted() {
    use sha2::{Digest, Sha256};
    let directory = tempfile::tempdir().expect("a directory");
    let (_original, full, backup) = backed_up(directory.path()).await;
    let target = TestDatabase::empty().await;
    let url = TestServer::shared().owner_url_for(&target.name);
    let (manifest_file, dump) = (backup.join("manifest.json"), backup.join("database.dump"));
    let (good, bytes) = (manifest(&backup), std::fs::read(&dump).expect("a dump"));
    refused(&full, &["restore", text(&backup)], 78, "is not empty").await;

    // As if it had been written so: the end is missing, of the rows of some table.
    let cut = &bytes[..bytes.len() - 40];
    let digest: String = Sha256::digest(cut).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut changed = good.clone();
    (changed["dump_bytes"], changed["dump_sha256"]) = (json!(cut.len()), json!(digest));
    std::fs::write(&dump, cut).expect("a dump");
    std::fs::write(&manifest_file, changed.to_string()).expect("a manifest");
    refused(&url, &["restore", text(&backup)], 69, "pg_restore failed").await;
    assert_eq!(tables(&target).await, 0);

    let mut changed = good.clone();
    changed["figures"]["records"] = json!(1);
    std::fs::write(&dump, &bytes).expect("a dump");
    std::fs::write(&manifest_file, changed.to_string()).expect("a manifest");
    refused(&url, &["restore", text(&backup)], 1, "differs from what was backed up").await;
}

/// Catches a full disk that leaves half a backup, or is not named.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_leaves_nothing() {
    let directory = tempfile::Builder::new().prefix("simbridge-test-disk-").tempdir().expect("a directory");
    let mount = |arguments: &[&str]| {
        let output =
            std::process::Command::new(arguments[0]).args(&arguments[1..]).arg(directory.path()).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=64k", "simbridge-test"]) {
        eprintln!("NOT RUN: mounting a file system is not allowed here");
        return;
    }
    let database = TestDatabase::new().await;
    let url = TestServer::shared().owner_url_for(&database.name);
    let (code, said, problem) = command_as(&url, &["backup", text(&directory.path().join("backup"))]).await;
    let left = names(directory.path());
    assert!(mount(&["umount", "--lazy"]));
    assert_eq!(code, Some(69), "{said}{problem}");
    assert!(problem.contains("No space left on device"), "{problem}");
    assert_eq!(left, NOTHING);
}
