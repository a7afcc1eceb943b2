//! The schema comes from the migrations and from nothing else.

use simbridge::store::{MigrationError, Store};

use crate::harness::server::{TestServer, store};

/// Migrations that the repository has; numbers may be left out.
fn files() -> usize {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    std::fs::read_dir(directory).expect("a directory").count()
}

/// A way to a database without a schema.
async fn empty(name: &str) -> (Store, tokio_postgres::Client) {
    let server = TestServer::shared();
    server.admin().await.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
    let config = server.config_for(name);
    (store(config.clone()), crate::harness::server::connect(&config).await)
}

#[tokio::test]
async fn a_fresh_database_gets_every_migration_and_a_current_one_none() {
    let (store, _) = empty("migrations_fresh").await;
    let first = store.migrate().await.expect("applies");
    assert!(first.applied == files() && first.version >= first.applied as i32, "{first:?}");
    let again = store.migrate().await.expect("nothing to do");
    assert_eq!((again.applied, again.version), (0, first.version));
}

/// Catches migrating without the lock: one of both would fail half-way.
#[tokio::test]
async fn two_instances_that_start_at_once_migrate_once() {
    let (a, _) = empty("migrations_twice").await;
    let b = store(TestServer::shared().config_for("migrations_twice"));
    let (a, b) = tokio::join!(a.migrate(), b.migrate());
    let (a, b) = (a.expect("applies"), b.expect("applies"));
    assert_eq!(a.applied + b.applied, files());
    assert!(a.applied == 0 || b.applied == 0);
}

/// Catches an older program that writes into a schema which it does not know.
#[tokio::test]
async fn a_schema_from_the_future_is_refused_and_left_alone() {
    let (store, client) = empty("migrations_future").await;
    let known = store.migrate().await.expect("applies").version;
    client
        .batch_execute("INSERT INTO schema_history (version, name, checksum) VALUES (999, 'later', 'x')")
        .await
        .expect("a row");
    let refused = store.migrate().await.expect_err("is refused");
    assert!(
        matches!(refused, MigrationError::FromTheFuture { found: 999, known: k } if k == known),
        "{refused}"
    );
}

#[tokio::test]
async fn a_migration_that_was_altered_is_refused() {
    let (store, client) = empty("migrations_altered").await;
    store.migrate().await.expect("applies");
    client
        .batch_execute("UPDATE schema_history SET checksum = 'x' WHERE version = 2")
        .await
        .expect("a change");
    let refused = store.migrate().await.expect_err("is refused");
    assert!(matches!(refused, MigrationError::Altered { version: 2, .. }), "{refused}");
}

/// Catches migrations that are committed one by one: a failure would leave half a schema.
#[tokio::test]
async fn a_migration_that_fails_changes_nothing() {
    let (store, client) = empty("migrations_failing").await;
    client.batch_execute("CREATE TABLE usage_cycles (x integer)").await.expect("a table in the way");
    let failed = store.migrate().await.expect_err("fails");
    assert!(matches!(failed, MigrationError::Failed { version: 2, .. }), "{failed}");
    let row = client.query_one("SELECT to_regclass('tenants')::text", &[]).await.expect("a row");
    assert_eq!(row.get::<_, Option<String>>(0), None);
    client.batch_execute("DROP TABLE usage_cycles").await.expect("out of the way");
    store.migrate().await.expect("applies now");
}
