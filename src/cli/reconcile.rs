use std::process::ExitCode;

use crate::app::{Database, Owner, StartError};
use crate::config::Loaded;
use crate::store::reconcile::{COUNTED, Reconciliation};

use super::failure::Failure;
use super::table::printable;

pub(super) async fn run(loaded: &Loaded) -> Result<ExitCode, Failure> {
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let result = async {
        database.store.migrate().await.map_err(StartError::from)?;
        Ok::<_, StartError>(database.store.reconcile().await?)
    }
    .await;
    database.close().await;
    let reconciliation = result?;
    print(&reconciliation);
    Ok(if reconciliation.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One line for each invariant and one for each violation shown.
pub(super) fn print(reconciliation: &Reconciliation) {
    println!(
        "{} records, {} bytes, {} SIMs, {} cycles, {} parked",
        reconciliation.records,
        reconciliation.total_bytes,
        reconciliation.sims,
        reconciliation.cycles,
        reconciliation.parked
    );
    for result in &reconciliation.results {
        let verdict = match result.violations {
            0 => "holds".to_owned(),
            COUNTED => format!("{COUNTED} OR MORE VIOLATIONS"),
            count => format!("{count} VIOLATIONS"),
        };
        println!("{:<3} {verdict:<14} {}", result.name, result.meaning);
        for violation in &result.shown {
            println!("      {}", printable(violation));
        }
    }
}
