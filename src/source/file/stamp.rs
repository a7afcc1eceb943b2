use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// What changes when a file is written to, or when another one takes its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    /// Seconds since 1970, and nanoseconds.
    modified: (i64, i64),
    inode: u64,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// When it was written to last.
    pub(super) fn modified(&self) -> (i64, i64) {
        self.modified
    }
}
