//! Where a backup is written: under another name until it is whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::BackupError;

const BUFFER_BYTES: usize = 1 << 20;

/// A directory that is removed when it is dropped unfinished. It and its files are readable for their owner alone: they hold
/// hashes of passwords and keys, secrets of webhooks, and payloads.
pub(super) struct Unfinished {
    path: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl Unfinished {
    pub(super) fn begin(target: &Path) -> Result<Self, BackupError> {
        match fs::symlink_metadata(target) {
            Ok(_) => return Err(BackupError::Exists(target.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BackupError::io("look at", target)(error)),
        }
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.partial-{:08x}", rand::random::<u32>()));
        DirBuilder::new().mode(0o700).create(&path).map_err(BackupError::io("make", &path))?;
        Ok(Self { path, target: target.to_owned(), finished: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn create(&self, name: &str) -> Result<File, BackupError> {
        let path = self.path.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.map_err(BackupError::io("make", &path))
    }

    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<(), BackupError> {
        let mut file = self.create(name)?;
        let written = file.write_all(content).and_then(|()| file.sync_all());
        written.map_err(BackupError::io("write", &self.path.join(name)))
    }

    /// Gives it its name. Renaming a directory replaces nothing but an empty one, so nothing is lost by who was faster.
    pub(super) fn finish(mut self) -> Result<(), BackupError> {
        sync(&self.path)?;
        fs::rename(&self.path, &self.target).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => {
                BackupError::Exists(self.target.clone())
            }
            _ => BackupError::io("make", &self.target)(error),
        })?;
        self.finished = true;
        match self.target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => sync(parent),
            None => sync(Path::new(".")),
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished backup stays");
        }
    }
}

fn sync(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(BackupError::io("sync", path))
}

/// Size and SHA-256 of a file as it is on disk now.
pub(super) fn fingerprint(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut digest, mut bytes) = (File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => {
                digest.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
    Ok((bytes, digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}
