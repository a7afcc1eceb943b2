//! How fast the consumption page is answered, and what the dashboard costs a browser.
//!
//! `cargo bench --bench api` spreads `BENCH_RECORDS` (default 10000000) of `BENCH_SIMS` (default 100000) over the six months
//! up to today, rolls them up, starts the program, and asks each endpoint without a filter, by serving network and by SIM:
//! `BENCH_REQUESTS` (default 2000) times each by 16 clients, every one over a connection of its own that it keeps. Printed for
//! each: the first answer, which nobody asked for before, and the median and the 99th percentile of the others. Answers are asked for as
//! browsers do, compressed, and not unpacked; `BENCH_ENCODING=identity` asks for them as they are.
//!
//! With `SIMBRIDGE__HTTP__CONSUMPTION_CACHE_MAX_BYTES=0` no answer is kept, so every one is computed; those who ask for the same
//! at the same time still share one.
//!
//! Then Chromium opens every page of the dashboard and tells when something was first seen, when all of it was there, and how long
//! scripts ran (`pages`). `BENCH_MODES` (default `api,dashboard`) leaves out one or the other. `growth`, if asked for, tells at the end
//! whether answers cost more with twice as many records of the same SIMs and hours.
//!
//! Environment: as for `ingest`.

#[path = "../ingest/database.rs"]
#[allow(dead_code, reason = "other benches measure more of it")]
mod database;
#[path = "../budgets/figure.rs"]
#[allow(dead_code, reason = "budgets reads what is told here")]
mod figure;
#[path = "../ingest/program.rs"]
#[allow(dead_code, reason = "other benches measure more of it")]
mod program;
#[path = "../../tests/integration/harness/browser.rs"]
#[allow(dead_code, reason = "tests do more with it")]
mod browser;
#[path = "../../tests/integration/harness/patience.rs"]
mod patience;
mod growth;
mod pages;
mod past;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::{Days, Months, NaiveDate};
use reqwest::Client;
use simbridge::api::{hash_key, make_key};
use simbridge::domain::Clock;

use database::{BenchDatabase, BenchServer};
use past::{DAYS, fill, roll_up};
pub(crate) use patience::{PATIENCE, eventually};
use program::Program;

const CLIENTS: usize = 16;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let (sims, records) = (number("BENCH_SIMS", 100_000), number("BENCH_RECORDS", 10_000_000));
    let server = BenchServer::start().await;
    let database = server.database(sims).await;
    let postgres = database.connect().await;
    let now = Clock::System.now();
    database.store.ensure_partitions(now, u64::from(DAYS) + 31).await.expect("partitions can be made");
    let started = Instant::now();
    fill(&postgres, records, 0).await;
    roll_up(&database).await;
    postgres.batch_execute("VACUUM ANALYZE").await.expect("it runs");
    println!(
        "{records} records of {sims} SIMs over {DAYS} days, made and rolled up in {:.0?}",
        started.elapsed()
    );

    let program = Program::start(&database).await;
    let sim = postgres.query_one("SELECT iccid FROM sim_numbers ORDER BY iccid LIMIT 1", &[]).await;
    let sim: String = sim.expect("a SIM").get(0);
    let modes = std::env::var("BENCH_MODES").unwrap_or_else(|_| "api,dashboard".into());
    let reader = key(&database, "consumption:read").await;
    let mut grows = false;
    for mode in modes.split(',') {
        match mode {
            "api" => answers(&program, &reader, &sim).await,
            "dashboard" => pages::measure(&program, &key(&database, "*").await, &sim).await,
            "growth" => grows = true,
            other => panic!("there is no mode {other}"),
        }
    }
    println!("RSS of simbridge {} MB", program.memory_mb());
    drop(program);
    if grows {
        growth::measure(&database, &postgres, (&reader, &sim), records).await;
    }
}

/// A key with a permission and without a limit of requests.
async fn key(database: &BenchDatabase, permission: &str) -> String {
    let key = make_key();
    let unlimited = HashMap::from([("reading".to_owned(), 0)]);
    let granted = [permission.parse().expect("a permission")];
    let added =
        database.store.add_api_key("default", permission, &hash_key(&key), &granted, &unlimited).await;
    added.expect("it is stored").expect("the tenant exists");
    key
}

async fn answers(program: &Program, key: &str, sim: &str) {
    let requests = number("BENCH_REQUESTS", 2_000);
    println!("{:64} {:>10} {:>10} {:>10} {:>10}", "", "first", "p50", "p99", "bytes");
    let mut slowest = (Duration::ZERO, String::new());
    for question in questions(sim) {
        let told = measure(&question.url(program), key, requests).await;
        println!("{question:64} {told}");
        slowest = slowest.max((told.p99, question.to_string()));
    }
    let (p99, name) = slowest;
    figure::tell("consumption_p99", p99.as_secs_f64() * 1e3, "ms", name.trim_end());
}

/// What is asked.
pub(crate) struct Question {
    path: String,
    filter: String,
}

impl Question {
    pub(crate) fn url(&self, program: &Program) -> String {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        format!("http://{}/api/consumption/{}{separator}{}", program.http, self.path, self.filter)
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} {}", self.path, self.filter))
    }
}

/// Every endpoint without a filter, by network and by SIM.
pub(crate) fn questions(sim: &str) -> Vec<Question> {
    let filters = [String::new(), "mccmnc=22801".into(), format!("imsi={sim}")];
    let of_path = |path: String| {
        let takes = |filter: &&String| filter.is_empty() || !path.starts_with("invoices");
        let taken: Vec<_> = filters.iter().filter(takes).cloned().collect();
        taken.into_iter().map(move |filter| Question { path: path.clone(), filter })
    };
    paths(Clock::System.now().date_naive()).into_iter().flat_map(of_path).collect()
}

/// How long answers took.
struct Told {
    first: Duration,
    p50: Duration,
    p99: Duration,
    bytes: usize,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |took: Duration| format!("{:.1} ms", took.as_secs_f64() * 1e3);
        let [first, p50, p99] = [self.first, self.p50, self.p99].map(ms);
        write!(f, "{first:>10} {p50:>10} {p99:>10} {:>10}", self.bytes)
    }
}

/// What the page asks for, with its own ranges and with long ones.
fn paths(today: NaiveDate) -> Vec<String> {
    let days = |days| format!("start_date={}&end_date={today}", today - Days::new(days));
    let half_year = format!("start_date={}&end_date={today}", today - Months::new(6));
    vec![
        "kpis".into(),
        format!("kpis?{half_year}"),
        "trends".into(),
        "trends?granularity=24h".into(),
        "trends?granularity=daily".into(),
        "trends?granularity=weekly".into(),
        format!("trends?granularity=daily&{half_year}"),
        "carriers".into(),
        format!("carriers?{half_year}"),
        "carrier-locations".into(),
        "regional".into(),
        format!("usage-details?granularity=daily&{}", days(6)),
        format!("usage-details?granularity=monthly&{half_year}"),
        "invoices".into(),
    ]
}

/// The first answer, and the median and 99th percentile of those that many clients then ask for at once.
async fn measure(url: &str, key: &str, requests: usize) -> Told {
    let (first, bytes) = ask(&client(), url, key).await;
    let next = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (client, next, url, key) = (client(), next.clone(), url.to_owned(), key.to_owned());
            tokio::spawn(async move {
                let mut took = Vec::new();
                ask(&client, &url, &key).await; // connects
                while next.fetch_add(1, Ordering::Relaxed) < requests {
                    took.push(ask(&client, &url, &key).await.0);
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await.expect("no panic"));
    }
    took.sort_unstable();
    Told { first, p50: took[took.len() / 2], p99: took[took.len() * 99 / 100], bytes }
}

/// A client of its own is a connection of its own.
pub(crate) fn client() -> Client {
    // Fails when it was installed before.
    rustls::crypto::ring::default_provider().install_default().ok();
    Client::builder().no_proxy().no_gzip().pool_max_idle_per_host(1).build().expect("a client")
}

pub(crate) async fn ask(client: &Client, url: &str, key: &str) -> (Duration, usize) {
    let sent = Instant::now();
    let encoding = std::env::var("BENCH_ENCODING").unwrap_or_else(|_| "gzip".into());
    let request = client.get(url).bearer_auth(key).header("Accept-Encoding", encoding);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200, "{url}");
    let body = answer.bytes().await.expect("a body");
    (sent.elapsed(), body.len())
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
