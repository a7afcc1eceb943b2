//! How far charts are behind their records, what that costs intake, and how fast rollups are made anew.
//!
//! `cargo bench --bench rollup` runs, each on a fresh database:
//! * `late`: `BENCH_BASE_RECORDS` (default 5000000) of `BENCH_SIMS` (default 100000) over ten days are rolled up; then three
//!   times 50,000 late ones, spread over five of the days. Each refresh is timed and measured in CPU of the server.
//! * `rebuild`: the same days made anew from their records, beside a plain `CREATE TABLE … AS SELECT … GROUP BY` of the same by
//!   hour and carrier and by SIM and day.
//! * `sustained`: the program at full speed with the rollup lock held elsewhere and then with rollups on; then
//!   `BENCH_SECONDS` (default 300) at half that speed, while the age of the oldest batch that no chart shows is looked at four
//!   times a second. `BENCH_RATE` names the records a second instead; full speed is not tried then, and each SIM has sent one record
//!   when it begins. With `BENCH_STORED_RECORDS` so many were stored before, and how fast that went is told.
//! * `capacity`, if asked for: for each of `BENCH_SIZES` (default `10000:100000,100000:1000000,1000000:10000000`, SIMs and records) the
//!   program at full speed, until every record is in the charts; then what each of them cost in CPU, WAL and bytes of tables. The
//!   last line is what `simulator plan --costs` reads.
//!
//! Environment: as for `ingest`, and `BENCH_MODES` (default `late,rebuild,sustained`).

mod capacity;
#[path = "../ingest/database.rs"]
#[allow(dead_code, reason = "other benches measure more of it")]
mod database;
#[path = "../budgets/figure.rs"]
#[allow(dead_code, reason = "budgets reads what is told here")]
mod figure;
#[path = "../ingest/program.rs"]
#[allow(dead_code, reason = "other benches measure more of it")]
mod program;

use std::time::{Duration, Instant};

use simbridge::domain::TenantId;
use simbridge::rollup::rebuild::{Days, rebuild};
use simbridge::store::rollups::Lock;
use tokio_postgres::Client;

use database::{BenchDatabase, BenchServer};
use figure::tell;
use program::Program;

const LIMIT: Duration = Duration::from_secs(600);
const LATE_RECORDS: usize = 50_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let sims = number("BENCH_SIMS", 100_000);
    let modes = std::env::var("BENCH_MODES").unwrap_or_else(|_| "late,rebuild,sustained".into());
    let chosen = |mode: &str| modes.split(',').any(|chosen| chosen == mode);
    let server = BenchServer::start().await;
    if chosen("late") || chosen("rebuild") {
        let database = server.database(sims).await;
        let client = database.connect().await;
        let base = number("BENCH_BASE_RECORDS", 5_000_000);
        fill(&client, base / sims).await;
        roll_up(&database, &format!("{base} records of {sims} SIMs")).await;
        client.batch_execute("VACUUM ANALYZE").await.expect("it runs");
        if chosen("late") {
            for _ in 0..3 {
                late(&client).await;
                roll_up(&database, &format!("{LATE_RECORDS} late records")).await;
            }
        }
        if chosen("rebuild") {
            make_anew(&database, &client).await;
        }
    }
    if chosen("capacity") {
        let sizes = std::env::var("BENCH_SIZES")
            .unwrap_or_else(|_| "10000:100000,100000:1000000,1000000:10000000".into());
        capacity::run(&server, &sizes).await;
    }
    if chosen("sustained") {
        sustained(&server.database(sims).await, sims, number("BENCH_SECONDS", 300)).await;
    }
}

/// Records as they would have come, `each` of every SIM over ten days, in writes of 5,000 with their markers.
async fn fill(client: &Client, each: usize) {
    let sql = "WITH sims AS MATERIALIZED (
                   SELECT row_number() OVER (ORDER BY s.iccid) - 1 AS n, s.iccid, s.sim_id, s.carrier_id, s.rate_plan_id
                   FROM provisioned_sims s)
               INSERT INTO usage_records (write_id, period_start, period_end, data_upload_bytes, data_download_bytes,
                   total_bytes, key_tenant_id, tenant_id, carrier_id, rate_plan_id, iccid, record_id, sim_id, cycle_id, mccmnc)
               SELECT (turn * (SELECT count(*) FROM sims) + n) / 5000, at, at + interval '5 minutes', 1000 + n % 777,
                   3000 + n % 999, 4000 + n % 777 + n % 999, 1, 1, carrier_id, rate_plan_id, iccid, 'r' || turn, sim_id,
                   to_char(at AT TIME ZONE 'UTC', 'YYYY-MM'), CASE WHEN n % 3 = 0 THEN '22801' ELSE '22802' END
               FROM generate_series(0, $1::bigint - 1) AS turn
               CROSS JOIN LATERAL (SELECT date_trunc('day', now(), 'UTC') - interval '11 days'
                                          + turn * (interval '10 days' / $1::bigint) AS at) AS t
               CROSS JOIN sims";
    client.execute(sql, &[&(each as i64)]).await.expect("records");
    mark(client, 0).await;
}

/// Late records, spread over five of the ten days, of SIMs at random.
async fn late(client: &Client) {
    let first: i64 =
        client.query_one("SELECT max(write_id) + 1 FROM usage_records", &[]).await.expect("a write").get(0);
    let sql = "INSERT INTO usage_records (write_id, period_start, period_end, data_upload_bytes, data_download_bytes,
                   total_bytes, key_tenant_id, tenant_id, carrier_id, rate_plan_id, iccid, record_id, sim_id, cycle_id, mccmnc)
               SELECT $1 + n / 5000, at, at + interval '5 minutes', 1000, 3000, 4000, 1, 1, carrier_id, rate_plan_id, iccid,
                   'late-' || $1 || '-' || n, sim_id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM'),
                   CASE WHEN n % 3 = 0 THEN '22801' ELSE '22802' END
               FROM (SELECT n, (random() * ((SELECT count(*) FROM provisioned_sims) - 1))::bigint AS sim,
                            date_trunc('day', now(), 'UTC') - interval '9 days' + random() * interval '5 days' AS at
                     FROM generate_series(0, $2::bigint - 1) AS n) AS wanted
               JOIN (SELECT row_number() OVER (ORDER BY iccid) - 1 AS sim, s.* FROM provisioned_sims s) AS s USING (sim)";
    client.execute(sql, &[&first, &(LATE_RECORDS as i64)]).await.expect("records");
    mark(client, first).await;
}

async fn mark(client: &Client, from: i64) {
    let sql = "INSERT INTO rollup_markers (write_id, period_from, period_to, record_count)
               SELECT write_id, min(period_start), max(period_start), count(*) FROM usage_records
               WHERE write_id >= $1 GROUP BY write_id ORDER BY write_id";
    client.execute(sql, &[&from]).await.expect("markers");
}

async fn roll_up(database: &BenchDatabase, what: &str) {
    let (cpu, started, mut records) = (database.server_cpu_seconds(), Instant::now(), 0);
    loop {
        let done = database.store.roll_up(100_000, LIMIT, Lock::Wait).await.expect("a chunk");
        let done = done.expect("nobody else has the lock");
        if done.markers == 0 {
            break;
        }
        records += done.records;
    }
    report(what, records, started.elapsed(), database.server_cpu_seconds() - cpu);
}

fn report(what: &str, records: i64, took: Duration, cpu: f64) {
    let seconds = took.as_secs_f64();
    println!(
        "{what}: {seconds:.2} s, {:.0} records/s, server {cpu:.2} s of CPU, {:.1} µs a record",
        records as f64 / seconds,
        cpu * 1e6 / records as f64
    );
}

async fn make_anew(database: &BenchDatabase, client: &Client) {
    let plain = "CREATE TEMPORARY TABLE hours AS
                     SELECT tenant_id, carrier_id, mccmnc, date_trunc('hour', period_start, 'UTC') AS hour,
                            sum(total_bytes) AS total, sum(data_upload_bytes) AS upload, sum(data_download_bytes) AS download,
                            count(*) AS records, count(DISTINCT iccid) AS sims
                     FROM usage_records GROUP BY 1, 2, 3, 4;
                 CREATE TEMPORARY TABLE days AS
                     SELECT tenant_id, iccid, carrier_id, mccmnc, (period_start AT TIME ZONE 'UTC')::date AS day,
                            sum(total_bytes) AS total, sum(data_upload_bytes) AS upload, sum(data_download_bytes) AS download,
                            count(*) AS records
                     FROM usage_records GROUP BY 1, 2, 3, 4, 5;";
    let tenant = TenantId(1);
    let span = database.store.rebuild_span(tenant).await.expect("a span").expect("days");
    let (cpu, started) = (database.server_cpu_seconds(), Instant::now());
    client.batch_execute(plain).await.expect("it runs");
    let (plain, plain_cpu) = (started.elapsed(), database.server_cpu_seconds() - cpu);
    let (cpu, started) = (database.server_cpu_seconds(), Instant::now());
    let days = Days { first: span.0, last: span.1 };
    let records = rebuild(&database.store, tenant, days, LIMIT, |_, _| ()).await.expect("a rebuild");
    report("plain GROUP BY by hour and by SIM and day", records, plain, plain_cpu);
    let took = started.elapsed();
    report("rebuild of the same", records, took, database.server_cpu_seconds() - cpu);
    println!("rebuild takes {:.1} times as long", took.as_secs_f64() / plain.as_secs_f64());
}

async fn sustained(database: &BenchDatabase, sims: usize, seconds: usize) {
    let program = Program::start(database).await;
    let client = database.connect().await;
    let stored = number("BENCH_STORED_RECORDS", 0);
    if stored > 0 {
        store(&program, &client, database, sims, stored).await;
    }
    let asked = number("BENCH_RATE", 0);
    let rate = match asked {
        0 => full_speed(&program, &client, sims).await / 2.0,
        rate => {
            // A SIM's first record of a cycle costs more.
            program.load(sims, Some(sims as u64), None, 50, 100, Some(rate as f64)).await;
            await_empty(&client).await;
            rate as f64
        }
    };

    let (cpu, before) = (database.server_cpu_seconds(), program.commits().await);
    let watched = tokio::spawn(watch(client));
    let duration = Some(Duration::from_secs(seconds as u64));
    let load = program.load(sims, None, duration, 50, 100, Some(rate)).await;
    assert!(!watched.is_finished(), "the lag is looked at until the end");
    watched.abort();
    let after = program.commits().await;
    let lags = LAGS.lock().expect("nobody panics").clone();
    let highest = lags.iter().copied().fold(0.0, f64::max);
    let mean = lags.iter().sum::<f64>() / lags.len().max(1) as f64;
    println!(
        "{seconds} s: {:.0} records/s, lag at most {highest:.1} s, mean {mean:.1} s; PUBACK p50 {:.1} ms, \
         p99 {:.1} ms, mean commit {:.1} ms; server {:.2} cores, RSS of simbridge {} MB",
        load.records_per_second,
        load.latency_ms.p50,
        load.latency_ms.p99,
        (after.1 - before.1) / (after.0 - before.0) * 1e3,
        (database.server_cpu_seconds() - cpu) / load.seconds,
        program.memory_mb()
    );
    let about = format!("{:.0} records/s", load.records_per_second);
    tell("sustained_rate", load.records_per_second / rate, "", &about);
    tell("rollup_lag", highest, "s", &format!("mean {mean:.1} s"));
    tell(
        "sustained_memory",
        program.peak_memory_mb() as f64,
        "MB",
        if asked == 0 || stored > 0 { "also at full speed before" } else { "" },
    );
    tell("sustained_puback_p50", load.latency_ms.p50, "ms", &about);
    tell("sustained_puback_p99", load.latency_ms.p99, "ms", &about);
}

/// At full speed, in five parts: the larger the tables, the more of them each record has to look up in.
async fn store(program: &Program, client: &Client, database: &BenchDatabase, sims: usize, records: usize) {
    for part in 1..=5 {
        let cpu = database.server_cpu_seconds();
        let load = program.load(sims, Some(records as u64 / 5), None, 50, 100, None).await;
        await_empty(client).await;
        println!(
            "{} records stored: {:.0} records/s, {:.1} µs of CPU of the server a record",
            part * records / 5,
            load.records_per_second,
            (database.server_cpu_seconds() - cpu) * 1e6 / (records / 5) as f64
        );
    }
}

/// Records a second with rollups.
async fn full_speed(program: &Program, client: &Client, sims: usize) -> f64 {
    let records = Some(number("BENCH_RECORDS", 600_000) as u64);
    let hold = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('simbridge.rollup'))";
    client.batch_execute(hold).await.expect("the lock");
    let without = program.load(sims, records, None, 50, 100, None).await.records_per_second;
    client.batch_execute("COMMIT").await.expect("the lock is given back");
    await_empty(client).await;
    let with = program.load(sims, records, None, 50, 100, None).await.records_per_second;
    println!(
        "full speed: {without:.0} records/s without rollups, {with:.0} with them: {:.2}",
        with / without
    );
    await_empty(client).await;
    with
}

static LAGS: std::sync::Mutex<Vec<f64>> = std::sync::Mutex::new(Vec::new());

/// Age of the oldest batch that waits, four times a second, until the task is ended.
async fn watch(client: Client) {
    let sql = "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 FROM rollup_markers";
    loop {
        let lag: f64 = client.query_one(sql, &[]).await.expect("a lag").get(0);
        LAGS.lock().expect("nobody panics").push(lag);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

async fn await_empty(client: &Client) {
    let sql = "SELECT count(*) FROM rollup_markers";
    while client.query_one(sql, &[]).await.expect("a count").get::<_, i64>(0) > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
