//! When a panel is read, and by whom.
//!
//! A run is due at the minutes that the setting `panel.interval_minutes` divides, and at once when that of the current minute was
//! not made. Whoever takes the lease makes it, and keeps the lease alive meanwhile; when it dies, another one takes over as
//! soon as the lease has expired.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::domain::Setting;
use crate::ingest::queue::IngestQueue;
use crate::store::StoreError;
use crate::store::source_leases::{LeaseStanding, RunEnd};

use super::PanelSource;
use super::look::LookFault;

/// How often it is looked whether a run is due: two small statements.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A lease that is not kept is free after so long: with the look above, another instance reads within 10 seconds.
pub(super) const LEASE: Duration = Duration::from_secs(8);
const RENEW_EVERY: Duration = Duration::from_secs(2);
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
        let slot = slot(self.clock.now(), interval);
        let standing = self.store.source_lease(&self.lease.source).await?;
        if is_due(&standing, slot) && self.store.take_source_lease(&self.lease, LEASE, Some(slot)).await? {
            return self.run_once(slot, queue, soft).await;
        }
        match standing.last_error {
            Some(error) => self.say(Err(&error), false),
            None if standing.finished_slot.is_some() => self.say(Ok(()), false),
            None => {}
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
            fault = self.keep_lease() => Err(fault),
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

    /// Renews the lease until another instance has it. An outage of the database is no reason to give up: nobody else can take
    /// it meanwhile, and nothing can be stored.
    pub(super) async fn keep_lease(&self) -> LookFault {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            if let Ok(false) = self.store.renew_source_lease(&self.lease, LEASE).await {
                return LookFault::TakenOver;
            }
        }
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

/// Whether it is worth asking for the lease, which alone decides.
fn is_due(standing: &LeaseStanding, slot: DateTime<Utc>) -> bool {
    let is_open = |finished: DateTime<Utc>| finished < slot || finished > slot + TimeDelta::hours(1);
    !standing.held && standing.wait_until.is_none() && standing.finished_slot.is_none_or(is_open)
}

/// The minute of the schedule that `now` belongs to.
fn slot(now: DateTime<Utc>, interval_minutes: i64) -> DateTime<Utc> {
    let seconds = interval_minutes.max(1) * 60;
    DateTime::from_timestamp(now.timestamp().div_euclid(seconds) * seconds, 0).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_belong_to_the_minutes_that_the_interval_divides() {
        let slot = |text: &str, interval| {
            let now: DateTime<Utc> = format!("2026-03-10T{text}Z").parse().expect("a time");
            super::slot(now, interval).format("%H:%M:%S").to_string()
        };
        assert_eq!(slot("12:04:59", 5), "12:00:00");
        assert_eq!(slot("12:05:00", 5), "12:05:00");
        assert_eq!(slot("12:05:59", 2), "12:04:00");
        assert_eq!(slot("12:05:59", 1), "12:05:00");
        assert_eq!(slot("12:05:59", 0), "12:05:00");
    }
}
