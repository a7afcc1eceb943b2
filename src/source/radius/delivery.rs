//! Requests become readings, are committed together, and then answered.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::RadiusSource;
use super::accounting::{Event, Report, SessionReport};
use super::intake::Request;
use super::metrics::DropReason;
use super::sessions::decide;
use crate::source::readings::{DeliveryError, Readings};
use crate::store::sessions::SeededSession;
use crate::store::{Remedy, StoreError};

/// Sessions of unknown accounts that are remembered, so that each is parked at its first sight and at its end only; and
/// accounts that are mentioned in the log.
const UNKNOWN_MAX: usize = 10_000;
/// Between two attempts while the database is away; doubled with each.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Short, because a NAS gives a request up after some seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Delivery<'s> {
    source: &'s RadiusSource,
    readings: Readings,
    unknown_sessions: HashSet<String>,
    unknown_accounts: HashSet<String>,
}

/// What a batch came to, counted once it is committed.
#[derive(Default)]
struct Tally {
    without_usage: u64,
    unknown: u64,
}

impl<'s> Delivery<'s> {
    pub(super) fn new(source: &'s RadiusSource, readings: Readings) -> Self {
        Self { source, readings, unknown_sessions: HashSet::new(), unknown_accounts: HashSet::new() }
    }

    /// Takes requests until their sender is gone and all are answered.
    pub(super) async fn run(&mut self, mut taken: Receiver<Request>) {
        let most = self.source.options.batch_max_requests;
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() {
                let Some(request) = taken.recv().await else { return };
                waiting.push_back(request);
            }
            while waiting.len() < most
                && let Ok(request) = taken.try_recv()
            {
                waiting.push_back(request);
            }
            let batch = next_batch(&mut waiting);
            let oldest = batch.iter().map(|request| request.since).min();
            self.source.state.window(batch.len() + waiting.len() + taken.len(), oldest);
            if self.commit(batch).await.is_err() {
                return;
            }
            self.source.state.window(waiting.len() + taken.len(), None);
        }
    }

    /// Repeats a batch until it is committed, and answers it. Where the database refuses something of it, each request goes by
    /// itself, and the one that is refused is given up.
    ///
    /// # Errors
    /// [`Stopped`].
    async fn commit(&mut self, batch: Vec<Request>) -> Result<(), Stopped> {
        let mut batches = VecDeque::from([batch]);
        while let Some(batch) = batches.pop_front() {
            match self.stored(&batch).await? {
                Ok(()) => self.answer(batch).await,
                Err(_) if batch.len() > 1 => batches.extend(batch.into_iter().map(|request| vec![request])),
                Err(refused) => {
                    let source = self.source.state.name();
                    error!(source, error = %refused, report = ?batch[0].report, "the database refuses a request");
                    self.source.counts.dropped(DropReason::RefusedByDatabase);
                    self.source.duplicates().dropped(&batch[0].key);
                }
            }
        }
        Ok(())
    }

    /// Waits while the database is away. What comes back inside is what it refuses.
    async fn stored(&mut self, batch: &[Request]) -> Result<Result<(), StoreError>, Stopped> {
        let mut pause = FIRST_PAUSE;
        let mut outage: Option<Instant> = None;
        let (source, state) = (self.source.state.name(), &self.source.state);
        loop {
            match self.attempt(batch).await {
                Ok(tally) => {
                    if let Some(since) = outage {
                        state.working();
                        info!(
                            source,
                            outage_seconds = since.elapsed().as_secs_f64(),
                            "requests are answered again"
                        );
                    }
                    self.source.counts.without_usage.inc_by(tally.without_usage);
                    self.source.counts.unknown_accounts.inc_by(tally.unknown);
                    return Ok(Ok(()));
                }
                Err(DeliveryError::Stopped) => return Err(Stopped),
                Err(DeliveryError::Store(error)) if error.remedy() == Remedy::Isolate => {
                    return Ok(Err(error));
                }
                Err(DeliveryError::Store(error)) => {
                    if outage.is_none() {
                        outage = Some(Instant::now());
                        state.failed(error.to_string());
                        warn!(source, %error, "requests are not answered until the database works again");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn attempt(&mut self, batch: &[Request]) -> Result<Tally, DeliveryError> {
        let tenant = self.source.options.tenant;
        let mut sessions = Vec::with_capacity(batch.len());
        for request in batch {
            match &request.report {
                Report::Session(report) => sessions.push(report),
                Report::Restart { origin, at } => {
                    self.source.store.end_sessions_of(tenant, origin, *at).await?;
                }
                Report::Nothing => {}
            }
        }
        let without_usage = (batch.len() - sessions.len()) as u64;
        let mut tally = if sessions.is_empty() { Tally::default() } else { self.deliver(&sessions).await? };
        tally.without_usage += without_usage;
        Ok(tally)
    }

    async fn deliver(&mut self, reports: &[&SessionReport]) -> Result<Tally, DeliveryError> {
        let (tenant, now) = (self.source.options.tenant, self.source.clock.now());
        let mut known = self.readings.look_up(reports.iter().map(|report| &report.reading)).await?;
        let (mut begun, mut ended, mut counting, mut unknown) = (vec![], vec![], vec![], vec![]);
        for report in reports {
            let (account, session_id) = (&report.reading.account, &report.reading.session_id);
            let Some(iccid) = known.sim(account).cloned() else {
                unknown.push(*report);
                continue;
            };
            let decision = decide(report, known.newest(session_id));
            if let Some(taken_at) = decision.begin_at {
                let session_id = session_id.clone();
                let zero = SeededSession { iccid, session_id, upload_bytes: 0, download_bytes: 0, taken_at };
                known.begins(&zero);
                begun.push(zero);
            }
            ended.extend(decision.end_at.map(|at: DateTime<Utc>| (session_id.as_str(), at)));
            counting.extend(decision.count);
        }
        if !begun.is_empty() {
            self.source.store.begin_sessions(tenant, &begun).await?;
        }
        self.readings.deliver_known(&counting, &known, now).await?;
        if !ended.is_empty() {
            self.source.store.end_sessions(tenant, &ended).await?;
        }
        self.park(&unknown, now).await?;
        let without_usage = reports.len() - counting.len() - unknown.len();
        Ok(Tally { without_usage: without_usage as u64, unknown: unknown.len() as u64 })
    }

    /// Once at the first sight of a session and once at its end.
    async fn park(&mut self, unknown: &[&SessionReport], now: DateTime<Utc>) -> Result<(), DeliveryError> {
        let is_due = |report: &&SessionReport| {
            report.event == Event::Stop || !self.unknown_sessions.contains(&report.reading.session_id)
        };
        let due: Vec<_> = unknown.iter().copied().filter(is_due).map(|report| &report.reading).collect();
        if due.is_empty() {
            return Ok(());
        }
        self.readings.park_all_unknown(&due, now).await?;
        for reading in due {
            if self.unknown_sessions.len() >= UNKNOWN_MAX {
                self.unknown_sessions.clear();
            }
            self.unknown_sessions.insert(reading.session_id.clone());
            if self.unknown_accounts.len() < UNKNOWN_MAX
                && self.unknown_accounts.insert(reading.account.clone())
            {
                let (source, account) = (self.source.state.name(), &reading.account);
                warn!(source, account, "the account stands for no SIM; what it uses is parked");
            }
        }
        Ok(())
    }

    async fn answer(&self, batch: Vec<Request>) {
        for request in batch {
            // Who does not hear it asks again.
            self.source.socket.send_to(&request.answer, request.key.from).await.ok();
            self.source.state.acknowledged();
            self.source.duplicates().answered(&request.key, request.answer);
        }
    }
}

/// Nothing more is accepted.
struct Stopped;

/// What can be stored together: one report of each session, because the second one is judged by what the first one left, and
/// nothing from both sides of a restart.
fn next_batch(waiting: &mut VecDeque<Request>) -> Vec<Request> {
    let mut sessions = HashSet::new();
    let (mut batch, mut left) = (Vec::with_capacity(waiting.len()), VecDeque::new());
    while let Some(request) = waiting.pop_front() {
        let is_restart = matches!(request.report, Report::Restart { .. });
        if is_restart && !(batch.is_empty() && left.is_empty()) {
            left.push_back(request);
            break;
        }
        let again = match &request.report {
            Report::Session(report) => !sessions.insert(report.reading.session_id.clone()),
            _ => false,
        };
        if again {
            left.push_back(request)
        } else {
            batch.push(request)
        }
        if is_restart {
            break;
        }
    }
    left.append(waiting);
    *waiting = left;
    batch
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
