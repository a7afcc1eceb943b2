use std::process::ExitCode;

use crate::app::{Database, Owner, StartError};
use crate::config::Loaded;

use super::failure::Failure;

pub(super) async fn run(loaded: &Loaded) -> Result<ExitCode, Failure> {
    let database = Database::open(&loaded.config, Owner::Command).await?;
    let migrated = database.store.migrate().await;
    database.close().await;
    let migrated = migrated.map_err(StartError::from)?;
    match migrated.applied {
        0 => println!("schema version {}: up to date", migrated.version),
        applied => println!("schema version {}: {applied} migrations applied", migrated.version),
    }
    Ok(ExitCode::SUCCESS)
}
