use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use simulator::clock::Clock;
use simulator::fleet::FleetSpec;
use simulator::load::{LoadOptions, LoadProgress, LoadReport, run};
use simulator::record::RunId;

use super::{BrokerArgs, duration, run_id, stop_on_ctrl_c};

/// Messages are rendered beforehand, so that the client costs little; it says so when it was the bottleneck.
#[derive(Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Number of SIMs whose records are sent, in turn.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    sims: u32,
    /// What decides the fleet.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Connections.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Unacknowledged messages on each connection at most; 1 behaves like a simple device.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=65_535))]
    window: u16,
    /// Records in all.
    #[arg(long, value_name = "N")]
    records: Option<u64>,
    /// How long to send, such as 30s or 5m [default: 10s, if --records is not given].
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    /// Records per second in all. Without it: as fast as the acknowledgements come. With it, latency counts from the
    /// moment a message was due, so that a stalled broker cannot hide.
    #[arg(long, value_name = "RECORDS/S")]
    rate: Option<f64>,
    /// `single` = one record a message; `array=K` = a JSON array of K records.
    #[arg(long, default_value = "single", value_parser = payload)]
    payload: u16,
    /// Part of every recordId; the same id twice gives duplicates [default: from the seed and the time].
    #[arg(long)]
    run_id: Option<RunId>,
    /// How long to wait for acknowledgements at the end.
    #[arg(long, value_parser = duration, default_value = "30s")]
    drain: Duration,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

fn payload(text: &str) -> Result<u16, String> {
    let count = match text.strip_prefix("array=") {
        Some(count) => count.parse().ok(),
        None => (text == "single").then_some(1),
    };
    count
        .filter(|count| (1..=1000).contains(count))
        .ok_or_else(|| "use `single` or `array=K`, K from 1 to 1000".to_owned())
}

impl LoadArgs {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let default_duration = self.records.is_none().then_some(Duration::from_secs(10));
        let options = LoadOptions {
            protocol: self.broker.protocol.into(),
            qos: self.broker.qos,
            credentials: self.broker.login(),
            addr: self.broker.addr,
            connections: self.connections,
            window: self.window,
            records_per_message: self.payload,
            rate: self.rate,
            records: self.records,
            duration: self.duration.or(default_duration),
            run_id: run_id(self.run_id, self.seed),
            fleet: FleetSpec { sims: self.sims, seed: self.seed },
            until: Clock::system().now(),
            drain_timeout: self.drain,
        };
        let progress = Arc::new(LoadProgress::default());
        let status = tokio::spawn(status_line(Arc::clone(&progress)));
        let report = run(options, progress, stop_on_ctrl_c()).await;
        status.abort();
        report_result(&report?, self.json)
    }
}

/// One line a second on stderr, so that stdout holds the result only.
async fn status_line(progress: Arc<LoadProgress>) {
    let mut before = 0;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.tick().await;
    loop {
        second.tick().await;
        let acked = progress.acked_records();
        eprintln!("{acked:>12} records acknowledged, {:>9} in the last second", acked - before);
        before = acked;
    }
}

fn report_result(report: &LoadReport, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{report}");
    }
    if report.connections_lost > 0 || report.messages_unacknowledged > 0 {
        bail!(
            "{} connections lost, {} messages unacknowledged",
            report.connections_lost,
            report.messages_unacknowledged
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_single_or_an_array_of_1_to_1000() {
        assert_eq!(payload("single"), Ok(1));
        assert_eq!(payload("array=250"), Ok(250));
        for bad in ["", "array", "array=0", "array=1001", "batch=3"] {
            assert!(payload(bad).is_err(), "{bad}");
        }
    }
}
