//! Clients of an OpenVPN server, as its status tells them.
//!
//! The status is read again and again, from the file into which the server writes it or from its management interface. Counters of
//! a session become records as `source::readings` makes them, so a look that is missed, repeated or interrupted costs nothing: the
//! next one covers it. What a session uses after the last look at it, the status does not tell.

mod file;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod look;
mod management;
mod status;
mod undelivered;
mod unknown;
mod zone;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::domain::{Clock, TenantId};
use crate::ingest::queue::IngestQueue;
use crate::store::Store;

use super::Source;
use super::metrics::SourceState;
use super::readings::{DeliveryError, FirstReading, Outcome, Readings};
use look::{Look, LookFault, Looker};
use undelivered::{Batch, Undelivered};
use unknown::UnknownSessions;

pub use management::ManagementAddress;
pub use status::AccountName;
pub use zone::Zone;

/// Readings that wait while the database is away (some 40 MB); what is beyond are sessions that ended.
const UNDELIVERED_MAX: usize = 100_000;
/// Between attempts to deliver.
const DELIVER_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Readings that are parked at once; each waits for its commit.
const PARK_AT_ONCE: usize = 256;
/// A fault that stays is mentioned this often.
const REMIND_EVERY: Duration = Duration::from_secs(300);

/// Where a status comes from.
pub enum StatusFrom {
    File(PathBuf),
    Management { address: ManagementAddress, password: Option<String> },
}

/// How a server is looked at.
pub struct OpenVpnOptions {
    pub status: StatusFrom,
    pub account: AccountName,
    /// Of the server, for version 1 of the format.
    pub time_zone: Zone,
    pub tenant: TenantId,
    pub interval: Duration,
    /// The server's clock may differ by so much, and its file may be that old.
    pub stale_after: Duration,
    pub timeout: Duration,
    pub status_max_bytes: u64,
    pub sessions_max: usize,
}

/// A server whose clients are metered.
pub struct OpenVpnSource {
    options: OpenVpnOptions,
    store: Store,
    clock: Clock,
    state: Arc<SourceState>,
}

impl Source for OpenVpnSource {
    fn state(&self) -> &SourceState {
        &self.state
    }

    /// Looks and delivers until `soft` and everything that was read is committed, or until `hard`.
    async fn run(self: Arc<Self>, queue: IngestQueue, soft: CancellationToken, hard: CancellationToken) {
        let undelivered = Undelivered::new(UNDELIVERED_MAX);
        let (store, tenant) = (self.store.clone(), self.options.tenant);
        let readings = Readings::new(store, queue, tenant, self.state.name(), FirstReading::Counts);
        let both = async {
            tokio::join!(
                Box::pin(self.keep_looking(&undelivered, &soft)),
                Box::pin(self.keep_delivering(&readings, &undelivered)),
            )
        };
        tokio::select! {
            () = hard.cancelled() => {}
            _ = both => {}
        }
        self.state.stopped();
    }
}

impl OpenVpnSource {
    pub(crate) fn new(options: OpenVpnOptions, store: Store, clock: Clock, state: Arc<SourceState>) -> Self {
        Self { options, store, clock, state }
    }

    async fn keep_looking(&self, undelivered: &Undelivered, soft: &CancellationToken) {
        let mut looker = Looker::new(&self.options, self.state.name());
        let mut trouble = Trouble::new(self.state.name());
        self.state.connecting();
        loop {
            let began = Instant::now();
            let looked = tokio::select! {
                () = soft.cancelled() => break,
                looked = looker.look(self.clock.now()) => looked,
            };
            let fault = match looked {
                Ok(look) => self.take_over(look, undelivered, &mut trouble),
                Err(fault) => Some(fault),
            };
            let (again, tell) = looker.next(began, fault.as_ref());
            match fault {
                None => {
                    if trouble.ends() {
                        self.state.working();
                    }
                }
                Some(fault) => {
                    if fault.is_torn() {
                        self.state.incomplete();
                    }
                    if tell {
                        let text = fault.to_string();
                        trouble.mention(&text);
                        self.state.failed(text);
                    }
                }
            }
            tokio::select! {
                () = soft.cancelled() => break,
                () = tokio::time::sleep_until(again) => {}
            }
        }
        undelivered.close();
    }

    /// Hands a look on. Returns what is wrong with it although it could be read.
    fn take_over(
        &self,
        look: Look,
        undelivered: &Undelivered,
        trouble: &mut Trouble<'_>,
    ) -> Option<LookFault> {
        for _ in &look.readings {
            self.state.message();
        }
        self.state.refused(look.refused);
        trouble.mention_refused(look.refused, look.why_refused);
        let given_up = undelivered.look(look.readings);
        if given_up > 0 {
            let source = self.state.name();
            warn!(
                source,
                sessions = given_up,
                "too many sessions ended while nothing could be stored; lost their usage"
            );
        }
        look.stale
    }

    async fn keep_delivering(&self, readings: &Readings, undelivered: &Undelivered) {
        let source = self.state.name();
        let mut unknown = UnknownSessions::default();
        let mut away = false;
        while let Some(batch) = undelivered.take().await {
            self.state.window(batch.readings.len(), batch.oldest);
            match self.deliver(readings, &batch, &mut unknown).await {
                Ok(()) => {
                    self.state.window(0, None);
                    if std::mem::take(&mut away) {
                        info!(source, "readings are stored again");
                    }
                }
                Err(DeliveryError::Stopped) => return,
                Err(DeliveryError::Store(error)) => {
                    if !std::mem::replace(&mut away, true) {
                        warn!(source, %error, "readings cannot be stored; will try again");
                    }
                    undelivered.give_back(batch);
                    tokio::time::sleep(DELIVER_AGAIN_AFTER).await;
                }
            }
        }
    }

    async fn deliver(
        &self,
        readings: &Readings,
        batch: &Batch,
        unknown: &mut UnknownSessions,
    ) -> Result<(), DeliveryError> {
        let source = self.state.name();
        let now = self.clock.now();
        let outcomes = readings.deliver(&batch.readings, now).await?;
        for (reading, outcome) in batch.readings.iter().zip(outcomes) {
            self.state.acknowledged();
            match outcome {
                Outcome::UnknownAccount => {
                    self.state.unknown_account();
                    if unknown.met(reading) {
                        let account = reading.account.as_str();
                        warn!(source, account, "the account stands for no SIM; see `simbridge accounts set`");
                    }
                }
                Outcome::Parked(rejection) => {
                    let session = reading.session_id.as_str();
                    warn!(source, session, %rejection, "a reading was parked");
                }
                Outcome::Stored | Outcome::Nothing | Outcome::Base => unknown.known(reading),
            }
        }
        let due = unknown.due(&batch.live);
        for some in due.chunks(PARK_AT_ONCE) {
            try_join_all(some.iter().map(|reading| readings.park_unknown(reading, now))).await?;
        }
        unknown.parked(&due, &batch.live);
        Ok(())
    }
}

/// What is wrong with a server: mentioned when it begins, when it changes, and now and then.
struct Trouble<'s> {
    source: &'s str,
    mentioned: Option<(String, Instant)>,
    refused: Option<String>,
    /// Since the last fault, or the start.
    well: bool,
}

impl<'s> Trouble<'s> {
    fn new(source: &'s str) -> Self {
        Self { source, mentioned: None, refused: None, well: false }
    }

    fn mention(&mut self, error: &str) {
        let now = Instant::now();
        self.well = false;
        if !self.mentioned.as_ref().is_some_and(|(text, at)| text == error && now - *at < REMIND_EVERY) {
            warn!(source = self.source, error, "cannot read the status; will try again");
            self.mentioned = Some((error.into(), now));
        }
    }

    /// True for the first look without a fault.
    fn ends(&mut self) -> bool {
        if !self.well {
            info!(source = self.source, "reads the status");
            self.mentioned = None;
        }
        !std::mem::replace(&mut self.well, true)
    }

    fn mention_refused(&mut self, clients: u64, why: Option<String>) {
        if let Some(error) = why.as_deref().filter(|_| why != self.refused) {
            warn!(source = self.source, clients, error, "clients of the status cannot be counted");
        }
        self.refused = why;
    }
}
