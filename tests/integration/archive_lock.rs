//! What a month that comes back does while writers wait for it.

use tokio_postgres::Client;

use crate::archive::{FEBRUARY, NOW, with_history};
use crate::harness::database::{TestDatabase, sim};
use crate::harness::server::{TestServer, connect};

const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtext('simbridge.inventory'))";

/// Takes the oldest month out, as a command does that was killed after it.
async fn take_out(client: &Client) -> String {
    let taken = format!("BEGIN; {LOCK}; SELECT take_out_usage_month('{NOW}', '{FEBRUARY}'); COMMIT");
    client.batch_execute(&taken).await.expect("a month");
    client
        .query_one("SELECT id::text FROM usage_archives WHERE state = 'pending'", &[])
        .await
        .expect("one")
        .get(0)
}

/// Records of the month that were read one after the other, and by an index, in this transaction.
async fn read(client: &Client) -> (i64, i64) {
    let sql = "SELECT pg_stat_get_xact_tuples_returned(c.oid),
                      (SELECT sum(pg_stat_get_xact_tuples_fetched(i.indexrelid))::bigint FROM pg_index i WHERE i.indrelid = c.oid)
               FROM pg_class c WHERE c.relname IN ('usage_archiving', 'usage_records_y2025m12')";
    let row = client.query_one(sql, &[]).await.expect("the month");
    (row.get(0), row.get(1))
}

async fn owner(database: &TestDatabase) -> Client {
    connect(&TestServer::shared().owner_url_for(&database.name).parse().expect("a connection string")).await
}

/// Catches a partition whose records ATTACH reads to see whether they belong to it, and a look at every record because some SIM was
/// changed: of many millions of records either takes longer than a batch may wait.
#[tokio::test]
async fn no_record_is_read_while_writers_wait() {
    let (database, _pipeline) = with_history().await;
    let client = owner(&database).await;
    let archive = take_out(&client).await;
    client.batch_execute("BEGIN").await.expect("a transaction");
    let prepared = client
        .query_one("SELECT seen_version, moved FROM prepare_usage_month($1::text::uuid)", &[&archive])
        .await
        .expect("it is prepared");
    let (seen_version, moved): (i64, Option<Vec<String>>) = (prepared.get(0), prepared.get(1));
    assert_eq!(moved, None);

    // Of SIMs without records of that month.
    database.import_at(NOW, &[sim("8941000000000000999")]).await;
    let version = "SELECT version FROM inventory_version";
    assert!(database.number(version).await > seen_version, "somebody looks again");

    client.batch_execute(LOCK).await.expect("a lock");
    let before = read(&client).await;
    assert!(before.0 + before.1 >= 3, "its three records were read before: {before:?}");
    let returned = "SELECT return_usage_month($1::text::uuid, now(), $2, $3)";
    let stamped: i64 =
        client.query_one(returned, &[&archive, &seen_version, &moved]).await.expect("it is back").get(0);
    assert_eq!((stamped, read(&client).await), (0, before));
    client.batch_execute("COMMIT").await.expect("it is back");
    database.assert_reconciled().await;
}
