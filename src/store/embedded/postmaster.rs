//! What `postmaster.pid` says, and whether it is still true.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

use super::cluster::Layout;
use super::socket;

/// A server that calls itself ready answers at once, unless its socket was removed.
const MUTE_AFTER: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);

/// The lines of `postmaster.pid` that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) pid: i32,
    data_dir: PathBuf,
    port: String,
    socket_dir: Option<PathBuf>,
    pub(super) ready: bool,
}

impl PidFile {
    pub(super) fn read(cluster: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(cluster.join("postmaster.pid")).ok()?)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let line = |number: usize| text.lines().nth(number).map(str::trim).unwrap_or_default();
        // Process 1 and groups must never be signalled, whatever the file says.
        let pid = line(0).parse().ok().filter(|pid| *pid > 1)?;
        let socket_dir = Some(PathBuf::from(line(4))).filter(|dir| dir.is_absolute());
        let port = line(3).to_owned();
        Some(Self { pid, data_dir: line(1).into(), port, socket_dir, ready: line(7) == "ready" })
    }
}

/// What the process that `postmaster.pid` names is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    Gone,
    /// Some other program got the number, after a crash of the machine or in a new container.
    Stranger,
    Postmaster,
    /// It lives, and this system does not tell what it is.
    Unclear,
}

/// PostgreSQL works in its data directory, which tells our server from a stranger with the same number.
pub(super) fn inspect(pid: i32, cluster: &Path) -> Process {
    match kill(Pid::from_raw(pid), None) {
        Ok(()) => {}
        Err(Errno::EPERM) => return Process::Stranger,
        Err(_) => return Process::Gone,
    }
    if !Path::new("/proc/self/cwd").exists() {
        return Process::Unclear;
    }
    match works_in(pid, cluster) {
        Ok(true) => Process::Postmaster,
        Ok(false) => Process::Stranger,
        // A zombie has no working directory any more.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Process::Gone,
        Err(_) => Process::Unclear,
    }
}

/// Compares the directories themselves: a mount may give one directory several names.
fn works_in(pid: i32, cluster: &Path) -> io::Result<bool> {
    let (theirs, ours) = (fs::metadata(format!("/proc/{pid}/cwd"))?, fs::metadata(cluster)?);
    Ok((theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()))
}

/// A server that runs although we have not started it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LeftBehind {
    Nothing,
    Answers {
        pid: i32,
        socket_dir: PathBuf,
    },
    /// Ours, but unreachable: it has to be stopped before another one can start.
    Mute {
        pid: i32,
    },
    /// Started by hand, with a socket elsewhere: not ours to use or to stop.
    Foreign {
        pid: i32,
    },
}

/// Looks for a running server of this cluster, and waits for it while it starts or stops.
pub(super) async fn find(layout: &Layout, patience: Duration) -> LeftBehind {
    let cluster = &layout.cluster;
    let deadline = Instant::now() + patience;
    let mut silent_since = None;
    while let Some(file) = PidFile::read(cluster).filter(|file| file.data_dir == *cluster) {
        let process = inspect(file.pid, cluster);
        if matches!(process, Process::Gone | Process::Stranger) {
            return LeftBehind::Nothing;
        }
        let elsewhere = file.port != socket::PORT
            || file.socket_dir.as_ref().map_or(file.ready, |dir| !socket::is_ours(dir, &layout.root));
        if elsewhere && process == Process::Postmaster {
            return LeftBehind::Foreign { pid: file.pid };
        }
        if let Some(socket_dir) = file.socket_dir
            && answers(&socket_dir, file.pid).await
        {
            return LeftBehind::Answers { pid: file.pid, socket_dir };
        }
        let silent_since = *silent_since.get_or_insert_with(Instant::now);
        let mute = file.ready && silent_since.elapsed() > MUTE_AFTER;
        if mute || Instant::now() > deadline {
            return match process {
                Process::Postmaster => LeftBehind::Mute { pid: file.pid },
                _ => LeftBehind::Nothing,
            };
        }
        sleep(POLL).await;
    }
    LeftBehind::Nothing
}

/// The kernel says who listens on a socket, so this also proves that the process number is not a stranger's.
async fn answers(socket_dir: &Path, pid: i32) -> bool {
    let Ok(stream) = UnixStream::connect(socket_dir.join(socket::FILE)).await else {
        return false;
    };
    stream.peer_cred().is_ok_and(|peer| peer.pid().is_none_or(|listener| listener == pid))
}

/// PostgreSQL refuses to start while the process that a stale lock file names exists, even as a zombie or with the
/// number given to someone else. Our own number there is one that it knows to be stale, being its parent's. The file
/// itself has to stay: the shared memory key in `postmaster.pid` is how PostgreSQL notices backends that outlived their
/// postmaster.
pub(super) fn disown_stale_lock(path: &Path, cluster: &Path) -> io::Result<()> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    let Some((first, rest)) = text.split_once('\n') else { return Ok(()) };
    let taken = first.trim().parse().is_ok_and(|pid: i32| {
        pid > 1
            && kill(Pid::from_raw(pid), None).is_ok()
            && matches!(inspect(pid, cluster), Process::Gone | Process::Stranger)
    });
    if taken { fs::write(path, format!("{}\n{rest}", std::process::id())) } else { Ok(()) }
}

/// Ends the backends of a postmaster that is gone. Idle ones notice by themselves; one in the middle of a computation
/// does not, and PostgreSQL refuses to start beside it. Does nothing where there is no /proc: there it is waited for.
pub(super) fn end_orphaned_backends(cluster: &Path, postgres: &Path) {
    let Ok(program) = fs::canonicalize(postgres) else { return };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        let is_backend = works_in(pid, cluster).unwrap_or(false)
            && fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program);
        if is_backend && kill(Pid::from_raw(pid), Signal::SIGQUIT).is_ok() {
            tracing::debug!(pid, "ended a backend that outlived its postmaster");
        }
    }
}
