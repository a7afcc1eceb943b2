//! A large database of an earlier version is brought up to date, and whoever does it dies half-way.

use std::path::Path;
use std::process::Stdio;

use rand::RngExt;
use sha2::{Digest, Sha256};
use tokio_postgres::Client;

use crate::effort::{either, seeded};
use crate::harness::bridge::{command_as, simbridge};
use crate::harness::durable::DurableServer;
use crate::harness::eventually;

/// The last version without indexes on the days of SIMs, which are what takes long.
const BEFORE: i32 = 13;

/// Tables that later files change, in their order: whoever holds one of them stops the migration there.
const STOPS: [&str; 4] = ["sim_daily_usage", "mqtt_credentials", "quarantine", "usage_sessions"];

/// What must not change by it.
const CONTENT: &str =
    "SELECT (SELECT (count(*), sum(total_bytes), min(record_id), max(record_id)) FROM usage_records)::text ||
           (SELECT (count(*), sum(total_bytes)) FROM hourly_usage)::text ||
           (SELECT (count(*), sum(data_bytes)) FROM daily_usage)::text ||
           (SELECT (count(*), sum(total_bytes)) FROM sim_daily_usage)::text";

async fn text(client: &Client, sql: &str) -> String {
    client
        .query_one(sql, &[])
        .await
        .expect("the query is valid")
        .get::<_, Option<String>>(0)
        .unwrap_or_default()
}

/// Applies the files up to [`BEFORE`], as the program of that time did.
async fn old_schema(client: &Client) {
    let history = "CREATE TABLE schema_history (version integer CONSTRAINT schema_history_pk PRIMARY KEY,
        name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())";
    client.batch_execute(history).await.expect("a table");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let (version, name) = stem[1..].split_once("__").expect("V1__name");
        files.push((version.parse::<i32>().expect("a number"), name.to_owned(), path));
    }
    files.sort();
    for (version, name, path) in files.into_iter().filter(|(version, ..)| *version <= BEFORE) {
        let sql = std::fs::read_to_string(path).expect("text");
        client.batch_execute(&sql).await.expect("it applies");
        let checksum: String = Sha256::digest(&sql).iter().map(|byte| format!("{byte:02x}")).collect();
        let record = "INSERT INTO schema_history (version, name, checksum) VALUES ($1, $2, $3)";
        client.execute(record, &[&version, &name, &checksum]).await.expect("a row");
    }
}

/// Records of 1,000 SIMs in the last 90 days, rolled up.
async fn fill(client: &Client, records: i32) {
    let keys = "INSERT INTO record_keys (tenant_id, iccid, record_id, fingerprint, period_start, write_id)
        SELECT 1, '894100000000000' || lpad((n % 1000)::text, 4, '0'), 'r-' || n,
               substr(sha256(n::text::bytea), 1, 16), now() - n % 2160 * interval '1 hour', 1000 + n / 10000
        FROM generate_series(1, $1) AS n";
    let rows = "INSERT INTO usage_records (key_tenant_id, iccid, record_id, period_start, period_end, data_upload_bytes,
               data_download_bytes, total_bytes, sms_count, voice_seconds, tenant_id, write_id)
        SELECT tenant_id, iccid, record_id, period_start, period_start, 1, 2, 3, 0, 0, 1, write_id FROM record_keys";
    let markers = "INSERT INTO rollup_markers (write_id, period_from, period_to, record_count)
        SELECT write_id, min(period_start), max(period_start), count(*) FROM record_keys GROUP BY write_id";
    let partitions = "SELECT ensure_partitions(now() - interval '100 days', now() + interval '1 day')";
    client.batch_execute(partitions).await.expect("partitions");
    client.execute(keys, &[&records]).await.expect("keys");
    for sql in [rows, markers] {
        client.batch_execute(sql).await.expect("rows");
    }
    while text(client, "SELECT (roll_up_chunk(100000)).markers::text").await != "0" {}
}

/// Catches files that are committed one by one (a kill leaves a schema that no version knows), a history that is written
/// apart from what it tells, and a migration that changes what is stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_is_killed_half_way_changes_nothing_and_can_be_run_again() {
    let mut random = seeded();
    let server = DurableServer::start().await;
    server.client().await.batch_execute("CREATE DATABASE old").await.expect("a database");
    let connect = async || crate::harness::server::connect(&server.config_for("old")).await;
    let url = server.url().replacen("/simbridge?", "/old?", 1);
    let mut client = connect().await;
    old_schema(&client).await;
    fill(&client, either(20_000, 1_000_000)).await;
    let content = text(&client, CONTENT).await;
    let schema =
        "SELECT md5(string_agg(c.oid::text || c.relname || c.relnatts, ',' ORDER BY c.oid)) FROM pg_class c
                  WHERE c.relnamespace = 'public'::regnamespace";
    let before = text(&client, schema).await;
    let turns = either(STOPS.len(), 40);
    for turn in 0..turns {
        let locker = connect().await;
        let lock = format!("BEGIN; LOCK TABLE {} IN ROW EXCLUSIVE MODE", STOPS[turn % STOPS.len()]);
        locker.batch_execute(&lock).await.expect("a lock");
        let mut migrate = simbridge();
        migrate.arg("migrate").env("DATABASE_URL", &url).stdout(Stdio::null()).stderr(Stdio::null());
        let mut migrate = migrate.spawn().expect("it starts");
        let waits = "SELECT count(*)::text FROM pg_stat_activity
                     WHERE datname = 'old' AND wait_event_type = 'Lock' AND application_name = 'simbridge'";
        eventually("it is half-way", async || (text(&client, waits).await == "1").then_some(())).await;
        if random.random_bool(0.5) {
            migrate.kill().await.expect("it can be killed");
        } else {
            server.kill_everything();
            migrate.wait().await.expect("it ends");
        }
        drop(locker);
        client = eventually("the server is back, and nobody migrates", async || {
            let (client, connection) = server.config_for("old").connect(tokio_postgres::NoTls).await.ok()?;
            tokio::spawn(connection);
            let others = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = 'old' AND application_name = 'simbridge'";
            let alone = client.query_one(others, &[]).await.ok()?.get::<_, String>(0) == "0";
            alone.then_some(client)
        })
        .await;
        assert_eq!(text(&client, "SELECT max(version)::text FROM schema_history").await, BEFORE.to_string());
        assert_eq!(text(&client, schema).await, before, "not a table, index or column was left behind");
    }
    let (code, said, told) = command_as(&url, &["migrate"]).await;
    assert_eq!(code, Some(0), "{said}{told}");
    assert_eq!(text(&client, CONTENT).await, content);
    let (code, said, told) = command_as(&url, &["migrate"]).await;
    assert_eq!(code, Some(0), "{said}{told}");
    let (code, said, told) = command_as(&url, &["reconcile"]).await;
    assert_eq!(code, Some(0), "{said}{told}");
    assert_eq!(text(&client, CONTENT).await, content);
}
