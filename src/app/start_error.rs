use thiserror::Error;

use crate::broker::auth::HashError;
use crate::broker::tls::TlsError;
use crate::source::SourceFault;
use crate::store::embedded::EmbeddedError;
use crate::store::{MigrationError, StoreError};
use crate::traces::TracesError;

/// Why the program cannot start. Each is one line; [`StartError::exit_code`] is what the process ends with.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("cannot listen on {address} for {what}: {cause}; choose another address with {flag}")]
    Listen { what: &'static str, address: String, flag: &'static str, cause: std::io::Error },
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    #[error("the database cannot be used: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Migration(#[from] MigrationError),
    #[error("{0}")]
    Refused(&'static str),
    #[error("source.{kind} `{name}`: {fault}")]
    Source { kind: &'static str, name: String, fault: SourceFault },
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Traces(#[from] TracesError),
    #[error("cannot handle signals: {0}")]
    Signals(std::io::Error),
}

impl StartError {
    /// 69 when something that is needed is not available, 78 when a setting has to be corrected (sysexits).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Listen { .. } | Self::Signals(_) => 69,
            Self::Embedded(error) if error.is_unavailable() => 69,
            Self::Embedded(_) | Self::Refused(_) | Self::Source { .. } | Self::Tls(_) | Self::Traces(_) => 78,
            Self::Store(error)
            | Self::Migration(MigrationError::Store(error) | MigrationError::Failed { cause: error, .. }) => {
                store_exit_code(error)
            }
            Self::Migration(_) => 78,
            Self::Hash(_) => 70,
        }
    }
}

/// A login that the database refuses, or a database that does not exist, is a wrong setting; everything else an outage.
fn store_exit_code(error: &StoreError) -> u8 {
    match error.code() {
        Some(code) if code.starts_with("28") || code == "3D000" || code == "42501" => 78,
        _ if matches!(error, StoreError::Config(_)) => 78,
        _ => 69,
    }
}
