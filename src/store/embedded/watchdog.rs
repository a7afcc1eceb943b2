//! A guard for test runs and demonstrations, which must leave nothing behind even when they are killed.

use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::EmbeddedPostgres;
use super::error::EmbeddedError;

/// Waits for the end of its input, that is of this process, and stops whatever server the cluster then has.
const SCRIPT: &str = include_str!("watchdog.sh");

const LEAVE_BEHIND: &str = r#"exec 3<&0; /bin/sh -c "$0" "$@" <&3 3<&- &"#;

impl EmbeddedPostgres {
    /// Starts a small shell process that outlives this one and, when this one has ended for whatever reason, SIGKILL
    /// included, stops the server without waiting for a checkpoint and then removes `and_remove`.
    ///
    /// Meant for tests with a throw-away data directory: a service keeps its server for the next start to adopt.
    ///
    /// # Errors
    /// [`EmbeddedError::Io`] when `/bin/sh` cannot be started.
    pub fn stop_when_this_process_ends(&self, and_remove: Option<&Path>) -> Result<(), EmbeddedError> {
        let shell = Path::new("/bin/sh");
        let started = (|| -> io::Result<()> {
            let mut command = Command::new(shell);
            // The first shell leaves the second one behind and ends: nobody has to reap it. A shell gives background
            // commands /dev/null as input, unless it is a copy made before.
            command.args(["-c", LEAVE_BEHIND, SCRIPT, "watchdog"]);
            command.arg(&self.layout.cluster).arg(&self.socket_dir).args(and_remove);
            command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            command.process_group(0);
            let mut child = command.spawn()?;
            // The pipe's other end is left to the kernel, which closes it when this process ends; closing it when
            // this value goes would hit whoever owns the data directory by then.
            let _never_closed = child.stdin.take().map(IntoRawFd::into_raw_fd);
            child.wait().map(drop)
        })();
        started.map_err(EmbeddedError::io("run", shell))
    }
}
