//! Directories into which others put files.

use std::sync::Arc;
use std::time::Duration;

use crate::app::StartError;
use crate::config::{Config, FilesSourceConfig};
use crate::domain::TenantId;
use crate::ingest::PipelineOptions;
use crate::source::file::Layout;
use crate::source::file::spool::{SpoolOptions, SpoolParts, SpoolSource};
use crate::source::metrics::SourceKind;

use super::Sources;

const KIND: SourceKind = SourceKind::Files;
const CSV: [&str; 2] = [".csv", ".csv.gz"];
const NDJSON: [&str; 4] = [".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz"];

/// Looks up tenants; nothing is read yet.
pub(super) async fn prepare(sources: Sources<'_>) -> Result<Vec<Arc<SpoolSource>>, StartError> {
    let mut made = Vec::new();
    for source in &sources.config.source.files {
        let tenant = sources.tenant(KIND.as_str(), &source.name, &source.tenant).await?;
        let parts = SpoolParts {
            store: sources.store.clone(),
            clock: sources.clock,
            state: sources.metrics.sources.source(KIND, &source.name, sources.clock),
            metrics: sources.metrics.ingest.clone(),
            database: sources.database.clone(),
        };
        made.push(Arc::new(SpoolSource::new(options(source, sources.config, tenant), parts)));
    }
    Ok(made)
}

fn options(source: &FilesSourceConfig, config: &Config, tenant: TenantId) -> SpoolOptions {
    let mapping = config.file_mapping(&source.mapping);
    let usual = match mapping.as_ref().map(|mapping| mapping.layout) {
        Some(Layout::Csv { .. }) => CSV.to_vec(),
        Some(Layout::Ndjson) => NDJSON.to_vec(),
        None => [&CSV[..], &NDJSON].concat(),
    };
    let endings = match source.endings.is_empty() {
        true => usual.into_iter().map(str::to_owned).collect(),
        false => source.endings.clone(),
    };
    let ingest = config.ingest.pipeline_options();
    SpoolOptions {
        directory: source.directory.clone(),
        mapping: mapping.map(Arc::new),
        endings,
        tenant,
        may_correct: source.may_correct,
        interval: Duration::from_secs(source.interval_seconds),
        settled: Duration::from_secs(source.settled_seconds),
        file_max_bytes: source.file_max_bytes,
        // One writer and a small queue: files are in no hurry, and devices wait for the same disk.
        pipeline: PipelineOptions {
            writers: 1,
            queue_max_messages: ingest.batch.max_messages * 2,
            queue_max_bytes: u32::try_from(ingest.batch.max_bytes * 2).unwrap_or(u32::MAX),
            ..ingest
        },
        grace: Duration::from_millis(config.shutdown.grace_ms),
    }
}
