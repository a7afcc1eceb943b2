use std::process::ExitCode;
use std::time::Duration;

use chrono::NaiveDate;
use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::app::{Database, Owner, StartError};
use crate::config::Loaded;
use crate::rollup::metrics::RollupMetrics;
use crate::rollup::rebuild::{Days, rebuild};
use crate::rollup::{self, Reason, RunError, RunSummary};
use crate::store::Store;
use crate::store::tenants::TenantSummary;

use super::failure::Failure;
use super::progress::Progress;

#[derive(Args, Debug)]
pub(super) struct RebuildArgs {
    /// First day, in each tenant's time zone [default: the oldest of which every record is kept]
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<NaiveDate>,
    /// Last day, inclusive [default: the newest]
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Option<NaiveDate>,
    /// Only this tenant [default: all]
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Chunk(error) => error.into(),
            RunError::Limit(_) => Self::new(69, format!("{error}; the same command goes on with the rest")),
        }
    }
}

/// `simbridge rollup`: everything that waits, now.
pub(super) async fn run(loaded: &Loaded) -> Result<ExitCode, Failure> {
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let result = roll_up(&database.store, loaded).await;
    database.close().await;
    let RunSummary { batches, records, days, moved_sims, .. } = result?;
    if batches == 0 && moved_sims == 0 {
        println!("nothing waited: every chart shows every record");
    } else {
        println!("{records} records of {batches} batches added, {days} rows of daily_usage refreshed");
    }
    if moved_sims > 0 {
        println!("days of {moved_sims} SIMs moved to the new time zone of their tenant");
    }
    Ok(ExitCode::SUCCESS)
}

async fn roll_up(store: &Store, loaded: &Loaded) -> Result<RunSummary, Failure> {
    store.migrate().await.map_err(StartError::from)?;
    let (metrics, stop) = (RollupMetrics::default(), CancellationToken::new());
    Ok(rollup::run(store, &loaded.config.rollup.options(), Reason::Command, &metrics, &stop).await?)
}

/// `simbridge rebuild`: days made anew from the records, a month at a time.
pub(super) async fn run_rebuild(args: RebuildArgs, loaded: &Loaded) -> Result<ExitCode, Failure> {
    if args.from.zip(args.to).is_some_and(|(from, to)| from > to) {
        return Err(Failure::new(2, "--from lies after --to"));
    }
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let limit = loaded.config.rollup.options().run_limit;
    let result = rebuild_all(&args, &database.store, limit).await;
    database.close().await;
    result.map(|()| ExitCode::SUCCESS)
}

async fn rebuild_all(args: &RebuildArgs, store: &Store, limit: Duration) -> Result<(), Failure> {
    store.migrate().await.map_err(StartError::from)?;
    let mut tenants = store.tenants().await?;
    if let Some(name) = &args.tenant {
        tenants.retain(|tenant| tenant.name == *name);
        if tenants.is_empty() {
            return Err(Failure::new(1, format!("there is no tenant `{name}`")));
        }
    }
    let mut spans = Vec::new();
    for tenant in tenants {
        match span(args, store, &tenant).await? {
            Some(days) => spans.push((tenant, days)),
            None => println!("{}: no records in these days", tenant.name),
        }
    }
    let mut progress = Progress::new(Some(spans.iter().map(|(_, days)| days.count()).sum()), "days");
    for (tenant, days) in spans {
        let done = |portion: Days, _| progress.advance(portion.count());
        let records = rebuild(store, tenant.id, days, limit, done).await?;
        let (name, first, last) = (tenant.name, days.first, days.last);
        println!("{name}: {first} to {last} made anew from {records} records");
    }
    progress.finish();
    Ok(())
}

/// The days asked for, as far as there are any.
async fn span(args: &RebuildArgs, store: &Store, tenant: &TenantSummary) -> Result<Option<Days>, Failure> {
    let Some((oldest, newest)) = store.rebuild_span(tenant.id).await? else { return Ok(None) };
    let first = args.from.map_or(oldest, |from| from.max(oldest));
    if let Some(from) = args.from.filter(|from| *from < oldest) {
        println!("{}: nothing before {oldest} can be made anew; leaving {from} and on alone", tenant.name);
    }
    let last = args.to.map_or(newest, |to| to.min(newest));
    Ok((first <= last).then_some(Days { first, last }))
}
