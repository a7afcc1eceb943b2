//! What directories count beside what all sources do.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::store::file_imports::Committed;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RowLabel {
    source: String,
    outcome: &'static str,
}

/// Metrics of all directories.
#[derive(Debug, Default)]
pub(crate) struct FileMetrics {
    done: Family<SourceLabel, Counter>,
    failed: Family<SourceLabel, Counter>,
    waiting: Family<SourceLabel, Gauge>,
    oldest_seconds: Family<SourceLabel, Gauge<f64, AtomicU64>>,
    rows: Family<RowLabel, Counter>,
}

/// What one directory counts and tells.
#[derive(Debug)]
pub(crate) struct FileCounts {
    done: Counter,
    failed: Counter,
    waiting: Gauge,
    oldest_seconds: Gauge<f64, AtomicU64>,
    stored: Counter,
    duplicate: Counter,
    parked: Counter,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    /// The last change of the oldest file that waits.
    oldest: Option<DateTime<Utc>>,
    reading: Option<String>,
}

/// How a directory stands.
#[derive(Clone, Debug)]
pub(crate) struct FilesSnapshot {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) waiting: i64,
    pub(crate) oldest_waiting_seconds: f64,
    pub(crate) rows_stored: u64,
    pub(crate) rows_duplicate: u64,
    pub(crate) rows_parked: u64,
    /// The file that is being imported.
    pub(crate) reading: Option<String>,
}

impl FileMetrics {
    /// `registry` is that of all sources.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("files_done", "Files that were imported to their end", self.done.clone());
        registry.register(
            "files_failed",
            "Files that could not be used; beside each stands why",
            self.failed.clone(),
        );
        registry.register("files_waiting", "Files that are to be imported", self.waiting.clone());
        registry.register(
            "oldest_waiting_file_seconds",
            "Time since the oldest of them was changed",
            self.oldest_seconds.clone(),
        );
        registry.register("file_rows", "Rows of files that are committed, by outcome", self.rows.clone());
    }

    pub(crate) fn of(&self, source: &str) -> Arc<FileCounts> {
        let label = SourceLabel { source: source.into() };
        let rows = |outcome| self.rows.get_or_create(&RowLabel { source: source.into(), outcome }).clone();
        Arc::new(FileCounts {
            done: self.done.get_or_create(&label).clone(),
            failed: self.failed.get_or_create(&label).clone(),
            waiting: self.waiting.get_or_create(&label).clone(),
            oldest_seconds: self.oldest_seconds.get_or_create(&label).clone(),
            stored: rows("stored"),
            duplicate: rows("duplicate"),
            parked: rows("parked"),
            now: Mutex::default(),
        })
    }
}

impl FileCounts {
    pub(super) fn waiting(&self, files: usize, oldest: Option<i64>) {
        self.waiting.set(i64::try_from(files).unwrap_or(i64::MAX));
        self.lock().oldest = oldest.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    }

    pub(super) fn reading(&self, file: Option<&str>) {
        self.lock().reading = file.map(str::to_owned);
    }

    pub(super) fn done(&self) {
        self.done.inc();
    }

    pub(super) fn failed(&self) {
        self.failed.inc();
    }

    /// Rows that were committed since `before`; how many.
    pub(super) fn rows(&self, before: &Committed, now: &Committed) -> u64 {
        let stored = now.stored - before.stored;
        let duplicate = now.duplicate - before.duplicate;
        let parked = now.parked - before.parked;
        self.stored.inc_by(stored);
        self.duplicate.inc_by(duplicate);
        self.parked.inc_by(parked);
        stored + duplicate + parked
    }

    /// Brings up to date what changes by itself.
    pub(crate) fn refresh(&self, now: DateTime<Utc>) {
        self.oldest_seconds.set(self.oldest_age(now));
    }

    fn oldest_age(&self, now: DateTime<Utc>) -> f64 {
        let oldest = self.lock().oldest;
        oldest.map_or(0.0, |oldest| (now - oldest).as_seconds_f64().max(0.0))
    }

    pub(crate) fn snapshot(&self, now: DateTime<Utc>) -> FilesSnapshot {
        FilesSnapshot {
            done: self.done.get(),
            failed: self.failed.get(),
            waiting: self.waiting.get(),
            oldest_waiting_seconds: self.oldest_age(now),
            rows_stored: self.stored.get(),
            rows_duplicate: self.duplicate.get(),
            rows_parked: self.parked.get(),
            reading: self.lock().reading.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
