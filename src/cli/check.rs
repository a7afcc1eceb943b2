use std::process::ExitCode;

use crate::config::Loaded;

use super::failure::Failure;

/// The configuration was checked when it was loaded; what remains is to show it.
pub(super) fn run(loaded: &Loaded) -> Result<ExitCode, Failure> {
    print!("{loaded}");
    Ok(ExitCode::SUCCESS)
}
