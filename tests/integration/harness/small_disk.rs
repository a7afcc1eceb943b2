use std::path::{Path, PathBuf};
use std::process::Command;

/// Enough for a cluster and some minutes of load.
pub(crate) const DISK_MIB: u32 = 320;

/// A disk in memory of a fixed size; unmounted when dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where nobody lets us mount, as in an ordinary account or a container without that right.
    pub(crate) fn mount() -> Option<Self> {
        let directory =
            tempfile::Builder::new().prefix("simbridge-test-disk-").tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_MIB}m,mode=755"), "simbridge-test"])
            .arg(directory.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(directory.keep()));
        }
        eprintln!("NOT RUN: mounting a file system is not allowed here");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Takes so much of the room; the error if there is less.
    pub(crate) fn take(&self, mebibytes: u64) -> std::io::Result<u64> {
        let mut ballast = std::fs::File::create(self.ballast()).expect("a file");
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), mebibytes << 20), &mut ballast)
    }

    /// MiB that are left.
    pub(crate) fn left(&self) -> u64 {
        let found = nix::sys::statvfs::statvfs(&self.0).expect("it is mounted");
        (found.blocks_available() * found.fragment_size()) >> 20
    }

    pub(crate) fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("it is there");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may still be on its way down.
        Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
        std::fs::remove_dir(&self.0).ok();
    }
}
