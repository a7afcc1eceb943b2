//! What a record, a SIM and a day of a SIM cost, with three sizes beside each other: does any of it grow with the size?

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_postgres::Client;

use crate::database::{BenchDatabase, BenchServer};
use crate::program::Program;

/// Fills a fresh database for each of `sizes`, SIMs and records of them, through the program.
pub(crate) async fn run(server: &BenchServer, sizes: &str) {
    let mut costs = None;
    for size in sizes.split(',') {
        let (sims, records) = size.split_once(':').expect("SIMs:records");
        let (sims, records) = (sims.parse().expect("SIMs"), records.parse().expect("records"));
        let began = Instant::now();
        let database = server.database(sims).await;
        println!("{sims} SIMs: provisioned within {:.1} s", began.elapsed().as_secs_f64());
        let cost = fill(&database, sims, records).await;
        cost.report(sims, records);
        costs = Some(cost);
    }
    println!("{}", costs.expect("a size").json());
}

/// Of one record unless it says something else.
struct Cost {
    records_per_second: f64,
    bridge_cpu_us: f64,
    database_cpu_us: f64,
    wal_bytes: f64,
    stored_bytes: f64,
    stored_bytes_per_sim: f64,
    stored_bytes_per_cycle: f64,
    stored_bytes_per_sim_day: f64,
    /// Of all rollups that have no SIM in their key, at the end.
    chart_bytes: f64,
    bridge_memory_mb: u64,
}

impl Cost {
    fn report(&self, sims: usize, records: u64) {
        println!("{sims} SIMs, {records} records: {:.0} records/s with rollups", self.records_per_second);
        println!(
            "  of a record: {:.1} µs of CPU of simbridge, {:.1} µs of PostgreSQL, {:.0} bytes of WAL, {:.0} bytes stored",
            self.bridge_cpu_us, self.database_cpu_us, self.wal_bytes, self.stored_bytes
        );
        println!(
            "  stored: {:.0} bytes a SIM, {:.0} a cycle of a SIM, {:.0} a day of a SIM; rollups without SIMs {:.0} KB",
            self.stored_bytes_per_sim,
            self.stored_bytes_per_cycle,
            self.stored_bytes_per_sim_day,
            self.chart_bytes / 1024.0
        );
        println!("  RSS of simbridge {} MB", self.bridge_memory_mb);
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "bridge_cpu_us_per_record": self.bridge_cpu_us.round(),
            "database_cpu_us_per_record": self.database_cpu_us.round(),
            "wal_bytes_per_record": self.wal_bytes.round(),
            "stored_bytes_per_record": self.stored_bytes.round(),
            "stored_bytes_per_sim": self.stored_bytes_per_sim.round(),
            "stored_bytes_per_cycle": self.stored_bytes_per_cycle.round(),
            "stored_bytes_per_sim_day": self.stored_bytes_per_sim_day.round(),
        })
    }
}

async fn fill(database: &BenchDatabase, sims: usize, records: u64) -> Cost {
    let client = database.connect().await;
    let program = Program::start(database).await;
    let (server, bridge, wal) =
        (database.server_cpu_seconds(), program.cpu_seconds(), wal_position(&client).await);
    let began = Instant::now();
    program.load(sims, Some(records), None, 50, 100, None).await;
    await_charts(&client).await;
    let took = began.elapsed().as_secs_f64();
    let of_record = |total: f64| total / records as f64;
    Cost {
        records_per_second: records as f64 / took,
        bridge_cpu_us: of_record((program.cpu_seconds() - bridge) * 1e6),
        database_cpu_us: of_record((database.server_cpu_seconds() - server) * 1e6),
        wal_bytes: of_record(wal_position(&client).await - wal),
        stored_bytes: of_record(bytes(&client, &["usage_records", "record_keys"]).await),
        stored_bytes_per_sim: bytes(&client, &["provisioned_sims", "sim_ownership", "sim_numbers"]).await
            / sims as f64,
        stored_bytes_per_cycle: bytes(&client, &["usage_cycles"]).await
            / rows(&client, "SELECT count(*)::float8 FROM usage_cycles").await,
        stored_bytes_per_sim_day: bytes(&client, &["sim_daily_usage", "sim_allowances"]).await
            / rows(&client, "SELECT count(*)::float8 FROM sim_daily_usage").await,
        chart_bytes: bytes(&client, &CHARTS).await,
        bridge_memory_mb: program.memory_mb(),
    }
}

const CHARTS: [&str; 5] =
    ["hourly_usage", "daily_network_usage", "hourly_active_sims", "daily_active_sims", "monthly_active_sims"];

/// Until no batch waits for its rollup.
async fn await_charts(client: &Client) {
    let sql = "SELECT EXISTS (SELECT FROM rollup_markers)";
    while client.query_one(sql, &[]).await.expect("an answer").get(0) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn wal_position(client: &Client) -> f64 {
    let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8";
    client.query_one(sql, &[]).await.expect("a position").get(0)
}

/// With indexes, partitions and TOAST.
async fn bytes(client: &Client, tables: &[&str]) -> f64 {
    let sql = "SELECT sum(pg_total_relation_size(coalesce(leaf.relid, t.name::regclass)))::float8
               FROM unnest($1::text[]) AS t (name) LEFT JOIN LATERAL pg_partition_tree(t.name::regclass) AS leaf ON true";
    client.query_one(sql, &[&tables]).await.expect("sizes").get(0)
}

async fn rows(client: &Client, count: &str) -> f64 {
    client.query_one(count, &[]).await.expect("a count").get(0)
}
