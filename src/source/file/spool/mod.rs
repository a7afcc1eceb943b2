//! Directories into which others put files of usage.
//!
//! Every instance looks who is there and who has stopped growing; one at a time imports (`source_leases`). Whether a file was
//! imported is known by its content (`file_imports`), in the same database as its rows; where it lies is only for people. So a
//! kill between the last commit and the move leaves a file that is recognised, and moved then.

mod listing;
pub(crate) mod metrics;
mod putting_away;
mod taking;
mod turn;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::domain::{Clock, TenantId};
use crate::ingest::metrics::IngestMetrics;
use crate::ingest::queue::IngestQueue;
use crate::ingest::{DatabaseState, PipelineOptions};
use crate::source::Source;
use crate::source::metrics::SourceState;
use crate::store::Store;
use crate::store::source_leases::LeaseKey;

use super::FileMapping;
use listing::Sightings;
use taking::Settled;

/// How a directory is read.
pub struct SpoolOptions {
    pub directory: PathBuf,
    /// For files of another system.
    pub mapping: Option<Arc<FileMapping>>,
    /// Of the names of files that are taken, with their dots.
    pub endings: Vec<String>,
    pub tenant: TenantId,
    pub may_correct: bool,
    pub interval: Duration,
    /// How long a file must not have changed.
    pub settled: Duration,
    /// Of one file, unpacked.
    pub file_max_bytes: u64,
    /// Of one file at a time.
    pub pipeline: PipelineOptions,
    /// How long what was read has to be committed after a stop.
    pub grace: Duration,
}

/// What a directory is read with.
#[derive(Clone)]
pub(crate) struct SpoolParts {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) state: Arc<SourceState>,
    pub(crate) metrics: Arc<IngestMetrics>,
    pub(crate) database: DatabaseState,
}

/// A directory whose files are imported.
pub struct SpoolSource {
    options: SpoolOptions,
    parts: SpoolParts,
    lease: LeaseKey,
    /// One turn at a time.
    notes: Mutex<Notes>,
}

/// What is remembered from one look to the next.
#[derive(Default)]
struct Notes {
    sightings: Sightings,
    /// Files that are done with and could not be moved yet.
    unmoved: HashMap<String, Settled>,
    /// What was said of a file, or of the directory under an empty name.
    said: HashMap<String, String>,
}

impl Source for SpoolSource {
    fn state(&self) -> &SourceState {
        &self.parts.state
    }

    /// Imports until `soft`, when what was read is stored still, or until `hard`.
    async fn run(self: Arc<Self>, _: IngestQueue, soft: CancellationToken, hard: CancellationToken) {
        tokio::select! {
            () = hard.cancelled() => {}
            () = self.keep_reading(&soft) => {}
        }
        self.parts.state.stopped();
    }
}

impl SpoolSource {
    pub(crate) fn new(options: SpoolOptions, parts: SpoolParts) -> Self {
        let holder = format!("{:032x}", rand::random::<u128>());
        let lease = LeaseKey { source: parts.state.name().into(), holder };
        Self { options, parts, lease, notes: Mutex::default() }
    }
}
