//! What brings records in, beside the embedded broker.

mod amount;
mod counting;
pub mod file;
pub mod metrics;
pub mod mqtt;
pub mod openvpn;
pub mod panel;
mod phase;
pub mod radius;
pub mod readings;
mod turns;

use std::sync::Arc;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::ingest::queue::IngestQueue;
use crate::outgoing::TlsFault;
use metrics::SourceState;

/// What brings records in until it is stopped.
pub(crate) trait Source: Send + Sync + 'static {
    fn state(&self) -> &SourceState;

    /// Runs until `soft` and everything that was received is acknowledged, or until `hard`.
    fn run(
        self: Arc<Self>,
        queue: IngestQueue,
        soft: CancellationToken,
        hard: CancellationToken,
    ) -> impl Future<Output = ()> + Send;
}

/// A setting of a source that cannot be used.
#[derive(Debug, Error)]
#[error("{key}: {problem}")]
pub struct SourceFault {
    pub key: &'static str,
    pub problem: String,
}

impl From<TlsFault> for SourceFault {
    fn from(TlsFault { key, problem }: TlsFault) -> Self {
        Self { key, problem }
    }
}
