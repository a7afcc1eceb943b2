//! What brings records in beside the embedded broker and HTTP: its configuration made usable, a task for each source.

mod files;
mod keeping;
mod mqtt;
mod openvpn;
mod panel;
mod radius;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::domain::{Clock, TenantId};
use crate::ingest::DatabaseState;
use crate::ingest::queue::IngestQueue;
use crate::metrics::Metrics;
use crate::source::{Source, SourceFault};
use crate::store::Store;

use super::StartError;
use keeping::keep_running;

pub(crate) use panel::by_name as panel_by_name;

/// A source whose task had a defect is started again after so long.
const AFTER_DEFECT: Duration = Duration::from_secs(5);

/// What every source is made from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'s> {
    config: &'s Config,
    clock: Clock,
    store: &'s Store,
    metrics: &'s Metrics,
    queue: &'s IngestQueue,
    database: &'s DatabaseState,
    /// What was received is acknowledged at the first, everything ends at the second.
    stops: [&'s CancellationToken; 2],
}

impl<'s> Sources<'s> {
    pub(super) fn new(
        config: &'s Config,
        clock: Clock,
        store: &'s Store,
        metrics: &'s Metrics,
        queue: &'s IngestQueue,
        database: &'s DatabaseState,
        stops: [&'s CancellationToken; 2],
    ) -> Self {
        Self { config, clock, store, metrics, queue, database, stops }
    }
}

impl Sources<'_> {
    /// Starts every source of the configuration, all of them or none.
    pub(super) async fn start(self, tasks: &TaskTracker) -> Result<(), StartError> {
        let (mqtt, openvpn) = (mqtt::prepare(self).await?, openvpn::prepare(self).await?);
        let (panels, radius) = (panel::prepare(self).await?, radius::prepare(self, tasks).await?);
        let files = files::prepare(self).await?;
        self.spawn(tasks, mqtt);
        self.spawn(tasks, openvpn);
        self.spawn(tasks, panels);
        self.spawn(tasks, radius);
        self.spawn(tasks, files);
        Ok(())
    }

    fn spawn<S: Source>(self, tasks: &TaskTracker, sources: Vec<Arc<S>>) {
        for source in sources {
            let stops = self.stops.map(CancellationToken::clone);
            let (queue, [soft, hard]) = (self.queue.clone(), stops.clone());
            let defective = source.clone();
            let run = move || {
                let (source, queue, soft, hard) = (source.clone(), queue.clone(), soft.clone(), hard.clone());
                async move { source.run(queue, soft, hard).await }
            };
            tasks.spawn(keep_running(run, move || defective.state().defect(), AFTER_DEFECT, stops));
        }
    }

    /// The tenant in whose name a source brings records.
    async fn tenant(self, kind: &'static str, source: &str, name: &str) -> Result<TenantId, StartError> {
        tenant_of(self.store, kind, source, name).await
    }
}

async fn tenant_of(
    store: &Store,
    kind: &'static str,
    source: &str,
    name: &str,
) -> Result<TenantId, StartError> {
    store.tenant_by_name(name).await?.ok_or_else(|| {
        let fault = SourceFault { key: "tenant", problem: format!("there is no tenant `{name}`") };
        StartError::Source { kind, name: source.into(), fault }
    })
}
