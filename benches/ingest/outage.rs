//! The database is stopped under full load and comes back: what is acknowledged meanwhile, what is lost, how much memory it takes, and
//! how soon it is as fast as before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use simulator::load::{self, LoadError, LoadOptions, LoadProgress, LoadReport};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::database::BenchServer;
use crate::figure::tell;
use crate::instances::reconciled;
use crate::program::{Program, complete, load_options};

const WARM_UP: Duration = Duration::from_secs(10);
const BEFORE: Duration = Duration::from_secs(20);
const AFTER: Duration = Duration::from_secs(30);
/// Acknowledgements of what was committed before the stop are with the clients by then.
const SETTLED: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);
/// Rates are taken over so long: rollups, which slow intake, begin more often than that.
const RATE_SECONDS: f64 = 5.0;
/// This part of the rate before is full speed: rates of one run differ by more than a tenth without an outage.
const FULL_SPEED: f64 = 0.8;
/// What did not come while it was waited for.
const NEVER: f64 = f64::INFINITY;
/// The load needs an end; nobody waits for it.
const LONGEST: Duration = Duration::from_secs(86_400);

pub(crate) async fn run(sims: usize, outage: Duration) {
    // Of its own even beside `BENCH_DATABASE_URL`, whose server is not ours to stop.
    let mut server = BenchServer::start_private().await;
    let database = server.database(sims).await;
    let program = Program::start(&database).await;
    let load = Load::start(program.mqtt, sims);
    sleep(WARM_UP).await;
    let before = load.rate(BEFORE).await;
    println!("outage: {before:.0} records/s before, RSS of simbridge {} MB", program.memory_mb());

    server.stop().await;
    sleep(SETTLED).await;
    let stopped = load.acked();
    sleep(outage).await;
    let meanwhile = load.acked() - stopped;
    println!("outage: {outage:?} without a database, RSS of simbridge {} MB", program.memory_mb());
    server.start_again().await;
    let seen = load.watch(AFTER).await;

    let first = seen.iter().find(|(_, acked)| *acked > stopped + meanwhile).map_or(NEVER, |(at, _)| *at);
    println!("outage: records in each second after the return: {}", by_second(&seen));
    // The time without any acknowledgement is no part of a rate.
    let working: Vec<_> = seen.into_iter().filter(|(at, _)| *at >= first).collect();
    let full_speed = full_speed(&working, before);
    let report = load.finish().await;
    let stored = reconciled(&database).await;
    let lost = report.messages_sent as i64 - stored.records - stored.parked;
    println!(
        "outage: of {} records sent and acknowledged {lost} are lost, {meanwhile} were acknowledged meanwhile; first \
         acknowledgement after {first:.2} s, {FULL_SPEED} of the rate before after {full_speed:.2} s; highest RSS of \
         simbridge {} MB",
        report.messages_sent,
        program.peak_memory_mb()
    );
    let sent = format!("of {}", report.messages_sent);
    tell("outage_lost", lost as f64, "records", &sent);
    tell("outage_acknowledged", meanwhile as f64, "records", &format!("in {outage:?}"));
    tell("outage_memory", program.peak_memory_mb() as f64, "MB", "");
    tell("outage_first", first, "s", "");
    tell("outage_full_speed", full_speed, "s", &format!("{before:.0} records/s before"));
}

/// Seconds until a rate begins that is as good as the one before.
fn full_speed(seen: &[(f64, u64)], before: f64) -> f64 {
    let later = |from: f64| seen.iter().find(|(at, _)| *at >= from + RATE_SECONDS);
    let rate = |from: &(f64, u64)| later(from.0).map(|to| (to.1 - from.1) as f64 / (to.0 - from.0));
    let as_before = |from: &&(f64, u64)| rate(from).is_some_and(|rate| rate >= FULL_SPEED * before);
    seen.iter().find(as_before).map_or(NEVER, |(at, _)| *at)
}

fn by_second(seen: &[(f64, u64)]) -> String {
    let at = |second: f64| seen.iter().find(|(at, _)| *at >= second).map(|(_, acked)| *acked);
    let seconds = (0..15).map_while(|n| Some((at(f64::from(n) + 1.0)? - at(f64::from(n))?).to_string()));
    seconds.collect::<Vec<_>>().join(", ")
}

/// As many records as the program acknowledges.
struct Load {
    progress: Arc<LoadProgress>,
    stop: CancellationToken,
    task: JoinHandle<Result<LoadReport, LoadError>>,
}

impl Load {
    fn start(broker: SocketAddr, sims: usize) -> Self {
        let options = LoadOptions { duration: Some(LONGEST), ..load_options(broker, sims, 50, 100) };
        let (progress, stop) = (Arc::new(LoadProgress::default()), CancellationToken::new());
        let task = tokio::spawn(load::run(options, progress.clone(), stop.clone()));
        Self { progress, stop, task }
    }

    fn acked(&self) -> u64 {
        self.progress.acked_records()
    }

    async fn rate(&self, during: Duration) -> f64 {
        let (began, before) = (Instant::now(), self.acked());
        sleep(during).await;
        (self.acked() - before) as f64 / began.elapsed().as_secs_f64()
    }

    /// Seconds since the call, and what was acknowledged by then.
    async fn watch(&self, during: Duration) -> Vec<(f64, u64)> {
        let began = Instant::now();
        let mut seen = Vec::new();
        while began.elapsed() < during {
            seen.push((began.elapsed().as_secs_f64(), self.acked()));
            sleep(LOOK).await;
        }
        seen
    }

    async fn finish(self) -> LoadReport {
        self.stop.cancel();
        complete(self.task.await.expect("no panic").expect("the load runs"))
    }
}
