//! What brings records in, beside the embedded broker.

pub mod file;
pub mod metrics;
pub mod mqtt;
pub mod radius;
pub(crate) mod readings;

use thiserror::Error;

/// A setting of a source that cannot be used.
#[derive(Debug, Error)]
#[error("{key}: {problem}")]
pub struct SourceFault {
    pub key: &'static str,
    pub problem: String,
}
