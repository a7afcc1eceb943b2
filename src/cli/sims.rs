use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::app::{DEFAULT_TENANT, Database, Owner, StartError};
use crate::config::Loaded;
use crate::domain::{Clock, Iccid, TenantId};
use crate::inventory::{self, RowFault};
use crate::store::Store;
use crate::store::sims::{IMPORT_CHUNK, Imported, SimRow};

use super::failure::Failure;
use super::{sim_move, sim_sync, table};

const PAGE: i64 = 1_000;
/// Faulty rows that are printed; all are counted.
const SHOWN_FAULTS: usize = 20;

#[derive(Debug, Subcommand)]
pub(super) enum SimsCommand {
    /// Add or change SIMs from a CSV file with a header; records that came before their SIM now count in its cycles
    ///
    /// Columns: iccid (required), imsi, msisdn, carrier, mccmnc, rate_plan, included_bytes, price_per_mb, currency,
    /// data_limit_bytes, customer_id, status, device_name, latitude, longitude, location_name, cycle_day. A column that
    /// is missing or empty leaves what is stored. A row at fault is reported with its line; the others are imported.
    Import {
        /// CSV file, or - for standard input
        file: PathBuf,
        #[arg(long, default_value = DEFAULT_TENANT.1)]
        tenant: String,
    },
    /// List SIMs with the usage of their current cycle
    List {
        #[arg(long, default_value = DEFAULT_TENANT.1)]
        tenant: String,
    },
    /// Let another tenant, carrier or plan count for a SIM from a moment on, also a past one
    ///
    /// Its records since then, their cycles and all their sums follow in the same transaction. What was noted for later
    /// moments is forgotten.
    Move(sim_move::MoveArgs),
    /// Compare everything that is held of one SIM with its records, and repair it; exit code 1 when something differs
    ///
    /// For support: the SIM, its plan, limit and cycle, totals of cycles and days against the sums of the records, what is not
    /// rolled up yet, parked or without an owner, and the last records, all as of one moment.
    Sync(sim_sync::SyncArgs),
}

pub(super) async fn run(command: SimsCommand, loaded: &Loaded) -> Result<ExitCode, Failure> {
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let result = on(command, &database.store, loaded).await;
    database.close().await;
    result
}

async fn on(command: SimsCommand, store: &Store, loaded: &Loaded) -> Result<ExitCode, Failure> {
    store.migrate().await.map_err(StartError::from)?;
    store.ensure_partitions(Clock::System.now(), loaded.config.ingest.max_age_days.into()).await?;
    match command {
        SimsCommand::Import { file, tenant } => {
            let tenant = tenant_id(store, &tenant).await?;
            let input: Box<dyn Read> = if file.as_os_str() == "-" {
                Box::new(std::io::stdin().lock())
            } else {
                let cannot = |e| Failure::new(2, format!("cannot read {}: {e}", file.display()));
                Box::new(File::open(&file).map_err(cannot)?)
            };
            import(store, tenant, input).await
        }
        SimsCommand::List { tenant } => list(store, tenant_id(store, &tenant).await?).await,
        SimsCommand::Move(args) => sim_move::run(store, args).await,
        SimsCommand::Sync(args) => sim_sync::run(store, args).await,
    }
}

/// For the command line.
pub(super) fn iccid(text: &str) -> Result<Iccid, &'static str> {
    Iccid::parse(text).ok_or("an ICCID is 10 to 20 digits")
}

pub(super) async fn tenant_id(store: &Store, name: &str) -> Result<TenantId, Failure> {
    store.tenant_by_name(name).await?.ok_or_else(|| Failure::new(1, format!("there is no tenant `{name}`")))
}

async fn import(store: &Store, tenant: TenantId, input: Box<dyn Read>) -> Result<ExitCode, Failure> {
    let mut rows = inventory::read_csv(input).map_err(|e| Failure::new(1, e.to_string()))?;
    let mut total = Imported::default();
    let mut faults = 0;
    let mut report = |fault: RowFault| {
        faults += 1;
        if faults <= SHOWN_FAULTS {
            eprintln!("{fault}");
        }
    };
    loop {
        let chunk = next_chunk(&mut rows, &mut report);
        if chunk.is_empty() {
            break;
        }
        let done = store.import_sims(tenant, &chunk, Clock::System.now()).await?;
        total.created += done.created;
        total.updated += done.updated;
        total.foreign += done.foreign;
        total.stamped += done.stamped;
    }
    println!(
        "{} SIMs added, {} changed; {} waiting records now count; {faults} rows at fault, {} held by another tenant",
        total.created, total.updated, total.stamped, total.foreign
    );
    Ok(if faults == 0 && total.foreign == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The next good rows with no ICCID twice; empty at the end.
fn next_chunk(
    rows: &mut impl Iterator<Item = Result<SimRow, RowFault>>,
    report: &mut impl FnMut(RowFault),
) -> Vec<SimRow> {
    let mut chunk: Vec<SimRow> = Vec::with_capacity(IMPORT_CHUNK);
    let mut seen = HashSet::new();
    for row in rows {
        match row {
            Ok(row) if seen.insert(row.iccid.clone()) => chunk.push(row),
            Ok(row) => {
                // A SIM that stands twice: the later row counts, as it would in another chunk.
                if let Some(held) = chunk.iter_mut().find(|held| held.iccid == row.iccid) {
                    *held = row;
                }
            }
            Err(fault) => report(fault),
        }
        if chunk.len() == IMPORT_CHUNK {
            break;
        }
    }
    chunk
}

async fn list(store: &Store, tenant: TenantId) -> Result<ExitCode, Failure> {
    let mut after = String::new();
    let text = |value: Option<String>| table::printable(&value.unwrap_or_else(|| "-".into()));
    loop {
        let page = store.list_sims(tenant, &after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.iccid);
        let rows: Vec<Vec<String>> = page
            .into_iter()
            .map(|sim| {
                vec![
                    sim.sim_id,
                    sim.iccid,
                    text(sim.msisdn),
                    table::printable(&sim.status),
                    text(sim.carrier),
                    text(sim.rate_plan),
                    text(sim.cycle_id),
                    text(sim.total_bytes),
                    text(sim.data_limit_bytes.map(|limit| limit.to_string())),
                ]
            })
            .collect();
        table::print(
            &["SIM", "ICCID", "MSISDN", "STATUS", "CARRIER", "PLAN", "CYCLE", "BYTES", "LIMIT"],
            &rows,
        );
    }
    Ok(ExitCode::SUCCESS)
}
