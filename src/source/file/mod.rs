//! Usage history from CSV and NDJSON files.
//!
//! A file is one more sender: each row becomes a message of the ingest pipeline, so that what is stored, recognised or parked
//! is decided where it is decided for devices. All rows of a SIM take the same lane, a pipeline with one writer: a correction
//! finds the record above it, and of two rows with one key the first one is stored.

mod columns;
mod csv_row;
mod input;
mod lanes;
mod ledger;
mod rows;
mod run;

use std::io;
use std::path::Path;

use chrono::{DateTime, Utc};
use thiserror::Error;

use crate::domain::TenantId;
use crate::ingest::queue::QueueClosed;
use crate::store::file_imports::{Committed, FileImport};
use crate::store::{Store, StoreError};

pub use columns::HeaderFault;
use input::Input;
use rows::{Position, Rows};
pub use run::{Progress, Report, RunOptions};

/// How the rows of a file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180 with a header.
    Csv,
    /// One JSON record a line, as over MQTT.
    Ndjson,
}

/// For whom a file is imported, and how.
#[derive(Clone, Copy, Debug)]
pub struct ImportRequest {
    pub tenant: TenantId,
    /// Accept signed corrections.
    pub may_correct: bool,
    /// Begin at the start of a file of which all or a part was imported before.
    pub again: bool,
}

/// Why a file is not imported, or not to its end.
#[derive(Debug, Error)]
pub enum ImportError {
    #[error("cannot read {name}: {cause}")]
    Read { name: String, cause: io::Error },
    #[error("{name}: {fault}")]
    Header { name: String, fault: HeaderFault },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stopped(#[from] QueueClosed),
}

/// A file that can be read, its header checked.
pub struct UsageFile(Rows);

/// What is to be done with a file.
pub enum Opened {
    /// All of it was imported before.
    Finished {
        at: DateTime<Utc>,
        counts: Committed,
    },
    Ready(Box<Import>),
}

/// A file at the place from which it is to be imported.
pub struct Import {
    rows: Rows,
    request: ImportRequest,
    /// Its entry in the database; `None` for a stream, which leaves none.
    entry: Option<i64>,
    /// What earlier imports committed.
    before: Committed,
}

impl UsageFile {
    /// Opens a file, a pipe, or standard input for `-`. Without a stated format the ending of its name decides, or its first
    /// byte.
    ///
    /// # Errors
    /// [`ImportError`] when it cannot be read or its header does not fit.
    pub async fn open(path: &Path, format: Option<Format>) -> Result<Self, ImportError> {
        let input = Input::open(path).await?;
        let format = format.or_else(|| by_name(&input.name));
        Ok(Self(Rows::open(input, format).await?))
    }

    /// The file's name without its directory.
    pub fn name(&self) -> &str {
        &self.0.input().name
    }

    /// Bytes of the whole file; `None` for a stream.
    pub fn size(&self) -> Option<u64> {
        self.0.input().identity.as_ref().map(|identity| identity.size)
    }

    /// Finds out how far the file was imported before, and goes there.
    ///
    /// # Errors
    /// [`ImportError`] when the database or the file cannot be read.
    pub async fn import(self, request: ImportRequest, store: &Store) -> Result<Opened, ImportError> {
        let Self(mut rows) = self;
        let (mut entry, mut before) = (None, Committed::default());
        if let Some(identity) = &rows.input().identity {
            let known = store.open_file_import(request.tenant, identity).await?;
            let FileImport { id, committed, finished_at } = known;
            entry = Some(id);
            match finished_at {
                _ if request.again => store.restart_file_import(id).await?,
                Some(at) => return Ok(Opened::Finished { at, counts: committed }),
                None => before = committed,
            }
        }
        rows.resume(Position { bytes: before.bytes, lines: before.lines }).await?;
        Ok(Opened::Ready(Box::new(Import { rows, request, entry, before })))
    }
}

impl Import {
    /// The line at which this import begins, when an earlier one got that far.
    pub fn resumes_at(&self) -> Option<u64> {
        (self.before.bytes > 0).then_some(self.before.lines + 1)
    }

    /// What earlier imports of the file committed.
    pub fn before(&self) -> Committed {
        self.before
    }
}

fn by_name(name: &str) -> Option<Format> {
    match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
        "csv" => Some(Format::Csv),
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        _ => None,
    }
}
