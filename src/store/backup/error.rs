use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::store::{MigrationError, StoreError};

/// Why there is no backup, or why it was not restored. Each is one line that says what to do.
#[derive(Debug, Error)]
pub enum BackupError {
    #[error("{} is there already: a backup is never overwritten, choose another name", .0.display())]
    Exists(PathBuf),
    #[error("{} is no backup: it has no {file} that can be read ({cause})", directory.display())]
    NotABackup { directory: PathBuf, file: &'static str, cause: String },
    #[error("the backup {} is damaged: {what}", directory.display())]
    Damaged { directory: PathBuf, what: String },
    #[error("the backup was made by a newer simbridge ({made_by}): restore it with that one, or a newer one")]
    Newer { made_by: String },
    #[error("the database holds nothing of simbridge: there is nothing to back up")]
    NoData,
    #[error(
        "the database is not empty (it has `{table}`): restore into an empty one, or another --data-dir; nothing was changed"
    )]
    TargetNotEmpty { table: String },
    #[error(
        "the backup is of PostgreSQL {backup}, and this server is PostgreSQL {server}: restore it into version {backup} or newer"
    )]
    OlderServer { backup: i32, server: i32 },
    #[error(
        "pg_dump and pg_restore for PostgreSQL {major} are not installed: install its client programs, or name their directory \
         in postgres.bin_dir"
    )]
    NoPrograms { major: i32 },
    #[error("{program} failed: {message}")]
    Program { program: &'static str, message: String },
    #[error("what was written differs from what was in the database, and is thrown away: {0}")]
    ReadBackDiffers(String),
    #[error("what was restored differs from what was backed up, do not use it: {0}")]
    RestoredDiffers(String),
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Migration(#[from] MigrationError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BackupError {
    /// For `map_err`: `what` completes "cannot … <path>".
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

impl From<tokio_postgres::Error> for BackupError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}
