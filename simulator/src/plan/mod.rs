//! How many machines a fleet needs, from what one record, one SIM and one connection cost.
//!
//! It multiplies measured costs (`BENCH_MODES=capacity cargo bench --bench rollup`, `cargo bench --bench broker`) and knows nothing else: docs/SCALING.md says which
//! of its results were measured and which are only multiplied.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const DAYS_A_MONTH: f64 = 30.0;
const SECONDS_A_DAY: f64 = 86_400.0;
/// What `BENCH_MODES=capacity cargo bench --bench rollup` printed on the machine of docs/BENCHMARKS.md.
const MEASURED: &str = include_str!("costs.json");

/// What things cost. CPU is of one core of the machine that was measured.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    pub bridge_cpu_us_per_record: f64,
    /// Intake and rollups.
    pub database_cpu_us_per_record: f64,
    pub wal_bytes_per_record: f64,
    /// With indexes, as all that is stored.
    pub stored_bytes_per_record: f64,
    pub stored_bytes_per_sim: f64,
    pub stored_bytes_per_cycle: f64,
    pub stored_bytes_per_sim_day: f64,
    /// Memory of an idle MQTT connection.
    #[serde(default = "connection_bytes")]
    pub connection_bytes: f64,
}

/// docs/BENCHMARKS.md, "The broker beside mosquitto".
fn connection_bytes() -> f64 {
    7_600.0
}

/// Why costs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CostsError {
    #[error("not what `BENCH_MODES=capacity cargo bench --bench rollup` prints: {0}")]
    Json(#[from] serde_json::Error),
    #[error("costs are numbers above 0")]
    NotPositive,
}

impl Costs {
    /// Those that were measured with this version.
    pub fn measured() -> Self {
        // A test parses it.
        Self::parse(MEASURED).expect("the file is part of the program")
    }

    /// The last line of the benchmark.
    ///
    /// # Errors
    ///
    /// When it is something else, or costs nothing.
    pub fn parse(json: &str) -> Result<Self, CostsError> {
        let costs: Self = serde_json::from_str(json)?;
        let all = [
            costs.bridge_cpu_us_per_record,
            costs.database_cpu_us_per_record,
            costs.wal_bytes_per_record,
            costs.stored_bytes_per_record,
            costs.stored_bytes_per_sim,
            costs.stored_bytes_per_cycle,
            costs.stored_bytes_per_sim_day,
            costs.connection_bytes,
        ];
        if all.into_iter().all(|cost| cost > 0.0) { Ok(costs) } else { Err(CostsError::NotPositive) }
    }
}

/// A fleet, and the machines that it may have.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Fleet {
    pub sims: u64,
    /// Between two records of a SIM.
    #[serde(serialize_with = "seconds")]
    pub interval: Duration,
    /// Highest rate of a day to its mean.
    pub peak: f64,
    /// How long records are kept.
    pub keep_days: u32,
    /// Networks that a SIM uses on a day: each is a row of its own.
    pub networks_a_day: f64,
    pub cores_a_machine: u32,
    /// Share of a machine that may be used at the peak.
    pub busy: f64,
    /// `mqtt.max_connections`.
    pub connections_an_instance: u64,
    /// What a database node may store.
    pub bytes_a_node: f64,
}

fn seconds<S: serde::Serializer>(interval: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(interval.as_secs_f64())
}

/// Which of its needs decides how many machines there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    Cpu,
    Connections,
    Disk,
}

/// What the fleet needs. Bytes are bytes; a month has 30 days.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Plan {
    pub fleet: Fleet,
    pub costs: Costs,
    pub records_per_second: f64,
    pub peak_records_per_second: f64,
    /// Busy cores at the peak.
    pub bridge_cores: f64,
    pub database_cores: f64,
    /// simbridge with its broker.
    pub bridges: u64,
    pub bridges_bound: Bound,
    /// Where brokers stand apart from bridges: as many with as many connections each.
    pub separate_brokers: u64,
    /// Bridges that share what those brokers have.
    pub bridges_behind_brokers: u64,
    /// Each a deployment of its own: SIMs are not spread over them by simbridge.
    pub database_nodes: u64,
    pub database_bound: Bound,
    pub connection_memory_bytes: f64,
    pub peak_wal_bytes_per_second: f64,
    /// A month of records, of days of SIMs, of cycles.
    pub month_bytes: f64,
    /// Records that are kept, and the charts and cycles of the same time, and the inventory.
    pub kept_bytes: f64,
}

impl Plan {
    pub fn new(fleet: Fleet, costs: Costs) -> Self {
        let sims = fleet.sims as f64;
        let records_per_second = sims / fleet.interval.as_secs_f64();
        let peak_records_per_second = records_per_second * fleet.peak;
        let cores = |us: f64| peak_records_per_second * us / 1e6;
        let machines = |cores: f64| (cores / (f64::from(fleet.cores_a_machine) * fleet.busy)).ceil().max(1.0);
        let (bridge_cores, database_cores) =
            (cores(costs.bridge_cpu_us_per_record), cores(costs.database_cpu_us_per_record));
        let (by_cpu, by_connections) =
            (machines(bridge_cores) as u64, fleet.sims.div_ceil(fleet.connections_an_instance));
        let day = records_per_second * SECONDS_A_DAY * costs.stored_bytes_per_record
            + sims * fleet.networks_a_day * costs.stored_bytes_per_sim_day;
        let cycles = sims * costs.stored_bytes_per_cycle;
        let kept_days = f64::from(fleet.keep_days);
        let kept_bytes =
            day * kept_days + cycles * (kept_days / DAYS_A_MONTH).ceil() + sims * costs.stored_bytes_per_sim;
        let (database_by_cpu, by_disk) =
            (machines(database_cores) as u64, (kept_bytes / fleet.bytes_a_node).ceil() as u64);
        Self {
            fleet,
            costs,
            records_per_second,
            peak_records_per_second,
            bridge_cores,
            database_cores,
            bridges: by_cpu.max(by_connections),
            bridges_bound: if by_connections > by_cpu { Bound::Connections } else { Bound::Cpu },
            separate_brokers: by_connections,
            bridges_behind_brokers: by_cpu,
            database_nodes: database_by_cpu.max(by_disk),
            database_bound: if by_disk > database_by_cpu { Bound::Disk } else { Bound::Cpu },
            connection_memory_bytes: sims * costs.connection_bytes,
            peak_wal_bytes_per_second: peak_records_per_second * costs.wal_bytes_per_record,
            month_bytes: day * DAYS_A_MONTH + cycles,
            kept_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs() -> Costs {
        Costs {
            bridge_cpu_us_per_record: 20.0,
            database_cpu_us_per_record: 80.0,
            wal_bytes_per_record: 1_000.0,
            stored_bytes_per_record: 500.0,
            stored_bytes_per_sim: 300.0,
            stored_bytes_per_cycle: 200.0,
            stored_bytes_per_sim_day: 100.0,
            connection_bytes: 8_000.0,
        }
    }

    fn fleet(sims: u64) -> Fleet {
        Fleet {
            sims,
            interval: Duration::from_secs(300),
            peak: 3.0,
            keep_days: 30,
            networks_a_day: 1.0,
            cores_a_machine: 16,
            busy: 0.5,
            connections_an_instance: 20_000,
            bytes_a_node: 1e15,
        }
    }

    #[test]
    fn the_costs_that_come_with_it_are_readable() {
        assert!(Costs::measured().database_cpu_us_per_record > Costs::measured().bridge_cpu_us_per_record);
    }

    #[test]
    fn a_million_sims_are_multiplied_out() {
        let plan = Plan::new(fleet(3_000_000), costs());
        assert_eq!((plan.records_per_second, plan.peak_records_per_second), (10_000.0, 30_000.0));
        assert!((plan.bridge_cores - 0.6).abs() < 1e-9 && (plan.database_cores - 2.4).abs() < 1e-9);
        assert_eq!((plan.bridges, plan.bridges_bound, plan.database_nodes), (150, Bound::Connections, 1));
        assert_eq!(plan.peak_wal_bytes_per_second, 30e6);
        // 864 M records a day, 3 M days of SIMs, one cycle each.
        let day = 864e6 * 500.0 + 3e6 * 100.0;
        assert_eq!(plan.month_bytes, day * 30.0 + 3e6 * 200.0);
        assert_eq!(plan.kept_bytes, plan.month_bytes + 3e6 * 300.0);
    }

    #[test]
    fn brokers_that_stand_apart_leave_bridges_only_the_records() {
        let plan = Plan::new(fleet(3_000_000), costs());
        assert_eq!((plan.separate_brokers, plan.bridges_behind_brokers), (150, 1));
        let busy = Plan::new(Fleet { interval: Duration::from_millis(10), ..fleet(20_000) }, costs());
        assert_eq!((busy.separate_brokers, busy.bridges_behind_brokers), (1, 15));
    }

    #[test]
    fn the_processor_decides_when_few_connections_carry_much() {
        let busy = Fleet { interval: Duration::from_millis(10), ..fleet(20_000) };
        let plan = Plan::new(busy, costs());
        // 6 M records/s of 20 µs are 120 cores, 8 of each machine.
        assert_eq!((plan.bridges, plan.bridges_bound), (15, Bound::Cpu));
        assert_eq!((plan.database_nodes, plan.database_bound), (60, Bound::Cpu));
    }

    #[test]
    fn the_disk_decides_when_much_is_kept() {
        let plan = Plan::new(Fleet { bytes_a_node: 1e12, ..fleet(3_000_000) }, costs());
        // 12.97 TB.
        assert_eq!((plan.database_nodes, plan.database_bound), (13, Bound::Disk));
    }

    #[test]
    fn the_smallest_fleet_needs_one_of_each() {
        let plan = Plan::new(fleet(1), costs());
        assert_eq!((plan.bridges, plan.database_nodes), (1, 1));
    }

    #[test]
    fn costs_of_something_else_are_refused() {
        assert!(matches!(Costs::parse("{}"), Err(CostsError::Json(_))));
        let free = Costs { wal_bytes_per_record: 0.0, ..costs() };
        let json = serde_json::to_string(&free).unwrap();
        assert!(matches!(Costs::parse(&json), Err(CostsError::NotPositive)));
    }
}
