//! The data directory: where things lie, who owns them, how a cluster is made.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rand::distr::{Alphanumeric, SampleString};

use super::SUPERUSER;
use super::account::Account;
use super::binaries::Binaries;
use super::error::EmbeddedError;
use super::server_log::reason;

/// 62^32 possibilities; letters and digits need no escaping in a URL.
const PASSWORD_LENGTH: usize = 32;

/// The paths below the program's data directory.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) root: PathBuf,
    pub(super) cluster: PathBuf,
}

impl Layout {
    /// Makes the data directory if need be and resolves it, because the server and its later adopters must agree on
    /// one name for it.
    pub(super) fn open(data_dir: &Path) -> Result<Self, EmbeddedError> {
        if !data_dir.exists() {
            fs::create_dir_all(data_dir).map_err(EmbeddedError::io("create", data_dir))?;
            if nix::unistd::geteuid().is_root() {
                // A strict umask would close it to the account that runs the server.
                fs::set_permissions(data_dir, fs::Permissions::from_mode(0o711))
                    .map_err(EmbeddedError::io("open up", data_dir))?;
            }
        }
        let root = fs::canonicalize(data_dir).map_err(EmbeddedError::io("resolve", data_dir))?;
        let cluster = root.join("postgres");
        // The cluster itself may be a link to another disk; PostgreSQL knows itself by the real path.
        let cluster = fs::canonicalize(&cluster).unwrap_or(cluster);
        Ok(Self { root, cluster })
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("postgres.lock")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    pub(super) fn password(&self) -> PathBuf {
        self.root.join("postgres.password")
    }

    /// The major version that made the cluster; `None` when there is no cluster yet.
    pub(super) fn major(&self) -> Result<Option<u32>, EmbeddedError> {
        match fs::read_to_string(self.cluster.join("PG_VERSION")) {
            Ok(text) => text.trim().parse().map(Some).map_err(|_| self.not_a_cluster()),
            // An empty directory is fine: initdb's result is renamed onto it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let has_files = fs::read_dir(&self.cluster).is_ok_and(|mut entries| entries.next().is_some());
                if has_files { Err(self.not_a_cluster()) } else { Ok(None) }
            }
            Err(error) => Err(EmbeddedError::io("read", &self.cluster)(error)),
        }
    }

    fn not_a_cluster(&self) -> EmbeddedError {
        EmbeddedError::NotACluster { path: self.cluster.clone() }
    }
}

/// Whether a private PostgreSQL was ever made in a data directory.
pub fn has_cluster(data_dir: &Path) -> bool {
    data_dir.join("postgres/PG_VERSION").exists()
}

/// The superuser's password: read, or made up when there is no cluster yet that could know another one.
pub(super) fn password(layout: &Layout, account: &Account, exists: bool) -> Result<String, EmbeddedError> {
    let path = layout.password();
    match fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(EmbeddedError::io("read", &path)(error));
        }
        _ if exists => return Err(EmbeddedError::PasswordMissing { path }),
        _ => {}
    }
    let password = Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LENGTH);
    let unfinished = path.with_extension("password.new");
    write_secret(&unfinished, &password).map_err(EmbeddedError::io("write", &unfinished))?;
    // initdb reads it, as that account.
    account.give(&unfinished)?;
    fs::rename(&unfinished, &path).map_err(EmbeddedError::io("write", &path))?;
    Ok(password)
}

fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    // A left-over of a crash may have another mode, which opening would keep.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")?;
    file.sync_all()
}

/// Makes the cluster under another name and renames it when it is complete, so that whatever bears the final name is
/// whole. The other name is new each time: an initdb that outlived its killed parent may still be writing to its own.
pub(super) async fn create(
    layout: &Layout,
    account: &Account,
    binaries: &Binaries,
) -> Result<(), EmbeddedError> {
    let partial = layout.root.join(format!("postgres.partial-{:08x}", rand::random::<u32>()));
    DirBuilder::new().mode(0o700).create(&partial).map_err(EmbeddedError::io("create", &partial))?;
    account.give(&partial)?;

    let mut initdb = account.command(&binaries.initdb());
    initdb.arg("--pgdata").arg(&partial).arg("--username").arg(SUPERUSER);
    initdb.arg("--pwfile").arg(layout.password());
    initdb.args(["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--data-checksums"]);
    initdb.stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = tokio::process::Command::from(initdb)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(EmbeddedError::io("run", &binaries.initdb()))?;
    if !done.status.success() {
        remove_unfinished(&layout.root);
        let message =
            reason(&String::from_utf8_lossy(&done.stderr)).unwrap_or_else(|| done.status.to_string());
        return Err(EmbeddedError::InitFailed { message });
    }
    fs::rename(&partial, &layout.cluster).map_err(EmbeddedError::io("create", &layout.cluster))?;
    // Not before: PostgreSQL derives its shared memory key from the directory's inode, which must not be one that a
    // surviving initdb still uses.
    remove_unfinished(&layout.root);
    File::open(&layout.root).and_then(|dir| dir.sync_all()).map_err(EmbeddedError::io("sync", &layout.root))
}

/// What cannot be removed now (it may still be written to) is removed by the next first start.
fn remove_unfinished(root: &Path) {
    let left = fs::read_dir(root).into_iter().flatten().flatten();
    for entry in left.filter(|entry| entry.file_name().to_string_lossy().starts_with("postgres.partial-")) {
        if let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::debug!(path = %entry.path().display(), %error, "an unfinished data directory stays for now");
        }
    }
}
