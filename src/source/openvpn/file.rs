//! The file into which a server writes its status.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nix::fcntl::OFlag;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// The server writes its file within some milliseconds. What is the same after this long is not being written.
const SETTLED_AFTER: Duration = Duration::from_millis(250);

/// Why a file could not be read.
#[derive(Debug, Error)]
pub(super) enum FileFault {
    #[error("{}: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error("{}: is no regular file", .0.display())]
    NotAFile(PathBuf),
    #[error("{}: has more than {most} bytes; raise status_max_bytes", path.display())]
    TooLong { path: PathBuf, most: u64 },
    #[error("{}: could not be read within {} s", path.display(), limit.as_secs())]
    Hangs { path: PathBuf, limit: Duration },
    #[error("{}: is being written", .0.display())]
    BeingWritten(PathBuf),
}

/// What a file holds, and when it was changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) bytes: Vec<u8>,
    pub(super) written_at: DateTime<Utc>,
}

/// A status file.
pub(super) struct StatusFile {
    path: PathBuf,
    max_bytes: u64,
    limit: Duration,
    /// An attempt that took too long: reading from a file system that hangs cannot be ended, so there is never more than one.
    hanging: Mutex<Option<JoinHandle<Result<Contents, FileFault>>>>,
}

impl StatusFile {
    pub(super) fn new(path: PathBuf, max_bytes: u64, limit: Duration) -> Self {
        Self { path, max_bytes, limit, hanging: Mutex::default() }
    }

    /// What the file holds when nobody writes it.
    pub(super) async fn read(&self) -> Result<Contents, FileFault> {
        let before = self.read_once().await?;
        tokio::time::sleep(SETTLED_AFTER).await;
        let after = self.read_once().await?;
        if before == after { Ok(after) } else { Err(FileFault::BeingWritten(self.path.clone())) }
    }

    async fn read_once(&self) -> Result<Contents, FileFault> {
        let mut hanging = self.hanging.lock().await;
        let mut task = hanging.take().unwrap_or_else(|| {
            let (path, max_bytes) = (self.path.clone(), self.max_bytes);
            tokio::task::spawn_blocking(move || read(&path, max_bytes))
        });
        match tokio::time::timeout(self.limit, &mut task).await {
            Ok(read) => read.expect("reading does not panic, and nobody aborts it"),
            Err(_) => {
                *hanging = Some(task);
                Err(FileFault::Hangs { path: self.path.clone(), limit: self.limit })
            }
        }
    }
}

fn read(path: &Path, max_bytes: u64) -> Result<Contents, FileFault> {
    let unreadable = |cause| FileFault::Unreadable { path: path.into(), cause };
    // Opening a pipe must not wait for its writer.
    let nonblocking = OFlag::O_NONBLOCK.bits();
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(nonblocking).open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(FileFault::NotAFile(path.into()));
    }
    let written_at = about.modified().map_err(unreadable)?.into();
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > max_bytes {
        return Err(FileFault::TooLong { path: path.into(), most: max_bytes });
    }
    Ok(Contents { bytes, written_at })
}
