use std::process::ExitCode;

use chrono::{DateTime, NaiveDate, Utc};
use clap::{ArgGroup, Args};

use crate::domain::{Clock, Iccid};
use crate::store::Store;
use crate::store::sim_moves::{Moved, SimMove};

use super::failure::Failure;
use super::sims::{iccid, tenant_id};
use super::table::printable;

#[derive(Args, Debug)]
#[command(group(ArgGroup::new("to").required(true).multiple(true).args(["tenant", "carrier", "plan"])))]
pub(super) struct MoveArgs {
    #[arg(value_parser = iccid)]
    iccid: Iccid,
    /// Tenant that has the SIM from then on; without --plan it has no plan there
    #[arg(long)]
    tenant: Option<String>,
    /// Carrier of the SIM from then on; one that is not known yet is added
    #[arg(long, value_parser = carrier_name)]
    carrier: Option<String>,
    /// Rate plan of the (new) tenant
    #[arg(long)]
    plan: Option<String>,
    /// Since when: a moment such as 2026-03-05T10:00:00Z, or a day, which begins at midnight in the (new) tenant's time
    /// zone [default: now]
    #[arg(long, value_parser = since)]
    from: Option<Since>,
}

#[derive(Clone, Copy, Debug)]
enum Since {
    Moment(DateTime<Utc>),
    Day(NaiveDate),
}

/// As an import demands it.
fn carrier_name(text: &str) -> Result<String, &'static str> {
    let valid = !text.trim().is_empty() && text.chars().count() <= 200;
    if valid { Ok(text.trim().to_owned()) } else { Err("a carrier has a name of 1 to 200 characters") }
}

fn since(text: &str) -> Result<Since, &'static str> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(Since::Moment(moment.to_utc()));
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .map(Since::Day)
        .map_err(|_| "a moment is written 2026-03-05T10:00:00Z, a day 2026-03-05")
}

pub(super) async fn run(store: &Store, args: MoveArgs) -> Result<ExitCode, Failure> {
    let now = Clock::System.now();
    let tenant = match &args.tenant {
        Some(name) => Some(tenant_id(store, name).await?),
        None => None,
    };
    let unknown = || Failure::new(1, format!("there is no SIM {} in the inventory", args.iccid));
    let from = match args.from {
        None => now,
        Some(Since::Moment(moment)) => moment,
        Some(Since::Day(day)) => store.day_start(tenant, &args.iccid, day).await?.ok_or_else(unknown)?,
    };
    let to = SimMove {
        iccid: args.iccid.clone(),
        tenant,
        carrier: args.carrier.clone(),
        rate_plan: args.plan.clone(),
        from,
    };
    match store.move_sim(&to, now).await? {
        Moved::Done { records } => {
            println!("SIM {} since {}: {}", args.iccid, from.format("%F %T UTC"), what_counts(&args));
            println!("{records} records count elsewhere now");
            Ok(ExitCode::SUCCESS)
        }
        Moved::UnknownSim => Err(unknown()),
        Moved::UnknownPlan => {
            let tenant =
                args.tenant.as_ref().map_or("the SIM's tenant".into(), |name| format!("tenant `{name}`"));
            let plan = printable(args.plan.as_deref().unwrap_or_default());
            Err(Failure::new(1, format!("{tenant} has no rate plan `{plan}`")))
        }
    }
}

fn what_counts(args: &MoveArgs) -> String {
    let tenant = args.tenant.as_ref().map(|name| format!("tenant {}", printable(name)));
    let carrier = args.carrier.as_ref().map(|name| format!("carrier {}", printable(name)));
    let plan = args.plan.as_ref().map(|name| format!("plan {}", printable(name)));
    [tenant, carrier, plan].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
