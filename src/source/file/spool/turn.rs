//! When a directory is read, and by which instance.

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::source::turns::{LEASE, LOOK_EVERY, is_due, lease_is_lost, slot};
use crate::store::StoreError;
use crate::store::source_leases::RunEnd;

use super::listing::Listing;
use super::taking::TakeFault;
use super::{Notes, SpoolSource};

/// How a turn ended that was not cut short.
enum TurnEnd {
    /// What is wrong, if anything is.
    Whole(Option<String>),
    /// Another instance, or the next start, goes on.
    Cut,
}

impl SpoolSource {
    pub(super) async fn keep_reading(&self, soft: &CancellationToken) {
        let mut notes = self.notes.lock().await;
        let (mut away, mut looked) = (false, None);
        while !soft.is_cancelled() {
            match self.turn(&mut notes, &mut looked, soft).await {
                Ok(()) => away = false,
                Err(problem) => {
                    // An outage is told by the writers already; once is enough here.
                    if !std::mem::replace(&mut away, true) {
                        let source = self.parts.state.name();
                        warn!(source, error = %problem, "the directory waits for the database");
                    }
                }
            }
            self.parts.state.files().reading(None);
            tokio::select! {
                () = soft.cancelled() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn turn(
        &self,
        notes: &mut Notes,
        looked: &mut Option<DateTime<Utc>>,
        soft: &CancellationToken,
    ) -> Result<(), StoreError> {
        let interval = i64::try_from(self.options.interval.as_secs()).unwrap_or(i64::MAX);
        let slot = slot(self.parts.clock.now(), interval);
        // Also without the lease: whoever takes over knows at once which files have settled.
        if looked.replace(slot) != Some(slot) && self.look(notes).await.is_none() {
            *looked = None;
            return Ok(());
        }
        let standing = self.parts.store.source_lease(&self.lease.source).await?;
        if is_due(&standing, slot)
            && self.parts.store.take_source_lease(&self.lease, LEASE, Some(slot)).await?
        {
            return self.run_once(notes, slot, soft).await;
        }
        if let Some(ended) = standing.last_run() {
            self.say(ended, false);
        }
        Ok(())
    }

    async fn run_once(
        &self,
        notes: &mut Notes,
        slot: DateTime<Utc>,
        soft: &CancellationToken,
    ) -> Result<(), StoreError> {
        let ended = tokio::select! {
            ended = self.take_all(notes, soft) => ended,
            () = lease_is_lost(&self.parts.store, &self.lease) => Ok(TurnEnd::Cut),
        };
        let end = match &ended {
            Ok(TurnEnd::Whole(error)) => {
                self.say(error.as_deref().map_or(Ok(()), Err), true);
                RunEnd { slot: Some(slot), wait: None, error: error.clone() }
            }
            Ok(TurnEnd::Cut) | Err(_) => RunEnd::default(),
        };
        let given_back = self.parts.store.finish_source_lease(&self.lease, &end).await;
        ended.map(|_| ())?;
        given_back
    }

    /// Takes every file that has settled. A file that cannot be taken leaves the others alone.
    async fn take_all(&self, notes: &mut Notes, soft: &CancellationToken) -> Result<TurnEnd, StoreError> {
        let Some(listing) = self.look(notes).await else { return Ok(TurnEnd::Cut) };
        let mut faults = Vec::new();
        for candidate in listing.settled {
            if soft.is_cancelled() {
                return Ok(TurnEnd::Cut);
            }
            let name = candidate.name;
            match self.take(notes, &name, soft).await {
                Ok(()) => drop(notes.said.remove(&name)),
                Err(TakeFault::Stopped) => return Ok(TurnEnd::Cut),
                Err(TakeFault::Store(error)) => return Err(error),
                Err(TakeFault::File(problem)) => {
                    if notes.said.insert(name, problem.clone()).as_ref() != Some(&problem) {
                        warn!(source = self.parts.state.name(), error = problem, "a file has to wait");
                    }
                    faults.push(problem);
                }
            }
        }
        self.look(notes).await;
        let others = faults.len().saturating_sub(1);
        let first = faults.into_iter().next();
        Ok(TurnEnd::Whole(first.map(|first| match others {
            0 => first,
            others => format!("{first}; and {others} more"),
        })))
    }

    /// Looks who is there. `None` when the directory cannot be read, which is said once.
    async fn look(&self, notes: &mut Notes) -> Option<Listing> {
        let (options, state) = (&self.options, &self.parts.state);
        let looked =
            notes.sightings.look(Instant::now(), &options.directory, &options.endings, options.settled).await;
        let listing = match looked {
            Ok(listing) => listing,
            Err(cause) => {
                self.say(Err(&format!("{} cannot be read: {cause}", options.directory.display())), true);
                return None;
            }
        };
        let is_there = |name: &String| notes.sightings.stamp(name).is_some();
        notes.unmoved.retain(|name, _| is_there(name));
        notes.said.retain(|name, _| is_there(name) || name.is_empty());
        state.files().waiting(listing.waiting.saturating_sub(notes.unmoved.len()), listing.oldest);
        if listing.unreadable_names > 0 && notes.said.insert(String::new(), String::new()).is_none() {
            let files = listing.unreadable_names;
            warn!(source = state.name(), files, "names that are not UTF-8 are passed over");
        }
        Some(listing)
    }

    /// Shows how a turn ended, and logs it when that is news. `own`: this instance made it.
    fn say(&self, ended: Result<(), &str>, own: bool) {
        let state = &self.parts.state;
        match ended {
            Ok(()) => {
                if state.succeeded() {
                    info!(source = state.name(), "the directory is read");
                }
            }
            Err(error) => {
                if state.look_failed(error, own) {
                    warn!(
                        source = state.name(),
                        error, "not all of the directory can be read; will try again"
                    );
                }
            }
        }
    }
}
