//! Which benchmark measures what, how much of it, and how it is run.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::figure::Figure;

/// One run of another benchmark.
pub(crate) struct Measurement {
    pub(crate) name: &'static str,
    pub(crate) bench: &'static str,
    modes: &'static str,
    sizes: &'static [Size],
}

struct Size {
    variable: &'static str,
    full: u64,
    quick: u64,
    /// Whether the budget says how much, or only enough for a steady figure is needed.
    of_budget: bool,
}

const fn asked(variable: &'static str, full: u64, quick: u64) -> Size {
    Size { variable, full, quick, of_budget: true }
}

const fn enough(variable: &'static str, full: u64, quick: u64) -> Size {
    Size { variable, full, quick, of_budget: false }
}

const SIMS: Size = asked("BENCH_SIMS", 100_000, 10_000);

pub(crate) const MEASUREMENTS: [Measurement; 6] = [
    Measurement {
        name: "ingest",
        bench: "ingest",
        modes: "bare,mqtt",
        sizes: &[SIMS, enough("BENCH_RECORDS", 800_000, 100_000), enough("BENCH_ROUNDS", 3, 1)],
    },
    Measurement {
        name: "sustained",
        bench: "rollup",
        modes: "sustained",
        sizes: &[SIMS, asked("BENCH_SECONDS", 300, 20), enough("BENCH_RECORDS", 600_000, 100_000)],
    },
    Measurement {
        name: "connections",
        bench: "broker",
        modes: "idle,hostile",
        sizes: &[
            asked("BENCH_IDLE", 10_000, 1_000),
            enough("BENCH_SECONDS", 60, 6),
            enough("BENCH_ROUNDS", 10, 2),
        ],
    },
    Measurement {
        name: "outage",
        bench: "ingest",
        modes: "outage",
        sizes: &[SIMS, asked("BENCH_OUTAGE_SECONDS", 60, 10)],
    },
    Measurement {
        name: "api",
        bench: "api",
        modes: "api,growth",
        sizes: &[SIMS, asked("BENCH_RECORDS", 10_000_000, 200_000), enough("BENCH_REQUESTS", 2_000, 500)],
    },
    Measurement { name: "start", bench: "ingest", modes: "start", sizes: &[] },
];

/// How long one measurement may take.
fn limit() -> Duration {
    let given = std::env::var("BENCH_BUDGETS_LIMIT_MINUTES").ok().and_then(|value| value.parse().ok());
    Duration::from_secs(given.unwrap_or(60) * 60)
}

/// What a benchmark has started would outlive it, and take the time of those that follow. Private PostgreSQLs end by themselves.
fn end_programs_of(benchmark: u32) {
    let threads = std::fs::read_dir(format!("/proc/{benchmark}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    for pid in lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()) {
        let pid = Pid::from_raw(pid.parse().expect("the kernel lists numbers"));
        // It may have ended meanwhile.
        kill(pid, Signal::SIGTERM).ok();
    }
}

impl Size {
    /// What the environment says, or the size of this run.
    fn value(&self) -> u64 {
        let given = std::env::var(self.variable).ok().and_then(|value| value.parse().ok());
        given.unwrap_or(if quick() { self.quick } else { self.full })
    }
}

fn quick() -> bool {
    std::env::var("BENCH_BUDGETS_QUICK").is_ok_and(|value| value != "0")
}

impl Measurement {
    /// Those that `BENCH_BUDGETS` names, or all.
    pub(crate) fn chosen() -> Vec<&'static Self> {
        let Ok(names) = std::env::var("BENCH_BUDGETS") else { return MEASUREMENTS.iter().collect() };
        for name in names.split(',') {
            assert!(MEASUREMENTS.iter().any(|known| known.name == name), "there is no measurement {name}");
        }
        MEASUREMENTS.iter().filter(|known| names.split(',').any(|name| name == known.name)).collect()
    }

    /// Where it is smaller than the budget says.
    pub(crate) fn smaller(&self) -> Vec<String> {
        let smaller = self.sizes.iter().filter(|size| size.of_budget && size.value() < size.full);
        smaller.map(|size| format!("{} {} of {}", size.variable, size.value(), size.full)).collect()
    }

    /// Runs it to its end and shows what it prints; returns its figures and whether it ended well.
    pub(crate) fn run(&self, program: &Path) -> (Vec<Figure>, bool) {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            // Sizes are given below; modes and kinds meant for one benchmark do not reach another.
            let ours = name.to_str().is_some_and(|name| name.starts_with("BENCH_"));
            if ours && name != "BENCH_DATABASE_URL" {
                command.env_remove(name);
            }
        }
        command.env("BENCH_MODES", self.modes).stdout(Stdio::piped());
        command.envs(self.sizes.iter().map(|size| (size.variable, size.value().to_string())));
        let mut child = command.spawn().expect("the benchmark was built");
        let printed = BufReader::new(child.stdout.take().expect("it is piped"));
        let (lines, told) = mpsc::channel();
        std::thread::spawn(move || {
            // Nobody listens any more after the limit.
            printed.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)).ok();
        });
        let until = Instant::now() + limit();
        let mut figures = Vec::new();
        loop {
            match told.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => match Figure::read(&line) {
                    Some(figure) => figures.push(figure),
                    None => println!("{line}"),
                },
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    println!("{}: not done after {} min", self.name, limit().as_secs() / 60);
                    end_programs_of(child.id());
                    child.kill().expect("it is our child");
                    break;
                }
            }
        }
        let status = child.wait().expect("it is our child");
        if !status.success() {
            println!("{}: the benchmark failed: {status}", self.name);
        }
        (figures, status.success())
    }
}
