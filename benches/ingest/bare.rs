//! The fastest loader that we could write for the same rows and tables: it knows every SIM and cycle beforehand.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Transaction};

use crate::database::BenchDatabase;
use crate::workload::{Row, Workload};

/// Rows of one transaction; larger ones were not faster.
const CHUNK: usize = 4_000;

static WRITE_ID: AtomicI64 = AtomicI64::new(1 << 40);

struct Sim {
    sim_id: String,
    carrier_id: i32,
    rate_plan_id: i32,
    cycles: Vec<(String, DateTime<Utc>, DateTime<Utc>)>,
}

/// Loads everything on `connections` connections, which are returned still open.
pub(crate) async fn load(
    database: &BenchDatabase,
    workload: &Workload,
    connections: usize,
) -> (Duration, Vec<Client>) {
    let sims = Arc::new(sims(&database.connect().await, workload).await);
    let rows = Arc::new(workload.rows.clone());
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(database.connect().await);
    }
    let started = Instant::now();
    let mut tasks = Vec::new();
    for mut client in clients {
        let (rows, sims, next) = (rows.clone(), sims.clone(), next.clone());
        tasks.push(tokio::spawn(async move {
            loop {
                let from = next.fetch_add(CHUNK, Ordering::Relaxed);
                if from >= rows.len() {
                    return client;
                }
                load_chunk(&mut client, &rows[from..rows.len().min(from + CHUNK)], &sims).await;
            }
        }));
    }
    let mut clients = Vec::new();
    for task in tasks {
        clients.push(task.await.expect("the loader does not panic"));
    }
    (started.elapsed(), clients)
}

async fn sims(client: &Client, workload: &Workload) -> HashMap<String, Sim> {
    // What the workload needs exists beforehand, so that the loader has no decision to make.
    let earliest = workload.rows.iter().map(|row| row.period_start).min().expect("rows");
    client
        .execute(
            "SELECT ensure_cycles(array_agg(iccid), array_agg($1::timestamptz), now()) FROM provisioned_sims",
            &[&earliest],
        )
        .await
        .expect("cycles can be made");
    let rows = client
        .query(
            "SELECT s.iccid, s.sim_id, s.carrier_id, s.rate_plan_id, c.cycle_id, c.cycle_start, c.cycle_end
             FROM provisioned_sims s JOIN usage_cycles c USING (sim_id)",
            &[],
        )
        .await
        .expect("the inventory can be read");
    let mut sims = HashMap::new();
    for row in rows {
        let sim: &mut Sim = sims.entry(row.get("iccid")).or_insert_with(|| Sim {
            sim_id: row.get("sim_id"),
            carrier_id: row.get("carrier_id"),
            rate_plan_id: row.get("rate_plan_id"),
            cycles: Vec::new(),
        });
        sim.cycles.push((row.get("cycle_id"), row.get("cycle_start"), row.get("cycle_end")));
    }
    sims
}

async fn load_chunk(client: &mut Client, rows: &[Row], sims: &HashMap<String, Sim>) {
    let write_id = WRITE_ID.fetch_add(1, Ordering::Relaxed);
    let tx = client.transaction().await.expect("BEGIN");
    copy_keys(&tx, rows, write_id).await;
    copy_records(&tx, rows, sims, write_id).await;
    upsert_cycles(&tx, rows, sims).await;
    tx.commit().await.expect("COMMIT");
}

async fn copy_keys(tx: &Transaction<'_>, rows: &[Row], write_id: i64) {
    let sql = "COPY record_keys (tenant_id, iccid, record_id, fingerprint, period_start, write_id) FROM STDIN BINARY";
    let types = [Type::INT4, Type::TEXT, Type::TEXT, Type::BYTEA, Type::TIMESTAMPTZ, Type::INT8];
    let sink = tx.copy_in(sql).await.expect("COPY");
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    for row in rows {
        let fingerprint = &[7u8; 16][..];
        writer
            .as_mut()
            .write(&[&1i32, &&*row.iccid, &row.record_id, &fingerprint, &row.period_start, &write_id])
            .await
            .expect("a row");
    }
    writer.finish().await.expect("the end of COPY");
}

async fn copy_records(tx: &Transaction<'_>, rows: &[Row], sims: &HashMap<String, Sim>, write_id: i64) {
    let sql = "COPY usage_records (write_id, period_start, period_end, data_upload_bytes, data_download_bytes, total_bytes,
               key_tenant_id, tenant_id, carrier_id, rate_plan_id, iccid, record_id, sim_id, cycle_id, source)
               FROM STDIN BINARY";
    let types = [
        Type::INT8,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::INT8,
        Type::INT8,
        Type::INT8,
        Type::INT4,
        Type::INT4,
        Type::INT4,
        Type::INT4,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
    ];
    let sink = tx.copy_in(sql).await.expect("COPY");
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    for row in rows {
        let sim = &sims[&*row.iccid];
        #[rustfmt::skip]
        writer.as_mut().write(&[
            &write_id, &row.period_start, &(row.period_start + TimeDelta::minutes(5)), &row.upload, &row.download,
            &(row.upload + row.download), &1i32, &1i32, &sim.carrier_id, &sim.rate_plan_id, &&*row.iccid,
            &row.record_id, &sim.sim_id, &sim.cycle(row).0, &"bench",
        ]).await.expect("a row");
    }
    writer.finish().await.expect("the end of COPY");
}

async fn upsert_cycles(tx: &Transaction<'_>, rows: &[Row], sims: &HashMap<String, Sim>) {
    type Sum<'s> = (String, &'s DateTime<Utc>, &'s DateTime<Utc>, i64, i64, i64);
    let mut sums: HashMap<(&str, &str), Sum<'_>> = HashMap::new();
    for row in rows {
        let sim = &sims[&*row.iccid];
        let (cycle_id, start, end) = sim.cycle(row);
        let sum = sums
            .entry((&sim.sim_id, cycle_id))
            .or_insert_with(|| (row.iccid.to_string(), start, end, 0, 0, 0));
        sum.3 += row.upload;
        sum.4 += row.download;
        sum.5 += 1;
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_unstable_by_key(|(key, _)| *key);
    let sim_ids: Vec<&str> = sums.iter().map(|((sim, _), _)| *sim).collect();
    let cycle_ids: Vec<&str> = sums.iter().map(|((_, cycle), _)| *cycle).collect();
    let iccids: Vec<&str> = sums.iter().map(|(_, sum)| sum.0.as_str()).collect();
    let starts: Vec<_> = sums.iter().map(|(_, sum)| *sum.1).collect();
    let ends: Vec<_> = sums.iter().map(|(_, sum)| *sum.2).collect();
    let uploads: Vec<i64> = sums.iter().map(|(_, sum)| sum.3).collect();
    let downloads: Vec<i64> = sums.iter().map(|(_, sum)| sum.4).collect();
    let counts: Vec<i64> = sums.iter().map(|(_, sum)| sum.5).collect();
    let sql = "INSERT INTO usage_cycles AS c (sim_id, iccid, cycle_id, cycle_start, cycle_end, total_upload_bytes,
                   total_download_bytes, total_bytes, record_count)
               SELECT s, i, y, a, b, u, d, u + d, n
               FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::bigint[],
                           $7::bigint[], $8::bigint[]) AS t (s, i, y, a, b, u, d, n)
               ON CONFLICT (sim_id, cycle_id, iccid) DO UPDATE SET
                   total_upload_bytes = c.total_upload_bytes + excluded.total_upload_bytes,
                   total_download_bytes = c.total_download_bytes + excluded.total_download_bytes,
                   total_bytes = c.total_bytes + excluded.total_bytes,
                   record_count = c.record_count + excluded.record_count, last_updated = now()";
    let statement = tx.prepare(sql).await.expect("the upsert is valid");
    tx.execute(&statement, &[&sim_ids, &iccids, &cycle_ids, &starts, &ends, &uploads, &downloads, &counts])
        .await
        .expect("the upsert");
}

impl Sim {
    fn cycle(&self, row: &Row) -> &(String, DateTime<Utc>, DateTime<Utc>) {
        self.cycles
            .iter()
            .find(|(_, start, end)| (start..end).contains(&&row.period_start))
            .expect("cycles were made for every row")
    }
}
