use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use simulator::clock::Clock;
use simulator::fleet::{Fleet, FleetSpec};
use simulator::publisher::Protocol;
use simulator::record::RunId;
use tokio_util::sync::CancellationToken;

mod history;
mod load;
mod plan;
mod run;

/// A simulated SIM fleet: publishes usage over MQTT, measures a broker, writes months of history.
///
/// Everything is decided by the seed: the same --sims and --seed give the same SIMs, so that `inventory` provisions
/// exactly the cards that `run`, `load` and `history` use.
#[derive(Parser)]
#[command(name = "simulator", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  simulator inventory --sims 500 --seed 1 --output fleet.csv
  simulator run --addr localhost:1883 --sims 500 --seed 1 --rate 200 --faults duplicate=0.05,late=0.01
  simulator load --addr localhost:1883 --connections 50 --window 100 --duration 30s
  simulator history --sims 500 --seed 1 --from 2026-01-01 --to 2026-07-01 --output history.ndjson
  simulator plan --sims 1000000 --interval 5m";

#[derive(Subcommand)]
enum Command {
    /// Publish like a real fleet, with selectable faults, and account for every acknowledgement.
    Run(Box<run::RunArgs>),
    /// Measure how fast a broker acknowledges, and how long an acknowledgement takes.
    Load(Box<load::LoadArgs>),
    /// Write past usage for an import, without a broker.
    History(history::HistoryArgs),
    /// Write the fleet's SIM inventory as CSV.
    Inventory(InventoryArgs),
    /// Print how many machines a fleet needs, multiplied from measured costs.
    Plan(plan::PlanArgs),
}

impl Cli {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Run(args) => args.run().await,
            Command::Load(args) => args.run().await,
            Command::History(args) => args.run(),
            Command::Inventory(args) => args.run(),
            Command::Plan(args) => args.run(),
        }
    }
}

/// Which SIMs.
#[derive(Args)]
struct FleetArgs {
    /// Number of SIMs.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    sims: u32,
    /// What decides the fleet and every random choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl FleetArgs {
    fn spec(&self) -> FleetSpec {
        FleetSpec { sims: self.sims, seed: self.seed }
    }
}

/// Where the broker is and how to speak to it.
#[derive(Args)]
struct BrokerArgs {
    /// The broker's host:port.
    #[arg(long, default_value = "localhost:1883", value_name = "HOST:PORT")]
    addr: String,
    /// MQTT version.
    #[arg(long, value_enum, default_value = "3.1.1")]
    protocol: ProtocolArg,
    /// Quality of service: 0 is never acknowledged, 1 by PUBACK, 2 by PUBCOMP.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// User name; without it the connections are anonymous.
    #[arg(long, env = "SIMULATOR_USERNAME", requires = "password")]
    username: Option<String>,
    /// Password of --username; better in the environment, where `ps` does not show it.
    #[arg(long, env = "SIMULATOR_PASSWORD", hide_env_values = true, requires = "username")]
    password: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProtocolArg {
    #[value(name = "3.1.1")]
    V311,
    #[value(name = "5")]
    V5,
}

impl From<ProtocolArg> for Protocol {
    fn from(arg: ProtocolArg) -> Self {
        match arg {
            ProtocolArg::V311 => Self::V311,
            ProtocolArg::V5 => Self::V5,
        }
    }
}

impl BrokerArgs {
    fn login(&self) -> Option<(String, String)> {
        self.username.clone().zip(self.password.clone())
    }

    fn host_and_port(&self) -> anyhow::Result<(String, u16)> {
        let (host, port) = self.addr.rsplit_once(':').context("--addr needs the form host:port")?;
        let port = port.parse().with_context(|| format!("`{port}` in --addr is no port number"))?;
        Ok((host.to_owned(), port))
    }
}

#[derive(Args)]
struct InventoryArgs {
    #[command(flatten)]
    fleet: FleetArgs,
    /// File to write; `-` is the standard output.
    #[arg(long, default_value = "-", value_name = "FILE")]
    output: PathBuf,
}

impl InventoryArgs {
    fn run(self) -> anyhow::Result<()> {
        let mut out = output(&self.output)?;
        out.write_all(&Fleet::generate(self.fleet.spec()).inventory_csv())?;
        Ok(out.flush()?)
    }
}

fn output(path: &Path) -> anyhow::Result<Box<dyn Write>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(std::io::stdout().lock()));
    }
    let file = std::fs::File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(Box::new(file))
}

/// Reads `90`, `90s`, `15m`, `2h`, `1d` or `500ms`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| "use a whole number and ms, s, m, h or d".to_owned())?;
    let milliseconds = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        unit => return Err(format!("unknown unit `{unit}`: use ms, s, m, h or d")),
    };
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(|| "too long".to_owned())
}

/// The run id that was asked for, or one of seed and time.
fn run_id(given: Option<RunId>, seed: u64) -> RunId {
    given.unwrap_or_else(|| RunId::new(seed, Clock::system().now()))
}

/// Cancelled by the first Ctrl-C; the second one ends the process at once.
fn stop_on_ctrl_c() -> CancellationToken {
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            token.cancel();
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
    stop
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_duration_has_a_unit_and_a_bare_number_is_seconds() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "m", "1.5h", "3w", "99999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
