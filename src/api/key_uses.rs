//! The audit of keys: counted in memory, added to the database every few seconds and at the end.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::domain::{Clock, Permission};
use crate::store::Store;
use crate::store::api_keys::ApiKeyUse;

/// What a kill may cost of the audit.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// Keys, addresses and permissions that are told apart between two flushes; uses beyond that are counted as lost and logged.
const AT_MOST: usize = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Use {
    key: i32,
    day: NaiveDate,
    address: IpAddr,
    action: Permission,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    accepted: i64,
    refused: i64,
    first_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
}

#[derive(Debug, Default)]
struct Counts {
    uses: HashMap<Use, Count>,
    lost: u64,
}

/// Counts what keys are used for. Cheap to clone.
#[derive(Clone)]
pub(crate) struct KeyUses {
    clock: Clock,
    counts: Arc<Mutex<Counts>>,
}

impl KeyUses {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, counts: Arc::default() }
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn count(&self, key: i32, address: IpAddr, action: Permission, accepted: bool) {
        let now = self.clock.now();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let this = Use { key, day: now.date_naive(), address, action };
        if counts.uses.len() >= AT_MOST && !counts.uses.contains_key(&this) {
            counts.lost += 1;
            return;
        }
        let count =
            counts.uses.entry(this).or_insert(Count { accepted: 0, refused: 0, first_at: now, last_at: now });
        *(if accepted { &mut count.accepted } else { &mut count.refused }) += 1;
        count.last_at = now;
    }

    /// Adds to the database until `stop`, and what is left then.
    pub(crate) async fn run(self, store: Store, stop: CancellationToken) {
        loop {
            let stopped = tokio::time::timeout(FLUSH_EVERY, stop.cancelled()).await.is_ok();
            self.flush(&store).await;
            if stopped {
                return;
            }
        }
    }

    async fn flush(&self, store: &Store) {
        let taken = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        if taken.lost > 0 {
            warn!(requests = taken.lost, "uses of API keys that the audit had no room for");
        }
        if taken.uses.is_empty() {
            return;
        }
        let uses: Vec<ApiKeyUse> = taken.uses.iter().map(|(what, count)| line(what, count)).collect();
        if let Err(error) = store.add_api_key_uses(&uses).await {
            warn!(%error, "uses of API keys could not be noted; they are tried again");
            self.put_back(taken);
        }
    }

    fn put_back(&self, taken: Counts) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (what, count) in taken.uses {
            if counts.uses.len() >= AT_MOST && !counts.uses.contains_key(&what) {
                counts.lost += 1;
                continue;
            }
            let held = counts.uses.entry(what).or_insert(Count { accepted: 0, refused: 0, ..count });
            held.accepted += count.accepted;
            held.refused += count.refused;
            held.first_at = held.first_at.min(count.first_at);
        }
    }
}

fn line(what: &Use, count: &Count) -> ApiKeyUse {
    ApiKeyUse {
        key: what.key,
        day: what.day,
        address: what.address,
        action: what.action.as_str().to_owned(),
        accepted: count.accepted,
        refused: count.refused,
        first_at: count.first_at,
        last_at: count.last_at,
    }
}
