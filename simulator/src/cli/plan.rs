use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use simulator::plan::{Bound, Costs, Fleet, Plan};

use super::duration;

/// Print how many machines a fleet needs, multiplied from measured costs.
#[derive(Args)]
pub(crate) struct PlanArgs {
    /// Number of SIMs, each with a connection of its own.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    sims: u64,
    /// Time between two records of a SIM, such as 5m or 1h.
    #[arg(long, value_parser = duration)]
    interval: Duration,
    /// Highest rate of a day to its mean, 1 to 1000.
    #[arg(long, default_value_t = 3.0)]
    peak: f64,
    /// Days for which records are kept (the setting retention.raw_days).
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    keep_days: u32,
    /// Networks that a SIM uses on a day, on average, 1 to 100.
    #[arg(long, default_value_t = 1.0)]
    networks: f64,
    /// Cores of a machine.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cores: u32,
    /// Share of a machine's cores that may be busy at the peak, above 0 to 1.
    #[arg(long, default_value_t = 0.6)]
    busy: f64,
    /// Connections of one instance (the program's mqtt.max_connections), and of a broker that stands apart.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    connections: u64,
    /// Terabytes that a database node may store, above 0.
    #[arg(long, default_value_t = 20.0)]
    disk_tb: f64,
    /// File with the last line of `BENCH_MODES=capacity cargo bench --bench rollup`, run on your machine.
    #[arg(long, value_name = "FILE")]
    costs: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl PlanArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        ensure!(!self.interval.is_zero(), "--interval must be above 0");
        ensure!((1.0..=1000.0).contains(&self.peak), "--peak must be 1 to 1000");
        ensure!((1.0..=100.0).contains(&self.networks), "--networks must be 1 to 100");
        ensure!(self.busy > 0.0 && self.busy <= 1.0, "--busy must be above 0 and at most 1");
        ensure!(self.disk_tb > 0.0 && self.disk_tb.is_finite(), "--disk-tb must be above 0");
        let costs = match &self.costs {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                Costs::parse(&text).with_context(|| file.display().to_string())?
            }
            None => Costs::measured(),
        };
        let fleet = Fleet {
            sims: self.sims,
            interval: self.interval,
            peak: self.peak,
            keep_days: self.keep_days,
            networks_a_day: self.networks,
            cores_a_machine: self.cores,
            busy: self.busy,
            connections_an_instance: self.connections,
            bytes_a_node: self.disk_tb * 1e12,
        };
        let plan = Plan::new(fleet, costs);
        let text = if self.json { serde_json::to_string_pretty(&plan)? } else { table(&plan) };
        println!("{text}");
        Ok(())
    }
}

/// Said when one database node is not enough.
const DEPLOYMENTS: &str = "                  each a deployment of its own: no tenant is spread over two";

fn table(plan: &Plan) -> String {
    let (fleet, costs) = (&plan.fleet, &plan.costs);
    let bound = match plan.bridges_bound {
        Bound::Cpu | Bound::Disk => format!("{:.1} cores at the peak", plan.bridge_cores),
        Bound::Connections => format!(
            "{} connections each; {:.1} cores in all at the peak",
            grouped(fleet.connections_an_instance as f64),
            plan.bridge_cores
        ),
    };
    let database_bound = match plan.database_bound {
        Bound::Cpu | Bound::Connections => format!("{:.1} cores at the peak", plan.database_cores),
        Bound::Disk => format!(
            "{} stored on each; {:.1} cores in all at the peak",
            size(fleet.bytes_a_node),
            plan.database_cores
        ),
    };
    let busy = fleet.busy * 100.0;
    let mut lines = vec![
        format!("{} SIMs, a record each {:?}", grouped(fleet.sims as f64), fleet.interval),
        format!(
            "  records         {}/s, at the peak {}/s",
            grouped(plan.records_per_second),
            grouped(plan.peak_records_per_second)
        ),
        format!(
            "  connections     {}, {} of memory",
            grouped(fleet.sims as f64),
            size(plan.connection_memory_bytes)
        ),
        format!("  WAL             {}/s at the peak", size(plan.peak_wal_bytes_per_second)),
        format!(
            "  stored          {} a month; {} in {} days",
            size(plan.month_bytes),
            size(plan.kept_bytes),
            fleet.keep_days
        ),
        format!("Machines of {} cores, {busy:.0} % busy at the peak", fleet.cores_a_machine),
        format!("  bridges         {}, each with its broker: {bound}", grouped(plan.bridges as f64)),
        format!(
            "  or apart        brokers of another kind: {}; bridges behind them, as one shared subscription: {}",
            grouped(plan.separate_brokers as f64),
            grouped(plan.bridges_behind_brokers as f64)
        ),
        format!("  database nodes  {}: {database_bound}", grouped(plan.database_nodes as f64)),
        format!(
            "From {:.0} µs of a core in a bridge and {:.0} µs in the database, {:.0} bytes of WAL and {:.0} stored bytes a record.",
            costs.bridge_cpu_us_per_record,
            costs.database_cpu_us_per_record,
            costs.wal_bytes_per_record,
            costs.stored_bytes_per_record
        ),
        "Multiplied, not tried: docs/SCALING.md says what was measured, and up to which size.".to_owned(),
    ];
    if plan.database_nodes > 1 {
        lines.insert(lines.len() - 2, DEPLOYMENTS.to_owned());
    }
    lines.join("\n")
}

/// Whole numbers with commas; small ones with two digits.
fn grouped(number: f64) -> String {
    if number < 10.0 && number.fract() != 0.0 {
        return format!("{number:.2}");
    }
    let digits = format!("{number:.0}");
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap_or_default())
        .collect();
    groups.join(",")
}

/// Bytes in decimal units.
fn size(bytes: f64) -> String {
    let units = [(1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB")];
    let unit = units.into_iter().find(|(factor, _)| bytes >= *factor);
    unit.map_or_else(|| format!("{bytes:.0} B"), |(factor, name)| format!("{:.1} {name}", bytes / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Catches a reader who takes nodes for one database.
    #[test]
    fn more_than_one_database_node_is_told_to_be_more_than_one_deployment() {
        let fleet = |sims| Fleet {
            sims,
            interval: Duration::from_secs(300),
            peak: 3.0,
            keep_days: 400,
            networks_a_day: 1.0,
            cores_a_machine: 16,
            busy: 0.6,
            connections_an_instance: 20_000,
            bytes_a_node: 20e12,
        };
        let told = |sims| table(&Plan::new(fleet(sims), Costs::measured()));
        assert!(told(10_000_000).contains(DEPLOYMENTS));
        assert!(!told(1_000).contains(DEPLOYMENTS));
    }

    #[test]
    fn numbers_are_grouped_and_sizes_have_units() {
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(grouped(0.333), "0.33");
        assert_eq!(grouped(999.4), "999");
        assert_eq!((size(999.0), size(1_500_000.0)), ("999 B".into(), "1.5 MB".into()));
    }
}
