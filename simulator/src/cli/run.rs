use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::TimeDelta;
use clap::{Args, ValueEnum};
use simulator::clock::Clock;
use simulator::faults::FaultPlan;
use simulator::fleet::Fleet;
use simulator::ledger::{Durability, Ledger};
use simulator::publisher::{Credentials, Mode, PublisherOptions, PublisherStats, StatsSnapshot, run};
use simulator::record::RunId;

use super::{BrokerArgs, FleetArgs, duration, run_id, stop_on_ctrl_c};

/// Ctrl-C stops publishing, waits for what is unacknowledged and prints the summary.
#[derive(Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    fleet: FleetArgs,
    /// Records per second in all.
    #[arg(long, value_name = "RECORDS/S", conflicts_with_all = ["interval", "max_rate"])]
    rate: Option<f64>,
    /// Time between two records of one SIM [default: 15m].
    #[arg(long, value_parser = duration, conflicts_with = "max_rate")]
    interval: Option<Duration>,
    /// Publish as fast as the acknowledgements come.
    #[arg(long)]
    max_rate: bool,
    /// One connection for each SIM, or many SIMs behind each gateway.
    #[arg(long, value_enum, default_value = "per-sim")]
    mode: ModeArg,
    /// Connections in gateway mode.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    gateways: u32,
    /// Records per message in gateway mode; more than 1 uses the batch topic.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=500))]
    batch: u16,
    /// Unacknowledged messages on each connection at most.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    window: u16,
    /// Faults and their probabilities from 0 to 1: duplicate, late, reorder, malformed, conflict, cut (drops the
    /// connection), such as duplicate=0.05,late=0.01.
    #[arg(long, default_value = "", value_name = "LIST")]
    faults: FaultPlan,
    /// How long to publish, such as 30s or 5m; without it until Ctrl-C.
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    /// Stop after so many records, repetitions not counted.
    #[arg(long, value_name = "N")]
    records: Option<u64>,
    /// Append what was sent and acknowledged to this file, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Sync the ledger to the disk at every entry, so that it survives a power cut. Slow.
    #[arg(long, requires = "ledger")]
    ledger_fsync: bool,
    /// How many times faster than real time the records' periods advance, from now on. The product refuses periods
    /// more than 24 h ahead: with a factor of 60 that is 24 minutes of running.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    time_scale: f64,
    /// Amounts are those of a period of this length, however often a SIM reports.
    #[arg(long, value_parser = duration, default_value = "15m")]
    amounts_for: Duration,
    /// Part of every recordId; the same id, seed and time give the same records [default: from the seed and the time].
    #[arg(long)]
    run_id: Option<RunId>,
    /// MQTT 5: count messages as acknowledged that nobody subscribes to (0x10), instead of sending them again.
    #[arg(long)]
    accept_unheard: bool,
    /// How long to wait for acknowledgements at the end.
    #[arg(long, value_parser = duration, default_value = "10s")]
    drain: Duration,
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeArg {
    PerSim,
    Gateway,
}

impl RunArgs {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let options = self.options()?;
        let stats = Arc::new(PublisherStats::default());
        let stop = stop_on_ctrl_c();
        if let Some(duration) = self.duration {
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::time::sleep(duration).await;
                stop.cancel();
            });
        }
        let status = tokio::spawn(status_line(Arc::clone(&stats)));
        let summary = run(options, stats, stop).await;
        status.abort();
        eprintln!();
        print_summary(&summary?);
        Ok(())
    }

    fn options(&self) -> anyhow::Result<PublisherOptions> {
        let (host, port) = self.broker.host_and_port()?;
        let fleet = Arc::new(Fleet::generate(self.fleet.spec()));
        let run_id = run_id(self.run_id.clone(), self.fleet.seed);
        let rate = match (self.max_rate, self.rate, self.interval) {
            (true, ..) => None,
            (false, Some(rate), _) => Some(rate),
            (false, None, interval) => {
                let interval = interval.unwrap_or(Duration::from_secs(900)).max(Duration::from_millis(1));
                Some(f64::from(self.fleet.sims) / interval.as_secs_f64())
            }
        };
        let durability = if self.ledger_fsync { Durability::Machine } else { Durability::Process };
        let open = |path: &PathBuf| {
            Ledger::append(path, durability)
                .with_context(|| format!("cannot open the ledger {}", path.display()))
        };
        let system = Clock::system();
        let real_time = (self.time_scale - 1.0).abs() < f64::EPSILON;
        Ok(PublisherOptions {
            protocol: self.broker.protocol.into(),
            qos: self.broker.qos,
            credentials: self.broker.login().map(|(username, password)| Credentials { username, password }),
            mode: match self.mode {
                ModeArg::PerSim => Mode::PerSim,
                ModeArg::Gateway => Mode::Gateway { gateways: self.gateways },
            },
            records_per_message: self.batch,
            rate,
            records: self.records,
            window: self.window,
            faults: self.faults,
            ledger: self.ledger.as_ref().map(open).transpose()?.map(Arc::new),
            clock: if real_time { system } else { Clock::scaled(system.now(), self.time_scale) },
            amounts_for: TimeDelta::from_std(self.amounts_for).context("--amounts-for is too long")?,
            drain_timeout: self.drain,
            repeat_unheard: !self.accept_unheard,
            ..PublisherOptions::new(host, port, fleet, run_id)
        })
    }
}

/// Rewrites one line on stderr, so that stdout holds the summary only.
async fn status_line(stats: Arc<PublisherStats>) {
    let mut before = 0;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.tick().await;
    loop {
        second.tick().await;
        let now = stats.snapshot();
        eprint!(
            "\r{} connected  {} sent  {} acked ({}/s)  {} in flight  {} reconnects  ack p99 {:.1} ms   ",
            now.connected,
            now.sent,
            now.acked,
            now.acked.saturating_sub(before),
            now.in_flight,
            now.reconnects,
            now.ack_p99.as_secs_f64() * 1000.0
        );
        before = now.acked;
    }
}

fn print_summary(summary: &StatsSnapshot) {
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    println!("records sent           {:>12}", summary.sent);
    println!("  acknowledged         {:>12}", summary.acked);
    println!("    of them parked     {:>12}  (only MQTT 5 tells)", summary.parked);
    println!("  refused              {:>12}", summary.refused);
    println!("  unconfirmed (QoS 0)  {:>12}", summary.unconfirmed);
    println!("  outstanding          {:>12}", summary.in_flight);
    println!("messages sent again    {:>12}", summary.resent_messages);
    println!(
        "messages unheard       {:>12}  (nobody subscribed; only MQTT 5 tells)",
        summary.unheard_messages
    );
    println!("reconnects             {:>12}", summary.reconnects);
    println!("ack latency            p50 {:.1} ms, p99 {:.1} ms", ms(summary.ack_p50), ms(summary.ack_p99));
}
