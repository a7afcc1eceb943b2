//! The server's own log: kept small, and read for the one line that says why a start failed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::EmbeddedError;

/// With the previous one, at most twice this is kept.
const LARGEST: u64 = 10 * 1024 * 1024;

/// A failing start writes a few lines; more would only be noise from before.
const READ_BACK: u64 = 16 * 1024;

#[derive(Debug)]
pub(super) struct ServerLog {
    path: PathBuf,
}

impl ServerLog {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// For the server's stdout and stderr.
    pub(super) fn open(&self) -> Result<File, EmbeddedError> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(EmbeddedError::io("open", &self.path))
    }

    /// Copies and empties rather than renames: a running server keeps its file open for appending.
    pub(super) fn rotate(&self) -> io::Result<()> {
        if self.len() <= LARGEST {
            return Ok(());
        }
        fs::copy(&self.path, self.path.with_extension("log.1"))?;
        OpenOptions::new().write(true).open(&self.path)?.set_len(0)
    }

    pub(super) fn len(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |found| found.len())
    }

    /// The line that explains a failure, out of what was written after `mark`.
    pub(super) fn reason_since(&self, mark: u64) -> String {
        let written = self.read_since(mark).unwrap_or_default();
        reason(&String::from_utf8_lossy(&written)).unwrap_or_else(|| "it wrote no message".to_owned())
    }

    fn read_since(&self, mark: u64) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(mark.max(self.len().saturating_sub(READ_BACK))))?;
        let mut written = Vec::new();
        file.read_to_end(&mut written)?;
        Ok(written)
    }
}

/// The last line of the gravest kind, without its time stamp. The first line of a group of messages would do as well;
/// the last is what ended the server.
pub(super) fn reason(text: &str) -> Option<String> {
    for mark in ["PANIC:", "FATAL:", "initdb: error:", "ERROR:", "error:"] {
        if let Some(line) = text.lines().rev().find_map(|line| line.find(mark).map(|at| &line[at..])) {
            return Some(line[mark.len()..].trim().to_owned());
        }
    }
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}
