//! Who runs the server. PostgreSQL refuses to run as root, so root hands it to another account.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User, getegid, geteuid};

use super::error::EmbeddedError;

/// What a child may see of our environment: it holds our secrets, and `PG*` variables would change the server.
const INHERITED_ENVIRONMENT: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"];

/// What any program of PostgreSQL may see of our environment.
pub(in crate::store) fn inherited_environment() -> impl Iterator<Item = (&'static str, OsString)> {
    INHERITED_ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)))
}

/// Prints the position of the first argument that this user may not enter.
const FIND_CLOSED: &str = r#"i=0; for d in "$@"; do [ -x "$d" ] || { echo $i; exit; }; i=$((i+1)); done"#;

#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) uid: u32,
    gid: u32,
    name: String,
    /// We are root and become this account in every child.
    pub(super) dropped: bool,
}

impl Account {
    /// An ordinary user runs the server itself. Root gives it to the owner of the cluster when there is one (it may
    /// have been made by an ordinary user), else to `postgres`, else to `nobody`.
    pub(super) fn choose(cluster: &Path) -> Result<Self, EmbeddedError> {
        let owner = fs::metadata(cluster).ok().map(|found| (found.uid(), found.gid()));
        let me = geteuid();
        if !me.is_root() {
            if let Some((owner, _)) = owner.filter(|(owner, _)| *owner != me.as_raw()) {
                return Err(EmbeddedError::ForeignOwner { path: cluster.to_owned(), owner });
            }
            let (uid, gid) = (me.as_raw(), getegid().as_raw());
            return Ok(Self { uid, gid, name: uid.to_string(), dropped: false });
        }
        if let Some((uid, gid)) = owner.filter(|(uid, _)| *uid != 0) {
            let name = User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
            return Ok(Self { uid, gid, name: name.unwrap_or_else(|| uid.to_string()), dropped: true });
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Self {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
                name: user.name,
                dropped: true,
            })
            .ok_or(EmbeddedError::NoAccount)
    }

    /// A command that runs as this account, away from our terminal, environment and working directory.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(inherited_environment());
        // TZ spares initdb the search through the whole zone database; we read English messages.
        command.env("LC_ALL", "C").env("TZ", "UTC");
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Ctrl-C in the terminal must reach us only: we stop the server after the last commit.
        command.process_group(0);
        if self.dropped {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Hands a file or directory that we made to this account.
    pub(super) fn give(&self, path: &Path) -> Result<(), EmbeddedError> {
        if self.dropped {
            chown(path, Some(self.uid), Some(self.gid))
                .map_err(EmbeddedError::io("change the owner of", path))?;
        }
        Ok(())
    }

    /// Fails when the account cannot reach `wanted`: root's home, for one, is closed to everyone else.
    /// `moveable`: the way out is another data directory rather than a change of permissions.
    pub(super) fn require_passage(&self, wanted: &Path, moveable: bool) -> Result<(), EmbeddedError> {
        if !self.dropped {
            return Ok(());
        }
        let mut ancestors: Vec<&Path> = wanted.ancestors().collect();
        ancestors.reverse();
        // Asking the kernel as that user is exact where mode bits are not (ACLs, user namespaces).
        match self.first_closed(&ancestors).map_err(EmbeddedError::io("check the way to", wanted))? {
            None => Ok(()),
            Some(closed) => Err(EmbeddedError::NotTraversable {
                account: self.name.clone(),
                closed,
                wanted: wanted.to_owned(),
                moveable,
            }),
        }
    }

    fn first_closed(&self, ancestors: &[&Path]) -> io::Result<Option<PathBuf>> {
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", FIND_CLOSED, "sh"]).args(ancestors).stdout(Stdio::piped());
        let printed = match command.output() {
            // Without a shell PostgreSQL's own message has to do.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            output => output?.stdout,
        };
        let position: Option<usize> = String::from_utf8_lossy(&printed).trim().parse().ok();
        Ok(position.and_then(|at| ancestors.get(at)).map(|path| path.to_path_buf()))
    }
}
