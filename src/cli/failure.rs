use std::fmt;
use std::process::ExitCode;

use crate::app::StartError;
use crate::config::ConfigError;
use crate::store::StoreError;

/// Why a command ends early: one line for people and an exit code for scripts.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    pub(super) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages of PostgreSQL may span lines; the first says what is wrong.
        f.write_str(self.message.lines().next().unwrap_or_default())
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        failure.code.into()
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(78, error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::new(error.exit_code(), error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error.code() {
            Some("42501") => {
                Self::new(78, format!("this login may not do that, one with the role serve may: {error}"))
            }
            _ => StartError::from(error).into(),
        }
    }
}
