//! A database with roles on another server: dumped, restored without owners and privileges, and given its roles anew.

use std::process::Stdio;

use simbridge::store::roles::{LoginCreated, RoleKind};
use tokio::process::Command;

use crate::database_roles::{NOTHING, PASSWORD, count, differing, refused, rights};
use crate::database_roles_readers::three_tenants;
use crate::harness::PATIENCE;
use crate::harness::bridge::command_as;
use crate::harness::database::TestDatabase;
use crate::harness::server::{TestServer, connect};

/// Runs a program of PostgreSQL, one beside the server's own: whether it succeeded, and what it complained about.
async fn run(database: &TestDatabase, program: &str, arguments: &[&str]) -> (bool, String) {
    let directory = database.text("SELECT setting FROM pg_config WHERE name = 'BINDIR'", &[]).await;
    let mut command = Command::new(std::path::Path::new(&directory).join(program));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("in time").expect("it starts");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Catches rights that a restored database lacks or has too many: functions that everybody may call, policies that are gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_gets_its_roles_back_exactly() {
    let server = TestServer::shared();
    let original = three_tenants().await;
    let roles = format!("{}_moved", original.name);
    original.owner().create_roles(&roles).await.expect("roles of its own");
    let login = format!("{}_grafana", original.name);
    let made = original.owner().create_login(&login, PASSWORD, RoleKind::Read, &["second".into()]).await;
    assert_eq!(made.expect("a login"), LoginCreated::Created);
    let directory = tempfile::tempdir().expect("a directory");
    let dump = directory.path().join("simbridge.dump");
    let dump = dump.to_str().expect("UTF-8");
    let url = server.owner_url_for(&original.name);
    let (done, said) = run(&original, "pg_dump", &["-Fc", "-f", dump, &url]).await;
    assert!(done, "{said}");
    let before = rights(&original).await;
    let records = original.rows("SELECT * FROM usage_records ORDER BY id").await;
    // Another server has none of the roles.
    original.run(&format!("REASSIGN OWNED BY {roles}_read TO CURRENT_USER")).await;
    let kinds = RoleKind::ALL.map(|kind| format!("{roles}_{}", kind.as_str())).join(", ");
    original.run(&format!("DROP OWNED BY {kinds}, {login}; DROP ROLE {login}, {kinds}")).await;

    let restored = TestDatabase::empty().await;
    let url = server.owner_url_for(&restored.name);
    let (done, said) =
        run(&original, "pg_restore", &["--no-owner", "--no-privileges", "-d", &url, dump]).await;
    let others = |line: &&str| line.contains("error:") && !line.contains("does not exist");
    assert!(!done && said.contains("CREATE POLICY") && !said.lines().any(|line| others(&line)), "{said}");
    assert_ne!(differing(&rights(&restored).await, &before), NOTHING);
    // As a newer version does when it brings an older dump up to date, which `roles create` begins with.
    restored.run("SELECT grant_roles()").await;
    let (code, said, problem) = command_as(&url, &["roles", "create", "--prefix", &roles]).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    assert_eq!(differing(&rights(&restored).await, &before), NOTHING);
    assert_eq!(restored.rows("SELECT * FROM usage_records ORDER BY id").await, records);
    let (code, said, problem) = command_as(&url, &["reconcile"]).await;
    assert_eq!(code, Some(0), "{said}{problem}");

    let login_as = ["roles", "login", &login, "--as", "read", "--tenant", "third"];
    let (code, password, problem) = command_as(&url, &login_as).await;
    assert_eq!(code, Some(0), "{problem}");
    let mut config = restored.another_config();
    config.user(&login).password(&password);
    let reader = connect(&config).await;
    let third = restored.number("SELECT count(*) FROM usage_records WHERE tenant_id = 3").await;
    assert_eq!(count(&reader, "SELECT count(*) FROM usage_records").await, third);
    assert_eq!(
        count(&reader, "SELECT count(*) FROM tenants").await,
        1,
        "it saw the second one, on the other server"
    );
    refused(&reader, "SELECT ensure_partitions(now(), now())").await;
    refused(&reader, "SELECT drop_usage_partition('usage_records_y2026m03')").await;
}
