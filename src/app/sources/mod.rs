//! What brings records in beside the embedded broker and HTTP: its configuration made usable, a task for each source.

mod mqtt;
mod radius;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::domain::{Clock, TenantId};
use crate::ingest::queue::IngestQueue;
use crate::metrics::Metrics;
use crate::source::SourceFault;
use crate::store::Store;

use super::StartError;

/// A source whose task had a defect is started again after so long.
const AFTER_DEFECT: Duration = Duration::from_secs(5);

/// What every source is made from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'s> {
    pub(super) config: &'s Config,
    pub(super) clock: Clock,
    pub(super) store: &'s Store,
    pub(super) metrics: &'s Metrics,
    pub(super) queue: &'s IngestQueue,
    /// What was received is acknowledged at the first, everything ends at the second.
    pub(super) stops: [&'s CancellationToken; 2],
}

impl Sources<'_> {
    /// Starts every source of the configuration, all of them or none.
    pub(super) async fn start(self, tasks: &TaskTracker) -> Result<(), StartError> {
        let mqtt = mqtt::prepare(self).await?;
        let radius = radius::prepare(self, tasks).await?;
        for source in mqtt {
            let queue = self.queue.clone();
            self.spawn(tasks, move |soft, hard| {
                let (source, queue) = (source.clone(), queue.clone());
                async move { source.run(queue, soft, hard).await }
            });
        }
        for source in radius {
            let queue = self.queue.clone();
            self.spawn(tasks, move |soft, hard| {
                let (source, queue) = (source.clone(), queue.clone());
                async move { source.run(queue, soft, hard).await }
            });
        }
        Ok(())
    }

    /// What a source reads is foreign: it may end its source's task, not the program.
    fn spawn<R>(
        self,
        tasks: &TaskTracker,
        run: impl Fn(CancellationToken, CancellationToken) -> R + Send + 'static,
    ) where
        R: Future<Output = ()> + Send + 'static,
    {
        let [soft, hard] = self.stops.map(CancellationToken::clone);
        tasks.spawn(async move {
            loop {
                // A panic is in the log, and its error is all that `await` can give here.
                if tokio::spawn(run(soft.clone(), hard.clone())).await.is_ok() {
                    return;
                }
                tokio::select! {
                    () = hard.cancelled() => return,
                    () = tokio::time::sleep(AFTER_DEFECT) => {}
                }
            }
        });
    }

    /// The tenant in whose name a source brings records.
    async fn tenant(self, kind: &'static str, source: &str, name: &str) -> Result<TenantId, StartError> {
        self.store.tenant_by_name(name).await?.ok_or_else(|| {
            let fault = SourceFault { key: "tenant", problem: format!("there is no tenant `{name}`") };
            StartError::Source { kind, name: source.into(), fault }
        })
    }
}
