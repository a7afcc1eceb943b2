//! How fast records become committed, beside the fastest loader that we could write for the same rows and tables.
//!
//! `cargo bench --bench ingest` runs, in one go and on one database each, alternating so that noise hits all alike:
//! * `bare`: COPY into record_keys and usage_records plus one upsert of usage_cycles a batch, on as many connections as
//!   simbridge has writers. No decoding, no checks, no duplicates.
//! * `pipeline`: the same rows as JSON payloads through queue, decoder and writers, rollup markers included.
//!
//! Environment: `BENCH_DATABASE_URL` (a server on which databases may be made; otherwise a private one is started),
//! `BENCH_RECORDS` (default 300000), `BENCH_SIMS` (default 100000), `BENCH_ROUNDS` (default 3).

mod bare;
mod database;
mod workload;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use simbridge::domain::{Clock, TenantId};
use simbridge::ingest::metrics::IngestMetrics;
use simbridge::ingest::queue::{Message, Sender, Via};
use simbridge::ingest::{BatchLimits, DatabaseState, PipelineOptions};
use simbridge::payload::PayloadLimits;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use database::{BenchDatabase, BenchServer};
use workload::Workload;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let rounds = number("BENCH_ROUNDS", 3);
    let records = number("BENCH_RECORDS", 300_000);
    let sims = number("BENCH_SIMS", 100_000);
    let server = BenchServer::start().await;
    let mut bare_rates = Vec::new();
    let mut pipeline_rates = Vec::new();
    println!("{records} records of {sims} SIMs, {rounds} rounds");
    for round in 0..rounds {
        let workload = Workload::new(round as u64, sims, records);
        let database = server.database(sims).await;
        let cpu = database.server_cpu_seconds();
        let (elapsed, _open) = bare::load(&database, &workload, 2).await;
        let rate = rate(records, elapsed);
        let cpu = (database.server_cpu_seconds() - cpu) * 1e6 / records as f64;
        println!("round {round}: bare      {rate:>9.0} records/s, server CPU {cpu:.1} µs a record");
        bare_rates.push(rate);
        let database = server.database(sims).await;
        let cpu = database.server_cpu_seconds();
        let rate = self::rate(records, pipeline(&database, &workload, 2).await);
        let cpu = (database.server_cpu_seconds() - cpu) * 1e6 / records as f64;
        println!("round {round}: pipeline  {rate:>9.0} records/s, server CPU {cpu:.1} µs a record");
        pipeline_rates.push(rate);
    }
    println!("median ratio pipeline/bare {:.2}", median(pipeline_rates) / median(bare_rates));
}

async fn pipeline(database: &BenchDatabase, workload: &Workload, writers: usize) -> Duration {
    let options = PipelineOptions {
        queue_max_messages: 20_000,
        queue_max_bytes: 64 << 20,
        writers,
        batch: BatchLimits { max_messages: number("BENCH_BATCH", 4_000), max_bytes: 2 << 20 },
        payload: PayloadLimits {
            max_records: 1_000,
            max_future: TimeDelta::hours(24),
            max_age: TimeDelta::days(400),
        },
    };
    let tasks = TaskTracker::new();
    let hard = CancellationToken::new();
    let metrics = Arc::new(IngestMetrics::default());
    let queue = simbridge::ingest::start(
        &options,
        database.store.clone(),
        Clock::System,
        metrics.clone(),
        DatabaseState::default(),
        &tasks,
        &hard,
    );
    let sender =
        Arc::new(Sender { tenant: TenantId(1), may_correct: false, via: Via::Mqtt, name: "bench".into() });
    let payloads = workload.payloads();
    let open = Arc::new(AtomicUsize::new(payloads.len()));
    let done = Arc::new(Notify::new());
    let started = Instant::now();
    for (topic_iccid, payload) in payloads {
        let (open, done) = (open.clone(), done.clone());
        let message = Message {
            sender: sender.clone(),
            topic: format!("simportal/sims/{topic_iccid}/usage"),
            topic_iccid: Some(topic_iccid),
            payload,
            received_at: Clock::System.now(),
            acknowledge: Some(Box::new(move |_| {
                if open.fetch_sub(1, Ordering::AcqRel) == 1 {
                    done.notify_one();
                }
            })),
        };
        queue.send(message).await.expect("the writers run");
    }
    done.notified().await;
    let elapsed = started.elapsed();
    drop(queue);
    tasks.close();
    tasks.wait().await;
    let balance = metrics.balance();
    assert_eq!(balance.stored as usize, workload.len(), "{balance:?}");
    elapsed
}

fn rate(records: usize, elapsed: Duration) -> f64 {
    records as f64 / elapsed.as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
