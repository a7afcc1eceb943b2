//! How fast records become committed, beside the fastest loader that we could write for the same rows and tables.
//!
//! `cargo bench --bench ingest` runs, in one go and alternating, so that noise hits all alike, each on a fresh database:
//! * `bare`: COPY into record_keys and usage_records plus one update of usage_cycles a batch, on as many connections as
//!   simbridge has writers. No decoding, no checks, no duplicates; it is told every SIM and cycle beforehand.
//! * `pipeline`: the same rows as JSON payloads through queue, decoder and writers, rollup markers included.
//! * `mqtt`: the program itself, fed by the load generator over 50 connections at QoS 1 with a window of 100, until every
//!   PUBACK has come. Then the same at half that rate for the latency of a PUBACK, and one connection with a window of 1.
//! * `source`: the program subscribed at mosquitto, to which the same load generator publishes: from the first PUBLISH to the moment
//!   in which everything is stored. mosquitto holds what waits; its own PUBACKs are shown beside it. Left out where it is missing.
//! * `http`: the program again, the same rows posted in batches of 1,000 by 4 clients.
//! * `radius`: the program again, each row an Accounting-Request of a session of its SIM, by clients that have 200 requests under
//!   way each and repeat what is not answered within a second.
//! * `instances`: one, two and four programs on one database, each with its own broker and its part of the records; `shared`: all of them
//!   subscribed at one mosquitto with `$share`. Not by default; after each the invariants are looked at.
//! * `outage`, if asked for: the database is stopped for `BENCH_OUTAGE_SECONDS` (default 60) while the program is at full speed.
//! * `start`, if asked for: from the start of the program, with a private PostgreSQL, to the first PUBACK.
//! * `import`: the same rows from a file, as `simbridge import` reads it, once as NDJSON and once as CSV.
//!
//! Environment: `BENCH_DATABASE_URL` (a server on which databases may be made; otherwise a private one is started, with
//! `BENCH_SHARED_BUFFERS` if that is given, such as 1GB),
//! `BENCH_RECORDS` (default 600000), `BENCH_SIMS` (default 100000), `BENCH_ROUNDS` (default 3), `BENCH_MODES` (default
//! `bare,pipeline,mqtt,source,http,radius,import`).

mod bare;
mod database;
#[path = "../budgets/figure.rs"]
#[allow(dead_code, reason = "budgets reads what is told here")]
mod figure;
mod http;
mod import;
mod instances;
mod mosquitto;
mod outage;
mod program;
mod radius;
mod source;
mod start;
mod workload;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use simbridge::config::IngestConfig;
use simbridge::domain::{Clock, TenantId};
use simbridge::ingest::metrics::IngestMetrics;
use simbridge::ingest::queue::{Message, Sender, Via};
use simbridge::ingest::{DatabaseState, PipelineOptions};
use simbridge::source::file::Format;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use database::{BenchDatabase, BenchServer, cpu_seconds};
use figure::tell;
use program::Program;
use workload::Workload;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let modes = std::env::var("BENCH_MODES")
        .unwrap_or_else(|_| "bare,pipeline,mqtt,source,http,radius,import".into());
    let mut in_rounds = Vec::new();
    for mode in modes.split(',') {
        match mode {
            "outage" => {
                let outage = Duration::from_secs(number("BENCH_OUTAGE_SECONDS", 60) as u64);
                outage::run(number("BENCH_SIMS", 100_000), outage).await;
            }
            "start" => start::run().await,
            mode => in_rounds.push(mode),
        }
    }
    if !in_rounds.is_empty() {
        rounds(&in_rounds).await;
    }
}

/// Each mode once a round, so that noise hits all alike.
async fn rounds(modes: &[&str]) {
    let (rounds, records) = (number("BENCH_ROUNDS", 3), number("BENCH_RECORDS", 600_000));
    let sims = number("BENCH_SIMS", 100_000);
    let server = BenchServer::start().await;
    let chosen = |mode: &str| modes.contains(&mode);
    let mut rates = Rates::default();
    println!("{records} records of {sims} SIMs, {rounds} rounds");
    for round in 0..rounds {
        let workload = Workload::new(round, sims, records);
        if chosen("bare") {
            let database = server.database(sims).await;
            let meter = Meter::start(&database);
            let (elapsed, _open) = bare::load(&database, &workload, 2).await;
            rates.add(round, "bare", &meter.stop(&database, records, elapsed.as_secs_f64()));
        }
        if chosen("pipeline") {
            let database = server.database(sims).await;
            let meter = Meter::start(&database);
            let elapsed = pipeline(&database, &workload, 2).await;
            rates.add(round, "pipeline", &meter.stop(&database, records, elapsed.as_secs_f64()));
        }
        if chosen("import") {
            for (mode, format) in [("import/ndjson", Format::Ndjson), ("import/csv", Format::Csv)] {
                let directory = tempfile::tempdir().expect("a directory");
                let file = import::write(&workload, format, directory.path());
                let database = server.database(sims).await;
                let meter = Meter::start(&database);
                let elapsed = import::import(&database, &file, options(2), records).await;
                rates.add(round, mode, &meter.stop(&database, records, elapsed.as_secs_f64()));
            }
        }
        if chosen("http") {
            let database = server.database(sims).await;
            let program = Program::start(&database).await;
            let meter = Meter::start(&database);
            let (elapsed, median) = http::post(&database, &program, &workload).await;
            rates.add(round, "http", &meter.stop(&database, records, elapsed.as_secs_f64()));
            println!("         median of a batch {} ms", median.as_millis());
        }
        if chosen("radius") {
            accounting(&server, round, sims, &workload, &mut rates).await;
        }
        drop(workload);
        if chosen("mqtt") {
            let database = server.database(sims).await;
            let program = Program::start(&database).await;
            let meter = Meter::start(&database);
            let load = program.load(sims, Some(records as u64), None, 50, 100, None).await;
            rates.add(round, "mqtt", &meter.stop(&database, records, load.seconds));
            println!(
                "         load generator {:.2} cores, simbridge RSS {} MB",
                load.client_cores.unwrap_or(0.0),
                program.memory_mb()
            );
            if round + 1 == rounds {
                latencies(&program, sims, load.records_per_second / 2.0).await;
            }
        }
        for mode in ["instances", "shared"].into_iter().filter(|mode| chosen(mode)) {
            instances::run(mode, &server, sims, round, records, &mut rates).await;
        }
        if chosen("source") {
            source::run(&server, sims, round, records, &mut rates).await;
        }
    }
    rates.compare();
}

async fn accounting(server: &BenchServer, round: usize, sims: usize, workload: &Workload, rates: &mut Rates) {
    let database = server.database(sims).await;
    let (program, _secret) = radius::program(&database).await;
    let meter = Meter::start(&database);
    let told = radius::tell(&program, workload).await;
    rates.add(round, "radius", &meter.stop(&database, workload.len(), told.elapsed.as_secs_f64()));
    println!("         median of a request {} ms, {} repeated", told.median.as_millis(), told.repeated);
}

/// Takes the CPU time that a mode uses, which other work on the machine changes less than the time by the clock.
struct Meter {
    server: f64,
    here: f64,
}

/// What a mode needed.
struct Measured {
    records_per_second: f64,
    /// Microseconds of CPU a record: of the server, and of this process.
    server: f64,
    here: f64,
}

impl Meter {
    fn start(database: &BenchDatabase) -> Self {
        Self { server: database.server_cpu_seconds(), here: cpu_seconds(Path::new("/proc/self")) }
    }

    fn stop(&self, database: &BenchDatabase, records: usize, seconds: f64) -> Measured {
        let (now, records) = (Self::start(database), records as f64);
        Measured {
            records_per_second: records / seconds,
            server: (now.server - self.server) * 1e6 / records,
            here: (now.here - self.here) * 1e6 / records,
        }
    }
}

/// Records per second of each mode, one for each round.
#[derive(Default)]
struct Rates(Vec<(&'static str, Vec<f64>)>);

impl Rates {
    fn add(&mut self, round: usize, mode: &'static str, measured: &Measured) {
        let Measured { records_per_second: rate, server, here } = *measured;
        println!(
            "round {round}: {mode:<13} {rate:>9.0} records/s, µs of CPU a record: server {server:.1}, here {here:.1}"
        );
        match self.0.iter_mut().find(|(known, _)| *known == mode) {
            Some((_, rates)) => rates.push(rate),
            None => self.0.push((mode, vec![rate])),
        }
    }

    fn compare(self) {
        let medians: Vec<_> = self.0.into_iter().map(|(mode, rates)| (mode, median(rates))).collect();
        for (base, of) in [("bare", ""), ("instances/1", "instances/"), ("shared/1", "shared/")] {
            let Some((_, one)) = medians.iter().find(|(mode, _)| *mode == base) else { continue };
            let these = medians.iter().filter(|(mode, _)| mode.starts_with(of));
            let ratios = these.map(|(mode, rate)| format!("{mode} {:.2}", rate / one));
            println!("medians to {base}'s: {}", ratios.collect::<Vec<_>>().join(", "));
        }
        let of = |mode: &str| medians.iter().find(|(known, _)| *known == mode).map(|(_, rate)| *rate);
        if let Some((mqtt, bare)) = of("mqtt").zip(of("bare")) {
            tell("mqtt_to_bare", mqtt / bare, "", &format!("{mqtt:.0} of {bare:.0} records/s"));
        }
    }
}

/// PUBACK latency at half the full rate, and how fast one stop-and-wait device gets.
async fn latencies(program: &Program, sims: usize, rate: f64) {
    let half = program.load(sims, None, Some(Duration::from_secs(20)), 50, 100, Some(rate)).await;
    let ms = half.latency_ms;
    println!(
        "half rate: {:.0} records/s, PUBACK p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms; RSS {} MB",
        half.records_per_second,
        ms.p50,
        ms.p90,
        ms.p99,
        ms.p999,
        program.memory_mb()
    );
    let about = format!("{:.0} records/s", half.records_per_second);
    tell("half_puback_p50", ms.p50, "ms", &about);
    tell("half_puback_p99", ms.p99, "ms", &about);
    let before = program.commits().await;
    let alone = program.load(sims, None, Some(Duration::from_secs(10)), 1, 1, None).await;
    let after = program.commits().await;
    let commit_ms = (after.1 - before.1) / (after.0 - before.0) * 1e3;
    println!(
        "one connection, window 1: {:.0} records/s, mean commit {commit_ms:.2} ms, rate x commit latency {:.2}",
        alone.records_per_second,
        alone.records_per_second * commit_ms / 1e3
    );
}

fn options(writers: usize) -> PipelineOptions {
    let batch_max_messages = number("BENCH_BATCH", 4_000);
    IngestConfig { writers, batch_max_messages, ..IngestConfig::default() }.pipeline_options()
}

async fn pipeline(database: &BenchDatabase, workload: &Workload, writers: usize) -> Duration {
    let options = options(writers);
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
    let sender = Arc::new(Sender {
        tenant: TenantId(1),
        may_correct: false,
        iccid: None,
        via: Via::Mqtt,
        name: "bench".into(),
    });
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
