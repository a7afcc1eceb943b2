mod history;
mod pools;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clap::Args;
use simulator::faults::FaultPlan;
use simulator::fleet::{Fleet, FleetSpec};
use simulator::publisher::{self, PublisherError, PublisherOptions, PublisherStats, Summary};
use simulator::record::RunId;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::{Bridge, DEFAULT_TENANT, StartOptions};
use crate::config::Loaded;
use crate::domain::Clock;
use crate::ingest::metrics::Balance;
use crate::inventory;
use crate::rollup::{self, Reason};
use crate::shutdown::{Signals, exit_on_next_signal, log_panics};
use crate::store::rollups::Day;
use crate::store::sims::{IMPORT_CHUNK, SimRow};
use crate::telemetry;

use super::failure::Failure;
use super::reconcile;

use history::{Prepared, Running};

/// A line a terminal rewrites; elsewhere a line now and then.
const REFRESH: Duration = Duration::from_millis(250);
const REFRESH_LOG: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// How long to run, for example 60s or 5m; without it until Ctrl-C
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    /// SIMs, each with its own MQTT connection
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    sims: u32,
    /// Records per second, all SIMs together
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Faults of the fleet: duplicate, late, reorder, malformed, conflict, cut, each with its probability
    #[arg(
        long,
        default_value = "duplicate=0.02,late=0.01,reorder=0.02,malformed=0.005,conflict=0.005,cut=0.0005"
    )]
    faults: FaultPlan,
    /// The same seed makes the same fleet
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Days of past usage that the first demo on a database stores beside what the fleet publishes; 0 for none
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u16).range(0..=365))]
    history_days: u16,
}

/// `90`, `90s`, `5m` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| "a number with s, m or h, for example 60s".to_owned())?;
    let seconds = match unit {
        "" | "s" => number,
        "m" => number.saturating_mul(60),
        "h" => number.saturating_mul(3_600),
        _ => return Err(format!("`{unit}` is no unit: use s, m or h")),
    };
    Ok(Duration::from_secs(seconds))
}

pub(super) async fn run(args: DemoArgs, mut loaded: Loaded) -> Result<ExitCode, Failure> {
    if std::env::var_os("RUST_LOG").is_none() && loaded.config.log.filter == "info" {
        // The status line is what there is to see.
        loaded.config.log.filter = "warn".into();
    }
    telemetry::init(&loaded.config.log);
    log_panics();
    let mut signals = Signals::new().map_err(|e| Failure::new(69, format!("cannot handle signals: {e}")))?;
    println!("simbridge {} · demo", env!("CARGO_PKG_VERSION"));
    let started = Instant::now();
    let bridge = tokio::select! {
        started = Bridge::start(&loaded.config, StartOptions { clock: Clock::System, open: true }) => started?,
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    let fleet = Arc::new(Fleet::generate(FleetSpec { sims: args.sims, seed: args.seed }));
    let outcome = match provision(&bridge, &fleet, args.history_days).await {
        Ok(()) => {
            introduce(&bridge, &loaded, &args, started.elapsed());
            with_history(args, &bridge, &loaded, fleet, signals).await
        }
        Err(failure) => Err(failure),
    };
    bridge.close().await;
    outcome
}

async fn with_history(
    args: DemoArgs,
    bridge: &Bridge,
    loaded: &Loaded,
    fleet: Arc<Fleet>,
    signals: Signals,
) -> Result<ExitCode, Failure> {
    let (store, config) = (&bridge.store, &loaded.config);
    let now = Clock::System.now();
    let mut history = match history::prepare(store, config, &fleet, args.history_days, now).await? {
        Prepared::Off => Running::none(),
        Prepared::Stored(before) => {
            println!("history     {} records, stored by a demo before this one", before.stored);
            Running::none()
        }
        Prepared::Due(due) => {
            let (records, days) = due.size();
            println!("history     {records} records of the last {days} days are being stored meanwhile");
            due.start(bridge, config)
        }
    };
    println!();
    let outcome = show(args, bridge, loaded, fleet, &mut history, signals).await;
    history.end().await;
    outcome
}

async fn provision(bridge: &Bridge, fleet: &Fleet, history_days: u16) -> Result<(), Failure> {
    let csv = fleet.inventory_csv();
    let broken =
        |problem: String| Failure::new(70, format!("the simulated inventory cannot be read: {problem}"));
    let rows: Vec<SimRow> = inventory::read_csv(&csv[..])
        .map_err(|e| broken(e.to_string()))?
        .collect::<Result<_, _>>()
        .map_err(|e| broken(e.to_string()))?;
    for chunk in rows.chunks(IMPORT_CHUNK) {
        bridge.store.import_sims(DEFAULT_TENANT.0, chunk, Clock::System.now()).await?;
    }
    pools::provision(&bridge.store, &rows, history_days).await?;
    Ok(())
}

fn introduce(bridge: &Bridge, loaded: &Loaded, args: &DemoArgs, took: Duration) {
    let database = match loaded.config.database.url.as_str() {
        "" => format!("private PostgreSQL in {}", loaded.config.data_dir.join("postgres").display()),
        _ => "your PostgreSQL".to_owned(),
    };
    println!("ready after {:.1} s: {database}, {} SIMs in the inventory", took.as_secs_f64(), args.sims);
    if let Some(mqtt) = bridge.mqtt_addr {
        println!(
            "MQTT  {mqtt}   watch: mosquitto_sub -h {} -p {} -t 'simportal/#' -v",
            mqtt.ip(),
            mqtt.port()
        );
    }
    if let Some(http) = bridge.http_addr {
        println!(
            "HTTP  http://{http}/   the dashboard; API: http://{http}/docs   metrics: http://{http}/metrics"
        );
    }
    let faults = "some records are sent twice, late, malformed or in conflict on purpose";
    println!("{} SIMs publish {} records/s over MQTT; {faults}", args.sims, args.rate);
    match args.duration {
        Some(duration) => println!("ends by itself after {} s, or with Ctrl-C", duration.as_secs()),
        None => println!("end it with Ctrl-C"),
    }
}

async fn show(
    args: DemoArgs,
    bridge: &Bridge,
    loaded: &Loaded,
    fleet: Arc<Fleet>,
    history: &mut Running,
    mut signals: Signals,
) -> Result<ExitCode, Failure> {
    let Some(mqtt) = bridge.mqtt_addr else {
        return Err(Failure::new(
            78,
            "the demo needs its broker: mqtt.enabled is false, or mqtt.listen is empty",
        ));
    };
    let stats = Arc::new(PublisherStats::default());
    let stop = CancellationToken::new();
    let run_id = RunId::new(args.seed, Clock::System.now());
    let options = PublisherOptions {
        rate: Some(args.rate),
        faults: args.faults,
        amounts_for: amounts_for(&args),
        ..PublisherOptions::new(mqtt.ip().to_string(), mqtt.port(), fleet, run_id)
    };
    let mut publishing: JoinHandle<Result<Summary, PublisherError>> =
        tokio::spawn(publisher::run(options, stats.clone(), stop.clone()));
    let end = async {
        match args.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    let early = tokio::select! {
        () = end => None,
        () = signals.next() => None,
        () = refresh(bridge, &stats, history) => None,
        ended = &mut publishing => Some(ended),
    };
    stop.cancel();
    exit_on_next_signal(signals);
    let summary = match early {
        Some(ended) => ended,
        None => publishing.await,
    };
    let summary = summary
        .map_err(|e| Failure::new(70, format!("the simulator failed: {e}")))?
        .map_err(|e| Failure::new(70, format!("the simulator failed: {e}")))?;
    finish(bridge, loaded, &summary, history).await
}

/// Beside a history each record is of the time since the SIM's last one, so that today goes on as the days before; without it a demo of
/// minutes shows amounts like those of a day.
fn amounts_for(args: &DemoArgs) -> TimeDelta {
    const MOST_SECONDS: f64 = 900.0;
    if args.history_days == 0 {
        return TimeDelta::seconds(MOST_SECONDS as i64);
    }
    TimeDelta::seconds((f64::from(args.sims) / args.rate).clamp(1.0, MOST_SECONDS) as i64)
}

/// Rewrites the two status lines until it is dropped; what comes of the history is said above them.
async fn refresh(bridge: &Bridge, stats: &PublisherStats, history: &mut Running) {
    let terminal = std::io::stdout().is_terminal();
    let mut ticks = tokio::time::interval(if terminal { REFRESH } else { REFRESH_LOG });
    let mut last = (Instant::now(), bridge.metrics.ingest.balance().received);
    let (mut rate, mut written) = (0.0, false);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let balance = bridge.metrics.ingest.balance();
        let elapsed = last.0.elapsed().as_secs_f64();
        if elapsed >= 1.0 {
            rate = (balance.received - last.1) as f64 / elapsed;
            last = (Instant::now(), balance.received);
        }
        // A database that is away shows in the other figures.
        let today = bridge.store.latest_days(DEFAULT_TENANT.0, 1).await.ok().and_then(|mut days| days.pop());
        let lines = [status(&balance, rate, stats), charts(today.as_ref(), bridge)];
        let news = history.news().await;
        if terminal {
            let up = if std::mem::replace(&mut written, true) { "\x1b[1A" } else { "" };
            let news = news.map(|news| format!("\x1b[2K{news}\n")).unwrap_or_default();
            // Lines that are too long are cut, not wrapped: the next refresh counts on two.
            print!("{up}\r\x1b[?7l{news}\x1b[2K{}\n\x1b[2K{}\x1b[?7h", lines[0], lines[1]);
            // A status that cannot be written is not worth ending for.
            std::io::stdout().flush().ok();
        } else {
            if let Some(news) = news {
                println!("{news}");
            }
            println!("{}\n{}", lines[0], lines[1]);
        }
    }
}

fn status(balance: &Balance, rate: f64, stats: &PublisherStats) -> String {
    format!(
        "received {} = stored {} + duplicate {} + parked {} + in flight {} | {rate:.0}/s | PUBACK p99 {:.1} ms",
        balance.received,
        balance.stored,
        balance.duplicate,
        balance.parked,
        balance.in_flight,
        stats.snapshot().ack_p99.as_secs_f64() * 1_000.0
    )
}

/// What the charts show of today.
fn charts(today: Option<&Day>, bridge: &Bridge) -> String {
    let lag = bridge.metrics.rollup.lag().as_secs_f64();
    match today {
        None => format!("daily_usage empty, {lag:.0} s behind"),
        Some(day) => format!(
            "daily_usage {}: {} of {} SIMs, {} {}, {lag:.0} s behind",
            day.date,
            bytes_for_people(&day.data_bytes),
            day.sims,
            day.currency,
            day.cost
        ),
    }
}

/// Everything that was acknowledged, in the charts; then the newest days.
async fn roll_up(bridge: &Bridge, loaded: &Loaded) -> Result<(), Failure> {
    let (metrics, stop) = (&bridge.metrics.rollup, CancellationToken::new());
    rollup::run(&bridge.store, &loaded.config.rollup.options(), Reason::Command, metrics, &stop).await?;
    println!("charts      daily_usage, newest days, what every chart reads:");
    for day in bridge.store.latest_days(DEFAULT_TENANT.0, 3).await? {
        println!(
            "            {}  {} in {} records of {} SIMs, {} carriers, {} {}",
            day.date,
            bytes_for_people(&day.data_bytes),
            day.records,
            day.sims,
            day.carriers,
            day.currency,
            day.cost
        );
    }
    Ok(())
}

/// Decimal text of bytes in the unit that suits them, 1024-based; what is no number stays as it is.
fn bytes_for_people(bytes: &str) -> String {
    let Ok(bytes) = bytes.parse::<u128>() else { return bytes.to_owned() };
    let (unit, shift) = match bytes {
        0..1_048_576 => ("KB", 10),
        1_048_576..1_073_741_824 => ("MB", 20),
        _ => ("GB", 30),
    };
    let hundredths = (bytes * 100) >> shift;
    format!("{}.{:02} {unit}", hundredths / 100, hundredths % 100)
}

async fn finish(
    bridge: &Bridge,
    loaded: &Loaded,
    summary: &Summary,
    history: &mut Running,
) -> Result<ExitCode, Failure> {
    let drained = bridge.drain().await;
    let history = history.end().await;
    let balance = bridge.metrics.ingest.balance();
    println!(
        "\n\nsimulator   sent {} and {} again after {} cut connections, acknowledged {}, outstanding {}",
        summary.sent, summary.resent_messages, summary.reconnects, summary.acked, summary.in_flight
    );
    println!(
        "simbridge   received {} = stored {} + duplicate {} + parked {} + in flight {}",
        balance.received, balance.stored, balance.duplicate, balance.parked, balance.in_flight
    );
    if let Some(history) = history {
        println!("{history}");
    }
    let balanced = balance.holds() && balance.in_flight == 0 && summary.in_flight == 0 && drained;
    println!("            {}", if balanced { "balanced" } else { "NOT BALANCED" });
    roll_up(bridge, loaded).await?;
    println!("reconcile   every total in the database, against the records:");
    let reconciliation = bridge.store.reconcile().await?;
    reconcile::print(&reconciliation);
    Ok(if balanced && reconciliation.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_two_decimals_of_their_unit() {
        for (bytes, text) in
            [("0", "0.00 KB"), ("1536", "1.50 KB"), ("1048575", "1023.99 KB"), ("1610612736", "1.50 GB")]
        {
            assert_eq!(bytes_for_people(bytes), text);
        }
    }

    #[test]
    fn durations_have_a_unit_or_are_seconds() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert!(duration("5d").is_err());
        assert!(duration("soon").is_err());
    }
}
