//! A server that is given to the tests (`SIMBRIDGE_TEST_DATABASE_URL`), of which they may use everything.

use tokio_postgres::Client;

/// Where the tests remember which roles are not theirs.
const NOTES: &str = "simbridge_tests";

/// Makes the server as it was before the first run of tests: what an earlier run left, its databases and roles, is dropped. The
/// server is this process's until the connection ends.
pub(super) async fn take(url: &str) -> Client {
    let mut config: tokio_postgres::Config = url.parse().expect("SIMBRIDGE_TEST_DATABASE_URL is an address");
    let admin = super::server::connect(&config).await;
    if admin
        .query_opt("SELECT FROM pg_database WHERE datname = $1", &[&NOTES])
        .await
        .expect("it is there")
        .is_none()
    {
        admin.batch_execute(&format!("CREATE DATABASE {NOTES}")).await.expect("the login is a superuser");
    }
    let notes = super::server::connect(config.dbname(NOTES)).await;
    // Test programs run one after the other; the connection of the last one may live for a moment longer.
    notes.execute("SELECT pg_advisory_lock(1)", &[]).await.expect("nobody else tests there");
    let sql = "CREATE TABLE IF NOT EXISTS others AS SELECT rolname FROM pg_roles";
    notes.batch_execute(sql).await.expect("the login is a superuser");
    clear(&admin, &notes).await;
    notes
}

async fn clear(admin: &Client, notes: &Client) {
    let sql = "SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database
               WHERE datname = 'simbridge_template' OR datname ~ '^(test|migrations)_'";
    let databases = admin.query(sql, &[]).await.expect("databases are listed");
    let sql = "SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE rolname NOT IN (SELECT rolname FROM others)";
    let roles = notes.query(sql, &[]).await.expect("roles are listed");
    for row in databases.iter().chain(&roles) {
        admin.batch_execute(row.get(0)).await.expect("it is of an earlier run");
    }
}
