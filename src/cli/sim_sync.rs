use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::domain::{Clock, Iccid};
use crate::store::Store;
use crate::store::sim_diagnosis::SimDiagnosis;
use crate::store::sim_repair::SimRepair;

use super::failure::Failure;
use super::sims::{iccid, tenant_id};
use super::table::printable;
use super::{amounts, sim_report};

/// As long as a run of roll-ups may take; batches wait meanwhile.
const REPAIR_LIMIT: Duration = Duration::from_secs(600);

#[derive(Args, Debug)]
pub(super) struct SyncArgs {
    #[arg(value_parser = iccid)]
    iccid: Iccid,
    /// Make what differs right, from the records: in one transaction, while batches and roll-ups wait
    #[arg(long)]
    repair: bool,
    /// Only if the SIM is this tenant's
    #[arg(long)]
    tenant: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--repair --json` prints.
#[derive(Serialize)]
struct Repaired<'d> {
    before: &'d SimDiagnosis,
    repair: SimRepair,
    after: &'d SimDiagnosis,
}

pub(super) async fn run(store: &Store, args: SyncArgs) -> Result<ExitCode, Failure> {
    if let Some(name) = &args.tenant {
        tenant_id(store, name).await?;
    }
    let before = store.diagnose_sim(&args.iccid).await?;
    let Some(sim) = &before.sim else {
        return unknown(&before, args.json);
    };
    if let Some(wanted) = args.tenant.filter(|wanted| *wanted != sim.tenant) {
        let problem = format!("SIM {} is not of tenant `{}`", args.iccid, printable(&wanted));
        return Err(Failure::new(1, problem));
    }
    if before.agrees || !args.repair {
        if args.json {
            print_json(&before)?;
        } else {
            print!("{}\n{}", sim_report::diagnosis(&before), sim_report::verdict(&before));
        }
        return Ok(exit_code(&before));
    }
    let repair = store.repair_sim(&args.iccid, Clock::System.now(), REPAIR_LIMIT).await?;
    let after = store.diagnose_sim(&args.iccid).await?;
    if args.json {
        print_json(&Repaired { before: &before, repair, after: &after })?;
    } else {
        print!("{}\n{}", sim_report::diagnosis(&before), sim_report::verdict(&before));
        print!("\n{}", sim_report::repair(&before, repair, &after));
        print!("\n{}", sim_report::verdict(&after));
    }
    Ok(exit_code(&after))
}

fn exit_code(diagnosis: &SimDiagnosis) -> ExitCode {
    if diagnosis.agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value);
    println!("{}", text.map_err(|cause| Failure::new(70, format!("cannot print JSON: {cause}")))?);
    Ok(())
}

/// An ICCID that is not in the inventory: what there is of it all the same.
fn unknown(diagnosis: &SimDiagnosis, json: bool) -> Result<ExitCode, Failure> {
    if json {
        print_json(diagnosis)?;
        return Ok(ExitCode::FAILURE);
    }
    let records = match diagnosis.records.without_owner {
        0 => "no record of it is stored".to_owned(),
        count => format!(
            "{count} records of it, {}, are stored without an owner and count as soon as the SIM is imported",
            amounts::bytes(diagnosis.records.without_owner_bytes)
        ),
    };
    let parked = match sim_report::parked(&diagnosis.parked) {
        none if none.is_empty() => "none is parked".to_owned(),
        some => format!("parked: {some}"),
    };
    let problem = format!("there is no SIM {} in the inventory; {records}; {parked}", diagnosis.iccid);
    Err(Failure::new(1, problem))
}
