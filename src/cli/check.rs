use std::process::ExitCode;

use crate::app::StartError;
use crate::broker::tls::Tls;
use crate::config::Loaded;

use super::failure::Failure;

/// The configuration was checked when it was loaded; what remains is to show it, and to look into the files that it names.
pub(super) fn run(loaded: &Loaded) -> Result<ExitCode, Failure> {
    print!("{loaded}");
    let mqtt = &loaded.config.mqtt;
    if mqtt.is_encrypted() {
        Tls::load(&mqtt.tls).map_err(StartError::from)?;
    }
    Ok(ExitCode::SUCCESS)
}
