//! The server process: its command line, how it ended, how it is told to end.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::memory;
use super::postmaster::{self, Process};
use super::socket;

/// Settings that suit this program: many small transactions from a few connections, on a machine that does other work.
/// The caller's settings come after them and win.
pub(super) const DEFAULTS: [(&str, &str); 12] = [
    // Changes of a chunk of rollups are gathered in temporary tables (ADR 0007); memory is taken as they grow.
    ("temp_buffers", "128MB"),
    ("max_connections", "60"),
    ("max_wal_size", "4GB"),
    ("checkpoint_timeout", "15min"),
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("synchronous_commit", "on"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("jit", "off"),
    ("cluster_name", "simbridge"),
    ("log_line_prefix", "%m [%p] "),
];

/// Settings on which the launcher relies. They come last and cannot be overridden.
const FIXED: [(&str, &str); 6] = [
    ("listen_addresses", ""),
    ("port", socket::PORT),
    ("unix_socket_permissions", "0700"),
    ("lc_messages", "C"),
    ("log_destination", "stderr"),
    ("logging_collector", "off"),
];

/// How full pages are compressed. LZ4 takes a fraction of the time of PostgreSQL's own algorithm (docs/BENCHMARKS.md, late records);
/// a PostgreSQL can be built without it. `-C` prints a setting as the server would have it, or fails as the server would.
pub(super) fn wal_compression(mut postgres: Command, cluster: &Path) -> &'static str {
    postgres.arg("-D").arg(cluster).args(["-C", "wal_compression", "-c", "wal_compression=lz4"]);
    match postgres.status() {
        Ok(status) if status.success() => "lz4",
        _ => "pglz",
    }
}

/// Completes the command line of `postgres`.
pub(super) fn arguments(
    command: &mut Command,
    cluster: &Path,
    socket_dir: &Path,
    wal_compression: &str,
    settings: &[(String, String)],
) {
    command.arg("-D").arg(cluster).arg("-c").arg(format!("wal_compression={wal_compression}"));
    command.arg("-c").arg(format!("shared_buffers={}", memory::shared_buffers()));
    let callers = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in DEFAULTS.into_iter().chain(callers).chain(FIXED) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    // The value is a list; in quotes a comma or a space in the path does not end an entry.
    let mut directories = OsString::from("unix_socket_directories=\"");
    directories.push(socket_dir.to_string_lossy().replace('"', "\"\""));
    directories.push("\"");
    command.arg("-c").arg(directories);
}

/// The postmaster that we are responsible for.
#[derive(Debug)]
pub(super) enum Server {
    Child(Child),
    Adopted(i32),
}

impl Server {
    pub(super) fn pid(&self) -> i32 {
        match self {
            Self::Child(child) => child.id().cast_signed(),
            Self::Adopted(pid) => *pid,
        }
    }

    /// How it ended, if it has; a few words for the log.
    pub(super) fn ended(&mut self, cluster: &Path) -> Option<String> {
        match self {
            Self::Child(child) => match child.try_wait() {
                Ok(status) => status.map(|status| match status.signal() {
                    Some(signal) => format!("ended by signal {signal}"),
                    None => status.to_string(),
                }),
                // Someone else reaped it.
                Err(_) => Some("ended".to_owned()),
            },
            Self::Adopted(pid) => {
                let gone = matches!(postmaster::inspect(*pid, cluster), Process::Gone | Process::Stranger);
                gone.then(|| "ended".to_owned())
            }
        }
    }

    /// Never signals a number that the kernel may have given to someone else.
    pub(super) fn signal(&mut self, signal: Signal, cluster: &Path) {
        if self.ended(cluster).is_none()
            && let Err(error) = kill(Pid::from_raw(self.pid()), signal)
        {
            tracing::warn!(pid = self.pid(), %signal, %error, "cannot signal PostgreSQL");
        }
    }
}
