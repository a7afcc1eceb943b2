//! Remote panels: HTTP endpoints that tell in JSON how much accounts have used.
//!
//! Every few minutes one of the instances asks for every account. What is told is cumulative, so an answer that is missed loses
//! nothing: the next one covers it. What a lower value means is decided in `reset.rs`, against the value up to which the account
//! was counted, and holds only if that is still so in the transaction that stores the record (`counters.from`).

mod count;
mod endpoint;
mod fetch;
mod figures;
mod look;
mod notes;
mod reset;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::domain::{Clock, TenantId};
use crate::ingest::queue::IngestQueue;
use crate::outgoing::{TlsFiles, tls_client};
use crate::store::Store;
use crate::store::source_leases::LeaseKey;

use super::metrics::SourceState;
use super::readings::{FirstReading, Readings};
use super::{Source, SourceFault};
use fetch::{FetchLimits, Fetcher};
use notes::Notes;

pub use super::amount::Unit;
pub(crate) use count::Counted;
pub use endpoint::{Endpoint, EndpointFault};
pub use fetch::Auth;
pub use figures::{ListPlace, Mapping};
pub(crate) use look::SyncFault;
pub(crate) use reset::Meaning;
pub use reset::ResetRule;

/// How a panel is read.
pub struct PanelOptions {
    pub endpoint: Endpoint,
    pub auth: Auth,
    /// Where accounts stand in an answer for all of them; `None` when each has an address of its own.
    pub list: Option<ListPlace>,
    /// Those that are read; empty for those of the list, or those that were named for this source.
    pub accounts: Vec<String>,
    pub mapping: Mapping,
    pub reset: ResetRule,
    pub(crate) first: FirstReading,
    pub tenant: TenantId,
    pub timeout: Duration,
    pub retry_first: Duration,
    pub max_response_bytes: usize,
    pub max_concurrent: usize,
    pub max_accounts: usize,
    pub tls: TlsFiles,
}

/// A panel that is read on schedule.
pub struct PanelSource {
    options: PanelOptions,
    fetcher: Fetcher,
    store: Store,
    clock: Clock,
    state: Arc<SourceState>,
    lease: LeaseKey,
    /// One look at a time.
    notes: Mutex<Notes>,
}

impl Source for PanelSource {
    fn state(&self) -> &SourceState {
        &self.state
    }

    /// Reads on schedule until `soft`, when what was received is stored still, or until `hard`.
    async fn run(self: Arc<Self>, queue: IngestQueue, soft: CancellationToken, hard: CancellationToken) {
        tokio::select! {
            () = hard.cancelled() => {}
            () = self.keep_reading(&queue, &soft) => {}
        }
        self.state.stopped();
    }
}

impl PanelSource {
    /// # Errors
    /// [`SourceFault`] when a file cannot be used.
    pub(crate) fn new(
        mut options: PanelOptions,
        store: Store,
        clock: Clock,
        state: Arc<SourceState>,
    ) -> Result<Self, SourceFault> {
        let tls = tls_client(&options.tls)?;
        options.auth.header().map_err(|problem| SourceFault { key: "auth_file", problem })?;
        options.accounts.sort_unstable();
        options.accounts.dedup();
        let limits = FetchLimits {
            timeout: options.timeout,
            max_response_bytes: options.max_response_bytes,
            retry_first: options.retry_first,
        };
        let fetcher = Fetcher::new(tls, clock, limits);
        let holder = format!("{:032x}", rand::random::<u128>());
        let lease = LeaseKey { source: state.name().into(), holder };
        Ok(Self { options, fetcher, store, clock, state, lease, notes: Mutex::default() })
    }

    fn readings(&self, queue: &IngestQueue) -> Readings {
        let (store, tenant) = (self.store.clone(), self.options.tenant);
        Readings::new(store, queue.clone(), tenant, self.state.name(), self.options.first)
    }
}
