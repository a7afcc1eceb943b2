//! When a panel is read, and by whom.
//!
//! A run is due at the minutes that the setting `panel.interval_minutes` divides, and at once when that of the current minute was
//! not made. Whoever takes the lease makes it, and keeps the lease alive meanwhile; when it dies, another one takes over as
//! soon as the lease has expired.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::domain::Setting;
use crate::ingest::queue::IngestQueue;
use crate::source::turns::{LEASE, LOOK_EVERY, is_due, lease_is_lost, slot};
use crate::store::StoreError;
use crate::store::source_leases::RunEnd;

use super::PanelSource;
use super::look::LookFault;

/// For how long one run may take.
const RUN_LIMIT: Duration = Duration::from_secs(600);

impl PanelSource {
    pub(super) async fn keep_reading(&self, queue: &IngestQueue, soft: &CancellationToken) {
        let mut away = false;
        while !soft.is_cancelled() {
            match self.turn(queue, soft).await {
                Ok(()) => away = false,
                Err(problem) => {
                    // An outage is told by the writers already; once is enough here.
                    if !std::mem::replace(&mut away, true) {
                        warn!(source = self.state.name(), error = %problem, "the panel waits for the database");
                    }
                }
            }
            tokio::select! {
                () = soft.cancelled() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn turn(&self, queue: &IngestQueue, soft: &CancellationToken) -> Result<(), StoreError> {
        let interval = self.store.setting(Setting::PanelInterval).await?;
        let slot = slot(self.clock.now(), interval.max(1) * 60);
        let standing = self.store.source_lease(&self.lease.source).await?;
        if is_due(&standing, slot) && self.store.take_source_lease(&self.lease, LEASE, Some(slot)).await? {
            return self.run_once(slot, queue, soft).await;
        }
        if let Some(ended) = standing.last_run() {
            self.say(ended, false);
        }
        Ok(())
    }

    async fn run_once(
        &self,
        slot: DateTime<Utc>,
        queue: &IngestQueue,
        soft: &CancellationToken,
    ) -> Result<(), StoreError> {
        let ended = tokio::select! {
            ended = timeout(RUN_LIMIT, self.look(queue, soft)) => ended.unwrap_or(Err(LookFault::TooLong)),
            () = lease_is_lost(&self.store, &self.lease) => Err(LookFault::TakenOver),
        };
        let end = match &ended {
            Ok(()) => RunEnd { slot: Some(slot), ..RunEnd::default() },
            // Another instance is to make the run, and nothing is wrong with the panel.
            Err(LookFault::Stopped | LookFault::TakenOver) => RunEnd::default(),
            Err(fault) => RunEnd { slot: Some(slot), wait: fault.wait(), error: Some(fault.to_string()) },
        };
        match &ended {
            Ok(()) => self.say(Ok(()), true),
            Err(LookFault::Stopped) => {}
            Err(fault) => self.say(Err(&fault.to_string()), true),
        }
        self.store.finish_source_lease(&self.lease, &end).await
    }

    /// Shows how a run ended, and logs it when that is news. `own`: this instance made it.
    fn say(&self, ended: Result<(), &str>, own: bool) {
        let source = self.state.name();
        match ended {
            Ok(()) => {
                if self.state.succeeded() {
                    info!(source, "the panel is read");
                }
            }
            Err(error) => {
                if self.state.look_failed(error, own) {
                    warn!(source, error, "the panel cannot be read; will try again");
                }
            }
        }
    }
}
