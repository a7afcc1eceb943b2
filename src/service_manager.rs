//! What systemd is told (sd_notify(3)): that traffic is taken, that files are read again, that the program stops, and that it
//! lives. Where nobody set `NOTIFY_SOCKET`, nobody is told.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;
use tracing::{error, warn};

/// A sign of life is given so many times within the limit, so that one that fails is no reason yet.
const SIGNS_PER_LIMIT: u32 = 4;

/// How many are reading files again: certificates, and the secrets of each source. Of the process, as the socket is.
static RELOADS: AtomicUsize = AtomicUsize::new(0);

/// Traffic was taken once: a SIGHUP before that makes nothing ready.
static READY: AtomicBool = AtomicBool::new(false);

pub(crate) fn ready() {
    READY.store(true, Ordering::SeqCst);
    tell(&[NotifyState::Ready, NotifyState::Status("taking traffic")]);
}

/// [`reloaded`] follows when it is done.
pub(crate) fn reloading() {
    RELOADS.fetch_add(1, Ordering::SeqCst);
    if !READY.load(Ordering::SeqCst) {
        return;
    }
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "cannot tell the service manager"),
    }
}

/// Says so when it is the last of those who read.
pub(crate) fn reloaded() {
    if RELOADS.fetch_sub(1, Ordering::SeqCst) == 1 && READY.load(Ordering::SeqCst) {
        ready();
    }
}

pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("committing what was received")]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot tell the service manager");
    }
}

/// Gives signs of life for as long as the program lives, if somebody asked for them (`WatchdogSec=`). `stuck` names what moves no
/// more within the time that it is given. Never returns.
pub(crate) async fn prove_life(stuck: impl Fn(Duration) -> Option<&'static str>) {
    match sd_notify::watchdog_enabled() {
        Some(limit) if !limit.is_zero() => {
            prove(limit / SIGNS_PER_LIMIT, stuck, || tell(&[NotifyState::Watchdog])).await;
        }
        _ => std::future::pending().await,
    }
}

async fn prove(every: Duration, stuck: impl Fn(Duration) -> Option<&'static str>, mut sign: impl FnMut()) {
    let mut times = tokio::time::interval(every);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        // Threads that all hang in something begin no task, and this waits with them.
        tokio::spawn(std::future::ready(())).await.ok();
        match stuck(every) {
            None => sign(),
            Some(part) => error!(part, "no sign of life for the service manager: this moves no more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32};

    use tokio::sync::mpsc;

    use super::*;

    /// Catches a blind timer.
    #[tokio::test]
    async fn signs_of_life_end_when_something_is_stuck_and_come_back_with_it() {
        let (hangs, signs) = (AtomicBool::new(false), AtomicU32::new(0));
        let (looked, mut looks) = mpsc::unbounded_channel();
        let stuck = |_| {
            let hangs = hangs.load(Ordering::SeqCst);
            looked.send(hangs).unwrap();
            hangs.then_some("test")
        };
        let sign = || {
            signs.fetch_add(1, Ordering::SeqCst);
        };
        let mut until = async |wanted: bool, times: u32| {
            for _ in 0..times {
                while looks.recv().await.unwrap() != wanted {}
            }
        };
        let script = async {
            until(false, 3).await;
            hangs.store(true, Ordering::SeqCst);
            until(true, 1).await;
            let before = signs.load(Ordering::SeqCst);
            assert!(before >= 2);
            until(true, 3).await;
            assert_eq!(signs.load(Ordering::SeqCst), before);
            hangs.store(false, Ordering::SeqCst);
            until(false, 2).await;
            assert!(signs.load(Ordering::SeqCst) > before);
        };
        tokio::select! {
            () = prove(Duration::from_millis(1), stuck, sign) => {}
            () = script => {}
        }
    }
}
