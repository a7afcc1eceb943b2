//! Commands of the program by logins that have one role: what the role is for works, and the rest is refused in words.

use chrono::TimeDelta;
use simbridge::store::MigrationError;
use simbridge::store::roles::RoleKind;

use crate::database_roles::{PASSWORD, count, login};
use crate::harness::bridge::command_as;
use crate::harness::database::{TestDatabase, now, sim};
use crate::harness::history::file;
use crate::harness::pipeline::{TestPipeline, correction_at, record, record_at, word};
use crate::harness::server::{TestServer, connect};

const NO_ROLE: &str = "simbridge: this login may not run simbridge: it has none of the roles serve, ingest and rollup \
                       in this database, and does not own its tables";
const ICCID: &str = "8941000000000000001";
const BYTES: &str = "SELECT coalesce(sum(total_bytes), 0) FROM usage_cycles";

/// A connection string of a new login that has one role.
pub(crate) async fn url_of(database: &TestDatabase, kind: RoleKind, tenants: &[&str]) -> String {
    let config = login(database, kind, tenants).await;
    TestServer::shared().url_as(config.get_user().expect("a user"), PASSWORD, &database.name)
}

/// Nothing but these words and 78, whatever else there is to say.
async fn may_not(url: &str, arguments: &[&str], what: &str) {
    let (code, said, problem) = command_as(url, arguments).await;
    let expected = format!(
        "simbridge: this login may not do that, one with the role serve may: permission denied for {what} (SQLSTATE 42501)"
    );
    let last = problem.lines().last().unwrap_or_default();
    assert_eq!((code, &*said, last), (Some(78), "", &*expected), "{arguments:?}: {problem}");
}

/// A usage record that names its SIM, some minutes old.
fn line(record_id: &str, minutes_ago: i64, bytes: i64) -> String {
    with_iccid(&record(record_id, minutes_ago, 0, bytes))
}

fn with_iccid(record: &str) -> String {
    record.replacen('{', &format!(r#"{{"iccid":"{ICCID}","#), 1)
}

/// Catches a grant that `import` or `replay` need beyond what a batch needs, and one too many.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_with_the_role_ingest_imports_and_replays_and_no_more() {
    let database = TestDatabase::new().await;
    let old = now() - TimeDelta::days(70);
    database.import_at(&old.to_rfc3339(), &[sim(ICCID)]).await;
    let url = url_of(&database, RoleKind::Ingest, &[]).await;
    let long_ago = (now() - TimeDelta::days(45)).to_rfc3339();
    let usage = file(
        "usage.ndjson",
        [
            line("a", 60, 100),
            with_iccid(&record_at("b", &long_ago, 20)),
            line("a", 60, 100),
            line("bad", 60, -3),
            with_iccid(&correction_at("less", "b", &long_ago, -5)),
        ]
        .join("\n"),
    );
    let path = usage.path.to_str().expect("UTF-8");
    let (code, said, problem) = command_as(&url, &["import", path]).await;
    assert_eq!(code, Some(1), "{said}{problem}");
    assert!(said.contains("5 records read, 2 stored, 1 duplicates, 2 parked"), "{said}{problem}");
    let (code, said, _) = command_as(&url, &["import", path]).await;
    assert!(code == Some(0) && said.contains("imported before"), "{said}");
    assert_eq!(database.number(BYTES).await, 120);

    let ids = database.rows("SELECT id FROM quarantine ORDER BY reason").await;
    let [bad, correction] = ids.as_slice() else { panic!("{ids:?}") };
    let (code, said, problem) = command_as(&url, &["quarantine", "list"]).await;
    assert!(code == Some(0) && said.contains("invalid") && said.contains("not_permitted"), "{said}{problem}");
    let (code, _, problem) = command_as(&url, &["quarantine", "replay", correction]).await;
    assert!(code == Some(1) && problem.contains("still cannot be stored"), "{problem}");
    let replay = ["quarantine", "replay", correction, "--allow-corrections"];
    let replayed = command_as(&url, &replay).await;
    assert_eq!(replayed, (Some(0), format!("{correction}: 1 stored, 0 stored before"), String::new()));
    let mended = file("mended.json", line("bad", 60, 3));
    let replay = ["quarantine", "replay", bad, "--payload", mended.path.to_str().expect("UTF-8")];
    let replayed = command_as(&url, &replay).await;
    assert_eq!(replayed, (Some(0), format!("{bad}: 1 stored, 0 stored before"), String::new()));
    assert_eq!(database.number(BYTES).await, 118);
    let states = "SELECT state, resolved_at IS NOT NULL FROM quarantine";
    assert_eq!(database.rows(states).await, ["replayed|t", "replayed|t"]);

    may_not(&url, &["rollup"], "table sim_numbers").await;
    may_not(&url, &["rebuild"], "table zone_changes").await;
    may_not(&url, &["keys", "list"], "table api_keys").await;
    may_not(&url, &["tenants", "add", "acme"], "table tenants").await;
    let serve = ["serve", "--mqtt-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"];
    let (code, _, problem) = command_as(&url, &serve).await;
    let expected = "the database cannot be used: permission denied for table mqtt_retained (SQLSTATE 42501)";
    assert!(code == Some(78) && problem.ends_with(expected), "{problem}");
    database.roll_up().await;
    database.assert_reconciled().await;
}

/// Catches a grant that `rollup` or `rebuild` need beyond what their functions need, and one too many.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_with_the_role_rollup_rolls_up_and_rebuilds_and_no_more() {
    let database = TestDatabase::new().await;
    let old = now() - TimeDelta::days(70);
    database.import_at(&old.to_rfc3339(), &[sim(ICCID)]).await;
    let pipeline = TestPipeline::start(&database.store);
    for (id, minutes_ago) in [("a", 60), ("b", 60 * 24), ("c", 60 * 24 * 45)] {
        assert_eq!(word(&pipeline.one(ICCID, record(id, minutes_ago, 0, 100)).await), "stored");
    }
    let url = url_of(&database, RoleKind::Rollup, &[]).await;
    let (code, said, problem) = command_as(&url, &["rollup"]).await;
    assert!(code == Some(0) && said.contains("3 records of 3 batches added"), "{said}{problem}");
    let days = "SELECT sum(record_count), sum(data_bytes) FROM daily_usage";
    assert_eq!(database.rows(days).await, ["3|300"]);
    database.assert_reconciled().await;
    database.run("UPDATE tenants SET time_zone = 'Asia/Tokyo' WHERE id = 1").await;
    let (code, said, problem) = command_as(&url, &["rollup"]).await;
    assert!(code == Some(0) && said.contains("days of 1 SIMs moved"), "{said}{problem}");
    database.run("UPDATE daily_usage SET data_bytes = 1; DELETE FROM hourly_usage").await;
    let (code, said, problem) = command_as(&url, &["rebuild"]).await;
    assert!(code == Some(0) && said.ends_with("made anew from 3 records"), "{said}{problem}");
    assert_eq!(database.rows(days).await, ["3|300"]);
    database.assert_reconciled().await;

    let usage = file("usage.ndjson", line("d", 60, 100));
    may_not(&url, &["import", usage.path.to_str().expect("UTF-8")], "table file_imports").await;
    may_not(&url, &["quarantine", "list"], "table quarantine").await;
    may_not(&url, &["quarantine", "replay", "1"], "table quarantine").await;
    may_not(&url, &["keys", "list"], "table api_keys").await;
    may_not(&url, &["tenants", "add", "acme"], "table tenants").await;
    assert_eq!(database.number("SELECT count(*) FROM usage_records").await, 3);
    let reader = url_of(&database, RoleKind::Read, &["default"]).await;
    for arguments in [&["rollup"][..], &["quarantine", "list"], &["tenants", "list"], &["reconcile"]] {
        let (code, said, problem) = command_as(&reader, arguments).await;
        assert_eq!((code, &*said, &*problem), (Some(78), "", NO_ROLE), "{arguments:?}");
    }
}

/// Catches a program that fails with PostgreSQL's words, or makes do with an older schema.
#[tokio::test]
async fn who_may_not_change_the_schema_is_told_who_must() {
    let database = TestDatabase::new().await;
    database.store.migrate().await.expect("nothing to do needs no right");
    let known = database.number("SELECT max(version) FROM schema_history").await;
    database
        .run("DELETE FROM schema_history WHERE version = (SELECT max(version) FROM schema_history)")
        .await;
    let before = database.number("SELECT max(version) FROM schema_history").await;
    let refused = database.store.migrate().await.expect_err("is refused");
    assert!(
        matches!(refused, MigrationError::NotOwner { found: f, known: k } if (f.into(), k.into()) == (before, known)),
        "{refused}"
    );
    let (code, _, said) = command_as(&database.url(), &["migrate"]).await;
    assert_eq!(code, Some(78));
    assert_eq!(
        said,
        format!(
            "simbridge: the database has schema version {before} and needs {known}, and this login may not change it: \
             run `simbridge migrate` as the owner of its tables"
        )
    );
}

#[tokio::test]
async fn roles_and_logins_are_made_listed_and_removed_from_the_command_line() {
    let database = TestDatabase::new().await;
    let owner = TestServer::shared().owner_url_for(&database.name);
    let run = async |arguments: &[&str]| command_as(&owner, arguments).await;
    database.run("DELETE FROM database_roles").await;
    let (_, said, _) = run(&["roles", "list"]).await;
    assert!(said.starts_with("no roles: "), "{said}");
    let (code, _, said) = run(&["roles", "login", "nobody", "--as", "serve"]).await;
    assert_eq!((code, &*said), (Some(1), "simbridge: there are no roles yet: run `simbridge roles create`"));
    let (code, said, _) = run(&["roles", "create", "--prefix", "fleet"]).await;
    assert_eq!(
        (code, &*said),
        (
            Some(0),
            "the roles fleet_ingest, fleet_rollup, fleet_read, fleet_serve may do what they need in this database, \
             and nothing else"
        )
    );
    let (code, _, said) = run(&["roles", "login", "grafana", "--as", "read"]).await;
    assert!(code == Some(2) && said.contains("--tenant"), "{said}");
    let (code, _, said) = run(&["roles", "login", "grafana", "--as", "read", "--tenant", "nobody"]).await;
    assert_eq!((code, &*said), (Some(1), "simbridge: there is no tenant `nobody`"));
    let (code, password, _) =
        run(&["roles", "login", "grafana", "--as", "read", "--tenant", "default"]).await;
    assert_eq!((code, password.len()), (Some(0), 24));
    let stored = "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'grafana'";
    assert_eq!(database.text(stored, &[]).await, "true");
    let (code, _, said) = run(&["roles", "login", "grafana", "--as", "serve"]).await;
    assert_eq!((code, &*said), (Some(1), "simbridge: there is a role `grafana` already"));
    let (_, listed, _) = run(&["roles", "list"]).await;
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines,
        [
            vec!["ROLE", "LOGIN", "TENANTS"],
            vec!["fleet_ingest"],
            vec!["fleet_read", "grafana", "default"],
            vec!["fleet_rollup"],
            vec!["fleet_serve"],
        ]
    );
    let mut config = database.another_config();
    config.user("grafana").password(&password);
    let reader = connect(&config).await;
    assert_eq!(count(&reader, "SELECT count(*) FROM tenants").await, 1);
    let url = TestServer::shared().url_as("grafana", &password, &database.name);
    let (code, _, said) = command_as(&url, &["roles", "create"]).await;
    assert_eq!((code, &*said), (Some(78), NO_ROLE));
    assert_eq!(run(&["roles", "revoke", "grafana"]).await.0, Some(0));
    let (code, _, said) = run(&["roles", "revoke", "grafana"]).await;
    assert_eq!((code, &*said), (Some(1), "simbridge: no login `grafana` has one of the roles"));
    let (code, _, _) = run(&["roles", "revoke", "simbridge"]).await;
    assert_eq!(code, Some(1), "the superuser is none of its logins");
    assert!(reader.batch_execute("SELECT * FROM tenants").await.is_err(), "what it has open can do nothing");
    assert!(config.connect(tokio_postgres::NoTls).await.is_err());
}

/// Catches roles that only a superuser can make, and a schema in which nobody else may have anything.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_no_superuser_makes_the_roles() {
    let database = TestDatabase::empty_of("plain_owner", PASSWORD).await;
    let url = TestServer::shared().url_as("plain_owner", PASSWORD, &database.name);
    database
        .run(
            "CREATE TABLE theirs (x integer); CREATE SEQUENCE theirs_too;
             CREATE FUNCTION theirs() RETURNS integer LANGUAGE sql AS 'SELECT 1';
             REVOKE ALL ON FUNCTION theirs() FROM PUBLIC",
        )
        .await;
    for arguments in [
        &["migrate"][..],
        &["roles", "create", "--prefix", "plain"],
        &["roles", "create", "--prefix", "plain"],
    ] {
        let (code, said, problem) = command_as(&url, arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {said}{problem}");
    }
    let mut logins = Vec::new();
    for (login, kind) in [("plain_serve_1", "serve"), ("plain_read_1", "read")] {
        let mut arguments = vec!["roles", "login", login, "--as", kind];
        arguments.extend(if kind == "read" { &["--tenant", "default"][..] } else { &[] });
        let (code, password, problem) = command_as(&url, &arguments).await;
        assert_eq!(code, Some(0), "{problem}");
        logins.push(TestServer::shared().url_as(login, &password, &database.name));
    }
    let sims = file("sims.csv", format!("iccid\n{ICCID}\n"));
    let import = ["sims", "import", sims.path.to_str().expect("UTF-8")];
    let (code, said, problem) = command_as(&logins[0], &import).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    let usage = file("usage.ndjson", line("a", 0, 100));
    let (code, said, problem) =
        command_as(&logins[0], &["import", usage.path.to_str().expect("UTF-8")]).await;
    assert_eq!(code, Some(0), "{said}{problem}");
    assert_eq!(command_as(&logins[0], &["rollup"]).await.0, Some(0));
    assert_eq!(command_as(&logins[0], &["reconcile"]).await.0, Some(0));
    let (client, connection) =
        tokio_postgres::connect(&logins[1], tokio_postgres::NoTls).await.expect("it may");
    tokio::spawn(connection);
    assert_eq!(count(&client, "SELECT sum(total_bytes)::bigint FROM usage_records").await, 100);
    assert_eq!(command_as(&url, &["roles", "revoke", "plain_read_1"]).await.0, Some(0));
}

/// Catches a reader of all tenants that keeps that sight when it is made anew for one, and a password that is made up although one was
/// given.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_all_tenants_is_made_with_a_password_of_ones_own_and_only_on_request() {
    let database = TestDatabase::new().await;
    let owner = TestServer::shared().owner_url_for(&database.name);
    let run = async |arguments: &[&str]| command_as(&owner, arguments).await;
    database.tenant("second", "UTC").await;
    let name = format!("{}_grafana", database.name);
    let given = file("password", "a password of sixteen\nand more\n");
    let given = given.path.to_str().expect("UTF-8");
    let short = file("short", "short\n");
    for (more, problem) in [
        (
            vec!["--as", "read", "--all-tenants", "--password-file", short.path.to_str().expect("UTF-8")],
            "12 to 256 bytes",
        ),
        (vec!["--as", "read", "--all-tenants", "--tenant", "second"], "cannot be used with"),
        (vec!["--as", "serve", "--all-tenants"], "see all of them"),
        (vec!["--as", "read"], "--all-tenants"),
    ] {
        let (code, said, told) = run(&[&["roles", "login", &name], &more[..]].concat()).await;
        assert!(code == Some(2) && said.is_empty() && told.contains(problem), "{more:?}: {told}");
    }
    let make = ["roles", "login", &name, "--as", "read", "--all-tenants", "--password-file", given];
    let (code, said, told) = run(&make).await;
    assert!(code == Some(0) && said.is_empty() && !told.contains("sixteen"), "{said}{told}");
    let tenants = "SELECT count(*) FROM tenants";
    let mut config = database.another_config();
    config.user(&name).password("a password of sixteen");
    assert_eq!(count(&connect(&config).await, tenants).await, 2);
    let (_, listed, _) = run(&["roles", "list"]).await;
    let line = listed.lines().find(|line| line.contains(&name)).expect("it is listed");
    assert!(line.ends_with(" all"), "{line}");

    // Dropped by hand, and made again for one tenant.
    database.run(&format!("DROP ROLE {name}")).await;
    let (code, password, told) = run(&["roles", "login", &name, "--as", "read", "--tenant", "second"]).await;
    assert_eq!(code, Some(0), "{told}");
    config.password(&password);
    assert_eq!(count(&connect(&config).await, tenants).await, 1);
    assert_eq!(run(&["roles", "revoke", &name]).await.0, Some(0));
    assert_eq!(run(&make).await.0, Some(0));
    assert_eq!(run(&["roles", "revoke", &name]).await.0, Some(0));
    assert_eq!(database.number("SELECT count(*) FROM all_tenant_readers").await, 0);
}

/// Catches a password that is changed by making the login anew: what it has open could do nothing any more; and one of a login that
/// is not ours to change.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_given_another_password_and_keeps_what_it_has_open() {
    let database = TestDatabase::new().await;
    let owner = TestServer::shared().owner_url_for(&database.name);
    let run = async |arguments: &[&str]| command_as(&owner, arguments).await;
    let mut config = login(&database, RoleKind::Read, &["default"]).await;
    let name = config.get_user().expect("a user").to_owned();
    let open = connect(&config).await;
    let (code, password, told) = run(&["roles", "password", &name]).await;
    assert!(code == Some(0) && password.len() >= 20, "{told}");
    assert_eq!(count(&open, "SELECT count(*) FROM tenants").await, 1);
    assert!(config.connect(tokio_postgres::NoTls).await.is_err(), "the former password");
    assert_eq!(count(&connect(config.password(&password)).await, "SELECT count(*) FROM tenants").await, 1);
    let given = file("password", "another one of mine");
    let change = ["roles", "password", &name, "--password-file", given.path.to_str().expect("UTF-8")];
    let (code, said, told) = run(&change).await;
    assert!(code == Some(0) && said.is_empty() && !told.contains("another"), "{said}{told}");
    assert_eq!(count(&connect(config.password("another one of mine")).await, "SELECT 1::bigint").await, 1);
    for stranger in ["postgres", "simbridge_read", "nobody_at_all"] {
        let (code, said, told) = run(&["roles", "password", stranger]).await;
        assert_eq!((code, &*said), (Some(1), ""), "{told}");
        assert!(told.contains(&format!("no login `{stranger}` has one of the roles")), "{told}");
    }
}
