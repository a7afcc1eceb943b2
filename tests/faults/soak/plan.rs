//! How long a soak is, how hard, and what it must show.

use std::time::Duration;

use crate::harness::PATIENCE;

/// Charts show every batch within this time, while nothing is wrong (budget).
pub(super) const LAG: f64 = 10.0;
/// Budget of the program's memory.
pub(super) const MEMORY: u64 = 256 << 20;
const HOUR: Duration = Duration::from_secs(3600);

pub(super) struct Plan {
    /// Asked for by `SIMBRIDGE_TEST_SOAK_SECONDS`: only such a run is held to what needs time to be seen.
    pub(super) long: bool,
    pub(super) length: Duration,
    /// Records a second, of all publishers together.
    pub(super) rate: f64,
    pub(super) sims: u32,
    pub(super) connections: usize,
    /// Unacknowledged records of each connection at most.
    pub(super) window: usize,
    /// From one mishap to the next.
    pub(super) between: Duration,
    /// Caches, pools and the allocator fill up in this time, which no slope is taken of.
    pub(super) warm_up: Duration,
    /// What is still put down to a mishap after the program has recovered: it catches up with the backlog of rollups.
    pub(super) allowance: Duration,
    pub(super) sample_every: Duration,
    /// PostgreSQL replays up to 4 GB of its log when it was killed under a load for long, on a machine that does other work.
    pub(super) patience: Duration,
    /// Tables that were smaller than this are pages and not bloat.
    pub(super) bloat_floor: u64,
}

impl Plan {
    pub(super) fn asked_for() -> Self {
        let seconds = given("SIMBRIDGE_TEST_SOAK_SECONDS");
        let length = Duration::from_secs(seconds.unwrap_or(20));
        let rate = given("SIMBRIDGE_TEST_SOAK_RATE").unwrap_or(300) as f64;
        let sims = given("SIMBRIDGE_TEST_SOAK_SIMS").unwrap_or(500) as u32;
        let between = (length / 9).min(Duration::from_secs(120));
        let long = seconds.is_some();
        // A connection may send 1,000 packets a second, and more connections only cost the generator.
        let connections = (rate as usize / 240).clamp(8, 200);
        Self {
            long,
            length,
            rate,
            sims,
            connections,
            // About what is sent in a second: enough for a commit to take long, little enough to wait for all of it.
            window: (rate as usize / connections).clamp(10, 100),
            between,
            warm_up: (length / 6).min(Duration::from_secs(600)),
            allowance: (between / 4).min(Duration::from_secs(30)),
            sample_every: (length / 100).clamp(Duration::from_millis(200), Duration::from_secs(2)),
            patience: if long { Duration::from_secs(900) } else { PATIENCE },
            bloat_floor: 8 << 20,
        }
    }

    /// An hour tells a slope; what is shorter tells only that memory does not run away.
    pub(super) fn tells_a_slope(&self) -> bool {
        self.length >= HOUR
    }
}

fn given(name: &str) -> Option<u64> {
    let number = std::env::var(name).ok()?;
    Some(number.parse().unwrap_or_else(|_| panic!("{name} is `{number}`, and is a whole number")))
}
