//! Whether a file is still what was written.

use std::io;
use std::path::{Path, PathBuf};

use super::error::{ArchiveError, Finding};
use super::file::Reader;
use super::manifest::Manifest;
use super::{Archive, Stored, place};

impl Archive {
    /// Where its file is: in another directory when that is given.
    pub fn file_in(&self, directory: Option<&Path>) -> Option<PathBuf> {
        let file = &self.stored.as_ref()?.file;
        Some(match directory {
            Some(directory) => directory.join(file.file_name().unwrap_or_default()),
            None => file.clone(),
        })
    }
}

impl Stored {
    /// Reads the whole file at `path` and compares it with what was written: size, SHA-256, records, amounts by day, and each
    /// value.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`] with what is wrong.
    pub async fn check(&self, path: &Path) -> Result<(), ArchiveError> {
        let (stored, path) = (self.clone(), path.to_owned());
        let file = path.clone();
        whole(file, tokio::task::spawn_blocking(move || contents(&stored.open(&path)?, &path))).await
    }

    /// The file, when it is byte for byte what was written.
    pub(super) fn open(&self, path: &Path) -> Result<Reader, ArchiveError> {
        let damaged = |finding| ArchiveError::Damaged { path: path.to_owned(), finding };
        let (found, sha256) = place::fingerprint(path).map_err(|error| {
            damaged(match error.kind() {
                io::ErrorKind::NotFound => Finding::Missing,
                _ => Finding::Unreadable(error.to_string()),
            })
        })?;
        if found != self.bytes {
            return Err(damaged(Finding::Size { expected: self.bytes, found }));
        }
        if sha256 != self.sha256 {
            return Err(damaged(Finding::Changed { expected: self.sha256.clone(), found: sha256 }));
        }
        let reader = Reader::open(path).map_err(damaged)?;
        if reader.manifest != self.manifest {
            return Err(damaged(Finding::Other));
        }
        Ok(reader)
    }
}

/// Reads an archive without a database: whether it holds what it says.
///
/// # Errors
/// [`ArchiveError::Damaged`] with what is wrong.
pub async fn check_file(path: &Path) -> Result<Manifest, ArchiveError> {
    let (path, file) = (path.to_owned(), path.to_owned());
    let checked = tokio::task::spawn_blocking(move || {
        let reader =
            Reader::open(&path).map_err(|finding| ArchiveError::Damaged { path: path.clone(), finding })?;
        contents(&reader, &path)?;
        Ok(reader.manifest)
    });
    whole(file, checked).await
}

/// What comes of reading a file that may be damaged in any way: the library panics over some.
pub(super) async fn whole<T>(
    path: PathBuf,
    reading: tokio::task::JoinHandle<Result<T, ArchiveError>>,
) -> Result<T, ArchiveError> {
    reading.await.unwrap_or_else(|_| {
        let finding = Finding::Unreadable("what is in it makes no sense".to_owned());
        Err(ArchiveError::Damaged { path, finding })
    })
}

fn contents(reader: &Reader, path: &Path) -> Result<(), ArchiveError> {
    let damaged = |finding| ArchiveError::Damaged { path: path.to_owned(), finding };
    let tally = reader.tally(path).map_err(|error| match error {
        ArchiveError::Parquet { source, .. } => damaged(Finding::Unreadable(source.to_string())),
        ArchiveError::Io { source, .. } => damaged(Finding::Unreadable(source.to_string())),
        ArchiveError::Protocol(what) => damaged(Finding::NoArchive(what.to_owned())),
        other => other,
    })?;
    match reader.manifest.difference(&tally) {
        Some(difference) => Err(damaged(Finding::Content(difference))),
        None => Ok(()),
    }
}
