use std::collections::HashMap;
use std::process::ExitCode;

use chrono::NaiveDate;
use clap::{ArgGroup, Args, Subcommand};

use crate::app::{DEFAULT_TENANT, Database, Owner, StartError};
use crate::config::Loaded;
use crate::domain::{Clock, Iccid, TenantId};
use crate::store::Store;
use crate::store::pool_members::{Joined, Joining, MEMBERS_AT_ONCE};
use crate::store::pools::{
    NAME_MAX_CHARS, NewPool, POOLS_AT_MOST, PoolAdded, PoolChanged, PoolField, PoolPage, PoolPatch,
};

use super::failure::Failure;
use super::pool_report;
use super::sims::tenant_id;
use super::table::printable;

#[derive(Debug, Subcommand)]
pub(super) enum PoolsCommand {
    /// List pools with what they used in the present period
    List {
        #[command(flatten)]
        period: PeriodArgs,
        #[arg(long, default_value = DEFAULT_TENANT.1)]
        tenant: String,
    },
    /// Show a pool and its members
    Show {
        #[command(flatten)]
        pool: PoolArgs,
        #[command(flatten)]
        period: PeriodArgs,
    },
    /// Make a pool, without members
    Create {
        #[arg(value_parser = name)]
        name: String,
        /// What all members together may use in a period, in bytes or with a unit of 1024: 500MB, 100GB
        #[arg(long, value_name = "BYTES", value_parser = bytes)]
        limit: i64,
        /// Day of the month on which a period begins; the last day in shorter months
        #[arg(long, value_name = "DAY", default_value_t = 1, value_parser = clap::value_parser!(i16).range(1..=31))]
        cycle_day: i16,
        #[arg(long, default_value = DEFAULT_TENANT.1)]
        tenant: String,
    },
    /// Change a pool; another cycle day moves the bounds of all periods, also of past ones
    #[command(group(ArgGroup::new("what").required(true).multiple(true).args(["new_name", "limit", "cycle_day"])))]
    Set {
        #[command(flatten)]
        pool: PoolArgs,
        #[arg(long, value_name = "NAME", value_parser = name)]
        new_name: Option<String>,
        #[arg(long, value_name = "BYTES", value_parser = bytes)]
        limit: Option<i64>,
        #[arg(long, value_name = "DAY", value_parser = clap::value_parser!(i16).range(1..=31))]
        cycle_day: Option<i16>,
    },
    /// Delete a pool with what is known of its members and days; what the SIMs used stays theirs
    Remove {
        #[command(flatten)]
        pool: PoolArgs,
    },
    /// Make SIMs members of a pool, or change the limits of those that are; all or none
    Add {
        #[command(flatten)]
        pool: PoolArgs,
        /// ICCID, IMSI, MSISDN, SIM id, or an account that stands for a SIM
        #[arg(required = true, num_args = 1..=MEMBERS_AT_ONCE)]
        sims: Vec<String>,
        /// What each of them alone may use of the pool, in bytes or with a unit of 1024
        #[arg(long, value_name = "BYTES", value_parser = bytes)]
        limit: Option<i64>,
        /// Take such limits away
        #[arg(long, conflicts_with = "limit")]
        no_limit: bool,
        /// The first day that counts [default: today]
        #[arg(long, value_name = "DAY")]
        from: Option<NaiveDate>,
        /// Name of the source whose accounts are meant [default: those of every source]
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        source: String,
    },
    /// End the membership of SIMs: today and what follows do not count in the pool any more
    Drop {
        #[command(flatten)]
        pool: PoolArgs,
        /// ICCID, IMSI, MSISDN, SIM id, or an account that stands for a SIM
        #[arg(required = true, num_args = 1..=MEMBERS_AT_ONCE)]
        sims: Vec<String>,
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        source: String,
    },
}

#[derive(Args, Debug)]
pub(super) struct PoolArgs {
    /// Name of the pool
    pool: String,
    #[arg(long, default_value = DEFAULT_TENANT.1)]
    tenant: String,
}

#[derive(Args, Debug)]
pub(super) struct PeriodArgs {
    /// The month in which the period begins, such as 2026-11 [default: the present one]
    #[arg(long, value_name = "MONTH", value_parser = month)]
    period: Option<NaiveDate>,
}

fn name(text: &str) -> Result<String, String> {
    let valid = !text.trim().is_empty() && text.chars().count() <= NAME_MAX_CHARS;
    valid.then(|| text.to_owned()).ok_or_else(|| format!("a name has 1 to {NAME_MAX_CHARS} characters"))
}

fn month(text: &str) -> Result<NaiveDate, &'static str> {
    let form = text.len() == 7 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let day = form.then(|| format!("{text}-01").parse().ok()).flatten();
    day.filter(|_| ("1000-01".."9999-01").contains(&text)).ok_or("a month is written as 2026-11")
}

/// As `amounts` writes them, without decimals.
fn bytes(text: &str) -> Result<i64, &'static str> {
    const WRONG: &str = "bytes are a whole number from 1, maybe with KB, MB, GB or TB: 500MB";
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].trim() {
        "" | "B" => 1_i64,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "TB" => 1 << 40,
        _ => return Err(WRONG),
    };
    let number: i64 = digits.parse().map_err(|_| WRONG)?;
    // As for limits of SIMs: what a JSON number holds exactly.
    number.checked_mul(unit).filter(|bytes| (1..=1 << 53).contains(bytes)).ok_or(WRONG)
}

pub(super) async fn run(command: PoolsCommand, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let result = on(command, &database.store).await;
    database.close().await;
    result
}

async fn on(command: PoolsCommand, store: &Store) -> Result<ExitCode, Failure> {
    store.migrate().await.map_err(StartError::from)?;
    match command {
        PoolsCommand::List { period, tenant } => {
            let tenant = tenant_id(store, &tenant).await?;
            let page = PoolPage { by: PoolField::Name, descending: false, limit: POOLS_AT_MOST, offset: 0 };
            let (pools, _) = store.pools(tenant, period.period, page, Clock::System.now()).await?;
            pool_report::list(&pools);
        }
        PoolsCommand::Show { pool, period } => {
            let (tenant, id) = find(store, &pool).await?;
            let held = store.pool(tenant, id, period.period, Clock::System.now()).await?;
            let held = held.ok_or_else(|| unknown(&pool.pool))?;
            pool_report::show(store, tenant, &held).await?;
        }
        PoolsCommand::Create { name, limit, cycle_day, tenant } => {
            let tenant = tenant_id(store, &tenant).await?;
            create(store, tenant, NewPool { name, limit_bytes: limit, cycle_day }).await?;
        }
        PoolsCommand::Set { pool, new_name, limit, cycle_day } => {
            let (tenant, id) = find(store, &pool).await?;
            let patch = PoolPatch { name: new_name, limit_bytes: limit, cycle_day };
            match store.change_pool(tenant, id, &patch, Clock::System.now()).await? {
                PoolChanged::Done => println!("pool `{}` is changed", printable(&pool.pool)),
                PoolChanged::Unknown => return Err(unknown(&pool.pool)),
                PoolChanged::NameTaken => return Err(taken(patch.name.as_deref().unwrap_or_default())),
            }
        }
        PoolsCommand::Remove { pool } => {
            let (tenant, id) = find(store, &pool).await?;
            store.delete_pool(tenant, id).await?;
            println!("pool `{}` is gone; what its members used stays theirs", printable(&pool.pool));
        }
        PoolsCommand::Add { pool, sims, limit, no_limit, from, source } => {
            let (tenant, id) = find(store, &pool).await?;
            let limit_bytes = if no_limit { Some(None) } else { limit.map(Some) };
            let iccids = resolved(store, tenant, &source, &sims).await?;
            let joining: Vec<Joining> =
                iccids.into_iter().map(|iccid| Joining { iccid, from, limit_bytes }).collect();
            add(store, (tenant, id), &pool.pool, &joining).await?;
        }
        PoolsCommand::Drop { pool, sims, source } => {
            let (tenant, id) = find(store, &pool).await?;
            let iccids = leaving(store, (tenant, id), &source, &sims).await?;
            let gone = store.leave_pool(tenant, id, &iccids, Clock::System.now()).await?.unwrap_or(0);
            println!("{gone} SIMs left pool `{}`", printable(&pool.pool));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn find(store: &Store, pool: &PoolArgs) -> Result<(TenantId, i32), Failure> {
    let tenant = tenant_id(store, &pool.tenant).await?;
    let id = store.pool_by_name(tenant, &pool.pool).await?;
    Ok((tenant, id.ok_or_else(|| unknown(&pool.pool))?))
}

fn unknown(pool: &str) -> Failure {
    Failure::new(1, format!("there is no pool `{}`", printable(pool)))
}

fn taken(name: &str) -> Failure {
    Failure::new(1, format!("there is a pool `{}` already", printable(name)))
}

async fn create(store: &Store, tenant: TenantId, new: NewPool) -> Result<(), Failure> {
    match store.add_pool(tenant, &new, Clock::System.now()).await? {
        PoolAdded::Id(id) => println!("pool `{}` is made, with the id {id}", printable(&new.name)),
        PoolAdded::NameTaken => return Err(taken(&new.name)),
        PoolAdded::Full => {
            return Err(Failure::new(1, format!("there are {POOLS_AT_MOST} pools already")));
        }
    }
    Ok(())
}

/// The SIMs for which names stand, each once.
async fn resolved(
    store: &Store,
    tenant: TenantId,
    source: &str,
    sims: &[String],
) -> Result<Vec<Iccid>, Failure> {
    let names: Vec<&str> = sims.iter().map(String::as_str).collect();
    let found: HashMap<String, Iccid> = store.resolve_sims(tenant, source, &names).await?;
    let mut iccids: Vec<Iccid> = Vec::with_capacity(sims.len());
    for name in sims {
        let iccid = found.get(name).ok_or_else(|| no_sim(name))?;
        if !iccids.contains(iccid) {
            iccids.push(iccid.clone());
        }
    }
    Ok(iccids)
}

fn no_sim(name: &str) -> Failure {
    Failure::new(1, format!("`{}` stands for no SIM, or for more than one", printable(name)))
}

async fn add(
    store: &Store,
    (tenant, id): (TenantId, i32),
    pool: &str,
    joining: &[Joining],
) -> Result<(), Failure> {
    let outcomes = store.join_pool(tenant, id, joining, Clock::System.now()).await?;
    let outcomes = outcomes.ok_or_else(|| unknown(pool))?;
    let (mut added, mut changed, mut kept) = (0, 0, 0);
    for (n, outcome) in outcomes {
        let iccid = &joining[n].iccid;
        match outcome {
            Joined::Added => added += 1,
            Joined::Changed => changed += 1,
            Joined::Kept => kept += 1,
            Joined::Unknown => return Err(Failure::new(1, format!("this tenant has no SIM {iccid}"))),
            Joined::Future => return Err(Failure::new(1, "a SIM joins today or on a day before")),
            Joined::Taken { pool, until } => {
                let until = until.map_or_else(String::new, |day| format!(" until {day}"));
                let pool = printable(&pool);
                return Err(Failure::new(1, format!("SIM {iccid} is in pool `{pool}`{until}")));
            }
        }
    }
    println!(
        "{added} SIMs joined pool `{}`, {changed} have another limit, {kept} were members",
        printable(pool)
    );
    Ok(())
}

/// ICCIDs of members; a SIM that another tenant has by now is known by its ICCID alone.
async fn leaving(
    store: &Store,
    (tenant, id): (TenantId, i32),
    source: &str,
    sims: &[String],
) -> Result<Vec<String>, Failure> {
    let names: Vec<&str> = sims.iter().map(String::as_str).collect();
    let found = store.resolve_sims(tenant, source, &names).await?;
    let mut iccids = Vec::with_capacity(sims.len());
    for name in sims {
        let iccid = found.get(name).map_or(name.as_str(), Iccid::as_str);
        let member = store.pool_member(tenant, id, iccid).await?;
        let gone = || Failure::new(1, format!("`{}` is no member of this pool", printable(name)));
        iccids.push(member.ok_or_else(gone)?);
    }
    Ok(iccids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_may_have_a_unit() {
        for (text, expected) in [
            ("1", 1),
            ("500MB", 500 << 20),
            ("100 GB", 100 << 30),
            ("2TB", 2 << 40),
            ("7B", 7),
            ("1KB", 1024),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for bad in ["", "0", "-1", "1.5GB", "GB", "1gb", "99999999TB", "9007199254740993"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
