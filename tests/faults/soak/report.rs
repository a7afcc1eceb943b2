//! The figures of a soak, as docs/RELIABILITY.md shows them, and what they must be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::bloat::Size;
use super::hostile::Hostile;
use super::ledger::Ledger;
use super::mishaps::Mishap;
use super::plan::{LAG, MEMORY, Plan};
use super::publishers::Live;
use super::watch::{Sample, Samples, megabytes, slope};

/// Megabytes an hour.
const SLOPE: f64 = 1.0;
/// Megabytes that a run may grow by which is too short for a slope: caches are still filling up.
const GROWTH: f64 = 8.0;
/// Parts of a run of which each has its lowest RSS: five minutes of an hour.
const LOWEST_OF: u64 = 12;
const BLOAT: f64 = 2.0;
/// Whoever asks for metrics has a socket too, and a look may meet one that is about to be closed.
const PASSERS_BY: usize = 4;

pub(super) struct Report<'a> {
    pub(super) plan: &'a Plan,
    pub(super) samples: Samples,
    pub(super) live: Arc<Live>,
    pub(super) ledger: Ledger,
    pub(super) hostile: Hostile,
    pub(super) recoveries: Vec<(Mishap, Duration)>,
    /// Connections that broke although nobody cut them, before the program was ended.
    pub(super) lost: u64,
    /// Open when every publisher had its acknowledgements, and how many there may be.
    pub(super) files: usize,
    pub(super) files_at_most: usize,
}

impl Report<'_> {
    pub(super) fn tell(&self) {
        let (plan, total) = (self.plan, self.ledger.total());
        let seconds = self.samples.all.last().expect("samples").at.as_secs_f64();
        let acked = total.records as f64;
        println!("\n| Figure | Value |\n|---|---|");
        println!("| Length | {seconds:.0} s at {:.0} records/s of {} SIMs |", plan.rate, plan.sims);
        println!("| Acknowledged, each stored once | {acked} ({:.0} a second) |", acked / seconds);
        println!("| Sent again after a lost connection | {} |", self.live.resent.load(Ordering::Relaxed));
        println!("| Malformed, all of them parked | {} |", self.hostile.malformed.len());
        println!("| Mishaps, each with the longest recovery | {} |", self.mishaps());
        println!("| PUBACK p50, p99 while calm | {} |", quantiles(&self.samples.calm));
        println!("| PUBACK p50, p99 of all | {} |", quantiles(&self.samples.latencies));
        println!("| RSS {} |", self.range(|sample| megabytes(sample.memory), "MB"));
        let slope = self
            .memory_slope()
            .map_or("unknown".into(), |(slope, error)| format!("{slope:+.2} ± {error:.2} MB/h"));
        let (from, each) = (plan.warm_up.as_secs(), plan.length.as_secs() / LOWEST_OF);
        println!("| Slope after {from} s of the lowest RSS of each {each} s | {slope} |");
        println!("| Open files {} |", self.range(|sample| sample.files as f64, ""));
        println!("| Rollup lag {} |", self.range(|sample| sample.lag.unwrap_or_default(), "s"));
        println!("| Records that wait {} |", self.range(|sample| sample.waiting, ""));
        println!("| CPU of the test itself, of one core | {:.0} % |", own_cpu_seconds() / seconds * 100.0);
    }

    /// Fails with everything that is not as it has to be.
    pub(super) fn judge(&self, sizes: &[Size]) {
        let mut wrong = self.program();
        if self.plan.long {
            wrong.extend(self.charts());
            let large =
                sizes.iter().filter(|size| size.before() >= self.plan.bloat_floor && size.ratio() >= BLOAT);
            wrong.extend(
                large.map(|size| {
                    format!("{} is {:.2} times as large as it need be", size.table, size.ratio())
                }),
            );
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    fn program(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let memory = self.samples.all.iter().map(|sample| sample.memory).max().expect("samples");
        if memory >= MEMORY {
            wrong.push(format!("RSS was {:.0} MB", megabytes(memory)));
        }
        let length = (self.plan.length - self.plan.warm_up).as_secs_f64() / 3600.0;
        match self.memory_slope() {
            Some((slope, error)) if self.plan.tells_a_slope() && slope >= SLOPE => {
                wrong.push(format!("RSS grows by {slope:.2} ± {error:.2} MB/h"));
            }
            Some((slope, _)) if !self.plan.tells_a_slope() && slope * length >= GROWTH => {
                wrong.push(format!("RSS grew by {:.1} MB", slope * length));
            }
            None if self.plan.long => wrong.push("too little of it was calm".into()),
            Some(_) | None => {}
        }
        let files = self.samples.steady(self.plan).map(|sample| sample.files).max().unwrap_or_default();
        if files > self.files_at_most + PASSERS_BY || self.files > self.files_at_most {
            wrong.push(format!("{files} and at last {} open files, of {}", self.files, self.files_at_most));
        }
        if self.lost > 0 {
            wrong.push(format!("{} connections ended because of what happened to others", self.lost));
        }
        wrong
    }

    /// From the first minute on: whoever comes first waits no longer than the others.
    fn charts(&self) -> Option<String> {
        let late: Vec<(u64, Option<f64>)> = self
            .samples
            .all
            .iter()
            .filter(|sample| sample.calm && sample.lag.is_none_or(|lag| lag >= LAG))
            .map(|sample| (sample.at.as_secs(), sample.lag))
            .collect();
        let first = late.first()?;
        Some(format!("charts were too far behind {} times, first (second, lag) {first:?}", late.len()))
    }

    /// In MB an hour, with its standard error; none of less than four points. What is on its way takes memory that is given back, and
    /// looks that follow each other meet the same: of each part of the time the lowest counts, which a leak raises too.
    fn memory_slope(&self) -> Option<(f64, f64)> {
        let part = self.plan.length.as_secs_f64() / LOWEST_OF as f64;
        let mut lowest: BTreeMap<u64, &Sample> = BTreeMap::new();
        for sample in self.samples.steady(self.plan) {
            // Looks after the end belong to the last part: a few alone are no part of the time.
            let number = ((sample.at.as_secs_f64() / part) as u64).min(LOWEST_OF - 1);
            let of_part = lowest.entry(number).or_insert(sample);
            if sample.memory < of_part.memory {
                *of_part = sample;
            }
        }
        let point = |sample: &&Sample| (sample.at.as_secs_f64() / 3600.0, megabytes(sample.memory));
        let points: Vec<_> = lowest.values().map(point).collect();
        (points.len() > 3).then(|| slope(&points))
    }

    fn mishaps(&self) -> String {
        let mut longest: BTreeMap<Mishap, (u32, Duration)> = BTreeMap::new();
        for (mishap, took) in &self.recoveries {
            let entry = longest.entry(*mishap).or_default();
            *entry = (entry.0 + 1, entry.1.max(*took));
        }
        let one = |(mishap, (times, took)): (&Mishap, &(u32, Duration))| {
            format!("{times} {mishap:?} {:.1} s", took.as_secs_f64())
        };
        longest.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn range(&self, of: impl Fn(&Sample) -> f64, unit: &str) -> String {
        let steady: Vec<f64> = self.samples.steady(self.plan).map(&of).collect();
        let highest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        let all: Vec<f64> = self.samples.all.iter().map(&of).collect();
        format!(
            "at first, at last, mean and highest while calm; highest of all | {:.1}, {:.1}, {:.1}, {:.1}; {:.1} {unit}",
            steady.first().copied().unwrap_or_default(),
            steady.last().copied().unwrap_or_default(),
            steady.iter().sum::<f64>() / steady.len().max(1) as f64,
            highest(&steady),
            highest(&all)
        )
    }
}

/// Sizes, as a table, and how long the last look took.
pub(super) fn tell_end(plan: &Plan, reconciled: Duration, sizes: &[Size]) {
    println!("| `simbridge reconcile` | clean, {:.1} s |", reconciled.as_secs_f64());
    println!("\n| Table | Heap + indexes, MB | After VACUUM FULL | Ratio |\n|---|---|---|---|");
    for size in sizes.iter().filter(|size| size.before() >= plan.bloat_floor / 64) {
        size.tell();
    }
}

fn quantiles(latencies: &hdrhistogram::Histogram<u64>) -> String {
    let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
    format!("{:.1} ms, {:.1} ms", at(0.5), at(0.99))
}

/// Publishers and measuring: they take what they use from the program on the same machine.
fn own_cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux says so");
    // After the command in parentheses: state is field 3, utime 14, stime 15 (proc(5)), in hundredths of a second.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}
