//! Usage history from CSV and NDJSON files.
//!
//! A file is one more sender: each row becomes a message of the ingest pipeline, so that what is stored, recognised or parked
//! is decided where it is decided for devices. All rows of a SIM take the same lane, a pipeline with one writer: a correction
//! finds the record above it, and of two rows with one key the first one is stored.

mod columns;
mod csv_row;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod gzip;
mod input;
mod lanes;
mod ledger;
mod mapped;
mod mapping;
mod resolving;
mod rows;
mod run;
pub mod spool;
mod stamp;
mod times;

use std::io;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use thiserror::Error;

use crate::domain::TenantId;
use crate::ingest::queue::QueueClosed;
use crate::store::file_imports::{Committed, FileImport};
use crate::store::{Store, StoreError};

pub use columns::HeaderFault;
use input::Input;
pub use mapping::{EndPlace, FieldPlaces, FileMapping, Layout, Places, SimPlace, Value};
use rows::{Position, Rows};
pub use run::{Progress, Report, RunOptions};
use stamp::Stamp;
pub use times::{TimeFormat, TimeFormatFault};

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
    #[error("{name} holds more than {max_bytes} bytes")]
    TooLarge { name: String, max_bytes: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stopped(#[from] QueueClosed),
}

impl ImportError {
    /// The file itself cannot be used, today or tomorrow; otherwise another attempt may end better.
    pub(crate) fn is_of_the_file(&self) -> bool {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match self {
            Self::Header { .. } | Self::TooLarge { .. } => true,
            // What is packed is damaged.
            Self::Read { cause, .. } => {
                matches!(cause.kind(), InvalidData | InvalidInput | UnexpectedEof)
            }
            Self::Store(_) | Self::Stopped(_) => false,
        }
    }
}

/// A file that can be read, its header checked.
pub struct UsageFile {
    rows: Rows,
    /// How a file of another system is read.
    mapping: Option<Arc<FileMapping>>,
}

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
    mapping: Option<Arc<FileMapping>>,
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
        Ok(Self { rows: Rows::open(input, format).await?, mapping: None })
    }

    /// Opens a file of another system, or a pipe, or standard input for `-`.
    ///
    /// # Errors
    /// [`ImportError`] when it cannot be read or lacks what the mapping names.
    pub async fn open_mapped(path: &Path, mapping: Arc<FileMapping>) -> Result<Self, ImportError> {
        Self::begin(Input::open(path).await?, Some(mapping)).await
    }

    /// Opens a file that nobody looks after, of at most so many bytes. Also what tells it from another file of its name.
    async fn open_unattended(
        path: &Path,
        mapping: Option<Arc<FileMapping>>,
        max_bytes: u64,
    ) -> Result<(Self, Stamp), ImportError> {
        let (input, stamp) = Input::open_unattended(path, max_bytes).await?;
        Ok((Self::begin(input, mapping).await?, stamp))
    }

    async fn begin(input: Input, mapping: Option<Arc<FileMapping>>) -> Result<Self, ImportError> {
        let rows = match &mapping {
            Some(mapping) => Rows::open_mapped(input, mapping.clone()).await?,
            None => {
                let format = by_name(&input.name);
                Rows::open(input, format).await?
            }
        };
        Ok(Self { rows, mapping })
    }

    /// The file's name without its directory.
    pub fn name(&self) -> &str {
        &self.rows.input().name
    }

    /// Bytes of the whole file; `None` for a stream.
    pub fn size(&self) -> Option<u64> {
        self.rows.input().identity.as_ref().map(|identity| identity.size)
    }

    /// Finds out how far the file was imported before, and goes there.
    ///
    /// # Errors
    /// [`ImportError`] when the database or the file cannot be read.
    pub async fn import(self, request: ImportRequest, store: &Store) -> Result<Opened, ImportError> {
        let Self { mut rows, mapping } = self;
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
        Ok(Opened::Ready(Box::new(Import { rows, request, entry, before, mapping })))
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
    let name = name.to_ascii_lowercase();
    match name.strip_suffix(".gz").unwrap_or(&name).rsplit_once('.')?.1 {
        "csv" => Some(Format::Csv),
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        _ => None,
    }
}
