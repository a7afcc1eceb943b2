//! The directory of the Unix socket: private, short enough, found again by whoever adopts the server.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::account::Account;
use super::error::EmbeddedError;

/// The port only names the socket file.
pub(super) const PORT: &str = "5432";
pub(super) const FILE: &str = ".s.PGSQL.5432";
pub(super) const LOCK: &str = ".s.PGSQL.5432.lock";

/// `sun_path` holds 104 bytes on macOS and 108 on Linux, with the final NUL.
const LONGEST_PATH: usize = 103;

/// `run` in the data directory, or, where that path is too long, a directory named after it in the user's runtime
/// directory or /tmp.
pub(super) fn directory(root: &Path, account: &Account) -> Result<PathBuf, EmbeddedError> {
    let near = root.join("run");
    // The server reads its setting as UTF-8.
    if fits(&near) && near.to_str().is_some() {
        return private(near, account);
    }
    let name = far_name(root);
    // Root's runtime directory is closed to the account that runs the server.
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| !account.dropped).map(PathBuf::from);
    let far = runtime
        .filter(|dir| dir.is_absolute() && dir.is_dir())
        .map(|dir| dir.join(&name))
        .filter(|dir| fits(dir))
        .unwrap_or_else(|| Path::new("/tmp").join(&name));
    private(far, account)
}

/// Always the same for one data directory, so that a server is known again.
fn far_name(root: &Path) -> String {
    let digest = Sha256::digest(root.as_os_str().as_bytes());
    let start: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("simbridge-{start}")
}

/// Whether [`directory`] can have chosen it, in this environment or another.
pub(super) fn is_ours(dir: &Path, root: &Path) -> bool {
    dir == root.join("run") || dir.file_name().is_some_and(|name| *name == *far_name(root))
}

/// Removes a directory outside the data directory once its server has stopped; one in use is not empty and stays.
pub(super) fn remove_if_far(dir: &Path, root: &Path) {
    if !dir.starts_with(root)
        && let Err(error) = fs::remove_dir(dir)
    {
        tracing::debug!(path = %dir.display(), %error, "the socket directory stays");
    }
}

fn fits(dir: &Path) -> bool {
    dir.join(FILE).as_os_str().len() <= LONGEST_PATH
}

fn private(dir: PathBuf, account: &Account) -> Result<PathBuf, EmbeddedError> {
    match DirBuilder::new().mode(0o700).create(&dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(EmbeddedError::io("create", &dir)(error));
        }
        _ => {}
    }
    // In /tmp anyone may have been there first, also with a link; what is ours nobody else can have made.
    let found = fs::symlink_metadata(&dir).map_err(EmbeddedError::io("inspect", &dir))?;
    let ours = [account.uid, nix::unistd::geteuid().as_raw()].contains(&found.uid());
    if !found.is_dir() || !ours {
        return Err(EmbeddedError::SocketDirectory { path: dir });
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))
        .map_err(EmbeddedError::io("protect", &dir))?;
    account.give(&dir)?;
    Ok(dir)
}
