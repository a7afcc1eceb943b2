//! From the start of the program, with a PostgreSQL of its own, to the first PUBLISH that it acknowledges.

use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use simulator::fleet::Fleet;
use tempfile::TempDir;
use tokio::process::Command;

use crate::database::{fleet, readable_directory};
use crate::figure::tell;
use crate::program::{Program, publish};

/// Starts with the same data directory; the slowest one counts.
const STARTS: usize = 5;

/// What the program leaves behind when this is dropped is ended and removed.
struct DataDirectory(TempDir);

pub(crate) async fn run() {
    let directory = DataDirectory(readable_directory());
    // Nobody told it of a SIM yet: the record is parked, and acknowledged then.
    let first = start(&directory.data(), "simbridge_records_parked_total ").await;
    directory.provision().await;
    let mut again = Vec::new();
    for _ in 0..STARTS {
        again.push(start(&directory.data(), "simbridge_records_stored_total ").await);
    }
    let slowest = again.iter().copied().fold(0.0, f64::max);
    println!("start: {first:.2} s to the first PUBACK on the first start, then {again:.2?} s");
    tell("first_start", first, "s", "");
    tell("start", slowest, "s", &format!("slowest of {STARTS}"));
}

/// Seconds from the start to the acknowledgement of a record that the counter `of` shows.
async fn start(data: &Path, of: &str) -> f64 {
    let began = Instant::now();
    let program = Program::with_data_in(data).await;
    publish(program.mqtt, 1, Some(1), None, 1, 1, None).await;
    let took = began.elapsed().as_secs_f64();
    let metrics = program.metrics().await;
    assert!(metrics.value(of) > 0.0, "{of}is not counted");
    program.end().await;
    took
}

impl DataDirectory {
    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// The SIM whose record is sent.
    async fn provision(&self) {
        let inventory = self.0.path().join("sims.csv");
        std::fs::write(&inventory, Fleet::generate(fleet(1)).inventory_csv()).expect("it is ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_simbridge"));
        command.args(["sims", "import"]).arg(&inventory).arg("--data-dir").arg(self.data());
        let imported = command.env_remove("DATABASE_URL").output().await.expect("the program starts");
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
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
