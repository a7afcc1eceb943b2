//! The devices' gateways: connections that publish at a rate, and what they are told to do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hdrhistogram::Histogram;
use simulator::fleet::Fleet;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ledger::Ledger;
use super::plan::Plan;
use super::publisher::{Publisher, Subject};
use crate::harness::patience::eventually_within;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Publish,
    /// Only what waits for its acknowledgement still goes on.
    Pause,
    Leave,
}

/// An order to lose the connection, and to come again.
#[derive(Clone, Copy, Default)]
pub(super) struct Cut {
    pub(super) turn: u64,
    /// 1 for everybody.
    pub(super) one_in: u64,
    pub(super) abort: bool,
}

impl Cut {
    /// Others in each turn.
    pub(super) fn hits(self, name: &str) -> bool {
        let sum: u64 = name.bytes().map(u64::from).sum();
        (sum + self.turn).is_multiple_of(self.one_in.max(1))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Orders {
    pub(super) broker: SocketAddr,
    pub(super) phase: Phase,
    pub(super) cut: Cut,
}

/// What all connections count together.
pub(super) struct Live {
    pub(super) acked: AtomicU64,
    pub(super) resent: AtomicU64,
    /// Connections that broke without an order.
    pub(super) lost: AtomicU64,
    /// Publishers that have nothing to wait for.
    pub(super) quiet: AtomicUsize,
    latencies: Mutex<Histogram<u64>>,
}

impl Live {
    pub(super) fn acknowledged(&self, waits: &[Duration]) {
        self.acked.fetch_add(waits.len() as u64, Ordering::Relaxed);
        let mut latencies = self.latencies.lock().expect("no panic");
        for wait in waits {
            latencies.saturating_record(wait.as_micros() as u64);
        }
    }

    /// Microseconds from PUBLISH to PUBACK since the last time that this was asked.
    pub(super) fn take_latencies(&self) -> Histogram<u64> {
        std::mem::replace(&mut *self.latencies.lock().expect("no panic"), latencies())
    }
}

/// 1 µs to an hour, two digits.
pub(super) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("the bounds are valid")
}

pub(super) struct Publishers {
    pub(super) live: Arc<Live>,
    orders: watch::Sender<Orders>,
    tasks: Vec<JoinHandle<Ledger>>,
    patience: Duration,
}

impl Publishers {
    pub(super) fn start(plan: &Plan, fleet: &Fleet, broker: SocketAddr) -> Self {
        let live = Arc::new(Live {
            acked: AtomicU64::default(),
            resent: AtomicU64::default(),
            lost: AtomicU64::default(),
            quiet: AtomicUsize::default(),
            latencies: Mutex::new(latencies()),
        });
        let (orders, _) = watch::channel(Orders { broker, phase: Phase::Publish, cut: Cut::default() });
        let connections = plan.connections;
        let mut shares: Vec<Vec<Subject>> = (0..connections).map(|_| Vec::new()).collect();
        for (n, index) in fleet.publishing().into_iter().enumerate() {
            let sim = &fleet.sims()[index as usize];
            let subject = Subject { index, iccid: sim.iccid.clone(), cycle_day: sim.cycle_day };
            shares[n % connections].push(subject);
        }
        let rate = plan.rate / connections as f64;
        let start = |(n, subjects): (usize, Vec<Subject>)| {
            assert!(!subjects.is_empty(), "a SIM at least for each connection");
            let (name, hears) = (format!("s{n}"), orders.subscribe());
            tokio::spawn(Publisher::new(name, subjects, rate, plan.window, hears, live.clone()).run())
        };
        let tasks = shares.into_iter().enumerate().map(start).collect();
        Self { live, orders, tasks, patience: plan.patience }
    }

    pub(super) fn acked(&self) -> u64 {
        self.live.acked.load(Ordering::Relaxed)
    }

    pub(super) fn lost(&self) -> u64 {
        self.live.lost.load(Ordering::Relaxed)
    }

    /// Waits until so many more are acknowledged than at the call.
    pub(super) async fn more_acked(&self, records: u64) {
        let goal = self.acked() + records;
        eventually_within(self.patience, "more acknowledged records", async || {
            (self.acked() >= goal).then_some(())
        })
        .await;
    }

    /// Connections end in the middle of whatever they do.
    pub(super) fn cut(&self, one_in: u64, abort: bool) {
        self.orders.send_modify(|orders| orders.cut = Cut { turn: orders.cut.turn + 1, one_in, abort });
    }

    /// The program is somewhere else now.
    pub(super) fn lead_to(&self, broker: SocketAddr) {
        self.orders.send_modify(|orders| orders.broker = broker);
    }

    /// Nothing new is sent; returns when everything is acknowledged.
    pub(super) async fn pause(&self) {
        self.orders.send_modify(|orders| orders.phase = Phase::Pause);
        eventually_within(self.patience, "an acknowledgement of everything", async || {
            (self.live.quiet.load(Ordering::SeqCst) == self.tasks.len()).then_some(())
        })
        .await;
    }

    pub(super) fn go_on(&self) {
        self.orders.send_modify(|orders| orders.phase = Phase::Publish);
    }

    /// Ends them when everything is acknowledged; returns what was.
    pub(super) async fn leave(self) -> Ledger {
        self.orders.send_modify(|orders| orders.phase = Phase::Leave);
        let mut ledger = Ledger::default();
        for task in self.tasks {
            let left = tokio::time::timeout(self.patience, task).await;
            ledger.merge(left.expect("every acknowledgement comes in time").expect("no panic"));
        }
        ledger
    }
}
