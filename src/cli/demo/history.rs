//! Past usage of the demo's SIMs, so that days, weeks and months have something to show: made by the simulator, stored as an import
//! is, while the fleet publishes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, DurationRound, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use simulator::fleet::{Fleet, FleetSpec};
use simulator::history::{self, HistoryFormat, HistoryOptions};
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::{Bridge, DEFAULT_TENANT};
use crate::config::Config;
use crate::domain::Clock;
use crate::ingest::{DatabaseState, PipelineOptions};
use crate::rollup::{self, Reason, RunError};
use crate::source::file::{Format, ImportError, ImportRequest, Opened, Report, RunOptions, UsageFile};
use crate::store::file_imports::Committed;
use crate::store::{Store, StoreError};

/// Records in all, while one a day and SIM is not more: stored in some seconds.
const RECORDS: u64 = 140_000;
/// So many of the last days have records of hours where [`RECORDS`] allow it; what is older is mostly seen by day.
const RECENT_DAYS: i64 = 7;
/// Hours of a period, each a part of a day, so that days hold whole periods.
const PERIODS: [i64; 8] = [1, 2, 3, 4, 6, 8, 12, 24];
/// What the names of all such files begin with, before their seed.
const NAME: &str = "demo-history";
const NAME_TIME: &str = "%Y%m%dT%H";

/// Why there is no history, or not all of it.
#[derive(Debug, Error)]
pub(super) enum HistoryFault {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error("cannot write {path}: {cause}", path = .0.display(), cause = .1)]
    File(PathBuf, io::Error),
    #[error("the simulated history cannot be made: {0}")]
    Made(#[from] history::HistoryError),
    #[error("it is stored, but not rolled up: {0}")]
    RolledUp(#[from] RunError),
    #[error("it was not expected to end: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

/// All that decides a history, to the byte. It stands in the name of its file, which the database keeps: whoever goes on with an import
/// that was interrupted makes the same file again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    seed: u64,
    sims: u32,
    days: u16,
    /// A full hour.
    to: DateTime<Utc>,
}

/// What is to be done about it.
pub(super) enum Prepared {
    /// Nobody wants one.
    Off,
    /// A demo before this one stored it.
    Stored(Committed),
    Due(Due),
}

/// A history that is not stored, or not all of it.
pub(super) struct Due {
    plan: Plan,
    fleet: Arc<Fleet>,
}

/// A history on its way into the database.
pub(super) struct Running {
    task: Option<JoinHandle<Result<Ended, HistoryFault>>>,
    stop: CancellationToken,
}

/// How far it came.
struct Ended {
    report: Option<Report>,
    took: Duration,
}

/// Finds out whether this database has the history of the fleet, whatever its length: a second one beside it would count twice.
pub(super) async fn prepare(
    store: &Store,
    config: &Config,
    fleet: &Arc<Fleet>,
    days: u16,
    now: DateTime<Utc>,
) -> Result<Prepared, StoreError> {
    // Older records would be parked.
    let days = days.min(config.ingest.max_age_days.saturating_sub(1).try_into().unwrap_or(u16::MAX));
    if days == 0 {
        return Ok(Prepared::Off);
    }
    let (seed, sims) = (fleet.seed(), fleet.sims().len() as u32);
    let beginning = format!("{NAME}-{seed}-");
    let before = store.newest_file_import(DEFAULT_TENANT.0, &beginning).await?;
    let fresh = || Plan { seed, sims, days, to: now.duration_trunc(TimeDelta::hours(1)).unwrap_or(now) };
    let plan = match before {
        Some((_, before)) if before.finished_at.is_some() => return Ok(Prepared::Stored(before.committed)),
        Some((name, _)) => name.parse().unwrap_or_else(|_| fresh()),
        None => fresh(),
    };
    let spec = FleetSpec { sims: plan.sims, seed };
    let fleet = if plan.sims == sims { fleet.clone() } else { Arc::new(Fleet::generate(spec)) };
    Ok(Prepared::Due(Due { plan, fleet }))
}

impl Due {
    /// In records and days.
    pub(super) fn size(&self) -> (u64, u16) {
        let stretches = self.plan.stretches(self.sims());
        let count = |stretch: &Stretch| (stretch.to - stretch.from).num_hours() / stretch.hours;
        let periods: i64 = stretches.iter().map(count).sum();
        (self.sims() * periods.unsigned_abs(), self.plan.days)
    }

    fn sims(&self) -> u64 {
        self.fleet.publishing().len() as u64
    }

    /// Stores it beside what the fleet publishes; then it is in the charts, and its closed months have their invoices.
    pub(super) fn start(self, bridge: &Bridge, config: &Config) -> Running {
        let stop = CancellationToken::new();
        let options = RunOptions {
            store: bridge.store.clone(),
            // One writer: those who publish wait for the same disk.
            pipeline: PipelineOptions { writers: 1, ..config.ingest.pipeline_options() },
            metrics: Arc::default(),
            database: DatabaseState::default(),
            clock: Clock::System,
            stop: stop.clone(),
            grace: Duration::from_millis(config.shutdown.grace_ms),
        };
        let (store, rollup, metrics) =
            (bridge.store.clone(), config.rollup.options(), bridge.metrics.clone());
        let (directory, stopped) = (config.data_dir.clone(), stop.clone());
        let task = async move {
            let ended = self.store(directory, options).await?;
            if !stopped.is_cancelled() {
                rollup::run(&store, &rollup, Reason::Command, &metrics.rollup, &stopped).await?;
                store.keep_invoices(Clock::System.now()).await?;
            }
            Ok(ended)
        };
        Running { task: Some(tokio::spawn(task)), stop }
    }

    async fn store(self, directory: PathBuf, options: RunOptions) -> Result<Ended, HistoryFault> {
        let started = Instant::now();
        let path = directory.join(self.plan.to_string());
        let (making, plan) = (path.clone(), self.plan);
        tokio::task::spawn_blocking(move || plan.make(&self.fleet, &making)).await??;
        let request = ImportRequest { tenant: DEFAULT_TENANT.0, may_correct: false, again: false };
        let file = UsageFile::open(&path, Some(Format::Ndjson)).await?;
        let report = match file.import(request, &options.store).await? {
            Opened::Finished { .. } => None,
            Opened::Ready(import) => Some(import.run(options, |_| {}).await?),
        };
        if report.is_none_or(|report| report.finished) {
            // It can be made again; what counts is in the database.
            fs::remove_file(&path).ok();
        }
        Ok(Ended { report, took: started.elapsed() })
    }
}

impl Running {
    /// Nothing is to be stored.
    pub(super) fn none() -> Self {
        Self { task: None, stop: CancellationToken::new() }
    }

    /// What to say of it, once, when it has ended.
    pub(super) async fn news(&mut self) -> Option<String> {
        if !self.task.as_ref()?.is_finished() {
            return None;
        }
        self.end().await
    }

    /// Ends it where it is; the next demo goes on from there. What to say of it, unless that was said.
    pub(super) async fn end(&mut self) -> Option<String> {
        self.stop.cancel();
        let ended = self.task.take()?.await.map_err(HistoryFault::from).flatten();
        let records = |committed: &Committed| committed.stored + committed.duplicate;
        Some(match ended {
            Ok(Ended { report: None, .. }) => "history     another demo stored it meanwhile".to_owned(),
            Ok(Ended { report: Some(Report { committed, finished: true, .. }), took }) => {
                let parked = match committed.parked {
                    0 => String::new(),
                    parked => format!(", parked {parked}"),
                };
                let stored = records(&committed);
                format!("history     stored {stored} records{parked} in {:.1} s", took.as_secs_f64())
            }
            Ok(Ended { report: Some(Report { committed, .. }), .. }) => {
                let stored = records(&committed);
                format!("history     interrupted after {stored} records; the next demo goes on from there")
            }
            Err(fault) => format!("history     not stored, or not all of it: {fault}"),
        })
    }
}

/// Days with periods of one length.
struct Stretch {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    hours: i64,
}

impl Plan {
    /// Oldest first.
    fn stretches(&self, sims: u64) -> Vec<Stretch> {
        let midnight = self.to.date_naive().and_time(NaiveTime::MIN).and_utc();
        let days = i64::from(self.days);
        let recent = days.min(RECENT_DAYS);
        let older = Stretch {
            from: midnight - TimeDelta::days(days),
            to: midnight - TimeDelta::days(recent),
            hours: period(sims, days - recent),
        };
        let recent = Stretch { from: older.to, to: self.to, hours: period(sims, recent + 1) };
        [older, recent].into_iter().filter(|one| one.from < one.to).collect()
    }

    /// Writes the file, unless it is there.
    fn make(&self, fleet: &Fleet, path: &Path) -> Result<(), HistoryFault> {
        if path.exists() {
            return Ok(());
        }
        let cannot = |cause| HistoryFault::File(path.to_owned(), cause);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(cannot)?;
        }
        // Under a name of its own until it is whole: a kill must not leave a half of it, nor another demo write into it.
        let unfinished = path.with_extension(format!("part-{}", std::process::id()));
        let mut file = File::create(&unfinished).map_err(cannot)?;
        for Stretch { from, to, hours } in self.stretches(fleet.publishing().len() as u64) {
            let options = HistoryOptions {
                from,
                to,
                interval: TimeDelta::hours(hours),
                run_id: NAME.parse().expect("letters and a hyphen"),
                format: HistoryFormat::Ndjson,
                duplicate: 0.0,
                late: 0.0,
            };
            history::write(fleet, &options, &mut file)?;
        }
        fs::rename(&unfinished, path).map_err(cannot)
    }
}

/// The shortest period of which `sims` have no more than half of [`RECORDS`] in so many days; else a day.
fn period(sims: u64, days: i64) -> i64 {
    let records = |hours: i64| sims * (days * 24 / hours).unsigned_abs();
    PERIODS.into_iter().find(|hours| records(*hours) <= RECORDS / 2).unwrap_or(24)
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, sims, days, to } = self;
        write!(f, "{NAME}-{seed}-{sims}-{days}-{}.ndjson", to.format(NAME_TIME))
    }
}

/// A name that no demo gave.
#[derive(Debug)]
struct OtherName;

impl FromStr for Plan {
    type Err = OtherName;

    fn from_str(name: &str) -> Result<Self, OtherName> {
        let name = name.strip_prefix(NAME).and_then(|rest| rest.strip_suffix(".ndjson")).ok_or(OtherName)?;
        let mut parts = name.split('-').skip(1);
        let mut next = || parts.next().ok_or(OtherName);
        let number = |text: &str| text.parse::<u64>().map_err(|_| OtherName);
        let seed = number(next()?)?;
        let sims = u32::try_from(number(next()?)?).map_err(|_| OtherName)?;
        let days = u16::try_from(number(next()?)?).map_err(|_| OtherName)?;
        // A time needs its minutes to be one.
        let to = NaiveDateTime::parse_from_str(&format!("{}00", next()?), &format!("{NAME_TIME}%M"));
        Ok(Self { seed, sims, days, to: to.map_err(|_| OtherName)?.and_utc() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(days: u16) -> Plan {
        Plan { seed: 1, sims: 200, days, to: "2026-11-21T19:00:00Z".parse().unwrap() }
    }

    /// Catches a name that tells less than what decides the file: an import that goes on would read other rows.
    #[test]
    fn a_plan_is_read_back_from_the_name_of_its_file() {
        assert_eq!(plan(90).to_string(), "demo-history-1-200-90-20261121T19.ndjson");
        for days in [1, 90, 365] {
            assert_eq!(plan(days).to_string().parse::<Plan>().unwrap(), plan(days));
        }
        for other in ["", "demo-history", "demo-history-1-200-90.ndjson", "usage.ndjson"] {
            assert!(other.parse::<Plan>().is_err(), "{other}");
        }
    }

    /// Catches days that are left out or come twice where one length of periods follows the other.
    #[test]
    fn stretches_follow_each_other_from_midnight_to_the_full_hour() {
        for (days, hours) in [(1, vec![1]), (7, vec![1]), (8, vec![1, 1]), (90, vec![6, 1])] {
            let stretches = plan(days).stretches(194);
            assert_eq!(stretches.iter().map(|one| one.hours).collect::<Vec<_>>(), hours, "{days}");
            let from = format!("{}T00:00:00Z", plan(days).to.date_naive() - TimeDelta::days(days.into()));
            assert_eq!(stretches[0].from, from.parse::<DateTime<Utc>>().unwrap());
            assert!(stretches.windows(2).all(|pair| pair[0].to == pair[1].from));
            assert_eq!(stretches.last().unwrap().to, plan(days).to);
        }
    }

    #[test]
    fn large_fleets_have_longer_periods_up_to_a_day() {
        for (sims, days, hours) in [(194, 83, 6), (194, 8, 1), (485, 83, 24), (970, 8, 3), (10_000, 83, 24)] {
            assert_eq!(period(sims, days), hours, "{sims} SIMs, {days} days");
        }
    }
}
