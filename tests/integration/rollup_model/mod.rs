//! Generated histories, on a real PostgreSQL and on a plain model that keeps no sums: whatever happens to a few SIMs, every
//! invariant holds at any moment, and in the end every rollup holds what the accepted records say.

mod expected;
mod history;
mod model;
mod tables;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use history::{History, Op};
use tokio::runtime::{Builder, Runtime};
use world::World;

/// Histories without `SIMBRIDGE_TEST_HISTORIES`.
const HISTORIES: u64 = 300;
/// Histories that are tried to make a failing one shorter.
const SHRINK_ATTEMPTS: usize = 250;
/// Databases in use at once.
const WORKERS: usize = 2;
/// A fresh database after so many histories, because deleted rows stay in the way.
const HISTORIES_OF_A_DATABASE: usize = 50;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Catches, in the shortest history that shows it: markers that are deleted in one transaction and worked off in the next; a
/// SIM that stays active when its usage is taken back, because the records of its hour are not looked at again; an included
/// volume that is priced for the changed day alone; a zone change whose last moved SIM is taken for one still to be moved; an
/// hour by the session's zone; a rebuild that begins with the second of two midnights.
///
/// `SIMBRIDGE_TEST_SEED` is the first seed, `SIMBRIDGE_TEST_HISTORIES` how many follow it.
#[test]
fn generated_histories_leave_the_rollups_that_the_model_says() {
    let first = variable("SIMBRIDGE_TEST_SEED").unwrap_or(1);
    let end = first + variable("SIMBRIDGE_TEST_HISTORIES").unwrap_or(HISTORIES);
    let next = AtomicU64::new(first);
    let failures: Vec<(u64, String)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(|| work(&next, end))).collect();
        workers.into_iter().filter_map(|worker| worker.join().expect("workers do not panic")).collect()
    });
    let Some((seed, why)) = failures.into_iter().min_by_key(|(seed, _)| *seed) else { return };
    let (shortest, why) = shrink(History::generate(seed), why);
    panic!("SIMBRIDGE_TEST_SEED={seed} SIMBRIDGE_TEST_HISTORIES=1 fails\n{shortest:#?}\n{why}");
}

/// Tries seeds until none is left or one fails.
fn work(next: &AtomicU64, end: u64) -> Option<(u64, String)> {
    let mut place = Place::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return None;
        }
        if let Err(why) = place.attempt(&History::generate(seed)) {
            next.store(end, Ordering::Relaxed);
            return Some((seed, why));
        }
    }
}

/// Where one history after the other is tried.
struct Place {
    runtime: Runtime,
    world: Option<World>,
    done: usize,
}

impl Default for Place {
    fn default() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { runtime, world: None, done: 0 }
    }
}

impl Place {
    /// Says what went wrong, if anything did.
    fn attempt(&mut self, history: &History) -> Result<(), String> {
        if self.done.is_multiple_of(HISTORIES_OF_A_DATABASE) {
            self.world = None;
        }
        self.done += 1;
        // What a failed history leaves behind is of no use to the next one.
        let world = self.world.take();
        let run = || {
            self.runtime.block_on(async {
                let mut world = match world {
                    Some(world) => world,
                    None => World::new().await,
                };
                world.run(history).await;
                world
            })
        };
        let world = catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        })?;
        self.world = Some(world);
        Ok(())
    }
}

/// Leaves out whatever can be left out while it still fails.
fn shrink(mut history: History, mut why: String) -> (History, String) {
    let mut place = Place::default();
    let mut attempts = 0;
    let mut size = history.ops.len().div_ceil(2);
    while size > 0 && attempts < SHRINK_ATTEMPTS {
        let mut shorter = None;
        for candidate in shorter_ones(&history, size) {
            attempts += 1;
            if let Err(still) = place.attempt(&candidate) {
                shorter = Some((candidate, still));
                break;
            }
        }
        match shorter {
            Some(found) => (history, why) = found,
            None => size /= 2,
        }
        size = size.min(history.ops.len());
    }
    (history, why)
}

/// Without `size` operations in a row; in the end also without single records.
fn shorter_ones(history: &History, size: usize) -> Vec<History> {
    let without = |ops: Vec<Op>| History { ops, ..history.clone() };
    let count = history.ops.len();
    let mut shorter: Vec<History> = (0..count.div_ceil(size))
        .rev()
        .map(|n| {
            let cut = n * size..((n + 1) * size).min(count);
            without(
                history
                    .ops
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| !cut.contains(at))
                    .map(|(_, op)| op.clone())
                    .collect(),
            )
        })
        .collect();
    if size > 1 {
        return shorter;
    }
    for (at, op) in history.ops.iter().enumerate() {
        let Op::Write(drafts) = op else { continue };
        for n in 0..drafts.len() {
            let mut ops = history.ops.clone();
            let mut fewer = drafts.clone();
            fewer.remove(n);
            ops[at] = Op::Write(fewer);
            shorter.push(without(ops));
        }
    }
    shorter
}
