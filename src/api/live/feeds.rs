//! One feed a tenant: its figures are computed once for all who watch, and by nobody while nobody does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::domain::{Clock, TenantId};
use crate::store::Store;

use super::super::error::ApiError;
use super::figures;

/// From one push to the next.
pub(super) const PUSH_EVERY: Duration = Duration::from_secs(5);
/// While the database is away, figures of at most this age are better than none.
const KEEP_FOR: Duration = Duration::from_secs(30);

/// How feeds are made.
pub(crate) struct FeedsOptions {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    /// A session without a reading for so long does not count as active.
    pub(crate) session_idle_minutes: i32,
    /// Watchers at once, of all tenants.
    pub(crate) max_watchers: usize,
    /// Ends every watcher.
    pub(crate) stop: CancellationToken,
}

/// The feeds of all tenants.
pub(crate) struct Feeds {
    options: FeedsOptions,
    slots: Arc<Semaphore>,
    /// As many as there are tenants at most; an idle one is a few bytes.
    feeds: Mutex<HashMap<TenantId, Arc<Feed>>>,
}

struct Feed {
    /// Held while figures are computed, so that all who ask at once get the same ones.
    computing: tokio::sync::Mutex<()>,
    latest: watch::Sender<Option<Figures>>,
    /// Whether a task computes them every few seconds.
    runs: Mutex<bool>,
}

/// Figures at one moment, as they are sent.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    /// Counts up with each computation of this instance.
    pub(super) number: u64,
    pub(super) body: Bytes,
    at: Instant,
}

/// Sees every new figure, or only the newest when it is slow. Gives its slot back when it is dropped.
pub(super) struct Watcher {
    figures: watch::Receiver<Option<Figures>>,
    stop: CancellationToken,
    _slot: OwnedSemaphorePermit,
}

impl Watcher {
    /// What is known now is news again.
    pub(super) fn again(&mut self) {
        self.figures.mark_changed();
    }

    /// The program ends. Cancel-safe.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + use<> {
        self.stop.clone().cancelled_owned()
    }

    /// The next figures; `None` when the program ends. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Figures> {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return None,
                changed = self.figures.changed() => changed.ok()?,
            }
            if let Some(figures) = self.figures.borrow_and_update().clone() {
                return Some(figures);
            }
        }
    }
}

impl Feeds {
    pub(crate) fn new(options: FeedsOptions) -> Self {
        let slots = Arc::new(Semaphore::new(options.max_watchers));
        Self { options, slots, feeds: Mutex::default() }
    }

    /// Figures of a tenant that are not older than one push.
    ///
    /// # Errors
    /// An outage that has lasted for longer than figures are kept.
    pub(super) async fn figures(&self, tenant: TenantId) -> Result<Figures, ApiError> {
        let feed = self.feed(tenant);
        match self.compute(&feed, tenant).await {
            Ok(figures) => Ok(figures),
            Err(error) => {
                let kept = feed.latest.borrow().clone().filter(|kept| kept.at.elapsed() < KEEP_FOR);
                kept.ok_or(error)
            }
        }
    }

    /// Begins to watch a tenant; the first figures come at once.
    ///
    /// # Errors
    /// [`ApiError::Busy`] when as many watch as may.
    pub(super) fn watch(self: &Arc<Self>, tenant: TenantId) -> Result<Watcher, ApiError> {
        let slot = self.slots.clone().try_acquire_owned().map_err(|_| ApiError::Busy)?;
        let feed = self.feed(tenant);
        let mut figures = feed.latest.subscribe();
        figures.mark_changed();
        let mut runs = feed.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *runs, true) {
            tokio::spawn(push(self.clone(), feed.clone(), tenant));
        }
        drop(runs);
        Ok(Watcher { figures, stop: self.options.stop.clone(), _slot: slot })
    }

    fn feed(&self, tenant: TenantId) -> Arc<Feed> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || {
            Arc::new(Feed {
                computing: tokio::sync::Mutex::default(),
                latest: watch::Sender::new(None),
                runs: Mutex::default(),
            })
        };
        feeds.entry(tenant).or_insert_with(made).clone()
    }

    async fn compute(&self, feed: &Feed, tenant: TenantId) -> Result<Figures, ApiError> {
        let fresh = || feed.latest.borrow().clone().filter(|kept| kept.at.elapsed() < PUSH_EVERY / 2);
        if let Some(kept) = fresh() {
            return Ok(kept);
        }
        let _computing = feed.computing.lock().await;
        // Somebody else may have computed them while we waited.
        if let Some(kept) = fresh() {
            return Ok(kept);
        }
        let now = self.options.clock.now();
        let stats =
            self.options.store.dashboard_stats(tenant, now, self.options.session_idle_minutes).await?;
        let number = feed.latest.borrow().as_ref().map_or(1, |kept| kept.number + 1);
        let figures = Figures { number, body: figures::body(&stats, now), at: Instant::now() };
        feed.latest.send_replace(Some(figures.clone()));
        Ok(figures)
    }
}

/// Computes the figures of a tenant every few seconds, for as long as somebody watches.
async fn push(feeds: Arc<Feeds>, feed: Arc<Feed>, tenant: TenantId) {
    let mut ticks = tokio::time::interval(PUSH_EVERY);
    let mut failing = false;
    loop {
        tokio::select! {
            () = feeds.options.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        {
            let mut runs = feed.runs.lock().unwrap_or_else(PoisonError::into_inner);
            if feed.latest.receiver_count() == 0 {
                *runs = false;
                return;
            }
        }
        let outcome = feeds.compute(&feed, tenant).await;
        if let (Err(error), false) = (&outcome, failing) {
            warn!(
                tenant = tenant.0,
                ?error,
                "live figures cannot be computed; they go on when the database answers"
            );
        }
        failing = outcome.is_err();
    }
}
