//! One owner at a time: an advisory lock that the kernel frees even when the owner is killed.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use super::POLL;
use super::error::EmbeddedError;

/// A child that a killed owner was just starting shares the lock until it runs its own program.
const LINGERING: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct DataDirLock {
    _file: Flock<File>,
}

impl DataDirLock {
    /// Takes the lock, or says which process holds it.
    pub(super) async fn take(path: &Path) -> Result<Self, EmbeddedError> {
        let deadline = Instant::now() + LINGERING;
        loop {
            match Self::try_take(path) {
                Err(EmbeddedError::InUse { pid: Some(pid), .. })
                    if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) && Instant::now() < deadline =>
                {
                    sleep(POLL).await;
                }
                taken => return taken,
            }
        }
    }

    fn try_take(path: &Path) -> Result<Self, EmbeddedError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(EmbeddedError::io("open", path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                // The number is only for the message that a second owner shows; the lock itself is the truth.
                write_owner(&mut file).map_err(EmbeddedError::io("write", path))?;
                Ok(Self { _file: file })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                Err(EmbeddedError::InUse { path: path.to_owned(), pid })
            }
            Err((_, errno)) => Err(EmbeddedError::io("lock", path)(errno.into())),
        }
    }
}

fn write_owner(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}
