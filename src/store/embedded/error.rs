use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

/// Why the private PostgreSQL cannot be used. Every message is one line that says what to do.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    #[error(
        "no PostgreSQL server is installed: install it with `{install}`, or set DATABASE_URL to use one that runs elsewhere"
    )]
    NoBinaries { install: &'static str },

    #[error(
        "postgres.bin_dir {} holds no working `postgres` and `initdb`: correct the setting or remove it", dir.display()
    )]
    BinDir { dir: PathBuf },

    #[error(
        "{} was made by PostgreSQL {data_major}, but {} is PostgreSQL {bin_major}: install PostgreSQL {data_major} or \
         point postgres.bin_dir at it (moving the data to {bin_major} is a job for pg_upgrade), or choose another --data-dir",
        cluster.display(), bin_dir.display()
    )]
    OtherMajor { cluster: PathBuf, data_major: u32, bin_dir: PathBuf, bin_major: u32 },

    #[error(
        "PostgreSQL refuses to run as root and this machine has neither an account `postgres` nor `nobody`: \
         run simbridge as an ordinary user"
    )]
    NoAccount,

    #[error("{} belongs to user id {owner}: run simbridge as that user, or choose another --data-dir", path.display())]
    ForeignOwner { path: PathBuf, owner: u32 },

    #[error(
        "PostgreSQL runs as `{account}`, which may not enter {}, so it cannot reach {}: {}",
        closed.display(), wanted.display(), passage_remedy(closed, *moveable)
    )]
    NotTraversable { account: String, closed: PathBuf, wanted: PathBuf, moveable: bool },

    #[error(
        "no access to {}: {source}; correct its owner or mode, or choose another place with --data-dir", path.display()
    )]
    NoAccess { path: PathBuf, source: io::Error },

    #[error(
        "{} is not empty and not a PostgreSQL data directory: move it away, or choose another --data-dir", path.display()
    )]
    NotACluster { path: PathBuf },

    #[error("data directory is in use by {} ({}): stop it, or choose another --data-dir", owner(*pid), path.display())]
    InUse { path: PathBuf, pid: Option<i32> },

    #[error(
        "the PostgreSQL socket needs the directory {} for itself, but it belongs to someone else: remove it, or choose a \
         shorter --data-dir", path.display()
    )]
    SocketDirectory { path: PathBuf },

    #[error(
        "{} holds the password of the private PostgreSQL and is missing or empty: restore it from a backup", path.display()
    )]
    PasswordMissing { path: PathBuf },

    #[error(
        "the private PostgreSQL refused the password in {}: restore that file from a backup", path.display()
    )]
    PasswordRefused { path: PathBuf },

    #[error("initdb failed: {message}")]
    InitFailed { message: String },

    #[error("PostgreSQL did not start: {message} (see {})", log.display())]
    StartFailed { message: String, log: PathBuf },

    #[error("PostgreSQL was not ready after {} s: {message} (see {})", after.as_secs(), log.display())]
    StartTimeout { after: Duration, message: String, log: PathBuf },

    #[error("PostgreSQL (process {pid}) did not stop: end it with `kill -QUIT {pid}`")]
    StopTimeout { pid: i32 },

    #[error("the private PostgreSQL is being stopped")]
    Stopping,

    #[error("cannot create the database: {0}")]
    Database(#[source] tokio_postgres::Error),

    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl EmbeddedError {
    /// True when PostgreSQL is missing or not working (exit code 69); false when a setting or a directory has to be
    /// corrected first (exit code 78).
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::NoBinaries { .. }
            | Self::InUse { .. }
            | Self::InitFailed { .. }
            | Self::StartFailed { .. }
            | Self::StartTimeout { .. }
            | Self::StopTimeout { .. }
            | Self::Stopping
            | Self::Database(_)
            | Self::Io { .. } => true,
            Self::BinDir { .. }
            | Self::OtherMajor { .. }
            | Self::NoAccount
            | Self::ForeignOwner { .. }
            | Self::NotTraversable { .. }
            | Self::NoAccess { .. }
            | Self::NotACluster { .. }
            | Self::SocketDirectory { .. }
            | Self::PasswordMissing { .. }
            | Self::PasswordRefused { .. } => false,
        }
    }

    /// For `map_err` on file operations: `what` completes "cannot … <path>".
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NoAccess { path, source }
            }
            _ => Self::Io { what, path, source },
        }
    }
}

fn owner(pid: Option<i32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

fn passage_remedy(closed: &Path, moveable: bool) -> String {
    if moveable {
        format!("choose a place outside {} with --data-dir", closed.display())
    } else {
        format!("allow it with `chmod o+x {}`", closed.display())
    }
}
