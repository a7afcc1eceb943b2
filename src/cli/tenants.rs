use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};

use crate::app::{Database, Owner, StartError};
use crate::config::Loaded;
use crate::store::Store;
use crate::store::tenants::{TenantChange, TenantSummary};

use super::failure::Failure;
use super::table::{self, printable};

#[derive(Debug, Subcommand)]
pub(super) enum TenantsCommand {
    /// List tenants with their billing time zone and currency
    List,
    /// Add a tenant; unless stated, its time zone is UTC and its currency CHF
    Add {
        /// Lower case letters, digits, - and _: also its level in usage topics
        #[arg(value_parser = tenant_name)]
        name: String,
        #[command(flatten)]
        terms: Terms,
    },
    /// Change the time zone or the currency of a tenant
    ///
    /// After a change of the time zone its days move to the new one, SIM after SIM, as roll-ups run; cycles that exist keep
    /// their bounds. The currency stays while there are rate plans in it.
    #[command(group(ArgGroup::new("terms").required(true).multiple(true).args(["time_zone", "currency"])))]
    Set {
        name: String,
        #[command(flatten)]
        terms: Terms,
    },
}

#[derive(Args, Debug)]
pub(super) struct Terms {
    /// Billing time zone, for example Europe/Zurich: decides in which day, month and cycle a record falls
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// ISO 4217 code in which amounts are shown
    #[arg(long, value_name = "CODE", value_parser = currency)]
    currency: Option<String>,
}

/// As the table demands it (`tenants_name_form`).
fn tenant_name(text: &str) -> Result<String, &'static str> {
    let of = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let valid = (1..=63).contains(&text.len())
        && text.bytes().all(|byte| of(byte) || byte == b'-' || byte == b'_')
        && text.bytes().next().is_some_and(of);
    if valid {
        Ok(text.to_owned())
    } else {
        Err("1 to 63 lower case letters, digits, - and _, the first one a letter or digit")
    }
}

fn currency(text: &str) -> Result<String, &'static str> {
    let valid = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    if valid { Ok(text.to_owned()) } else { Err("an ISO 4217 code such as CHF is three capital letters") }
}

pub(super) async fn run(command: TenantsCommand, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let result = on(command, &database.store).await;
    database.close().await;
    result
}

async fn on(command: TenantsCommand, store: &Store) -> Result<ExitCode, Failure> {
    store.migrate().await.map_err(StartError::from)?;
    match command {
        TenantsCommand::List => list(store.tenants().await?),
        TenantsCommand::Add { name, terms } => add(store, &name, terms).await?,
        TenantsCommand::Set { name, terms } => set(store, &name, terms).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(tenants: Vec<TenantSummary>) {
    let rows: Vec<Vec<String>> = tenants
        .into_iter()
        .map(|tenant| {
            let change = tenant.zone_change.map_or("-".into(), |change| {
                format!("{} SIMs to move from {}", change.sims_to_move, change.former_zone)
            });
            vec![
                tenant.name,
                tenant.time_zone,
                tenant.currency,
                tenant.sims.to_string(),
                tenant.rate_plans.to_string(),
                change,
            ]
        })
        .collect();
    table::print(&["TENANT", "TIME ZONE", "CURRENCY", "SIMS", "PLANS", "CHANGE OF ZONE"], &rows);
}

async fn add(store: &Store, name: &str, terms: Terms) -> Result<(), Failure> {
    let zone = known_zone(store, terms.time_zone).await?;
    let added = store.add_tenant(name, zone.as_deref(), terms.currency.as_deref()).await?;
    let (zone, currency) =
        added.ok_or_else(|| Failure::new(1, format!("there is a tenant `{name}` already")))?;
    println!("tenant `{name}` added: bills in {currency}, days begin in {zone}");
    Ok(())
}

async fn set(store: &Store, name: &str, terms: Terms) -> Result<(), Failure> {
    let zone = known_zone(store, terms.time_zone).await?;
    let change = store.set_tenant(name, zone.as_deref(), terms.currency.as_deref()).await?;
    let name = printable(name);
    match change {
        TenantChange::Done { former_zone, former_currency } => {
            if let Some(currency) = terms.currency {
                println!("tenant `{name}` bills in {currency} (before: {former_currency})");
            }
            match zone {
                Some(zone) if zone == former_zone => {
                    println!("days of tenant `{name}` begin in {zone} already")
                }
                Some(zone) => println!(
                    "days of tenant `{name}` begin in {zone} (before: {former_zone}): they move, SIM after SIM, as roll-ups \
                     run; `simbridge tenants list` says how many are left. Cycles that exist keep their bounds"
                ),
                None => {}
            }
            Ok(())
        }
        TenantChange::UnknownTenant => Err(Failure::new(1, format!("there is no tenant `{name}`"))),
        TenantChange::PlansInOtherCurrency { currency } => {
            let problem = format!(
                "tenant `{name}` has rate plans in {currency}, and what was billed by them stands: its currency cannot be changed"
            );
            Err(Failure::new(1, problem))
        }
        TenantChange::ZoneBusy(problem) => Err(Failure::new(1, problem)),
    }
}

/// As PostgreSQL spells it.
async fn known_zone(store: &Store, wanted: Option<String>) -> Result<Option<String>, Failure> {
    let Some(wanted) = wanted else { return Ok(None) };
    let known = store.time_zone(&wanted).await?;
    let unknown = || {
        let wanted = printable(&wanted);
        Failure::new(1, format!("PostgreSQL knows no time zone `{wanted}`; names look like Europe/Zurich"))
    };
    known.map(Some).ok_or_else(unknown)
}
