//! From the start of the program, with a PostgreSQL of its own, to the first PUBLISH that it acknowledges.

use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::database::readable_directory;
use crate::figure::tell;
use crate::program::{Program, publish};

/// Starts with the same data directory; the slowest one counts.
const STARTS: usize = 5;

/// What the program leaves behind when this is dropped is ended and removed.
struct DataDirectory(TempDir);

pub(crate) async fn run() {
    let directory = DataDirectory(readable_directory());
    let first = start(&directory.data()).await;
    let mut again = Vec::new();
    for _ in 0..STARTS {
        again.push(start(&directory.data()).await);
    }
    let slowest = again.iter().copied().fold(0.0, f64::max);
    println!("start: {first:.2} s to the first PUBACK on the first start, then {again:.2?} s");
    tell("first_start", first, "s", "");
    tell("start", slowest, "s", &format!("slowest of {STARTS}"));
}

/// Seconds from the start to the acknowledgement of a record.
async fn start(data: &Path) -> f64 {
    let began = Instant::now();
    let program = Program::with_data_in(data).await;
    publish(program.mqtt, 1, Some(1), None, 1, 1, None).await;
    let took = began.elapsed().as_secs_f64();
    // Also of a SIM that nobody told it of: this one, on the first start.
    assert_eq!(program.metrics().await.value("simbridge_records_stored_total "), 1.0, "it is stored");
    program.end().await;
    took
}

impl DataDirectory {
    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }
}

impl Drop for DataDirectory {
    /// A program that was killed leaves its server to the next start, which does not come.
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.data().join("postgres/postmaster.pid")).unwrap_or_default();
        if let Some(pid) = pid.lines().next().and_then(|pid| pid.parse().ok()).filter(|pid| *pid > 1) {
            kill(Pid::from_raw(pid), Signal::SIGQUIT).ok();
        }
    }
}
