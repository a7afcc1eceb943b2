//! Where an archive is written: under another name until it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use sha2::{Digest, Sha256};

use super::error::ArchiveError;
use super::manifest::hex;

const BUFFER_BYTES: usize = 1 << 20;

pub(super) fn file_name(month: NaiveDate) -> String {
    format!("usage_records_{}.parquet", month.format("%Y-%m"))
}

/// A file that is removed when it is dropped unfinished. It is readable for its owner alone.
pub(super) struct Unfinished {
    path: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl Unfinished {
    /// The name is the same for every attempt at an archive, so that what a kill left behind does not stay.
    pub(super) fn begin(target: &Path, archive: &str) -> Result<(Self, File), ArchiveError> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{archive}.partial"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ArchiveError::io("replace", &path)(error));
            }
            _ => {}
        }
        // A new file: whoever still holds the former one writes into nothing.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(ArchiveError::io("make", &path))?;
        Ok((Self { path, target: target.to_owned(), finished: false }, file))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name.
    pub(super) fn finish(mut self) -> Result<(), ArchiveError> {
        fs::rename(&self.path, &self.target).map_err(ArchiveError::io("make", &self.target))?;
        self.finished = true;
        let directory = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync(directory.unwrap_or(Path::new(".")))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished archive stays");
        }
    }
}

/// Whether archives can be written there, before anything else is done.
pub(super) fn try_directory(directory: &Path) -> Result<PathBuf, ArchiveError> {
    let directory = directory.canonicalize().map_err(ArchiveError::io("find", directory))?;
    let path = directory.join(format!(".simbridge-{:08x}", rand::random::<u32>()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    file.map_err(ArchiveError::io("write into", &directory))?;
    fs::remove_file(&path).map_err(ArchiveError::io("remove", &path))?;
    Ok(directory)
}

fn sync(directory: &Path) -> Result<(), ArchiveError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(ArchiveError::io("sync", directory))
}

/// Size and SHA-256 of a file as it reads now.
pub(super) fn fingerprint(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut digest, mut bytes) = (File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hex(digest))),
            read => {
                digest.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}
