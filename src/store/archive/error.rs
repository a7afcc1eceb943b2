use std::io;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use parquet::errors::ParquetError;
use thiserror::Error;

use crate::store::{MigrationError, StoreError};

/// Why a month was not archived, or not restored. Each is one line that says what to do.
#[derive(Debug, Error)]
pub enum ArchiveError {
    #[error("another `simbridge archive` is at work on this database")]
    Busy,
    #[error(
        "somebody reads records, or changes the inventory, for longer than writers may be kept waiting: try again"
    )]
    InUse,
    #[error("records of these months are not rolled up yet: run `simbridge rollup`, then try again")]
    NotRolledUp,
    #[error("there are no records of {}", .0.format("%Y-%m"))]
    NoMonth(NaiveDate),
    #[error("{} is not archived", .0.format("%Y-%m"))]
    NotArchived(NaiveDate),
    #[error("{} is there already and is not the archive of this month: move it away, or name another directory", .0.display())]
    Exists(PathBuf),
    #[error("the column `{name}` of usage_records has the type {kind}, which cannot be archived")]
    UnknownType { name: String, kind: String },
    #[error("what the database sent cannot be understood: {0}")]
    Protocol(&'static str),
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot {what} {}: {source}", path.display())]
    Parquet { what: &'static str, path: PathBuf, source: ParquetError },
    #[error("what was written differs from what is in the database, and is thrown away: {0}")]
    ReadBackDiffers(String),
    #[error("{}: {finding}", path.display())]
    Damaged { path: PathBuf, finding: Finding },
    #[error("what was restored differs from the archive, and nothing was changed: {0}")]
    RestoredDiffers(String),
    #[error(
        "usage_records has the column `{0}`, which may not be empty and is not in the archive: restore it with the simbridge that made it"
    )]
    ColumnMissing(String),
    #[error("the archive has the column `{0}`, which usage_records has not, or with another type")]
    ColumnUnknown(String),
    #[error("retention.raw_days = {raw_days} would give {} up again at once: set it higher, or to 0, first", month.format("%Y-%m"))]
    WouldBeDropped { month: NaiveDate, raw_days: i64 },
    /// Said by the database: what stands in the way of a month.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Migration(#[from] MigrationError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is wrong with the file of an archive.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Finding {
    #[error("the file is missing")]
    Missing,
    #[error("cannot be read ({0})")]
    Unreadable(String),
    #[error("has {found} bytes instead of {expected}")]
    Size { expected: u64, found: u64 },
    #[error("is not what was written: its SHA-256 is {found} instead of {expected}")]
    Changed { expected: String, found: String },
    #[error("is no archive: {0}")]
    NoArchive(String),
    #[error("was made by a newer simbridge ({0}): read it with that one, or a newer one")]
    Newer(String),
    #[error("holds other records than it says: {0}")]
    Content(String),
    #[error("is the archive of another month, or of another database")]
    Other,
}

impl ArchiveError {
    /// For `map_err`: `what` completes "cannot … <path>".
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    /// The same; what the operating system said is not hidden behind the library's words.
    pub(super) fn parquet(what: &'static str, path: &Path) -> impl FnOnce(ParquetError) -> Self {
        let path = path.to_owned();
        move |source| match source {
            ParquetError::External(cause) => match cause.downcast::<io::Error>() {
                Ok(source) => Self::Io { what, path, source: *source },
                Err(cause) => Self::Parquet { what, path, source: ParquetError::External(cause) },
            },
            source => Self::Parquet { what, path, source },
        }
    }
}

impl From<tokio_postgres::Error> for ArchiveError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}
